//! Compiles the ports of layer 4: what Services and ConfigMaps ask for becomes a port table.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use super::{
    Finding, Reason, access, annotations,
    backend_terms::BackendTerms,
    backend_tls,
    backends::Backends,
    compiled::{CompiledIngresses, TcpService},
    facts::ServiceFact,
    guards,
    objects::{Name, Objects},
    port_annotations::{AskedTls, PortTerms},
    port_entries::{EntryError, MapEntry, Target, port},
    secrets::{self, Problem},
};
use crate::{
    objects::{EventType, Key, Kind, ObjectRef},
    routing::{
        Access, Backend, ClientLimits, EndedTls, HostPattern, Identity, Limits, OpenPort, Origin,
        Policy, Port, PortRoute, PortTable, Prefixes, Protocol, Timeouts, Transport,
    },
};

/// The most ports. Each takes a socket on each core.
const MAX_PORTS: usize = 1000;

/// The compiled ports.
#[derive(Debug, Default)]
pub(super) struct CompiledPorts {
    pub(super) table: Arc<PortTable>,
    /// The object behind each port, and its field that asks for it.
    owners: BTreeMap<Port, (ObjectRef, Box<str>)>,
    pub(super) findings: Vec<Finding>,
    /// The Services that ports are for, whether these are open or not.
    pub(super) services: BTreeSet<Name>,
    /// The Secrets that they need, whether they exist or not.
    pub(super) secrets: BTreeSet<Name>,
}

/// One object's statement that it needs a port.
struct Claim<'a> {
    about: &'a ObjectRef,
    field: String,
    port: Port,
    service: Name,
    target: Target,
    terms: PortTerms,
}

/// A port that is being compiled.
struct Opening {
    open: OpenPort,
    /// The object that has it, which is the oldest one.
    holder: ObjectRef,
    field: Box<str>,
    /// The names that decide about connections, with the Ingresses that ask for them.
    hosts: BTreeMap<HostPattern, Name>,
}

/// Compiles all ports. Of two objects that ask for the same one, the older has it.
pub(super) fn compile(
    objects: &Objects,
    ingresses: &CompiledIngresses,
    backends: &mut Backends,
) -> CompiledPorts {
    let services = objects.with_ports.iter().filter_map(|name| {
        let fact = objects.services.get(name)?;
        let created = &fact.asks.as_ref()?.created;
        Some((&**created, reference(name, &fact.uid)))
    });
    let maps = objects.settings.port_maps();
    let maps = maps.filter_map(|name| objects.config_maps.get(name));
    let maps = maps.map(|fact| (&*fact.created, fact.about.clone()));
    let tcp = ingresses.iter().filter(|(_, one)| one.tcp.is_some());
    let tcp = tcp.filter_map(|(name, _)| objects.ingresses.get(name));
    let tcp = tcp.map(|fact| (&*fact.created, fact.about.clone()));
    let mut asking: Vec<(&str, ObjectRef)> = services.chain(maps).chain(tcp).collect();
    asking.sort_unstable();

    let mut compiler = Compiler {
        compiled: CompiledPorts {
            services: objects.with_ports.clone(),
            ..CompiledPorts::default()
        },
        ports: BTreeMap::new(),
        objects,
        backends,
    };
    for (_, about) in &asking {
        match about.key.kind {
            Kind::ConfigMap => compiler.config_map(about),
            Kind::Ingress => {
                let name = (about.key.namespace.clone(), about.key.name.clone());
                let tcp = ingresses.get(&name).and_then(|one| one.tcp.as_deref());
                if let Some(tcp) = tcp {
                    compiler.ingress(about, &name, tcp);
                }
            }
            _ => compiler.service(about),
        }
    }

    let (mut compiled, mut open) = (compiler.compiled, Vec::new());
    for (port, opening) in compiler.ports {
        // Without a destination, nothing listens.
        if opening.open.routes().next().is_some() {
            let owner = (opening.holder, opening.field);
            compiled.owners.insert(port, owner);
            open.push((port, Arc::new(opening.open)));
        }
    }
    compiled.table = Arc::new(open.into_iter().collect());
    compiled
}

impl CompiledPorts {
    /// Returns the TCP ports of a Service that ports lead to.
    pub(super) fn in_use(&self, service: &Name) -> impl Iterator<Item = u16> {
        let ports = self.table.iter();
        let tcp = ports.filter(|(port, _)| port.transport == Transport::Tcp);
        let routes = tcp.flat_map(|(_, open)| open.routes());
        let backends = routes.map(|(_, route)| route.backend.id());
        let of_service =
            backends.filter(move |id| (&id.namespace, &id.service) == (&service.0, &service.1));
        of_service.map(|id| id.port)
    }

