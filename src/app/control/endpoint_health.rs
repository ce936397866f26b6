//! What the data plane knows about endpoints, for inspection; and the findings that follow from it.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};

use crate::{
    admin::EndpointReport,
    controller::Finding,
    objects::{EventType, ObjectRef},
    proxy::{ConnectFailure, EndpointHealth, EndpointKey, Shared},
    routing::{Action, Backend, EndpointSet, Origin, Protocol, Route, RoutingTable},
};

/// The endpoints at one moment.
pub(crate) struct Health {
    stats: HashMap<SocketAddr, EndpointHealth>,
    ejected: Vec<SocketAddr>,
    failing: HashMap<EndpointKey, ConnectFailure>,
}

impl Health {
    pub(crate) fn new(shared: &Shared) -> Self {
        let stats = shared
            .endpoints()
            .into_iter()
            .map(|endpoint| (endpoint.addr, endpoint))
            .collect();
        Self {
            stats,
            ejected: shared.ejected(),
            failing: shared.failing(),
        }
    }

    /// The endpoints of a backend.
    pub(crate) fn of(&self, backend: &Backend) -> Vec<EndpointReport> {
        match &**backend.endpoints() {
            EndpointSet::Empty => Vec::new(),
            EndpointSet::Addresses(list) => list
                .iter()
                .map(|endpoint| self.of_address(endpoint.addr, backend.protocol))
                .collect(),
            EndpointSet::Name { host, port } => {
                let failing = first(&self.failing, backend);
                let health = match failing {
                    Some((key, failure)) => format!("by DNS; {} fails: {failure}", key.addr),
                    None => "by DNS".to_owned(),
                };
                let failure = failing.map(|(_, failure)| failure.to_string());
                vec![EndpointReport {
                    address: format!("{host}:{port}"),
                    health,
                    failure,
                    ..EndpointReport::default()
                }]
            }
        }
    }

    fn of_address(&self, addr: SocketAddr, protocol: Protocol) -> EndpointReport {
        let known = self.stats.get(&addr);
        let failure = self
            .failing
            .get(&EndpointKey {
                addr,
                protocol,
                name: None,
            })
            .map(ToString::to_string);
        let why = failure.as_deref();
        let health = match known {
            _ if self.ejected.contains(&addr) => {
                format!("passed over: {}", why.unwrap_or("connections failed"))
            }
            Some(known) if known.ejected_on > 0 => {
                format!("tried again: {}", why.unwrap_or("connections failed"))
            }
            _ if let Some(why) = why => format!("fails: {why}"),
            Some(_) => "ok".to_owned(),
            None => "not used yet".to_owned(),
        };
        EndpointReport {
            address: addr.to_string(),
            health,
            failure,
            requests: known.map_or(0, |known| known.requests),
            in_flight: known.map_or(0, |known| known.in_flight),
            failures: known.map_or(0, |known| known.failures),
        }
    }
}

/// A finding for each path that leads to an endpoint whose TLS handshakes fail. `reference` knows
/// the Ingresses.
pub(crate) fn findings<'a>(
    table: &RoutingTable,
    mut failing: HashMap<EndpointKey, ConnectFailure>,
    reference: impl Fn(&Origin) -> Option<&'a ObjectRef>,
) -> Vec<Finding> {
    failing.retain(|_, failure| failure.is_tls());
    if failing.is_empty() {
        return Vec::new();
    }

    let mut found = BTreeMap::new();
    let mut look = |route: &Route| {
        let Action::Forward(backend) = &route.action else {
            return;
        };
        let Some((_, failure)) = first(&failing, backend) else {
            return;
        };
        let Some(about) = reference(&route.origin) else {
            return;
        };
        found
            .entry((about.clone(), route.origin.field.clone()))
            .or_insert_with(|| Finding {
                about: about.clone(),
                severity: EventType::Warning,
                reason: "TlsHandshakeFailed",
                field: route.origin.field.clone(),
                message: format!("no connection to {}: {failure}", backend.id).into(),
            });
    };
    for host in table.hosts() {
        host.rules()
            .iter()
            .map(|(_, route)| &**route)
            .for_each(&mut look);
        host.fallback().into_iter().for_each(|route| look(route));
    }
    table
        .default_route()
        .into_iter()
        .for_each(|route| look(route));
    found.into_values().collect()
}

