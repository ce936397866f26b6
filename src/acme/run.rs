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
    engine::Engine,
    failure::{Class, Failure, Trouble},
    issuer::Issuer,
    notice::NoticeReason,
    order::Attempt,
    plan::{Decision, Plan, Step, plan},
    record::{self, Held, Job},
    renewal::Suggestion,
    want::{Want, fnv},
};
use crate::{store::Batch, util::stamp};

/// What runs beside the loop.
#[derive(Debug)]
enum Done {
    Attempt { want: Arc<Want>, issuer: Arc<Issuer>, result: Result<(), Failure> },
    Suggestion { want: Arc<Want>, ask_again: Duration },
    Witness,
}

/// What the loop remembers between its turns.
#[derive(Default)]
struct Turn {
    running: JoinSet<(String, Done)>,
    /// Accounts that something runs for.
    busy: HashSet<String>,
    /// When the next order may be made for an account.
    free: HashMap<String, Instant>,
    /// When renewal information is asked for next, by wish.
    suggestions: HashMap<Arc<str>, Instant>,
    /// Wishes that their owner was told of that they are blocked, and why.
    blocked: BTreeMap<Arc<str>, String>,
    witness: Option<Instant>,
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
            self.tidy(&plan, now).await;
            let mut next = Instant::now() + self.until(plan.wake, now);
            for decision in &plan.decisions {
                next = next.min(self.clone().step(decision, &mut turn, next).await);
            }
            next = next.min(self.clone().suggestions(&wants, &mut turn));
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
        let wait = wake.zip(now).map(|(wake, now)| u64::try_from(wake - now).unwrap_or(0).max(1));
        wait.map_or(self.pace().tick, |wait| Duration::from_secs(wait).min(self.pace().tick))
    }

    /// Does what a decision says, or says when it can be done.
    async fn step(self: Arc<Self>, decision: &Decision, turn: &mut Turn, next: Instant) -> Instant {
        let want = &decision.want;
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
            Step::Timeless => return self.ask_the_time(want, turn),
            Step::Obtain { issuer, .. } if issuer.acme().is_none() => {
                if let Err(failure) = self.issue_here(want, issuer).await {
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
                if let Some(free) = turn.free.get(&account).filter(|free| **free > Instant::now()) {
                    return *free;
                }
                self.start(want.clone(), issuer.clone(), account, turn);
            }
        }
        next
    }

    fn start(self: Arc<Self>, want: Arc<Want>, issuer: Arc<Issuer>, account: String, turn: &mut Turn) -> AbortHandle {
        turn.busy.insert(account.clone());
        turn.running.spawn(async move {
            let result = self.attempt(&want, &issuer).await;
            (account, Done::Attempt { want, issuer, result })
        })
    }

    async fn attempt(&self, want: &Want, issuer: &Issuer) -> Result<(), Failure> {
        let Some(acme) = issuer.acme() else { return self.issue_here(want, issuer).await };
        self.doing(&want.id, "beginning");
        let ca = self.ca(issuer, acme)?;
        let print = want.print(issuer);
        let failed = self.state().troubles.get(&*want.id).and_then(|troubles| {
            troubles.iter().find(|trouble| trouble.print == print).map(|trouble| trouble.failed_challenges.clone())
        });
        let attempt = Attempt { engine: self, want, issuer, acme, ca: &ca, failed: failed.unwrap_or_default() };
        Box::pin(attempt.run()).await
    }

    async fn done(&self, account: &str, done: Done, turn: &mut Turn) {
        turn.busy.remove(account);
        match done {
            Done::Attempt { want, issuer, result } => {
                self.idle(&want.id);
                turn.free.insert(account.to_owned(), Instant::now() + self.pace().gap);
                // A new certificate has a window of its own.
                turn.suggestions.remove(&want.id);
                if let Err(failure) = result {
                    self.attempt_failed(&want, &issuer, &failure).await;
                }
            }
            Done::Suggestion { want, ask_again } => {
                turn.suggestions.insert(want.id.clone(), Instant::now() + ask_again);
            }
            Done::Witness => {}
        }
    }

    /// Notes a failed attempt, and what has to be forgotten with it.
    async fn attempt_failed(&self, want: &Want, issuer: &Issuer, failure: &Failure) {
        let now = self.clock().guess(self.reading());
        let print = want.print(issuer);
        let account = issuer.account_id().unwrap_or_default();
        if failure.class == Class::Changed {
            let gone = self.commit(record::remove::<Job>(Batch::new(), &want.id)).await;
            self.state().jobs.remove(&*want.id);
            return drop(gone);
        }
        let (troubles, trouble, budget) = {
            let mut state = self.state();
            let troubles = state.troubles.entry(want.id.to_string()).or_default();
            let at = troubles.iter().position(|trouble| *trouble.issuer == *issuer.name);
            let before = at.map(|at| troubles.swap_remove(at));
            let random = u64::from_le_bytes(stamp::random());
            let trouble = Trouble::after(before.as_ref(), failure, &issuer.name, print, now, random);
            troubles.push(trouble.clone());
            let troubles = troubles.clone();
            state.forced.remove(&*want.id);
            (troubles, trouble, state.budgets.get(&account).cloned())
        };
        let mut batch = record::put(Batch::new(), &want.id, &troubles);
        if let Some(budget) = budget {
            batch = record::put(batch, &account, &budget);
        }
        let dead = !matches!(failure.class, Class::Transport | Class::Limited | Class::Store | Class::Account);
        if dead {
            batch = record::remove::<Job>(batch, &want.id);
            self.state().jobs.remove(&*want.id);
        }
        // On a disk that takes nothing it is remembered for as long as the process lives.
        if let Err(failure) = self.commit(batch).await {
            tracing::warn!(want = &*want.id, problem = failure.problem, "a failure was not stored");
        }
        if failure.another_way || trouble.is_blocked() {
            return;
        }
        let mut message = format!("{}: {}", issuer.name, trouble.problem);
        if let Some(next) = trouble.not_before {
            message.push_str(&format!("; next attempt at {}", super::report::moment(next)));
        }
        self.tell(&want.id, NoticeReason::Failed, message);
    }

    /// Asks a CA what time it is. Costs it nothing, and is verified with the latest moment that has certainly passed.
    fn ask_the_time(self: Arc<Self>, want: &Arc<Want>, turn: &mut Turn) -> Instant {
        /// Between two questions.
        const AGAIN: Duration = Duration::from_secs(60);
        if !turn.told_suspect {
            turn.told_suspect = true;
            let message = "the clock of this device cannot be trusted: nothing is ordered until it is set, or a CA \
                           confirms the time";
            self.tell(&want.id, NoticeReason::ClockSuspect, message.to_owned());
        }
        let again = AGAIN.min(self.pace().tick);
        if let Some(asked) = turn.witness.filter(|asked| asked.elapsed() < again) {
            return asked + again;
        }
        turn.witness = Some(Instant::now());
        let asked = want.issuers.iter().find(|issuer| issuer.acme().is_some()).cloned();
        if let Some(issuer) = asked {
            turn.running.spawn(async move {
                if let Some(Ok(ca)) = issuer.acme().map(|acme| self.ca(&issuer, acme)) {
                    match ca.client.time().await {
                        Ok(date) => self.witness(date),
                        Err(error) => tracing::debug!(issuer = &*issuer.name, %error, "asked for the time in vain"),
                    }
                }
                (String::new(), Done::Witness)
            });
        }
        Instant::now() + again
    }

    /// Asks CAs when they suggest to renew (RFC 9773), one question at a time for each account. Returns when the next one
    /// is due.
    fn suggestions(self: Arc<Self>, wants: &[Arc<Want>], turn: &mut Turn) -> Instant {
        let mut next = Instant::now() + self.pace().tick;
        if self.now().is_none() {
            return next;
        }
        for want in wants {
            let Some(held) = self.held(&want.id).filter(|held| !held.ari.is_empty()) else { continue };
            let issuer =
                want.issuers.iter().find(|issuer| issuer.acme().is_some_and(|acme| acme.directory == held.directory));
            let Some(issuer) = issuer.cloned() else { continue };
            let first = Duration::from_secs(fnv(want.id.as_bytes()) % self.pace().renewal_info.as_secs().max(6) / 6);
            let due = *turn.suggestions.entry(want.id.clone()).or_insert_with(|| Instant::now() + first);
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
    async fn ask_for_suggestion(&self, want: &Arc<Want>, issuer: &Issuer, held: &Held) -> Duration {
        let usual = self.pace().renewal_info;
        let Some(Ok(ca)) = issuer.acme().map(|acme| self.ca(issuer, acme)) else { return usual };
        let info = match ca.client.renewal_info(&held.ari).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(want = &*want.id, %error, "no renewal information");
                return usual;
            }
        };
        self.witness(info.date);
        let before = self.state().suggestions.get(&*want.id).cloned();
        let random = u64::from_le_bytes(stamp::random());
        let (start, end) = (info.value.start, info.value.end);
        let now = Suggestion::take(before.as_ref(), start, end, info.value.explanation_url, random);
        if let Some(now) = now.filter(|now| before.as_ref() != Some(now)) {
            // Lazily: what is lost here is asked for again.
            let stored = self.commit(record::put(Batch::new(), &want.id, &now)).await;
            if let Err(failure) = stored {
                tracing::debug!(want = &*want.id, problem = failure.problem, "the suggestion was not stored");
            }
            if before.is_some_and(|before| now.chosen < before.chosen) {
                let page = now.explanation.as_deref().map(|page| format!(" ({page})")).unwrap_or_default();
                let message = format!("the CA wants it renewed at {} already{page}", super::report::moment(now.chosen));
                self.tell(&want.id, NoticeReason::RenewalMoved, message);
            }
            self.state().suggestions.insert(want.id.to_string(), now);
        }
        info.retry_after.map_or(usual, |asked| asked.clamp(usual / 6, usual * 2))
    }

    /// Notes what nobody wants, and drops what nobody has wanted for long.
    async fn tidy(&self, plan: &Plan, now: Option<i64>) {
        if plan.unwanted.is_empty() && plan.drop.is_empty() {
            return;
        }
        let Some(now) = now else { return };
        let mut batch = Batch::new();
        for (id, is_unwanted) in &plan.unwanted {
            let mut state = self.state();
            if let Some(held) = state.held.get_mut(id) {
                held.unwanted = is_unwanted.then_some(now);
                batch = record::put(batch, id, held);
            }
        }
        for id in &plan.drop {
            batch = record::remove::<Held>(batch, id);
            batch = record::remove::<Job>(batch, id);
            batch = record::remove::<Vec<Trouble>>(batch, id);
            batch = record::remove::<Suggestion>(batch, id);
            let mut state = self.state();
            state.held.remove(id);
            state.jobs.remove(id);
            state.troubles.remove(id);
            state.suggestions.remove(id);
            tracing::info!(want = id, "a certificate that nobody wants any more is dropped");
        }
        if let Err(failure) = self.commit(batch).await {
            tracing::warn!(problem = failure.problem, "what nobody wants was not noted");
        }
        self.publish();
    }
}
