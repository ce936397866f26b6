//! The engine: keeps the state, plans, runs attempts, and publishes the active certificates. It
//! makes one attempt at a time per account, and stores everything that must not be lost before it
//! acts on it.

pub(crate) mod accounts;
pub mod active;
mod local;
pub mod notice;
mod operate;
pub mod report;
mod responder;
mod revoke;
mod run;

pub use accounts::{SharedAccounts, SharedAccountsError};
pub use operate::OperateError;
pub use run::LoopError;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};

use self::{
    active::ActiveCertificates,
    notice::{Notice, NoticeReason},
    responder::ChallengeResponder,
};
use crate::{
    acme::{
        ca::{
            Client, Session,
            http::{Http, HttpSettings, Proxy},
            jws::AccountKey,
        },
        dns::Lookup,
        issuer::{AcmeIssuer, Issuer},
        order::triggered::TriggeredChallenges,
        plan::{
            Plan, State,
            budget::{Budget, ORDERS_COUNT_FOR},
            failure::{Class, Failure, FailureState},
            record::{
                self, Account, Floor, OrphanedDnsRecords, PendingOrder, Revocation,
                StoredCertificate,
            },
            renewal::Suggestion,
        },
        spec::CertificateSpec,
    },
    routing::Host,
    store::{Batch, Store, StoreError},
    tls::{Challenges, LocalCa},
    util::{
        clock::{Clock, Reading},
        sync::lock,
        time::UnixSeconds,
    },
};

/// The rise in seconds after which the floor of the clock is stored again.
const FLOOR_STEP: i64 = 6 * 3_600;

/// Pauses and time limits of the engine. Only tests need other values than the default.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The pause between two orders at one CA.
    pub gap: Duration,
    /// The time limit for one task of the CA: a validation or a finalization.
    pub poll_timeout: Duration,
    /// The pause before the first poll of a task at the CA. Later pauses are longer.
    pub poll_interval: Duration,
    /// The time limit for one response of a CA.
    pub answer: Duration,
    /// The longest sleep of the loop, after which it reads the clock.
    pub tick: Duration,
    /// The pause between two requests for renewal information if the CA sends no `Retry-After`.
    pub renewal_info: Duration,
    /// Looks up names whose validation failed, so that the message names the cause.
    pub advice: bool,
    /// True if there is an HTTP listener.
    pub http: bool,
    /// True if there is an HTTPS listener.
    pub https: bool,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            gap: Duration::from_secs(5),
            poll_timeout: Duration::from_secs(300),
            poll_interval: Duration::from_millis(500),
            answer: Duration::from_secs(30),
            tick: Duration::from_secs(60),
            renewal_info: Duration::from_secs(6 * 3_600),
            advice: true,
            http: true,
            https: true,
        }
    }
}

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

/// A certificate and its key, PEM.
pub struct Pem {
    /// The chain.
    pub chain: String,
    /// The private key.
    pub key: String,
    /// The issuer's name.
    pub issuer: String,
}

/// Obtains, renews and publishes certificates; see the module's documentation.
pub struct Engine {
    parts: Parts,
    pub(crate) responder: ChallengeResponder,
    clock: Arc<Mutex<Clock>>,
    /// True to verify CAs at the clock's floor while the time is unknown, false to verify them by
    /// the wall clock. Either may be closer to the real time, so they take turns.
    by_floor: Arc<AtomicBool>,
    pub(crate) state: Mutex<State>,
    pub(crate) triggered: Mutex<TriggeredChallenges>,
    /// IDs of revocations with a request under way.
    pub(crate) revoking: Mutex<HashSet<String>>,
    pub(crate) accounts: Mutex<BTreeMap<String, Account>>,
    pub(crate) cas: Mutex<HashMap<String, Arc<Ca>>>,
    specs: watch::Sender<Arc<[Arc<CertificateSpec>]>>,
    /// True once [`Engine::set_specs`] was called.
    specs_known: AtomicBool,
    active: watch::Sender<Arc<ActiveCertificates>>,
    doing: Mutex<BTreeMap<String, String>>,
    plan: Mutex<Plan>,
    /// The number of turns that the loop has made.
    pub(crate) turns: AtomicU64,
    /// Wakes the loop after a change.
    pub(crate) kick: Notify,
    /// True if this replica obtains certificates.
    leads: AtomicBool,
    /// Notified when an account is created or changed.
    pub(crate) accounts_changed: Notify,
}

