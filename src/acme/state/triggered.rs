//! Remembers the challenges whose validation was triggered, so that they are not triggered again
//! while the CA validates them: a failure would count twice.
//!
//! Nothing of this is stored. Boulder reports a challenge as `pending` while it validates, so after
//! a crash neither the CA nor a stored mark could tell whether it was triggered. In both cases the
//! CA first gets the time to finish, which needs no mark.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

/// The challenges that were triggered.
#[derive(Debug)]
pub(crate) struct TriggeredChallenges {
    /// Orders of an earlier process, which may have triggered any of their challenges.
    inherited: HashSet<String>,
    began: Instant,
    /// Challenges by URL.
    challenges: HashMap<String, Instant>,
}

impl TriggeredChallenges {
    /// Creates it with the URLs of the orders that were stored at the start.
    pub(crate) fn new(inherited: HashSet<String>, began: Instant) -> Self {
        Self {
            inherited,
            began,
            challenges: HashMap::new(),
        }
    }

    /// Records that a challenge is triggered at `now`.
    pub(crate) fn note(&mut self, challenge: &str, now: Instant, within: Duration) {
        self.challenges
            .retain(|_, at| now.duration_since(*at) < within);
        self.challenges.insert(challenge.to_owned(), now);
    }

    /// Returns the time after which a challenge that is still pending can be triggered, given that
    /// every validation ends `within` a certain time. Returns `None` if it was not triggered.
    pub(crate) fn settled(
        &self,
        order: &str,
        challenge: &str,
        within: Duration,
    ) -> Option<Instant> {
        let triggered = self.challenges.get(challenge).copied();
        let perhaps = || self.inherited.contains(order).then_some(self.began);
        triggered.or_else(perhaps).map(|at| at + within)
    }
}

#[cfg(test)]
mod tests;
