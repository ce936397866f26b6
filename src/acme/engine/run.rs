//! The engine's loop: plan, start the attempts that are due, wait for the next event.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{AbortHandle, JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use super::{Engine, notice::NoticeReason};
use crate::{
    acme::{
        dns::TxtRecord,
        issuer::Issuer,
        order::{Attempt, ORDER_LIFE},
        plan::{
            Decision, GRACE, Plan, State, Step,
            failure::{Class, Failure, FailureState},
            plan,
            record::{self, OrphanedDnsRecords, PendingOrder, StoredCertificate},
            renewal::Suggestion,
        },
        spec::CertificateSpec,
    },
    store::Batch,
    util::{clock::Trust, hash::fnv1a, stamp},
};

/// The pause between two requests for the time, while it is unknown and while it is in doubt.
const TIME_UNKNOWN_PAUSE: Duration = Duration::from_secs(60);
const TIME_DOUBTED_PAUSE: Duration = Duration::from_secs(900);
/// The shortest pause between two removals of orphaned DNS records.
const REMOVAL_PAUSE: Duration = Duration::from_secs(1);

/// A task of the engine that panicked.
#[derive(Debug, thiserror::Error)]
#[error("a task of the certificate engine failed: {0}")]
pub struct LoopError(JoinError);

/// The result of a task that runs beside the loop.
#[derive(Debug)]
enum Done {
    Attempt {
        spec: Arc<CertificateSpec>,
        issuer: Arc<Issuer>,
        result: Result<(), Failure>,
    },
    Suggestion {
        spec: Arc<CertificateSpec>,
        ask_again: Duration,
    },
    RecordsRemoved,
    Revocation,
    TimeAsked,
}

/// The loop's state between its turns.
#[derive(Default)]
struct Turn {
    running: JoinSet<(String, Done)>,
    /// Accounts that a task is running for.
    busy: HashSet<String>,
    /// Specs that an attempt is running for: never two at once, even with several issuers.
    attempting: HashSet<Arc<str>>,
    /// The time of the next allowed order by account, or of the next attempt by spec for
    /// certificates that are issued on this device.
    free: HashMap<String, Instant>,
    /// The time of the next request for renewal information, by spec.
    suggestions: HashMap<Arc<str>, Instant>,
    /// Specs whose owner has been notified that they are blocked, and the reason given.
    blocked: BTreeMap<Arc<str>, String>,
    /// The time of the last request for a CA's time.
    time_asked: Option<Instant>,
    /// The time of the next removal of orphaned DNS records.
    next_removal: Option<Instant>,
    /// The time of the next request for each unconfirmed revocation.
    revocations: HashMap<String, Instant>,
    /// True once the owners have been notified that the clock is suspect.
    clock_notified: bool,
}