/// A CA and our account there.
pub(crate) struct Ca {
    /// The key of the account's record.
    pub(crate) account: String,
    pub(crate) client: Client,
    /// The extra roots that the client trusts.
    roots: Vec<CertificateDer<'static>>,
    session: Mutex<Option<Session>>,
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
        let store = &*parts.store;
        let mut state = State {
            certificates: record::all::<StoredCertificate>(store)?
                .into_iter()
                .collect(),
            pending_orders: record::all::<PendingOrder>(store)?.into_iter().collect(),
            failures: record::all::<Vec<FailureState>>(store)?
                .into_iter()
                .collect(),
            suggestions: record::all::<Suggestion>(store)?.into_iter().collect(),
            budgets: record::all::<Budget>(store)?.into_iter().collect(),
            orphaned_records: record::all::<OrphanedDnsRecords>(store)?
                .into_iter()
                .collect(),
            revocations: record::all::<Revocation>(store)?.into_iter().collect(),
            forced: HashSet::new(),
        };

        for (account, at) in state
            .pending_orders
            .values()
            .flat_map(|pending| pending.counted.clone())
        {
            state.budgets.entry(account).or_default().recall(at);
        }

        let orders = state
            .pending_orders
            .values()
            .filter_map(|pending| pending.order.clone())
            .collect();

        let accounts = record::all::<Account>(store)?.into_iter().collect();
        let stored = record::all::<Floor>(store)?
            .into_iter()
            .map(|(_, floor)| floor.floor);
        // The validity of a CA's certificate has certainly begun. Certificates that were issued on
        // this device only repeat our own clock.
        let begun = state
            .certificates
            .values()
            .filter(|stored| !stored.directory.is_empty())
            .map(|stored| stored.not_before);
        let floor = stored.chain(begun).max().unwrap_or(0);

        let reading = (parts.time)();
        let active = ActiveCertificates::of(&state.certificates, &BTreeMap::new());
        // Drop unusable certificates so that they are reissued.
        state
            .certificates
            .retain(|id, _| active.certificates.contains_key(id));

