//! The control loop: events in, compiled tables out. The first change after a quiet time is live at
//! once; what comes while a compile runs is taken together by the next one.

pub(super) mod cache;
pub(super) mod classes;
pub(super) mod endpoint_health;
pub(super) mod parsed;
pub(super) mod publish;
pub(super) mod role;

use std::{
    collections::HashSet,
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
    classes::Classes,
    publish::Publisher,
    role::{Change, Role},
};
use super::{
    certificates::Certificates,
    memory::ChangeCounter,
    writer::{Announced, Queue},
};
use crate::{
    controller::{Finding, Index, Output},
    objects::{Event, EventNote, EventType, Kind, Write},
    proxy::ConnectFailure,
    routing::Origin,
    store::Store,
};

/// At most this many events are taken together before they are compiled and made live.
const BATCH: usize = 1024;

/// The local copy is written at most this often: a rolling deployment must not wear out an SD card.
const CACHE_EVERY: Duration = Duration::from_secs(5);

/// What TLS with endpoints does becomes findings, and Events, at most this often.
const FINDINGS_EVERY: Duration = Duration::from_secs(10);

/// The compiler with everything it feeds.
pub(crate) struct ControlLoop {
    pub(crate) index: Index,
    pub(crate) classes: Classes,
    pub(crate) publisher: Publisher,
    pub(crate) certificates: Certificates,
    pub(crate) writer: Queue,
    pub(crate) role: Role,
    /// Whether this replica writes, as of the last change of its role.
    pub(crate) leading: bool,
    /// What the log was told.
    pub(crate) logged: Announced,
    /// What Events were asked for since this replica leads.
    pub(crate) announced: Announced,
    /// The local copy of a real cluster's objects; `None` where the mini cluster keeps them.
    pub(crate) cache: Option<(Cache, Arc<dyn Store>)>,
    /// Counts changed objects, so that memory is trimmed after many.
    pub(crate) changes: ChangeCounter,
    /// Changes with the endpoints whose TLS handshakes fail.
    pub(crate) tls_failures: watch::Receiver<u64>,
    /// Set once everything that is watched has been seen and is served.
    pub(crate) ready: Arc<AtomicBool>,
}

impl ControlLoop {
    /// Serves what the local copy holds, before any source has answered.
    pub(crate) fn warm_up(&mut self, copy: Vec<Event>) {
        if copy.is_empty() {
            return;
        }
        self.changes.add(copy.len());
        for event in copy {
            self.index.apply(event);
        }
        let mut output = self.index.compile();
        self.publisher
            .publish(&mut output, &self.certificates.active());
        self.ready.store(true, Ordering::Release);
        tracing::info!("serving from the local copy until the cluster answers");
    }

    /// Runs until the sources are gone.
    pub(crate) async fn run(mut self, mut events: mpsc::Receiver<Event>) -> Result<(), String> {
        let mut missing: HashSet<Kind> = Kind::WATCHED.into_iter().collect();
        let mut batch = Vec::with_capacity(64);
        let mut cache_due: Option<Instant> = None;
        let (mut findings_due, mut last_findings): (Option<Instant>, Option<Instant>) =
            (None, None);
        loop {
            let open = tokio::select! {
                received = events.recv_many(&mut batch, BATCH) => received > 0,
                change = self.role.changed() => {
                    self.take_role(change);
                    true
                }
                () = self.certificates.changed() => {
                    self.publisher.certificates(&self.certificates.active());
                    self.certificates.verify();
                    self.write_secrets();
                    continue;
                }
                () = until(cache_due) => {
                    cache_due = self.write_cache().await.then(|| Instant::now() + CACHE_EVERY);
                    continue;
                }
                Ok(()) = self.tls_failures.changed(), if findings_due.is_none() && missing.is_empty() => {
                    findings_due = Some(last_findings.map_or_else(Instant::now, |last| last + FINDINGS_EVERY));
                    continue;
                }
                () = until(findings_due) => {
                    (findings_due, last_findings) = (None, Some(Instant::now()));
                    self.tls_failures.mark_unchanged();
                    let mut output = Output { findings: Some(self.index.findings()), ..Output::default() };
                    self.complete_findings(&mut output, false);
                    self.publisher.publish(&mut output, &self.certificates.active());
                    self.write_back(output);
                    continue;
                }
            };
            if !open {
                self.write_cache().await;
                return Ok(());
            }
            let mut other_issuers = false;
            self.changes.add(batch.iter().map(Event::objects).sum());
            for event in batch.drain(..) {
                // Without certificates, issuers or classes the rest can be served; without the
                // other kinds nothing can.
                if let Event::Reset(kind, _)
                | Event::Refused(
                    kind @ (Kind::Secret | Kind::ConfigMap | Kind::IngressClass),
                ) = &event
                {
                    missing.remove(kind);
                }
                if let Some((cache, _store)) = &mut self.cache {
                    cache.observe(&event);
                    if cache.is_dirty() && cache_due.is_none() {
                        cache_due = Some(Instant::now() + CACHE_EVERY);
                    }
                }
                if self.certificates.issuers.apply(&event) {
                    other_issuers = true;
                    self.index.set_issuers(self.certificates.issuers.names());
                }
                self.classes.observe(&event);
                self.index.apply(event);
            }
            // Half a picture would answer 404 for what is only not known yet.
            if missing.is_empty() {
                let mut output = self.index.compile();
                match output.wanted.take() {
                    Some(desired) => self.certificates.set_desired(desired).await,
                    // A name may mean another issuer now.
                    None if other_issuers => self.certificates.update_specs().await,
                    None => {}
                }
                self.write_secrets();
                self.complete_findings(&mut output, other_issuers);
                self.publisher
                    .publish(&mut output, &self.certificates.active());
                self.write_back(output);
                self.ready.store(true, Ordering::Release);
            }
        }
    }

