//! Health checks: requests and connections of our own that show whether an endpoint is well.

use std::{net::IpAddr, time::Duration};

/// The health check of each endpoint of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HealthCheck {
    /// The request; `None` for a connection alone.
    pub request: Option<CheckRequest>,
    /// The address in place of that of the endpoint.
    pub addr: Option<IpAddr>,
    /// The port in place of that of the endpoint.
    pub port: Option<u16>,
    /// The time between the starts of two checks.
    pub interval: Duration,
    /// The time that a check may take.
    pub timeout: Duration,
    /// The checks in a row after which an endpoint that was down is well.
    pub rise: u32,
    /// The failures in a row after which an endpoint is down.
    pub fall: u32,
}

/// The request of a health check. A response with a status from 200 to 399 is well.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckRequest {
    /// The method.
    pub method: Box<str>,
    /// The path and query.
    pub target: Box<str>,
}
