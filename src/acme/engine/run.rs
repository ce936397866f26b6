//! The engine's loop: plan, start the attempts that are due, wait for the next event.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use super::Engine;
use crate::{
    acme::{
        issuer::Issuer,
        order::{Attempt, local},
        plan::{Class, Decision, Failure, FailureState, Step, plan},
        spec::CertificateSpec,
        state::{Context, NoticeReason},
    },
    util::time::UnixSeconds,
};

/// The number of attempts at once for one account.
const ATTEMPTS_AT_ONCE: usize = 4;

/// A task of the engine that panicked.
#[derive(Debug, thiserror::Error)]
#[error("a task of the certificate engine failed: {0}")]
pub struct LoopError(JoinError);

/// The result of a task that runs beside the loop.
#[derive(Debug)]
pub(super) enum Done {
    /// The attempt for a spec, by its ID.
    Attempt(Arc<str>),
    /// The request of an account for the renewal window of a spec, and the time until the next.
    Suggestion(String, Arc<str>, Duration),
    /// A task whose result changes nothing in the loop.
    Other,
}

/// The loop, with its state between two turns.
pub(super) struct Loop {
    pub(super) engine: Arc<Engine>,
    /// The tasks beside the loop.
    pub(super) running: JoinSet<Done>,
    /// The specs that an attempt is running for, with its account, by ID: never two at once, even
    /// with several issuers.
    attempting: HashMap<Arc<str>, (String, Arc<CertificateSpec>)>,
    /// Accounts with a request for renewal information under way.
    pub(super) asking: HashSet<String>,
    /// The time of the next allowed attempt by account, or by spec for certificates that are
    /// issued on this device.
    free: HashMap<String, Instant>,
    /// Specs whose owner has been notified that they are blocked, and the reason given.
    pub(super) blocked: BTreeMap<Arc<str>, String>,
    /// The time of the next request for renewal information, by spec.
    pub(super) next_suggestions: HashMap<Arc<str>, Instant>,
    /// The time of the next request for each unconfirmed revocation.
    pub(super) next_revocations: HashMap<String, Instant>,
    /// The time of the next removal of orphaned DNS records.
    pub(super) next_removal: Option<Instant>,
    /// The time of the last request for a CA's time.
    pub(super) time_asked: Option<Instant>,
    /// True once the owners have been notified that the clock is suspect.
    pub(super) clock_notified: bool,
}

impl Engine {
    /// Runs the loop until the process ends.
    ///
    /// # Errors
    /// [`LoopError`] if a task ended with a panic.
    pub async fn run(self: Arc<Self>) -> Result<(), LoopError> {
        Loop::new(self).run().await
    }
}

impl Loop {
    fn new(engine: Arc<Engine>) -> Self {
        Self {
            engine,
            running: JoinSet::new(),
            attempting: HashMap::new(),
            asking: HashSet::new(),
            free: HashMap::new(),
            blocked: BTreeMap::new(),
            next_suggestions: HashMap::new(),
            next_revocations: HashMap::new(),
            next_removal: None,
            time_asked: None,
            clock_notified: false,
        }
    }

