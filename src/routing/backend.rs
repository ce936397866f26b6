//! The target of a route: a backend and the cell that holds its endpoints.

use std::{fmt, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;

/// The stable identity of a backend. Pools, ejection state and counters are keyed by it, so that
/// they survive edits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId {
    /// Namespace of the Service.
    pub namespace: Arc<str>,
    /// Name of the Service.
    pub service: Arc<str>,
    /// The Service port, as its number (`80`).
    pub port: u16,
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.service, self.port)
    }
}

/// The protocol of the connections to endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1 in the clear (also WebSocket).
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge in the clear: gRPC, `appProtocol: kubernetes.io/h2c`.
    H2c,
    /// TLS, then HTTP/1.1.
    Https,
    /// TLS, then HTTP/2 (ALPN `h2`): gRPC over TLS.
    H2,
}

/// Operators and tools read these words: they are part of the interface.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1.1",
            Self::H2c => "h2c",
            Self::Https => "HTTP/1.1 over TLS",
            Self::H2 => "HTTP/2 over TLS",
        })
    }
}

/// One address that may be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address to connect to.
    pub addr: SocketAddr,
}

/// The endpoints of a backend at one moment, in the order in which their source lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EndpointSet {
    /// Nothing to send to: 503.
    #[default]
    Empty,
    /// Addresses known from EndpointSlices.
    Addresses(Box<[Endpoint]>),
    /// A DNS name to be resolved (ExternalName) and the port there.
    Name {
        /// The name, absolute, without trailing dot. An IP literal is allowed.
        host: Box<str>,
        /// The port to connect to.
        port: u16,
    },
}

/// A backend. Its endpoints live in a cell of their own, so that endpoint churn never makes a new
/// routing table.
#[derive(Debug)]
pub struct Backend {
    /// Stable identity.
    pub id: BackendId,
    /// Protocol of its endpoints.
    pub protocol: Protocol,
    endpoints: ArcSwap<EndpointSet>,
}

impl Backend {
    /// Returns a backend without endpoints.
    pub fn new(id: BackendId, protocol: Protocol) -> Self {
        Self {
            id,
            protocol,
            endpoints: ArcSwap::default(),
        }
    }

    /// Returns the current endpoints. One atomic load.
    pub fn endpoints(&self) -> arc_swap::Guard<Arc<EndpointSet>> {
        self.endpoints.load()
    }

    /// Replaces the endpoints for every generation of the table at once.
    pub fn set_endpoints(&self, endpoints: EndpointSet) {
        self.endpoints.store(Arc::new(endpoints));
    }
}
