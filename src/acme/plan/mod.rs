//! The plan: the next step for every spec. It is a pure function of the specs, the stored state and
//! the time, and never uses a CA, a disk or a clock.

pub mod budget;
pub mod failure;
pub mod record;
pub mod renewal;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

pub use budget::Budget;
pub use failure::{Class, Failure, FailureState};
pub use record::{Account, Floor, OrphanedDnsRecords, PendingOrder, Revocation, StoredCertificate};
pub use renewal::Suggestion;

use self::{
    budget::Purpose,
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
        /// The reason to obtain it now.
        reason: Reason,
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

/// The reason to obtain a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no certificate yet.
    New,
    /// The stored one has other names, another issuer, or another key type.
    Changed,
    /// The stored one was revoked.
    Revoked,
    /// The operator requested a renewal.
    Forced,
    /// It is due for renewal.
    Due(Why),
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
        let (step, urgency) = decide(now, spec, state);
        if let Step::Wait { until, .. } = &step {
            plan.wake = Some(plan.wake.map_or(*until, |wake| wake.min(*until)));
        }
        plan.decisions.push(Decision {
            spec: spec.clone(),
            step,
            urgency,
        });
    }

    plan.decisions.sort_by_key(|decision| decision.urgency);

    let used: HashMap<&str, &Arc<CertificateSpec>> =
        specs.iter().map(|spec| (&*spec.id, spec)).collect();
    for (id, stored) in &state.certificates {
        match (used.contains_key(id.as_str()), stored.unwanted) {
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

/// Returns the next step for one spec and its urgency.
fn decide(now: Option<UnixSeconds>, spec: &CertificateSpec, state: &State) -> (Step, i64) {
    let stored = state.certificates.get(&*spec.id);
    let life = stored.map(|stored| life(spec, stored, state.suggestions.get(&*spec.id)));
    let urgency = match (now, stored, &life) {
        (Some(now), Some(stored), Some(life)) if stored.not_after > now => {
            // Certificates close to expiry come before those that are merely due.
            if now >= life.danger() {
                1
            } else {
                stored.not_after.0
            }
        }
        _ => 0,
    };

    let reason = match reason(now, spec, stored, life.as_ref(), state) {
        Ok(reason) => reason,
        Err(step) => return (step, urgency),
    };

    let Some(now) = now else {
        // Certificates that are issued on this device do not depend on the time.
        let local = spec.issuers.iter().all(|issuer| issuer.acme().is_none());
        let obtain = Step::Obtain {
            issuer: spec.issuers[0].clone(),
            reason,
        };
        return (if local { obtain } else { Step::ClockUnknown }, urgency);
    };

    let names = spec.ordered_names_as_text();
    let step = match choose(now, spec, stored, life.as_ref(), state) {
        Err(step) => step,
        Ok(issuer) => match over_budget(&issuer, &names, stored, state, now) {
            Some(step) => step,
            None => Step::Obtain { issuer, reason },
        },
    };
    (step, urgency)
}

fn life<'a>(
    spec: &'a CertificateSpec,
    stored: &StoredCertificate,
    suggestion: Option<&'a Suggestion>,
) -> Life<'a> {
    Life {
        not_before: stored.not_before,
        not_after: stored.not_after,
        stored: stored.stored,
        suggestion,
        renew_before: spec.terms.renew_before,
        spread_by: &spec.id,
    }
}

/// Returns the reason to obtain a certificate, or the step to take instead.
fn reason(
    now: Option<UnixSeconds>,
    spec: &CertificateSpec,
    stored: Option<&StoredCertificate>,
    life: Option<&Life<'_>>,
    state: &State,
) -> Result<Reason, Step> {
    let (Some(stored), Some(life)) = (stored, life) else {
        return Ok(Reason::New);
    };

    if state.forced.contains(&*spec.id) {
        return Ok(Reason::Forced);
    }
    if stored.revoked {
        return Ok(Reason::Revoked);
    }

    if !spec
        .issuers
        .iter()
        .any(|issuer| spec.fingerprint(issuer) == stored.print)
    {
        return Ok(Reason::Changed);
    }

    let Some(now) = now else {
        return Err(Step::ClockUnknown);
    };

    let (due, why) = life.due();
    if due > now {
        let why = match why {
            Why::Suggested => "the renewal time that the CA suggests",
            Why::Lifetime => "the regular renewal time",
            Why::Danger => "close to expiry, earlier than the CA suggests",
        };
        return Err(Step::Wait {
            until: due,
            why: why.to_owned(),
        });
    }

    Ok(Reason::Due(why))
}

