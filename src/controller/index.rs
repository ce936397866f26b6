//! The index: facts about every object that matters, what depends on what, and what a change
//! touched.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    net::IpAddr,
    sync::Arc,
};

use super::{
    EndpointUpdate, Finding, OtherClass, Output, Settings,
    certificates::Wishes,
    facts::{ClassFact, IngressFact, SecretFact, ServiceFact, SliceFact},
    ingress::{self, Compiled},
};
use crate::{
    objects::{Event, EventType, Key, Kind, ObjectRef, RawObject, StatusPatch},
    routing::{
        Backend, BackendId, Endpoint, EndpointSet, Filter, HostPattern, Protocol, Route,
        RoutingTable,
    },
};

/// Namespace and name.
pub(super) type Name = (Arc<str>, Arc<str>);

/// Looks at a certificate and key (PEM) for a host; says what is wrong. Given from outside, because
/// this module knows nothing of X.509.
pub type Inspect = Box<dyn Fn(&[u8], &[u8], &HostPattern) -> Result<(), String> + Send>;

/// The compiler's model of the cluster.
pub struct Index {
    pub(super) settings: Settings,
    pub(super) inspect: Inspect,
    pub(super) classes: HashMap<Arc<str>, ClassFact>,
    pub(super) ingresses: BTreeMap<Name, IngressFact>,
    pub(super) services: HashMap<Name, ServiceFact>,
    pub(super) slices: HashMap<Name, SliceFact>,
    pub(super) secrets: HashMap<Name, SecretFact>,
    /// The source does not give Secrets: one that is not known may well be there.
    pub(super) secrets_refused: bool,
    slices_of: HashMap<Name, BTreeSet<Arc<str>>>,
    pub(super) users_of_service: HashMap<Name, BTreeSet<Name>>,
    users_of_secret: HashMap<Name, BTreeSet<Name>>,
    pub(super) backends: HashMap<(BackendId, Protocol), Arc<Backend>>,
    pub(super) backends_of: HashMap<Name, BTreeSet<(u16, u8)>>,
    pub(super) compiled: BTreeMap<Name, Compiled>,
    pub(super) wishes: Wishes,
    /// Classes that are not served, as of the last compile.
    pub(super) told_classes: Option<Vec<OtherClass>>,
    /// Services that are routed to, and why they have no endpoints.
    pub(super) unserved: BTreeMap<Name, Vec<Finding>>,
    /// Sorted, each once.
    pub(super) on_host: BTreeMap<HostPattern, Vec<Name>>,
    pub(super) losers: BTreeMap<HostPattern, Vec<Finding>>,
    undecodable: BTreeMap<Key, Finding>,
    /// The lists of filters that routes share. They follow from settings and a few flags, so there
    /// are never many.
    pub(super) filters: Vec<Arc<[Filter]>>,
    pub(super) table: RoutingTable,
    touched: Touched,
}

/// What has changed since the last compile.
#[derive(Debug, Default)]
struct Touched {
    ingresses: BTreeSet<Name>,
    endpoints: BTreeSet<Name>,
    statuses: BTreeSet<Name>,
    certificates: bool,
    default: bool,
    findings: bool,
    first: bool,
}

impl Index {
    /// An index that knows nothing yet.
    pub fn new(settings: Settings, inspect: Inspect) -> Self {
        Self {
            settings,
            inspect,
            classes: HashMap::new(),
            ingresses: BTreeMap::new(),
            services: HashMap::new(),
            slices: HashMap::new(),
            secrets: HashMap::new(),
            secrets_refused: false,
            slices_of: HashMap::new(),
            users_of_service: HashMap::new(),
            users_of_secret: HashMap::new(),
            backends: HashMap::new(),
            backends_of: HashMap::new(),
            compiled: BTreeMap::new(),
            wishes: Wishes::default(),
            told_classes: None,
            unserved: BTreeMap::new(),
            on_host: BTreeMap::new(),
            losers: BTreeMap::new(),
            undecodable: BTreeMap::new(),
            filters: Vec::new(),
            table: RoutingTable::default(),
            touched: Touched {
                first: true,
                default: true,
                certificates: true,
                findings: true,
                ..Touched::default()
            },
        }
    }

