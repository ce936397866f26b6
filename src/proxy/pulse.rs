//! Detects cores whose event loop does not run: such a core is blocked or in an endless loop, and
//! serves no requests.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// The interval at which a running core records a beat.
const BEAT: Duration = Duration::from_secs(2);

/// A core without a beat for this long is stalled. A busy board may delay a thread for a while.
const STALLED_AFTER: Duration = Duration::from_secs(10);

/// The time of a core's last beat. Only that core writes it.
#[derive(Debug)]
pub(super) struct Pulse {
    core: usize,
    born: Instant,
    /// Milliseconds since `born`.
    last: AtomicU64,
}

/// A core that does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// The number of the core; its thread is called `proxy-CORE`.
    pub core: usize,
    /// The time since its last beat.
    pub since: Duration,
}

impl Pulse {
    pub(super) fn new(core: usize) -> Self {
        Self {
            core,
            born: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    /// Beats for as long as the core runs.
    pub(super) async fn run(&self) {
        loop {
            self.beat();
            tokio::time::sleep(BEAT).await;
        }
    }

    fn beat(&self) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Relaxed);
    }

    /// Returns the core if its last beat is at least [`STALLED_AFTER`] ago.
    pub(super) fn stalled(&self) -> Option<Stalled> {
        let last = Duration::from_millis(self.last.load(Relaxed));
        let since = self.born.elapsed().saturating_sub(last);
        (since >= STALLED_AFTER).then_some(Stalled {
            core: self.core,
            since,
        })
    }
}

impl std::fmt::Display for Stalled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "core {} has not run for {} s",
            self.core,
            self.since.as_secs()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_beats_is_not_stalled() {
        let pulse = Pulse::new(3);
        assert_eq!(pulse.stalled(), None);

        let pulse = Pulse {
            born: Instant::now() - Duration::from_secs(60),
            ..pulse
        };
        let stalled = pulse.stalled().unwrap();
        assert_eq!(stalled.to_string(), "core 3 has not run for 60 s");

        pulse.beat();
        assert_eq!(pulse.stalled(), None);
    }
}
