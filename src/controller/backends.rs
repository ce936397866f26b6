//! The backends and lists of steps that compiled routes share. A backend keeps its identity over
//! compiles, because the cells of its endpoints are shared with requests.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    EndpointUpdate, endpoints,
    objects::{Name, Objects},
};
use crate::routing::{
    Backend, BackendId, BackendSettings, EndpointSet, Protocol, Steps, Transport,
};

/// The parts that routes share.
#[derive(Debug, Default)]
pub(super) struct Backends {
    /// The backends of each Service, one for each port and way to speak with it.
    of_service: HashMap<Name, Vec<Arc<Backend>>>,
    /// The lists of steps. They follow from settings and a few flags, so there are never many.
    steps: Vec<Arc<Steps>>,
}

impl Backends {
    /// Returns the backend for a Service port, and makes it if it does not exist.
    pub(super) fn get(&mut self, service: &Name, port: u16, protocol: Protocol) -> Arc<Backend> {
        let id = BackendId {
            namespace: service.0.clone(),
            service: service.1.clone(),
            port,
        };
        let settings = BackendSettings::new(id, protocol);

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
        if steps.is_empty() {
            return None;
        }
        if let Some(known) = self.steps.iter().find(|known| ***known == steps) {
            return Some(known.clone());
        }
        let steps = Arc::new(steps);
        self.steps.push(steps.clone());
        Some(steps)
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

    /// Drops the backends that no route uses.
    pub(super) fn drop_unused(&mut self) {
        self.of_service.retain(|_, backends| {
            backends.retain(|backend| Arc::strong_count(backend) > 1);
            !backends.is_empty()
        });
    }
}
