//! The compiler's model of the cluster: takes in changes, compiles what they touch, and returns
//! what is new.

mod changed;
mod touched;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    net::IpAddr,
    sync::{Arc, Weak},
};

use super::{
    Finding, OtherClass, Output, Settings,
    authorities::ReadAuthorities,
    backends::Backends,
    canary,
    certificates::{self, Desired},
    classes,
    compiled::{Compiled, CompiledIngresses},
    counted::CountedIngresses,
    dependencies::Dependencies,
    endpoints,
    facts::IsStored,
    groups, guards, hosts, ingress,
    objects::{Changes, Inspect, Name, Objects},
    passthrough,
    ports::{self, CompiledPorts},
    secrets,
};
use crate::{
    objects::{Event, NamedConfigMaps, ObjectRef, PodLabels},
    routing::{Authorities, Backend, HostPattern, HostRoutes, Port, Route, RoutingTable},
    util::parallel,
};

/// The compiler's model of the cluster.
pub struct Index {
    pub(super) objects: Objects,
    dependencies: Dependencies,
    backends: Backends,
    changes: Changes,
    touched: Touched,
    compiled: CompiledIngresses,
    pub(super) desired: Desired,
    table: RoutingTable,
    ports: CompiledPorts,
    /// Findings about rules that are not served as written, by host.
    host_findings: BTreeMap<HostPattern, Vec<Finding>>,
    /// Findings about the default route.
    default_findings: Vec<Finding>,
    /// Findings about Services that routes lead to and that have no endpoints.
    service_findings: BTreeMap<Name, Vec<Finding>>,
    /// The ConfigMaps to follow, as the last [`Output`] had them.
    config_maps: NamedConfigMaps,
    /// The labels of Pods to follow, as the last [`Output`] had them.
    pods: Option<PodLabels>,
    /// The backends whose endpoints are checked, as the last [`Output`] had them.
    checked: Vec<Weak<Backend>>,
    /// The classes that are not served, as the last [`Output`] reported them.
    reported_classes: Option<Vec<OtherClass>>,
    counted: Arc<CountedIngresses>,
}

/// The parts that the next compile visits.
#[derive(Debug, Default)]
struct Touched {
    ingresses: BTreeSet<Name>,
    /// Services whose endpoints may have changed.
    endpoints: BTreeSet<Name>,
    /// Ingresses whose status may have to be written.
    statuses: BTreeSet<Name>,
    certificates: bool,
    default_route: bool,
    ports: bool,
    findings: bool,
    first: bool,
}

/// The parts of a compile that are not in its output yet.
#[derive(Debug)]
pub struct Unreported {
    ingresses: BTreeSet<Name>,
    statuses: BTreeSet<Name>,
    services: BTreeSet<Name>,
    findings: bool,
    other_classes: bool,
}

impl Index {
    /// Returns an index without objects.
    pub fn new(settings: Settings, inspect: Inspect) -> Self {
        Self {
            objects: Objects::new(settings, inspect),
            dependencies: Dependencies::default(),
            backends: Backends::default(),
            changes: Changes::default(),
            touched: Touched {
                first: true,
                default_route: true,
                ports: true,
                certificates: true,
                findings: true,
                ..Touched::default()
            },
            compiled: CompiledIngresses::new(),
            desired: Desired::default(),
            table: RoutingTable::default(),
            ports: CompiledPorts::default(),
            host_findings: BTreeMap::new(),
            default_findings: Vec::new(),
            service_findings: BTreeMap::new(),
            config_maps: NamedConfigMaps::default(),
            pods: None,
            checked: Vec::new(),
            reported_classes: None,
            counted: Arc::default(),
        }
    }

    /// Recognizes Secrets of ours by the chains that gatelet stores for them, even if neither a
    /// label nor an annotation marks them.
    #[must_use]
    pub fn recognizing(mut self, is_stored: IsStored) -> Self {
        self.objects.is_stored = is_stored;
        self
    }