    async fn run(mut self) -> Result<(), LoopError> {
        let engine = self.engine.clone();
        let context = &engine.context;
        loop {
            let now = context.time.now();
            let specs = context.assignment.specs();
            let plan = plan(now, &specs, &context.ledger.state());
            let mut next = Instant::now() + self.until(plan.wake, now);

            if context.assignment.leads() {
                self.drop_unused(&plan, now).await;
                for decision in &plan.decisions {
                    next = next.min(self.step(decision, next).await);
                }
                next = next.min(self.suggestions(&specs));
                next = next.min(self.check_clock(&specs));
                self.start_record_removal(&specs);
                self.revocations(&specs);
            } else if !self.running.is_empty() {
                // This replica lost the leadership: abort its tasks. The new leader resumes from
                // the state at the CA.
                self = Self::new(engine.clone());
                specs
                    .iter()
                    .for_each(|spec| context.progress.clear(&spec.id));
            }

            engine.decided(plan);

            tokio::select! {
                Some(done) = self.running.join_next(), if !self.running.is_empty() => {
                    match done {
                        Ok(done) => self.done(done),
                        Err(error) => return Err(LoopError(error)),
                    }
                }
                () = context.assignment.changed() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// Returns the longest time to sleep. Clocks can jump, so the loop reads them regularly.
    fn until(&self, wake: Option<UnixSeconds>, now: Option<UnixSeconds>) -> Duration {
        let wait = wake
            .zip(now)
            .map(|(wake, now)| wake.saturating_since(now).max(Duration::from_secs(1)));
        wait.unwrap_or(Duration::MAX)
            .min(self.context().timing.tick)
    }

    pub(super) fn context(&self) -> &Context {
        &self.engine.context
    }

    /// Carries out a decision, or returns when it can be carried out.
    async fn step(&mut self, decision: &Decision, next: Instant) -> Instant {
        let spec = &decision.spec;
        if self.attempting.contains_key(&spec.id) {
            return next;
        }

        if !matches!(decision.step, Step::Obtain { .. }) {
            self.context().progress.clear(&spec.id);
        }
        if !matches!(decision.step, Step::Blocked { .. }) {
            self.blocked.remove(&spec.id);
        }

        match &decision.step {
            Step::Wait { .. } => {}
            Step::Blocked { why } => {
                if self.blocked.get(&spec.id) != Some(why) {
                    self.blocked.insert(spec.id.clone(), why.clone());
                    let progress = &self.context().progress;
                    progress.notify(&spec.id, NoticeReason::Blocked, why.clone());
                }
            }
            Step::ClockUnknown => return self.ask_unknown_time(spec),
            Step::Obtain { issuer, .. } if issuer.acme().is_none() => {
                if let Some(free) = self.not_before(&spec.id) {
                    return free;
                }
                if let Err(failure) = local::issue(self.context(), spec, issuer).await {
                    let again = Instant::now() + self.context().timing.tick;
                    self.free.insert(spec.id.to_string(), again);
                    attempt_failed(self.context(), spec, issuer, &failure).await;
                }
                // The plan has changed: make a new one at once.
                return Instant::now();
            }
            Step::Obtain { issuer, .. } => {
                let account = issuer.account_id().unwrap_or_default();
                let running = self.attempting.values();
                let beside = running.filter(|(other, _)| *other == account);
                let beside: Vec<_> = beside.map(|(_, spec)| spec).collect();
                if !has_room(self.context(), spec, &account, &beside) {
                    self.context().progress.wait(&spec.id);
                    return next;
                }
                if let Some(free) = self.not_before(&account) {
                    return free;
                }
                self.start(spec.clone(), issuer.clone(), account);
            }
        }

        next
    }

    /// Returns the time of the next allowed attempt, if that is later than now.
    fn not_before(&self, key: &str) -> Option<Instant> {
        let free = self.free.get(key).copied();
        free.filter(|free| *free > Instant::now())
    }

    /// Starts an attempt as a task beside the loop.
    fn start(&mut self, spec: Arc<CertificateSpec>, issuer: Arc<Issuer>, account: String) {
        let free = Instant::now() + self.context().timing.gap;
        self.free.insert(account.clone(), free);
        self.attempting
            .insert(spec.id.clone(), (account, spec.clone()));

        let engine = self.engine.clone();
        self.running.spawn(async move {
            let context = &engine.context;
            if let Err(failure) = attempt(context, &spec, &issuer).await {
                attempt_failed(context, &spec, &issuer, &failure).await;
            }
            context.progress.clear(&spec.id);
            Done::Attempt(spec.id.clone())
        });
    }

    /// Takes in the result of a task.
    fn done(&mut self, done: Done) {
        match done {
            Done::Attempt(id) => {
                self.attempting.remove(&id);
                // A new certificate has its own renewal window.
                self.next_suggestions.remove(&id);
            }
            Done::Suggestion(account, id, ask_again) => {
                self.asking.remove(&account);
                self.next_suggestions.insert(id, Instant::now() + ask_again);
            }
            Done::Other => {}
        }
    }
}

/// Returns true if an attempt may start beside those for other specs of the account. A host that
/// waits does not hold up the others, but two attempts never validate the same name, so that its
/// failures are counted before the next attempt.
pub(super) fn has_room(
    context: &Context,
    spec: &CertificateSpec,
    account: &str,
    beside: &[&Arc<CertificateSpec>],
) -> bool {
    let most = if context.accounts.is_registered(account) {
        ATTEMPTS_AT_ONCE
    } else {
        1
    };
    beside.len() < most && !beside.iter().any(|other| other.shares_name(spec))
}

/// Makes one attempt to obtain a certificate from a CA.
async fn attempt(
    context: &Context,
    spec: &CertificateSpec,
    issuer: &Issuer,
) -> Result<(), Failure> {
    context.progress.set(&spec.id, "starting");
    let attempt = Attempt::new(context, spec, issuer)?;
    Box::pin(attempt.run()).await
}

/// Records a failed attempt, and notifies the spec's owner unless the next attempt follows at once
/// or the plan reports that it is blocked.
async fn attempt_failed(
    context: &Context,
    spec: &CertificateSpec,
    issuer: &Issuer,
    failure: &Failure,
) {
    context.time.witness(failure.date);
    if failure.class == Class::Changed {
        return context.ledger.abandon_order(&spec.id).await;
    }

    let failure_state = context.ledger.failed(spec, issuer, failure).await;
    if !failure.has_alternative && !failure_state.is_blocked() {
        let message = describe(issuer, &failure_state);
        context
            .progress
            .notify(&spec.id, NoticeReason::Failed, message);
    }
}

/// Describes a failed attempt with its advice and the time of the next attempt.
fn describe(issuer: &Issuer, failure_state: &FailureState) -> String {
    let mut message = format!("{}: {}", issuer.name, failure_state.describe());
    if let Some(next) = failure_state.not_before {
        message.push_str(&format!("; next attempt at {next}"));
    }

    message
}
