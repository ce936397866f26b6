//! Failed attempts, and the time of the next one. CAs limit the rate of attempts, so each kind of
//! failure has its own backoff, and some kinds wait for the operator.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::renewal::spread;
use crate::{acme::issuer::ChallengeType, util::time::UnixSeconds};

/// The longest wait in seconds that a CA's `Retry-After` can cause.
const LONGEST_WAIT: i64 = 8 * 86_400;
/// The waits in seconds after the first, second and third failed validation, as Let's Encrypt
/// recommends. Later attempts are made daily.
const VALIDATION: [i64; 3] = [60, 600, 6_000];
/// Time in seconds after which repeated validation failures wait for the operator.
const GIVE_UP: i64 = 30 * 86_400;

/// Delay in seconds by which an attempt counts as late because the node was off.
const AWAY: i64 = 86_400;

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The CA was unreachable, or its response was incomplete, a 5xx, or malformed.
    Transport,
    /// The CA asks to wait (429, or 503 with `Retry-After`).
    #[serde(alias = "limited")]
    RateLimited,
    /// The CA could not confirm control of a name.
    Validation,
    /// The CA refuses the order, and will until a setting is changed.
    Config,
    /// The CA no longer knows or accepts the account.
    Account,
    /// The CA has paused this client until the operator acts.
    Paused,
    /// The certificate is not the one that was ordered.
    Content,
    /// The store failed to write a record.
    Store,
    /// The spec was changed or removed during the attempt. This is not a failure and is never
    /// stored.
    Changed,
}

/// The history of failed attempts with one issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureState {
    /// The issuer's name.
    pub issuer: String,
    /// The kind of the last failure.
    pub class: Class,
    /// Consecutive failures of this kind.
    pub attempts: u32,
    /// Time of the first of them, moved forward by the time that the node
    /// was off.
    pub since: UnixSeconds,
    /// Time of the last of them.
    pub last: UnixSeconds,
    /// The time of the next attempt; `None` if only a change of the spec or of a setting helps.
    pub not_before: Option<UnixSeconds>,
    /// The problem, in the CA's words if it gave any.
    pub problem: String,
    /// Advice for the operator; may be empty.
    pub advice: String,
    /// Fingerprint of the attempt. Failures with another one no longer count.
    pub print: u64,
    /// Challenge types that failed, so that another one is tried next.
    #[serde(default)]
    pub failed_challenges: Vec<ChallengeType>,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure.
    pub class: Class,
    /// The problem, in one sentence.
    pub problem: String,
    /// Advice for the operator; may be empty.
    pub advice: String,
    /// The wait that the CA asked for.
    pub retry_after: Option<Duration>,
    /// The CA's time.
    pub date: Option<UnixSeconds>,
    /// The challenge type that failed, if one did.
    pub challenge: Option<ChallengeType>,
    /// True if another challenge type can be tried at once.
    pub has_alternative: bool,
}

impl Failure {
    /// Creates a failure without advice.
    pub fn new(class: Class, problem: impl Into<String>) -> Self {
        Self {
            class,
            problem: problem.into(),
            advice: String::new(),
            retry_after: None,
            date: None,
            challenge: None,
            has_alternative: false,
        }
    }

    /// Adds advice.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }
}

impl FailureState {
    /// Adds a failure at `now` to the history. `random` spreads the retries.
    pub fn after(
        before: Option<&Self>,
        failure: &Failure,
        issuer: &str,
        fingerprint: u64,
        now: UnixSeconds,
        random: u64,
    ) -> Self {
        let before = before.filter(|before| before.print == fingerprint && before.issuer == issuer);
        let same = before.filter(|before| before.class == failure.class);
        let attempts = same.map_or(0, |same| same.attempts).saturating_add(1);

        let since = same.map_or(now, |same| {
            // The time during which the node was off does not count.
            let late = now - same.not_before.unwrap_or(now);
            if late > AWAY {
                same.since + late
            } else {
                same.since
            }
        });

        let mut failed_challenges = before
            .map(|before| before.failed_challenges.clone())
            .unwrap_or_default();
        match failure.challenge {
            Some(challenge) if failure.has_alternative => failed_challenges.push(challenge),
            Some(_) => failed_challenges.clear(),
            None => {}
        }

        let not_before = if failure.has_alternative {
            Some(now)
        } else {
            wait(failure, attempts, now - since, random).map(|wait| now + wait)
        };

        Self {
            issuer: issuer.to_owned(),
            class: failure.class,
            attempts,
            since,
            last: now,
            not_before,
            problem: failure.problem.clone(),
            advice: failure.advice.clone(),
            print: fingerprint,
            failed_challenges,
        }
    }

    /// Describes the problem with its advice.
    pub fn describe(&self) -> String {
        match &*self.advice {
            "" => self.problem.clone(),
            advice => format!("{}; {advice}", self.problem),
        }
    }

    /// Returns true if the next attempt waits for the operator.
    pub fn is_blocked(&self) -> bool {
        self.not_before.is_none()
    }
}

/// Returns the seconds to wait, or `None` if waiting does not help.
fn wait(failure: &Failure, attempts: u32, failing_for: i64, random: u64) -> Option<i64> {
    let retry_after = failure
        .retry_after
        .map(|wait| i64::try_from(wait.as_secs()).map_or(LONGEST_WAIT, |s| s.min(LONGEST_WAIT)));

    let own = match failure.class {
        Class::Transport | Class::Store | Class::Changed => doubling(30, 3_600, attempts),
        Class::RateLimited => doubling(600, 86_400, attempts),
        Class::Account => 86_400,
        Class::Content => doubling(3_600, 86_400, attempts),
        Class::Validation if failing_for > GIVE_UP => return None,
        Class::Validation => {
            let before = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
            VALIDATION.get(before).copied().unwrap_or(86_400)
        }
        Class::Config | Class::Paused => return None,
    };

    Some(match retry_after {
        // As long as the CA retry_after or a little longer, never shorter.
        Some(retry_after) if failure.class == Class::RateLimited => {
            retry_after + spread(retry_after.max(60) / 10, random)
        }
        Some(retry_after) => retry_after.max(own - own / 4 + spread(own / 2, random)),
        None => own - own / 4 + spread(own / 2, random),
    })
}

fn doubling(first: i64, most: i64, attempts: u32) -> i64 {
    let times = 1_i64 << attempts.saturating_sub(1).min(40);
    first.saturating_mul(times).min(most)
}

#[cfg(test)]
mod tests;
