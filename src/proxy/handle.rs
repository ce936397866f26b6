//! Handles a request from its head to the response: check, match, filters, forward.

use std::{rc::Rc, time::Instant};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{
        CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, STRICT_TRANSPORT_SECURITY,
        X_CONTENT_TYPE_OPTIONS,
    },
    uri::PathAndQuery,
};
use http_body::Body as _;
use hyper::body::Incoming;

use super::{
    access_log::Record,
    body::Body,
    check,
    conn::ConnInfo,
    error::{Error, ErrorFormat, Kind},
    forward::{Matched, forward},
    headers::{X_REQUEST_ID, join_cookies},
    outside::{Outside, Scheme},
    settings::AccessLog,
    worker::Worker,
};
use crate::routing::{Action, Route, path};

/// The path of ACME's HTTP-01 challenges (RFC 8555 section 8.3). It is never redirected, whether we
/// respond or the backend does.
const ACME_CHALLENGE: &str = "/.well-known/acme-challenge/";

/// Returns the response to one request of a client connection.
pub(crate) async fn handle(
    worker: &Rc<Worker>,
    conn: &Rc<ConnInfo>,
    request: Request<Incoming>,
) -> Response<Body> {
    let began = Instant::now();
    let format = ErrorFormat::of(request.headers());

    // The head stays in place until it is sent to an endpoint: it is large, and each future that it
    // passed through would reserve space for it.
    let (head, incoming) = request.into_parts();
    let mut request = Request::from_parts(head, ());

    let mut record = match worker.settings.access_log {
        AccessLog::Off => None,
        AccessLog::Text(share) | AccessLog::Json(share) => {
            let (parts, headers) = (&request, request.headers());
            let mut record =
                Record::new(conn, parts.method(), parts.uri(), parts.version(), headers);
            record.errors_only = !worker.sampled(share);
            Some(Box::new(record))
        }
    };

    let guard = CancelGuard(Some(worker));
    let routed = match conn.state.refusal(&request) {
        Some(kind) => Err(Error::client(kind)),
        None => route_request(worker, conn, &mut request, incoming, record.as_deref_mut()).await,
    };
    guard.disarm();

    let mut response = match routed {
        Ok(response) => response,
        Err(error) => {
            worker.counters.failed(&error);

            if let Some(record) = &mut record {
                record.reason = Some(error.kind.reason());
            }
            tracing::debug!(%error, side = %error.side, "request failed");
            error.response(&format).map(Body::from)
        }
    };

    worker
        .counters
        .responded(response.status(), began.elapsed());

    if let Some(mut record) = record {
        record.status = response.status().as_u16();
        response.body_mut().record = Some(record);
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
    request: &mut Request<()>,
    incoming: Incoming,
    mut record: Option<&mut Record>,
) -> Result<Response<Body>, Error> {
    // Over HTTP/1 the guard has counted already; the HTTP/2 server limits only the size.
    let version = request.version();
    join_cookies(request.headers_mut(), version);
    if request.headers().len() > worker.settings.max_headers {
        return Err(Error::client(Kind::HeadersTooLarge));
    }

    let target = check::check(request)?;
    let length = check::body_length(request.headers(), incoming.is_end_stream())?;
    let upgrade = check::upgrade(request);
    if target.path == "*" {
        return Ok(ping());
    }

    let path =
        path::normalize(target.path).map_err(|_why| Error::client(Kind::BadRequest("bad path")))?;

    let host = target.authority.as_ref().map(|authority| &*authority.host);
    let host_port = target
        .authority
        .as_ref()
        .and_then(|authority| authority.port);
    let outside = Outside::of(conn, request.headers(), host_port, worker.https_ports());
    // Over TLS to us, or to the trusted proxy in front of us.
    let secure = conn.tls.is_some() || outside.scheme == Scheme::Https;

    if let Some(response) = challenge(worker, conn, request.method(), host, &path) {
        return Ok(response);
    }

    let theirs = if conn.trusted {
        request.headers().get(X_REQUEST_ID).cloned()
    } else {
        None
    };
    let request_id = theirs.unwrap_or_else(|| worker.request_id());

    let table = worker.shared.table.load();
    let found = table
        .find(host, &path)
        .ok_or_else(|| Error::us(Kind::NoRoute))?;
    let (route, tls) = (found.route.clone(), found.tls);
    drop(table);

    if let Some(record) = &mut record {
        record.route = Some(format!("{}/{}", route.origin.namespace, route.origin.name));
        if let Action::Forward(backend) = &route.action {
            record.backend = Some(backend.id.to_string());
        }
        record.request_id = Some(request_id.clone());
    }

    if !secure
        && let Some(status) = route
            .redirect(tls)
            .filter(|_| !path.starts_with(ACME_CHALLENGE))
    {
        return redirect(status, &target, outside.https_port);
    }

    let backend = match &route.action {
        Action::Forward(backend) => backend,
        Action::Refuse(refusal) => return Err(Error::us(Kind::Unavailable(refusal.reason()))),
    };

    let hsts = if secure {
        hsts(conn, &route, host, tls)
    } else {
        None
    };

    let host = match request.headers().get(HOST) {
        Some(field) if field.as_bytes() == target.host => field.clone(),
        _ => HeaderValue::from_bytes(target.host)
            .map_err(|_bad| Error::client(Kind::BadRequest("bad Host")))?,
    };

    let unchanged = matches!(path, std::borrow::Cow::Borrowed(_));
    let target = match request.uri().path_and_query() {
        Some(same) if unchanged => same.clone(),
        _ => with_query(&path, target.query)?,
    };

    let matched = Matched {
        backend,
        host,
        outside,
        target,
        length,
        upgrade,
        request_id,
    };
    let (mut response, endpoint) = forward(worker, conn, matched, request, incoming).await?;
    if let Some(record) = record {
        record.endpoint = Some(endpoint);
    }

    if let Some(value) = hsts {
        response
            .headers_mut()
            .insert(STRICT_TRANSPORT_SECURITY, value);
    }
    Ok(response)
}

/// Returns the response to `OPTIONS *` (RFC 9110 section 9.3.7). The request is for the server
/// itself; no rule of an Ingress has a path for it.
fn ping() -> Response<Body> {
    let mut response = Response::new(Body::default());
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// Returns the response to an HTTP-01 challenge for one of our certificates. Every other request
/// below the path goes to the backend, which may have its own ACME client.
fn challenge(
    worker: &Worker,
    conn: &ConnInfo,
    method: &Method,
    host: Option<&str>,
    path: &str,
) -> Option<Response<Body>> {
    let token = path.strip_prefix(ACME_CHALLENGE)?;
    if method != Method::GET && method != Method::HEAD {
        return None;
    }

    let authorization =
        worker
            .shared
            .challenges
            .http(host?, token, conn.client.ip().to_canonical())?;

    let mut response = Response::new(Body::from(Bytes::from(authorization)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
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

/// Redirects to HTTPS. If that is impossible the request is refused: it must not go on in the
/// clear.
fn redirect(
    status: StatusCode,
    target: &check::Target<'_>,
    port: u16,
) -> Result<Response<Body>, Error> {
    let bad = |why| Error::client(Kind::BadRequest(why));
    let host = &target
        .authority
        .as_ref()
        .ok_or_else(|| bad("no Host"))?
        .host;
    let port = if port == 443 {
        String::new()
    } else {
        format!(":{port}")
    };
    let query = target
        .query
        .map(|query| format!("?{query}"))
        .unwrap_or_default();

    let location = HeaderValue::try_from(format!("https://{host}{port}{}{query}", target.path))
        .map_err(|_bad| bad("bad path"))?;
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

fn with_query(path: &str, query: Option<&str>) -> Result<PathAndQuery, Error> {
    let text = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let uri: Uri = text
        .parse()
        .map_err(|_bad| Error::client(Kind::BadRequest("bad path")))?;
    uri.path_and_query()
        .cloned()
        .ok_or_else(|| Error::client(Kind::BadRequest("bad path")))
}
