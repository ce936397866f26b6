//! The terms of a route that differ from the settings of the data plane.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{GroupSelector, Pace, Stickiness};

/// The terms on which requests are forwarded. The settings of the data plane apply where one is
/// `None`; the greatest value of a type stands for no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Times.
    pub timeouts: Timeouts,
    /// Attempts for one request, the first included. At least one is made.
    pub attempts: Option<u32>,
    /// The time after which no further attempt begins, from the first one on.
    pub attempts_time: Option<Duration>,
    /// Bytes of a request body: 413 above.
    pub max_body_bytes: Option<u64>,
    /// True if request bodies are read before an endpoint is asked, up to the bound of the
    /// settings.
    pub reads_ahead: bool,
    /// The pace of responses; `None` for as fast as the client takes them.
    pub pace: Option<Pace>,
    /// The choice of an endpoint.
    pub balancing: Option<LoadBalancing>,
    /// The property by which a client stays at one endpoint.
    pub stickiness: Option<Stickiness>,
    /// The property by which a request names a group of endpoints.
    pub selector: Option<Box<GroupSelector>>,
    /// True if the access log has no requests of it.
    pub is_unlogged: bool,
    /// True if `Host` for the backend is the address of the endpoint, and not that of the client.
    pub sends_address: bool,
}

/// The times of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// For the TCP (and TLS) connect to an endpoint.
    pub connect: Option<Duration>,
    /// From the end of the request head sent upstream to the head of the response: 504.
    pub response_header: Option<Duration>,
    /// From the request head to the last byte of the response: 504, or a broken response.
    pub request: Option<Duration>,
    /// Between two reads or two writes of a body.
    pub idle: Option<Duration>,
    /// The same of an upgraded connection.
    pub tunnel: Option<Duration>,
    /// For a place at an endpoint with as many requests as it may have: 503.
    pub queue: Option<Duration>,
}

/// The choice of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadBalancing {
    /// In turn.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight (of two picked at random).
    LeastRequest,
}
