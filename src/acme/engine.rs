//! The engine: keeps what is known, plans, lets attempts run, and hands out what is to be served.
//! One attempt at a time for each account; everything that must not be lost is in the store before
//! anybody acts on it.

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

use super::{
    accounts::SharedAccounts,
    active::ActiveCertificates,
    budget::{Budget, ORDERS_COUNT_FOR},
    ca::{
        Client, Session,
        http::{Http, HttpSettings, Proxy},
        jws::AccountKey,
    },
    dns::Lookup,
    failure::{Class, Failure, FailureState},
    issuer::{AcmeIssuer, Issuer},
    notice::{Notice, NoticeReason},
    plan::{Plan, State},
    record::{
        self, Account, Floor, OrphanedDnsRecords, PendingOrder, Revocation, StoredCertificate,
    },
    renewal::Suggestion,
    responder::ChallengeResponder,
    spec::CertificateSpec,
    triggered::TriggeredChallenges,
};
use crate::{
    routing::Host,
    store::{Batch, Store, StoreError},
    tls::{Challenges, LocalCa},
    util::{
        clock::{Clock, Reading},
        sync::lock,
        time::UnixSeconds,
    },
};

/// The floor of the clock is stored when it has risen by this much, seconds.
const FLOOR_STEP: i64 = 6 * 3_600;

/// How fast things go. Tests are in a hurry; everybody else takes the default.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two orders at one CA.
    pub gap: Duration,
    /// For one thing that the CA works on: a validation, a finalization.
    pub poll_timeout: Duration,
    /// Before the first look at something that the CA works on; the next pauses are longer.
    pub poll_interval: Duration,
    /// For one answer of a CA.
    pub answer: Duration,
    /// Between two looks at the clock while nothing is to be done.
    pub tick: Duration,
    /// Between two questions for renewal information, where the CA does not say.
    pub renewal_info: Duration,
    /// Whether DNS is asked about names that a CA did not accept, to tell the operator what it
    /// says.
    pub advice: bool,
    /// Whether anything listens for HTTP.
    pub http: bool,
    /// Whether anything listens for HTTPS.
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

/// What the engine is made of.
pub struct Parts {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// Poller at the machine's clocks.
    pub time: Arc<dyn Fn() -> Reading + Send + Sync>,
    /// Issues what the issuer `local-ca` is asked for.
    pub local_ca: Arc<LocalCa>,
    /// Where CAs find the answers to their challenges.
    pub challenges: Arc<Challenges>,
    /// Where DNS is asked.
    pub lookup: Lookup,
    /// The addresses that are known to lead here, as they are now.
    pub own_addresses: Arc<dyn Fn() -> Vec<IpAddr> + Send + Sync>,
    /// Where accounts are that other replicas have too, if there may be others.
    pub shared: Option<Arc<dyn SharedAccounts>>,
    /// Takes what is to be told to the owners of wishes.
    pub notices: mpsc::Sender<Notice>,
    /// How fast things go.
    pub pace: Timing,
}

/// A certificate and its key, PEM.
pub struct Pem {
    /// The chain.
    pub chain: String,
    /// The private key.
    pub key: String,
    /// Name of the issuer.
    pub issuer: String,
}

/// See the module.
pub struct Engine {
    parts: Parts,
    pub(super) board: ChallengeResponder,
    clock: Arc<Mutex<Clock>>,
    /// While the time is unknown: whether CAs are verified at the floor, or by the wall clock.
    /// Either may be the one that is nearer to the truth, so they take turns.
    by_floor: Arc<AtomicBool>,
    pub(super) state: Mutex<State>,
    pub(super) told: Mutex<TriggeredChallenges>,
    /// Revocations that a CA is being asked for.
    pub(super) revoking: Mutex<HashSet<String>>,
    pub(super) accounts: Mutex<BTreeMap<String, Account>>,
    pub(super) cas: Mutex<HashMap<String, Arc<Ca>>>,
    wants: watch::Sender<Arc<[Arc<CertificateSpec>]>>,
    /// Whether anybody has said what is wanted yet.
    heard: AtomicBool,
    served: watch::Sender<Arc<ActiveCertificates>>,
    doing: Mutex<BTreeMap<String, String>>,
    plan: Mutex<Plan>,
    /// How often the loop has looked at everything.
    pub(super) turns: AtomicU64,
    /// Something changed that the loop should look at.
    pub(super) kick: Notify,
    /// Whether this replica is the one that gets certificates.
    leads: AtomicBool,
    /// An account was made or changed.
    pub(super) accounts_changed: Notify,
}

/// A CA and our account there.
pub(super) struct Ca {
    /// Key of the account's record.
    pub(super) account: String,
    pub(super) client: Client,
    /// What its client was made with.
    roots: Vec<CertificateDer<'static>>,
    session: Mutex<Option<Session>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}

