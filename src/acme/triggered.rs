//! Which challenges a CA was told to look at, so that it is not told again while it looks: a
//! failure would count twice.
//!
//! Nothing of this is stored. Boulder calls a challenge `pending` for as long as it validates, so
//! after a crash between two steps the CA's word and a mark of ours say the same: told perhaps.
//! Either way the CA gets the time to come to its verdict first, and that needs no mark.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

/// What the CAs were told.
#[derive(Debug)]
pub(super) struct TriggeredChallenges {
    /// Orders of another process, which may have told the CA anything until it ended.
    inherited: HashSet<String>,
    began: Instant,
    /// Challenges by URL.
    challenges: HashMap<String, Instant>,
}

impl TriggeredChallenges {
    /// With the orders that are found at the start, by URL.
    pub(super) fn new(inherited: HashSet<String>, began: Instant) -> Self {
        Self {
            inherited,
            began,
            challenges: HashMap::new(),
        }
    }

    /// The CA is told now.
    pub(super) fn note(&mut self, challenge: &str, now: Instant, within: Duration) {
        self.challenges
            .retain(|_, at| now.duration_since(*at) < within);
        self.challenges.insert(challenge.to_owned(), now);
    }

    /// From when a challenge that is pending is one that the CA was not told of: every verdict
    /// comes `within` a while.
    pub(super) fn settled(
        &self,
        order: &str,
        challenge: &str,
        within: Duration,
    ) -> Option<Instant> {
        let told = self.challenges.get(challenge).copied();
        let perhaps = || self.inherited.contains(order).then_some(self.began);
        told.or_else(perhaps).map(|at| at + within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(60);

    #[test]
    fn only_what_may_have_been_told_is_waited_for() {
        let began = Instant::now();
        let mut told = TriggeredChallenges::new(["found".to_owned()].into(), began);
        assert_eq!(told.settled("new", "challenge", WITHIN), None);
        assert_eq!(
            told.settled("found", "challenge", WITHIN),
            Some(began + WITHIN)
        );
        let later = began + WITHIN * 3;
        told.note("challenge", later, WITHIN);
        assert_eq!(
            told.settled("new", "challenge", WITHIN),
            Some(later + WITHIN)
        );
        assert_eq!(
            told.settled("found", "challenge", WITHIN),
            Some(later + WITHIN)
        );
        told.note("another", later + WITHIN, WITHIN);
        assert_eq!(
            told.settled("new", "challenge", WITHIN),
            None,
            "forgotten when it does not matter any more"
        );
    }
}
