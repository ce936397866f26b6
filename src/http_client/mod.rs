//! The HTTP client for certificate authorities and DNS providers: HTTP/1.1 over TLS with built-in
//! roots, through the proxies that the environment names, with limits on time and size. It returns
//! headers and bodies of every status.

mod dial;
mod error;
#[cfg(fuzzing)]
pub mod fuzz;
mod header;
mod proxy;
mod target;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header as name};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, UnixTime},
    time_provider::TimeProvider,
};

pub use error::HttpError;
pub use proxy::Proxy;

use dial::{Dialer, Sender, USER_AGENT};
use target::{Origin, relative_to};

use crate::util::{sync::lock, time::UnixSeconds};

/// The largest number of redirects that are followed (for GET and HEAD only).
const REDIRECTS: usize = 3;
/// The largest number of idle connections, one for each origin.
const KEPT: usize = 8;
/// The time for which an idle connection is kept: shorter than servers and home routers keep it.
const IDLE: Duration = Duration::from_secs(30);

/// Returns the time for the verification of certificates.
pub type Clock = Arc<dyn Fn() -> UnixTime + Send + Sync>;

/// The settings of an [`Http`].
#[derive(Clone)]
pub struct HttpSettings {
    /// Trusted roots in addition to the built-in ones and the system's.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// The time limit for DNS and TCP together.
    pub connect_timeout: Duration,
    /// The time limit from the first packet to the last byte of the response, redirects included.
    pub total_timeout: Duration,
    /// The largest body in bytes.
    pub max_body: usize,
    /// The proxies for outgoing connections.
    pub proxy: Proxy,
    /// Returns the time at which servers' certificates must be valid.
    pub time: Clock,
}

impl HttpSettings {
    /// Returns the default settings: no extra roots, no proxy, 10 s for a connection, 30 s in all,
    /// 1 MiB.
    pub fn new(time: Clock) -> Self {
        Self {
            extra_roots: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(30),
            max_body: 1024 * 1024,
            proxy: Proxy::default(),
            time,
        }
    }
}

/// An HTTP client. Clones share its connections.
#[derive(Clone)]
pub struct Http(Arc<Inner>);

struct Inner {
    dialer: Dialer,
    total_timeout: Duration,
    max_body: usize,
    idle: Mutex<HashMap<Origin, (Sender, Instant)>>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

/// A response of any status.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The complete body.
    pub body: Bytes,
}

impl Reply {
    /// Returns the text of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        header::text(&self.headers, name)
    }

    /// Returns the time of the server.
    pub fn date(&self) -> Option<UnixSeconds> {
        header::date(&self.headers)
    }

    /// Returns the wait that the server asks for.
    pub fn retry_after(&self) -> Option<Duration> {
        header::retry_after(&self.headers)
    }

    /// Returns the targets of `Link` headers of a relation (RFC 8288), as absolute URLs. `base` is
    /// the URL of the response.
    pub fn links(&self, relation: &str, base: &Uri) -> Vec<String> {
        header::links(&self.headers, relation, base)
    }
}

/// A failed request on one connection.
struct Failed {
    error: HttpError,
    /// True if not a single byte of a response arrived.
    silent: bool,
}

impl Http {
    /// Creates a client. It trusts Mozilla's roots, which are built in, the system's roots, and
    /// those of the settings.
    ///
    /// # Errors
    /// [`HttpError::Roots`].
    pub fn new(settings: HttpSettings) -> Result<Self, HttpError> {
        let mut tls = ClientConfig::builder_with_details(
            crate::tls::provider(),
            Arc::new(TimeOf(settings.time)),
        )
        .with_safe_default_protocol_versions()
        .expect("ring offers suites for both versions")
        .with_root_certificates(roots(settings.extra_roots)?)
        .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];

        let dialer = Dialer {
            tls: Arc::new(tls),
            proxy: settings.proxy,
            connect_timeout: settings.connect_timeout,
        };

