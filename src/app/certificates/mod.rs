//! The certificate engine among the rest: what Ingresses wish for becomes what it wants, what it
//! holds becomes what is served, and goes into the Secrets that they name; what it has to say
//! becomes Events on them.

pub(super) mod accounts;
pub(super) mod issuers;
mod verify_served;

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustls::pki_types::UnixTime;
use tokio::sync::{mpsc, watch};

use self::issuers::Issuers;
use super::writer::Queue;
use crate::{
    acme::{
        self, Parts, SharedAccounts, Timing, active::ActiveCertificates, ca::http::Clock,
        dns::Lookup, issuer::Issuer, notice::Notice, spec::CertificateSpec,
    },
    controller::{CertificateSource, DesiredCertificate},
    k8s::AccountSecret,
    objects::{EventNote, EventType, ObjectRef, SecretPatch, Write},
    pki::CertificateName,
    store::{Store, StoreError},
    tls::{Challenges, LocalCa},
    util::{
        clock::{RELEASED, Reading},
        sync::lock,
        time::UnixSeconds,
    },
};

pub use self::issuers::check as check_issuers;

/// What the engine may have to say before somebody listens.
const NOTICES: usize = 256;

/// Who asked for which certificate.
pub(crate) type Owners = Arc<Mutex<HashMap<Arc<str>, Vec<ObjectRef>>>>;

/// The engine with what it stands between.
pub(crate) struct Certificates {
    pub(crate) engine: Arc<acme::Engine>,
    pub(crate) issuers: Issuers,
    served: watch::Receiver<Arc<ActiveCertificates>>,
    /// What clients were shown to get.
    proved: Arc<ActiveCertificates>,
    /// Our own HTTPS listener, as a client on this device reaches it.
    listener: Option<SocketAddr>,
    wishes: Vec<DesiredCertificate>,
    pub(crate) owners: Owners,
    /// What was asked to be written into a Secret, and what was in it then.
    written: HashMap<Arc<str>, u64>,
}

impl Certificates {
    /// The engine, loaded from its parts, and the task that runs it. Nothing is wanted yet.
    pub(crate) fn load(
        (parts, told): (Parts, mpsc::Receiver<Notice>),
        issuers: Issuers,
        listener: Option<SocketAddr>,
        events: Queue,
    ) -> Result<(Self, impl Future<Output = Result<(), String>> + Send), StoreError> {
        let engine = Arc::new(acme::Engine::load(parts)?);
        let owners = Owners::default();
        let running = {
            let (engine, owners) = (engine.clone(), owners.clone());
            async move {
                tokio::select! {
                    ended = engine.run() => ended,
                    () = tell(told, &owners, &events) => Ok(()),
                }
            }
        };
        let served = engine.served();
        let proved = served.borrow().clone();
        let (wishes, written) = (Vec::new(), HashMap::new());
        let certificates = Self {
            engine,
            issuers,
            served,
            proved,
            listener,
            wishes,
            owners,
            written,
        };
        Ok((certificates, running))
    }

    /// What is held at this moment.
    pub(crate) fn served(&self) -> Arc<ActiveCertificates> {
        self.served.borrow().clone()
    }

    /// Waits until something else is held.
    pub(crate) async fn changed(&mut self) {
        if self.served.changed().await.is_err() {
            // The engine is gone, and with it the process soon.
            std::future::pending::<()>().await;
        }
    }

    /// Shows that clients get what was published last, by a handshake for each certificate that is
    /// new.
    pub(crate) fn prove(&mut self) {
        let now = self.served();
        let before = std::mem::replace(&mut self.proved, now.clone());
        let Some(listener) = self.listener else {
            return;
        };
        for (id, pair) in &now.certificates {
            let known = before
                .certificates
                .get(id)
                .is_some_and(|known| Arc::ptr_eq(&known.live, &pair.live));
            let Some(host) = pair
                .live
                .names()
                .iter()
                .find(|name| !name.starts_with(['*', '[']))
                .filter(|_| !known)
            else {
                continue;
            };
            let (id, host, live) = (id.clone(), host.clone(), pair.live.clone());
            tokio::spawn(async move {
                match verify_served::is_served(listener, &host, &live).await {
                    Ok(()) => tracing::info!(
                        want = id,
                        host = &*host,
                        "a handshake shows the new certificate"
                    ),
                    Err(why) => tracing::error!(
                        want = id,
                        host = &*host,
                        why,
                        "the new certificate is not served"
                    ),
                }
            });
        }
    }