    /// Takes in a change.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Apply(object) => self.put(&object),
            Event::Delete(key) => self.remove(&key),
            Event::Refused(Kind::Secret) => self.refuse_secrets(true),
            Event::Refused(_other) => {}
            Event::Reset(kind, objects) => {
                if kind == Kind::Secret {
                    self.refuse_secrets(false);
                }
                let listed: BTreeSet<Key> =
                    objects.iter().map(|object| object.key.clone()).collect();
                for key in self.known(kind) {
                    if !listed.contains(&key) {
                        self.remove(&key);
                    }
                }
                for object in &objects {
                    self.put(object);
                }
            }
        }
    }

    /// Tells which issuers there are now; the Ingresses that this makes a difference to are
    /// compiled next.
    pub fn set_issuers(&mut self, names: BTreeSet<Box<str>>) {
        let before = mem::replace(&mut self.settings.issuers, names);
        let after = &self.settings.issuers;
        let changed: BTreeSet<&str> = before
            .symmetric_difference(after)
            .map(|name| name.split_once('/').map_or(&**name, |(_, name)| name))
            .collect();
        // Who names an unknown one is told which there are.
        let concerned = |name: &str| changed.contains(name) || !before.contains(name);
        if !changed.is_empty() {
            let touched = self
                .compiled
                .iter()
                .filter(|(_, one)| one.issuers.iter().any(|name| concerned(name)));
            self.touched
                .ingresses
                .extend(touched.map(|(name, _)| name.clone()));
        }
    }

    /// Compiles what was touched since the last call.
    pub fn compile(&mut self) -> Output {
        let touched = mem::take(&mut self.touched);
        let mut output = Output::default();
        let mut hosts = BTreeSet::new();
        let mut default = touched.default;
        let mut certificates = touched.certificates;
        let mut other_classes = touched.first;
        for name in &touched.ingresses {
            let before = self.compiled.remove(name);
            let after = self
                .ingresses
                .contains_key(name)
                .then(|| ingress::compile(self, name));
            for one in before.iter().chain(after.as_ref()) {
                hosts.extend(one.hosts().iter().cloned());
                default |= one.catch_all.is_some();
                other_classes |= !one.ours;
            }
            certificates |= before.as_ref().map(Compiled::certificates)
                != after.as_ref().map(Compiled::certificates);
            self.relink(name, before.as_ref(), after.as_ref());
            if let Some(after) = after {
                self.compiled.insert(name.clone(), after);
            }
        }
        let mut findings = touched.findings || !touched.ingresses.is_empty();
        if !hosts.is_empty() || default || touched.first {
            for host in &hosts {
                self.assemble(host);
            }
            if default {
                let route = self.default_route();
                self.table.set_default(route);
            }
            findings = true;
            output.table = Some(Arc::new(self.table.clone()));
        }
        let mut services = touched.endpoints;
        services.extend(self.fresh_backends());
        output.endpoints = self.endpoint_updates(&services);
        findings |= self.diagnose(&services);
        if certificates {
            let wishes = self.wishes();
            if touched.first || wishes.all != self.wishes.all {
                output.wanted = Some(wishes.all.values().cloned().collect());
            }
            self.wishes = wishes;
            output.certificates = Some(self.tls_hosts());
        }
        output.statuses = self.status_patches(touched.ingresses.iter().chain(&touched.statuses));
        if findings {
            output.findings = Some(self.findings());
        }
        if other_classes {
            output.other_classes = self.changed_classes();
        }
        self.drop_unused_backends();
        output
    }

    /// The addresses of Ingresses are these from now on.
    pub fn set_addresses(&mut self, addresses: Vec<IpAddr>) {
        if self.settings.addresses != addresses {
            self.settings.addresses = addresses;
            self.touched.statuses.extend(self.ingresses.keys().cloned());
        }
    }

    /// Lets the next compile return all findings, and every status that is not as it should be:
    /// somebody listens who did not before.
    pub fn restate(&mut self) {
        self.touched.findings = true;
        self.touched.statuses.extend(self.ingresses.keys().cloned());
    }

    /// The table as of the last compile.
    pub fn table(&self) -> &RoutingTable {
        &self.table
    }

    // === Facts ===

    fn refuse_secrets(&mut self, refused: bool) {
        if mem::replace(&mut self.secrets_refused, refused) != refused {
            self.touched
                .ingresses
                .extend(self.users_of_secret.values().flatten().cloned());
        }
    }

    fn put(&mut self, object: &RawObject) {
        let name: Name = (object.key.namespace.clone(), object.key.name.clone());
        let read = match object.key.kind {
            Kind::IngressClass => ClassFact::read(object, &self.settings.controller).map(|fact| {
                if self.classes.get(&name.1) != Some(&fact) {
                    self.classes.insert(name.1.clone(), fact);
                    self.touch_all();
                }
            }),
            Kind::Ingress => IngressFact::read(object).map(|fact| {
                self.ingresses.insert(name.clone(), fact);
                self.touched.ingresses.insert(name.clone());
            }),
            Kind::Service => ServiceFact::read(object).map(|fact| {
                if self.services.get(&name) != Some(&fact) {
                    self.services.insert(name.clone(), fact);
                    self.touch_service(&name);
                }
            }),
            Kind::EndpointSlice => {
                SliceFact::read(object, &self.settings.node).map(|fact| self.put_slice(&name, fact))
            }
            Kind::Secret => SecretFact::read(object).map(|fact| {
                self.secrets.insert(name.clone(), fact);
                self.touch_secret(&name);
            }),
            Kind::Namespace | Kind::ConfigMap | Kind::Endpoints | Kind::Node | Kind::Event => {
                Ok(())
            }
        };
        let known = self.undecodable.remove(&object.key).is_some();
        self.touched.findings |= known;
        if let Err(error) = read {
            // What was known of it is out of date: only its own rules go.
            self.remove(&object.key);
            if object.key.kind == Kind::Secret {
                self.secrets
                    .insert(name.clone(), SecretFact::unreadable(object));
                self.touch_secret(&name);
            }
            self.undecodable.insert(
                object.key.clone(),
                Finding {
                    about: object.reference(),
                    severity: EventType::Warning,
                    reason: "Undecodable",
                    field: error.field,
                    message: error.why,
                },
            );
            self.touched.findings = true;
        }
    }

    fn remove(&mut self, key: &Key) {
        let name: Name = (key.namespace.clone(), key.name.clone());
        self.touched.findings |= self.undecodable.remove(key).is_some();
        match key.kind {
            Kind::IngressClass => {
                if self.classes.remove(&name.1).is_some() {
                    self.touch_all();
                }
            }
            Kind::Ingress => {
                if self.ingresses.remove(&name).is_some() {
                    self.touched.ingresses.insert(name);
                }
            }
            Kind::Service => {
                if self.services.remove(&name).is_some() {
                    self.touch_service(&name);
                }
            }
            Kind::EndpointSlice => self.put_slice(&name, None),
            Kind::Secret => {
                if self.secrets.remove(&name).is_some() {
                    self.touch_secret(&name);
                }
            }
            Kind::Namespace | Kind::ConfigMap | Kind::Endpoints | Kind::Node | Kind::Event => {}
        }
    }

    fn known(&self, kind: Kind) -> Vec<Key> {
        let key = |(namespace, name): &Name| Key {
            kind,
            namespace: namespace.clone(),
            name: name.clone(),
        };
        let undecodable = self
            .undecodable
            .keys()
            .filter(|key| key.kind == kind)
            .cloned();
        let names: Vec<Key> = match kind {
            Kind::IngressClass => self
                .classes
                .keys()
                .map(|name| key(&("".into(), name.clone())))
                .collect(),
            Kind::Ingress => self.ingresses.keys().map(key).collect(),
            Kind::Service => self.services.keys().map(key).collect(),
            Kind::EndpointSlice => self.slices.keys().map(key).collect(),
            Kind::Secret => self.secrets.keys().map(key).collect(),
            Kind::Namespace | Kind::ConfigMap | Kind::Endpoints | Kind::Node | Kind::Event => {
                Vec::new()
            }
        };
        names.into_iter().chain(undecodable).collect()
    }

    fn put_slice(&mut self, name: &Name, fact: Option<SliceFact>) {
        if self.slices.get(name) == fact.as_ref() {
            return;
        }
        if let Some(before) = self.slices.remove(name) {
            let service = (name.0.clone(), before.service);
            if let Some(slices) = self.slices_of.get_mut(&service) {
                slices.remove(&name.1);
                if slices.is_empty() {
                    self.slices_of.remove(&service);
                }
            }
            self.touched.endpoints.insert(service);
        }
        if let Some(fact) = fact {
            let service = (name.0.clone(), fact.service.clone());
            self.slices_of
                .entry(service.clone())
                .or_default()
                .insert(name.1.clone());
            self.touched.endpoints.insert(service);
            self.slices.insert(name.clone(), fact);
        }
    }

    fn touch_all(&mut self) {
        self.touched
            .ingresses
            .extend(self.ingresses.keys().cloned());
        self.touched.default = true;
    }

    fn touch_service(&mut self, name: &Name) {
        self.touched.endpoints.insert(name.clone());
        if let Some(users) = self.users_of_service.get(name) {
            self.touched.ingresses.extend(users.iter().cloned());
        }
        self.touched.default |= self.settings.default_backend.is_some();
    }

    fn touch_secret(&mut self, name: &Name) {
        if let Some(users) = self.users_of_secret.get(name) {
            self.touched.ingresses.extend(users.iter().cloned());
            self.touched.certificates = true;
        }
    }

    // === Assembly ===

    fn relink(&mut self, name: &Name, before: Option<&Compiled>, after: Option<&Compiled>) {
        fn unlink<K: std::hash::Hash + Eq>(
            map: &mut HashMap<K, BTreeSet<Name>>,
            key: &K,
            name: &Name,
        ) {
            if let Some(users) = map.get_mut(key) {
                users.remove(name);
                if users.is_empty() {
                    map.remove(key);
                }
            }
        }
        if let Some(before) = before {
            for service in &before.services {
                unlink(&mut self.users_of_service, service, name);
            }
            for secret in &before.secrets {
                unlink(&mut self.users_of_secret, secret, name);
            }
            for host in before.hosts() {
                if let Some(users) = self.on_host.get_mut(host) {
                    if let Ok(at) = users.binary_search(name) {
                        users.remove(at);
                    }
                    if users.is_empty() {
                        self.on_host.remove(host);
                    }
                }
            }
        }
        if let Some(after) = after {
            for service in &after.services {
                self.users_of_service
                    .entry(service.clone())
                    .or_default()
                    .insert(name.clone());
            }
            for secret in &after.secrets {
                self.users_of_secret
                    .entry(secret.clone())
                    .or_default()
                    .insert(name.clone());
            }
            for host in after.hosts() {
                // Nearly all have one: a list with room for four, or a set, would take several
                // times as much.
                let users = self
                    .on_host
                    .entry(host.clone())
                    .or_insert_with(|| Vec::with_capacity(1));
                if let Err(at) = users.binary_search(name) {
                    users.insert(at, name.clone());
                }
            }
        }
    }

    pub(super) fn finding(
        &self,
        namespace: &Arc<str>,
        name: &Arc<str>,
        reason: &'static str,
        field: &str,
        message: String,
    ) -> Option<Finding> {
        let about = self
            .ingresses
            .get(&(namespace.clone(), name.clone()))?
            .about
            .clone();
        Some(Finding {
            about,
            severity: EventType::Warning,
            reason,
            field: field.into(),
            message: message.into(),
        })
    }

    fn default_route(&mut self) -> Option<Arc<Route>> {
        let catchers = self
            .compiled
            .iter()
            .filter(|(_, one)| one.catch_all.is_some())
            .map(|(name, _)| name);
        let oldest = self.by_age(catchers).into_iter().next();
        let caught = oldest.and_then(|name| self.compiled.get(name)?.catch_all.clone());
        caught.or_else(|| ingress::controller_default(self))
    }

    // === Endpoints ===

    /// Makes or finds the backend for a Service port.
    pub(super) fn backend(
        &mut self,
        service: &Name,
        port: u16,
        protocol: Protocol,
    ) -> Arc<Backend> {
        let id = BackendId {
            namespace: service.0.clone(),
            service: service.1.clone(),
            port,
        };
        let backend = self
            .backends
            .entry((id.clone(), protocol))
            .or_insert_with(|| Arc::new(Backend::new(id, protocol)));
        self.backends_of
            .entry(service.clone())
            .or_default()
            .insert((port, protocol as u8));
        backend.clone()
    }

    /// Services with a backend that has no endpoints yet.
    fn fresh_backends(&self) -> BTreeSet<Name> {
        let empty = self
            .backends
            .values()
            .filter(|backend| matches!(**backend.endpoints(), EndpointSet::Empty));
        empty
            .map(|backend| (backend.id.namespace.clone(), backend.id.service.clone()))
            .collect()
    }

    fn endpoint_updates(&self, services: &BTreeSet<Name>) -> Vec<EndpointUpdate> {
        let mut updates = Vec::new();
        for service in services {
            let Some(ports) = self.backends_of.get(service) else {
                continue;
            };
            for port in ports.iter().map(|(port, _)| *port).collect::<BTreeSet<_>>() {
                let endpoints = self.endpoints(service, port);
                for protocol in [
                    Protocol::Http1,
                    Protocol::H2c,
                    Protocol::Https,
                    Protocol::H2,
                ] {
                    let id = BackendId {
                        namespace: service.0.clone(),
                        service: service.1.clone(),
                        port,
                    };
                    if let Some(backend) = self.backends.get(&(id, protocol))
                        && **backend.endpoints() != endpoints
                    {
                        updates.push(EndpointUpdate {
                            backend: backend.clone(),
                            endpoints: endpoints.clone(),
                        });
                    }
                }
            }
        }
        updates
    }

    fn endpoints(&self, service: &Name, port: u16) -> EndpointSet {
        let Some(fact) = self.services.get(service) else {
            return EndpointSet::Empty;
        };
        if let Some(host) = &fact.external {
            return EndpointSet::Name {
                host: host.trim_end_matches('.').into(),
                port,
            };
        }
        let Some(named) = fact.ports.iter().find(|candidate| candidate.port == port) else {
            return EndpointSet::Empty;
        };
        let mut ready = BTreeSet::new();
        let mut last_resort = BTreeSet::new();
        for (_, slice) in self.slices_of(service) {
            let Some((_, target)) = slice.ports.iter().find(|(name, _)| *name == named.name) else {
                continue;
            };
            for endpoint in &slice.endpoints {
                let addr = std::net::SocketAddr::new(endpoint.address, *target);
                if endpoint.ready {
                    ready.insert(addr);
                } else if endpoint.last_resort {
                    last_resort.insert(addr);
                }
            }
        }
        let chosen = if ready.is_empty() { last_resort } else { ready };
        if chosen.is_empty() {
            return EndpointSet::Empty;
        }
        EndpointSet::Addresses(chosen.into_iter().map(|addr| Endpoint { addr }).collect())
    }

    /// The slices of a Service, by name.
    pub(super) fn slices_of(&self, service: &Name) -> Vec<(&Arc<str>, &SliceFact)> {
        let names = self.slices_of.get(service).into_iter().flatten();
        names
            .filter_map(|name| Some((name, self.slices.get(&(service.0.clone(), name.clone()))?)))
            .collect()
    }

    /// Forgets backends that only the index still holds.
    fn drop_unused_backends(&mut self) {
        let Self {
            backends,
            backends_of,
            ..
        } = self;
        backends.retain(|(id, protocol), backend| {
            let used = Arc::strong_count(backend) > 1;
            if !used {
                let service = (id.namespace.clone(), id.service.clone());
                if let Some(ports) = backends_of.get_mut(&service) {
                    ports.remove(&(id.port, *protocol as u8));
                    if ports.is_empty() {
                        backends_of.remove(&service);
                    }
                }
            }
            used
        });
    }

    // === Statuses, findings ===

    fn status_patches<'a>(&self, names: impl Iterator<Item = &'a Name>) -> Vec<StatusPatch> {
        let names: BTreeSet<&Name> = names.collect();
        let mut patches = Vec::new();
        if self.settings.addresses.is_empty() {
            return patches;
        }
        for name in names {
            let (Some(fact), Some(compiled)) = (self.ingresses.get(name), self.compiled.get(name))
            else {
                continue;
            };
            let mut wanted = self.settings.addresses.clone();
            wanted.sort_unstable();
            if compiled.ours && *fact.addresses != *wanted {
                patches.push(StatusPatch::IngressAddresses {
                    about: fact.about.clone(),
                    addresses: wanted,
                });
            }
        }
        patches
    }

    /// All findings as of the last compile.
    pub fn findings(&self) -> Vec<Finding> {
        let ingresses = self
            .compiled
            .values()
            .flat_map(|compiled| &compiled.findings);
        let missing = self
            .compiled
            .values()
            .flat_map(|compiled| &compiled.missing);
        // A Secret that is asked for is on its way.
        let missing = missing
            .filter(|(id, _)| !self.wishes.all.contains_key(id))
            .map(|(_, finding)| finding);
        let others = self
            .losers
            .values()
            .flatten()
            .chain(&self.wishes.findings)
            .chain(self.undecodable.values());
        let services = self.unserved.values().flatten();
        ingresses
            .chain(missing)
            .chain(others)
            .chain(services)
            .cloned()
            .collect()
    }

    /// The object that a key stands for, as far as it is known.
    pub fn reference(&self, namespace: &str, name: &str) -> Option<&ObjectRef> {
        self.ingresses
            .get(&(namespace.into(), name.into()))
            .map(|fact| &fact.about)
    }
}
