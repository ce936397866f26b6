//! The plan: the next step for every spec. It is a pure function of the specs, the stored state and
//! the time, and never uses a CA, a disk or a clock.

pub mod budget;
pub mod failure;
pub mod record;
pub mod renewal;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

pub use budget::Budget;
pub use failure::{Class, Failure, FailureState};
pub use record::{Account, Floor, OrphanedDnsRecords, PendingOrder, Revocation, StoredCertificate};
pub use renewal::Suggestion;

use self::{
    budget::{Purpose, Refusal},
    renewal::{Life, Why},
};
use crate::{
    acme::{
        issuer::{AcmeIssuer, Issuer},
        spec::CertificateSpec,
    },
    util::time::UnixSeconds,
};

/// Time in seconds that an unused certificate is kept, for an Ingress that comes back.
pub(crate) const GRACE: i64 = 14 * 86_400;
/// Time in seconds that a CA may be unreachable before the next issuer is tried.
const SWITCH_AFTER: i64 = 3 * 3_600;
/// Longest `Retry-After`, in seconds, that is waited out while there is no certificate at all.
const LONG_WAIT: i64 = 3_600;

/// A failure that lies further in the future than this, in seconds, was recorded by a wrong clock.
const CLOCKS_DIFFER: i64 = 600;

/// The stored state of the engine.
#[derive(Debug, Default)]
pub struct State {
    /// Certificates by spec.
    pub certificates: BTreeMap<String, StoredCertificate>,
    /// Pending orders by spec.
    pub pending_orders: BTreeMap<String, PendingOrder>,
    /// Failures by spec, one for each issuer that failed.
    pub failures: BTreeMap<String, Vec<FailureState>>,
    /// The CAs' renewal windows by spec.
    pub suggestions: BTreeMap<String, Suggestion>,
    /// Used-up limits by account.
    pub budgets: BTreeMap<String, Budget>,
    /// DNS records that were left behind, by spec.
    pub orphaned_records: BTreeMap<String, OrphanedDnsRecords>,
    /// Revocations that no CA has confirmed yet, by ID.
    pub revocations: BTreeMap<String, Revocation>,
    /// Specs that the operator wants renewed now.
    pub forced: HashSet<String>,
}

/// The next step for one spec.
#[derive(Clone, Debug)]
pub enum Step {
    /// Obtain a certificate, resuming the pending order if there is one.
    Obtain {
        /// The issuer to use.
        issuer: Arc<Issuer>,
    },
    /// Do nothing before a certain time.
    Wait {
        /// The time.
        until: UnixSeconds,
        /// The reason to wait, in a few words.
        why: String,
    },
    /// Wait for the operator.
    Blocked {
        /// The action that the operator has to take, in one sentence.
        why: String,
    },
    /// Wait until the time is known, which every request to a CA requires.
    ClockUnknown,
}

/// A spec and its next step.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The spec.
    pub spec: Arc<CertificateSpec>,
    /// Its next step.
    pub step: Step,
    /// The rank among the steps that are due: the smallest comes first.
    pub urgency: i64,
}

/// The next steps for all specs.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// One decision per spec, the most urgent first.
    pub decisions: Vec<Decision>,
    /// Unused certificates to drop, because their grace period is over.
    pub drop: Vec<String>,
    /// Certificates to mark as unused (`true`) or as used again (`false`).
    pub unwanted: Vec<(String, bool)>,
    /// The earliest time at which a decision may change.
    pub wake: Option<UnixSeconds>,
}

