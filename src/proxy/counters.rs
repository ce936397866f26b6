//! Counters of one core. Only that core writes them, so they cost no shared cache line; a scrape adds them up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Upper bounds of the latency buckets, in seconds; one more bucket has what is slower.
pub const LATENCY_BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

/// What one core counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests by class of status: index 0 for 1xx up to 4 for 5xx.
    pub requests: [Count; 5],
    /// Requests by latency bucket (time to the head of the answer).
    pub latency: [Count; LATENCY_BUCKETS.len() + 1],
    /// Sum of those latencies, in microseconds.
    pub latency_micros: Count,
    /// Attempts beyond the first.
    pub retries: Count,
    /// Upstream connections opened.
    pub connects: Count,
    /// Connections that endpoints refused or did not accept in time.
    pub connect_failures: Count,
    /// Endpoints passed over after failures in a row.
    pub ejections: Count,
    /// Upgraded connections (WebSocket).
    pub upgrades: Count,
}

impl Count {
    /// Adds to it; to be called by the core that owns it only.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The value.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counters {
    pub(super) fn answered(&self, status: http::StatusCode, took: std::time::Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.requests[class].add(1);
        let seconds = took.as_secs_f64();
        let bucket = LATENCY_BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(LATENCY_BUCKETS.len());
        self.latency[bucket].add(1);
        self.latency_micros.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}
