//! The engine's task: the certificates that it must provide, and its part in that.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

use crate::{
    acme::{issuer::Issuer, spec::CertificateSpec},
    util::sync::lock,
};

/// The specs, and whether this replica obtains their certificates.
pub(crate) struct Assignment {
    /// `None` until the specs are known.
    specs: Mutex<Option<Arc<[Arc<CertificateSpec>]>>>,
    leads: AtomicBool,
    /// Wakes the loop after a change.
    changed: Notify,
}

impl Default for Assignment {
    fn default() -> Self {
        Self {
            specs: Mutex::default(),
            leads: AtomicBool::new(true),
            changed: Notify::new(),
        }
    }
}

impl Assignment {
    pub(crate) fn set_specs(&self, specs: Arc<[Arc<CertificateSpec>]>) {
        *lock(&self.specs) = Some(specs);
        self.wake();
    }

    pub(crate) fn specs(&self) -> Arc<[Arc<CertificateSpec>]> {
        lock(&self.specs).clone().unwrap_or_default()
    }

    /// Returns true once the specs are known. Until then no certificate counts as unused.
    pub(crate) fn is_known(&self) -> bool {
        lock(&self.specs).is_some()
    }

    /// Returns true if the specs still contain this one, with this issuer and unchanged.
    pub(crate) fn contains(&self, spec: &CertificateSpec, issuer: &Issuer) -> bool {
        self.specs().iter().any(|now| {
            now.id == spec.id
                && now.issuers.iter().any(|one| {
                    one.name == issuer.name && now.fingerprint(one) == spec.fingerprint(issuer)
                })
        })
    }

    /// Finds a spec by its ID or one of its names.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<CertificateSpec>> {
        let specs = self.specs();
        let by_id = specs.iter().find(|spec| *spec.id == *name);
        let has_name =
            |spec: &&Arc<CertificateSpec>| spec.names.iter().any(|one| one.to_string() == name);
        by_id.or_else(|| specs.iter().find(has_name)).cloned()
    }

    pub(crate) fn set_lead(&self, leads: bool) {
        if self.leads.swap(leads, Ordering::AcqRel) != leads {
            self.wake();
        }
    }

    /// Returns true if this replica obtains certificates.
    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    /// Makes the loop plan again.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits until the loop is woken.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
