//! The health of endpoints, as the data plane sees it: for reports, and for findings about TLS.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};

use crate::{
    admin::EndpointReport,
    controller::{Finding, Reason},
    objects::{EventType, ObjectRef},
    proxy::{ConnectFailure, EndpointHealth, EndpointKey, Shared},
    routing::{Backend, EndpointSet, Origin, Route, RoutingTable},
};

/// The health of all endpoints at one moment.
pub(crate) struct Health {
    stats: HashMap<SocketAddr, EndpointHealth>,
    ejected: Vec<SocketAddr>,
    failing: HashMap<EndpointKey, ConnectFailure>,
    down: HashMap<EndpointKey, Box<str>>,
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
            down: shared.down(),
        }
    }

    /// Returns the reports of a backend's endpoints.
    pub(crate) fn of(&self, backend: &Backend) -> Vec<EndpointReport> {
        match &**backend.endpoints() {
            EndpointSet::Empty => Vec::new(),
            EndpointSet::Addresses(list) => list
                .iter()
                .map(|endpoint| self.of_address(endpoint.addr, backend))
                .collect(),
            EndpointSet::Name { host, port } => {
                let failing = first_failing(&self.failing, backend);
                let health = match failing {
                    Some((key, failure)) => format!("by DNS; {} fails: {failure}", key.addr),
                    None => "by DNS".to_owned(),
                };

                vec![EndpointReport {
                    address: format!("{host}:{port}"),
                    health,
                    failure: failing.map(|(_, failure)| failure.to_string()),
                    ..EndpointReport::default()
                }]
            }
        }
    }

    fn of_address(&self, addr: SocketAddr, backend: &Backend) -> EndpointReport {
        let stats = self.stats.get(&addr);
        let key = EndpointKey {
            addr,
            name: None,
            backend: backend.settings.clone(),
        };
        let failure = self.failing.get(&key).map(ToString::to_string);
        let reason = failure.as_deref().unwrap_or("connections failed");

        let health = match stats {
            _ if self.down.contains_key(&key) => format!("down: {}", self.down[&key]),
            _ if self.ejected.contains(&addr) => format!("ejected: {reason}"),
            Some(stats) if stats.ejected_on > 0 => format!("retried: {reason}"),
            _ if failure.is_some() => format!("failing: {reason}"),
            Some(_) => "ok".to_owned(),
            None => "not used yet".to_owned(),
        };

        EndpointReport {
            address: addr.to_string(),
            health,
            failure,
            requests: stats.map_or(0, |stats| stats.requests),
            in_flight: stats.map_or(0, |stats| stats.in_flight),
            failures: stats.map_or(0, |stats| stats.failures),
        }
    }
}

/// Returns a finding for each path to an endpoint whose TLS handshakes fail. All `failing` are
/// failures of TLS; `reference` finds the Ingress of a rule.
pub(super) fn findings<'a>(
    table: &RoutingTable,
    failing: &HashMap<EndpointKey, ConnectFailure>,
    reference: impl Fn(&Origin) -> Option<&'a ObjectRef>,
) -> Vec<Finding> {
    if failing.is_empty() {
        return Vec::new();
    }

    let mut findings = BTreeMap::new();
    let mut check = |route: &Route| {
        let mut backends = route.action.backends();
        let Some(message) = backends.find_map(|backend| failed(failing, backend)) else {
            return;
        };
        let Some(about) = reference(&route.origin) else {
            return;
        };

        findings
            .entry((about.clone(), route.origin.field.clone()))
            .or_insert_with(|| Finding {
                about: about.clone(),
                severity: EventType::Warning,
                reason: Reason::TlsHandshakeFailed,
                field: route.origin.field.clone(),
                message: message.into(),
            });
    };

    for host in table.hosts() {
        let rules = host.rules().iter().map(|rule| &*rule.route);
        rules.for_each(&mut check);
        host.fallback().into_iter().for_each(|route| check(route));
    }
    table
        .default_route()
        .into_iter()
        .for_each(|route| check(route));

    findings.into_values().collect()
}

/// Says that no connection can be made to an endpoint of a backend, if one fails.
pub(super) fn failed(
    failing: &HashMap<EndpointKey, ConnectFailure>,
    backend: &Backend,
) -> Option<String> {
    let (_, failure) = first_failing(failing, backend)?;
    Some(format!("no connection to {}: {failure}", backend.id()))
}

