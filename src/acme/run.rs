//! The loop: plan, let what is due run, wait for what comes next.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};

use super::{
    dns::TxtRecord,
    engine::Engine,
    failure::{Class, Failure, FailureState},
    issuer::Issuer,
    notice::NoticeReason,
    order::{Attempt, ORDER_LIFE},
    plan::{Decision, GRACE, Plan, Step, plan},
    record::{self, OrphanedDnsRecords, PendingOrder, StoredCertificate},
    renewal::Suggestion,
    spec::CertificateSpec,
};
use crate::{
    store::Batch,
    util::{clock::Trust, hash::fnv1a, stamp},
};

/// Between two questions for the time while it is not known, and while it is in doubt.
const QUESTION: Duration = Duration::from_secs(60);
const DOUBT: Duration = Duration::from_secs(900);
/// Between two tries to remove what was left in DNS, at least.
const SWEEP: Duration = Duration::from_secs(1);

/// What runs beside the loop.
#[derive(Debug)]
enum Done {
    Attempt {
        want: Arc<CertificateSpec>,
        issuer: Arc<Issuer>,
        result: Result<(), Failure>,
    },
    Suggestion {
        want: Arc<CertificateSpec>,
        ask_again: Duration,
    },
    Swept,
    Revocation,
    Witness,
}

/// What the loop remembers between its turns.
#[derive(Default)]
struct Turn {
    running: JoinSet<(String, Done)>,
    /// Accounts that something runs for.
    busy: HashSet<String>,
    /// Wishes that an attempt runs for: never two at once, whatever issuers there are.
    attempting: HashSet<Arc<str>>,
    /// When the next order may be made for an account, or the next try for a wish that is met here.
    free: HashMap<String, Instant>,
    /// When renewal information is asked for next, by wish.
    suggestions: HashMap<Arc<str>, Instant>,
    /// Wishes that their owner was told of that they are blocked, and why.
    blocked: BTreeMap<Arc<str>, String>,
    witness: Option<Instant>,
    /// When records that were left in DNS are removed next.
    sweep: Option<Instant>,
    /// When a revocation that was not answered is asked for next.
    revocations: HashMap<String, Instant>,
    told_suspect: bool,
}

