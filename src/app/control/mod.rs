//! The control loop: applies changes of objects, compiles, publishes, and writes back. The first
//! change after a quiet time is live at once; changes that arrive during a compile are combined
//! into the next one.

pub(super) mod cache;
mod choice;
pub(super) mod classes;
pub(super) mod endpoint_health;
mod expiry;
mod findings;
pub(super) mod parsed;
pub(super) mod ports;
pub(super) mod publish;
pub(super) mod role;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use self::{
    cache::Cache,
    classes::ClassNote,
    findings::Announcer,
    ports::Ports,
    publish::{Publisher, Served},
    role::{Change, Role},
};
use super::{certificates::Certificates, memory::ChangeCounter, write_queue::WriteQueue};
use crate::{
    controller::{Index, Output},
    objects::{Event, Kind, NamedConfigMaps, PodLabels, Selection, Write},
    proxy::{ConnectFailure, EndpointKey},
    routing::Origin,
    store::Store,
};

/// Maximum number of events that are combined into one compile.
const BATCH: usize = 1024;

/// Minimum interval between writes of the local copy: a rolling deployment must not wear out an SD
/// card.
const CACHE_INTERVAL: Duration = Duration::from_secs(5);

/// Minimum interval between updates of the findings about TLS with endpoints.
const FINDINGS_INTERVAL: Duration = Duration::from_secs(10);

/// Interval between attempts to build the issuers of the configuration file that cannot be used: a
/// file that they name can come late.
const ISSUERS_INTERVAL: Duration = Duration::from_secs(60);

/// Interval between attempts to open the ports that could not be opened: another program may have
/// ended.
const PORTS_INTERVAL: Duration = Duration::from_secs(5);

/// Interval between choices of the certificates to serve, because certificates expire.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(600);

/// The compiler with its inputs and outputs.
pub(super) struct ControlLoop {
    index: Index,
    class_note: ClassNote,
    publisher: Publisher,
    ports: Ports,
    /// Changes when clients of a port use the PROXY protocol otherwise than expected.
    mismatches: watch::Receiver<u64>,
    certificates: Certificates,
    /// Selects the objects that are followed of kinds with many.
    selection: watch::Sender<Selection>,
    queue: WriteQueue,
    role: Role,
    /// True if this replica writes, as of the last change of its role.
    leads: bool,
    announcer: Announcer,
    cache: Option<(Cache, Arc<dyn Store>)>,
    changes: ChangeCounter,
    tls_failures: TlsFailures,
    ready: Arc<AtomicBool>,
    /// Kinds without which nothing can be compiled, and which have not been read yet.
    missing: HashSet<Kind>,
    timers: Timers,
}

/// The parts that a control loop is made of.
pub(super) struct Parts {
    pub(super) index: Index,
    pub(super) class_note: ClassNote,
    pub(super) publisher: Publisher,
    pub(super) ports: Ports,
    pub(super) certificates: Certificates,
    pub(super) selection: watch::Sender<Selection>,
    pub(super) queue: WriteQueue,
    pub(super) role: Role,
    /// The local copy of a real cluster's objects. `None` for the mini cluster, which stores them
    /// itself.
    pub(super) cache: Option<(Cache, Arc<dyn Store>)>,
    pub(super) changes: ChangeCounter,
    /// Set once all objects have been read and are served.
    pub(super) ready: Arc<AtomicBool>,
}

/// Moments at which the loop has something to do.
#[derive(Debug, Default)]
struct Timers {
    /// The local copy is written.
    cache: Option<Instant>,
    /// The findings about TLS with endpoints and about the PROXY protocol are updated.
    findings: Option<Instant>,
    /// The last such update.
    last_findings: Option<Instant>,
    /// The unusable issuers of the configuration file are built again.
    issuers: Option<Instant>,
    /// The ports that could not be opened are tried again.
    ports: Option<Instant>,
    /// Certificates are chosen again, because some may have expired.
    expiry: Option<Instant>,
    /// Secrets that differ again a short time after they were written are written once more.
    secrets: Option<Instant>,
}

/// The endpoints whose TLS handshakes fail.
struct TlsFailures {
    /// Changes with `failing`.
    version: watch::Receiver<u64>,
    /// The version of `failing`.
    copied: u64,
    failing: HashMap<EndpointKey, ConnectFailure>,
}