impl Engine {
    /// Reads back what is stored. Nothing runs yet, but what was held is served from now on.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn load(parts: Parts) -> Result<Self, StoreError> {
        let store = &*parts.store;
        let mut state = State {
            held: record::all::<StoredCertificate>(store)?
                .into_iter()
                .collect(),
            jobs: record::all::<PendingOrder>(store)?.into_iter().collect(),
            troubles: record::all::<Vec<FailureState>>(store)?
                .into_iter()
                .collect(),
            suggestions: record::all::<Suggestion>(store)?.into_iter().collect(),
            budgets: record::all::<Budget>(store)?.into_iter().collect(),
            litter: record::all::<OrphanedDnsRecords>(store)?
                .into_iter()
                .collect(),
            revocations: record::all::<Revocation>(store)?.into_iter().collect(),
            forced: HashSet::new(),
        };
        for (account, at) in state.jobs.values().flat_map(|job| job.counted.clone()) {
            state.budgets.entry(account).or_default().recall(at);
        }
        let orders = state
            .jobs
            .values()
            .filter_map(|job| job.order.clone())
            .collect();
        let accounts = record::all::<Account>(store)?.into_iter().collect();
        let stored = record::all::<Floor>(store)?
            .into_iter()
            .map(|(_, floor)| floor.floor);
        // A certificate of a CA has begun. Those that were made here say only what our own clock
        // said.
        let begun = state
            .held
            .values()
            .filter(|held| !held.directory.is_empty())
            .map(|held| held.not_before);
        let floor = stored.chain(begun).max().unwrap_or(0);
        let reading = (parts.time)();
        let served = ActiveCertificates::of(&state.held, &BTreeMap::new());
        // What cannot be served is as good as none, and is got again.
        state
            .held
            .retain(|id, _| served.certificates.contains_key(id));
        Ok(Self {
            board: ChallengeResponder::new(parts.challenges.clone()),
            clock: Arc::new(Mutex::new(Clock::new(UnixSeconds(floor), reading))),
            by_floor: Arc::default(),
            state: Mutex::new(state),
            revoking: Mutex::default(),
            told: Mutex::new(TriggeredChallenges::new(orders, Instant::now())),
            accounts: Mutex::new(accounts),
            cas: Mutex::default(),
            wants: watch::Sender::new(Arc::from([])),
            heard: AtomicBool::new(false),
            served: watch::Sender::new(Arc::new(served)),
            doing: Mutex::default(),
            plan: Mutex::default(),
            turns: AtomicU64::new(0),
            kick: Notify::new(),
            leads: AtomicBool::new(true),
            accounts_changed: Notify::new(),
            parts,
        })
    }

    /// The wishes are these from now on.
    pub fn want(&self, wants: Arc<[Arc<CertificateSpec>]>) {
        self.board
            .wants(&wants, false, |want| self.thumbprint_for(want));
        self.wants.send_replace(wants);
        self.heard.store(true, Ordering::Release);
        self.kick.notify_one();
    }

    /// Whether this replica is the one that gets certificates, as it is without a word. Another one
    /// only answers CAs and serves what it is given.
    pub fn lead(&self, leads: bool) {
        if self.leads.swap(leads, Ordering::AcqRel) != leads {
            self.kick.notify_one();
        }
    }

    /// Whether it is.
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    /// The certificates that are held, and each change of them.
    pub fn served(&self) -> watch::Receiver<Arc<ActiveCertificates>> {
        self.served.subscribe()
    }

    /// The wishes as they are.
    pub fn wants(&self) -> Arc<[Arc<CertificateSpec>]> {
        self.wants.borrow().clone()
    }

    /// What is held for a wish as it is written into a Secret.
    pub fn pem(&self, want: &str) -> Option<Pem> {
        self.held(want).map(|held| Pem {
            chain: held.chain,
            key: held.key,
            issuer: held.issuer,
        })
    }

    /// Whether anybody has said what is wanted yet: until then nothing is unwanted.
    pub(super) fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Acquire)
    }

    pub(super) fn pace(&self) -> &Timing {
        &self.parts.pace
    }

    pub(super) fn shared(&self) -> Option<&dyn SharedAccounts> {
        self.parts.shared.as_deref()
    }

    pub(super) fn own_addresses(&self) -> Vec<IpAddr> {
        (self.parts.own_addresses)()
    }

    pub(super) fn lookup(&self) -> &Lookup {
        &self.parts.lookup
    }

    pub(super) fn local_ca(&self) -> &LocalCa {
        &self.parts.local_ca
    }

    pub(super) fn challenges(&self) -> &Challenges {
        self.board.challenges()
    }

    pub(super) fn answer_http(&self, want: &Arc<str>, thumbprint: &str) {
        self.board.answer_http(want, thumbprint);
    }

    pub(super) fn answer_tls(
        &self,
        want: &Arc<str>,
        host: Host,
        certificate: rustls::sign::CertifiedKey,
    ) {
        self.board.answer_tls(want, host, certificate);
    }

    pub(super) fn withdraw(&self, want: &Arc<str>) {
        self.board.withdraw(want);
    }

    // === Time ===

    pub(super) fn reading(&self) -> Reading {
        (self.parts.time)()
    }

    pub(super) fn clock(&self) -> MutexGuard<'_, Clock> {
        lock(&self.clock)
    }

    /// The time, if it is known.
    pub(super) fn now(&self) -> Option<i64> {
        let reading = self.reading();
        let mut clock = self.clock();
        clock.observe(reading);
        clock.now(reading).map(|time| time.0)
    }

    pub(super) fn now_or_failure(&self) -> Result<i64, Failure> {
        self.now().ok_or_else(|| {
            Failure::new(
                Class::Transport,
                "the time is not known any more: the clock jumped",
            )
        })
    }

    /// The next question for the time trusts the other clock.
    pub(super) fn other_clock(&self) {
        self.by_floor.fetch_xor(true, Ordering::Relaxed);
    }

    /// A CA said what time it is.
    pub(super) fn witness(&self, date: Option<i64>) {
        if let Some(date) = date {
            let reading = self.reading();
            self.clock().witness(UnixSeconds(date), reading);
        }
    }

    /// Stores the floor of the clock if it has risen much; asked for when several other things are
    /// stored too. With a single one it would cost a block of the disk, and before an attempt ends
    /// there is a write of several.
    fn with_floor(&self, batch: Batch) -> Batch {
        if batch.len() < 2 {
            return batch;
        }
        // What the wall clock says may be wrong, and would be believed for ever.
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

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn held(&self, want: &str) -> Option<StoredCertificate> {
        self.state().held.get(want).cloned()
    }

    pub(super) fn is_forced(&self, want: &str) -> bool {
        self.state().forced.contains(want)
    }

    pub(super) fn job(&self, want: &str) -> Option<PendingOrder> {
        self.state().jobs.get(want).cloned()
    }

    /// Whether the same is still wanted of the same issuer.
    pub(super) fn is_wanted(&self, want: &CertificateSpec, issuer: &Issuer) -> bool {
        self.wants.borrow().iter().any(|now| {
            now.id == want.id
                && now.issuers.iter().any(|one| {
                    one.name == issuer.name && now.fingerprint(one) == want.fingerprint(issuer)
                })
        })
    }

    /// Makes a batch durable.
    pub(super) async fn commit(&self, batch: Batch) -> Result<(), Failure> {
        let store = self.parts.store.clone();
        let batch = self.with_floor(batch);
        let done = tokio::task::spawn_blocking(move || store.commit(batch)).await;
        let failed = |error: &dyn fmt::Display| {
            Failure::new(
                Class::Store,
                format!("{error}: nothing is asked of a CA until it can be kept"),
            )
        };
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }

    pub(super) async fn put_job(&self, want: &Arc<str>, job: PendingOrder) -> Result<(), Failure> {
        self.commit(record::put(Batch::new(), want, &job)).await?;
        self.state().jobs.insert(want.to_string(), job);
        Ok(())
    }

    /// An order is about to be made: what it is made of is stored, and that it counts, so that a
    /// loop of crashes cannot spend more than the budget.
    pub(super) async fn ordering(
        &self,
        want: &Arc<str>,
        job: &mut PendingOrder,
        account: &str,
        now: i64,
    ) -> Result<(), Failure> {
        let before = self.job(want).filter(|before| before.csr != job.csr);
        let batch = if before.is_some() {
            self.with_litter(Batch::new(), want)
        } else {
            Batch::new()
        };
        job.counted
            .extend(before.into_iter().flat_map(|before| before.counted));
        job.counted
            .retain(|(_, at)| (now - at).abs() < ORDERS_COUNT_FOR);
        job.counted.push((account.to_owned(), now));
        self.commit(record::put(batch, want, job)).await?;
        self.spend(account, |budget| budget.ordered(now));
        self.state().jobs.insert(want.to_string(), job.clone());
        Ok(())
    }

    /// Changes what is spent, in memory at once and in the store with the end of the attempt.
    pub(super) fn spend(&self, account: &str, change: impl FnOnce(&mut Budget)) {
        change(self.state().budgets.entry(account.to_owned()).or_default());
    }

    /// Takes a job out of the store; what it counted goes into the budgets.
    pub(super) fn without_job(&self, mut batch: Batch, want: &str) -> Batch {
        {
            let state = self.state();
            let counted = state.jobs.get(want).map_or(&[][..], |job| &job.counted);
            for (account, _) in counted {
                if let Some(budget) = state.budgets.get(account)
                    && !batch.has(&record::key::<Budget>(account))
                {
                    batch = record::put(batch, account, budget);
                }
            }
        }
        self.with_litter(record::remove::<PendingOrder>(batch, want), want)
    }

    /// Notes the records in DNS that the job of a wish leaves, to be removed later.
    fn with_litter(&self, batch: Batch, want: &str) -> Batch {
        let state = &mut *self.state();
        let Some(job) = state.jobs.get(want).filter(|job| !job.dns.is_empty()) else {
            return batch;
        };
        let litter = state.litter.entry(want.to_owned()).or_default();
        litter.add(job);
        record::put(batch, want, litter)
    }

    /// A certificate came: stored in one write with the end of its job, then served.
    pub(super) async fn issued(
        &self,
        want: &Arc<str>,
        held: StoredCertificate,
        spent: Option<(&str, &[String])>,
        now: i64,
    ) -> Result<(), Failure> {
        let mut batch = record::put(Batch::new(), want, &held);
        batch = record::remove::<Vec<FailureState>>(batch, want);
        batch = record::remove::<Suggestion>(batch, want);
        // Counted when it is kept: what cannot be stored is downloaded again, and is one
        // certificate.
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
        batch = self.without_job(batch, want);
        if !held.directory.is_empty() {
            self.clock()
                .raise_floor(UnixSeconds(held.not_before.min(now)));
        }
        self.commit(batch).await?;
        let message = format!(
            "{} issued a certificate for {}, valid until {}",
            held.issuer,
            held.names.join(", "),
            super::report::rfc3339(held.not_after)
        );
        {
            let mut state = self.state();
            state.jobs.remove(&**want);
            state.troubles.remove(&**want);
            state.suggestions.remove(&**want);
            state.forced.remove(&**want);
            state.held.insert(want.to_string(), held);
            if let Some((account, budget)) = spent {
                state.budgets.insert(account.to_owned(), budget);
            }
        }
        self.publish();
        self.tell(want, NoticeReason::Issued, message);
        Ok(())
    }

    /// Hands out what is held now.
    pub(super) fn publish(&self) {
        let known = self.served.borrow().clone();
        let served = ActiveCertificates::of(&self.state().held, &known.certificates);
        self.served.send_replace(Arc::new(served));
    }

    // === CAs ===

    /// The CA of an issuer, and our account there.
    pub(super) fn ca(&self, issuer: &Issuer, acme: &AcmeIssuer) -> Result<Arc<Ca>, Failure> {
        let account = issuer.account_id().unwrap_or_default();
        // Other roots need another client.
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
        let wrong = |error: &dyn fmt::Display| Failure::new(Class::Config, error.to_string());
        let proxy = Proxy::from_environment().map_err(|error| wrong(&error))?;
        let usual = HttpSettings::new(Arc::new(time));
        let settings = HttpSettings {
            extra_roots: acme.roots.clone(),
            proxy,
            total_timeout: self.pace().answer,
            connect_timeout: usual.connect_timeout.min(self.pace().answer),
            ..usual
        };
        let http = Http::new(settings).map_err(|error| wrong(&error))?;
        let client = Client::new(http, &acme.directory).map_err(|error| wrong(&error))?;
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

    // === Telling ===

    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        lock(&self.plan)
    }

    pub(super) fn doing(&self, want: &str, what: &str) {
        lock(&self.doing).insert(want.to_owned(), what.to_owned());
    }

    pub(super) fn idle(&self, want: &str) {
        lock(&self.doing).remove(want);
    }

    pub(super) fn doing_now(&self, want: &str) -> Option<String> {
        lock(&self.doing).get(want).cloned()
    }

    pub(super) fn never_seen(&self, want: &Arc<str>, message: &str) {
        self.tell(want, NoticeReason::ChallengeNeverSeen, message.to_owned());
    }

    /// Tells the owner of a wish, unless too much is waiting to be told already.
    pub(super) fn tell(&self, want: &Arc<str>, reason: NoticeReason, message: String) {
        if reason.is_warning() {
            tracing::warn!(
                want = &**want,
                reason = reason.name(),
                message,
                "certificate"
            );
        } else {
            tracing::info!(
                want = &**want,
                reason = reason.name(),
                message,
                "certificate"
            );
        }
        let _full = self.parts.notices.try_send(Notice {
            want: want.clone(),
            reason,
            message,
        });
    }
}

impl Ca {
    /// Speaks for the account from now on.
    pub(super) fn enter(&self, key: Arc<AccountKey>, url: &str) -> Session {
        let session = self.client.session(key, url);
        *lock(&self.session) = Some(session.clone());
        session
    }

    /// Who speaks for the account, once somebody does.
    pub(super) fn session(&self) -> Option<Session> {
        lock(&self.session).clone()
    }
}
