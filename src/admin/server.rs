//! The admin server.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, HOST, ORIGIN},
};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

use super::inspect::{ExplainRequest, Inspect, Operation, Unhealthy};
use crate::{
    telemetry::Metrics,
    util::{
        drain::{Drain, Phase},
        percent,
    },
};

/// Maximum number of connections.
const MAX_CONNECTIONS: usize = 64;
/// Time limit of a connection: scrapes and inspections are short.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Time limit of a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after an error of the listener.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Body = Full<Bytes>;

/// Binds the address. Returns it with the task that serves until the drain ends.
pub async fn serve(
    listen: SocketAddr,
    inspect: Arc<dyn Inspect>,
    metrics: Arc<Metrics>,
    drain: Drain,
) -> io::Result<(SocketAddr, impl Future<Output = ()> + Send + 'static)> {
    let listener = TcpListener::bind(listen).await?;
    let addr = listener.local_addr()?;
    let server = Server {
        inspect,
        metrics,
        drain,
        is_loopback: addr.ip().is_loopback(),
    };
    Ok((addr, accept(listener, server)))
}

/// The state that connections share.
#[derive(Clone)]
struct Server {
    inspect: Arc<dyn Inspect>,
    metrics: Arc<Metrics>,
    drain: Drain,
    /// True if the server listens on a loopback address.
    is_loopback: bool,
}

/// Accepts connections until the drain ends, and then closes those that are open.
async fn accept(listener: TcpListener, server: Server) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut ending = server.drain.clone();
    let mut connections = JoinSet::new();

    while let Ok(permit) = permits.clone().acquire_owned().await {
        // Forget the connections that have ended.
        while connections.try_join_next().is_some() {}

        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ending.stopped() => return,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };

        let server = server.clone();
        connections.spawn(async move {
            let _permit = permit;
            server.connection(stream, peer).await;
        });
    }
}

impl Server {
    /// Serves one connection.
    async fn connection(self, stream: TcpStream, peer: SocketAddr) {
        let server = Arc::new(self);
        let service = service_fn(move |request: Request<Incoming>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.respond(&request, peer).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let _ = timeout(CONNECTION_TIMEOUT, connection).await;
    }

    async fn respond(&self, request: &Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        if request.method() != Method::POST {
            return self.read(request);
        }
        match operation(request, peer) {
            Err(refusal) => *refusal,
            Ok(operation) => match self.inspect.operate(operation).await {
                Ok(result) => text(StatusCode::OK, &format!("{result}\n")),
                Err(error) => text(StatusCode::BAD_REQUEST, &format!("{error}\n")),
            },
        }
    }

    /// Responds to a request that changes nothing.
    fn read(&self, request: &Request<Incoming>) -> Response<Body> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET, and POST for operations\n",
            );
        }

        let path = request.uri().path();
        // A page in the operator's browser must not read this through a name of its own that
        // resolves to this address (DNS rebinding).
        if path.starts_with("/v1/") && self.is_loopback && is_foreign(request) {
            return text(StatusCode::FORBIDDEN, "only for local tools\n");
        }

        match path {
            "/healthz" | "/livez" => self.health(),
            "/readyz" => self.readiness(),
            "/metrics" => {
                let mut response = text(StatusCode::OK, &self.metrics.text());
                let content_type = HeaderValue::from_static(
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                );
                response.headers_mut().insert(CONTENT_TYPE, content_type);
                response
            }
            "/v1/status" => json(&self.inspect.status()),
            "/v1/certs" => json(&self.inspect.certs()),
            "/v1/explain" => {
                let query = request.uri().query().unwrap_or_default();
                let Some(url) = parameter(query, "url") else {
                    return text(StatusCode::BAD_REQUEST, "the parameter url is missing\n");
                };
                let request = ExplainRequest {
                    url,
                    from: parameter(query, "from"),
                    method: parameter(query, "method"),
                    headers: parameters(query, "header").collect(),
                };
                match self.inspect.explain(&request) {
                    Ok(report) => json(&report),
                    Err(error) => text(StatusCode::BAD_REQUEST, &format!("{error}\n")),
                }
            }
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    /// Responds to a liveness probe: only a process that hangs should be restarted.
    fn health(&self) -> Response<Body> {
        match self.inspect.readiness() {
            Err(stalled @ Unhealthy::Stalled(_)) => {
                text(StatusCode::SERVICE_UNAVAILABLE, &format!("{stalled}\n"))
            }
            Ok(()) | Err(Unhealthy::Starting) => text(StatusCode::OK, "ok\n"),
        }
    }

    fn readiness(&self) -> Response<Body> {
        if self.drain.phase() != Phase::Running {
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: the process is ending\n",
            );
        }
        match self.inspect.readiness() {
            Ok(()) => match self.inspect.note() {
                note if note.is_empty() => text(StatusCode::OK, "ok\n"),
                note => text(StatusCode::OK, &format!("ok\n{note}\n")),
            },
            Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{error}\n")),
        }
    }
}