    /// The wishes are these from now on.
    pub(crate) async fn wish(&mut self, wishes: Vec<DesiredCertificate>) {
        let owners = wishes
            .iter()
            .map(|wish| (wish.id.clone(), wish.about.clone()))
            .collect();
        *lock(&self.owners) = owners;
        self.written
            .retain(|id, _| wishes.iter().any(|wish| wish.id == *id));
        self.wishes = wishes;
        self.want_them().await;
    }

    /// Tells the engine what is wished for, with the issuers as they are now.
    pub(crate) async fn want_them(&self) {
        let mut wants = Vec::with_capacity(self.wishes.len());
        for wish in &self.wishes {
            let Some(want) = self.want(wish) else {
                continue;
            };
            if let Some((
                CertificateSource::Secret {
                    chain, private_key, ..
                },
                issuer,
            )) = &wish.existing
            {
                self.adopt(&want, chain, &private_key.0, issuer.as_deref())
                    .await;
            }
            wants.push(Arc::new(want));
        }
        self.engine.want(wants.into());
    }

    /// Writes what is held into the Secrets that lack it.
    pub(crate) fn write_secrets(&mut self, queue: &Queue) {
        for wish in &self.wishes {
            let Some(name) = &wish.secret else { continue };
            let Some(held) = self.engine.pem(&wish.id) else {
                continue;
            };
            let existing = match &wish.existing {
                Some((CertificateSource::Secret { chain, .. }, _)) => &chain[..],
                _ => &[],
            };
            if existing == held.chain.as_bytes() {
                continue;
            }
            // Asked for once, until something changes on either side.
            let mut hash = DefaultHasher::new();
            (existing, &held.chain).hash(&mut hash);
            let hash = hash.finish();
            if self.written.insert(wish.id.clone(), hash) == Some(hash) {
                continue;
            }
            queue.push(Write::Secret(SecretPatch {
                namespace: wish.namespace.clone(),
                name: name.clone(),
                chain: held.chain.into(),
                key: held.key.into(),
                issuer: held.issuer.into(),
                hosts: wish.hosts.clone(),
                common_name: wish.terms.common_name.clone().unwrap_or_default(),
            }));
        }
    }

    /// A wish as the engine reads it; `None` if no issuer is known any more, which is a finding
    /// already.
    fn want(&self, wish: &DesiredCertificate) -> Option<CertificateSpec> {
        let issuers: Vec<Arc<Issuer>> = wish
            .issuers
            .iter()
            .filter_map(|name| self.issuers.find_in(&wish.namespace, name))
            .collect();
        let mut names: Vec<CertificateName> = wish
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
            id: wish.id.clone(),
            names: names.into(),
            issuers: issuers.into(),
            terms: wish.terms.clone(),
        })
    }

    /// What our Secret holds already: of use after the store was lost, or if another replica was
    /// quicker.
    async fn adopt(&self, want: &CertificateSpec, chain: &[u8], key: &[u8], issuer: Option<&str>) {
        let issuer = want
            .issuers
            .iter()
            .find(|one| issuer.is_none_or(|name| *one.name == *name));
        let (Some(issuer), Ok(chain), Ok(key)) =
            (issuer, std::str::from_utf8(chain), std::str::from_utf8(key))
        else {
            return;
        };
        if self.engine.adopt(want, issuer, chain, key).await {
            tracing::info!(
                want = &*want.id,
                "the certificate in the Secret is taken over"
            );
        }
    }
}

/// What the engine is made of, and what it has to say.
pub(crate) fn parts(
    store: Arc<dyn Store>,
    local_ca: Arc<LocalCa>,
    challenges: Arc<Challenges>,
    accounts: Option<AccountSecret>,
    addresses: watch::Receiver<Vec<IpAddr>>,
    pace: Timing,
) -> (Parts, mpsc::Receiver<Notice>) {
    let start = Instant::now();
    let (notices, told) = mpsc::channel(NOTICES);
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
        pace,
    };
    (parts, told)
}

/// The time for the verification of servers' certificates.
pub(crate) fn time() -> Clock {
    Arc::new(|| {
        let now = UnixSeconds::now().max(RELEASED);
        UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.0).unwrap_or(0)))
    })
}

/// Makes Events of what the engine has to say.
async fn tell(mut told: mpsc::Receiver<Notice>, owners: &Owners, events: &Queue) {
    while let Some(notice) = told.recv().await {
        let about = lock(owners).get(&notice.want).cloned();
        for about in about.unwrap_or_default() {
            let event_type = if notice.reason.is_warning() {
                EventType::Warning
            } else {
                EventType::Normal
            };
            let message = notice.message.as_str().into();
            let note = EventNote {
                about,
                event_type,
                reason: notice.reason.name(),
                message,
            };
            events.push(Write::Note(note, 1));
        }
    }
}
