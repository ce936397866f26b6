//! The engine's report on every certificate: the stored certificate, the current progress, the last
//! problem in the CA's words, the next attempt and its reason, and the remaining budget.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::Engine;
use crate::{
    acme::{
        plan::{Budget, Class, FailureState, Plan, Step, StoredCertificate, Suggestion},
        spec::CertificateSpec,
    },
    util::{
        clock::Trust,
        sync::lock,
        time::{UnixSeconds, rfc3339},
    },
};

/// One certificate.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// ID of the spec.
    pub name: String,
    /// The names that it covers.
    pub hosts: Vec<String>,
    /// `valid`, `expired`, `revoked`, `obtaining`, `waiting`, `blocked`, or `clock`.
    pub state: String,
    /// Issuer of the stored certificate, otherwise the preferred one.
    pub issuer: String,
    /// Start of the stored certificate's validity.
    #[serde(with = "rfc3339::or_empty")]
    pub not_before: Option<UnixSeconds>,
    /// End of the stored certificate's validity.
    #[serde(with = "rfc3339::or_empty")]
    pub not_after: Option<UnixSeconds>,
    /// The current progress.
    pub doing: Option<String>,
    /// Time of the next attempt.
    #[serde(default, with = "rfc3339::optional")]
    pub next: Option<UnixSeconds>,
    /// The reason for that time, or what has to happen first.
    pub why: String,
    /// The last failure.
    pub problem: Option<ProblemReport>,
    /// The CA's renewal window.
    pub suggestion: Option<SuggestionReport>,
    /// The remaining budget.
    pub budget: Option<BudgetReport>,
    /// URL of the pending order.
    pub order: Option<String>,
}

/// The last failure.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ProblemReport {
    /// The issuer that failed.
    pub issuer: String,
    /// The kind of failure.
    pub class: Class,
    /// The problem, in the CA's words.
    pub message: String,
    /// Advice for the operator.
    pub advice: String,
    /// Consecutive failures of this kind.
    pub attempts: u32,
    /// Time of the failure.
    #[serde(with = "rfc3339")]
    pub at: UnixSeconds,
}

/// The CA's renewal window (RFC 9773).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SuggestionReport {
    /// Start of the window.
    #[serde(with = "rfc3339")]
    pub start: UnixSeconds,
    /// End of the window.
    #[serde(with = "rfc3339")]
    pub end: UnixSeconds,
    /// The time within the window that was drawn.
    #[serde(with = "rfc3339")]
    pub chosen: UnixSeconds,
    /// URL of the CA's explanation.
    pub explanation: Option<String>,
}

/// The attempts that are left before the engine itself refuses to order.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BudgetReport {
    /// Failed validations left within this hour, for the name with the fewest.
    pub failures_left: usize,
    /// Certificates left within this week for exactly these names; `None` if the CA publishes no
    /// such limit.
    pub certificates_left: Option<usize>,
}

impl Engine {
    /// Keeps the plan for [`Engine::report`], and counts the turn.
    pub(super) fn decided(&self, plan: Plan) {
        *lock(&self.plan) = plan;
        self.turns.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns the number of turns of the loop. It grows for as long as the loop is alive.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Acquire)
    }

    /// Returns the reports on all specs, sorted by name.
    pub fn report(&self) -> Vec<Report> {
        let now = self.context.time.now();
        let plan = lock(&self.plan);
        let decisions = plan.decisions.iter();
        let mut reports: Vec<Report> = decisions
            .map(|decision| self.one(&decision.spec, &decision.step, now))
            .collect();
        reports.sort_by(|a, b| a.name.cmp(&b.name));
        reports
    }

    /// Returns the time, if it is known.
    pub fn now(&self) -> Option<UnixSeconds> {
        self.context.time.now()
    }

    /// Returns the time, or the best guess if it is unknown.
    pub fn guess(&self) -> UnixSeconds {
        self.context.time.guess()
    }

    /// Describes how far the clock is trusted.
    pub fn clock_state(&self) -> &'static str {
        match self.context.time.trust() {
            Trust::Unknown => "unknown: it shows a time that has certainly passed",
            Trust::Suspect => "suspect: it jumped, or is far ahead of every known time",
            Trust::Trusted => "trusted",
        }
    }

    fn one(&self, spec: &CertificateSpec, step: &Step, now: Option<UnixSeconds>) -> Report {
        let state = self.context.ledger.state();
        let stored = state.certificates.get(&*spec.id);
        let pending = state.pending_orders.get(&*spec.id);
        let first = &spec.issuers[0];
        let failures = state.failures.get(&*spec.id);
        let failure_state = failures.and_then(|all| last(all, spec));

        let (names, ordered) = (spec.names_as_text(), spec.ordered_names_as_text());
        let account = first.account_id();
        let budget = account.and_then(|account| state.budgets.get(&account));

        let (next, why) = match step {
            Step::Wait { until, why } => (Some(*until), why.clone()),
            Step::Blocked { why } => (None, why.clone()),
            Step::ClockUnknown => (None, "the time is not known".to_owned()),
            Step::Obtain { .. } if !self.leads() => {
                (None, "the leading replica obtains it".to_owned())
            }
            Step::Obtain { .. } => (now, String::new()),
        };

        let is_over = |stored: &StoredCertificate| now.is_some_and(|now| stored.not_after <= now);
        let expired = stored.is_some_and(is_over);

        Report {
            name: spec.id.to_string(),
            state: state_of(step, stored, expired).to_owned(),
            issuer: stored.map_or_else(|| first.name.to_string(), |stored| stored.issuer.clone()),
            not_before: stored.map(|stored| stored.not_before),
            not_after: stored.map(|stored| stored.not_after),
            doing: self.context.progress.of(&spec.id),
            next,
            why,
            problem: failure_state.map(problem),
            suggestion: state.suggestions.get(&*spec.id).map(suggestion),
            budget: now
                .zip(first.acme())
                .map(|(now, acme)| left(budget, &ordered, acme.publishes_limits, now)),
            order: pending.and_then(|pending| pending.order.clone()),
            hosts: names,
        }
    }
}

