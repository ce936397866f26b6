//! The backends and filter lists that compiled routes share. A backend keeps its identity over
//! compiles, because the cells of its endpoints are shared with requests.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    EndpointUpdate, endpoints,
    objects::{Name, Objects},
};
use crate::routing::{Backend, BackendId, EndpointSet, Filter, Protocol};

/// The protocols that a port can have a backend for.
const PROTOCOLS: [Protocol; 4] = [
    Protocol::Http1,
    Protocol::H2c,
    Protocol::Https,
    Protocol::H2,
];

/// The parts that routes share.
#[derive(Debug, Default)]
pub(super) struct Backends {
    all: HashMap<(BackendId, Protocol), Arc<Backend>>,
    /// Ports and protocols of the backends of each Service.
    of_service: HashMap<Name, BTreeSet<(u16, u8)>>,
    /// The lists of filters. They follow from settings and a few flags, so there are never many.
    filters: Vec<Arc<[Filter]>>,
}

impl Backends {
    /// Returns the backend for a Service port, and makes it if it does not exist.
    pub(super) fn get(&mut self, service: &Name, port: u16, protocol: Protocol) -> Arc<Backend> {
        let id = id(service, port);
        let backend = self
            .all
            .entry((id.clone(), protocol))
            .or_insert_with(|| Arc::new(Backend::new(id, protocol)));
        self.of_service
            .entry(service.clone())
            .or_default()
            .insert((port, protocol as u8));
        backend.clone()
    }

    /// Returns the shared copy of a list of filters: few lists differ, and routes are thousands.
    pub(super) fn share_filters(&mut self, filters: Vec<Filter>) -> Arc<[Filter]> {
        if let Some(known) = self.filters.iter().find(|known| ***known == *filters) {
            return known.clone();
        }
        let filters: Arc<[Filter]> = filters.into();
        self.filters.push(filters.clone());
        filters
    }

    /// Returns the Services with a backend that has no endpoints yet.
    pub(super) fn without_endpoints(&self) -> BTreeSet<Name> {
        let empty = self
            .all
            .values()
            .filter(|backend| matches!(**backend.endpoints(), EndpointSet::Empty));
        empty
            .map(|backend| (backend.id.namespace.clone(), backend.id.service.clone()))
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
            let Some(ports) = self.of_service.get(service) else {
                continue;
            };
            let ports: BTreeSet<u16> = ports.iter().map(|(port, _)| *port).collect();

            for port in ports {
                let endpoints = endpoints::resolve(objects, service, port);
                let backends = PROTOCOLS
                    .into_iter()
                    .filter_map(|protocol| self.all.get(&(id(service, port), protocol)));
                let outdated = backends.filter(|backend| **backend.endpoints() != endpoints);
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
        let of_service = &mut self.of_service;
        self.all.retain(|(id, protocol), backend| {
            if Arc::strong_count(backend) > 1 {
                return true;
            }

            let service = (id.namespace.clone(), id.service.clone());
            if let Some(ports) = of_service.get_mut(&service) {
                ports.remove(&(id.port, *protocol as u8));
                if ports.is_empty() {
                    of_service.remove(&service);
                }
            }
            false
        });
    }
}

fn id(service: &Name, port: u16) -> BackendId {
    BackendId {
        namespace: service.0.clone(),
        service: service.1.clone(),
        port,
    }
}
