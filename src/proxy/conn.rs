//! Properties of a client connection that are the same for all its requests.

use std::{net::SocketAddr, sync::Arc};

use super::upstream::pin::Pins;
use crate::tls::Resolver;

/// A client connection after accept, PROXY protocol and TLS.
#[derive(Debug)]
pub struct ConnInfo {
    /// The client: the peer of the socket, or the source in a trusted PROXY protocol header.
    pub client: SocketAddr,
    /// The peer of the socket (differs from `client` behind PROXY protocol).
    pub peer: SocketAddr,
    /// The local address the client connected to; from the PROXY protocol header if there was one.
    pub local: SocketAddr,
    /// The port of our listener if the client connected to it directly; `None` if a load balancer
    /// did and sent a PROXY protocol header.
    pub listener: Option<u16>,
    /// `client.ip()` as text, prepared once per connection.
    pub client_ip: Box<str>,
    /// True if `client` is a trusted proxy. Behind the PROXY protocol `client` is the hop before
    /// the balancer.
    pub trusted: bool,
    /// The outcome of the TLS handshake; `None` on a plain connection.
    pub tls: Option<TlsInfo>,
    /// Connections to endpoints that carry requests of this client connection alone.
    pub(super) pins: Pins,
}

/// The outcome of a TLS handshake.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    /// SNI in lower case, if the client sent one.
    pub sni: Option<Arc<str>>,
    /// The protocol version for the log (`TLSv1.3`).
    pub version: &'static str,
    /// The resolver that chose the certificate.
    pub resolver: Arc<Resolver>,
}