fn suggestion(suggestion: &Suggestion) -> SuggestionReport {
    SuggestionReport {
        start: suggestion.start,
        end: suggestion.end,
        chosen: suggestion.chosen,
        explanation: suggestion.explanation.clone(),
    }
}

fn state_of(step: &Step, stored: Option<&StoredCertificate>, expired: bool) -> &'static str {
    match (step, stored) {
        (Step::Obtain { .. }, _) => "obtaining",
        (Step::Blocked { .. }, _) => "blocked",
        (Step::ClockUnknown, _) => "clock",
        (Step::Wait { .. }, Some(_)) if expired => "expired",
        (Step::Wait { .. }, Some(stored)) if stored.revoked => "revoked",
        (Step::Wait { .. }, Some(_)) => "valid",
        (Step::Wait { .. }, None) => "waiting",
    }
}

/// Returns the last failure of what a spec asks for now. Other failures are of names, issuers or
/// settings from before.
fn last<'a>(failures: &'a [FailureState], spec: &CertificateSpec) -> Option<&'a FailureState> {
    let is_current = |one: &&FailureState| {
        let mut issuers = spec.issuers.iter();
        issuers.any(|issuer| spec.attempt_fingerprint(issuer) == one.print)
    };
    let current = failures.iter().filter(is_current);
    current.max_by_key(|failure_state| failure_state.last)
}

fn problem(failure_state: &FailureState) -> ProblemReport {
    ProblemReport {
        issuer: failure_state.issuer.clone(),
        class: failure_state.class,
        message: failure_state.problem.clone(),
        advice: failure_state.advice.clone(),
        attempts: failure_state.attempts,
        at: failure_state.last,
    }
}

fn left(
    budget: Option<&Budget>,
    names: &[String],
    is_limited: bool,
    now: UnixSeconds,
) -> BudgetReport {
    let fresh = Budget::default();
    let budget = budget.unwrap_or(&fresh);
    BudgetReport {
        failures_left: names
            .iter()
            .map(|name| budget.failures_left(name, now))
            .min()
            .unwrap_or(0),
        certificates_left: is_limited.then(|| budget.certificates_left(names, now)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::*;
    use crate::{
        acme::{issuer::Issuer, plan::failure::Failure},
        pki::{CertificateName, CertificateTerms},
    };

    fn spec(name: &str, issuer: &str) -> CertificateSpec {
        CertificateSpec {
            id: "default/web".into(),
            names: Box::new([CertificateName::parse(name).expect("a name")]),
            issuers: Box::new([Arc::new(Issuer::preset(issuer).expect("built in"))]),
            terms: CertificateTerms::default(),
        }
    }

    #[test]
    fn problems_of_other_names_and_issuers_disappear() {
        let before = spec("a.example", "letsencrypt-staging");
        let failure = Failure::new(Class::Validation, "it failed");
        let print = before.attempt_fingerprint(&before.issuers[0]);
        let failures = [FailureState::after(
            None,
            &failure,
            "letsencrypt-staging",
            print,
            UnixSeconds(1_800_000_000),
            0,
        )];

        assert!(last(&failures, &before).is_some());
        let (other_issuer, other_name) = (
            spec("a.example", "letsencrypt"),
            spec("b.example", "letsencrypt-staging"),
        );
        assert!(last(&failures, &other_issuer).is_none());
        assert!(last(&failures, &other_name).is_none());
    }

    #[test]
    fn times_in_the_json_of_a_report_are_rfc_3339() {
        let json = |report: &Report| serde_json::to_value(report).expect("JSON");
        let none = json(&Report::default());
        assert_eq!(
            (&none["not_after"], &none["next"]),
            (&"".into(), &Value::Null)
        );

        let report = Report {
            not_after: Some(UnixSeconds(1_800_000_000)),
            next: Some(UnixSeconds(1_790_000_000)),
            ..Report::default()
        };
        let some = json(&report);
        assert_eq!(some["not_after"], "2027-01-15T08:00:00Z");
        assert_eq!(some["next"], "2026-09-21T14:13:20Z");
    }

    #[test]
    fn a_revoked_certificate_that_waits_is_not_valid() {
        let mut stored: StoredCertificate = serde_json::from_value(serde_json::json!({
            "chain": "", "key": "", "names": ["a.example"], "issuer": "lab",
            "not_before": 0, "not_after": 0, "stored": 0, "print": 0, "revoked": true,
        }))
        .expect("a record");
        let wait = Step::Wait {
            until: UnixSeconds(0),
            why: String::new(),
        };
        assert_eq!(state_of(&wait, Some(&stored), false), "revoked");
        assert_eq!(state_of(&wait, Some(&stored), true), "expired");
        stored.revoked = false;
        assert_eq!(state_of(&wait, Some(&stored), false), "valid");
        assert_eq!(state_of(&wait, None, false), "waiting");
    }
}
