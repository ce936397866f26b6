//! What can be asked of the engine: for every certificate what is held, what is going on, what went
//! wrong last in the CA's words, when the next attempt is and why then, and what is left of the
//! budget.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::{
    budget::Budget,
    engine::Engine,
    failure::{Class, FailureState},
    plan::{Plan, Step},
    spec::CertificateSpec,
};
use crate::util::{clock::Trust, time::UnixSeconds};

/// One certificate.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// Id of the wish.
    pub name: String,
    /// What it is for.
    pub hosts: Vec<String>,
    /// `valid`, `expired`, `obtaining`, `waiting`, `blocked`, or `clock`.
    pub state: String,
    /// Issuer of what is held, else the first that will be asked.
    pub issuer: String,
    /// Begin of validity of what is held, RFC 3339; empty where nothing is.
    pub not_before: String,
    /// End of it.
    pub not_after: String,
    /// What is going on at this moment.
    pub doing: Option<String>,
    /// When the next attempt is, RFC 3339.
    pub next: Option<String>,
    /// Why then, or what has to happen first.
    pub why: String,
    /// What went wrong last.
    pub problem: Option<ProblemReport>,
    /// What the CA suggests.
    pub suggestion: Option<SuggestionReport>,
    /// What is left of the budget.
    pub budget: Option<BudgetReport>,
    /// URL of the order on its way.
    pub order: Option<String>,
}

/// The last failure.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ProblemReport {
    /// With which issuer.
    pub issuer: String,
    /// Its kind.
    pub class: Class,
    /// In the CA's words.
    pub message: String,
    /// What can be done.
    pub advice: String,
    /// Failures of this kind in a row.
    pub attempts: u32,
    /// When, RFC 3339.
    pub at: String,
}

/// The CA's renewal window (RFC 9773).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SuggestionReport {
    /// Begin, RFC 3339.
    pub start: String,
    /// End.
    pub end: String,
    /// The moment in it that was drawn.
    pub chosen: String,
    /// Where the CA explains it.
    pub explanation: Option<String>,
}

/// What is left before the engine itself refuses.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BudgetReport {
    /// Failed validations within this hour, of the name that has the fewest left.
    pub failures_left: usize,
    /// Certificates for exactly these names within this week.
    pub certificates_left: usize,
}

impl Engine {
    /// Remembers the plan for [`Engine::report`].
    pub(super) fn decided(&self, plan: Plan) {
        *self.plan() = plan;
        self.turns.fetch_add(1, Ordering::AcqRel);
    }

    /// How often the loop has looked at everything: while this grows, it lives.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Acquire)
    }

    /// Everything that is wanted.
    pub fn report(&self) -> Vec<Report> {
        let now = self.now();
        let plan = self.plan();
        let mut reports: Vec<Report> = plan
            .decisions
            .iter()
            .map(|decision| self.one(&decision.want, &decision.step, now))
            .collect();
        reports.sort_by(|a, b| a.name.cmp(&b.name));
        reports
    }

    /// How far the clock is trusted, in words.
    pub fn clock_state(&self) -> &'static str {
        let reading = self.reading();
        match self.clock().trust(reading) {
            Trust::Unknown => "unknown: it is before a moment that has passed",
            Trust::Suspect => "suspect: it jumped, or is far ahead of all that is known",
            Trust::Trusted => "trusted",
        }
    }

    fn one(&self, want: &CertificateSpec, step: &Step, now: Option<i64>) -> Report {
        let state = self.state();
        let held = state.held.get(&*want.id);
        let first = &want.issuers[0];
        let trouble = state
            .troubles
            .get(&*want.id)
            .and_then(|all| all.iter().max_by_key(|trouble| trouble.last));
        let names: Vec<String> = want.names.iter().map(ToString::to_string).collect();
        let budget = first
            .account_id()
            .and_then(|account| state.budgets.get(&account));
        let (next, why) = match step {
            Step::Wait { until, why } => (Some(rfc3339(*until)), why.clone()),
            Step::Blocked { why } => (None, why.clone()),
            Step::ClockUnknown => (None, "the time is not known".to_owned()),
            Step::Obtain { .. } if !self.leads() => {
                (None, "the replica that leads gets it".to_owned())
            }
            Step::Obtain { .. } => (now.map(rfc3339), String::new()),
        };
        let expired = held
            .zip(now)
            .is_some_and(|(held, now)| held.not_after <= now);
        Report {
            name: want.id.to_string(),
            state: match (step, held) {
                (Step::Obtain { .. }, _) => "obtaining",
                (Step::Blocked { .. }, _) => "blocked",
                (Step::ClockUnknown, _) => "clock",
                (Step::Wait { .. }, Some(_)) if expired => "expired",
                (Step::Wait { .. }, Some(_)) => "valid",
                (Step::Wait { .. }, None) => "waiting",
            }
            .to_owned(),
            issuer: held.map_or_else(|| first.name.to_string(), |held| held.issuer.clone()),
            not_before: held
                .map(|held| rfc3339(held.not_before))
                .unwrap_or_default(),
            not_after: held.map(|held| rfc3339(held.not_after)).unwrap_or_default(),
            doing: self.doing_now(&want.id),
            next,
            why,
            problem: trouble.map(problem),
            suggestion: state
                .suggestions
                .get(&*want.id)
                .map(|one| SuggestionReport {
                    start: rfc3339(one.start),
                    end: rfc3339(one.end),
                    chosen: rfc3339(one.chosen),
                    explanation: one.explanation.clone(),
                }),
            budget: now
                .filter(|_| first.acme().is_some())
                .map(|now| left(budget, &names, now)),
            order: state.jobs.get(&*want.id).and_then(|job| job.order.clone()),
            hosts: names,
        }
    }
}

/// RFC 3339 of seconds since 1970.
pub(super) fn rfc3339(seconds: i64) -> String {
    UnixSeconds(seconds).to_string()
}

fn problem(trouble: &FailureState) -> ProblemReport {
    ProblemReport {
        issuer: trouble.issuer.clone(),
        class: trouble.class,
        message: trouble.problem.clone(),
        advice: trouble.advice.clone(),
        attempts: trouble.attempts,
        at: rfc3339(trouble.last),
    }
}

fn left(budget: Option<&Budget>, names: &[String], now: i64) -> BudgetReport {
    let fresh = Budget::default();
    let budget = budget.unwrap_or(&fresh);
    BudgetReport {
        failures_left: names
            .iter()
            .map(|name| budget.failures_left(name, now))
            .min()
            .unwrap_or(0),
        certificates_left: budget.certificates_left(names, now),
    }
}
