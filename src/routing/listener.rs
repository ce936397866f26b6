//! A listener: an address that clients connect to, and the protocol that is spoken there.

use std::net::SocketAddr;

/// An address that clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listener {
    /// The address. With port 0 the system chooses the port.
    pub address: SocketAddr,
    /// The protocol of its connections.
    pub protocol: ListenerProtocol,
}

/// The protocol of a listener's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenerProtocol {
    /// HTTP/1.1 and HTTP/2 in the clear.
    Http,
    /// HTTP/1.1 and HTTP/2 over TLS, which ends here.
    Https,
    /// Bytes, which are passed to the backend of the port.
    Tcp,
    /// Datagrams, which are passed to the backend of the port.
    Udp,
}

impl ListenerProtocol {
    /// Returns true if the requests on it are matched against the routing table.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}
