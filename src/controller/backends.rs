//! The backends, lists of steps, policies and users that compiled routes share. A backend keeps its
//! identity over compiles, because the cells of its endpoints are shared with requests.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use super::{
    EndpointUpdate, endpoints,
    objects::{Name, Objects},
};
use crate::routing::{
    Backend, BackendId, BackendSettings, BackendTls, EndpointSet, Expression, PatternError, Policy,
    Protocol, Steps, Transport, Users,
};

/// The parts that routes share.
#[derive(Debug, Default)]
pub(super) struct Backends {
    /// The backends of each Service, one for each port and way to speak with it.
    of_service: HashMap<Name, Vec<Arc<Backend>>>,
    /// The lists of steps.
    steps: HashSet<Arc<Steps>>,
    /// The users of logins.
    users: HashSet<Arc<Users>>,
    policies: HashSet<Arc<Policy>>,
    /// Regular expressions, by their text.
    expressions: HashMap<Box<str>, Arc<Expression>>,
}

impl Backends {
    /// Returns the backend for a Service port, and makes it if it does not exist.
    pub(super) fn get(
        &mut self,
        service: &Name,
        port: u16,
        protocol: Protocol,
        tls: BackendTls,
    ) -> Arc<Backend> {
        let id = BackendId {
            namespace: service.0.clone(),
            service: service.1.clone(),
            port,
        };
        let settings = BackendSettings {
            tls,
            ..BackendSettings::new(id, protocol)
        };

        let known = self.of_service.entry(service.clone()).or_default();
        if let Some(backend) = known.iter().find(|one| *one.settings == settings) {
            return backend.clone();
        }
        let backend = Arc::new(Backend::new(settings));
        known.reserve_exact(1);
        known.push(backend.clone());
        backend
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
            let mut by_port: BTreeMap<(u16, Transport), Vec<&Arc<Backend>>> = BTreeMap::new();
            for backend in backends {
                let port = (backend.id().port, backend.protocol().transport());
                by_port.entry(port).or_default().push(backend);
            }

            for ((port, transport), backends) in by_port {
                let endpoints = endpoints::resolve(objects, service, port, transport);
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

    /// Drops what no route uses.
    pub(super) fn drop_unused(&mut self) {
        self.steps.retain(|steps| Arc::strong_count(steps) > 1);
        self.policies.retain(|policy| Arc::strong_count(policy) > 1);
        self.expressions.retain(|_, one| Arc::strong_count(one) > 1);
        self.users.retain(|users| Arc::strong_count(users) > 1);
        self.of_service.retain(|_, backends| {
            backends.retain(|backend| Arc::strong_count(backend) > 1);
            !backends.is_empty()
        });
    }
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
