//! The target of a route: a backend and the cell that holds its endpoints.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;

use super::{BackendTls, EndpointGroups, HealthCheck, ProxyVersion, Transport};
use crate::util::hash::fnv1a;

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
    /// HTTP/1.1, over TLS for the requests of clients with HTTPS; see [`Backend::for_scheme`].
    ByScheme,
    /// The bytes of the client, for the backend of a port.
    Tcp,
    /// TLS, then the bytes of the client, for the backend of a port.
    Tls,
    /// The datagrams of the client, for the backend of a port.
    Udp,
}

impl Protocol {
    /// Returns the transport below it.
    pub fn transport(self) -> Transport {
        match self {
            Self::Udp => Transport::Udp,
            _ => Transport::Tcp,
        }
    }
}

/// Operators and tools read these words: they are part of the interface.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1.1",
            Self::H2c => "h2c",
            Self::Https => "HTTP/1.1 over TLS",
            Self::H2 => "HTTP/2 over TLS",
            Self::ByScheme => "HTTP/1.1, over TLS as the client",
            Self::Tcp => "TCP",
            Self::Tls => "TCP over TLS",
            Self::Udp => "UDP",
        })
    }
}

/// The settings of a backend. Connections to its endpoints are pooled by them: backends that differ
/// in any of them share no connection, even where they share an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendSettings {
    /// Stable identity.
    pub id: BackendId,
    /// Protocol of its endpoints.
    pub protocol: Protocol,
    /// TLS to its endpoints, if the protocol has it.
    pub tls: BackendTls,
    /// The addresses that requests go to.
    pub reach: Reach,
    /// The version of the PROXY protocol with which connections begin; `None` for none.
    pub sends_proxy: Option<ProxyVersion>,
    /// Limits for each of its endpoints.
    pub limits: BackendLimits,
    /// The groups that decide about the weights of its endpoints; `None` for none.
    pub groups: Option<Arc<EndpointGroups>>,
    /// The health check of its endpoints; `None` for none.
    pub check: Option<Arc<HealthCheck>>,
    /// The times of requests to it that are our own, beside those of clients; `None` for those of
    /// the settings. Requests of clients have those of their route.
    pub times: Option<Box<BackendTimes>>,
}

/// The longest times of requests to a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendTimes {
    /// For the TCP (and TLS) connect to an endpoint.
    pub connect: Option<Duration>,
    /// From the end of the request head to the head of the response.
    pub response_header: Option<Duration>,
}

/// The addresses that requests for a Service go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reach {
    /// Its endpoints.
    #[default]
    Endpoints,
    /// Its own address (`spec.clusterIP`), where the cluster chooses an endpoint.
    Service,
}

/// Limits for each endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendLimits {
    /// Requests in flight, of all cores: an endpoint with so many is passed over, and without
    /// another one the request waits for [`Timeouts::queue`](super::Timeouts::queue), and is
    /// refused with 503. `None` for no limit. Cores that choose at the same moment may exceed it by
    /// one each.
    pub requests: Option<u32>,
    /// Idle connections that each core keeps; `None` as the settings of the data plane say.
    pub idle: Option<usize>,
}

/// One address that may be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address to connect to.
    pub addr: SocketAddr,
    /// Its part of the requests, beside those of the others; 0 for none but those of clients that
    /// stick to it, and those that name its group.
    pub weight: u16,
    /// The identity of what serves there. It stays when the list of endpoints changes, and changes
    /// when another Pod takes the address.
    pub id: EndpointId,
    /// The zone that it is in, if its source says.
    pub zone: Option<Arc<str>>,
    /// True if it ends soon: it has requests as long as it is listed, but no client begins to stick
    /// to it.
    pub draining: bool,
    /// The group that requests may name, if its backend has groups.
    pub group: Option<Arc<str>>,
}

/// The identity of an endpoint, as a hash of its name at its source: stable over restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(u64);

impl Endpoint {
    /// Returns an endpoint about which nothing but the address is known.
    pub fn at(addr: SocketAddr) -> Self {
        Self {
            addr,
            weight: 1,
            id: EndpointId::of(&addr.to_string()),
            zone: None,
            draining: false,
            group: None,
        }
    }
}

impl EndpointId {
    /// Returns the identity of the endpoint with this name.
    pub fn of(name: &str) -> Self {
        Self(fnv1a(name.as_bytes()))
    }

    /// Returns the number.
    pub fn number(self) -> u64 {
        self.0
    }
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
    /// Its settings, shared with its connections.
    pub settings: Arc<BackendSettings>,
    endpoints: ArcSwap<EndpointSet>,
    /// The backends without and with TLS, if the scheme of the client decides.
    by_scheme: Option<Box<[Arc<Self>; 2]>>,
}

/// A backend in a step. It is equal to itself alone.
#[derive(Clone, Debug)]
pub struct BackendRef(pub Arc<Backend>);

impl PartialEq for BackendRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for BackendRef {}

impl Hash for BackendRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.settings.hash(state);
    }
}

impl BackendSettings {
    /// Returns the settings of a backend without special terms.
    pub fn new(id: BackendId, protocol: Protocol) -> Self {
        Self {
            id,
            protocol,
            tls: BackendTls::default(),
            reach: Reach::default(),
            sends_proxy: None,
            limits: BackendLimits::default(),
            groups: None,
            check: None,
            times: None,
        }
    }
}

impl Backend {
    /// Returns a backend without endpoints.
    pub fn new(settings: BackendSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            endpoints: ArcSwap::default(),
            by_scheme: None,
        }
    }

    /// Returns a backend that stands for two others: one for clients without TLS, and one for those
    /// with it.
    pub fn by_scheme(settings: BackendSettings, plain: Arc<Self>, secure: Arc<Self>) -> Self {
        Self {
            by_scheme: Some(Box::new([plain, secure])),
            ..Self::new(settings)
        }
    }

    /// Returns the backend for a request, by the scheme that its client used.
    pub fn for_scheme(self: &Arc<Self>, https: bool) -> &Arc<Self> {
        match &self.by_scheme {
            None => self,
            Some(both) => &both[usize::from(https)],
        }
    }

    /// Returns the backends that it stands for, or itself.
    pub fn connected(self: &Arc<Self>) -> &[Arc<Self>] {
        match &self.by_scheme {
            None => std::slice::from_ref(self),
            Some(both) => &both[..],
        }
    }

    /// Returns its stable identity.
    pub fn id(&self) -> &BackendId {
        &self.settings.id
    }

    /// Returns the protocol of its endpoints.
    pub fn protocol(&self) -> Protocol {
        self.settings.protocol
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
