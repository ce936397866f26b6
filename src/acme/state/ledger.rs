//! The ledger: the stored state in memory, and its durable changes.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::watch;

use super::{active::ActiveCertificates, time_source::TimeSource};
use crate::{
    acme::{
        issuer::{ChallengeType, Issuer},
        plan::{
            Budget, Class, Failure, FailureState, Floor, PendingOrder, State, StoredCertificate,
            Suggestion, budget::ORDERS_COUNT_FOR, record,
        },
        spec::CertificateSpec,
    },
    store::{Batch, Store, StoreError},
    util::{stamp, sync::lock, time::UnixSeconds},
};

/// The rise in seconds after which the floor of the clock is stored again.
const FLOOR_STEP: i64 = 6 * 3_600;

/// The stored state. Everything that must not be lost is stored before it is acted on.
pub(crate) struct Ledger {
    store: Arc<dyn Store>,
    time: Arc<TimeSource>,
    state: Mutex<State>,
    active: watch::Sender<Arc<ActiveCertificates>>,
}

impl Ledger {
    /// Loads the stored state, and raises the floor of the clock to the latest time in it.
    pub(crate) fn load(store: Arc<dyn Store>, time: Arc<TimeSource>) -> Result<Self, StoreError> {
        let mut state = State {
            certificates: record::all(&*store)?,
            pending_orders: record::all(&*store)?,
            failures: record::all(&*store)?,
            suggestions: record::all(&*store)?,
            budgets: record::all(&*store)?,
            orphaned_records: record::all(&*store)?,
            revocations: record::all(&*store)?,
            forced: HashSet::new(),
        };

        let pending = state.pending_orders.values();
        for (account, at) in pending.flat_map(|pending| &pending.counted) {
            let budget = state.budgets.entry(account.clone()).or_default();
            budget.recall(*at);
        }

        // The validity of a CA's certificate has certainly begun. Certificates that were issued on
        // this device only repeat our own clock.
        let begun = state
            .certificates
            .values()
            .filter(|stored| !stored.directory.is_empty())
            .map(|stored| stored.not_before);
        let floors = record::all::<Floor>(&*store)?;
        let floors = floors.values().map(|floor| floor.floor);
        floors
            .chain(begun)
            .for_each(|floor| time.raise_floor(floor));

        let active = ActiveCertificates::of(&state.certificates, &BTreeMap::new());
        // Drop unusable certificates so that they are reissued.
        let certificates = &mut state.certificates;
        certificates.retain(|id, _| active.certificates.contains_key(id));

        Ok(Self {
            store,
            time,
            state: Mutex::new(state),
            active: watch::Sender::new(Arc::new(active)),
        })
    }

