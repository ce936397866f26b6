//! Counts of the requests to the rules of an object.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use http::StatusCode;

/// Classes of status: 1xx to 5xx.
const CLASSES: usize = 5;

/// Returns the place of a status among the classes: 0 for 1xx up to 4 for 5xx.
pub fn class(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100).clamp(1, CLASSES) - 1
}

/// The requests to the rules of an object. All cores add to it; a sum over cores would need a place
/// for each of them in every object.
#[derive(Debug, Default)]
pub struct RequestCounts {
    by_class: [AtomicU64; CLASSES],
    nanos: AtomicU64,
}

impl RequestCounts {
    /// Counts a request by the status of its response, and the time to the head of that.
    pub fn add(&self, status: StatusCode, took: Duration) {
        self.by_class[class(status)].fetch_add(1, Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    /// Returns the numbers of responses with a status of 1xx up to 5xx.
    pub fn by_class(&self) -> [u64; CLASSES] {
        std::array::from_fn(|class| self.by_class[class].load(Relaxed))
    }

    /// Returns the sum of all times.
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Relaxed))
    }
}