impl ControlLoop {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            index,
            class_note,
            publisher,
            ports,
            certificates,
            selection,
            queue,
            mut role,
            cache,
            changes,
            ready,
        } = parts;

        let tls_failures = TlsFailures {
            version: publisher.shared.tls_failures(),
            copied: 0,
            failing: HashMap::new(),
        };
        let leads = *role.leads.borrow_and_update();
        let mismatches = ports.mismatches();

        let mut control = Self {
            index,
            class_note,
            publisher,
            ports,
            mismatches,
            certificates,
            selection,
            queue,
            role,
            leads,
            announcer: Announcer::default(),
            cache,
            changes,
            tls_failures,
            ready,
            missing: Kind::WATCHED.into_iter().collect(),
            timers: Timers::default(),
        };
        control
            .index
            .apply(Event::ConfigMapsKnown(NamedConfigMaps::default()));
        control.report_issuers();
        control
    }

    /// Reports the unusable issuers of the configuration file, and sets the time to try them again.
    fn report_issuers(&mut self) {
        let problems = self.certificates.issuers.problems();
        self.publisher.set_issuers(&problems);
        self.timers.issuers = (!problems.is_empty()).then(|| Instant::now() + ISSUERS_INTERVAL);
    }

    /// Serves the objects of the local copy until the cluster has been read.
    pub(super) fn warm_up(&mut self, copy: Vec<Event>) {
        if copy.is_empty() {
            return;
        }
        self.changes.add(copy.len());
        let labels = pod_labels(&copy);
        for event in copy.into_iter().chain([Event::PodsKnown(labels)]) {
            self.index.apply(event);
        }

        let (mut output, unreported) = self.index.compile_routes();
        self.publish_ports(&mut output);
        let served = self.serve(&mut output);
        let mut output = self.index.report(output, unreported);
        self.report(&mut output, served);
        self.ready.store(true, Ordering::Release);
        self.publisher.shared.set_ready();
        tracing::info!("serving from the local copy until the cluster answers");
    }

    /// Runs until all sources of events have ended.
    pub(super) async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        let mut batch = Vec::with_capacity(64);
        self.timers.expiry = Some(Instant::now() + EXPIRY_INTERVAL);

        loop {
            tokio::select! {
                received = events.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        self.write_cache().await;
                        return;
                    }

                    let issuers_changed = self.apply(&mut batch);
                    self.compile(issuers_changed).await;
                }
                change = self.role.changed() => {
                    self.set_role(change);
                    self.compile(false).await;
                }
                () = self.certificates.changed() => {
                    self.publish_certificates();
                    self.certificates.verify();
                    self.write_secrets();
                }
                () = until(self.timers.issuers) => {
                    self.timers.issuers = Some(Instant::now() + ISSUERS_INTERVAL);
                    if self.certificates.issuers.retry() {
                        self.report_issuers();
                        self.compile(true).await;
                    }
                }
                () = until(self.timers.expiry) => {
                    self.timers.expiry = Some(Instant::now() + EXPIRY_INTERVAL);
                    self.publish_certificates();
                    if self.missing.is_empty() {
                        self.update_findings();
                    }
                }
                () = until(self.timers.secrets) => self.write_secrets(),
                () = until(self.timers.ports) => {
                    let has_changed = self.ports.open();
                    self.retry_ports_later();
                    if has_changed && self.missing.is_empty() {
                        self.update_findings();
                    }
                }
                () = until(self.timers.cache) => {
                    let failed = self.write_cache().await;
                    self.timers.cache = failed.then(|| Instant::now() + CACHE_INTERVAL);
                }
                Ok(()) = self.tls_failures.version.changed(),
                    if self.timers.findings.is_none() && self.missing.is_empty() =>
                {
                    self.update_findings_soon();
                }
                Ok(()) = self.mismatches.changed(),
                    if self.timers.findings.is_none() && self.missing.is_empty() =>
                {
                    self.update_findings_soon();
                }
                () = until(self.timers.findings) => {
                    self.timers.findings = None;
                    self.timers.last_findings = Some(Instant::now());
                    self.tls_failures.version.mark_unchanged();
                    self.mismatches.mark_unchanged();
                    self.update_findings();
                }
            }
        }
    }

    /// Applies events to everything that follows them. Returns whether an issuer has changed.
    fn apply(&mut self, batch: &mut Vec<Event>) -> bool {
        let mut issuers_changed = false;
        self.changes.add(batch.iter().map(Event::objects).sum());

        for event in batch.drain(..) {
            // Without certificates, issuers, classes or objects of Traefik the rest can be served;
            // without the other kinds nothing can.
            let is_needed = |kind: Kind| {
                let can_lack = [Kind::Secret, Kind::ConfigMap, Kind::IngressClass];
                !can_lack.contains(&kind) && !kind.is_optional()
            };
            match &event {
                Event::Reset(kind, _) => {
                    self.missing.remove(kind);
                }
                Event::Refused(kind) if !is_needed(*kind) => {
                    self.missing.remove(kind);
                }
                _ => {}
            }

            if let Some((cache, _store)) = &mut self.cache {
                cache.observe(&event);
                if cache.is_dirty() && self.timers.cache.is_none() {
                    self.timers.cache = Some(Instant::now() + CACHE_INTERVAL);
                }
            }

            if self.certificates.issuers.apply(&event) {
                issuers_changed = true;
                self.index.set_issuers(self.certificates.issuers.names());
                self.index.set_aliases(self.certificates.issuers.aliases());
            }
            self.index.apply(event);
        }

        issuers_changed
    }

    /// Compiles and publishes, once all objects have been read: a table from some of them would
    /// return 404 for hosts that are merely unknown yet.
    async fn compile(&mut self, issuers_changed: bool) {
        if !self.missing.is_empty() {
            return;
        }

        let (mut output, unreported) = self.index.compile_routes();
        self.class_note.update(self.index.missing_class());
        match output.desired.take() {
            Some(desired) => self.certificates.set_desired(desired).await,
            // A name may stand for another issuer now.
            None if issuers_changed => self.certificates.update_specs().await,
            None => {}
        }

        self.write_secrets();
        self.publish_ports(&mut output);
        // Requests first: with many objects, the rest takes some time.
        let served = self.serve(&mut output);
        let mut output = self.index.report(output, unreported);
        self.complete_findings(&mut output, issuers_changed);
        self.report(&mut output, served);
        self.write_back(output);
        let mut released = self.index.release(Output::default());
        self.follow(&mut released);

        // Objects that were asked for come soon, or a refusal.
        if !self.index.waits() {
            self.ready.store(true, Ordering::Release);
            self.publisher.shared.set_ready();
        }
    }

    /// Opens and closes ports. The findings of the same compile have those that cannot be opened.
    fn publish_ports(&mut self, output: &mut Output) {
        if let Some(table) = output.ports.take() {
            // Endpoints before the ports that lead to them.
            for update in &output.endpoints {
                update.backend.set_endpoints(update.endpoints.clone());
            }
            self.ports.publish(table);
            self.retry_ports_later();
        }
    }

    fn retry_ports_later(&mut self) {
        let has_failed = self.ports.has_failed();
        self.timers.ports = has_failed.then(|| Instant::now() + PORTS_INTERVAL);
    }

    /// Lets requests have what an output has for them.
    fn serve(&mut self, output: &mut Output) -> Served {
        let now = self.certificates.engine.now();
        self.publisher
            .serve(output, &self.certificates.active(), now)
    }

    /// Publishes the rest of an output.
    fn report(&mut self, output: &mut Output, served: Served) {
        if let Some(config_maps) = output.config_maps.take() {
            self.selection
                .send_modify(|selection| selection.config_maps = config_maps);
        }
        self.follow(output);
        self.publisher.report(output, served);
    }

    /// Follows the Pods, and checks the endpoints, that an output asks for.
    fn follow(&mut self, output: &mut Output) {
        if let Some(checked) = output.checked.take() {
            self.publisher.shared.check(checked);
        }
        if let Some(pods) = output.pods.take() {
            if let Some((cache, _store)) = self.cache.as_mut().filter(|_| pods.is_empty()) {
                cache.observe(&Event::Reset(Kind::Pod, Vec::new()));
            }
            self.selection
                .send_modify(|selection| selection.pods = pods);
        }
    }

    /// Publishes the certificates for the hosts of the last compile.
    fn publish_certificates(&self) {
        let now = self.certificates.engine.now();
        self.publisher
            .certificates(&self.certificates.active(), now);
    }

    /// Lets the findings be updated when the last time is long enough ago.
    fn update_findings_soon(&mut self) {
        let next = self
            .timers
            .last_findings
            .map(|last| last + FINDINGS_INTERVAL);
        self.timers.findings = Some(next.unwrap_or_else(Instant::now));
    }

    /// Publishes the findings as of the last compile with the current state of the endpoints.
    fn update_findings(&mut self) {
        let mut output = Output {
            findings: Some(self.index.findings()),
            ..Output::default()
        };
        self.complete_findings(&mut output, false);
        self.report(&mut output, Served::default());
        self.write_back(output);
    }

    /// Writes certificates into their Secrets. Only the leader does: it orders them.
    fn write_secrets(&mut self) {
        self.timers.secrets = None;
        if self.leads {
            let now = Instant::now().into_std();
            let again = self.certificates.write_secrets(&self.queue, now);
            self.timers.secrets = again.map(Instant::from_std);
        }
    }

    /// Adds the findings that the compiler cannot make: about ConfigMaps of issuers, certificates
    /// that end, and endpoints whose TLS fails.
    fn complete_findings(&mut self, output: &mut Output, issuers_changed: bool) {
        let endpoints_changed = !output.endpoints.is_empty();
        if output.findings.is_none() && !issuers_changed && !endpoints_changed {
            return;
        }

        let failing = self.tls_failures.update(&self.publisher);
        if output.findings.is_none() && !issuers_changed && failing.is_empty() {
            return;
        }

        let findings = output.findings.get_or_insert_with(|| self.index.findings());
        findings.extend(self.certificates.issuers.findings());
        findings.extend(self.ports.findings(&self.index, failing));
        let now = self.certificates.engine.now();
        findings.extend(self.publisher.ending(now));
        findings.extend(expiry::of_authorities(self.index.asking(), now));

        let reference = |origin: &Origin| {
            // The origin of the default backend of the settings is a Service.
            let is_ingress = &*origin.field != "default_backend";
            is_ingress
                .then(|| self.index.reference(&origin.namespace, &origin.name))
                .flatten()
        };

        findings.extend(endpoint_health::findings(
            self.index.table(),
            failing,
            reference,
        ));
    }

    fn set_role(&mut self, change: Change) {
        match change {
            Change::Leads(leads) => {
                self.leads = leads;
                self.announcer.reset_events();
                self.index.restate();
            }
            Change::Addresses(addresses) => self.index.set_addresses(addresses),
        }
    }

    /// Logs findings, and queues statuses and Events if this replica leads.
    fn write_back(&mut self, output: Output) {
        if self.leads {
            for status in output.statuses {
                self.queue.push(Write::Status(status));
            }
        }
        if let Some(findings) = output.findings {
            self.announcer.log(&findings);
            if self.leads {
                self.announcer.write_events(&findings, &self.queue);
            }
        }
    }

    /// Brings the local copy up to date. Returns whether that failed.
    async fn write_cache(&mut self) -> bool {
        let Some((cache, store)) = &mut self.cache else {
            return false;
        };
        if !cache.is_dirty() {
            return false;
        }

        let (batch, store) = (cache.batch(), store.clone());
        self.changes.add(batch.len());

        match tokio::task::spawn_blocking(move || store.commit(batch)).await {
            Ok(Ok(())) => {
                cache.committed();
                false
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the local copy of the cluster's objects is not up to date");
                true
            }
            Err(_cancelled) => true,
        }
    }
}

impl TlsFailures {
    /// Returns the endpoints whose TLS fails. Copies them only if they have changed.
    fn update(&mut self, publisher: &Publisher) -> &HashMap<EndpointKey, ConnectFailure> {
        let version = *self.version.borrow();
        if self.copied != version {
            self.copied = version;
            self.failing = publisher.shared.failing();
            self.failing.retain(|_, failure| failure.is_tls());
        }
        &self.failing
    }
}

/// Returns the labels that Pods of a local copy have: those that were asked for.
fn pod_labels(copy: &[Event]) -> PodLabels {
    let pods = copy.iter().flat_map(|event| match event {
        Event::Reset(Kind::Pod, pods) => &pods[..],
        _ => &[],
    });
    let labels = pods.flat_map(|pod| {
        let names = pod.meta.labels.keys();
        names.map(|name| (pod.key.namespace.clone(), name.clone()))
    });
    labels.collect()
}

/// Waits until a moment, without an end if there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