/// Makes the plan. `now` is the time, if it is known.
pub fn plan(now: Option<UnixSeconds>, specs: &[Arc<CertificateSpec>], state: &State) -> Plan {
    let mut plan = Plan::default();

    for spec in specs {
        let case = Case::new(spec, state);
        let step = case.step(now);
        if let Step::Wait { until, .. } = &step {
            plan.wake = Some(plan.wake.map_or(*until, |wake| wake.min(*until)));
        }
        plan.decisions.push(Decision {
            spec: spec.clone(),
            step,
            urgency: case.urgency(now),
        });
    }

    plan.decisions.sort_by_key(|decision| decision.urgency);

    let used: HashSet<&str> = specs.iter().map(|spec| &*spec.id).collect();
    for (id, stored) in &state.certificates {
        match (used.contains(id.as_str()), stored.unwanted) {
            (true, Some(_)) => plan.unwanted.push((id.clone(), false)),
            (false, None) => plan.unwanted.push((id.clone(), true)),
            (false, Some(since)) if now.is_some_and(|now| now - since > GRACE) => {
                plan.drop.push(id.clone());
            }
            (true, None) | (false, Some(_)) => {}
        }
    }

    plan
}

/// A spec, and the stored state that decides about its next step.
struct Case<'a> {
    spec: &'a CertificateSpec,
    state: &'a State,
    /// The stored certificate and its renewal times.
    current: Option<(&'a StoredCertificate, Life<'a>)>,
}

impl<'a> Case<'a> {
    fn new(spec: &'a CertificateSpec, state: &'a State) -> Self {
        let stored = state.certificates.get(&*spec.id);
        let life = |stored: &StoredCertificate| Life {
            not_before: stored.not_before,
            not_after: stored.not_after,
            stored: stored.stored,
            suggestion: state.suggestions.get(&*spec.id),
            renew_before: spec.terms.renew_before,
            spread_by: &spec.id,
        };
        Self {
            spec,
            state,
            current: stored.map(|stored| (stored, life(stored))),
        }
    }

    /// Returns the rank among the steps that are due. Certificates close to expiry come before
    /// those that are merely due.
    fn urgency(&self, now: Option<UnixSeconds>) -> i64 {
        match (now, &self.current) {
            (Some(now), Some((stored, life))) if stored.not_after > now => {
                if now >= life.danger() {
                    1
                } else {
                    stored.not_after.0
                }
            }
            _ => 0,
        }
    }

    fn step(&self, now: Option<UnixSeconds>) -> Step {
        if let Some(step) = self.rest(now) {
            return step;
        }

        let Some(now) = now else {
            // Certificates that are issued on this device do not depend on the time.
            let issuers = &self.spec.issuers;
            let is_local = issuers.iter().all(|issuer| issuer.acme().is_none());
            let issuer = issuers[0].clone();
            return if is_local {
                Step::Obtain { issuer }
            } else {
                Step::ClockUnknown
            };
        };

        let issuer = match self.choose(now) {
            Ok(issuer) => issuer,
            Err(step) => return step,
        };
        let over_budget = self.over_budget(&issuer, now);
        over_budget.unwrap_or(Step::Obtain { issuer })
    }

    /// Returns the step to take instead of obtaining a certificate, if the stored one will do.
    fn rest(&self, now: Option<UnixSeconds>) -> Option<Step> {
        let (stored, life) = self.current.as_ref()?;
        let is_forced = self.state.forced.contains(&*self.spec.id);
        if is_forced || stored.revoked || self.issued_by().is_none() {
            return None;
        }

        let Some(now) = now else {
            return Some(Step::ClockUnknown);
        };
        let (until, why) = life.due();
        let why = match why {
            Why::Suggested => "the renewal time that the CA suggests",
            Why::Lifetime => "the regular renewal time",
            Why::Danger => "close to expiry, earlier than the CA suggests",
        };
        (until > now).then(|| Step::Wait {
            until,
            why: why.to_owned(),
        })
    }

    /// Returns the position of the issuer that issued the stored certificate, as the spec is now.
    fn issued_by(&self) -> Option<usize> {
        let (stored, _) = self.current.as_ref()?;
        let mut issuers = self.spec.issuers.iter();
        issuers.position(|issuer| self.spec.fingerprint(issuer) == stored.print)
    }

