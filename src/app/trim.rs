//! Memory goes back to the system when connections have ended that took much of it. The allocator would keep it: it
//! cannot know that the next thousand clients come tomorrow.

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

/// Growth in bytes that is worth the effort.
const WORTH: u64 = 8 * 1024 * 1024;

/// With more requests between two looks, what is free is soon needed again.
const QUIET: u64 = 150;

/// When to give memory back.
#[derive(Debug)]
struct Trimmer {
    /// Resident memory that is taken for what the process needs, in bytes.
    needed: u64,
    requests: u64,
}

impl Trimmer {
    /// Whether to give memory back now, with so much resident memory and so many requests since the start.
    fn is_due(&mut self, resident: u64, requests: u64) -> bool {
        let quiet = requests.saturating_sub(self.requests) <= QUIET;
        self.requests = requests;
        quiet && resident >= self.needed + WORTH
    }
}

/// Watches until the process ends.
pub(super) async fn watch(shared: Arc<Shared>) -> Result<(), String> {
    // Outside Linux nothing is known, and nothing is done.
    let Some(needed) = resident() else { return Ok(()) };
    let mut trimmer = Trimmer { needed, requests: 0 };
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(resident) = resident() else { return Ok(()) };
        let answered = |core: &Arc<Counters>| core.requests.iter().map(Count::value).sum::<u64>();
        if !trimmer.is_due(resident, shared.counters().iter().map(answered).sum()) {
            continue;
        }

        let _ = tokio::task::spawn_blocking(memory::give_back).await;
        // What could not be given back is in use, or lies between what is.
        trimmer.needed = self::resident().unwrap_or(resident);
        tracing::debug!(before = resident, after = trimmer.needed, "memory given back");
    }
}

/// The resident memory of this process, in bytes.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_when_memory_has_grown_and_little_happens() {
        let mut trimmer = Trimmer { needed: WORTH, requests: 0 };
        assert!(!trimmer.is_due(3 * WORTH, 2000), "busy");
        assert!(trimmer.is_due(3 * WORTH, 2000 + QUIET));

        trimmer.needed = 2 * WORTH;
        assert!(!trimmer.is_due(3 * WORTH - 1, 3000), "little has grown since");
    }

    #[test]
    fn the_resident_memory_of_this_process_is_known() {
        assert!(resident().unwrap() > 100_000);
    }
}
