//! Health, readiness, metrics, and inspection of the live process, over plain HTTP/1.1 on a
//! loopback address.

mod report;

use std::{convert::Infallible, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, HOST, ORIGIN},
};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

pub use report::{
    BackendReport, CandidateReport, CertificateReport, CertsReport, EndpointReport, ExplainReport,
    FindingReport, GuardReport, HostReport, LeaderReport, OtherClassReport, StatusReport,
    UnreadReport, WantReport,
};

use crate::{
    telemetry::Metrics,
    util::{
        drain::{Drain, Phase},
        percent,
    },
};

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// For a whole connection: scrapes and inspections are short.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the process can say of itself.
pub trait Inspect: Send + Sync + 'static {
    /// Whether it serves.
    fn readiness(&self) -> Result<(), Unhealthy>;
    /// What an operator should know although it serves; empty where there is nothing.
    fn note(&self) -> String;
    /// The state of everything.
    fn status(&self) -> StatusReport;
    /// What would happen to a request; `Err` says what is wrong with the URL.
    fn explain(&self, url: &str) -> Result<ExplainReport, String>;
    /// Everything about certificates.
    fn certs(&self) -> CertsReport;
    /// Does what an operator asks for; the answer, good or bad, is one sentence.
    fn operate(
        &self,
        operation: Operation,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;
}

/// Why a process does not serve as it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unhealthy {
    /// It does not know yet what to serve.
    #[error("not ready: the objects have not been read yet")]
    Starting,
    /// A core of the data plane hangs; only a new process helps.
    #[error("not ready: {0}")]
    Stalled(String),
}

/// What an operator can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Renew a certificate now, by its name or a host.
    Renew(String),
    /// Revoke it, for a reason of RFC 5280 section 5.3.1, and get another one.
    Revoke(String, Option<u8>),
    /// Give the account at an issuer another key.
    ChangeKey(String),
}

/// Serves until the drain ends; returns the address.
pub async fn serve(
    listen: SocketAddr,
    inspect: Arc<dyn Inspect>,
    metrics: Arc<Metrics>,
    drain: Drain,
) -> std::io::Result<(
    SocketAddr,
    impl Future<Output = Result<(), String>> + Send + 'static,
)> {
    let listener = TcpListener::bind(listen).await?;
    let addr = listener.local_addr()?;
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let loopback = addr.ip().is_loopback();
    let accept = async move {
        let mut ending = drain.clone();
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else {
                return Ok(());
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ending.stopped() => return Ok(()),
            };
            let Ok((stream, peer)) = accepted else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (inspect, metrics, drain) = (inspect.clone(), metrics.clone(), drain.clone());
            tokio::spawn(async move {
                let _permit = permit;
                let service = service_fn(move |request: Request<Incoming>| {
                    let operation =
                        (request.method() == Method::POST).then(|| operation(&request, peer));
                    let response = match &operation {
                        None => answer(&request, loopback, &*inspect, &metrics, &drain),
                        Some(_) => Response::default(),
                    };
                    let inspect = inspect.clone();
                    async move {
                        Ok::<_, Infallible>(match operation {
                            None => response,
                            Some(Err(refused)) => *refused,
                            Some(Ok(operation)) => match inspect.operate(operation).await {
                                Ok(done) => text(StatusCode::OK, &format!("{done}\n")),
                                Err(why) => text(StatusCode::BAD_REQUEST, &format!("{why}\n")),
                            },
                        })
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(10))
                    .serve_connection(TokioIo::new(stream), service);
                let _ = timeout(PATIENCE, connection).await;
            });
        }
    };
    Ok((addr, accept))
}

fn answer(
    request: &Request<Incoming>,
    loopback: bool,
    inspect: &dyn Inspect,
    metrics: &Metrics,
    drain: &Drain,
) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET, and POST for what changes something\n",
        );
    }
    let path = request.uri().path();
    // A web page in the operator's browser must not read this by a name that it makes point here.
    if path.starts_with("/v1/") && loopback && is_foreign(request) {
        return text(StatusCode::FORBIDDEN, "only for local tools\n");
    }
    match path {
        "/healthz" | "/livez" => match inspect.readiness() {
            Err(stalled @ Unhealthy::Stalled(_)) => {
                text(StatusCode::SERVICE_UNAVAILABLE, &format!("{stalled}\n"))
            }
            Ok(()) | Err(Unhealthy::Starting) => text(StatusCode::OK, "ok\n"),
        },
        "/readyz" if drain.phase() != Phase::Running => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: the process is ending\n",
        ),
        "/readyz" => match inspect.readiness() {
            Ok(()) => match inspect.note() {
                note if note.is_empty() => text(StatusCode::OK, "ok\n"),
                note => text(StatusCode::OK, &format!("ok\n{note}\n")),
            },
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
        },
        "/metrics" => {
            let mut response = text(StatusCode::OK, &metrics.text());
            let kind = HeaderValue::from_static(
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            );
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        "/v1/status" => json(&inspect.status()),
        "/v1/certs" => json(&inspect.certs()),
        "/v1/explain" => match query(request.uri().query().unwrap_or_default(), "url") {
            None => text(StatusCode::BAD_REQUEST, "the parameter url is missing\n"),
            Some(url) => match inspect.explain(&url) {
                Ok(report) => json(&report),
                Err(why) => text(StatusCode::BAD_REQUEST, &format!("{why}\n")),
            },
        },
        _ => text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

/// What a POST asks for. Only from this device itself, and not from a page in a browser on it.
fn operation(
    request: &Request<Incoming>,
    peer: SocketAddr,
) -> Result<Operation, Box<Response<Full<Bytes>>>> {
    let refuse = |status, why: &str| Err(Box::new(text(status, why)));
    if !peer.ip().to_canonical().is_loopback() || is_foreign(request) {
        return refuse(StatusCode::FORBIDDEN, "only for local tools\n");
    }
    let asked = request.uri().query().unwrap_or_default();
    let name = query(asked, "name").filter(|name| !name.is_empty());
    let Some(name) = name else {
        return refuse(StatusCode::BAD_REQUEST, "the parameter name is missing\n");
    };
    match request.uri().path() {
        "/v1/certs/renew" => Ok(Operation::Renew(name)),
        "/v1/certs/revoke" => match query(asked, "reason").map(|reason| reason.parse()) {
            None => Ok(Operation::Revoke(name, None)),
            Some(Ok(reason @ 0..=10)) if reason != 7 => Ok(Operation::Revoke(name, Some(reason))),
            Some(_) => refuse(
                StatusCode::BAD_REQUEST,
                "the reason is one of 0 to 6 and 8 to 10 (RFC 5280)\n",
            ),
        },
        "/v1/certs/change-key" => Ok(Operation::ChangeKey(name)),
        _ => refuse(StatusCode::NOT_FOUND, "not found\n"),
    }
}

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
    let local = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok();
    !local || request.headers().contains_key(ORIGIN)
}

fn query(query: &str, key: &str) -> Option<String> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))?;
    percent::decode_form_strict(value)
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn json(body: &impl serde::Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(body).expect("reports are plain data");
    let mut response = Response::new(Full::new(Bytes::from(body)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
