//! Waiting longer after each failure. Randomness is an argument.

use std::time::Duration;

/// Grows from `first` to `most`, doubling; a success resets it.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits between `first` and `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            failures: 0,
        }
    }

    /// Returns the time to wait: between half of the step and all of it, so that many waiters
    /// spread out.
    pub fn failed(&mut self, random: u64) -> Duration {
        let step = self
            .first
            .saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .min(self.most);
        self.failures = self.failures.saturating_add(1).min(31);
        let half = step / 2;
        let share = (random % 1024) as u32;
        half + half * share / 1024
    }

    /// It works again.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_start_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let waits: Vec<Duration> = (0..40).map(|_| backoff.failed(u64::MAX)).collect();
        assert!(waits[0] <= Duration::from_millis(500) && waits[0] >= Duration::from_millis(250));
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(waits[39] <= Duration::from_secs(30) && waits[39] > Duration::from_secs(29));
        backoff.succeeded();
        assert!(backoff.failed(0) == Duration::from_millis(250));
    }
}
