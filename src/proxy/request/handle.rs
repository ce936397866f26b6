//! Handles a request from its head to the response: check, match, steps, action.

use std::{rc::Rc, time::Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};

use super::{
    access_log::Record,
    body::Body,
    check,
    error::{Error, Kind},
    fields::{FieldName, Fields},
    headers::Changes,
    message::{RequestHead, ResponseHead},
    outside::{Outside, Scheme},
    sessions,
    steps::{self, Passing},
    terms::Terms,
};
use crate::{
    proxy::{
        conn::ConnInfo,
        downstream::Downstream,
        settings::AccessLog,
        upstream::{forward::forward, message::Matched},
        worker::Worker,
    },
    routing::{Action, FixedResponse, Refusal, Route, path},
};

/// The path of ACME's HTTP-01 challenges (RFC 8555 section 8.3). It is never redirected, whether we
/// respond or the backend does.
pub(super) const ACME_CHALLENGE: &str = "/.well-known/acme-challenge/";

/// A response on its way to a client.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) head: ResponseHead,
    pub(crate) body: Body,
}

impl Response {
    /// Creates a response of our own.
    pub(super) fn own(status: StatusCode, body: Bytes) -> Self {
        Self {
            head: ResponseHead::new(status, body.len()),
            body: body.into(),
        }
    }

    /// Creates a redirect.
    pub(super) fn redirect(status: StatusCode, location: &str) -> Self {
        let mut response = Self::own(status, Bytes::new());
        response.head.fields.set("location", location.as_bytes());
        response
    }
}

/// Returns the response to one request of a client connection.
pub(crate) async fn handle(
    worker: &Rc<Worker>,
    conn: &Rc<ConnInfo>,
    head: &RequestHead,
    downstream: Downstream,
) -> Response {
    let began = Instant::now();
    let mut record = record(worker, || Record::new(conn, head));

    let guard = CancelGuard(Some(worker));
    let routed = route_request(worker, conn, head, downstream, record.as_deref_mut()).await;
    guard.disarm();

    let response =
        routed.unwrap_or_else(|error| fail(worker, error, &head.fields, record.as_deref_mut()));
    finish(worker, response, record, began)
}

/// Returns the response to a head that was refused before it was a request.
pub(crate) fn refuse(worker: &Worker, conn: &ConnInfo, kind: Kind) -> Response {
    let began = Instant::now();
    let mut record = record(worker, || Record::of_refused(conn));

    let fields = Fields::default();
    let mut response = fail(worker, Error::client(kind), &fields, record.as_deref_mut());
    response.head.close = true;
    finish(worker, response, record, began)
}

/// Creates the entry of a request in the access log, if there is one.
fn record(worker: &Worker, new: impl FnOnce() -> Record) -> Option<Box<Record>> {
    match worker.settings.access_log {
        AccessLog::Off => None,
        AccessLog::Text(share) | AccessLog::Json(share) => {
            let mut record = new();
            record.errors_only = !worker.sampled(share);
            Some(Box::new(record))
        }
    }
}

/// Turns an error into the response that the request with these fields calls for.
pub(super) fn fail(
    worker: &Worker,
    error: Error,
    request: &Fields,
    record: Option<&mut Record>,
) -> Response {
    worker.counters.failed(&error);
    if let Some(record) = record {
        record.reason = Some(error.kind.reason());
    }
    tracing::debug!(%error, side = %error.side, "request failed");

    let (head, body) = error.response(request);
    Response {
        head,
        body: body.into(),
    }
}

/// Counts a response, and leaves the rest of its entry in the access log to its body.
fn finish(
    worker: &Worker,
    mut response: Response,
    record: Option<Box<Record>>,
    began: Instant,
) -> Response {
    let status = response.head.status;
    worker.counters.responded(status, began.elapsed());
    if let Some(mut record) = record {
        record.status = status.as_u16();
        response.body.record = Some(record);
    }
    response
}

/// Counts a request whose client disconnects before the response: its future is dropped then.
struct CancelGuard<'a>(Option<&'a Worker>);

impl CancelGuard<'_> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CancelGuard<'_> {
    fn drop(&mut self) {
        if let Some(worker) = self.0 {
            worker.counters.client_gone.add(1);
        }
    }
}

