//! What to do next: a pure function of what is wanted, what is had, and the time. It never asks a
//! CA, a disk or a clock.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{
    budget::{Budget, Purpose},
    failure::{Class, FailureState},
    issuer::{Issuer, IssuerKind},
    record::{OrphanedDnsRecords, PendingOrder, Revocation, StoredCertificate},
    renewal::{Life, Suggestion, Why},
    spec::CertificateSpec,
};

/// A certificate that nobody wants any more is kept this long, seconds: an Ingress that comes back
/// finds it.
pub(super) const GRACE: i64 = 14 * 86_400;
/// With another issuer left, the CA may be unreachable this long before that one is asked, seconds.
const SWITCH_AFTER: i64 = 3 * 3_600;
/// Without any certificate nobody waits longer than this for a CA that asks to wait, seconds.
const LONG_WAIT: i64 = 3_600;

/// A failure that is noted later than this from now was noted by another clock, seconds.
const CLOCKS_DIFFER: i64 = 600;

/// Everything that is known and kept.
#[derive(Debug, Default)]
pub struct State {
    /// Certificates by wish.
    pub held: BTreeMap<String, StoredCertificate>,
    /// Orders on their way by wish.
    pub jobs: BTreeMap<String, PendingOrder>,
    /// Failures by wish, one for each issuer that failed.
    pub troubles: BTreeMap<String, Vec<FailureState>>,
    /// The CAs' suggestions by wish.
    pub suggestions: BTreeMap<String, Suggestion>,
    /// What is spent, by account.
    pub budgets: BTreeMap<String, Budget>,
    /// Records in DNS that were left over, by wish.
    pub litter: BTreeMap<String, OrphanedDnsRecords>,
    /// Certificates that are to be revoked, by id.
    pub revocations: BTreeMap<String, Revocation>,
    /// Wishes that the operator wants renewed now.
    pub forced: HashSet<String>,
}

/// What is to be done for one wish.
#[derive(Clone, Debug)]
pub enum Step {
    /// Get a certificate, going on with the order that is on its way if there is one.
    Obtain {
        /// From whom.
        issuer: Arc<Issuer>,
        /// Why now.
        reason: Reason,
    },
    /// Nothing before this moment.
    Wait {
        /// Seconds since 1970.
        until: i64,
        /// Why not earlier, in a few words.
        why: String,
    },
    /// Only a person can help.
    Blocked {
        /// In one sentence, what has to be done.
        why: String,
    },
    /// The time is not known, and it has to be before a CA is asked.
    ClockUnknown,
}

/// Why a certificate is got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is none.
    New,
    /// The one that is there is for other names, by another issuer, or of another key type.
    Changed,
    /// It was revoked.
    Revoked,
    /// The operator asked for it.
    Forced,
    /// It is time.
    Due(Why),
}

/// A wish and what to do for it.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The wish.
    pub want: Arc<CertificateSpec>,
    /// What to do.
    pub step: Step,
    /// The smaller, the sooner among those that can be done now.
    pub urgency: i64,
}

/// What to do for everything.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// One for each wish, the most urgent first.
    pub decisions: Vec<Decision>,
    /// Certificates that nobody wants and whose grace time is over.
    pub drop: Vec<String>,
    /// Certificates that nobody wants, which is not noted yet (`true`), or that are wanted again
    /// (`false`).
    pub unwanted: Vec<(String, bool)>,
    /// When the next decision may be another one; seconds since 1970.
    pub wake: Option<i64>,
}

