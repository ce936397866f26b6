//! The parts that the engine is made of, and that all attempts share.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
};

use tokio::{sync::mpsc, time::Instant};

use super::{
    accounts::{Accounts, SharedAccounts},
    assignment::Assignment,
    ca_pool::CaPool,
    ledger::Ledger,
    notice::{Notice, NoticeReason},
    progress::Progress,
    responder::ChallengeResponder,
    time_source::TimeSource,
    timing::Timing,
    triggered::TriggeredChallenges,
};
use crate::{
    acme::{
        dns::Lookup,
        plan::{Failure, StoredCertificate},
    },
    store::{Store, StoreError},
    tls::{Challenges, LocalCa},
    util::clock::Reading,
};

/// The parts that the engine is made of.
pub struct Parts {
    /// The store of all records.
    pub store: Arc<dyn Store>,
    /// Reads the machine's clocks.
    pub time: Arc<dyn Fn() -> Reading + Send + Sync>,
    /// The CA behind the issuer `local-ca`.
    pub local_ca: Arc<LocalCa>,
    /// The responses that the data plane gives to CAs' challenges.
    pub challenges: Arc<Challenges>,
    /// The resolvers for lookups.
    pub lookup: Lookup,
    /// Returns the addresses that currently lead to this node, as far as known.
    pub own_addresses: Arc<dyn Fn() -> Vec<IpAddr> + Send + Sync>,
    /// The accounts that all replicas share; `None` without replicas.
    pub shared: Option<Arc<dyn SharedAccounts>>,
    /// Receives the notices for the owners of specs.
    pub notices: mpsc::Sender<Notice>,
    /// Pauses and time limits.
    pub timing: Timing,
}

/// The state and the services that all attempts share.
pub(crate) struct Context {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) time: Arc<TimeSource>,
    pub(crate) assignment: Arc<Assignment>,
    pub(crate) cas: Arc<CaPool>,
    pub(crate) responder: Arc<ChallengeResponder>,
    pub(crate) accounts: Accounts,
    pub(crate) progress: Progress,
    pub(crate) triggered: Mutex<TriggeredChallenges>,
    pub(crate) local_ca: Arc<LocalCa>,
    pub(crate) lookup: Lookup,
    pub(crate) own_addresses: Arc<dyn Fn() -> Vec<IpAddr> + Send + Sync>,
    pub(crate) timing: Timing,
}

impl Context {
    /// Loads the stored state.
    pub(crate) fn load(parts: Parts) -> Result<Self, StoreError> {
        let time = Arc::new(TimeSource::new(parts.time));
        let ledger = Arc::new(Ledger::load(parts.store.clone(), time.clone())?);
        let assignment = Arc::<Assignment>::default();
        let cas = Arc::new(CaPool::new(time.clone(), parts.timing.answer));
        let responder = Arc::new(ChallengeResponder::new(parts.challenges));

        let accounts = Accounts::load(
            &*parts.store,
            parts.shared,
            ledger.clone(),
            assignment.clone(),
            cas.clone(),
            responder.clone(),
        )?;
        let orders = ledger.order_urls();

        Ok(Self {
            ledger,
            time,
            assignment,
            cas,
            responder,
            accounts,
            progress: Progress::new(parts.notices),
            triggered: Mutex::new(TriggeredChallenges::new(orders, Instant::now())),
            local_ca: parts.local_ca,
            lookup: parts.lookup,
            own_addresses: parts.own_addresses,
            timing: parts.timing,
        })
    }

    /// Stores a certificate in one write with the end of its pending order, activates it, and
    /// notifies its owner. It counts against the budget of the account at a CA that is `spent`, for
    /// the names that were ordered.
    pub(crate) async fn issued(
        &self,
        id: &Arc<str>,
        stored: StoredCertificate,
        spent: Option<(&str, &[String])>,
    ) -> Result<(), Failure> {
        let message = format!(
            "{} issued a certificate for {}, valid until {}",
            stored.issuer,
            stored.names.join(", "),
            stored.not_after
        );
        self.ledger.issued(id, stored, spent).await?;
        self.progress.notify(id, NoticeReason::Issued, message);
        Ok(())
    }
}