        Ok(Self(Arc::new(Inner {
            dialer,
            total_timeout: settings.total_timeout,
            max_body: settings.max_body,
            idle: Mutex::default(),
        })))
    }

    /// Sends a request with an absolute URL and waits for the complete response. GET and HEAD
    /// follow up to three redirects, never from https to http. If a kept connection breaks before
    /// the first byte of a response, the request is sent once more on a new one, so a server may
    /// receive it twice.
    ///
    /// # Errors
    /// No response in time, a broken one, or one that is too large. The status is never an error.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Reply, HttpError> {
        let origin = Origin::of(request.uri())?;
        let after = self.0.total_timeout;
        let response = Box::pin(tokio::time::timeout(after, self.follow(request))).await;
        response.unwrap_or_else(|_late| {
            Err(HttpError::Timeout {
                host: origin.authority(),
                after,
            })
        })
    }

    async fn follow(&self, mut request: Request<Bytes>) -> Result<Reply, HttpError> {
        let follows = matches!(*request.method(), Method::GET | Method::HEAD);
        for _ in 0..REDIRECTS {
            let reply = self.exchange(&request).await?;

            let location = reply
                .headers
                .get(name::LOCATION)
                .filter(|_| follows && redirects(reply.status));
            let Some(location) = location else {
                return Ok(reply);
            };

            let from = Origin::of(request.uri())?;
            let target = location
                .to_str()
                .ok()
                .and_then(|location| relative_to(request.uri(), location));
            let Some(target) = target else {
                return Err(HttpError::broken(&from.authority(), "redirect to no URL"));
            };

            let to = Origin::of(&target)?;
            if from.tls && !to.tls {
                return Err(HttpError::broken(
                    &from.authority(),
                    "redirect from https to http",
                ));
            }
            if from != to {
                // Don't send credentials to another server.
                request.headers_mut().remove(name::AUTHORIZATION);
            }
            *request.uri_mut() = target;
        }

        self.exchange(&request).await
    }

    /// Sends one request, without following redirects.
    async fn exchange(&self, request: &Request<Bytes>) -> Result<Reply, HttpError> {
        let origin = Origin::of(request.uri())?;
        let outgoing = self.outgoing(&origin, request)?;
        if let Some(sender) = self.take_idle(&origin) {
            match self.on(sender, &origin, outgoing.clone()).await {
                Err(Failed {
                    silent: true,
                    error,
                }) => tracing::debug!(%error, "a kept connection was dead"),
                other => return other.map_err(|failed| failed.error),
            }
        }
        let sender = self.0.dialer.dial(&origin).await?;
        self.on(sender, &origin, outgoing)
            .await
            .map_err(|failed| failed.error)
    }

    /// Returns the request in the form for the connection: with the path only, or with the whole
    /// URL for a plain-text proxy.
    fn outgoing(
        &self,
        origin: &Origin,
        request: &Request<Bytes>,
    ) -> Result<Request<Full<Bytes>>, HttpError> {
        let mut outgoing = Request::new(Full::new(request.body().clone()));
        *outgoing.method_mut() = request.method().clone();
        *outgoing.headers_mut() = request.headers().clone();

        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let headers = outgoing.headers_mut();
        headers.insert(name::HOST, origin.host_header()?);
        headers.insert(name::USER_AGENT, HeaderValue::from_static(USER_AGENT));

        let proxy = self.0.dialer.proxy.towards(origin).filter(|_| !origin.tls);
        let uri = if let Some(proxy) = proxy {
            if let Some(authorization) = &proxy.authorization {
                headers.insert(name::PROXY_AUTHORIZATION, authorization.clone());
            }
            format!("http://{}{path}", origin.authority()).parse()
        } else {
            path.parse()
        };

        *outgoing.uri_mut() = uri.map_err(|_bad| HttpError::Url)?;
        Ok(outgoing)
    }

    async fn on(
        &self,
        mut sender: Sender,
        origin: &Origin,
        request: Request<Full<Bytes>>,
    ) -> Result<Reply, Failed> {
        let host = origin.authority();
        let failed = |error: hyper::Error| {
            let silent = error.is_canceled()
                || error.is_closed()
                || error.is_incomplete_message()
                || is_io(&error);
            Failed {
                error: HttpError::broken(&host, chain(&error)),
                silent,
            }
        };

        sender.ready().await.map_err(failed)?;
        let response = sender.send_request(request).await.map_err(failed)?;
        let (head, body) = response.into_parts();

        let limit = self.0.max_body;
        let body = Limited::new(body, limit)
            .collect()
            .await
            .map_err(|error| Failed {
                error: if error.is::<LengthLimitError>() {
                    HttpError::TooLarge {
                        host: host.clone(),
                        limit,
                    }
                } else {
                    HttpError::broken(&host, chain(&*error))
                },
                silent: false,
            })?;

        self.keep(origin, sender);
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        })
    }

    fn take_idle(&self, origin: &Origin) -> Option<Sender> {
        let mut idle = lock(&self.0.idle);
        idle.retain(|_, (sender, since)| since.elapsed() < IDLE && !sender.is_closed());
        idle.remove(origin).map(|(sender, _)| sender)
    }

    fn keep(&self, origin: &Origin, sender: Sender) {
        let mut idle = lock(&self.0.idle);
        if !sender.is_closed() && (idle.len() < KEPT || idle.contains_key(origin)) {
            idle.insert(origin.clone(), (sender, Instant::now()));
        }
    }
}

/// Passes the time of the settings to rustls.
struct TimeOf(Clock);

impl fmt::Debug for TimeOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TimeOf")
    }
}

impl TimeProvider for TimeOf {
    fn current_time(&self) -> Option<UnixTime> {
        Some((self.0)())
    }
}

fn roots(extra: Vec<CertificateDer<'static>>) -> Result<RootCertStore, HttpError> {
    let mut all = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };

    let mut system = RootCertStore::empty();
    system.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for root in extra {
        system
            .add(root)
            .map_err(|error| HttpError::Roots(error.to_string()))?;
    }

    // Most of the system's roots are built in as well: don't keep them twice.
    for root in system.roots {
        if !all.roots.contains(&root) {
            all.roots.push(root);
        }
    }

    Ok(all)
}

fn redirects(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn is_io(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// Formats an error with its sources, where hyper names the cause.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        text = format!("{text}: {error}");
        below = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