/// Returns the issuer to use: the one that issued the stored certificate, or the first one, unless
/// its failures allow the next one to take its place.
fn choose(
    now: UnixSeconds,
    spec: &CertificateSpec,
    stored: Option<&StoredCertificate>,
    life: Option<&Life<'_>>,
    state: &State,
) -> Result<Arc<Issuer>, Step> {
    let failures = state.failures.get(&*spec.id).map_or(&[][..], Vec::as_slice);
    let sticky = stored
        .and_then(|stored| {
            spec.issuers
                .iter()
                .position(|issuer| spec.fingerprint(issuer) == stored.print)
        })
        .unwrap_or(0);

    let order =
        std::iter::once(sticky).chain((0..spec.issuers.len()).filter(|index| *index != sticky));

    let mut wait: Option<(UnixSeconds, &FailureState)> = None;
    let mut blocked: Option<&FailureState> = None;
    let mut unusable: Option<String> = None;

    for index in order {
        let issuer = &spec.issuers[index];
        if let Some(problem) = issuer.problem() {
            unusable.get_or_insert_with(|| format!("issuer {}: {problem}", issuer.name));
            continue;
        }
        let fingerprint = spec.attempt_fingerprint(issuer);
        let failure_state = failures.iter().find(|one| one.print == fingerprint);
        let Some(failure_state) = failure_state else {
            return Ok(issuer.clone());
        };
        match failure_state.not_before {
            // A failure in the future was recorded by a wrong clock.
            Some(moment) if moment <= now || failure_state.last > now + CLOCKS_DIFFER => {
                return Ok(issuer.clone());
            }
            Some(moment) => {
                if wait.is_none_or(|(earliest, _)| moment < earliest) {
                    wait = Some((moment, failure_state));
                }
            }
            None => blocked = blocked.or(Some(failure_state)),
        }

        if !may_switch(failure_state, now, stored, life) {
            break;
        }
    }

    match (wait, blocked) {
        (Some((until, failure_state)), _) => Err(Step::Wait {
            until,
            why: failure_state.problem.clone(),
        }),
        (None, Some(failure_state)) => {
            let advice = if failure_state.advice.is_empty() {
                String::new()
            } else {
                format!("; {}", failure_state.advice)
            };
            Err(Step::Blocked {
                why: format!("{}{advice}", failure_state.problem),
            })
        }
        (None, None) => Err(Step::Blocked {
            why: unusable.unwrap_or_else(|| "no issuer can be used".to_owned()),
        }),
    }
}

/// Returns true if the next issuer may be used after this failure.
fn may_switch(
    failure_state: &FailureState,
    now: UnixSeconds,
    stored: Option<&StoredCertificate>,
    life: Option<&Life<'_>>,
) -> bool {
    let ending = stored.is_none_or(|stored| {
        let quarter = (stored.not_after - stored.not_before) / 4;
        now >= stored.not_after - quarter || life.is_some_and(|life| now >= life.danger())
    });

    match failure_state.class {
        Class::Transport | Class::Store | Class::Account | Class::Content => {
            ending && failure_state.last - failure_state.since >= SWITCH_AFTER
                || failure_state.class == Class::Content
        }
        Class::RateLimited => {
            let until = failure_state.not_before.unwrap_or(UnixSeconds(i64::MAX));
            stored.map_or(until - now > LONG_WAIT, |stored| stored.not_after <= until)
        }
        Class::Config | Class::Paused | Class::Changed => true,
        // The cause is the name, so another CA would fail as well.
        Class::Validation => false,
    }
}

/// Returns the purpose of an order at `now`. In the second half of its lifetime, a certificate is
/// renewed regardless of how many were issued before.
fn purpose(acme: &AcmeIssuer, stored: Option<&StoredCertificate>, now: UnixSeconds) -> Purpose {
    let half =
        |stored: &StoredCertificate| stored.not_before + (stored.not_after - stored.not_before) / 2;
    if !acme.publishes_limits {
        Purpose::Unlimited
    } else if stored.is_some_and(|stored| now >= half(stored)) {
        Purpose::Renewal
    } else {
        Purpose::New
    }
}

fn over_budget(
    issuer: &Issuer,
    names: &[String],
    stored: Option<&StoredCertificate>,
    state: &State,
    now: UnixSeconds,
) -> Option<Step> {
    let purpose = purpose(issuer.acme()?, stored, now);
    let budget = state.budgets.get(&issuer.account_id()?)?;
    let refusal = budget.check(names, purpose, now).err()?;

    Some(match refusal.until {
        Some(until) => Step::Wait {
            until,
            why: refusal.why,
        },
        None => Step::Blocked {
            why: format!(
                "{}; fix the cause, then run `gatelet certs renew`",
                refusal.why
            ),
        },
    })
}

#[cfg(test)]
mod tests;