impl Engine {
    /// Runs the loop until the process ends.
    ///
    /// # Errors
    /// [`LoopError`] if a task ended with a panic.
    pub async fn run(self: Arc<Self>) -> Result<(), LoopError> {
        let mut turn = Turn::default();
        loop {
            let now = self.now();
            let specs = self.specs();
            let plan = plan(now, &specs, &self.state());
            let mut next = Instant::now() + self.until(plan.wake, now);

            if self.leads() {
                self.drop_unused(&plan, now).await;
                for decision in &plan.decisions {
                    next = next.min(self.clone().step(decision, &mut turn, next).await);
                }
                next = next.min(self.clone().suggestions(&specs, &mut turn));
                next = next.min(self.clone().check_clock(&specs, &mut turn));
                self.clone().start_record_removal(&specs, &mut turn);
                self.clone().revocations(&specs, &mut turn);
            } else if !turn.running.is_empty() {
                // This replica lost the leadership: abort its tasks. The new leader resumes from
                // the state at the CA.
                turn = Turn::default();
                specs.iter().for_each(|spec| self.clear_progress(&spec.id));
            }

            self.decided(plan);

            tokio::select! {
                Some(done) = turn.running.join_next(), if !turn.running.is_empty() => {
                    match done {
                        Ok((account, done)) => self.done(&account, done, &mut turn).await,
                        Err(error) => return Err(LoopError(error)),
                    }
                }
                () = self.kick.notified() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// Returns the longest time to sleep. Clocks can jump, so the loop reads them regularly.
    fn until(&self, wake: Option<i64>, now: Option<i64>) -> Duration {
        let wait = wake
            .zip(now)
            .map(|(wake, now)| u64::try_from(wake - now).unwrap_or(0).max(1));
        wait.map_or(Duration::MAX, Duration::from_secs)
            .min(self.timing().tick)
    }

    /// Carries out a decision, or returns when it can be carried out.
    async fn step(self: Arc<Self>, decision: &Decision, turn: &mut Turn, next: Instant) -> Instant {
        let spec = &decision.spec;
        if turn.attempting.contains(&spec.id) {
            return next;
        }

        if !matches!(decision.step, Step::Obtain { .. }) {
            self.clear_progress(&spec.id);
        }
        if !matches!(decision.step, Step::Blocked { .. }) {
            turn.blocked.remove(&spec.id);
        }

        match &decision.step {
            Step::Wait { .. } => {}
            Step::Blocked { why } => {
                if turn.blocked.get(&spec.id) != Some(why) {
                    turn.blocked.insert(spec.id.clone(), why.clone());
                    self.notify(&spec.id, NoticeReason::Blocked, why.clone());
                }
            }
            Step::ClockUnknown => {
                self.notify_clock_suspect(&spec.id, turn);
                return self.ask_for_time(spec, TIME_UNKNOWN_PAUSE, turn);
            }
            Step::Obtain { issuer, .. } if issuer.acme().is_none() => {
                if let Some(free) = turn
                    .free
                    .get(&*spec.id)
                    .filter(|free| **free > Instant::now())
                {
                    return *free;
                }

                if let Err(failure) = self.issue_here(spec, issuer).await {
                    turn.free
                        .insert(spec.id.to_string(), Instant::now() + self.timing().tick);
                    self.attempt_failed(spec, issuer, &failure).await;
                }
                // The plan has changed: make a new one at once.
                return Instant::now();
            }
            Step::Obtain { issuer, .. } => {
                let account = issuer.account_id().unwrap_or_default();
                if turn.busy.contains(&account) {
                    if self.progress(&spec.id).is_none() {
                        self.set_progress(&spec.id, "waiting for other orders of this account");
                    }
                    return next;
                }
                if let Some(free) = turn
                    .free
                    .get(&account)
                    .filter(|free| **free > Instant::now())
                {
                    return *free;
                }
                self.start(spec.clone(), issuer.clone(), account, turn);
            }
        }

        next
    }

    /// Starts an attempt as a task beside the loop.
    fn start(
        self: Arc<Self>,
        spec: Arc<CertificateSpec>,
        issuer: Arc<Issuer>,
        account: String,
        turn: &mut Turn,
    ) -> AbortHandle {
        turn.busy.insert(account.clone());
        turn.attempting.insert(spec.id.clone());

        turn.running.spawn(async move {
            let result = self.attempt(&spec, &issuer).await;
            (
                account,
                Done::Attempt {
                    spec,
                    issuer,
                    result,
                },
            )
        })
    }

    /// Makes one attempt to obtain a certificate from an issuer.
    async fn attempt(&self, spec: &CertificateSpec, issuer: &Issuer) -> Result<(), Failure> {
        let Some(acme) = issuer.acme() else {
            return self.issue_here(spec, issuer).await;
        };
        self.set_progress(&spec.id, "starting");
        let ca = self.ca(issuer, acme)?;
        let fingerprint = spec.attempt_fingerprint(issuer);

        let failed = self.state().failures.get(&*spec.id).and_then(|failures| {
            failures
                .iter()
                .find(|failure_state| failure_state.print == fingerprint)
                .map(|failure_state| failure_state.failed_challenges.clone())
        });

        let attempt = Attempt {
            engine: self,
            spec,
            issuer,
            acme,
            ca: &ca,
            failed: failed.unwrap_or_default(),
        };
        Box::pin(attempt.run()).await
    }

    /// Takes in the result of a task.
    async fn done(&self, account: &str, done: Done, turn: &mut Turn) {
        turn.busy.remove(account);

        match done {
            Done::Attempt {
                spec,
                issuer,
                result,
            } => {
                self.clear_progress(&spec.id);
                turn.attempting.remove(&spec.id);
                turn.free
                    .insert(account.to_owned(), Instant::now() + self.timing().gap);

                // A new certificate has its own renewal window.
                turn.suggestions.remove(&spec.id);

                if let Err(failure) = result {
                    self.attempt_failed(&spec, &issuer, &failure).await;
                }
            }
            Done::Suggestion { spec, ask_again } => {
                turn.suggestions
                    .insert(spec.id.clone(), Instant::now() + ask_again);
            }
            Done::RecordsRemoved | Done::Revocation | Done::TimeAsked => {}
        }
    }

    /// Records a failed attempt, and drops the pending order if that cannot succeed any more.
    async fn attempt_failed(&self, spec: &CertificateSpec, issuer: &Issuer, failure: &Failure) {
        let now = self.clock().guess(self.reading()).0;
        let fingerprint = spec.attempt_fingerprint(issuer);
        let account = issuer.account_id().unwrap_or_default();

        if failure.class == Class::Changed {
            return self.abandon_order(&spec.id).await;
        }

        let (failures, failure_state, budget) = {
            let mut state = self.state();
            let failures = state.failures.entry(spec.id.to_string()).or_default();
            let at = failures
                .iter()
                .position(|failure_state| *failure_state.issuer == *issuer.name);
            let before = at.map(|at| failures.swap_remove(at));
            let random = u64::from_le_bytes(stamp::random());
            let failure_state = FailureState::after(
                before.as_ref(),
                failure,
                &issuer.name,
                fingerprint,
                now,
                random,
            );
            failures.push(failure_state.clone());
            let failures = failures.clone();

            // A renewal that the operator requested is retried until it succeeds or until it needs
            // the operator again.
            if failure_state.is_blocked() {
                state.forced.remove(&*spec.id);
            }
            (
                failures,
                failure_state,
                state.budgets.get(&account).cloned(),
            )
        };

        let mut batch = record::put(Batch::new(), &spec.id, &failures);
        if let Some(budget) = budget {
            batch = record::put(batch, &account, &budget);
        }
        let is_order_dead = !matches!(
            failure.class,
            Class::Transport | Class::RateLimited | Class::Store | Class::Account
        );
        if is_order_dead {
            batch = self.without_pending_order(batch, &spec.id);
            self.state().pending_orders.remove(&*spec.id);
        }

        // If the disk rejects writes, the failure is still remembered until the process ends.
        if let Err(failure) = self.commit(batch).await {
            tracing::warn!(
                certificate = &*spec.id,
                problem = failure.problem,
                "storing a failed attempt failed"
            );
        }

        if failure.has_alternative || failure_state.is_blocked() {
            return;
        }

        let message = describe(issuer, &failure_state);
        self.notify(&spec.id, NoticeReason::Failed, message);
    }

    /// Drops the pending order of a spec that was changed or removed.
    async fn abandon_order(&self, id: &str) {
        let batch = self.without_pending_order(Batch::new(), id);
        self.state().pending_orders.remove(id);
        if let Err(failure) = self.commit(batch).await {
            tracing::warn!(
                certificate = id,
                problem = failure.problem,
                "removing a pending order from the store failed"
            );
        }
    }

    /// Notifies one owner, once, that nothing is ordered while the time is unknown.
    fn notify_clock_suspect(&self, id: &Arc<str>, turn: &mut Turn) {
        if !turn.clock_notified {
            turn.clock_notified = true;
            let message = "the clock of this device cannot be trusted: nothing is ordered until it \
                          is set or a CA confirms the time";
            self.notify(id, NoticeReason::ClockSuspect, message.to_owned());
        }
    }

    /// Asks a CA for the time if the wall clock contradicts an earlier date of a CA. One of the
    /// two clocks stood still or was set, and only a CA can tell which. Returns when to check next.
    fn check_clock(self: Arc<Self>, specs: &[Arc<CertificateSpec>], turn: &mut Turn) -> Instant {
        let reading = self.reading();
        let is_open = self.now().is_some() && self.clock().trust(reading) != Trust::Trusted;
        let with_ca = specs
            .iter()
            .find(|spec| spec.issuers.iter().any(|issuer| issuer.acme().is_some()));
        match with_ca.filter(|_| is_open) {
            Some(spec) => self.ask_for_time(spec, TIME_DOUBTED_PAUSE, turn),
            None => {
                if !is_open && self.now().is_some() {
                    turn.time_asked = None;
                }
                Instant::now() + self.timing().tick
            }
        }
    }

    /// Asks a CA for the time unless that was done within `again`, and returns when to ask next.
    /// The CA's certificate is verified at a time that has certainly passed, or by the wall clock.
    fn ask_for_time(
        self: Arc<Self>,
        spec: &Arc<CertificateSpec>,
        again: Duration,
        turn: &mut Turn,
    ) -> Instant {
        let again = again.min(self.timing().renewal_info);
        if let Some(last) = turn.time_asked.filter(|last| last.elapsed() < again) {
            return last + again;
        }

        turn.time_asked = Some(Instant::now());
        let acme_issuer = spec
            .issuers
            .iter()
            .find(|issuer| issuer.acme().is_some())
            .cloned();

        if let Some(issuer) = acme_issuer {
            turn.running.spawn(async move {
                if let Some(Ok(ca)) = issuer.acme().map(|acme| self.ca(&issuer, acme)) {
                    match ca.client.time().await {
                        Ok(date) => self.witness(date),
                        Err(error) => {
                            self.other_clock();
                            tracing::debug!(
                                issuer = &*issuer.name,
                                %error,
                                "the CA's time is unavailable"
                            );
                        }
                    }
                }
                (String::new(), Done::TimeAsked)
            });
        }

        Instant::now() + again
    }

    /// Repeats revocation requests that the CA has not confirmed.
    fn revocations(self: Arc<Self>, specs: &[Arc<CertificateSpec>], turn: &mut Turn) {
        for (id, revocation, issuer) in self.due_revocations(specs, &mut turn.revocations) {
            let engine = self.clone();
            turn.running.spawn(async move {
                engine.revoke_again(&id, &revocation, &issuer).await;
                (String::new(), Done::Revocation)
            });
        }
    }

    /// Removes orphaned DNS records with the current providers.
    fn start_record_removal(self: Arc<Self>, specs: &[Arc<CertificateSpec>], turn: &mut Turn) {
        let again = self.timing().renewal_info / 6;
        if self.state().orphaned_records.is_empty()
            || turn.next_removal.is_some_and(|next| next > Instant::now())
        {
            return;
        }
        turn.next_removal = Some(Instant::now() + again + REMOVAL_PAUSE);
        let issuers: BTreeMap<String, Arc<Issuer>> = specs
            .iter()
            .flat_map(|spec| &spec.issuers)
            .map(|issuer| (issuer.name.to_string(), issuer.clone()))
            .collect();
        turn.running.spawn(async move {
            self.remove_orphaned_records(&issuers).await;
            (String::new(), Done::RecordsRemoved)
        });
    }

    async fn remove_orphaned_records(&self, issuers: &BTreeMap<String, Arc<Issuer>>) {
        let orphaned_records = self.state().orphaned_records.clone();
        for (id, OrphanedDnsRecords { records }) in orphaned_records {
            let mut gone = Vec::new();

            for (issuer, fqdn, value) in records {
                let provider = issuers
                    .get(&issuer)
                    .and_then(|issuer| issuer.acme()?.dns.as_ref());
                // A CA may reuse a token, so a pending order may need the same record.
                let needed = self
                    .state()
                    .pending_orders
                    .values()
                    .any(|pending| pending.dns.iter().any(|(_, used)| *used == value));

                let Some(provider) = provider.filter(|_| !needed) else {
                    continue;
                };

                let record = TxtRecord {
                    fqdn: fqdn.clone(),
                    value: value.clone(),
                };
                match provider.remove(&record).await {
                    Ok(()) => gone.push((issuer, fqdn, value)),
                    Err(error) => {
                        tracing::warn!(
                            record = fqdn,
                            %error,
                            "removing a challenge's DNS record failed"
                        );
                    }
                }
            }

            if gone.is_empty() {
                continue;
            }

            let batch = {
                let state = &mut *self.state();
                let Some(orphaned_records) = state.orphaned_records.get_mut(&id) else {
                    continue;
                };
                orphaned_records
                    .records
                    .retain(|record| !gone.contains(record));
                if orphaned_records.records.is_empty() {
                    state.orphaned_records.remove(&id);
                    record::remove::<OrphanedDnsRecords>(Batch::new(), &id)
                } else {
                    record::put(Batch::new(), &id, orphaned_records)
                }
            };
            if let Err(failure) = self.commit(batch).await {
                tracing::warn!(
                    certificate = id,
                    problem = failure.problem,
                    "storing the removal of DNS records failed"
                );
            }
        }
    }

    /// Asks CAs for their renewal windows (RFC 9773), one request at a time per account. Returns
    /// when the next request is due.
    fn suggestions(self: Arc<Self>, specs: &[Arc<CertificateSpec>], turn: &mut Turn) -> Instant {
        let mut next = Instant::now() + self.timing().tick;
        if turn.suggestions.len() > specs.len() {
            let used: HashSet<&str> = specs.iter().map(|spec| &*spec.id).collect();
            turn.suggestions.retain(|id, _| used.contains(&**id));
            turn.blocked.retain(|id, _| used.contains(&**id));
        }

        if self.now().is_none() {
            return next;
        }

        for spec in specs {
            let Some(stored) = self
                .stored(&spec.id)
                .filter(|stored| !stored.ari.is_empty())
            else {
                continue;
            };

            let issuer = spec.issuers.iter().find(|issuer| {
                issuer
                    .acme()
                    .is_some_and(|acme| acme.directory == stored.directory)
            });
            let Some(issuer) = issuer.cloned() else {
                continue;
            };

            let first = Duration::from_secs(
                fnv1a(spec.id.as_bytes()) % self.timing().renewal_info.as_secs().max(6) / 6,
            );
            let due = *turn
                .suggestions
                .entry(spec.id.clone())
                .or_insert_with(|| Instant::now() + first);

            let account = issuer.account_id().unwrap_or_default();
            if due > Instant::now() {
                next = next.min(due);
            } else if turn.busy.insert(account.clone()) {
                let (engine, spec) = (self.clone(), spec.clone());
                turn.running.spawn(async move {
                    let ask_again = engine.ask_for_suggestion(&spec, &issuer, &stored).await;
                    (account, Done::Suggestion { spec, ask_again })
                });
            }
        }

        next
    }

    /// Asks for the renewal window of one certificate. Returns the time until the next request.
    async fn ask_for_suggestion(
        &self,
        spec: &Arc<CertificateSpec>,
        issuer: &Issuer,
        stored: &StoredCertificate,
    ) -> Duration {
        let usual = self.timing().renewal_info;
        let Some(Ok(ca)) = issuer.acme().map(|acme| self.ca(issuer, acme)) else {
            return usual;
        };

        let info = match ca.client.renewal_info(&stored.ari).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(
                    certificate = &*spec.id,
                    %error,
                    "the CA's renewal information is unavailable"
                );
                return usual;
            }
        };

        self.witness(info.date);

        // Another certificate may have been stored during the request.
        if self
            .stored(&spec.id)
            .is_none_or(|now| now.ari != stored.ari)
        {
            return usual;
        }

        let before = self.state().suggestions.get(&*spec.id).cloned();
        let random = u64::from_le_bytes(stamp::random());
        let (start, end) = (info.value.start, info.value.end);
        let now = Suggestion::take(
            before.as_ref(),
            start,
            end,
            info.value.explanation_url,
            random,
        );
        if let Some(now) = now.filter(|now| before.as_ref() != Some(now)) {
            // A failed write does no harm: the window is requested again.
            let stored = self.commit(record::put(Batch::new(), &spec.id, &now)).await;
            if let Err(failure) = stored {
                tracing::debug!(
                    certificate = &*spec.id,
                    problem = failure.problem,
                    "storing the CA's renewal window failed"
                );
            }

            if before.is_some_and(|before| now.chosen < before.chosen) {
                let page = now
                    .explanation
                    .as_deref()
                    .map(|page| format!(" ({page})"))
                    .unwrap_or_default();
                let message = format!(
                    "the CA asks for an earlier renewal, at {}{page}",
                    super::report::rfc3339(now.chosen)
                );
                self.notify(&spec.id, NoticeReason::RenewalMoved, message);
            }
            self.state().suggestions.insert(spec.id.to_string(), now);
        }

        info.retry_after
            .map_or(usual, |wait| wait.clamp(usual / 6, usual * 2))
    }

    /// Marks certificates without a spec as unused, and drops those that have been unused for
    /// longer than [`GRACE`], with their pending orders and failures.
    async fn drop_unused(&self, plan: &Plan, now: Option<i64>) {
        let Some(now) = now.filter(|_| self.specs_known()) else {
            return;
        };

        let batch = {
            let state = &mut *self.state();
            let batch = mark_unused(Batch::new(), plan, now, state);
            drop_old_attempts(batch, plan, now, state)
        };
        if batch.is_empty() {
            return;
        }

        if let Err(failure) = self.commit(batch).await {
            tracing::warn!(
                problem = failure.problem,
                "storing the unused certificates failed"
            );
        }
        self.publish();
    }
}

/// Marks and drops unused certificates as planned. Returns the batch with the changes.
fn mark_unused(mut batch: Batch, plan: &Plan, now: i64, state: &mut State) -> Batch {
    for (id, is_unused) in &plan.unwanted {
        if let Some(stored) = state.certificates.get_mut(id) {
            stored.unwanted = is_unused.then_some(now);
            batch = record::put(batch, id, stored);
        }
    }

    for id in &plan.drop {
        batch = record::remove::<StoredCertificate>(batch, id);
        batch = record::remove::<Suggestion>(batch, id);
        state.certificates.remove(id);
        state.suggestions.remove(id);
        tracing::info!(certificate = id, "dropped an unused certificate");
    }

    batch
}

/// Drops old pending orders and failures without a spec. They are kept for a while, because a spec
/// may come back. Returns the batch with the changes.
fn drop_old_attempts(mut batch: Batch, plan: &Plan, now: i64, state: &mut State) -> Batch {
    let used: HashSet<&str> = plan
        .decisions
        .iter()
        .map(|decision| &*decision.spec.id)
        .collect();

    // The records in DNS are removed soon, even if the order is kept.
    for (id, pending) in &mut state.pending_orders {
        if !used.contains(id.as_str()) && !pending.dns.is_empty() {
            let orphaned_records = state.orphaned_records.entry(id.clone()).or_default();
            orphaned_records.add(pending);
            pending.dns.clear();
            batch = record::put(record::put(batch, id, orphaned_records), id, pending);
        }
    }

    let is_old = |id: &str, at: i64, age: i64| !used.contains(id) && (now - at).abs() > age;
    let (orders, failures) = (&mut state.pending_orders, &mut state.failures);
    for (id, _) in orders.extract_if(.., |id, pending| is_old(id, pending.created, ORDER_LIFE)) {
        batch = record::remove::<PendingOrder>(batch, &id);
    }
    for (id, _) in failures.extract_if(.., |id, failures| is_old(id, last_failure(failures), GRACE))
    {
        batch = record::remove::<Vec<FailureState>>(batch, &id);
    }

    batch
}

/// Returns the time of the last failure, in seconds since 1970; 0 if there is none.
fn last_failure(failures: &[FailureState]) -> i64 {
    let times = failures.iter().map(|failure_state| failure_state.last);
    times.max().unwrap_or(0)
}

/// Describes a failed attempt with its advice and the time of the next attempt.
fn describe(issuer: &Issuer, failure_state: &FailureState) -> String {
    let mut message = format!("{}: {}", issuer.name, failure_state.problem);
    if !failure_state.advice.is_empty() {
        message.push_str(&format!("; {}", failure_state.advice));
    }
    if let Some(next) = failure_state.not_before {
        message.push_str(&format!(
            "; next attempt at {}",
            super::report::rfc3339(next)
        ));
    }

    message
}
