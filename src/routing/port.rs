//! Layer 4: ports whose connections are passed to a backend without a look at their bytes.

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use super::{
    Access, Backend, ClientLimits, Host, HostPattern, Identity, Origin, Policy, Protocol, Refusal,
};

/// The protocol below the bytes of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A port that clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// The transport.
    pub transport: Transport,
    /// The number, from 1.
    pub number: u16,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
    /// Binary, with the version of TLS that the client speaks.
    V2Tls,
}

/// A port, with the destinations of its connections.
#[derive(Debug)]
pub struct OpenPort {
    /// Clients begin each connection with a header of the PROXY protocol, of any version.
    pub accepts_proxy: bool,
    /// The destination of the connections that no name decides about; `None` closes them.
    route: Option<Arc<PortRoute>>,
    /// The destinations by the server name in the ClientHello, or the reasons why they are closed.
    named: BTreeMap<HostPattern, Result<Arc<PortRoute>, Refusal>>,
}

/// The terms on which we end the TLS of clients at a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndedTls {
    /// The certificate; `None` for those of the hosts, by the name that a client sends.
    pub certificate: Option<Arc<Identity>>,
    /// The protocols that may be chosen (ALPN), the preferred one first. Where the endpoint has TLS
    /// too, it chooses.
    pub protocols: Box<[Box<[u8]>]>,
}

/// The treatment of the connections to a port.
#[derive(Debug)]
pub struct PortRoute {
    /// The kind of the object that asks for the port (`Service`).
    pub kind: &'static str,
    /// That object, and its field.
    pub origin: Origin,
    /// The terms on which we end the TLS of clients; `None` to pass on what they send.
    pub ends_tls: Option<EndedTls>,
    /// The version of the header that endpoints get; `None` for no header.
    pub sends_proxy: Option<ProxyVersion>,
    /// The decisions about who may come in, which are about addresses alone: all of them must let a
    /// client in.
    pub accesses: Box<[Arc<Access>]>,
    /// The limits of each client; `None` for none.
    pub limits: Option<Arc<ClientLimits>>,
    /// The limit of all clients together, as one; `None` for none.
    pub total: Option<Arc<ClientLimits>>,
    /// True if all connections of a client go to one endpoint (`sessionAffinity` of a Service).
    pub sticky: bool,
    /// The destination of its connections.
    pub backend: Arc<Backend>,
    /// The terms in place of the settings of the data plane.
    pub policy: Policy,
}

impl PortRoute {
    /// Returns true if a client with this address may come in.
    pub fn lets_in(&self, address: IpAddr) -> bool {
        self.accesses.iter().all(|access| access.lets_in(address))
    }
}

impl OpenPort {
    /// Returns a port without destinations.
    pub fn new(accepts_proxy: bool) -> Self {
        Self {
            accepts_proxy,
            route: None,
            named: BTreeMap::new(),
        }
    }

    /// Returns a port whose connections all have one destination.
    pub fn to(route: Arc<PortRoute>, accepts_proxy: bool) -> Self {
        Self {
            route: Some(route),
            ..Self::new(accepts_proxy)
        }
    }

    /// Sets the destination of the connections with a name; of [`HostPattern::Any`], of all that no
    /// name decides about.
    pub fn set(&mut self, host: HostPattern, target: Result<Arc<PortRoute>, Refusal>) {
        match host {
            HostPattern::Any => self.route = target.ok(),
            host => drop(self.named.insert(host, target)),
        }
    }

    /// Returns true if names decide about connections.
    pub fn has_names(&self) -> bool {
        !self.named.is_empty()
    }

    /// Returns the destination of the connections that no name decides about.
    pub fn route(&self) -> Option<&Arc<PortRoute>> {
        self.route.as_ref()
    }

    /// Returns the destination of a connection with this server name; `None` closes it.
    pub fn find(&self, name: Option<&Host>) -> Option<&Arc<PortRoute>> {
        let target = name.filter(|_| self.has_names()).and_then(|host| {
            let exact = self.named.get(&HostPattern::Exact(host.clone()));
            exact.or_else(|| {
                let (_label, suffix) = host.as_str().split_once('.')?;
                let suffix = Host::parse(suffix).ok()?;
                self.named.get(&HostPattern::Wildcard(suffix))
            })
        });
        match target {
            Some(target) => target.as_ref().ok(),
            None => self.route(),
        }
    }

    /// Returns all destinations, each with its name if it has one.
    pub fn routes(&self) -> impl Iterator<Item = (Option<&HostPattern>, &Arc<PortRoute>)> {
        let named = self.named.iter();
        let named = named.filter_map(|(host, target)| Some((Some(host), target.as_ref().ok()?)));
        self.route.iter().map(|route| (None, route)).chain(named)
    }
}

/// The ports that are open. Immutable: an edit makes a new one.
#[derive(Clone, Debug, Default)]
pub struct PortTable {
    ports: BTreeMap<Port, Arc<OpenPort>>,
}

/// Operators read these words, and `explain` takes them.
impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.transport, self.number)
    }
}

impl Port {
    /// Returns the TCP port of this number.
    pub fn tcp(number: u16) -> Self {
        Self {
            transport: Transport::Tcp,
            number,
        }
    }

    /// Returns the UDP port of this number.
    pub fn udp(number: u16) -> Self {
        Self {
            transport: Transport::Udp,
            number,
        }
    }
}

impl Transport {
    /// Returns the protocol that its backends have.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::Tcp,
            Self::Udp => Protocol::Udp,
        }
    }
}

impl PortTable {
    /// Returns a port, if it is open.
    pub fn find(&self, port: Port) -> Option<&Arc<OpenPort>> {
        self.ports.get(&port)
    }

    /// Returns all ports, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Port, &Arc<OpenPort>)> {
        self.ports.iter().map(|(port, open)| (*port, open))
    }
}

impl FromIterator<(Port, Arc<OpenPort>)> for PortTable {
    fn from_iter<T: IntoIterator<Item = (Port, Arc<OpenPort>)>>(ports: T) -> Self {
        Self {
            ports: ports.into_iter().collect(),
        }
    }
}