/// Returns the first endpoint of a backend that fails. It is always the same one, so that a message
/// about it changes only with the failure.
fn first_failing<'f>(
    failing: &'f HashMap<EndpointKey, ConnectFailure>,
    backend: &Backend,
) -> Option<(&'f EndpointKey, &'f ConnectFailure)> {
    match &**backend.endpoints() {
        EndpointSet::Empty => None,
        EndpointSet::Addresses(list) => list.iter().find_map(|endpoint| {
            failing.get_key_value(&EndpointKey {
                addr: endpoint.addr,
                name: None,
                backend: backend.settings.clone(),
            })
        }),
        EndpointSet::Name { host, port } => {
            let addr = host
                .parse()
                .ok()
                .map(|ip: IpAddr| SocketAddr::new(ip, *port));
            let is_of_backend = |key: &EndpointKey| match addr {
                Some(addr) => key.addr == addr,
                None => key.addr.port() == *port && key.name.as_deref() == Some(&**host),
            };

            failing
                .iter()
                .filter(|(key, _)| key.backend == backend.settings && is_of_backend(key))
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
        routing::{
            Action, BackendId, BackendSettings, Endpoint, HostPattern, HostRoutes, PathMatch,
            Protocol, Split,
        },
    };

    const PROTOCOL: Protocol = Protocol::Https;

    fn backend(name: &str, endpoints: EndpointSet) -> Arc<Backend> {
        let id = BackendId {
            namespace: "n".into(),
            service: name.into(),
            port: 443,
        };
        let backend = Backend::new(BackendSettings::new(id, PROTOCOL));
        backend.set_endpoints(endpoints);
        Arc::new(backend)
    }

    fn addresses(ports: &[u16]) -> EndpointSet {
        let endpoint = |port: &u16| Endpoint::at(addr(*port));
        EndpointSet::Addresses(ports.iter().map(endpoint).collect())
    }

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn route(field: &str, backend: &Arc<Backend>) -> Arc<Route> {
        let origin = Origin {
            namespace: "n".into(),
            name: "i".into(),
            field: field.into(),
            requests: None,
            priority: None,
        };
        Arc::new(Route::new(
            origin,
            Action::Forward(Split::to(backend.clone())),
        ))
    }

    #[test]
    fn each_path_to_an_endpoint_whose_tls_fails_has_a_finding() {
        let (bad, down) = (
            backend("bad", addresses(&[1, 2, 3])),
            backend("down", addresses(&[4])),
        );
        let named = EndpointSet::Name {
            host: "x.example".into(),
            port: 5,
        };
        let (named, good) = (backend("named", named), backend("good", addresses(&[2, 6])));
        let rules = [
            ("/a", "f1", &bad),
            ("/b", "f2", &down),
            ("/c", "f3", &named),
        ];
        let rules = rules
            .map(|(path, field, backend)| (PathMatch::Exact(path.into()), route(field, backend)));
        let pattern = HostPattern::parse("a.example").expect("a pattern");
        let (routes, _) = HostRoutes::new(pattern, rules, Some(route("f4", &bad)));
        let mut table = RoutingTable::default();
        table.set(Arc::new(routes));
        table.set_default(Some(route("f5", &good)));

        let tls = |reason: &str| ConnectFailure::Tls(reason.into());
        let key = |backend: &Arc<Backend>, port, name: Option<&str>| EndpointKey {
            addr: addr(port),
            name: name.map(Into::into),
            backend: backend.settings.clone(),
        };
        let failing = HashMap::from([
            (key(&bad, 2, None), tls("two")),
            (key(&bad, 3, None), tls("three")),
            (key(&named, 5, Some("x.example")), tls("named")),
            (key(&good, 6, Some("y.example")), tls("of another name")),
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

        let found = findings(&table, &failing, |_| Some(&ingress));
        let found: Vec<_> = found
            .iter()
            .map(|one| (&*one.field, one.message.to_string()))
            .collect();
        let two = "no connection to n/bad:443: the TLS handshake failed: two";
        let named = "no connection to n/named:443: the TLS handshake failed: named";
        let expected = [("f1", two), ("f3", named), ("f4", two)];
        assert_eq!(
            found,
            expected.map(|(field, text)| (field, text.to_owned()))
        );
        assert_eq!(findings(&table, &failing, |_| None), []);
    }
}
