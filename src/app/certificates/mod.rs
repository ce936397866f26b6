//! Connects the certificate engine with the rest: the certificates that Ingresses desire become its
//! specs, the certificates that it holds are served and written into Secrets, and its notices
//! become Events on the Ingresses.

pub(super) mod accounts;
mod adoption;
pub(super) mod issuers;
mod secret_writes;
mod verify_served;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustls::pki_types::UnixTime;
use tokio::sync::{mpsc, watch};

pub use self::issuers::{IssuersError, check as check_issuers};
use self::{
    issuers::Issuers,
    secret_writes::SecretWrites,
    verify_served::{Expectation, Verifier},
};
use super::write_queue::WriteQueue;
use crate::{
    acme::{
        self, Parts, SharedAccounts, Timing,
        dns::Lookup,
        engine::{active::ActiveCertificates, notice::Notice},
        issuer::Issuer,
        plan::StoredCertificate,
        spec::CertificateSpec,
    },
    controller::{DesiredCertificate, ExistingSecret},
    http_client::Clock,
    k8s::AccountSecret,
    objects::{EventNote, EventType, ObjectRef, SecretPatch, Write},
    pki::CertificateName,
    store::{Store, StoreError},
    tls::{Certificate, Challenges, LocalCa},
    util::{
        clock::{RELEASED, Reading},
        hash::fnv1a_fields,
        sync::lock,
        time::UnixSeconds,
    },
};

/// Number of notices that can wait.
const NOTICES: usize = 256;

/// The Ingresses behind each certificate, by its id.
pub(crate) type Owners = Arc<Mutex<HashMap<Arc<str>, Vec<ObjectRef>>>>;

/// The certificate engine with its input and output.
pub(crate) struct Certificates {
    pub(crate) engine: Arc<acme::Engine>,
    pub(crate) issuers: Issuers,
    pub(crate) owners: Owners,
    active: watch::Receiver<Arc<ActiveCertificates>>,
    /// The active certificates as of the last verification.
    verified: Arc<ActiveCertificates>,
    verifier: Verifier,
    desired: Vec<DesiredCertificate>,
    secret_writes: SecretWrites,
    local_ca: Arc<LocalCa>,
    /// Hashes of the contents of Secrets that were not adopted, by the id of the certificate.
    not_adopted: HashMap<Arc<str>, u64>,
}

impl Certificates {
    /// Loads the engine. Returns it with the task that runs it. No certificate is desired yet.
    ///
    /// New certificates are verified by a handshake with `listener`.
    pub(crate) fn load(
        (parts, notices): (Parts, mpsc::Receiver<Notice>),
        issuers: Issuers,
        listener: Option<SocketAddr>,
        events: WriteQueue,
    ) -> Result<
        (
            Self,
            impl Future<Output = Result<(), acme::LoopError>> + Send,
        ),
        StoreError,
    > {
        let local_ca = parts.local_ca.clone();
        let engine = Arc::new(acme::Engine::load(parts)?);
        let owners = Owners::default();
        let (verifier, verifying) = verify_served::start(listener);

        let running = {
            let (engine, owners) = (engine.clone(), owners.clone());
            async move {
                tokio::select! {
                    ended = engine.run() => ended,
                    () = forward(notices, &owners, &events) => Ok(()),
                    () = verifying => Ok(()),
                }
            }
        };

        let active = engine.active();
        let verified = active.borrow().clone();
        let certificates = Self {
            engine,
            issuers,
            owners,
            active,
            verified,
            verifier,
            desired: Vec::new(),
            secret_writes: SecretWrites::default(),
            local_ca,
            not_adopted: HashMap::new(),
        };

        Ok((certificates, running))
    }

    /// Returns the active certificates.
    pub(crate) fn active(&self) -> Arc<ActiveCertificates> {
        self.active.borrow().clone()
    }

    /// Waits until the active certificates change.
    pub(crate) async fn changed(&mut self) {
        if self.active.changed().await.is_err() {
            // The engine has ended, and the process will soon.
            std::future::pending::<()>().await;
        }
    }