/// The first endpoint of a backend that fails, so that what is said stays the same for as long as
/// it fails.
fn first<'f>(
    failing: &'f HashMap<EndpointKey, ConnectFailure>,
    backend: &Backend,
) -> Option<(&'f EndpointKey, &'f ConnectFailure)> {
    let protocol = backend.protocol;
    match &**backend.endpoints() {
        EndpointSet::Empty => None,
        EndpointSet::Addresses(list) => list.iter().find_map(|endpoint| {
            failing.get_key_value(&EndpointKey {
                addr: endpoint.addr,
                protocol,
                name: None,
            })
        }),
        EndpointSet::Name { host, port } => {
            let addr = host
                .parse()
                .ok()
                .map(|ip: IpAddr| SocketAddr::new(ip, *port));
            let is_it = |key: &EndpointKey| match addr {
                Some(addr) => key.addr == addr,
                None => key.addr.port() == *port && key.name.as_deref() == Some(&**host),
            };
            failing
                .iter()
                .filter(|(key, _)| key.protocol == protocol && is_it(key))
                .min_by_key(|(key, _)| *key)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        objects::{Key, Kind},
        routing::{BackendId, Endpoint, HostPattern, HostRoutes, PathMatch},
    };

    const SPOKEN: Protocol = Protocol::Https;

    fn backend(name: &str, ports: &[u16]) -> Arc<Backend> {
        let backend = Backend::new(
            BackendId {
                namespace: "n".into(),
                service: name.into(),
                port: 443,
            },
            SPOKEN,
        );
        let endpoint = |port: &u16| Endpoint { addr: addr(*port) };
        backend.set_endpoints(EndpointSet::Addresses(ports.iter().map(endpoint).collect()));
        Arc::new(backend)
    }

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn route(field: &str, backend: &Arc<Backend>) -> Arc<Route> {
        let origin = Origin {
            namespace: "n".into(),
            name: "i".into(),
            field: field.into(),
        };
        Arc::new(Route {
            origin,
            action: Action::Forward(backend.clone()),
            filters: [].into(),
        })
    }

    #[test]
    fn each_path_to_an_endpoint_whose_tls_fails_has_a_finding() {
        let (bad, down) = (backend("bad", &[1, 2, 3]), backend("down", &[4]));
        let named = Backend::new(
            BackendId {
                namespace: "n".into(),
                service: "named".into(),
                port: 443,
            },
            SPOKEN,
        );
        named.set_endpoints(EndpointSet::Name {
            host: "x.example".into(),
            port: 5,
        });
        let rules = [
            ("/a", "f1", &bad),
            ("/b", "f2", &down),
            ("/c", "f3", &Arc::new(named)),
        ];
        let rules = rules
            .map(|(path, field, backend)| (PathMatch::Exact(path.into()), route(field, backend)));
        let pattern = HostPattern::parse("a.example").expect("a pattern");
        let (routes, _) = HostRoutes::new(pattern, rules, Some(route("f4", &bad)));
        let mut table = RoutingTable::default();
        table.set(Arc::new(routes));
        table.set_default(Some(route("f5", &backend("good", &[6]))));

        let tls = |why: &str| ConnectFailure::Tls(why.into());
        let key = |port, name: Option<&str>| EndpointKey {
            addr: addr(port),
            protocol: SPOKEN,
            name: name.map(Into::into),
        };
        let failing = HashMap::from([
            (key(2, None), tls("two")),
            (key(3, None), tls("three")),
            (key(4, None), ConnectFailure::Refused),
            (key(5, Some("x.example")), tls("named")),
            (key(6, Some("y.example")), tls("of another name")),
        ]);
        let key = Key {
            kind: Kind::Ingress,
            namespace: "n".into(),
            name: "i".into(),
        };
        let ingress = ObjectRef {
            key,
            uid: "u".into(),
        };
        let found = findings(&table, failing.clone(), |_| Some(&ingress));
        let found: Vec<_> = found
            .iter()
            .map(|one| (&*one.field, &*one.message))
            .collect();
        let two = "no connection to n/bad:443: the TLS handshake failed: two";
        let named = "no connection to n/named:443: the TLS handshake failed: named";
        assert_eq!(found, [("f1", two), ("f3", named), ("f4", two)]);
        assert_eq!(findings(&table, failing, |_| None), []);
    }
}
