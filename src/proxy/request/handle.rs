//! Handles a request from its head to the response: check, match, steps, action.

use std::{mem, rc::Rc, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};

use super::{
    access_log::Record,
    around,
    body::Body,
    check, client_certificates,
    error::{Error, Kind},
    error_pages,
    fields::{FieldName, Fields},
    headers::Changes,
    message::{RequestHead, ResponseHead},
    outside::{Outside, Scheme},
    sessions::{self, Chosen},
    steps::{self, AuthCookies, Passing},
    terms::Terms,
};
use crate::{
    proxy::{
        clock,
        conn::ConnInfo,
        downstream::Downstream,
        memory,
        settings::AccessLog,
        upstream::{forward::forward, message::Matched},
        worker::Worker,
    },
    routing::{Action, EndpointSet, Refusal, Route, path},
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
    let began = clock::now();
    let mut record = record(worker, || Record::new(conn, head));

    let mut route = None;
    let guard = CancelGuard(Some(worker));
    let routed = route_request(
        worker,
        conn,
        head,
        downstream,
        &mut route,
        record.as_deref_mut(),
    )
    .await;
    guard.disarm();

    let response =
        routed.unwrap_or_else(|error| fail(worker, error, &head.fields, record.as_deref_mut()));
    finish(worker, route.as_deref(), response, record, began)
}

/// Returns the response to a head that was refused before it was a request.
pub(crate) fn refuse(worker: &Worker, conn: &ConnInfo, kind: Kind) -> Response {
    let began = clock::now();
    let mut record = record(worker, || Record::of_refused(conn));

    let fields = Fields::default();
    let mut response = fail(worker, Error::client(kind), &fields, record.as_deref_mut());
    response.head.close = true;
    finish(worker, None, response, record, began)
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
    route: Option<&Route>,
    mut response: Response,
    record: Option<Box<Record>>,
    began: Instant,
) -> Response {
    let status = response.head.status;
    let took = clock::now() - began;
    worker.counters.responded(status, took);
    if let Some(requests) = route.and_then(|route| route.origin.requests.as_deref()) {
        requests.add(status, took);
    }
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

/// Checks and matches a request, and forwards it or responds to it. `matched` gets its route.
async fn route_request(
    worker: &Rc<Worker>,
    conn: &Rc<ConnInfo>,
    head: &RequestHead,
    downstream: Downstream,
    matched: &mut Option<Arc<Route>>,
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
    if memory::is_used_up() {
        return Err(Error::us(Kind::Overloaded));
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
    let (route, tls) = (&*matched.insert(found.route.clone()), found.tls);
    let terms = found.client_certificates.cloned();
    drop(table);

    if let Some(record) = &mut record {
        record.route = Some(format!("{}/{}", route.origin.namespace, route.origin.name));
        record.request_id = String::from_utf8_lossy(request_id).into_owned();
        record.is_unlogged = route
            .policy
            .as_ref()
            .is_some_and(|policy| policy.is_unlogged);
    }

    let mut passing = Passing {
        worker,
        conn,
        head,
        route,
        target: &target,
        path: &path,
        outside,
        secure,
        tls,
        is_base64: false,
        upgrade,
        request_id,
        changes: Changes::default(),
        rewritten: None,
        place: None,
        around: Vec::new(),
        cookies: AuthCookies::default(),
    };
    let refused = match terms {
        // Moved, so that it is not kept while the request waits.
        Some(terms) => client_certificates::enter(&mut passing, &terms)?,
        None => None,
    };
    if let Some(response) = refused {
        return Ok(response);
    }
    let taken = match &route.steps {
        Some(list) => steps::take(&mut passing, list, record.as_deref_mut()).await,
        None => Ok(None),
    };
    let (responded, of_route) = match taken {
        Ok(None) => {
            let acted = act(&mut passing, downstream, record.as_deref_mut()).await;
            (acted, route.error_pages())
        }
        // The pages of the route are for errors about the backend.
        Ok(Some(response)) => (Ok(response), None),
        Err(error) => (Err(error), None),
    };

    let is_looked_at = of_route.is_some() || !passing.around.is_empty();
    let responded = match responded {
        responded if is_looked_at => {
            // Boxed: few routes have such steps.
            let record = record.as_deref_mut();
            Box::pin(around::leave(&passing, of_route, responded, record)).await
        }
        responded => responded,
    };
    let mut response = match responded {
        Err(error) if passing.cookies.are_for_errors() => fail(worker, error, &head.fields, record),
        responded => responded?,
    };
    response.body.hold(passing.place.take());

    if let Some(list) = &route.steps {
        steps::finish(list, head, (&target, outside), &mut response);
    }
    passing.cookies.add(&mut response);
    if secure && let Some(value) = hsts(conn, route, host, tls) {
        let fields = &mut response.head.fields;
        fields.set("strict-transport-security", value.as_bytes());
    }
    Ok(response)
}

/// Does with a request what its route says.
async fn act(
    request: &mut Passing<'_>,
    downstream: Downstream,
    mut record: Option<&mut Record>,
) -> Result<Response, Error> {
    let route = request.route;
    let split = match &route.action {
        Action::Refuse(refusal) => return Err(refused(*refusal)),
        Action::Redirect(to) => {
            let location = to.location(request.url()?);
            return Ok(Response::redirect(to.status, &location));
        }
        Action::Forward(split) => split,
    };

    let worker = request.worker;
    let mut chosen = sessions::choose(request, route, split)?;
    let is_empty = || matches!(**chosen.backend.endpoints(), EndpointSet::Empty);
    let pages = route.error_pages();
    if let Some(pages) = pages.filter(|pages| pages.stands_in && is_empty()) {
        let about = error_pages::about(request, Some(chosen.backend.id()), 503);
        request.changes.replaced.push(about);
        chosen = Chosen::only(&pages.backend.0);
    }
    let is_https = request.outside.scheme == Scheme::Https;
    let backend = chosen.backend.for_scheme(is_https);
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
    let policy = route.policy.as_deref();
    let selector = policy.and_then(|policy| policy.selector.as_deref());
    let groups = selector.and_then(|selector| selector.named(request.head));
    // After an upgrade there are no requests that could be copied.
    let mirror = route.mirror().filter(|_| request.upgrade.is_none());
    let copy = mirror.and_then(|mirror| steps::copy(request, mirror));
    let matched = Matched {
        backend,
        terms,
        session: chosen.session.as_deref(),
        groups: groups.as_deref(),
        host: request.target.host,
        outside: request.outside,
        path,
        query,
        upgrade: request.upgrade.take(),
        is_base64: request.is_base64,
        request_id: request.request_id,
        loop_id: worker.shared.loop_id.as_bytes(),
        changes: match request.around.is_empty() {
            true => mem::take(&mut request.changes),
            // Pages get the same fields.
            false => request.changes.clone(),
        },
        copy,
    };
    let (mut response, endpoint) = forward(
        worker,
        request.conn,
        matched,
        request.head,
        Some(downstream),
    )
    .await?;
    if let Some(record) = record {
        record.endpoint = Some(endpoint);
    }
    let pace = route.policy.as_ref().and_then(|policy| policy.pace);
    if let Some(pace) = pace {
        response.body.slow_down(pace);
    }
    if let Some(session) = &chosen.session {
        let asked = &request.head.fields;
        sessions::issue(session, request.secure, asked, &mut response.head.fields);
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
