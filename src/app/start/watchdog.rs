//! Watches the cores of the data plane. Says so when one does not turn, and feeds the watchdog of
//! systemd only while all do: systemd then starts a process anew in which one hangs.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    proxy::Shared,
    util::drain::{Drain, Phase},
};

/// How often the cores are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Watches until the process ends.
pub(super) async fn watch(shared: Arc<Shared>, drain: Drain) -> Result<(), String> {
    // As sd_watchdog_enabled(3) advises, it is fed at half its time.
    let limit = sd_notify::watchdog_enabled();
    let look = limit.map_or(LOOK, |limit| (limit / 2).min(LOOK));
    let mut known = BTreeSet::new();
    loop {
        // Cores end while the process drains; the end of the process has a limit of its own.
        let stalled = match drain.phase() {
            Phase::Running => shared.stalled(),
            Phase::Draining { .. } | Phase::Stopped => Vec::new(),
        };
        if stalled.is_empty() && limit.is_some() {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }

        for one in stalled.iter().filter(|one| !known.contains(&one.core)) {
            tracing::error!(
                core = one.core,
                seconds = one.since.as_secs(),
                "a core of the data plane does not turn"
            );
        }
        let now: BTreeSet<usize> = stalled.iter().map(|one| one.core).collect();
        for core in known.difference(&now) {
            tracing::info!(core, "a core of the data plane turns again");
        }
        known = now;
        tokio::time::sleep(look).await;
    }
}
