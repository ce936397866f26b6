//! Compiles the ports of layer 4: what Services and ConfigMaps ask for becomes a port table.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use super::{
    Finding, Reason, access, annotations,
    backend_terms::BackendTerms,
    backends::Backends,
    facts::ServiceFact,
    guards,
    objects::{Name, Objects},
    port_entries::{EntryError, MapEntry, Target, port},
};
use crate::{
    objects::{EventType, Key, Kind, ObjectRef},
    routing::{
        Access, ClientLimits, Limits, Origin, Policy, Port, PortRoute, PortTable, Prefixes,
        ProxyVersion, Transport,
    },
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
    /// The Services that ports are for, whether these are open or not.
    pub(super) services: BTreeSet<Name>,
}

/// One object's statement that it needs a port.
struct Claim<'a> {
    about: &'a ObjectRef,
    field: String,
    port: Port,
    service: Name,
    target: Target,
    accepts_proxy: bool,
    ends_tls: bool,
    sends_proxy: Option<ProxyVersion>,
    /// The most connections of a client.
    per_client: Option<u32>,
}

/// Compiles all ports. Of two objects that ask for the same one, the older has it.
pub(super) fn compile(objects: &Objects, backends: &mut Backends) -> CompiledPorts {
    let services = objects.with_ports.iter().filter_map(|name| {
        let fact = objects.services.get(name)?;
        let created = &fact.asks.as_ref()?.created;
        Some((&**created, reference(name, &fact.uid)))
    });
    let maps = objects.settings.port_maps();
    let maps = maps.filter_map(|name| objects.config_maps.get(name));
    let maps = maps.map(|fact| (&*fact.created, fact.about.clone()));
    let mut asking: Vec<(&str, ObjectRef)> = services.chain(maps).collect();
    asking.sort_unstable();

    let mut compiler = Compiler {
        compiled: CompiledPorts {
            services: objects.with_ports.clone(),
            ..CompiledPorts::default()
        },
        routes: BTreeMap::new(),
        objects,
        backends,
    };
    for (_, about) in &asking {
        match about.key.kind {
            Kind::ConfigMap => compiler.config_map(about),
            _ => compiler.service(about),
        }
    }

    let mut compiled = compiler.compiled;
    compiled.table = Arc::new(compiler.routes.into_iter().collect());
    compiled
}

impl CompiledPorts {
    /// Returns the TCP ports of a Service that ports lead to.
    pub(super) fn in_use(&self, service: &Name) -> impl Iterator<Item = u16> {
        let ports = self.table.iter();
        let tcp = ports.filter(|(port, _)| port.transport == Transport::Tcp);
        let backends = tcp.map(|(_, route)| route.backend.id());
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

struct Compiler<'a> {
    compiled: CompiledPorts,
    routes: BTreeMap<Port, Arc<PortRoute>>,
    objects: &'a Objects,
    backends: &'a mut Backends,
}

impl Compiler<'_> {
    /// Opens the ports that the annotations of a Service ask for.
    fn service(&mut self, about: &ObjectRef) {
        let name = (about.key.namespace.clone(), about.key.name.clone());
        let fact = self.objects.services.get(&name);
        let Some(asks) = fact.and_then(|fact| fact.asks.as_ref()) else {
            return;
        };

        let asked = asks.read();
        for (transport, field, entry) in asked.entries {
            match entry {
                Ok(entry) => self.open(Claim {
                    about,
                    field,
                    port: Port {
                        transport,
                        number: entry.listen,
                    },
                    service: name.clone(),
                    target: entry.target,
                    accepts_proxy: asked.accepts_proxy,
                    ends_tls: asked.ends_tls,
                    sends_proxy: asked.sends_proxy,
                    per_client: asked.per_client,
                }),
                Err(error) => {
                    self.warn(about, Reason::InvalidAnnotation, &field, error.to_string());
                }
            }
        }
    }