/// Parses the operation of a POST, or returns the response that refuses it. Operations are only for
/// clients on this device, and not for pages in a browser on it.
fn operation(
    request: &Request<Incoming>,
    peer: SocketAddr,
) -> Result<Operation, Box<Response<Body>>> {
    let refuse = |status, message: &str| Err(Box::new(text(status, message)));

    // Neither another machine nor a page in a browser may change a certificate.
    if !peer.ip().to_canonical().is_loopback() || is_foreign(request) {
        return refuse(StatusCode::FORBIDDEN, "only for local tools\n");
    }

    let query = request.uri().query().unwrap_or_default();
    let name = parameter(query, "name").filter(|name| !name.is_empty());
    let Some(name) = name else {
        return refuse(StatusCode::BAD_REQUEST, "the parameter name is missing\n");
    };

    match request.uri().path() {
        "/v1/certs/renew" => Ok(Operation::Renew(name)),
        "/v1/certs/revoke" => match parameter(query, "reason").map(|reason| reason.parse()) {
            None => Ok(Operation::Revoke(name, None)),
            Some(Ok(reason @ 0..=10)) if reason != 7 => Ok(Operation::Revoke(name, Some(reason))),
            Some(_) => refuse(
                StatusCode::BAD_REQUEST,
                "the reason is one of 0 to 6 and 8 to 10 (RFC 5280)\n",
            ),
        },
        "/v1/certs/change-key" => Ok(Operation::ChangeKey(name)),
        "/v1/certs/new-account" => Ok(Operation::NewAccount(name)),
        _ => refuse(StatusCode::NOT_FOUND, "not found\n"),
    }
}

/// Returns whether a request seems to come from a page in a browser: it names another host than
/// this device, or has an origin.
fn is_foreign(request: &Request<Incoming>) -> bool {
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = host
        .rsplit_once(':')
        .map_or(host, |(name, _port)| name)
        .trim_matches(['[', ']']);
    let is_local = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok();
    !is_local || request.headers().contains_key(ORIGIN)
}

/// Returns a parameter of a query, decoded. `None` if it is missing or not valid.
fn parameter(query: &str, key: &str) -> Option<String> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))?;
    percent::decode_form_strict(value)
}

/// Returns the valid parameters of a name, decoded.
fn parameters(query: &str, key: &str) -> impl Iterator<Item = String> {
    let values = query
        .split('&')
        .filter_map(move |pair| pair.strip_prefix(key)?.strip_prefix('='));
    values.filter_map(percent::decode_form_strict)
}

fn text(status: StatusCode, body: &str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn json(body: &impl serde::Serialize) -> Response<Body> {
    let body = serde_json::to_vec(body).expect("reports are plain data");
    let mut response = Response::new(Full::new(Bytes::from(body)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
