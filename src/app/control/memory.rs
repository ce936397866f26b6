//! Memory goes back to the system when connections have ended that took much of it. The allocator
//! would keep it: it cannot know that the next thousand clients come tomorrow.

use std::{fs, sync::Arc, time::Duration};

use crate::{
    proxy::{
        Shared,
        counters::{Count, Counters},
    },
    util::memory,
};

/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(15);

/// Growth in bytes that is worth an attempt, and a gain of one that was.
const WORTH: u64 = 8 * 1024 * 1024;
const GAIN: u64 = 1024 * 1024;

/// With more requests between two looks, what is free is soon needed again.
const QUIET: u64 = 150;

/// Looks between attempts that gain nothing, at most: what has grown may be in use. An hour.
const MAX_PAUSE: u32 = 240;

/// When to give memory back.
#[derive(Debug)]
struct Trimmer {
    /// The least resident memory so far, in bytes.
    least: u64,
    requests: u64,
    /// Looks until the next attempt, and after an attempt that gains nothing.
    wait: u32,
    pause: u32,
}

impl Trimmer {
    fn new(resident: u64) -> Self {
        Self {
            least: resident,
            requests: 0,
            wait: 0,
            pause: 1,
        }
    }

    /// Whether to give memory back now, with so much resident memory and so many requests since the
    /// start.
    fn is_due(&mut self, resident: u64, requests: u64) -> bool {
        let quiet = requests.saturating_sub(self.requests) <= QUIET;
        self.requests = requests;
        self.least = self.least.min(resident);
        if !quiet || resident < self.least + WORTH {
            return false;
        }
        self.wait = self.wait.saturating_sub(1);
        self.wait == 0
    }

    /// Takes note of what an attempt has gained, in bytes.
    fn tried(&mut self, gain: u64) {
        self.pause = if gain >= GAIN {
            1
        } else {
            (self.pause * 2).min(MAX_PAUSE)
        };
        self.wait = self.pause;
    }
}

/// Watches until the process ends.
pub(in crate::app) async fn watch(shared: Arc<Shared>) -> Result<(), String> {
    // Outside Linux nothing is known, and nothing is done.
    let Some(resident_at_start) = resident() else {
        return Ok(());
    };
    let mut trimmer = Trimmer::new(resident_at_start);
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(before) = resident() else {
            return Ok(());
        };
        let answered = |core: &Arc<Counters>| core.requests.iter().map(Count::value).sum::<u64>();
        if !trimmer.is_due(before, shared.counters().iter().map(answered).sum()) {
            continue;
        }

        let _ = tokio::task::spawn_blocking(memory::give_back).await;
        let after = resident().unwrap_or(before);
        trimmer.tried(before.saturating_sub(after));
        tracing::debug!(before, after, "memory given back");
    }
}

/// The resident memory of this process, in bytes.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_when_memory_has_grown_and_little_happens() {
        let mut trimmer = Trimmer::new(WORTH);
        assert!(!trimmer.is_due(3 * WORTH, 2000), "busy");
        assert!(trimmer.is_due(3 * WORTH, 2000 + QUIET));
        assert!(
            !trimmer.is_due(2 * WORTH - 1, 2000 + QUIET),
            "little has grown"
        );
    }

    #[test]
    fn attempts_that_gain_nothing_become_rare() {
        let mut trimmer = Trimmer::new(WORTH);
        let mut attempts = 0;
        let mut hour = |trimmer: &mut Trimmer, gain| {
            let before = attempts;
            for _ in 0..MAX_PAUSE {
                if trimmer.is_due(3 * WORTH, 0) {
                    attempts += 1;
                    trimmer.tried(gain);
                }
            }
            attempts - before
        };

        assert!(
            (5..10).contains(&hour(&mut trimmer, 0)),
            "the pause doubles"
        );
        assert!(hour(&mut trimmer, 0) <= 1);
        hour(&mut trimmer, GAIN);
        assert_eq!(hour(&mut trimmer, GAIN), MAX_PAUSE);
    }

    #[test]
    fn the_resident_memory_of_this_process_is_known() {
        assert!(resident().unwrap() > 100_000);
    }
}