    /// Returns the issuer to use: the one that issued the stored certificate, or the first one,
    /// unless its failures allow the next one to take its place.
    fn choose(&self, now: UnixSeconds) -> Result<Arc<Issuer>, Step> {
        let issuers = &self.spec.issuers;
        let sticky = self.issued_by().unwrap_or(0);
        let others = (0..issuers.len()).filter(|index| *index != sticky);
        let failures = self.state.failures.get(&*self.spec.id);

        let mut wait: Option<(UnixSeconds, &FailureState)> = None;
        let mut blocked: Option<&FailureState> = None;
        let mut unusable: Option<String> = None;

        for issuer in std::iter::once(sticky).chain(others).map(|at| &issuers[at]) {
            if let Some(problem) = issuer.problem() {
                unusable.get_or_insert_with(|| format!("issuer {}: {problem}", issuer.name));
                continue;
            }
            let fingerprint = self.spec.attempt_fingerprint(issuer);
            let mut failures = failures.into_iter().flatten();
            let Some(failure_state) = failures.find(|one| one.print == fingerprint) else {
                return Ok(issuer.clone());
            };
            match failure_state.not_before {
                // A failure in the future was recorded by a wrong clock.
                Some(moment) if moment <= now || failure_state.last > now + CLOCKS_DIFFER => {
                    return Ok(issuer.clone());
                }
                Some(moment) if wait.is_none_or(|(earliest, _)| moment < earliest) => {
                    wait = Some((moment, failure_state));
                }
                Some(_) => {}
                None => blocked = blocked.or(Some(failure_state)),
            }

            if !self.may_switch(failure_state, now) {
                break;
            }
        }

        if let Some((until, failure_state)) = wait {
            let why = failure_state.problem.clone();
            return Err(Step::Wait { until, why });
        }
        let why = blocked.map(FailureState::describe).or(unusable);
        let why = why.unwrap_or_else(|| "no issuer can be used".to_owned());
        Err(Step::Blocked { why })
    }

    /// Returns true if the next issuer may be used after this failure.
    fn may_switch(&self, failure_state: &FailureState, now: UnixSeconds) -> bool {
        match failure_state.class {
            Class::Transport | Class::Store | Class::Account => {
                let is_ending = self.current.as_ref().is_none_or(|(stored, life)| {
                    let quarter = (stored.not_after - stored.not_before) / 4;
                    now >= stored.not_after - quarter || now >= life.danger()
                });
                is_ending && failure_state.last - failure_state.since >= SWITCH_AFTER
            }
            Class::RateLimited => {
                let until = failure_state.not_before.unwrap_or(UnixSeconds(i64::MAX));
                let ends = self.current.as_ref().map(|(stored, _)| stored.not_after);
                ends.map_or(until - now > LONG_WAIT, |end| end <= until)
            }
            Class::Content | Class::Config | Class::Paused | Class::Changed => true,
            // The cause is the name, so another CA would fail as well.
            Class::Validation => false,
        }
    }

    /// Returns the step to take instead of an order that would exceed the budget.
    fn over_budget(&self, issuer: &Issuer, now: UnixSeconds) -> Option<Step> {
        let purpose = self.purpose(issuer.acme()?, now);
        let budget = self.state.budgets.get(&issuer.account_id()?)?;
        let names = self.spec.ordered_names_as_text();
        let Refusal { why, until } = budget.check(&names, purpose, now).err()?;

        Some(match until {
            Some(until) => Step::Wait { until, why },
            None => Step::Blocked {
                why: format!("{why}; fix the cause, then run `gatelet certs renew`"),
            },
        })
    }

    /// Returns the purpose of an order at `now`. In the second half of its lifetime, a certificate
    /// is renewed regardless of how many were issued before.
    fn purpose(&self, acme: &AcmeIssuer, now: UnixSeconds) -> Purpose {
        let is_half_over = |(stored, _): &(&StoredCertificate, Life<'_>)| {
            now >= stored.not_before + (stored.not_after - stored.not_before) / 2
        };
        if !acme.publishes_limits {
            Purpose::Unlimited
        } else if self.current.as_ref().is_some_and(is_half_over) {
            Purpose::Renewal
        } else {
            Purpose::New
        }
    }
}

#[cfg(test)]
mod tests;
