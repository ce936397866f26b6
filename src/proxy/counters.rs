//! Counters of one core. Only that core writes them, so cores share no cache line; a scrape adds
//! them up.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use super::request::error::{Error, Kind, Side};
use crate::{
    routing::{BackendSettings, request_counts},
    util::sync::lock,
};

/// The kinds of upstream errors, as labels of metrics; the indices of
/// [`Counters::upstream_errors`].
pub const UPSTREAM_ERRORS: [&str; 3] = ["bad_gateway", "unavailable", "timeout"];

/// The statuses with which requests are refused because of the client; the indices of
/// [`Counters::refused`].
pub const REFUSALS: [u16; 10] = [400, 405, 408, 413, 414, 417, 421, 431, 505, 508];

/// Upper bounds of the latency buckets, in seconds; one more bucket counts slower requests.
pub const LATENCY_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

/// The counters of one core.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests by class of status: index 0 for 1xx up to 4 for 5xx.
    pub requests: [Count; 5],
    /// Requests by latency bucket (time to the head of the response).
    pub latency: [Count; LATENCY_BUCKETS.len() + 1],
    /// Sum of those latencies, in nanoseconds.
    pub latency_nanos: Count,
    /// Attempts beyond the first.
    pub retries: Count,
    /// Upstream connections opened.
    pub connects: Count,
    /// Bytes of ports that went through pipes, without a copy.
    pub spliced: Count,
    /// Connections to endpoints that were refused or not accepted in time.
    pub connect_failures: Count,
    /// Endpoints ejected after consecutive failures.
    pub ejections: Count,
    /// Upgraded connections (WebSocket).
    pub upgrades: Count,
    /// Requests that failed because of the upstream, by [`UPSTREAM_ERRORS`].
    pub upstream_errors: [Count; UPSTREAM_ERRORS.len()],
    /// Requests that were refused because of the client, by [`REFUSALS`].
    pub refused: [Count; REFUSALS.len()],
    /// Requests whose client disconnected before the head of the response.
    pub client_gone: Count,
    /// Client connections closed at once because the total or the per-client limit was reached.
    pub connections_refused: Count,
    /// Connections and datagrams refused because their client may not come in.
    pub connections_forbidden: Count,
    /// Client connections closed for a failed TLS handshake or PROXY protocol header.
    pub bad_connections: Count,
    /// Connections to ports without the header of the PROXY protocol that is expected.
    pub proxy_missing: Count,
    /// Connections to ports with a header of the PROXY protocol where none is expected.
    pub proxy_unexpected: Count,
    /// HTTP/2 connections closed because of a flood of frames.
    pub floods: Count,
    /// Connections to TCP ports.
    pub tcp: PortCounters,
    /// Sessions of UDP ports.
    pub udp: PortCounters,
    /// Connections whose TLS is passed through.
    pub tls: PortCounters,
    /// Bytes of request bodies sent on.
    pub bytes_in: Count,
    /// Bytes of response bodies from upstreams passed to clients.
    pub bytes_out: Count,
    /// Copies of requests that a mirror has responded to.
    pub copies_sent: Count,
    /// Copies that were left out, because they did not fit or have no complete body.
    pub copies_dropped: Count,
    /// Copies without a response of the mirror.
    pub copies_failed: Count,
    /// Request bodies that were read whole into a file.
    pub bodies_spooled: Count,
    /// Request bodies that did not fit there, or could not be written.
    pub bodies_not_spooled: Count,
    /// Health checks of endpoints that are well.
    pub checks_passed: Count,
    /// Health checks that failed.
    pub checks_failed: Count,
    endpoints: Mutex<HashMap<(SocketAddr, Arc<BackendSettings>), Arc<EndpointStats>>>,
}

/// The counters of one core for the ports of one transport.
#[derive(Debug, Default)]
pub struct PortCounters {
    /// Connections of clients.
    pub begun: Count,
    /// The number of those that have ended.
    pub ended: Count,
    /// Connections for which no endpoint could be reached.
    pub failures: Count,
    /// Bytes from clients.
    pub received: Count,
    /// Bytes to clients.
    pub sent: Count,
}

/// The counters of one core for one endpoint. Only that core writes them.
#[derive(Debug, Default)]
pub struct EndpointStats {
    pub(super) begun: Count,
    pub(super) ended: Count,
    pub(super) failures: Count,
    pub(super) ejected: AtomicBool,
}

/// The counters of an endpoint, summed over the cores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointHealth {
    /// Its address.
    pub addr: SocketAddr,
    /// Requests and connects begun.
    pub requests: u64,
    /// The number of those that have not ended yet.
    pub in_flight: u64,
    /// Connects that were refused or timed out.
    pub failures: u64,
    /// The number of cores that have ejected it and have had no response from it since.
    pub ejected_on: u32,
}

/// Sums the counters of all cores per address.
pub(super) fn endpoints(cores: &[Arc<Counters>]) -> Vec<EndpointHealth> {
    let mut sums = BTreeMap::new();
    for core in cores {
        for ((addr, _), stats) in lock(&core.endpoints).iter() {
            let empty = EndpointHealth {
                addr: *addr,
                requests: 0,
                in_flight: 0,
                failures: 0,
                ejected_on: 0,
            };
            let sum = sums.entry(*addr).or_insert(empty);
            sum.requests += stats.begun.value();
            sum.in_flight += stats.begun.value().saturating_sub(stats.ended.value());
            sum.failures += stats.failures.value();
            sum.ejected_on += u32::from(stats.ejected.load(Relaxed));
        }
    }
    sums.into_values().collect()
}

impl Count {
    /// Adds `n`. Only the core that owns the counter may call this.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Returns the current value.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counters {
    /// Returns the counters of an endpoint. Drops those that only this map still holds: their
    /// endpoints are gone.
    pub(super) fn endpoint(
        &self,
        addr: SocketAddr,
        backend: &Arc<BackendSettings>,
    ) -> Arc<EndpointStats> {
        let mut endpoints = lock(&self.endpoints);
        endpoints.retain(|_, stats| Arc::strong_count(stats) > 1);
        let key = (addr, backend.clone());
        endpoints.entry(key).or_default().clone()
    }

    pub(super) fn failed(&self, error: &Error) {
        let errors = &self.upstream_errors;
        let status = error.kind.status().as_u16();
        let count = match (error.side, error.kind) {
            (Side::Us, _) | (_, Kind::ClientGone) => None,
            (Side::Client, _) => {
                let index = REFUSALS.iter().position(|refusal| *refusal == status);
                index.map(|index| &self.refused[index])
            }
            (Side::Upstream, Kind::Unavailable(_)) => Some(&errors[1]),
            (Side::Upstream, Kind::GatewayTimeout(_)) => Some(&errors[2]),
            (Side::Upstream, _) => Some(&errors[0]),
        };
        if let Some(count) = count {
            count.add(1);
        }
    }

    pub(super) fn responded(&self, status: http::StatusCode, took: std::time::Duration) {
        self.requests[request_counts::class(status)].add(1);
        let seconds = took.as_secs_f64();
        let bucket = LATENCY_BUCKETS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(LATENCY_BUCKETS.len());
        self.latency[bucket].add(1);
        self.latency_nanos
            .add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
}
