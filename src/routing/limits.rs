//! Limits of the requests of each client of a route, and of the pace of responses.

use std::{sync::Arc, time::Duration};

use http::StatusCode;

use super::Prefixes;

/// The most rates of one limit.
pub const RATES: usize = 2;

/// A rate: a request is admitted for each interval, and `burst` more at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// The time for each request.
    pub interval: Duration,
    /// Requests that may come before their time.
    pub burst: u32,
}

/// The limits of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The rates, all of which must admit a request.
    pub rates: [Option<Rate>; RATES],
    /// Requests in flight.
    pub in_flight: Option<u32>,
}

/// The limits of each client of a route, or of all together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientLimits {
    /// The annotations that they are made from, for people.
    pub from: Box<str>,
    /// The object: its routes count together, and keep counting over edits.
    pub object: Arc<str>,
    /// The limits.
    pub limits: Limits,
    /// The addresses that have none.
    pub exempt: Prefixes,
    /// True if all clients count together.
    pub is_shared: bool,
    /// The status for too many; `None` for that of the settings.
    pub status: Option<StatusCode>,
}

/// The pace of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pace {
    /// Bytes for each second.
    pub rate: u64,
    /// Bytes before that.
    pub after: u64,
}
