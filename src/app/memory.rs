//! Returns freed memory to the system. The allocator keeps it otherwise, in the expectation that it
//! is needed again soon. Two things leave much of it behind: a burst of changed objects (the first
//! list of a cluster, or a directory that is applied), and connections that have ended.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use crate::{
    proxy::{
        Shared,
        counters::{Count, Counters},
        memory::Pressure,
    },
    store::Store,
    util::memory::{self, Resident},
};

/// Number of changed objects from which memory is trimmed afterwards.
const BURST: usize = 500;
/// Time without a change after which a burst is over.
const BURST_QUIET: Duration = Duration::from_secs(2);

/// Time between two looks at the resident memory.
const INTERVAL: Duration = Duration::from_secs(15);
/// Growth in bytes from which trimming is attempted, without the pages of files.
const MIN_GROWTH: u64 = 6 * 1024 * 1024;
/// Gain in bytes from which an attempt counts as successful.
const MIN_GAIN: u64 = 1024 * 1024;
/// Number of requests per interval above which freed memory is soon needed again.
const MAX_REQUESTS: u64 = 150;
/// Shortest time between two attempts under memory pressure.
const PRESSED: Duration = Duration::from_millis(200);
/// Longest pause after attempts that gained nothing, in intervals: one hour. The memory may be in
/// use.
const MAX_PAUSE: u32 = 240;

/// Counts changed objects for the trimmer.
#[derive(Clone, Debug)]
pub(crate) struct ChangeCounter(watch::Sender<usize>);

impl ChangeCounter {
    /// Adds `count` changed objects.
    pub(crate) fn add(&self, count: usize) {
        self.0
            .send_modify(|total| *total = total.wrapping_add(count));
    }
}

/// Trims the memory of the process after bursts of changes and after it has grown.
#[derive(Debug)]
pub(crate) struct MemoryTrimmer {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    changes: watch::Receiver<usize>,
}

impl MemoryTrimmer {
    /// Returns the trimmer and the counter that tells it about changes.
    pub(crate) fn new(store: Arc<dyn Store>, shared: Arc<Shared>) -> (Self, ChangeCounter) {
        let (counter, changes) = watch::channel(0);
        let trimmer = Self {
            store,
            shared,
            changes,
        };
        (trimmer, ChangeCounter(counter))
    }

    /// Runs until the process ends.
    pub(crate) async fn run(mut self) {
        let mut burst = Burst::default();
        let resident = Resident::open();
        let resident = || resident.as_ref().and_then(Resident::bytes);
        let mut growth = resident().map(Growth::new);
        let mut next_look = Instant::now() + INTERVAL;
        let mut pressure = self.shared.memory.changes();

        loop {
            tokio::select! {
                Ok(()) = self.changes.changed() => {
                    let total = *self.changes.borrow_and_update();
                    burst.changed(total, Instant::now());
                }
                () = tokio::time::sleep_until(burst.due.unwrap_or(next_look)),
                    if burst.due.is_some() =>
                {
                    burst.due = None;
                    self.trim_memory().await;
                }
                Ok(()) = pressure.changed() => self.relieve().await,
                // Without /proc only bursts are trimmed.
                () = tokio::time::sleep_until(next_look), if growth.is_some() => {
                    next_look = Instant::now() + INTERVAL;
                    if let (Some(growth), Some(before)) = (&mut growth, resident())
                        && growth.is_due(before, self.requests())
                    {
                        self.trim_memory().await;
                        let after = resident().unwrap_or(before);
                        growth.attempted(before.saturating_sub(after));
                        tracing::debug!(before, after, "memory returned to the system");
                    }
                }
                else => return,
            }
        }
    }

    /// Trims until there is no pressure, or no more to gain.
    async fn relieve(&self) {
        let memory = &self.shared.memory;
        let mut pause = PRESSED;
        while memory.pressure(std::time::Instant::now()) != Pressure::Low {
            let before = memory.resident();
            self.trim_memory().await;
            tokio::time::sleep(pause).await;

            memory.pressure(std::time::Instant::now());
            if before.saturating_sub(memory.resident()) < MIN_GAIN {
                pause = (pause * 2).min(INTERVAL);
            }
        }
    }