    /// Reads the authorities of certificates of clients. Without it, hosts that ask for those are
    /// closed.
    #[must_use]
    pub fn reading_authorities(mut self, read: ReadAuthorities) -> Self {
        self.objects.read_authorities = read;
        self
    }

    /// Counts requests in place of the index alone, so that metrics can show them.
    #[must_use]
    pub fn counting(mut self, counted: Arc<CountedIngresses>) -> Self {
        self.counted = counted;
        self
    }

    /// Takes in a change.
    pub fn apply(&mut self, event: Event) {
        self.objects.apply(event, &mut self.changes);
    }

    /// Sets the issuers that exist. The next compile visits the Ingresses that this affects.
    pub fn set_issuers(&mut self, names: BTreeSet<Box<str>>) {
        let before = mem::replace(&mut self.objects.settings.issuers, names);
        let after = &self.objects.settings.issuers;
        let changed: BTreeSet<&str> = before
            .symmetric_difference(after)
            .map(|name| name.split_once('/').map_or(&**name, |(_, name)| name))
            .collect();
        if changed.is_empty() {
            return;
        }

        // The finding about an unknown issuer lists the known ones.
        let is_affected = |name: &str| changed.contains(name) || !before.contains(name);
        let affected = self
            .compiled
            .iter()
            .filter(|(_, one)| one.issuers.iter().any(|name| is_affected(name)));
        let known = self.touched.ingresses.len();
        self.touched
            .ingresses
            .extend(affected.map(|(name, _)| name.clone()));
        // Two names can stand for different issuers now.
        self.touched.certificates |= self.touched.ingresses.len() > known;
    }

    /// Sets the main names of issuers by their other names.
    pub fn set_aliases(&mut self, aliases: BTreeMap<Box<str>, Box<str>>) {
        let before = mem::replace(&mut self.objects.settings.aliases, aliases);
        let has_changed = before != self.objects.settings.aliases;
        self.touched.certificates |= has_changed;
        self.touched.findings |= has_changed;
    }

    /// Sets the addresses for the statuses of Ingresses.
    pub fn set_addresses(&mut self, addresses: Vec<IpAddr>) {
        if self.objects.settings.addresses != addresses {
            self.objects.settings.addresses = addresses;
            self.touch_statuses();
        }
    }

    /// Lets the next compile return all findings, and every status that is out of date: for a
    /// replica that begins to lead.
    pub fn restate(&mut self) {
        self.touched.findings = true;
        self.touch_statuses();
    }

    fn touch_statuses(&mut self) {
        let all = self.objects.ingresses.keys().cloned();
        self.touched.statuses.extend(all);
    }

    /// Returns the table as of the last compile.
    pub fn table(&self) -> &RoutingTable {
        &self.table
    }

    /// Returns the object behind a port, and its field that asks for it, as of the last compile.
    pub fn port_owner(&self, port: Port) -> Option<(&ObjectRef, &str)> {
        self.ports.owner(port)
    }

    /// Returns the Ingress of this name, if it exists.
    pub fn reference(&self, namespace: &str, name: &str) -> Option<&ObjectRef> {
        self.objects
            .ingresses
            .get(&(namespace.into(), name.into()))
            .map(|fact| &fact.about)
    }

    /// Reports whether an Ingress is served, judging by its class, as of the last compile.
    pub fn serves(&self, namespace: &str, name: &str) -> bool {
        let compiled = self.compiled.get(&(namespace.into(), name.into()));
        compiled.is_some_and(|one| one.ours)
    }

    /// Reports whether an Ingress that is served, or a port, leads to a Service, as of the last
    /// compile.
    pub fn leads_to(&self, namespace: &str, service: &str) -> bool {
        self.is_used(&(namespace.into(), service.into()))
    }

    /// Summarizes the Ingresses that are not served because of their class, as of the last compile:
    /// the class with the most Ingresses first, and a bounded number of classes.
    pub fn other_classes(&self) -> Vec<OtherClass> {
        classes::summarize(&self.objects, &self.compiled)
    }