    /// Requests a handshake for each certificate that is new since the last call.
    pub(crate) fn verify(&mut self) {
        let active = self.active();
        let before = std::mem::replace(&mut self.verified, active.clone());

        for (id, pair) in &active.certificates {
            let is_known = before
                .certificates
                .get(id)
                .is_some_and(|known| Arc::ptr_eq(&known.live, &pair.live));

            let mut hosts = pair.live.names().iter();
            // Wildcards, and IPv6 addresses in brackets, are not server names.
            let host = hosts.find(|name| !name.starts_with(['*', '[']));

            if let Some(host) = host.filter(|_| !is_known) {
                self.verifier.verify(Expectation {
                    id: id.clone(),
                    host: host.to_string(),
                    certificate: pair.live.clone(),
                });
            }
        }
    }

    /// Replaces the desired certificates.
    pub(crate) async fn set_desired(&mut self, desired: Vec<DesiredCertificate>) {
        let owners = desired
            .iter()
            .map(|one| (one.id.clone(), one.about.clone()))
            .collect();
        *lock(&self.owners) = owners;
        self.secret_writes
            .retain(|id| desired.iter().any(|one| *one.id == *id));
        self.not_adopted
            .retain(|id, _| desired.iter().any(|one| one.id == *id));
        self.desired = desired;
        self.update_specs().await;
    }

    /// Passes the desired certificates to the engine, with the issuers as they are now.
    pub(crate) async fn update_specs(&mut self) {
        let mut specs = Vec::with_capacity(self.desired.len());
        let mut not_adopted = Vec::new();

        for desired in &self.desired {
            let Some(spec) = self.spec(desired) else {
                continue;
            };

            // Our Secret can be newer than the store.
            if let Some(existing) = &desired.existing {
                let refused = self.adopt(&spec, &desired.namespace, existing).await;
                not_adopted.extend(refused.map(|content| (desired.id.clone(), content)));
            }
            specs.push(Arc::new(spec));
        }

        self.not_adopted.extend(not_adopted);
        self.engine.set_specs(specs.into());
    }

    /// Queues the certificates for the Secrets that lack them. Returns the time to call it again,
    /// for Secrets that were written a short time ago and differ again.
    pub(crate) fn write_secrets(&mut self, queue: &WriteQueue, now: Instant) -> Option<Instant> {
        let mut again: Option<Instant> = None;

        for desired in &self.desired {
            let Some(name) = &desired.secret else {
                continue;
            };
            let Some(stored) = self.engine.stored(&desired.id) else {
                continue;
            };
            let existing = desired.existing.as_ref();
            if existing.is_some_and(|existing| has(existing, &stored)) {
                continue;
            }

            let content = fnv1a_fields(&[&stored.chain, &stored.key]);
            if let Err(later) = self.secret_writes.begin(&desired.id, content, now) {
                again = Some(again.map_or(later, |again| again.min(later)));
                continue;
            }

            queue.push(Write::Secret(SecretPatch {
                namespace: desired.namespace.clone(),
                name: name.clone(),
                chain: stored.chain.into(),
                key: stored.key.into(),
                issuer: stored.issuer.into(),
                hosts: desired.hosts.clone(),
                common_name: desired.terms.common_name.clone().unwrap_or_default(),
                replaces: existing
                    .filter(|existing| existing.is_written)
                    .map(|existing| existing.chain.clone()),
            }));
        }

        again
    }

    /// Returns the engine's spec of a desired certificate. `None` if none of its issuers exists any
    /// more, for which there is a finding already.
    fn spec(&self, desired: &DesiredCertificate) -> Option<CertificateSpec> {
        let issuers: Vec<Arc<Issuer>> = desired
            .issuers
            .iter()
            .filter_map(|name| self.issuers.find_in(&desired.namespace, name))
            .collect();

        let mut names: Vec<CertificateName> = desired
            .hosts
            .iter()
            .filter_map(|host| CertificateName::parse(host).ok())
            .collect();
        names.sort_unstable();
        names.dedup();
        if issuers.is_empty() || names.is_empty() {
            return None;
        }

        Some(CertificateSpec {
            id: desired.id.clone(),
            names: names.into(),
            issuers: issuers.into(),
            terms: desired.terms.clone(),
        })
    }

