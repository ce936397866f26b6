//! Opens a connection to an origin: DNS, TCP to the address that responds first, the proxy, TLS.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    error::{HttpError, LONGEST},
    proxy::{Proxy, Server},
    target::Origin,
};
use crate::util::text::one_line;

/// The name of the client in requests.
pub(super) const USER_AGENT: &str = concat!("gatelet/", env!("CARGO_PKG_VERSION"));
/// The delay before the next address is tried in parallel (RFC 8305 section 8).
const STAGGER: Duration = Duration::from_millis(250);
/// The largest number of addresses of one name that are tried.
const ADDRESSES: usize = 8;
/// The largest head of a response in bytes.
const HEAD: usize = 64 * 1024;

/// A byte stream of any layers.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(super) type Sender = http1::SendRequest<Full<Bytes>>;

/// Opens connections.
pub(super) struct Dialer {
    pub(super) tls: Arc<ClientConfig>,
    pub(super) proxy: Proxy,
    /// The time limit for DNS and TCP together.
    pub(super) connect_timeout: Duration,
}

impl Dialer {
    /// Connects to the origin, or to the proxy that takes plain-text requests for it.
    pub(super) async fn dial(&self, origin: &Origin) -> Result<Sender, HttpError> {
        let Some(proxy) = self.proxy.towards(origin) else {
            let stream = self.stream(origin).await?;
            return handshake(origin, stream).await;
        };
        let stream = self.stream(&proxy.origin).await?;
        let sender = handshake(&proxy.origin, stream).await?;
        if !origin.tls {
            return Ok(sender);
        }
        let tunnel = tunnel(proxy, sender, origin).await?;
        let stream = self.secured(origin, tunnel).await?;
        handshake(origin, stream).await
    }

    /// Opens a TCP connection, with TLS if the origin uses it.
    async fn stream(&self, origin: &Origin) -> Result<Box<dyn Stream>, HttpError> {
        let stream = timeout(self.connect_timeout, tcp(origin))
            .await
            .unwrap_or_else(|_late| {
                Err(HttpError::connect(
                    &origin.authority(),
                    "no connection in time",
                ))
            })?;
        // A request is one write, so delaying packets gains nothing.
        let _ = stream.set_nodelay(true);
        if origin.tls {
            self.secured(origin, stream).await
        } else {
            Ok(Box::new(stream))
        }
    }

    async fn secured(
        &self,
        origin: &Origin,
        stream: impl Stream + 'static,
    ) -> Result<Box<dyn Stream>, HttpError> {
        let failed = |error: &dyn std::error::Error| HttpError::Tls {
            host: origin.authority(),
            why: one_line(error, LONGEST),
        };
        let name = ServerName::try_from(origin.host.to_string()).map_err(|error| failed(&error))?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream);
        Ok(Box::new(stream.await.map_err(|error| failed(&error))?))
    }
}

async fn handshake(origin: &Origin, stream: impl Stream + 'static) -> Result<Sender, HttpError> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| HttpError::broken(&origin.authority(), error))?;
    let host = origin.authority();
    #[allow(
        clippy::disallowed_methods,
        reason = "the task ends with its connection, which the pool owns"
    )]
    tokio::spawn(async move {
        // A request on this connection fails with the same error.
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(host, %error, "connection ended");
        }
    });
    Ok(sender)
}

/// Opens a tunnel to the origin (RFC 9110 section 9.3.6).
async fn tunnel(
    proxy: &Server,
    mut sender: Sender,
    origin: &Origin,
) -> Result<impl Stream + use<>, HttpError> {
    let host = proxy.origin.authority();
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(origin.authority())
        .header(header::HOST, origin.authority())
        .header(header::USER_AGENT, USER_AGENT);
    if let Some(authorization) = &proxy.authorization {
        request = request.header(header::PROXY_AUTHORIZATION, authorization);
    }

    let request = request
        .body(Full::default())
        .map_err(|_bad| HttpError::Url)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| HttpError::broken(&host, error))?;

    if !response.status().is_success() {
        return Err(HttpError::Proxy {
            host,
            status: response.status(),
        });
    }

    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(|error| HttpError::broken(&host, error))?;
    Ok(TokioIo::new(upgraded))
}

/// Connects to the address of the origin that responds first.
async fn tcp(origin: &Origin) -> Result<TcpStream, HttpError> {
    let mut addresses = resolve(&origin.host).await?.into_iter().take(ADDRESSES);
    let mut attempts = JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    loop {
        let more = addresses.next();
        let waiting = more.is_none();
        if let Some(address) = more {
            attempts.spawn(TcpStream::connect(SocketAddr::new(address, origin.port)));
        }

        let done = if waiting {
            attempts.join_next().await
        } else {
            match timeout(STAGGER, attempts.join_next()).await {
                Ok(done) => done,
                Err(_slow) => continue,
            }
        };
        match done {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => last = error,
            Some(Err(error)) => last = io::Error::other(error),
            None => return Err(HttpError::connect(&origin.authority(), last)),
        }
    }
}

/// Returns the addresses of a host, alternating between IPv6 and IPv4.
async fn resolve(host: &str) -> Result<Vec<IpAddr>, HttpError> {
    if let Ok(literal) = host.parse() {
        return Ok(vec![literal]);
    }
    if host == "localhost" {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let failed = |why: &dyn fmt::Display| HttpError::Resolve {
        host: host.to_owned(),
        why: one_line(why, LONGEST),
    };

    // Read resolv.conf for every lookup: on a device that booted without a network it changes.
    let resolver = hickory_resolver::TokioResolver::builder_tokio()
        .and_then(|builder| builder.build())
        .map_err(|error| failed(&error))?;

    // A name with a dot is complete: don't send it to the domains of a search list first.
    let absolute = if host.contains('.') {
        format!("{}.", host.trim_end_matches('.'))
    } else {
        host.to_owned()
    };
    let found = resolver
        .lookup_ip(absolute)
        .await
        .map_err(|error| failed(&error))?;

    let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = found.iter().partition(IpAddr::is_ipv6);
    let mut addresses = Vec::new();
    for at in 0..v6.len().max(v4.len()) {
        addresses.extend(v6.get(at));
        addresses.extend(v4.get(at));
    }

    if addresses.is_empty() {
        Err(failed(&"no addresses"))
    } else {
        Ok(addresses)
    }
}
