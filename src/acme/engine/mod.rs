//! The engine: keeps the state, plans, runs attempts, and publishes the active certificates. It
//! makes a few attempts at a time per account, and stores everything that must not be lost before
//! it acts on it.

mod housekeeping;
mod operate;
pub mod report;
mod revoke;
mod run;
mod suggestions;
mod time_check;

pub use super::state::{active, notice};
pub use operate::OperateError;
pub use run::LoopError;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use tokio::sync::watch;

use self::active::ActiveCertificates;
use crate::{
    acme::{
        plan::{Plan, StoredCertificate},
        spec::CertificateSpec,
        state::{Context, Parts},
    },
    store::StoreError,
};

/// Obtains, renews and publishes certificates; see the module's documentation.
pub struct Engine {
    context: Context,
    plan: Mutex<Plan>,
    /// The number of turns that the loop has made.
    turns: AtomicU64,
    /// Locked while a CA revokes a certificate, so that one request is sent at a time.
    revoking: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}

impl Engine {
    /// Loads the stored state. Nothing runs yet, but the stored certificates are active.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn load(parts: Parts) -> Result<Self, StoreError> {
        Ok(Self {
            context: Context::load(parts)?,
            plan: Mutex::default(),
            turns: AtomicU64::new(0),
            revoking: tokio::sync::Mutex::default(),
        })
    }

    /// Replaces the specs.
    pub fn set_specs(&self, specs: Arc<[Arc<CertificateSpec>]>) {
        self.context.accounts.respond_for(&specs, false);
        self.context.assignment.set_specs(specs);
    }

    /// Returns the current specs.
    pub fn specs(&self) -> Arc<[Arc<CertificateSpec>]> {
        self.context.assignment.specs()
    }

    /// Sets whether this replica obtains certificates, as it does by default. The others only
    /// respond to challenges and serve the certificates that they are given.
    pub fn lead(&self, leads: bool) {
        self.context.assignment.set_lead(leads);
    }

    /// Returns true if this replica obtains certificates.
    pub fn leads(&self) -> bool {
        self.context.assignment.leads()
    }

    /// Makes the loop plan again, after a change outside, such as the clock's.
    pub fn look_again(&self) {
        self.context.assignment.wake();
    }

    /// Subscribes to the active certificates.
    pub fn active(&self) -> watch::Receiver<Arc<ActiveCertificates>> {
        self.context.ledger.active()
    }

    /// Returns the stored certificate of a spec.
    pub fn stored(&self, id: &str) -> Option<StoredCertificate> {
        self.context.ledger.stored(id)
    }

    /// Returns the accounts by ID, in the form that [`Engine::adopt_account`] takes. They contain
    /// private keys.
    pub fn accounts(&self) -> BTreeMap<String, Vec<u8>> {
        self.context.accounts.all()
    }

    /// Waits until an account is created or changed.
    pub async fn account_changed(&self) {
        self.context.accounts.changed().await;
    }

    /// Adopts an account of another replica, replacing our own. Unreadable accounts are logged and
    /// ignored.
    pub async fn adopt_account(&self, id: &str, bytes: &[u8]) {
        self.context.accounts.adopt(id, bytes).await;
    }
}