    /// Opens the ports of a ConfigMap that maps them to Services.
    fn config_map(&mut self, about: &ObjectRef) {
        let name = (about.key.namespace.clone(), about.key.name.clone());
        let Some(fact) = self.objects.config_maps.get(&name) else {
            return;
        };
        let is_udp = self.objects.settings.udp_services.as_ref() == Some(&name);
        let transport = if is_udp {
            Transport::Udp
        } else {
            Transport::Tcp
        };

        for (key, value) in &fact.data {
            let field = format!("data[{key}]");
            let number = port(key).ok_or_else(|| EntryError::NotPort(key.to_string()));
            let entry = number.and_then(|number| Ok((number, value.parse::<MapEntry>()?)));
            match entry {
                Ok((number, entry)) => {
                    let service: Name = ((*entry.namespace).into(), (*entry.service).into());
                    self.compiled.services.insert(service.clone());
                    self.open(Claim {
                        about,
                        field,
                        port: Port { transport, number },
                        service,
                        target: entry.target,
                        accepts_proxy: entry.accepts_proxy,
                        ends_tls: false,
                        sends_proxy: entry.sends_proxy,
                        per_client: None,
                    });
                }
                Err(error) => self.warn(about, Reason::InvalidPort, &field, error.to_string()),
            }
        }
    }

    /// Adds the route of a port, unless the port cannot be had.
    fn open(&mut self, claim: Claim<'_>) {
        let port = claim.port;
        match self.route(&claim) {
            Ok(route) => {
                self.routes.insert(port, Arc::new(route));
                self.compiled.owners.insert(port, claim.about.clone());
            }
            Err((reason, message)) => self.warn(claim.about, reason, &claim.field, message),
        }
    }

    /// Returns the route of a port, or why there is none.
    fn route(&mut self, claim: &Claim<'_>) -> Result<PortRoute, (Reason, String)> {
        let Port { transport, number } = claim.port;
        let target = self.resolve(claim)?;
        let access = self.access(claim)?;
        if !self
            .objects
            .settings
            .open_ports
            .iter()
            .any(|range| range.contains(number))
        {
            let message = format!("open_ports in the settings does not allow port {number}");
            return Err((Reason::PortUnavailable, message));
        }
        if transport == Transport::Tcp
            && let Some(holder) = self.objects.settings.own_ports.get(&number)
        {
            let message = format!("port {number} belongs to {holder} of gatelet");
            return Err((Reason::PortTaken, message));
        }

        let is_full = self.routes.len() >= MAX_PORTS;
        if let Entry::Occupied(taken) = self.routes.entry(claim.port) {
            let (kind, origin) = (taken.get().kind, &taken.get().origin);
            let holder = format!("{kind} {}/{}", origin.namespace, origin.name);
            let message = format!("port {number} belongs to the older {holder}");
            return Err((Reason::PortTaken, message));
        }
        if is_full {
            let message = format!("gatelet opens at most {MAX_PORTS} ports");
            return Err((Reason::PortUnavailable, message));
        }

        let key = &claim.about.key;
        let fact = self.objects.services.get(&claim.service);
        Ok(PortRoute {
            kind: key.kind.name(),
            origin: Origin {
                namespace: key.namespace.clone(),
                name: key.name.clone(),
                field: claim.field.as_str().into(),
                requests: None,
                priority: None,
            },
            accepts_proxy: claim.accepts_proxy,
            ends_tls: claim.ends_tls,
            sends_proxy: claim.sends_proxy,
            access,
            limits: claim.per_client.map(|most| limits(claim, most)),
            sticky: fact.is_some_and(|fact| fact.sticky),
            backend: self.backends.get(
                &claim.service,
                target,
                BackendTerms {
                    protocol: Some(transport.protocol()),
                    ..BackendTerms::default()
                },
            ),
            policy: Policy::default(),
        })
    }