impl Engine {
    /// Runs for as long as the process does.
    pub async fn run(self: Arc<Self>) -> Result<(), String> {
        let mut turn = Turn::default();
        loop {
            let now = self.now();
            let wants = self.wants();
            let plan = plan(now, &wants, &self.state());
            let mut next = Instant::now() + self.until(plan.wake, now);
            if self.leads() {
                self.tidy(&plan, now).await;
                for decision in &plan.decisions {
                    next = next.min(self.clone().step(decision, &mut turn, next).await);
                }
                next = next.min(self.clone().suggestions(&wants, &mut turn));
                next = next.min(self.clone().doubts(&wants, &mut turn));
                self.clone().sweep(&wants, &mut turn);
                self.clone().revocations(&wants, &mut turn);
            } else if !turn.running.is_empty() {
                // Whoever leads now goes on from what the CA has.
                turn = Turn::default();
                wants.iter().for_each(|want| self.idle(&want.id));
            }
            self.decided(plan);
            tokio::select! {
                Some(done) = turn.running.join_next(), if !turn.running.is_empty() => {
                    match done {
                        Ok((account, done)) => self.done(&account, done, &mut turn).await,
                        Err(error) => return Err(format!("an attempt broke off: {error}")),
                    }
                }
                () = self.kick.notified() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// How long to sleep at most: clocks jump, so the loop looks at them now and then.
    fn until(&self, wake: Option<i64>, now: Option<i64>) -> Duration {
        let wait = wake
            .zip(now)
            .map(|(wake, now)| u64::try_from(wake - now).unwrap_or(0).max(1));
        wait.map_or(Duration::MAX, Duration::from_secs)
            .min(self.pace().tick)
    }

    /// Does what a decision says, or says when it can be done.
    async fn step(self: Arc<Self>, decision: &Decision, turn: &mut Turn, next: Instant) -> Instant {
        let want = &decision.want;
        if turn.attempting.contains(&want.id) {
            return next;
        }
        if !matches!(decision.step, Step::Obtain { .. }) {
            self.idle(&want.id);
        }
        if !matches!(decision.step, Step::Blocked { .. }) {
            turn.blocked.remove(&want.id);
        }
        match &decision.step {
            Step::Wait { .. } => {}
            Step::Blocked { why } => {
                if turn.blocked.get(&want.id) != Some(why) {
                    turn.blocked.insert(want.id.clone(), why.clone());
                    self.tell(&want.id, NoticeReason::Blocked, why.clone());
                }
            }
            Step::ClockUnknown => {
                self.tell_of_the_clock(&want.id, turn);
                return self.ask_the_time(want, QUESTION, turn);
            }
            Step::Obtain { issuer, .. } if issuer.acme().is_none() => {
                if let Some(free) = turn
                    .free
                    .get(&*want.id)
                    .filter(|free| **free > Instant::now())
                {
                    return *free;
                }
                if let Err(failure) = self.issue_here(want, issuer).await {
                    turn.free
                        .insert(want.id.to_string(), Instant::now() + self.pace().tick);
                    self.attempt_failed(want, issuer, &failure).await;
                }
                // The plan is another one now.
                return Instant::now();
            }
            Step::Obtain { issuer, .. } => {
                let account = issuer.account_id().unwrap_or_default();
                if turn.busy.contains(&account) {
                    if self.doing_now(&want.id).is_none() {
                        self.doing(&want.id, "waiting for its turn");
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
                self.start(want.clone(), issuer.clone(), account, turn);
            }
        }
        next
    }

    fn start(
        self: Arc<Self>,
        want: Arc<CertificateSpec>,
        issuer: Arc<Issuer>,
        account: String,
        turn: &mut Turn,
    ) -> AbortHandle {
        turn.busy.insert(account.clone());
        turn.attempting.insert(want.id.clone());
        turn.running.spawn(async move {
            let result = self.attempt(&want, &issuer).await;
            (
                account,
                Done::Attempt {
                    want,
                    issuer,
                    result,
                },
            )
        })
    }

    async fn attempt(&self, want: &CertificateSpec, issuer: &Issuer) -> Result<(), Failure> {
        let Some(acme) = issuer.acme() else {
            return self.issue_here(want, issuer).await;
        };
        self.doing(&want.id, "beginning");
        let ca = self.ca(issuer, acme)?;
        let print = want.attempt_fingerprint(issuer);
        let failed = self.state().troubles.get(&*want.id).and_then(|troubles| {
            troubles
                .iter()
                .find(|trouble| trouble.print == print)
                .map(|trouble| trouble.failed_challenges.clone())
        });
        let attempt = Attempt {
            engine: self,
            want,
            issuer,
            acme,
            ca: &ca,
            failed: failed.unwrap_or_default(),
        };
        Box::pin(attempt.run()).await
    }

    async fn done(&self, account: &str, done: Done, turn: &mut Turn) {
        turn.busy.remove(account);
        match done {
            Done::Attempt {
                want,
                issuer,
                result,
            } => {
                self.idle(&want.id);
                turn.attempting.remove(&want.id);
                turn.free
                    .insert(account.to_owned(), Instant::now() + self.pace().gap);
                // A new certificate has a window of its own.
                turn.suggestions.remove(&want.id);
                if let Err(failure) = result {
                    self.attempt_failed(&want, &issuer, &failure).await;
                }
            }
            Done::Suggestion { want, ask_again } => {
                turn.suggestions
                    .insert(want.id.clone(), Instant::now() + ask_again);
            }
            Done::Swept | Done::Revocation | Done::Witness => {}
        }
    }

    /// Notes a failed attempt, and what has to be forgotten with it.
    async fn attempt_failed(&self, want: &CertificateSpec, issuer: &Issuer, failure: &Failure) {
        let now = self.clock().guess(self.reading()).0;
        let print = want.attempt_fingerprint(issuer);
        let account = issuer.account_id().unwrap_or_default();
        if failure.class == Class::Changed {
            let batch = self.without_job(Batch::new(), &want.id);
            self.state().jobs.remove(&*want.id);
            if let Err(failure) = self.commit(batch).await {
                tracing::warn!(
                    want = &*want.id,
                    problem = failure.problem,
                    "the end of an order was not stored"
                );
            }
            return;
        }
        let (troubles, trouble, budget) = {
            let mut state = self.state();
            let troubles = state.troubles.entry(want.id.to_string()).or_default();
            let at = troubles
                .iter()
                .position(|trouble| *trouble.issuer == *issuer.name);
            let before = at.map(|at| troubles.swap_remove(at));
            let random = u64::from_le_bytes(stamp::random());
            let trouble =
                FailureState::after(before.as_ref(), failure, &issuer.name, print, now, random);
            troubles.push(trouble.clone());
            let troubles = troubles.clone();
            // What an operator asked for goes on until it is there, or until it needs the operator
            // again.
            if trouble.is_blocked() {
                state.forced.remove(&*want.id);
            }
            (troubles, trouble, state.budgets.get(&account).cloned())
        };
        let mut batch = record::put(Batch::new(), &want.id, &troubles);
        if let Some(budget) = budget {
            batch = record::put(batch, &account, &budget);
        }
        let dead = !matches!(
            failure.class,
            Class::Transport | Class::RateLimited | Class::Store | Class::Account
        );
        if dead {
            batch = self.without_job(batch, &want.id);
            self.state().jobs.remove(&*want.id);
        }
        // On a disk that takes nothing it is remembered for as long as the process lives.
        if let Err(failure) = self.commit(batch).await {
            tracing::warn!(
                want = &*want.id,
                problem = failure.problem,
                "a failure was not stored"
            );
        }
        if failure.another_way || trouble.is_blocked() {
            return;
        }
        let mut message = format!("{}: {}", issuer.name, trouble.problem);
        if !trouble.advice.is_empty() {
            message.push_str(&format!("; {}", trouble.advice));
        }
        if let Some(next) = trouble.not_before {
            message.push_str(&format!(
                "; next attempt at {}",
                super::report::rfc3339(next)
            ));
        }
        self.tell(&want.id, NoticeReason::Failed, message);
    }

    /// Tells somebody, once, that nothing is ordered for want of the time.
    fn tell_of_the_clock(&self, want: &Arc<str>, turn: &mut Turn) {
        if !turn.told_suspect {
            turn.told_suspect = true;
            let message = "the clock of this device cannot be trusted: nothing is ordered until it is set, or a CA \
                           confirms the time";
            self.tell(want, NoticeReason::ClockSuspect, message.to_owned());
        }
    }

    /// The wall clock contradicts what a CA said before, though time is known: one of the two stood
    /// still or was set, and only a CA can say which.
    fn doubts(self: Arc<Self>, wants: &[Arc<CertificateSpec>], turn: &mut Turn) -> Instant {
        let reading = self.reading();
        let is_open = self.now().is_some() && self.clock().trust(reading) != Trust::Trusted;
        let asked = wants
            .iter()
            .find(|want| want.issuers.iter().any(|issuer| issuer.acme().is_some()));
        match asked.filter(|_| is_open) {
            Some(want) => self.ask_the_time(want, DOUBT, turn),
            None => {
                if !is_open && self.now().is_some() {
                    turn.witness = None;
                }
                Instant::now() + self.pace().tick
            }
        }
    }

    /// Asks a CA what time it is, unless that was done a moment ago. Costs it nothing, and is
    /// verified with a moment that has certainly passed, or with the wall clock.
    fn ask_the_time(
        self: Arc<Self>,
        want: &Arc<CertificateSpec>,
        again: Duration,
        turn: &mut Turn,
    ) -> Instant {
        let again = again.min(self.pace().renewal_info);
        if let Some(asked) = turn.witness.filter(|asked| asked.elapsed() < again) {
            return asked + again;
        }
        turn.witness = Some(Instant::now());
        let asked = want
            .issuers
            .iter()
            .find(|issuer| issuer.acme().is_some())
            .cloned();
        if let Some(issuer) = asked {
            turn.running.spawn(async move {
                if let Some(Ok(ca)) = issuer.acme().map(|acme| self.ca(&issuer, acme)) {
                    match ca.client.time().await {
                        Ok(date) => self.witness(date),
                        Err(error) => {
                            self.other_clock();
                            tracing::debug!(issuer = &*issuer.name, %error, "asked for the time in vain");
                        }
                    }
                }
                (String::new(), Done::Witness)
            });
        }
        Instant::now() + again
    }

    /// Asks for revocations again whose answers are missing.
    fn revocations(self: Arc<Self>, wants: &[Arc<CertificateSpec>], turn: &mut Turn) {
        for (id, revocation, issuer) in self.unanswered(wants, &mut turn.revocations) {
            let engine = self.clone();
            turn.running.spawn(async move {
                engine.revoke_again(&id, &revocation, &issuer).await;
                (String::new(), Done::Revocation)
            });
        }
    }

    /// Removes what was left in DNS, with the providers that are known now.
    fn sweep(self: Arc<Self>, wants: &[Arc<CertificateSpec>], turn: &mut Turn) {
        let again = self.pace().renewal_info / 6;
        if self.state().litter.is_empty() || turn.sweep.is_some_and(|next| next > Instant::now()) {
            return;
        }
        turn.sweep = Some(Instant::now() + again + SWEEP);
        let issuers: BTreeMap<String, Arc<Issuer>> = wants
            .iter()
            .flat_map(|want| &want.issuers)
            .map(|issuer| (issuer.name.to_string(), issuer.clone()))
            .collect();
        turn.running.spawn(async move {
            self.remove_litter(&issuers).await;
            (String::new(), Done::Swept)
        });
    }

    async fn remove_litter(&self, issuers: &BTreeMap<String, Arc<Issuer>>) {
        let litter = self.state().litter.clone();
        for (want, OrphanedDnsRecords { records }) in litter {
            let mut gone = Vec::new();
            for (issuer, fqdn, value) in records {
                let provider = issuers
                    .get(&issuer)
                    .and_then(|issuer| issuer.acme()?.dns.as_ref());
                // A CA may hand out the same token again, so an order on its way may need the same
                // record.
                let needed = self
                    .state()
                    .jobs
                    .values()
                    .any(|job| job.dns.iter().any(|(_, used)| *used == value));
                let Some(provider) = provider.filter(|_| !needed) else {
                    continue;
                };
                match provider
                    .remove(&TxtRecord {
                        fqdn: fqdn.clone(),
                        value: value.clone(),
                    })
                    .await
                {
                    Ok(()) => gone.push((issuer, fqdn, value)),
                    Err(error) => {
                        tracing::warn!(record = fqdn, %error, "a record of a challenge was not removed");
                    }
                }
            }
            if gone.is_empty() {
                continue;
            }
            let batch = {
                let state = &mut *self.state();
                let Some(litter) = state.litter.get_mut(&want) else {
                    continue;
                };
                litter.records.retain(|record| !gone.contains(record));
                if litter.records.is_empty() {
                    state.litter.remove(&want);
                    record::remove::<OrphanedDnsRecords>(Batch::new(), &want)
                } else {
                    record::put(Batch::new(), &want, litter)
                }
            };
            if let Err(failure) = self.commit(batch).await {
                tracing::warn!(
                    want,
                    problem = failure.problem,
                    "what was removed from DNS was not noted"
                );
            }
        }
    }

    /// Asks CAs when they suggest to renew (RFC 9773), one question at a time for each account.
    /// Returns when the next one is due.
    fn suggestions(self: Arc<Self>, wants: &[Arc<CertificateSpec>], turn: &mut Turn) -> Instant {
        let mut next = Instant::now() + self.pace().tick;
        if turn.suggestions.len() > wants.len() {
            let wanted: HashSet<&str> = wants.iter().map(|want| &*want.id).collect();
            turn.suggestions.retain(|id, _| wanted.contains(&**id));
            turn.blocked.retain(|id, _| wanted.contains(&**id));
        }
        if self.now().is_none() {
            return next;
        }
        for want in wants {
            let Some(held) = self.held(&want.id).filter(|held| !held.ari.is_empty()) else {
                continue;
            };
            let issuer = want.issuers.iter().find(|issuer| {
                issuer
                    .acme()
                    .is_some_and(|acme| acme.directory == held.directory)
            });
            let Some(issuer) = issuer.cloned() else {
                continue;
            };
            let first = Duration::from_secs(
                fnv1a(want.id.as_bytes()) % self.pace().renewal_info.as_secs().max(6) / 6,
            );
            let due = *turn
                .suggestions
                .entry(want.id.clone())
                .or_insert_with(|| Instant::now() + first);
            let account = issuer.account_id().unwrap_or_default();
            if due > Instant::now() {
                next = next.min(due);
            } else if turn.busy.insert(account.clone()) {
                let (engine, want) = (self.clone(), want.clone());
                turn.running.spawn(async move {
                    let ask_again = engine.ask_for_suggestion(&want, &issuer, &held).await;
                    (account, Done::Suggestion { want, ask_again })
                });
            }
        }
        next
    }

    /// Asks for the suggestion for one certificate; returns when to ask again.
    async fn ask_for_suggestion(
        &self,
        want: &Arc<CertificateSpec>,
        issuer: &Issuer,
        held: &StoredCertificate,
    ) -> Duration {
        let usual = self.pace().renewal_info;
        let Some(Ok(ca)) = issuer.acme().map(|acme| self.ca(issuer, acme)) else {
            return usual;
        };
        let info = match ca.client.renewal_info(&held.ari).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(want = &*want.id, %error, "no renewal information");
                return usual;
            }
        };
        self.witness(info.date);
        // Another issuer may have taken over meanwhile.
        if self.held(&want.id).is_none_or(|now| now.ari != held.ari) {
            return usual;
        }
        let before = self.state().suggestions.get(&*want.id).cloned();
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
            // Lazily: what is lost here is asked for again.
            let stored = self.commit(record::put(Batch::new(), &want.id, &now)).await;
            if let Err(failure) = stored {
                tracing::debug!(
                    want = &*want.id,
                    problem = failure.problem,
                    "the suggestion was not stored"
                );
            }
            if before.is_some_and(|before| now.chosen < before.chosen) {
                let page = now
                    .explanation
                    .as_deref()
                    .map(|page| format!(" ({page})"))
                    .unwrap_or_default();
                let message = format!(
                    "the CA wants it renewed at {} already{page}",
                    super::report::rfc3339(now.chosen)
                );
                self.tell(&want.id, NoticeReason::RenewalMoved, message);
            }
            self.state().suggestions.insert(want.id.to_string(), now);
        }
        info.retry_after
            .map_or(usual, |asked| asked.clamp(usual / 6, usual * 2))
    }

    /// Notes what nobody wants, and drops what nobody has wanted for long.
    async fn tidy(&self, plan: &Plan, now: Option<i64>) {
        let Some(now) = now.filter(|_| self.has_heard()) else {
            return;
        };
        let wanted: HashSet<String> = plan
            .decisions
            .iter()
            .map(|decision| decision.want.id.to_string())
            .collect();
        let (batch, changed) = {
            let state = &mut *self.state();
            let mut batch = Batch::new();
            let mut changed = false;
            for (id, is_unwanted) in &plan.unwanted {
                if let Some(held) = state.held.get_mut(id) {
                    held.unwanted = is_unwanted.then_some(now);
                    (batch, changed) = (record::put(batch, id, held), true);
                }
            }
            for id in &plan.drop {
                batch = record::remove::<StoredCertificate>(batch, id);
                batch = record::remove::<Suggestion>(batch, id);
                state.held.remove(id);
                state.suggestions.remove(id);
                changed = true;
                tracing::info!(
                    want = id,
                    "a certificate that nobody wants any more is dropped"
                );
            }
            // Orders and failures of what nobody wants are kept for as long as they may be of use:
            // a wish may come back.
            for (id, job) in state
                .jobs
                .iter_mut()
                .filter(|(id, _)| !wanted.contains(*id))
            {
                if !job.dns.is_empty() {
                    let litter = state.litter.entry(id.clone()).or_default();
                    litter.add(job);
                    job.dns.clear();
                    batch = record::put(record::put(batch, id, litter), id, job);
                    changed = true;
                }
            }
            let old =
                |id: &String, at: i64, width: i64| !wanted.contains(id) && (now - at).abs() > width;
            let jobs: Vec<_> = state
                .jobs
                .iter()
                .filter(|(id, job)| old(id, job.created, ORDER_LIFE))
                .collect();
            let jobs: Vec<String> = jobs.into_iter().map(|(id, _)| id.clone()).collect();
            for id in jobs {
                batch = record::remove::<PendingOrder>(batch, &id);
                changed |= state.jobs.remove(&id).is_some();
            }
            let last = |troubles: &[FailureState]| {
                troubles
                    .iter()
                    .map(|trouble| trouble.last)
                    .max()
                    .unwrap_or(0)
            };
            let troubles: Vec<_> = state
                .troubles
                .iter()
                .filter(|(id, all)| old(id, last(all), GRACE))
                .collect();
            let troubles: Vec<String> = troubles.into_iter().map(|(id, _)| id.clone()).collect();
            for id in troubles {
                batch = record::remove::<Vec<FailureState>>(batch, &id);
                changed |= state.troubles.remove(&id).is_some();
            }
            (batch, changed)
        };
        if !changed {
            return;
        }
        if let Err(failure) = self.commit(batch).await {
            tracing::warn!(problem = failure.problem, "what nobody wants was not noted");
        }
        self.publish();
    }
}