    /// Returns the reference to the object behind a port, and the field that asks for it.
    pub(super) fn owner(&self, port: Port) -> Option<(&ObjectRef, &str)> {
        let (about, field) = self.owners.get(&port)?;
        Some((about, field))
    }
}

struct Compiler<'a> {
    compiled: CompiledPorts,
    ports: BTreeMap<Port, Opening>,
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
                    terms: asked.terms.clone(),
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
                        terms: PortTerms {
                            accepts_proxy: entry.accepts_proxy,
                            sends_proxy: entry.sends_proxy,
                            ..PortTerms::default()
                        },
                    });
                }
                Err(error) => self.warn(about, Reason::InvalidPort, &field, error.to_string()),
            }
        }
    }

    /// Opens the port of an Ingress, or adds its hosts to those of the Ingresses that have it.
    fn ingress(&mut self, about: &ObjectRef, name: &Name, tcp: &TcpService) {
        let port = Port::tcp(tcp.port);
        let field = format!("metadata.annotations[{}]", tcp.annotation);
        if !self.ports.contains_key(&port) {
            if let Err((reason, message)) = self.available(port) {
                return self.warn(about, reason, &field, message);
            }
            let opening = Opening {
                open: OpenPort::new(tcp.accepts_proxy.unwrap_or(false)),
                holder: about.clone(),
                field: field.as_str().into(),
                hosts: BTreeMap::new(),
            };
            self.ports.insert(port, opening);
        }

        let Some(opening) = self.ports.get_mut(&port) else {
            return;
        };

        if opening.holder.key.kind != Kind::Ingress {
            let message = taken(port, &opening.holder);
            return self.warn(about, Reason::PortTaken, &field, message);
        }
        if tcp
            .accepts_proxy
            .is_some_and(|accepts| accepts != opening.open.accepts_proxy)
        {
            let holder = format!(
                "{}/{}",
                opening.holder.key.namespace, opening.holder.key.name
            );
            let message = format!(
                "port {} belongs to the older Ingress {holder}, which decides otherwise whether \
                 clients send the PROXY protocol: these rules are not served",
                port.number
            );
            return self.warn(about, Reason::PortTaken, &field, message);
        }

        for (host, target) in &tcp.routes {
            match opening.hosts.entry(host.clone()) {
                Entry::Vacant(free) => {
                    free.insert(name.clone());
                    opening.open.set(host.clone(), target.clone());
                }
                Entry::Occupied(holder) => {
                    let what = match host {
                        HostPattern::Any => "every other name".to_owned(),
                        host => format!("host {host}"),
                    };

                    let elder = self.objects.elder(holder.get(), name);
                    let message = format!(
                        "{what} of port {} belongs to {elder}: this rule is not served",
                        port.number
                    );
                    let finding = self
                        .objects
                        .finding(name, Reason::PortTaken, &field, message);
                    self.compiled.findings.extend(finding);
                }
            }
        }
    }

    /// Adds the route of a port, unless the port cannot be had.
    fn open(&mut self, claim: Claim<'_>) {
        match self.route(&claim) {
            Ok(route) => {
                let route = Arc::new(route);
                let opening = Opening {
                    open: OpenPort::to(route, claim.terms.accepts_proxy),
                    holder: claim.about.clone(),
                    field: claim.field.into(),
                    hosts: BTreeMap::new(),
                };
                self.ports.insert(claim.port, opening);
            }
            Err((reason, message)) => self.warn(claim.about, reason, &claim.field, message),
        }
    }

    /// Returns why a port cannot be had, unless it can.
    fn available(&self, port: Port) -> Result<(), Problem> {
        let (settings, number) = (&self.objects.settings, port.number);
        if !settings
            .open_ports
            .iter()
            .any(|range| range.contains(number))
        {
            let message = format!("open_ports in the settings does not allow port {number}");
            return Err((Reason::PortUnavailable, message));
        }
        if port.transport == Transport::Tcp
            && let Some(holder) = settings.own_ports.get(&number)
        {
            let message = format!("port {number} belongs to {holder} of gatelet");
            return Err((Reason::PortTaken, message));
        }

        if let Some(taken_by) = self.ports.get(&port) {
            return Err((Reason::PortTaken, taken(port, &taken_by.holder)));
        }
        if self.ports.len() >= MAX_PORTS {
            let message = format!("gatelet opens at most {MAX_PORTS} ports");
            return Err((Reason::PortUnavailable, message));
        }
        Ok(())
    }

    /// Returns the route of a port, or why there is none.
    fn route(&mut self, claim: &Claim<'_>) -> Result<PortRoute, Problem> {
        let target = self.resolve(claim)?;
        let access = self.access(claim)?;
        self.available(claim.port)?;

        let is_tcp = claim.port.transport == Transport::Tcp;
        let (key, terms) = (&claim.about.key, &claim.terms);
        let ends_tls = match &terms.ends_tls {
            Some(asked) if is_tcp => Some(EndedTls {
                certificate: self.certificate(claim, asked)?,
                protocols: terms.protocols.clone(),
            }),
            _ => None,
        };

        let fact = self.objects.services.get(&claim.service);
        let object = format!("Service {}/{}", claim.service.0, claim.service.1);

        Ok(PortRoute {
            kind: key.kind.name(),
            origin: Origin {
                namespace: key.namespace.clone(),
                name: key.name.clone(),
                field: claim.field.as_str().into(),
                requests: None,
                priority: None,
            },
            ends_tls,
            sends_proxy: terms.sends_proxy,
            accesses: access.into_iter().collect(),
            limits: terms.per_client.map(|most| limit(&object, most)),
            total: terms
                .total
                .map(|most| limit(&format!("all of {object}"), most)),
            sticky: fact.is_some_and(|fact| fact.sticky),
            backend: self.backend(claim, target)?,
            policy: Policy {
                timeouts: Timeouts {
                    connect: terms.connect_timeout,
                    idle: match is_tcp {
                        true => terms.tcp_idle_timeout,
                        false => terms.udp_idle_timeout,
                    },
                    ..Timeouts::default()
                },
                ..Policy::default()
            },
        })
    }

    /// Returns the certificate of a Secret with which the TLS of clients ends; `None` for those of
    /// the hosts.
    fn certificate(
        &mut self,
        claim: &Claim<'_>,
        asked: &AskedTls,
    ) -> Result<Option<Arc<Identity>>, Problem> {
        const LACKS: &str = "has no tls.crt with tls.key";

        let AskedTls::Secret(secret) = asked else {
            return Ok(None);
        };
        let read = |compiled: &mut CompiledPorts| {
            let name = secrets::name(&claim.service.0, secret)?;
            compiled.secrets.insert(name.clone());
            let fact = secrets::find(self.objects, &name, LACKS)?;
            let identity = secrets::identity(self.objects, &name, fact)?;
            let lacks = || (Reason::InvalidSecret, format!("Secret {} {LACKS}", name.1));
            identity.ok_or_else(lacks)
        };
        let read = read(&mut self.compiled);
        let read = read.map_err(|problem| not_opened(problem, claim.port))?;
        Ok(Some(Arc::new(read)))
    }

    /// Returns the backend of a port, with the terms of TLS to its endpoints if they have TLS.
    fn backend(&mut self, claim: &Claim<'_>, target: u16) -> Result<Arc<Backend>, Problem> {
        let mut terms = BackendTerms::default();
        if claim.terms.sends_tls && claim.port.transport == Transport::Tcp {
            let fact = self.objects.services.get(&claim.service);
            let asks = fact.and_then(|fact| fact.asks.as_ref());
            let values = annotations::read(asks.map_or(&[], |asks| &asks.tls_terms));
            terms = values.terms;

            let (objects, namespace) = (self.objects, &claim.service.0);
            let tls = &values.backend_tls;
            let mut made = backend_tls::make(objects, self.backends, namespace, tls, &mut terms);
            self.compiled.secrets.extend(made.secrets);
            made.findings.extend(values.findings);

            // An annotation that cannot be read closes the port: the terms could be weaker.
            let is_warning =
                |one: &&annotations::AnnotationFinding| one.severity == EventType::Warning;
            if let Some(finding) = made.findings.iter().find(is_warning) {
                let message = format!("{}: {}", finding.annotation, finding.message);
                return Err(not_opened((finding.reason, message), claim.port));
            }
            terms.protocol = Some(Protocol::Tls);
        } else {
            terms.protocol = Some(claim.port.transport.protocol());
        }
        Ok(self.backends.get(&claim.service, target, terms))
    }

    /// Returns the number of the Service's port.
    fn resolve(&self, claim: &Claim<'_>) -> Result<u16, Problem> {
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
    fn access(&mut self, claim: &Claim<'_>) -> Result<Option<Arc<Access>>, Problem> {
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

/// Says who has a port.
fn taken(port: Port, holder: &ObjectRef) -> String {
    let key = &holder.key;
    let (kind, namespace, name) = (key.kind.name(), &key.namespace, &key.name);
    format!(
        "port {} belongs to the older {kind} {namespace}/{name}",
        port.number
    )
}

/// Says that a problem closes a port.
fn not_opened((reason, message): Problem, port: Port) -> Problem {
    let message = format!("{message}: port {} is not opened", port.number);
    (reason, message)
}

/// Returns the limit of connections that count together under the name of an object.
fn limit(object: &str, most: u32) -> Arc<ClientLimits> {
    Arc::new(ClientLimits {
        from: "limit-connections".into(),
        object: object.into(),
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
