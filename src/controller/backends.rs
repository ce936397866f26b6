//! The backends, lists of steps, policies and users that compiled routes share. A backend keeps its
//! identity over compiles, because the cells of its endpoints are shared with requests.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use super::{
    EndpointUpdate,
    backend_terms::{BackendTerms, SendsProxy},
    endpoints, groups,
    objects::{Name, Objects},
};
use crate::routing::{
    Access, Backend, BackendId, BackendLimits, BackendSettings, BackendTimes, BackendTls, Cors,
    EndpointGroups, EndpointSet, Expression, PatternError, Policy, Protocol, Reach, Rewrite, Steps,
    TlsTerms, Transport, Users,
};

/// The parts that routes share.
#[derive(Debug, Default)]
pub(super) struct Backends {
    /// The backends of each Service, one for each port and way to speak with it.
    of_service: HashMap<Name, Vec<Arc<Backend>>>,
    /// The backends with a name for DNS, or an address, that no Service stands for.
    of_name: HashMap<BackendSettings, Arc<Backend>>,
    /// The lists of steps.
    steps: HashSet<Arc<Steps>>,
    /// Single steps that are the same in several lists.
    access: HashSet<Arc<Access>>,
    cors: HashSet<Arc<Cors>>,
    rewrites: HashSet<Arc<Rewrite>>,
    /// The users of logins.
    users: HashSet<Arc<Users>>,
    policies: HashSet<Arc<Policy>>,
    /// The terms of TLS to backends.
    tls: HashSet<Arc<TlsTerms>>,
    /// Regular expressions, by their text.
    expressions: HashMap<Box<str>, Arc<Expression>>,
}

impl Backends {
    /// Returns the backend for a Service port, and makes it if it does not exist.
    pub(super) fn get(&mut self, service: &Name, port: u16, terms: BackendTerms) -> Arc<Backend> {
        let id = BackendId {
            namespace: service.0.clone(),
            service: service.1.clone(),
            port,
        };
        let BackendTerms {
            protocol,
            tls,
            reach,
            sends_proxy,
            only_http1: _,
            closes,
            max_requests,
            groups,
            check,
            times,
        } = terms;
        let settings = BackendSettings {
            tls,
            reach,
            sends_proxy: sends_proxy.and_then(SendsProxy::version),
            limits: BackendLimits {
                requests: max_requests.filter(|limit| *limit > 0),
                idle: closes.then_some(0),
            },
            groups,
            check,
            times: (times != BackendTimes::default()).then(|| Box::new(times)),
            ..BackendSettings::new(id, protocol.unwrap_or_default())
        };

        let known = self.of_service.entry(service.clone()).or_default();
        if settings.protocol != Protocol::ByScheme {
            return known_or(known, settings, Backend::new);
        }

        let [plain, secure] = [Protocol::Http1, Protocol::Https].map(|protocol| {
            let settings = BackendSettings {
                protocol,
                ..settings.clone()
            };
            known_or(known, settings, Backend::new)
        });
        known_or(known, settings, |settings| {
            Backend::by_scheme(settings, plain, secure)
        })
    }

    /// Returns the backend for a name and port that an object of a namespace names, and makes it if
    /// it does not exist.
    pub(super) fn of_name(
        &mut self,
        namespace: &Arc<str>,
        host: &str,
        port: u16,
        (protocol, tls): (Protocol, BackendTls),
    ) -> Arc<Backend> {
        let id = BackendId {
            namespace: namespace.clone(),
            service: host.into(),
            port,
        };
        let settings = BackendSettings {
            tls,
            ..BackendSettings::new(id, protocol)
        };

        let known = self.of_name.entry(settings).or_insert_with_key(|settings| {
            let backend = Backend::new(settings.clone());
            backend.set_endpoints(EndpointSet::Name {
                host: host.into(),
                port,
            });
            Arc::new(backend)
        });
        known.clone()
    }

    /// Returns the shared copy of a list of steps: few lists differ, and routes are thousands.
    /// `None` for an empty one.
    pub(super) fn share_steps(&mut self, steps: Steps) -> Option<Arc<Steps>> {
        (!steps.is_empty()).then(|| share(&mut self.steps, steps))
    }

