//! What is known about a client connection, the same for all its requests.

use std::{net::SocketAddr, sync::Arc};

use http::HeaderValue;

use super::{conn_state::ConnState, pin::Pins};
use crate::tls::Resolver;

/// A client connection after accept, PROXY protocol and TLS.
#[derive(Debug)]
pub struct ConnInfo {
    /// The client: the peer of the socket, or what a trusted PROXY protocol header said.
    pub client: SocketAddr,
    /// The peer of the socket (differs from `client` behind PROXY protocol).
    pub peer: SocketAddr,
    /// The local address the client connected to (as PROXY protocol said, if it did).
    pub local: SocketAddr,
    /// The port of our listener, if the client itself connected to it; `None` if a balancer did
    /// that speaks the PROXY protocol.
    pub listener: Option<u16>,
    /// `client.ip()` as a header value, prepared once per connection.
    pub client_ip: HeaderValue,
    /// Whether `client` is in the list of trusted proxies: behind PROXY protocol it is the hop
    /// before the balancer.
    pub trusted: bool,
    /// What TLS agreed on; `None` on a plain connection.
    pub tls: Option<TlsInfo>,
    /// What the transport, the requests and the deadlines of the connection tell each other.
    pub(crate) state: Arc<ConnState>,
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
    /// Who chose the certificate.
    pub resolver: Arc<Resolver>,
}

impl ConnInfo {
    /// The connection speaks another protocol from here on: no more HTTP framing on it.
    pub(crate) fn switched(&self) {
        self.state.switch();
    }
}