    /// Returns the number of the Service's port.
    fn resolve(&self, claim: &Claim<'_>) -> Result<u16, (Reason, String)> {
        let (namespace, name) = &claim.service;
        let Some(fact) = self.objects.services.get(&claim.service) else {
            let message = format!("Service {namespace}/{name} does not exist");
            return Err((Reason::UnknownService, message));
        };
        let Port { transport, number } = claim.port;
        let ports = fact.ports_of(transport);
        let found = match &claim.target {
            // An ExternalName needs no ports.
            Target::Number(number) if fact.external.is_some() => return Ok(*number),
            Target::Number(number) => ports.iter().find(|port| port.port == *number),
            Target::Name(name) => ports.iter().find(|port| port.name == *name),
        };
        found.map(|port| port.port).ok_or_else(|| {
            let (target, transport) = (&claim.target, transport.protocol());
            let message =
                format!("Service {name} has no {transport} port {target}: {number} is not opened");
            (Reason::UnknownPort, message)
        })
    }

    /// Returns the decision of the Service about who may come in, or why it closes the port.
    fn access(&mut self, claim: &Claim<'_>) -> Result<Option<Arc<Access>>, (Reason, String)> {
        let objects = self.objects;
        let (number, (namespace, name)) = (claim.port.number, &claim.service);
        let Some(fact) = objects.services.get(&claim.service) else {
            return Ok(None);
        };

        let decision = guards::Decision::new(fact.guards, objects.settings.unsupported_guards);
        let closed = |guard: &str| {
            let message = format!(
                "{guard} of Service {name} restricts who may come in, which ports of layer 4 do \
                 not support: port {number} is not opened"
            );
            (Reason::UnsupportedGuard, message)
        };
        let mut peers = fact.peers.iter().filter(|peer| peer.meaning.closes());
        if let Some(peer) = peers.next()
            && !decision.ignores()
        {
            return Err(closed(&peer.name));
        }

        let values = annotations::read(&fact.annotations);
        if values.is_closed {
            let finding = values.findings.first();
            let why = finding.map(|one| format!("{}: {}", one.annotation, one.message));
            let message = format!("{}: port {number} is not opened", why.unwrap_or_default());
            return Err((Reason::InvalidAnnotation, message));
        }
        if let Some(guard) = unsupported(fact)
            && !decision.ignores()
        {
            return Err(closed(guard));
        }

        let mut lists = values.access;
        lists.logins.clear();
        lists.satisfy_any = false;
        Ok(access::make(objects, self.backends, namespace, &lists).access)
    }

    fn warn(&mut self, about: &ObjectRef, reason: Reason, field: &str, message: String) {
        let finding = Finding {
            about: about.clone(),
            severity: EventType::Warning,
            reason,
            field: field.into(),
            message: message.into(),
        };
        self.compiled.findings.push(finding);
    }
}

/// Returns the limits of a client of the ports of a Service, which count together.
fn limits(claim: &Claim<'_>, most: u32) -> Arc<ClientLimits> {
    let (namespace, name) = &claim.service;
    Arc::new(ClientLimits {
        from: "limit-connections".into(),
        object: format!("Service {namespace}/{name}").into(),
        limits: Limits {
            in_flight: Some(most),
            ..Limits::default()
        },
        exempt: Prefixes::default(),
        is_shared: false,
        status: None,
    })
}

/// Returns the name of a guard on a Service that ports do not support: anything but a list.
fn unsupported(fact: &ServiceFact) -> Option<&str> {
    let mut names = fact.annotations.iter().map(|(name, _value)| &**name);
    names.find(|name| {
        annotations::is_guard_on_services(name) && !annotations::is_list_of_addresses(name)
    })
}

fn reference(service: &Name, uid: &str) -> ObjectRef {
    ObjectRef {
        key: Key {
            kind: Kind::Service,
            namespace: service.0.clone(),
            name: service.1.clone(),
        },
        uid: uid.into(),
    }
}