    /// Returns the number of requests since the start.
    fn requests(&self) -> u64 {
        let of_core = |core: &Arc<Counters>| core.requests.iter().map(Count::value).sum::<u64>();
        self.shared.counters().iter().map(of_core).sum()
    }

    /// Frees what the store holds on to, and returns all free memory to the system.
    async fn trim_memory(&self) {
        let store = self.store.clone();
        let trimmed = tokio::task::spawn_blocking(move || {
            store.trim_memory();
            memory::give_back();
        });
        // It fails only if the process ends.
        let _ = trimmed.await;
    }
}

/// Recognizes the end of a burst of changes.
#[derive(Debug, Default)]
struct Burst {
    /// Total of changes as of the last burst.
    trimmed: usize,
    /// End of the current burst if nothing else changes.
    due: Option<Instant>,
}

impl Burst {
    /// Notes the total of changes since the start.
    fn changed(&mut self, total: usize, now: Instant) {
        if self.due.is_some() || total.wrapping_sub(self.trimmed) >= BURST {
            self.trimmed = total;
            self.due = Some(now + BURST_QUIET);
        }
    }
}

/// Recognizes memory that has grown and is probably free.
#[derive(Debug)]
struct Growth {
    /// The least resident memory so far, in bytes.
    least: u64,
    /// Number of requests as of the last look.
    requests: u64,
    /// Intervals until the next attempt.
    wait: u32,
    /// Intervals to wait after the last attempt.
    pause: u32,
}

impl Growth {
    fn new(resident: u64) -> Self {
        Self {
            least: resident,
            requests: 0,
            wait: 0,
            pause: 1,
        }
    }

    /// Returns whether to trim now. `resident` is in bytes, `requests` counts since the start.
    fn is_due(&mut self, resident: u64, requests: u64) -> bool {
        let is_quiet = requests.saturating_sub(self.requests) <= MAX_REQUESTS;
        self.requests = requests;
        self.least = self.least.min(resident);
        if !is_quiet || resident < self.least + MIN_GROWTH {
            return false;
        }

        self.wait = self.wait.saturating_sub(1);
        self.wait == 0
    }

    /// Notes the gain of an attempt, in bytes. The pause doubles after one that gained nothing.
    fn attempted(&mut self, gain: u64) {
        self.pause = if gain >= MIN_GAIN {
            1
        } else {
            (self.pause * 2).min(MAX_PAUSE)
        };
        self.wait = self.pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_due_some_time_after_its_last_change() {
        let now = Instant::now();
        let mut burst = Burst::default();
        burst.changed(BURST - 1, now);
        assert_eq!(burst.due, None, "too few changes");
        burst.changed(BURST, now);
        assert_eq!(burst.due, Some(now + BURST_QUIET));

        let later = now + BURST_QUIET / 2;
        burst.changed(BURST + 1, later);
        assert_eq!(burst.due, Some(later + BURST_QUIET), "postponed");

        burst.due = None;
        burst.changed(2 * BURST, later);
        assert_eq!(burst.due, None, "counted from the last burst");
        burst.changed(2 * BURST + 1, later);
        assert!(burst.due.is_some());
    }

    #[test]
    fn growth_is_due_when_there_are_few_requests() {
        let mut growth = Growth::new(MIN_GROWTH);
        assert!(!growth.is_due(3 * MIN_GROWTH, 2000), "busy");
        assert!(growth.is_due(3 * MIN_GROWTH, 2000 + MAX_REQUESTS));
        assert!(
            !growth.is_due(2 * MIN_GROWTH - 1, 2000 + MAX_REQUESTS),
            "little growth"
        );
    }

    #[test]
    fn attempts_that_gain_nothing_become_rare() {
        let mut growth = Growth::new(MIN_GROWTH);
        let mut attempts = 0;
        let mut hour = |growth: &mut Growth, gain| {
            let before = attempts;
            for _ in 0..MAX_PAUSE {
                if growth.is_due(3 * MIN_GROWTH, 0) {
                    attempts += 1;
                    growth.attempted(gain);
                }
            }
            attempts - before
        };

        assert!((5..10).contains(&hour(&mut growth, 0)), "the pause doubles");
        assert!(hour(&mut growth, 0) <= 1);
        hour(&mut growth, MIN_GAIN);
        assert_eq!(hour(&mut growth, MIN_GAIN), MAX_PAUSE);
    }
}