        Ok(Self {
            responder: ChallengeResponder::new(parts.challenges.clone()),
            clock: Arc::new(Mutex::new(Clock::new(UnixSeconds(floor), reading))),
            by_floor: Arc::default(),
            state: Mutex::new(state),
            revoking: Mutex::default(),
            triggered: Mutex::new(TriggeredChallenges::new(orders, Instant::now())),
            accounts: Mutex::new(accounts),
            cas: Mutex::default(),
            specs: watch::Sender::new(Arc::from([])),
            specs_known: AtomicBool::new(false),
            active: watch::Sender::new(Arc::new(active)),
            doing: Mutex::default(),
            plan: Mutex::default(),
            turns: AtomicU64::new(0),
            kick: Notify::new(),
            leads: AtomicBool::new(true),
            accounts_changed: Notify::new(),
            parts,
        })
    }

    /// Replaces the specs.
    pub fn set_specs(&self, specs: Arc<[Arc<CertificateSpec>]>) {
        self.responder
            .specs(&specs, false, |spec| self.thumbprint_for(spec));
        self.specs.send_replace(specs);
        self.specs_known.store(true, Ordering::Release);
        self.kick.notify_one();
    }

    /// Sets whether this replica obtains certificates, as it does by default. The others only
    /// respond to challenges and serve the certificates that they are given.
    pub fn lead(&self, leads: bool) {
        if self.leads.swap(leads, Ordering::AcqRel) != leads {
            self.kick.notify_one();
        }
    }

    /// Returns true if this replica obtains certificates.
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    /// Subscribes to the active certificates.
    pub fn active(&self) -> watch::Receiver<Arc<ActiveCertificates>> {
        self.active.subscribe()
    }

    /// Returns the current specs.
    pub fn specs(&self) -> Arc<[Arc<CertificateSpec>]> {
        self.specs.borrow().clone()
    }

    /// Returns the certificate of a spec in the form of a Secret.
    pub fn pem(&self, id: &str) -> Option<Pem> {
        self.stored(id).map(|stored| Pem {
            chain: stored.chain,
            key: stored.key,
            issuer: stored.issuer,
        })
    }

    /// Returns true once the specs are known. Until then no certificate counts as unused.
    pub(crate) fn specs_known(&self) -> bool {
        self.specs_known.load(Ordering::Acquire)
    }

    pub(crate) fn timing(&self) -> &Timing {
        &self.parts.timing
    }

    pub(crate) fn shared(&self) -> Option<&dyn SharedAccounts> {
        self.parts.shared.as_deref()
    }

    pub(crate) fn own_addresses(&self) -> Vec<IpAddr> {
        (self.parts.own_addresses)()
    }

    pub(crate) fn lookup(&self) -> &Lookup {
        &self.parts.lookup
    }

    pub(crate) fn local_ca(&self) -> &LocalCa {
        &self.parts.local_ca
    }

    pub(crate) fn challenges(&self) -> &Challenges {
        self.responder.challenges()
    }

    pub(crate) fn answer_http(&self, id: &Arc<str>, thumbprint: &str) {
        self.responder.answer_http(id, thumbprint);
    }

    pub(crate) fn answer_tls(
        &self,
        id: &Arc<str>,
        host: Host,
        certificate: rustls::sign::CertifiedKey,
    ) {
        self.responder.answer_tls(id, host, certificate);
    }

    pub(crate) fn withdraw(&self, id: &Arc<str>) {
        self.responder.withdraw(id);
    }

    // === Time ===

    pub(crate) fn reading(&self) -> Reading {
        (self.parts.time)()
    }

    pub(crate) fn clock(&self) -> MutexGuard<'_, Clock> {
        lock(&self.clock)
    }

    /// Returns the time, if it is known.
    pub(crate) fn now(&self) -> Option<i64> {
        let reading = self.reading();
        let mut clock = self.clock();
        clock.observe(reading);
        clock.now(reading).map(|time| time.0)
    }

    pub(crate) fn now_or_failure(&self) -> Result<i64, Failure> {
        self.now().ok_or_else(|| {
            Failure::new(
                Class::Transport,
                "the time is no longer known because the clock jumped",
            )
        })
    }

    /// Verifies the next request for the time by the other of the two clocks.
    pub(crate) fn other_clock(&self) {
        self.by_floor.fetch_xor(true, Ordering::Relaxed);
    }

    /// Passes the `Date` of a CA's response on to the clock.
    pub(crate) fn witness(&self, date: Option<i64>) {
        if let Some(date) = date {
            let reading = self.reading();
            self.clock().witness(UnixSeconds(date), reading);
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
        let floor = self.clock().floor().0;
        let known = record::all::<Floor>(&*self.parts.store)
            .ok()
            .and_then(|floors| Some(floors.first()?.1.floor));
        if known.is_some_and(|known| floor < known + FLOOR_STEP) {
            return batch;
        }
        record::put(batch, "floor", &Floor { floor })
    }

    // === State ===

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn stored(&self, id: &str) -> Option<StoredCertificate> {
        self.state().certificates.get(id).cloned()
    }

    pub(crate) fn is_forced(&self, id: &str) -> bool {
        self.state().forced.contains(id)
    }

    pub(crate) fn pending_order(&self, id: &str) -> Option<PendingOrder> {
        self.state().pending_orders.get(id).cloned()
    }

    /// Returns true if the specs still contain this one, with this issuer and unchanged.
    pub(crate) fn is_current(&self, spec: &CertificateSpec, issuer: &Issuer) -> bool {
        self.specs.borrow().iter().any(|now| {
            now.id == spec.id
                && now.issuers.iter().any(|one| {
                    one.name == issuer.name && now.fingerprint(one) == spec.fingerprint(issuer)
                })
        })
    }

    /// Writes a batch durably.
    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), Failure> {
        let store = self.parts.store.clone();
        let batch = self.with_floor(batch);
        let done = tokio::task::spawn_blocking(move || store.commit(batch)).await;
        let failed = |error: &dyn fmt::Display| {
            Failure::new(
                Class::Store,
                format!("{error}; no certificates are ordered until the store works again"),
            )
        };
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }

    pub(crate) async fn put_pending_order(
        &self,
        id: &Arc<str>,
        pending: PendingOrder,
    ) -> Result<(), Failure> {
        self.commit(record::put(Batch::new(), id, &pending)).await?;
        self.state().pending_orders.insert(id.to_string(), pending);
        Ok(())
    }

    /// Stores a pending order before it is sent to the CA, counted against the account's budget,
    /// so that a crash loop cannot exceed the budget.
    pub(crate) async fn ordering(
        &self,
        id: &Arc<str>,
        pending: &mut PendingOrder,
        account: &str,
        now: i64,
    ) -> Result<(), Failure> {
        let before = self
            .pending_order(id)
            .filter(|before| before.csr != pending.csr);
        let batch = if before.is_some() {
            self.with_orphaned_records(Batch::new(), id)
        } else {
            Batch::new()
        };

        pending
            .counted
            .extend(before.into_iter().flat_map(|before| before.counted));
        pending
            .counted
            .retain(|(_, at)| (now - at).abs() < ORDERS_COUNT_FOR);

        pending.counted.push((account.to_owned(), now));

        self.commit(record::put(batch, id, pending)).await?;
        self.spend(account, |budget| budget.ordered(now));
        self.state()
            .pending_orders
            .insert(id.to_string(), pending.clone());
        Ok(())
    }

    /// Changes an account's budget in memory. The end of the attempt stores it.
    pub(crate) fn spend(&self, account: &str, change: impl FnOnce(&mut Budget)) {
        change(self.state().budgets.entry(account.to_owned()).or_default());
    }

    /// Adds the removal of a pending order to a batch, and the budgets that it counted against.
    pub(crate) fn without_pending_order(&self, mut batch: Batch, id: &str) -> Batch {
        {
            let state = self.state();
            let counted = state
                .pending_orders
                .get(id)
                .map_or(&[][..], |pending| &pending.counted);
            for (account, _) in counted {
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
        let Some(pending) = state
            .pending_orders
            .get(id)
            .filter(|pending| !pending.dns.is_empty())
        else {
            return batch;
        };
        let orphaned_records = state.orphaned_records.entry(id.to_owned()).or_default();
        orphaned_records.add(pending);
        record::put(batch, id, orphaned_records)
    }

    /// Stores a certificate in one write with the end of its pending order, then activates it.
    pub(crate) async fn issued(
        &self,
        id: &Arc<str>,
        stored: StoredCertificate,
        spent: Option<(&str, &[String])>,
        now: i64,
    ) -> Result<(), Failure> {
        let mut batch = record::put(Batch::new(), id, &stored);
        batch = record::remove::<Vec<FailureState>>(batch, id);
        batch = record::remove::<Suggestion>(batch, id);

        // Count it only once it is stored: if the write fails, the same certificate is downloaded
        // again.
        let spent = spent.map(|(account, names)| {
            let mut budget = self
                .state()
                .budgets
                .get(account)
                .cloned()
                .unwrap_or_default();
            budget.issued(names, now);
            (account, budget)
        });

        if let Some((account, budget)) = &spent {
            batch = record::put(batch, account, budget);
        }
        batch = self.without_pending_order(batch, id);

        if !stored.directory.is_empty() {
            self.clock()
                .raise_floor(UnixSeconds(stored.not_before.min(now)));
        }
        self.commit(batch).await?;

        let message = format!(
            "{} issued a certificate for {}, valid until {}",
            stored.issuer,
            stored.names.join(", "),
            report::rfc3339(stored.not_after)
        );
        {
            let mut state = self.state();
            state.pending_orders.remove(&**id);
            state.failures.remove(&**id);
            state.suggestions.remove(&**id);
            state.forced.remove(&**id);
            state.certificates.insert(id.to_string(), stored);
            if let Some((account, budget)) = spent {
                state.budgets.insert(account.to_owned(), budget);
            }
        }

        self.publish();
        self.notify(id, NoticeReason::Issued, message);
        Ok(())
    }

    /// Publishes the stored certificates as the active ones.
    pub(crate) fn publish(&self) {
        let known = self.active.borrow().clone();
        let active = ActiveCertificates::of(&self.state().certificates, &known.certificates);
        self.active.send_replace(Arc::new(active));
    }

    // === CAs ===

    /// Returns the CA of an issuer with our account there.
    pub(crate) fn ca(&self, issuer: &Issuer, acme: &AcmeIssuer) -> Result<Arc<Ca>, Failure> {
        let account = issuer.account_id().unwrap_or_default();
        // Changed roots need a new client.
        if let Some(ca) = lock(&self.cas)
            .get(&account)
            .filter(|ca| ca.roots == acme.roots)
        {
            return Ok(ca.clone());
        }

        let (reading, clock, by_floor) = (
            self.parts.time.clone(),
            self.clock.clone(),
            self.by_floor.clone(),
        );
        let time = move || {
            let (reading, clock) = (reading(), lock(&clock));
            let guess = || {
                if by_floor.load(Ordering::Relaxed) {
                    clock.floor()
                } else {
                    clock.guess(reading)
                }
            };

            let seconds = clock.now(reading).unwrap_or_else(guess);
            UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds.0).unwrap_or(0)))
        };

        let config = |error: &dyn fmt::Display| Failure::new(Class::Config, error.to_string());
        let proxy = Proxy::from_environment().map_err(|error| config(&error))?;

        let usual = HttpSettings::new(Arc::new(time));
        let settings = HttpSettings {
            extra_roots: acme.roots.clone(),
            proxy,
            total_timeout: self.timing().answer,
            connect_timeout: usual.connect_timeout.min(self.timing().answer),
            ..usual
        };
        let http = Http::new(settings).map_err(|error| config(&error))?;
        let client = Client::new(http, &acme.directory).map_err(|error| config(&error))?;

        let ca = Ca {
            account: account.clone(),
            client,
            roots: acme.roots.clone(),
            session: Mutex::default(),
        };
        let ca = Arc::new(ca);

        lock(&self.cas).insert(account, ca.clone());
        Ok(ca)
    }

    // === Progress and notices ===

    pub(crate) fn plan(&self) -> MutexGuard<'_, Plan> {
        lock(&self.plan)
    }

    pub(crate) fn set_progress(&self, id: &str, what: &str) {
        lock(&self.doing).insert(id.to_owned(), what.to_owned());
    }

    pub(crate) fn clear_progress(&self, id: &str) {
        lock(&self.doing).remove(id);
    }

    pub(crate) fn progress(&self, id: &str) -> Option<String> {
        lock(&self.doing).get(id).cloned()
    }

    pub(crate) fn never_seen(&self, id: &Arc<str>, message: &str) {
        self.notify(id, NoticeReason::ChallengeNeverSeen, message.to_owned());
    }

    /// Logs a notice and sends it to the owner of a spec, unless too many notices are queued.
    pub(crate) fn notify(&self, id: &Arc<str>, reason: NoticeReason, message: String) {
        if reason.is_warning() {
            tracing::warn!(
                certificate = &**id,
                reason = reason.name(),
                message,
                "certificate"
            );
        } else {
            tracing::info!(
                certificate = &**id,
                reason = reason.name(),
                message,
                "certificate"
            );
        }

        // If the receiver lags, only the notice is lost: the log has it already.
        let _full = self.parts.notices.try_send(Notice {
            certificate: id.clone(),
            reason,
            message,
        });
    }
}

impl Ca {
    /// Opens a session for the account.
    pub(crate) fn enter(&self, key: Arc<AccountKey>, url: &str) -> Session {
        let session = self.client.session(key, url);
        *lock(&self.session) = Some(session.clone());
        session
    }

    /// Returns the session of the account, once there is one.
    pub(crate) fn session(&self) -> Option<Session> {
        lock(&self.session).clone()
    }
}