    /// Returns the shared copy of a policy; `None` for one that changes nothing.
    pub(super) fn share_policy(&mut self, policy: Policy) -> Option<Arc<Policy>> {
        (policy != Policy::default()).then(|| share(&mut self.policies, policy))
    }

    /// Returns the shared copy of terms of TLS; `None` for the usual ones.
    pub(super) fn share_tls(&mut self, terms: TlsTerms) -> Option<Arc<TlsTerms>> {
        (terms != TlsTerms::default()).then(|| share(&mut self.tls, terms))
    }

    /// Returns the shared copy of a decision about who may come in.
    pub(super) fn share_access(&mut self, access: Access) -> Arc<Access> {
        share(&mut self.access, access)
    }

    /// Returns the shared copy of terms for pages of other origins.
    pub(super) fn share_cors(&mut self, cors: Cors) -> Arc<Cors> {
        share(&mut self.cors, cors)
    }

    /// Returns the shared copy of a change of the path.
    pub(super) fn share_rewrite(&mut self, rewrite: Rewrite) -> Arc<Rewrite> {
        share(&mut self.rewrites, rewrite)
    }

    /// Returns the shared copy of the users of a login.
    pub(super) fn share_users(&mut self, users: Users) -> Arc<Users> {
        share(&mut self.users, users)
    }

    /// Returns the shared copy of a regular expression, and compiles it if it does not exist.
    pub(super) fn share_expression(&mut self, text: &str) -> Result<Arc<Expression>, PatternError> {
        if let Some(known) = self.expressions.get(text) {
            return Ok(known.clone());
        }
        let expression = Arc::new(Expression::parse(text)?);
        self.expressions.insert(text.into(), expression.clone());
        Ok(expression)
    }

    /// Returns the Services with a backend that has no endpoints yet.
    pub(super) fn without_endpoints(&self) -> BTreeSet<Name> {
        let is_empty = |backend: &Arc<Backend>| matches!(**backend.endpoints(), EndpointSet::Empty);
        self.of_service
            .iter()
            .filter(|(_, backends)| backends.iter().any(is_empty))
            .map(|(service, _)| service.clone())
            .collect()
    }

    /// Returns the endpoints that differ from those in the cells, for these Services.
    pub(super) fn updates(
        &self,
        objects: &Objects,
        services: &BTreeSet<Name>,
    ) -> Vec<EndpointUpdate> {
        let mut updates = Vec::new();
        for service in services {
            let backends = self.of_service.get(service).into_iter().flatten();
            let mut by_port: BTreeMap<EndpointsKey<'_>, Vec<&Arc<Backend>>> = BTreeMap::new();
            for backend in backends {
                by_port
                    .entry(EndpointsKey::of(backend))
                    .or_default()
                    .push(backend);
            }

            for (key, backends) in by_port {
                let Some(endpoints) = self.endpoints(objects, service, &key) else {
                    continue;
                };
                let outdated = backends
                    .into_iter()
                    .filter(|backend| **backend.endpoints() != endpoints);
                updates.extend(outdated.map(|backend| EndpointUpdate {
                    backend: backend.clone(),
                    endpoints: endpoints.clone(),
                }));
            }
        }

        updates
    }

    /// Returns the endpoints of backends of a Service; `None` if they stay as they are.
    fn endpoints(
        &self,
        objects: &Objects,
        service: &Name,
        key: &EndpointsKey<'_>,
    ) -> Option<EndpointSet> {
        let (port, transport) = (key.port, key.transport);
        match (key.reach, key.groups) {
            (Reach::Endpoints, None) => Some(endpoints::resolve(objects, service, port, transport)),
            (Reach::Endpoints, Some(groups)) => {
                let found = groups::resolve(objects, service, port, transport, groups);
                found.or_else(|| self.lately(service, key))
            }
            // The address of a Service is in no group.
            (Reach::Service, Some(groups)) if !groups.weights.is_empty() => {
                Some(EndpointSet::Empty)
            }
            (Reach::Service, _) => Some(endpoints::of_service(objects, service, port, transport)),
        }
    }