    /// Subscribes to the active certificates.
    pub(crate) fn active(&self) -> watch::Receiver<Arc<ActiveCertificates>> {
        self.active.subscribe()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn stored(&self, id: &str) -> Option<StoredCertificate> {
        self.state().certificates.get(id).cloned()
    }

    /// Returns true if the operator requested a renewal.
    pub(crate) fn is_forced(&self, id: &str) -> bool {
        self.state().forced.contains(id)
    }

    pub(crate) fn pending_order(&self, id: &str) -> Option<PendingOrder> {
        self.state().pending_orders.get(id).cloned()
    }

    /// Returns the URLs of the pending orders.
    pub(crate) fn order_urls(&self) -> HashSet<String> {
        let state = self.state();
        let pending = state.pending_orders.values();
        pending
            .filter_map(|pending| pending.order.clone())
            .collect()
    }

    /// Returns the challenge types that failed in earlier attempts with an issuer.
    pub(crate) fn failed_challenges(
        &self,
        spec: &CertificateSpec,
        issuer: &Issuer,
    ) -> Vec<ChallengeType> {
        let fingerprint = spec.attempt_fingerprint(issuer);
        let state = self.state();
        let mut failures = state.failures.get(&*spec.id).into_iter().flatten();
        let last = failures.find(|failure_state| failure_state.print == fingerprint);
        last.map(|failure_state| failure_state.failed_challenges.clone())
            .unwrap_or_default()
    }

    /// Writes a batch durably.
    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), Failure> {
        let store = self.store.clone();
        let batch = self.with_floor(batch);
        let failed = |error: &dyn fmt::Display| {
            Failure::new(
                Class::Store,
                format!("{error}; no certificates are ordered until the store works again"),
            )
        };
        match tokio::task::spawn_blocking(move || store.commit(batch)).await {
            Ok(done) => done.map_err(|error| failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Writes a batch whose loss does little harm: a failure is only logged. `change` names what
    /// the batch does to the certificate.
    pub(crate) async fn commit_or_log(&self, batch: Batch, certificate: &str, change: &str) {
        if let Err(Failure { problem, .. }) = self.commit(batch).await {
            tracing::warn!(certificate, change, problem, "a change was not stored");
        }
    }

    /// Adds the floor of the clock to a batch if it has risen by [`FLOOR_STEP`]. Batches with a
    /// single record are left alone, because a second one would cost another block of the disk;
    /// every attempt ends with a larger batch.
    fn with_floor(&self, batch: Batch) -> Batch {
        if batch.len() < 2 {
            return batch;
        }
        // Not the wall clock: if it is wrong, the stored floor would stay wrong.
        let floor = self.time.floor();
        let known = record::all::<Floor>(&*self.store)
            .ok()
            .and_then(|floors| Some(floors.first_key_value()?.1.floor));
        if known.is_some_and(|known| floor < known + FLOOR_STEP) {
            return batch;
        }
        record::put(batch, "floor", &Floor { floor })
    }

    pub(crate) async fn put_pending_order(
        &self,
        id: &str,
        pending: &PendingOrder,
    ) -> Result<(), Failure> {
        self.commit(record::put(Batch::new(), id, pending)).await?;
        let pending_orders = &mut self.state().pending_orders;
        pending_orders.insert(id.to_owned(), pending.clone());
        Ok(())
    }

    /// Stores a pending order before it is sent to the CA, counted against the account's budget,
    /// so that a crash loop cannot exceed the budget.
    pub(crate) async fn ordering(
        &self,
        id: &str,
        pending: &mut PendingOrder,
        account: &str,
        now: UnixSeconds,
    ) -> Result<(), Failure> {
        let before = self
            .pending_order(id)
            .filter(|before| before.csr != pending.csr);
        let mut batch = Batch::new();
        if let Some(before) = before {
            batch = self.with_orphaned_records(batch, id);
            pending.counted.extend(before.counted);
        }

        pending
            .counted
            .retain(|(_, at)| (now - *at).saturating_abs() < ORDERS_COUNT_FOR);
        pending.counted.push((account.to_owned(), now));

        self.commit(record::put(batch, id, pending)).await?;
        self.spend(account, |budget| budget.ordered(now));
        let pending_orders = &mut self.state().pending_orders;
        pending_orders.insert(id.to_owned(), pending.clone());
        Ok(())
    }

    /// Changes an account's budget in memory. The end of the attempt stores it.
    pub(crate) fn spend(&self, account: &str, change: impl FnOnce(&mut Budget)) {
        change(self.state().budgets.entry(account.to_owned()).or_default());
    }

    /// Adds the removal of a pending order to a batch, and the budgets that it counted against.
    fn without_pending_order(&self, mut batch: Batch, id: &str) -> Batch {
        {
            let state = self.state();
            let pending = state.pending_orders.get(id).into_iter();
            for (account, _) in pending.flat_map(|pending| &pending.counted) {
                if let Some(budget) = state.budgets.get(account)
                    && !batch.has(&record::key::<Budget>(account))
                {
                    batch = record::put(batch, account, budget);
                }
            }
        }
        self.with_orphaned_records(record::remove::<PendingOrder>(batch, id), id)
    }

    /// Adds the DNS records that a pending order leaves behind to a batch, for later removal.
    fn with_orphaned_records(&self, batch: Batch, id: &str) -> Batch {
        let state = &mut *self.state();
        let pending = state.pending_orders.get(id);
        let Some(pending) = pending.filter(|pending| !pending.dns.is_empty()) else {
            return batch;
        };
        let orphaned_records = state.orphaned_records.entry(id.to_owned()).or_default();
        orphaned_records.add(pending);
        record::put(batch, id, orphaned_records)
    }

    /// Stores a certificate in one write with the end of its pending order, then activates it.
    pub(super) async fn issued(
        &self,
        id: &str,
        mut stored: StoredCertificate,
        spent: Option<(&str, &[String])>,
    ) -> Result<(), Failure> {
        let before = self.stored(id);
        stored.previous = before.and_then(|before| before.into_previous(&stored.names));
        let mut batch = record::put(Batch::new(), id, &stored);
        batch = record::remove::<Vec<FailureState>>(batch, id);
        batch = record::remove::<Suggestion>(batch, id);

        // Count it only once it is stored: if the write fails, the same certificate is downloaded
        // again.
        let spent = spent.map(|(account, names)| {
            let budgets = &self.state().budgets;
            let mut budget = budgets.get(account).cloned().unwrap_or_default();
            budget.issued(names, stored.stored);
            (account, budget)
        });
        if let Some((account, budget)) = &spent {
            batch = record::put(batch, account, budget);
        }
        batch = self.without_pending_order(batch, id);

        if !stored.directory.is_empty() {
            self.time.raise_floor(stored.not_before.min(stored.stored));
        }
        self.commit(batch).await?;

        {
            let mut state = self.state();
            state.pending_orders.remove(id);
            state.failures.remove(id);
            state.suggestions.remove(id);
            state.forced.remove(id);
            state.certificates.insert(id.to_owned(), stored);
            if let Some((account, budget)) = spent {
                state.budgets.insert(account.to_owned(), budget);
            }
        }
        self.publish();
        Ok(())
    }

    /// Stores a certificate that was obtained elsewhere, and activates it. If the store fails, it
    /// is active until the process ends.
    pub(crate) async fn adopt(&self, id: &str, stored: StoredCertificate) {
        let batch = record::put(Batch::new(), id, &stored);
        let batch = record::remove::<Vec<FailureState>>(batch, id);
        let change = "an adopted certificate";
        self.commit_or_log(batch, id, change).await;

        {
            let state = &mut *self.state();
            state.certificates.insert(id.to_owned(), stored);
            state.failures.remove(id);
        }
        self.publish();
    }

    /// Publishes the stored certificates as the active ones.
    pub(crate) fn publish(&self) {
        let known = self.active.borrow().clone();
        let active = ActiveCertificates::of(&self.state().certificates, &known.certificates);
        self.active.send_replace(Arc::new(active));
    }

    /// Records a failed attempt, and drops the pending order if that cannot succeed any more. If
    /// the store fails, the failure is remembered until the process ends.
    pub(crate) async fn failed(
        &self,
        spec: &CertificateSpec,
        issuer: &Issuer,
        failure: &Failure,
    ) -> FailureState {
        let id = &*spec.id;
        let account = issuer.account_id().unwrap_or_default();
        let now = self.time.guess();
        let random = u64::from_le_bytes(stamp::random());

        let (failure_state, mut batch) = {
            let state = &mut *self.state();
            let failures = state.failures.entry(id.to_owned()).or_default();
            let is_of_issuer = |known: &FailureState| *known.issuer == *issuer.name;
            let at = failures.iter().position(is_of_issuer);
            let before = at.map(|at| failures.swap_remove(at));
            let (name, fingerprint) = (&issuer.name, spec.attempt_fingerprint(issuer));
            let failure_state =
                FailureState::after(before.as_ref(), failure, name, fingerprint, now, random);
            failures.push(failure_state.clone());

            let mut batch = record::put(Batch::new(), id, failures);
            if let Some(budget) = state.budgets.get(&account) {
                batch = record::put(batch, &account, budget);
            }
            // A renewal that the operator requested is retried until it succeeds or until it needs
            // the operator again.
            if failure_state.is_blocked() {
                state.forced.remove(id);
            }
            (failure_state, batch)
        };

        let is_order_dead = !matches!(
            failure.class,
            Class::Transport | Class::RateLimited | Class::Store | Class::Account
        );
        if is_order_dead {
            batch = self.without_pending_order(batch, id);
            self.state().pending_orders.remove(id);
        }

        let change = "a failed attempt";
        self.commit_or_log(batch, id, change).await;
        failure_state
    }

    /// Drops the pending order of a spec that was changed or removed.
    pub(crate) async fn abandon_order(&self, id: &str) {
        let batch = self.without_pending_order(Batch::new(), id);
        self.state().pending_orders.remove(id);
        let change = "the end of a pending order";
        self.commit_or_log(batch, id, change).await;
    }
}
