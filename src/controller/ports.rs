//! Compiles the ports of layer 4: what Services ask for by annotations becomes a port table.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use super::{
    Finding, Reason,
    backends::Backends,
    facts::ServiceFact,
    objects::{Name, Objects},
    port_annotations::{Ask, PortAnnotations, Target},
};
use crate::{
    objects::{EventType, Key, Kind, ObjectRef},
    routing::{Backend, BackendTls, Origin, Policy, Port, PortRoute, PortTable, Protocol},
};

/// The most ports. Each takes a socket on each core.
const MAX_PORTS: usize = 1000;

/// The compiled ports.
#[derive(Debug, Default)]
pub(super) struct CompiledPorts {
    pub(super) table: Arc<PortTable>,
    /// The object behind each port.
    pub(super) owners: BTreeMap<Port, ObjectRef>,
    pub(super) findings: Vec<Finding>,
    /// The Services that ask for a port, whether they have it or not.
    pub(super) services: BTreeSet<Name>,
}

/// Compiles all ports. Of two objects that ask for the same one, the older has it.
pub(super) fn compile(objects: &Objects, backends: &mut Backends) -> CompiledPorts {
    let mut compiled = CompiledPorts {
        services: objects.with_ports.clone(),
        ..CompiledPorts::default()
    };
    let asking = objects.with_ports.iter().filter_map(|name| {
        let fact = objects.services.get(name)?;
        Some((name, fact, &**fact.asks.as_ref()?))
    });
    let mut asking: Vec<(&Name, &ServiceFact, &PortAnnotations)> = asking.collect();
    asking.sort_by_key(|(name, _, asks)| (&asks.created, *name));

    let mut routes = BTreeMap::new();
    for (name, fact, asks) in asking {
        let mut service = Service {
            name,
            fact,
            compiled: &mut compiled,
            objects,
        };
        for (field, ask) in asks.read() {
            match ask {
                Ok(ask) => service.open(&field, &ask, &mut routes, backends),
                Err(error) => {
                    service.warn(Reason::InvalidAnnotation, &field, error.to_string());
                }
            }
        }
    }

    compiled.table = Arc::new(routes.into_iter().collect());
    compiled
}

impl CompiledPorts {
    /// Returns the ports of a Service that lead to its endpoints.
    pub(super) fn in_use(&self, service: &Name) -> impl Iterator<Item = u16> {
        let backends = self.table.iter().map(|(_, route)| route.backend.id());
        let of_service =
            backends.filter(move |id| (&id.namespace, &id.service) == (&service.0, &service.1));
        of_service.map(|id| id.port)
    }

    /// Returns the reference to the object behind a port, and the field that asks for it.
    pub(super) fn owner(&self, port: Port) -> Option<(&ObjectRef, &str)> {
        let route = self.table.find(port)?;
        Some((self.owners.get(&port)?, &route.origin.field))
    }
}

/// A Service that asks for ports.
struct Service<'a> {
    name: &'a Name,
    fact: &'a ServiceFact,
    compiled: &'a mut CompiledPorts,
    objects: &'a Objects,
}

impl Service<'_> {
    /// Adds the route of a port, unless the port cannot be had.
    fn open(
        &mut self,
        field: &str,
        ask: &Ask,
        routes: &mut BTreeMap<Port, Arc<PortRoute>>,
        backends: &mut Backends,
    ) {
        let Some(number) = self.resolve(&ask.target) else {
            let message = format!(
                "Service {} has no TCP port {}: port {} is not opened",
                self.name.1, ask.target, ask.port.number
            );
            return self.warn(Reason::UnknownPort, field, message);
        };
        if let Some(holder) = self.objects.settings.own_ports.get(&ask.port.number) {
            let message = format!("port {} belongs to {holder} of gatelet", ask.port.number);
            return self.warn(Reason::PortTaken, field, message);
        }

        let is_full = routes.len() >= MAX_PORTS;
        match routes.entry(ask.port) {
            Entry::Vacant(_) if is_full => {
                let message = format!("gatelet opens at most {MAX_PORTS} ports");
                self.warn(Reason::PortUnavailable, field, message);
            }
            Entry::Vacant(free) => {
                free.insert(Arc::new(PortRoute {
                    origin: Origin {
                        namespace: self.name.0.clone(),
                        name: self.name.1.clone(),
                        field: field.into(),
                    },
                    backend: self.backend(backends, number),
                    policy: Policy::default(),
                }));
                self.compiled.owners.insert(ask.port, self.reference());
            }
            Entry::Occupied(taken) => {
                let origin = &taken.get().origin;
                let message = format!(
                    "port {} belongs to the older Service {}/{}",
                    ask.port.number, origin.namespace, origin.name
                );
                self.warn(Reason::PortTaken, field, message);
            }
        }
    }

    fn backend(&self, backends: &mut Backends, number: u16) -> Arc<Backend> {
        backends.get(self.name, number, Protocol::Tcp, BackendTls::default())
    }

    /// Returns the number of the Service's port.
    fn resolve(&self, target: &Target) -> Option<u16> {
        let ports = &self.fact.ports;
        let found = match target {
            // An ExternalName needs no ports.
            Target::Number(number) if self.fact.external.is_some() => return Some(*number),
            Target::Number(number) => ports.iter().find(|port| port.port == *number),
            Target::Name(name) => ports.iter().find(|port| port.name == *name),
        };
        found.map(|port| port.port)
    }

    fn reference(&self) -> ObjectRef {
        ObjectRef {
            key: Key {
                kind: Kind::Service,
                namespace: self.name.0.clone(),
                name: self.name.1.clone(),
            },
            uid: self.fact.uid.clone(),
        }
    }

    fn warn(&mut self, reason: Reason, field: &str, message: String) {
        let finding = Finding {
            about: self.reference(),
            severity: EventType::Warning,
            reason,
            field: field.into(),
            message: message.into(),
        };
        self.compiled.findings.push(finding);
    }
}
