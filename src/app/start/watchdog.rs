//! Watches the cores of the data plane: logs those that hang, and notifies the watchdog of systemd
//! only while none does, so that systemd restarts a process in which one hangs.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    proxy::Shared,
    util::drain::{Drain, Phase},
};

/// Maximum time between two looks at the cores.
const INTERVAL: Duration = Duration::from_secs(2);

/// Watches until the process ends.
pub(super) async fn watch(shared: Arc<Shared>, drain: Drain) {
    // sd_watchdog_enabled(3) advises to notify at half of the limit.
    let limit = sd_notify::watchdog_enabled();
    let interval = limit.map_or(INTERVAL, |limit| (limit / 2).min(INTERVAL));
    let mut known = BTreeSet::new();

    loop {
        // Cores end while the process drains, and its end has a limit of its own.
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
                "a core of the data plane hangs"
            );
        }
        let now: BTreeSet<usize> = stalled.iter().map(|one| one.core).collect();
        for core in known.difference(&now) {
            tracing::info!(core, "a core of the data plane runs again");
        }

        known = now;
        tokio::time::sleep(interval).await;
    }
}
