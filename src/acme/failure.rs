//! Why an attempt failed, and when the next one makes sense. A CA's patience is limited, so each
//! kind of failure has a backoff of its own, and some wait for a person.

use serde::{Deserialize, Serialize};

/// The longest wait that a CA's `Retry-After` is believed for, seconds: what asks for more is
/// repeated until then.
const LONGEST_WAIT: i64 = 8 * 86_400;
/// Waits after the first, second and third failed validation, seconds, then daily: what Let's
/// Encrypt recommends.
const VALIDATION: [i64; 3] = [60, 600, 6_000];
/// Validation that fails for this long stops until somebody looks, seconds.
const GIVE_UP: i64 = 30 * 86_400;

/// An attempt that is so much later than it could have been, seconds: nobody was there to make it.
const AWAY: i64 = 86_400;

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The CA was not reached, broke off, answered 5xx, or in a way that makes no sense.
    Transport,
    /// The CA asks to wait (429, or 503 with `Retry-After`).
    #[serde(alias = "limited")]
    RateLimited,
    /// The CA could not confirm control of a name.
    Validation,
    /// What is asked for is refused and will be until somebody changes it.
    Config,
    /// The account is not known or not allowed any more.
    Account,
    /// The CA has paused this client until somebody acts.
    Paused,
    /// The certificate that came is not the one that was asked for.
    Content,
    /// The store could not keep what must not be lost.
    Store,
    /// The wish was changed or taken back while it was worked on: no failure at all, and never
    /// stored.
    Changed,
}

/// What is remembered of failed attempts with one issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureState {
    /// The issuer's name.
    pub issuer: String,
    /// The last failure's kind.
    pub class: Class,
    /// Failures of this kind in a row.
    pub attempts: u32,
    /// The first of them, seconds since 1970; later by the time that nobody was there to try.
    pub since: i64,
    /// The last of them.
    pub last: i64,
    /// No attempt before this moment; `None` while only a change of the wish or of a setting helps.
    pub not_before: Option<i64>,
    /// What went wrong, in the CA's words where it had some.
    pub problem: String,
    /// What the operator can do about it; may be empty.
    pub advice: String,
    /// [`CertificateSpec::print`](super::spec::CertificateSpec::print) at the time: another wish starts afresh.
    pub print: u64,
    /// Challenge types that failed, so that another one is tried.
    #[serde(default)]
    pub failed_challenges: Vec<String>,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its kind.
    pub class: Class,
    /// What went wrong.
    pub problem: String,
    /// What helps.
    pub advice: String,
    /// The CA asked to wait this long, in seconds.
    pub retry_after: Option<i64>,
    /// The challenge type that failed, if one did.
    pub challenge: Option<String>,
    /// Whether another challenge type is left to be tried at once.
    pub another_way: bool,
}

impl Failure {
    /// A failure of a kind, without advice.
    pub fn new(class: Class, problem: impl Into<String>) -> Self {
        Self {
            class,
            problem: problem.into(),
            advice: String::new(),
            retry_after: None,
            challenge: None,
            another_way: false,
        }
    }

    /// The same with what helps.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }
}

impl FailureState {
    /// Takes in a failure at `now`. `random` spreads retries.
    pub fn after(
        before: Option<&Self>,
        failure: &Failure,
        issuer: &str,
        print: u64,
        now: i64,
        random: u64,
    ) -> Self {
        let before = before.filter(|before| before.print == print && before.issuer == issuer);
        let same = before.filter(|before| before.class == failure.class);
        let attempts = same.map_or(0, |same| same.attempts).saturating_add(1);
        let since = same.map_or(now, |same| {
            // The time that a node was switched off is no time of trying.
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
        match &failure.challenge {
            Some(challenge) if failure.another_way => failed_challenges.push(challenge.clone()),
            Some(_) => failed_challenges.clear(),
            None => {}
        }
        let not_before = if failure.another_way {
            Some(now)
        } else {
            wait(failure, attempts, now - since, random).map(|wait| now.saturating_add(wait))
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
            print,
            failed_challenges,
        }
    }

    /// Whether only a person can help.
    pub fn is_blocked(&self) -> bool {
        self.not_before.is_none()
    }
}

/// Seconds to wait, or `None` if waiting does not help.
fn wait(failure: &Failure, attempts: u32, failing_for: i64, random: u64) -> Option<i64> {
    let asked = failure
        .retry_after
        .map(|seconds| seconds.clamp(0, LONGEST_WAIT));
    let own = match failure.class {
        Class::Transport | Class::Store | Class::Changed => doubling(30, 3_600, attempts),
        Class::RateLimited => doubling(600, 86_400, attempts),
        Class::Account => 86_400,
        Class::Content => doubling(3_600, 86_400, attempts),
        Class::Validation if failing_for > GIVE_UP => return None,
        Class::Validation => VALIDATION
            .get(
                usize::try_from(attempts)
                    .unwrap_or(usize::MAX)
                    .saturating_sub(1),
            )
            .copied()
            .unwrap_or(86_400),
        Class::Config | Class::Paused => return None,
    };
    Some(match asked {
        // Exactly what was asked, and a little later, never earlier.
        Some(asked) if failure.class == Class::RateLimited => {
            asked + spread(asked.max(60) / 10, random)
        }
        Some(asked) => asked.max(own - own / 4 + spread(own / 2, random)),
        None => own - own / 4 + spread(own / 2, random),
    })
}

fn doubling(first: i64, most: i64, attempts: u32) -> i64 {
    first
        .saturating_mul(
            1_i64
                .checked_shl(attempts.saturating_sub(1).min(40))
                .unwrap_or(i64::MAX),
        )
        .min(most)
}

/// Something between 0 and `width`.
fn spread(width: i64, random: u64) -> i64 {
    let width = u64::try_from(width).unwrap_or(0);
    i64::try_from(random % (width + 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