    /// Certificates go into their Secrets by the leader's hand: it is the one that gets them.
    fn write_secrets(&mut self) {
        if self.leading {
            self.certificates.write_secrets(&self.writer);
        }
    }

    /// Adds what the compiler does not know to the findings: ConfigMaps of issuers, and endpoints
    /// whose TLS fails.
    fn complete_findings(&self, output: &mut Output, issuers_changed: bool) {
        let failing = self.publisher.shared.failing();
        let endpoints_changed =
            !output.endpoints.is_empty() && failing.values().any(ConnectFailure::is_tls);
        if output.findings.is_none() && (issuers_changed || endpoints_changed) {
            output.findings = Some(self.index.findings());
        }
        let Some(findings) = &mut output.findings else {
            return;
        };
        findings.extend(self.certificates.issuers.findings());
        let reference = |origin: &Origin| {
            // Where the default backend of the settings comes from is a Service.
            let ingress = &*origin.field != "default_backend";
            ingress
                .then(|| self.index.reference(&origin.namespace, &origin.name))
                .flatten()
        };
        findings.extend(endpoint_health::findings(
            self.index.table(),
            failing,
            reference,
        ));
    }

    fn take_role(&mut self, change: Change) {
        match change {
            Change::Leads(leads) => {
                self.leading = leads;
                self.announced = Announced::default();
                self.index.restate();
            }
            Change::Addresses(addresses) => self.index.set_addresses(addresses),
        }
    }

    fn write_back(&mut self, output: Output) {
        if self.leading {
            for status in output.statuses {
                self.writer.push(Write::Status(status));
            }
        }
        let Some(findings) = output.findings else {
            return;
        };
        for finding in self.logged.fresh(&findings) {
            log(&finding);
        }
        if !self.leading {
            return;
        }
        // What holds may have been announced by another replica: its Event goes on.
        let more = u64::from(!self.announced.begins());
        for finding in self.announced.fresh(&findings) {
            let message = match &*finding.field {
                "" => finding.message.clone(),
                field => format!("{field}: {}", finding.message).into(),
            };
            let note = EventNote {
                about: finding.about,
                event_type: finding.severity,
                reason: finding.reason,
                message,
            };
            self.writer.push(Write::Note(note, more));
        }
    }

    /// Brings the local copy up to date; returns whether it has to be tried again.
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

/// Logs a finding: one that is merely worth knowing is no warning.
fn log(finding: &Finding) {
    macro_rules! at {
        ($level:ident) => {
            tracing::$level!(
                object = %finding.about.key,
                reason = finding.reason,
                field = &*finding.field,
                message = &*finding.message,
                "finding"
            )
        };
    }
    match finding.severity {
        EventType::Normal => at!(info),
        EventType::Warning => at!(warn),
    }
}

/// Waits for a moment, or for ever where there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