/// Checks and matches a request, and forwards it or responds to it.
async fn route_request(
    worker: &Rc<Worker>,
    conn: &Rc<ConnInfo>,
    head: &RequestHead,
    downstream: Downstream,
    mut record: Option<&mut Record>,
) -> Result<Response, Error> {
    let target = check::check(head, worker.settings.strict_targets)?;
    worker.shared.loop_id.check(&head.fields)?;
    let upgrade = check::upgrade(head);
    if target.path == "*" {
        return Ok(Response::own(StatusCode::OK, Bytes::new()));
    }

    let path =
        path::normalize(target.path).map_err(|_why| Error::client(Kind::BadRequest("bad path")))?;

    let host = target.authority.as_ref().map(|authority| &*authority.host);
    let host_port = target
        .authority
        .as_ref()
        .and_then(|authority| authority.port);
    let outside = Outside::of(conn, &head.fields, host_port, worker.https_ports());
    // Over TLS to us, or to the trusted proxy in front of us.
    let secure = conn.tls.is_some() || outside.scheme == Scheme::Https;

    if let Some(response) = challenge(worker, conn, &head.method, host, &path) {
        return Ok(response);
    }

    let own_id;
    let request_id = match head.fields.get(FieldName::XRequestId) {
        Some(theirs) if conn.trusted => theirs,
        _ => {
            own_id = worker.request_id();
            &own_id[..]
        }
    };

    let table = worker.shared.table.load();
    let found = table
        .find(host, &path::matched(&path), head)
        .ok_or_else(|| Error::us(Kind::NoRoute))?;
    let (route, tls) = (found.route.clone(), found.tls);
    drop(table);

    if let Some(record) = &mut record {
        record.route = Some(format!("{}/{}", route.origin.namespace, route.origin.name));
        record.request_id = String::from_utf8_lossy(request_id).into_owned();
    }

    let mut passing = Passing {
        worker,
        conn,
        head,
        target: &target,
        path: &path,
        outside,
        secure,
        tls,
        upgrade,
        request_id,
        changes: Changes::default(),
        rewritten: None,
        place: None,
    };
    let early = match &route.steps {
        Some(list) => steps::take(&mut passing, list, record.as_deref_mut()).await?,
        None => None,
    };
    let mut response = match early {
        Some(response) => response,
        None => {
            let place = passing.place.take();
            let mut response = act(passing, &route, downstream, record).await?;
            response.body.hold(place);
            response
        }
    };

    if let Some(list) = &route.steps {
        steps::finish(list, head, (&target, outside), &mut response);
    }
    if secure && let Some(value) = hsts(conn, &route, host, tls) {
        let fields = &mut response.head.fields;
        fields.set("strict-transport-security", value.as_bytes());
    }
    Ok(response)
}

/// Does with a request what its route says.
async fn act(
    request: Passing<'_>,
    route: &Route,
    downstream: Downstream,
    mut record: Option<&mut Record>,
) -> Result<Response, Error> {
    let split = match &route.action {
        Action::Refuse(refusal) => return Err(refused(*refusal)),
        Action::Redirect(to) => {
            let location = to.location(request.url()?);
            return Ok(Response::redirect(to.status, &location));
        }
        Action::Respond(fixed) => return Ok(respond(fixed)),
        Action::Forward(split) => split,
    };

    let worker = request.worker;
    let chosen = sessions::choose(&request, route, split)?;
    let backend = chosen.backend;
    if let Some(record) = &mut record {
        record.backend = Some(backend.id().to_string());
    }

    let (path, query) = match &request.rewritten {
        None => (request.path, request.target.query),
        Some(rewritten) => (&*rewritten.path, rewritten.query.as_deref()),
    };
    let mut terms = Terms::new(&worker.settings, route.policy.as_deref());
    if let Some(own) = chosen.balancing {
        terms.balance = own.unwrap_or(worker.settings.balance);
    }
    let matched = Matched {
        backend,
        terms,
        session: chosen.session.as_deref(),
        host: request.target.host,
        outside: request.outside,
        path,
        query,
        upgrade: request.upgrade,
        request_id: request.request_id,
        loop_id: worker.shared.loop_id.as_bytes(),
        changes: request.changes,
    };
    let (mut response, endpoint) =
        forward(worker, request.conn, matched, request.head, downstream).await?;
    if let Some(record) = record {
        record.endpoint = Some(endpoint);
    }
    let pace = route.policy.as_ref().and_then(|policy| policy.pace);
    if let Some(pace) = pace {
        response.body.slow_down(pace);
    }
    if let Some(session) = &chosen.session {
        sessions::issue(session, request.secure, &mut response.head.fields);
    }
    Ok(response)
}

/// Returns the response to an HTTP-01 challenge for one of our certificates. Every other request
/// below the path goes to the backend, which may have its own ACME client.
fn challenge(
    worker: &Worker,
    conn: &ConnInfo,
    method: &Method,
    host: Option<&str>,
    path: &str,
) -> Option<Response> {
    let token = path.strip_prefix(ACME_CHALLENGE)?;
    if method != Method::GET && method != Method::HEAD {
        return None;
    }

    let authorization =
        worker
            .shared
            .challenges
            .http(host?, token, conn.client.ip().to_canonical())?;

    let mut response = Response::own(StatusCode::OK, Bytes::from(authorization));
    let fields = &mut response.head.fields;
    fields.set("content-type", b"text/plain");
    fields.set("cache-control", b"no-store");
    fields.set("x-content-type-options", b"nosniff");
    Some(response)
}

/// Returns the route's HSTS field, unless the certificate is our own: HSTS forbids users to accept
/// an untrusted certificate again, so they would be locked out.
fn hsts(conn: &ConnInfo, route: &Route, host: Option<&str>, tls: bool) -> Option<HeaderValue> {
    let own = || {
        conn.tls
            .as_ref()
            .is_some_and(|tls| tls.resolver.is_own(host.unwrap_or_default()))
    };
    route.hsts(tls).filter(|_| !own()).cloned()
}

/// Returns the error of a request that its route refuses.
pub(super) fn refused(refusal: Refusal) -> Error {
    let kind = match refusal.status() {
        StatusCode::INTERNAL_SERVER_ERROR => Kind::Misconfigured,
        _ => Kind::Unavailable,
    };
    Error::us(kind(refusal.reason()))
}

/// Returns the response that a route has for every request.
fn respond(fixed: &FixedResponse) -> Response {
    let mut response = Response::own(fixed.status, fixed.body.clone());
    if let Some(value) = &fixed.content_type {
        response.head.fields.set("content-type", value.as_bytes());
    }
    response
}