    /// Returns a free name for an IngressClass of ours if no Ingress that names a class is served,
    /// because no class is ours.
    pub fn missing_class(&self) -> Option<&'static str> {
        self.objects.missing_class()
    }

    /// Returns the Ingresses that ask for certificates of clients, each with its authorities.
    pub fn asking(&self) -> impl Iterator<Item = (&ObjectRef, &Authorities)> {
        self.compiled.iter().filter_map(|(name, one)| {
            let terms = one.client_certificates.as_ref()?;
            let authorities = terms.authorities.as_ref().ok()?;
            let fact = self.objects.ingresses.get(name)?;
            terms.asks().then_some((&fact.about, &**authorities))
        })
    }

    /// Reports whether something waits for objects that the source has not shown yet: endpoints for
    /// the labels of Pods, or a class for its parameters.
    pub fn waits(&self) -> bool {
        if self
            .objects
            .class_settings
            .values()
            .any(|class| class.waits)
        {
            return true;
        }
        let mut groups = self.backends.groups();
        groups.any(|(service, groups)| groups::waits(&self.objects, service, groups))
    }

    /// Returns all findings as of the last compile.
    pub fn findings(&self) -> Vec<Finding> {
        let ingresses = self.compiled.values().flat_map(|one| &one.findings);
        // A desired certificate is being ordered: its Secret does not exist yet.
        let missing = self
            .compiled
            .values()
            .flat_map(|one| &one.missing)
            .filter(|(id, _)| !self.desired.all.contains_key(id))
            .map(|(_, finding)| finding);

        let classes = self.objects.class_settings.values();
        let classes = classes.flat_map(|class| &class.findings);
        ingresses
            .chain(missing)
            .chain(self.host_findings.values().flatten())
            .chain(&self.default_findings)
            .chain(&self.desired.findings)
            .chain(self.objects.undecodable.values())
            .chain(self.service_findings.values().flatten())
            .chain(&self.ports.findings)
            .chain(&self.objects.global.findings)
            .chain(classes)
            .cloned()
            .collect()
    }

    // === Compiling ===

    /// Compiles the parts that changed since the last call.
    pub fn compile(&mut self) -> Output {
        let (output, unreported) = self.compile_routes();
        self.report(output, unreported)
    }

    /// Compiles the parts that changed since the last call, as far as requests need them: the
    /// table, ports, endpoints and certificates. [`Self::report`] has to follow.
    pub fn compile_routes(&mut self) -> (Output, Unreported) {
        let touched = self.take_touched();
        let mut output = Output::default();
        let mut findings = touched.findings || !touched.ingresses.is_empty();

        let effects = self.compile_ingresses(&touched);
        if !effects.hosts.is_empty() || effects.default_route || touched.first {
            let aliases = hosts::aliases(&self.dependencies, &self.compiled, &effects.hosts);
            let hosts: Vec<&HostPattern> = effects.hosts.iter().chain(&aliases).collect();
            for (host, alone) in hosts.iter().zip(self.alone(&hosts)) {
                self.assemble(host, alone);
            }
            let expressions = hosts::expressions(&self.objects, &self.compiled, &self.table);
            self.table.set_expressions(expressions);
            if effects.default_route {
                let route = self.default_route();
                self.table.set_default(route);
            }
            findings = true;
            output.table = Some(Arc::new(self.table.clone()));
        }

        if touched.ports || effects.ports {
            let backends = &mut self.backends;
            self.ports = ports::compile(&self.objects, &self.compiled, backends);
            output.ports = Some(self.ports.table.clone());
            findings = true;
        }

        let mut services = touched.endpoints;
        services.extend(self.backends.without_endpoints());
        output.endpoints = self.backends.updates(&self.objects, &services);

        if effects.certificates {
            let desired = Desired::merge(&self.objects, &self.compiled);
            if touched.first || desired.all != self.desired.all {
                output.desired = Some(desired.all.values().cloned().collect());
            }
            self.desired = desired;
            let hosts = certificates::tls_hosts(&self.objects, &self.compiled, &self.desired);
            output.certificates = Some(hosts);
        }

        let unreported = Unreported {
            ingresses: touched.ingresses,
            statuses: touched.statuses,
            services,
            findings,
            other_classes: effects.other_classes,
        };
        (output, unreported)
    }

    /// Adds to an output what people and the cluster are told, and what is to be followed.
    pub fn report(&mut self, mut output: Output, unreported: Unreported) -> Output {
        let Unreported {
            ingresses,
            statuses,
            mut services,
            mut findings,
            other_classes,
        } = unreported;
        services.extend(self.annotated_services(&ingresses));
        findings |= self.diagnose(&services);

        output.config_maps = self.changed_config_maps();
        output.statuses = self.status_patches(ingresses.iter().chain(&statuses));
        if findings {
            output.findings = Some(self.findings());
        }
        if other_classes {
            output.other_classes = self.changed_classes();
        }
        self.release(output)
    }

    /// Drops the backends that nothing uses any more, and adds to an output what follows from that.
    /// After an output was published, those of the table before it are gone too.
    pub fn release(&mut self, output: Output) -> Output {
        self.backends.drop_unused();
        Output {
            pods: self.changed_pods(),
            checked: self.changed_checks(),
            ..output
        }
    }

    /// Compiles the touched Ingresses and returns which other parts this affects.
    fn compile_ingresses(&mut self, touched: &Touched) -> Effects {
        let mut effects = Effects {
            hosts: BTreeSet::new(),
            default_route: touched.default_route,
            certificates: touched.certificates,
            other_classes: touched.first,
            ports: false,
        };
        let objects = &self.objects;
        let pairs = secrets::pairs(objects, &touched.ingresses);
        let inspect = &objects.inspect;
        let inspect = |(chain, key): &(&[u8], &[u8])| {
            // The Ingress reports what is wrong.
            let _ = inspect(chain, key, &HostPattern::Any);
        };

        // The first ones all at once, which is sooner than one after another, and denser.
        let is_first = self.compiled.is_empty();
        let mut first = Vec::with_capacity(if is_first { touched.ingresses.len() } else { 0 });
        let mut hosts = Vec::new();

        parallel::beside(&pairs, inspect, || {
            for name in &touched.ingresses {
                let before = self.compiled.remove(name);
                let fact = objects.ingresses.get(name);
                let (counted, backends) = (&self.counted, &mut self.backends);
                let after =
                    fact.map(|fact| ingress::compile(objects, backends, (name, fact), counted));
                if !after.as_ref().is_some_and(|after| after.ours) {
                    self.counted.forget(name);
                }

                for one in before.iter().chain(after.as_ref()) {
                    hosts.extend(one.hosts().cloned());
                    effects.default_route |= one.catch_all.is_some();
                    effects.other_classes |= !one.ours;
                    effects.ports |= one.tcp.is_some();
                }
                effects.certificates |= before.as_ref().map(Compiled::certificates)
                    != after.as_ref().map(Compiled::certificates);

                self.dependencies
                    .relink(name, before.as_ref(), after.as_ref());
                match after {
                    Some(after) if is_first => first.push((name.clone(), after)),
                    Some(after) => drop(self.compiled.insert(name.clone(), after)),
                    None => {}
                }
            }
        });
        if is_first {
            self.compiled = first.into_iter().collect();
        }
        effects.hosts = hosts.into_iter().collect();
        effects
    }

    /// Returns the rules of those hosts that one Ingress has by itself.
    fn alone(&self, hosts: &[&HostPattern]) -> Vec<Option<(HostRoutes, Vec<Finding>)>> {
        let (objects, compiled) = (&self.objects, &self.compiled);
        let dependencies = &self.dependencies;
        parallel::map(hosts, |host| {
            hosts::alone(objects, compiled, dependencies, host)
        })
    }

    /// Rebuilds the rules of a host. `alone` has them if one Ingress has it by itself.
    fn assemble(&mut self, host: &HostPattern, alone: Option<(HostRoutes, Vec<Finding>)>) {
        self.host_findings.remove(host);
        let (objects, compiled) = (&self.objects, &self.compiled);
        let (dependencies, backends) = (&self.dependencies, &mut self.backends);
        let (routes, findings) = match alone {
            Some((routes, findings)) => (Some(routes), findings),
            None => hosts::routes(objects, backends, compiled, dependencies, host),
        };
        if !findings.is_empty() {
            self.host_findings.insert(host.clone(), findings);
        }
        match routes {
            Some(routes) => self.table.set(Arc::new(routes)),
            None => self.table.remove(host),
        }
    }

    /// Returns the default route: of the oldest Ingress that has one, else of the settings.
    fn default_route(&mut self) -> Option<Arc<Route>> {
        let (objects, compiled) = (&self.objects, &self.compiled);
        let catchers = compiled.iter().filter(|(_, one)| one.catch_all.is_some());
        let catchers = objects.by_age(catchers.map(|(name, _)| name));
        let is_canary = |name: &&Name| compiled[*name].canary.is_some();
        let (canaries, mains): (Vec<&Name>, Vec<&Name>) = catchers.into_iter().partition(is_canary);

        let oldest = mains.first();
        let mut caught = oldest.and_then(|name| compiled.get(*name)?.catch_all.clone());
        let backends = &mut self.backends;
        self.default_findings =
            canary::share_default(objects, backends, compiled, &mut caught, &canaries);
        caught.or_else(|| ingress::controller_default(objects, backends))
    }

    /// Diagnoses these Services, and again those that have findings. Returns true if findings
    /// changed.
    fn diagnose(&mut self, services: &BTreeSet<Name>) -> bool {
        let before = mem::take(&mut self.service_findings);
        let concerned: BTreeSet<&Name> = services.iter().chain(before.keys()).collect();
        for service in concerned {
            let ports_in_use = || {
                let users = self.dependencies.users_of_service(service);
                let users = users.filter_map(|user| self.compiled.get(user));
                let routes = users.clone().flat_map(Compiled::routes);
                let routes = routes.chain(self.table.default_route());
                let mut in_use = endpoints::ports_in_use(service, routes);
                in_use.extend(users.flat_map(|user| passthrough::in_use(user, service)));
                in_use.extend(self.ports.in_use(service));
                in_use
            };
            let mut findings = endpoints::diagnose(&self.objects, service, ports_in_use);
            if let Some(fact) = self.objects.services.get(service)
                && !fact.peers.is_empty()
                && self.is_used(service)
            {
                findings.extend(guards::notes_of_service(service, fact));
            }
            if self.backends.grouped().any(|grouped| grouped == service) {
                let users = self.dependencies.users_of_service(service);
                let users = users.filter_map(|user| self.compiled.get(user));
                let routes = users.flat_map(Compiled::routes);
                findings.extend(groups::diagnose(&self.objects, service, routes));
            }
            if !findings.is_empty() {
                self.service_findings.insert(service.clone(), findings);
            }
        }
        self.service_findings != before
    }

    /// Returns the Services of Ingresses that have annotations of other controllers.
    fn annotated_services(&self, ingresses: &BTreeSet<Name>) -> Vec<Name> {
        let compiled = ingresses.iter().filter_map(|name| self.compiled.get(name));
        let services = compiled.flat_map(|one| &one.services).filter(|service| {
            let fact = self.objects.services.get(*service);
            fact.is_some_and(|fact| !fact.peers.is_empty())
        });
        services.cloned().collect()
    }

    /// Reports whether an Ingress that is served here, or a port, leads to a Service.
    fn is_used(&self, service: &Name) -> bool {
        let mut users = self.dependencies.users_of_service(service);
        users.next().is_some() || self.ports.services.contains(service)
    }
}

/// The parts that the compiled Ingresses affect.
struct Effects {
    hosts: BTreeSet<HostPattern>,
    default_route: bool,
    certificates: bool,
    other_classes: bool,
    ports: bool,
}
