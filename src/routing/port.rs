//! Layer 4: ports whose connections are passed to a backend without a look at their bytes.

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use super::{Access, Backend, ClientLimits, Origin, Policy, Protocol};

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

/// The treatment of the connections to a port.
#[derive(Debug)]
pub struct PortRoute {
    /// The kind of the object that asks for the port (`Service`).
    pub kind: &'static str,
    /// That object, and its field.
    pub origin: Origin,
    /// Clients begin each connection with a header of the PROXY protocol, of any version.
    pub accepts_proxy: bool,
    /// We end the TLS of clients, with the certificates of the hosts.
    pub ends_tls: bool,
    /// The version of the header that endpoints get; `None` for no header.
    pub sends_proxy: Option<ProxyVersion>,
    /// The decision about who may come in, which is about addresses alone; `None` for everybody.
    pub access: Option<Arc<Access>>,
    /// The limits of each client; `None` for none.
    pub limits: Option<Arc<ClientLimits>>,
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
        let access = self.access.as_ref();
        access.is_none_or(|access| access.lets_in(address))
    }
}

/// The ports that are open, with their routes. Immutable: an edit makes a new one.
#[derive(Clone, Debug, Default)]
pub struct PortTable {
    routes: BTreeMap<Port, Arc<PortRoute>>,
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
    /// Returns the route of a port.
    pub fn find(&self, port: Port) -> Option<&Arc<PortRoute>> {
        self.routes.get(&port)
    }

    /// Returns all ports with their routes, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Port, &Arc<PortRoute>)> {
        self.routes.iter().map(|(port, route)| (*port, route))
    }
}

impl FromIterator<(Port, Arc<PortRoute>)> for PortTable {
    fn from_iter<T: IntoIterator<Item = (Port, Arc<PortRoute>)>>(routes: T) -> Self {
        Self {
            routes: routes.into_iter().collect(),
        }
    }
}
