//! The time, as far as it is known on a device whose clock can be wrong.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustls::pki_types::UnixTime;

use crate::{
    acme::plan::{Class, Failure},
    http_client,
    util::{
        clock::{Clock, Reading, Trust},
        sync::lock,
        time::UnixSeconds,
    },
};

/// Reads the machine's clocks, and judges them by the dates of CAs.
pub(crate) struct TimeSource {
    read: Arc<dyn Fn() -> Reading + Send + Sync>,
    clock: Mutex<Clock>,
    /// True to verify CAs at the clock's floor while the time is unknown, false to verify them by
    /// the wall clock. Either may be closer to the real time, so they take turns.
    by_floor: AtomicBool,
}

impl TimeSource {
    pub(crate) fn new(read: Arc<dyn Fn() -> Reading + Send + Sync>) -> Self {
        let clock = Clock::new(UnixSeconds(0), read());
        Self {
            read,
            clock: Mutex::new(clock),
            by_floor: AtomicBool::new(false),
        }
    }

    /// Returns the time, if it is known.
    pub(crate) fn now(&self) -> Option<UnixSeconds> {
        self.judge(|clock, reading| {
            clock.observe(reading);
            clock.now(reading)
        })
    }

    pub(crate) fn now_or_failure(&self) -> Result<UnixSeconds, Failure> {
        self.now().ok_or_else(|| {
            Failure::new(
                Class::Transport,
                "the time is no longer known because the clock jumped",
            )
        })
    }

    /// Returns the time, or the best guess if it is unknown.
    pub(crate) fn guess(&self) -> UnixSeconds {
        self.judge(|clock, reading| clock.guess(reading))
    }

    /// Returns the confidence in the wall clock.
    pub(crate) fn trust(&self) -> Trust {
        self.judge(|clock, reading| clock.trust(reading))
    }

    /// Returns the latest time that has certainly passed.
    pub(crate) fn floor(&self) -> UnixSeconds {
        lock(&self.clock).floor()
    }

    /// Records that a time has certainly passed.
    pub(crate) fn raise_floor(&self, passed: UnixSeconds) {
        lock(&self.clock).raise_floor(passed);
    }

    /// Passes the `Date` of a CA's response on to the clock.
    pub(crate) fn witness(&self, date: Option<UnixSeconds>) {
        if let Some(date) = date {
            self.judge(|clock, reading| clock.witness(date, reading));
        }
    }

    /// Verifies the next request for the time by the other of the two clocks.
    pub(crate) fn use_other_clock(&self) {
        self.by_floor.fetch_xor(true, Ordering::Relaxed);
    }

    /// Returns the clock by which the certificates of CAs are verified.
    pub(crate) fn for_verification(self: &Arc<Self>) -> http_client::Clock {
        let time = self.clone();
        Arc::new(move || {
            let seconds = time.judge(|clock, reading| match clock.now(reading) {
                Some(now) => now,
                None if time.by_floor.load(Ordering::Relaxed) => clock.floor(),
                None => clock.guess(reading),
            });
            UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds.0).unwrap_or(0)))
        })
    }

    fn judge<T>(&self, judge: impl FnOnce(&mut Clock, Reading) -> T) -> T {
        let reading = (self.read)();
        judge(&mut lock(&self.clock), reading)
    }
}