/// Makes the plan. `now` is the time, if it is known.
pub fn plan(now: Option<i64>, wants: &[Arc<CertificateSpec>], state: &State) -> Plan {
    let mut plan = Plan::default();
    for want in wants {
        let (step, urgency) = decide(now, want, state);
        if let Step::Wait { until, .. } = &step {
            plan.wake = Some(plan.wake.map_or(*until, |wake| wake.min(*until)));
        }
        plan.decisions.push(Decision {
            want: want.clone(),
            step,
            urgency,
        });
    }
    plan.decisions.sort_by_key(|decision| decision.urgency);
    let wanted: HashMap<&str, &Arc<CertificateSpec>> =
        wants.iter().map(|want| (&*want.id, want)).collect();
    for (id, held) in &state.held {
        match (wanted.contains_key(id.as_str()), held.unwanted) {
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

/// The step for one wish, and how urgent it is.
fn decide(now: Option<i64>, want: &CertificateSpec, state: &State) -> (Step, i64) {
    let held = state.held.get(&*want.id);
    let life = held.map(|held| life(want, held, state.suggestions.get(&*want.id)));
    let urgency = match (now, held, &life) {
        (Some(now), Some(held), Some(life)) if held.not_after > now => {
            // In danger before all that merely are due.
            if now >= life.danger() {
                1
            } else {
                held.not_after
            }
        }
        _ => 0,
    };
    let reason = match reason(now, want, held, life.as_ref(), state) {
        Ok(reason) => reason,
        Err(step) => return (step, urgency),
    };
    let Some(now) = now else {
        // What is made here does not mind what time it is.
        let local = want.issuers.iter().all(|issuer| issuer.acme().is_none());
        let obtain = Step::Obtain {
            issuer: want.issuers[0].clone(),
            reason,
        };
        return (if local { obtain } else { Step::ClockUnknown }, urgency);
    };
    let names: Vec<String> = want.names.iter().map(ToString::to_string).collect();
    let step = match choose(now, want, held, life.as_ref(), state) {
        Err(step) => step,
        Ok(issuer) => match over_budget(&issuer, &names, purpose(held, now), state, now) {
            Some(step) => step,
            None => Step::Obtain { issuer, reason },
        },
    };
    (step, urgency)
}

fn life<'a>(
    want: &'a CertificateSpec,
    held: &StoredCertificate,
    suggestion: Option<&'a Suggestion>,
) -> Life<'a> {
    Life {
        not_before: held.not_before,
        not_after: held.not_after,
        suggestion,
        renew_before: want.terms.renew_before,
        spread_by: &want.id,
    }
}

/// Why a certificate has to be got, or what to do instead.
fn reason(
    now: Option<i64>,
    want: &CertificateSpec,
    held: Option<&StoredCertificate>,
    life: Option<&Life<'_>>,
    state: &State,
) -> Result<Reason, Step> {
    let (Some(held), Some(life)) = (held, life) else {
        return Ok(Reason::New);
    };
    if state.forced.contains(&*want.id) {
        return Ok(Reason::Forced);
    }
    if held.revoked {
        return Ok(Reason::Revoked);
    }
    if !want
        .issuers
        .iter()
        .any(|issuer| want.fingerprint(issuer) == held.print)
    {
        return Ok(Reason::Changed);
    }
    let Some(now) = now else {
        return Err(Step::ClockUnknown);
    };
    let (due, why) = life.due();
    if due > now {
        let why = match why {
            Why::Suggested => "the CA suggests to renew then",
            Why::Lifetime => "that much of its life is left then",
            Why::Danger => "its end is near then, whatever the CA suggests",
        };
        return Err(Step::Wait {
            until: due,
            why: why.to_owned(),
        });
    }
    Ok(Reason::Due(why))
}

/// The issuer to ask: the one that issued the last certificate, else the first, unless what is
/// known of it lets another one take its place.
fn choose(
    now: i64,
    want: &CertificateSpec,
    held: Option<&StoredCertificate>,
    life: Option<&Life<'_>>,
    state: &State,
) -> Result<Arc<Issuer>, Step> {
    let troubles = state.troubles.get(&*want.id).map_or(&[][..], Vec::as_slice);
    let sticky = held
        .and_then(|held| {
            want.issuers
                .iter()
                .position(|issuer| want.fingerprint(issuer) == held.print)
        })
        .unwrap_or(0);
    let order =
        std::iter::once(sticky).chain((0..want.issuers.len()).filter(|index| *index != sticky));
    let mut wait: Option<(i64, &FailureState)> = None;
    let mut blocked: Option<&FailureState> = None;
    for index in order {
        let issuer = &want.issuers[index];
        let print = want.attempt_fingerprint(issuer);
        let trouble = troubles.iter().find(|one| one.print == print);
        let Some(trouble) = trouble else {
            return Ok(issuer.clone());
        };
        match trouble.not_before {
            // What failed in the future failed by a clock that was wrong.
            Some(moment) if moment <= now || trouble.last > now + CLOCKS_DIFFER => {
                return Ok(issuer.clone());
            }
            Some(moment) => {
                if wait.is_none_or(|(earliest, _)| moment < earliest) {
                    wait = Some((moment, trouble));
                }
            }
            None => blocked = blocked.or(Some(trouble)),
        }
        if !may_switch(trouble, now, held, life) {
            break;
        }
    }
    match (wait, blocked) {
        (Some((until, trouble)), _) => Err(Step::Wait {
            until,
            why: trouble.problem.clone(),
        }),
        (None, Some(trouble)) => {
            let advice = if trouble.advice.is_empty() {
                String::new()
            } else {
                format!("; {}", trouble.advice)
            };
            Err(Step::Blocked {
                why: format!("{}{advice}", trouble.problem),
            })
        }
        // Every issuer that is passed over has left one of the two.
        (None, None) => Err(Step::Blocked {
            why: "no issuer is left".to_owned(),
        }),
    }
}

/// Whether the next issuer may be asked while this one is in trouble.
fn may_switch(
    trouble: &FailureState,
    now: i64,
    held: Option<&StoredCertificate>,
    life: Option<&Life<'_>>,
) -> bool {
    let ending = held.is_none_or(|held| {
        let quarter = (held.not_after - held.not_before) / 4;
        now >= held.not_after - quarter || life.is_some_and(|life| now >= life.danger())
    });
    match trouble.class {
        Class::Transport | Class::Store | Class::Account | Class::Content => {
            ending && trouble.last - trouble.since >= SWITCH_AFTER
                || trouble.class == Class::Content
        }
        Class::RateLimited => {
            let until = trouble.not_before.unwrap_or(i64::MAX);
            held.map_or(until - now > LONG_WAIT, |held| held.not_after <= until)
        }
        Class::Config | Class::Paused | Class::Changed => true,
        // The name is at fault, and another CA would find the same.
        Class::Validation => false,
    }
}

/// What an order at `now` is for: a certificate that nears its end is renewed whatever has been
/// issued before.
fn purpose(held: Option<&StoredCertificate>, now: i64) -> Purpose {
    match held {
        Some(held) if now >= held.not_before + (held.not_after - held.not_before) / 2 => {
            Purpose::Renewal {
                lifetime: held.not_after - held.not_before,
            }
        }
        _ => Purpose::New,
    }
}

fn over_budget(
    issuer: &Issuer,
    names: &[String],
    purpose: Purpose,
    state: &State,
    now: i64,
) -> Option<Step> {
    let IssuerKind::Acme(_) = &issuer.kind else {
        return None;
    };
    let budget = state.budgets.get(&issuer.account_id()?)?;
    let refusal = budget.check(names, purpose, now).err()?;
    Some(match refusal.until {
        Some(until) => Step::Wait {
            until,
            why: refusal.why,
        },
        None => Step::Blocked {
            why: format!("{}; find out why, then renew it by hand", refusal.why),
        },
    })
}

#[cfg(test)]
mod tests;