    /// Offers the engine the content of our Secret: it is new to it after the loss of the store, or
    /// if another replica was the leader. Only a certificate of the issuer that the Secret names is
    /// offered. Returns a hash of another content, which is reported once.
    async fn adopt(
        &self,
        spec: &CertificateSpec,
        namespace: &str,
        existing: &ExistingSecret,
    ) -> Option<u64> {
        let stored = self.engine.stored(&spec.id);
        if stored.is_some_and(|stored| *stored.chain.as_bytes() == *existing.chain) {
            return None;
        }

        let issuer = self.issuer_of(spec, namespace, existing)?;
        let chain = std::str::from_utf8(&existing.chain).ok()?;
        let key = std::str::from_utf8(&existing.private_key.0).ok()?;
        let hash = fnv1a_fields(&[chain, key, &issuer.name]);
        if self.not_adopted.get(&spec.id) == Some(&hash) {
            return None;
        }

        let active = self.active();
        let stored = active.certificates.get(&*spec.id);
        let stored = stored
            .filter(|stored| *stored.issuer == *issuer.name)
            .map(|stored| &*stored.live);

        // An invalid certificate has a finding.
        let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).ok()?;
        if let Err(reason) = adoption::check(
            issuer,
            &certificate,
            stored,
            existing.is_written,
            &self.local_ca,
        ) {
            let (certificate, issuer) = (&*spec.id, &*issuer.name);
            tracing::warn!(
                certificate,
                issuer,
                %reason,
                "the certificate of the Secret is not one of its issuer: it is replaced"
            );
            return Some(hash);
        }

        if self.engine.adopt(spec, issuer, chain, key).await {
            tracing::info!(
                certificate = &*spec.id,
                "adopted the certificate of the Secret"
            );
        }
        None
    }

    /// Returns the issuer of a spec that a Secret names, possibly by an alias.
    fn issuer_of<'a>(
        &self,
        spec: &'a CertificateSpec,
        namespace: &str,
        existing: &ExistingSecret,
    ) -> Option<&'a Arc<Issuer>> {
        let name = existing.issuer.as_deref()?;
        let found = self.issuers.find_in(namespace, name);
        let is_named = |one: &&Arc<Issuer>| {
            *one.name == *name || found.as_ref().is_some_and(|found| found.name == one.name)
        };
        spec.issuers.iter().find(is_named)
    }
}

/// Returns true if a Secret has the stored certificate and our label.
fn has(existing: &ExistingSecret, stored: &StoredCertificate) -> bool {
    existing.is_labelled
        && *existing.chain == *stored.chain.as_bytes()
        && *existing.private_key.0 == *stored.key.as_bytes()
}

/// Returns the parts of the engine, and its notices.
pub(crate) fn parts(
    store: Arc<dyn Store>,
    local_ca: Arc<LocalCa>,
    challenges: Arc<Challenges>,
    accounts: Option<AccountSecret>,
    addresses: watch::Receiver<Vec<IpAddr>>,
    timing: Timing,
) -> (Parts, mpsc::Receiver<Notice>) {
    let start = Instant::now();
    let (notices, receiver) = mpsc::channel(NOTICES);

    let parts = Parts {
        store,
        time: Arc::new(move || Reading::now(start)),
        local_ca,
        challenges,
        lookup: Lookup::default(),
        own_addresses: Arc::new(move || {
            let all = addresses.borrow();
            all.iter()
                .copied()
                .filter(|address| !address.is_loopback())
                .collect()
        }),
        shared: accounts.map(|secret| Arc::new(secret) as Arc<dyn SharedAccounts>),
        notices,
        timing,
    };

    (parts, receiver)
}

/// Returns the clock for the verification of servers' certificates. It is not before the release of
/// this version, even if the clock of the device is.
pub(crate) fn clock() -> Clock {
    Arc::new(|| {
        let now = UnixSeconds::now().max(RELEASED);
        UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.0).unwrap_or(0)))
    })
}

/// Forwards the engine's notices as Events on the owners of the certificate.
async fn forward(mut notices: mpsc::Receiver<Notice>, owners: &Owners, events: &WriteQueue) {
    while let Some(notice) = notices.recv().await {
        let event_type = if notice.reason.is_warning() {
            EventType::Warning
        } else {
            EventType::Normal
        };

        let owners = lock(owners).get(&notice.certificate).cloned();
        for about in owners.unwrap_or_default() {
            let note = EventNote {
                about,
                event_type,
                reason: notice.reason.name(),
                message: notice.message.as_str().into(),
            };
            events.push(Write::Note(note, 1));
        }
    }
}