    /// Returns the endpoints that a Service had without these groups, for a backend that has none
    /// yet: requests go on until the labels of its Pods are known.
    fn lately(&self, service: &Name, key: &EndpointsKey<'_>) -> Option<EndpointSet> {
        let is_empty = |backend: &Backend| matches!(**backend.endpoints(), EndpointSet::Empty);
        let backends = self.of_service.get(service)?;
        let mut own = backends.iter().filter(|one| EndpointsKey::of(one) == *key);
        if !own.any(|one| is_empty(one)) {
            return None;
        }

        let plain = |one: &EndpointsKey<'_>| (one.port, one.transport, one.reach);
        let mut others = backends.iter().filter(|one| {
            let other = EndpointsKey::of(one);
            other != *key && plain(&other) == plain(key) && !is_empty(one)
        });
        Some(EndpointSet::clone(&others.next()?.endpoints()))
    }

    /// Returns the Services with groups of endpoints.
    pub(super) fn grouped(&self) -> impl Iterator<Item = &Name> {
        let all = self.of_service.iter();
        let grouped = all.filter(|(_, backends)| backends.iter().any(|one| is_grouped(one)));
        grouped.map(|(service, _)| service)
    }

    /// Returns the backends whose endpoints are checked.
    pub(super) fn checked(&self) -> impl Iterator<Item = &Arc<Backend>> {
        let all = self.of_service.values().flatten();
        all.filter(|backend| {
            backend.settings.check.is_some() && backend.protocol() != Protocol::ByScheme
        })
    }

    /// Returns the groups of endpoints, each with its Service.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&Name, &EndpointGroups)> {
        self.of_service.iter().flat_map(|(service, backends)| {
            let groups = backends
                .iter()
                .filter_map(|one| one.settings.groups.as_deref());
            groups.map(move |groups| (service, groups))
        })
    }

    /// Drops what no route uses.
    pub(super) fn drop_unused(&mut self) {
        // Those that are parts of others come after them.
        self.steps.retain(is_used);
        self.access.retain(is_used);
        self.cors.retain(is_used);
        self.rewrites.retain(is_used);
        self.policies.retain(is_used);
        self.expressions.retain(|_, one| Arc::strong_count(one) > 1);
        self.users.retain(is_used);
        self.of_name.retain(|_, one| Arc::strong_count(one) > 1);
        self.of_service.retain(|_, backends| {
            backends.retain(|backend| Arc::strong_count(backend) > 1);
            !backends.is_empty()
        });
        self.tls.retain(is_used);
    }
}

/// The properties of a backend of a Service that decide about its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct EndpointsKey<'a> {
    port: u16,
    transport: Transport,
    reach: Reach,
    groups: Option<&'a EndpointGroups>,
}

impl<'a> EndpointsKey<'a> {
    fn of(backend: &'a Backend) -> Self {
        Self {
            port: backend.id().port,
            transport: backend.protocol().transport(),
            reach: backend.settings.reach,
            groups: backend.settings.groups.as_deref(),
        }
    }
}

fn is_grouped(backend: &Backend) -> bool {
    backend.settings.groups.is_some()
}

/// Reports whether anybody else has a shared copy.
fn is_used<T>(one: &Arc<T>) -> bool {
    Arc::strong_count(one) > 1
}

/// Returns the known backend with these settings, or makes it.
fn known_or(
    known: &mut Vec<Arc<Backend>>,
    settings: BackendSettings,
    make: impl FnOnce(BackendSettings) -> Backend,
) -> Arc<Backend> {
    if let Some(backend) = known.iter().find(|one| *one.settings == settings) {
        return backend.clone();
    }
    let backend = Arc::new(make(settings));
    known.reserve_exact(1);
    known.push(backend.clone());
    backend
}

/// Returns the shared copy of a value.
fn share<T: Eq + Hash>(known: &mut HashSet<Arc<T>>, value: T) -> Arc<T> {
    if let Some(known) = known.get(&value) {
        return known.clone();
    }
    let value = Arc::new(value);
    known.insert(value.clone());
    value
}
