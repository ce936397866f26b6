//! Settings of the data plane.

use std::{path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    routing::LoadBalancing,
    util::{
        setting::InvalidSetting,
        units::{size, span},
    },
};

/// The least that [`Settings::max_header_bytes`] may be: the HTTP server's own buffer.
const MIN_HEADER_BYTES: usize = 8 * 1024;

/// The most pipes of a core. Each takes two descriptors.
pub const MAX_PIPES: usize = 16;

/// Settings of the data plane, fixed for the life of the process: the section `[proxy]` of the
/// file, and what the composition root adds, which the file cannot set here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Data-plane cores; 0 for all.
    #[serde(skip)]
    pub workers: usize,
    /// Pipes of each core, for large transfers of ports.
    #[serde(skip)]
    pub pipes: usize,
    /// The access log.
    #[serde(skip)]
    pub access_log: AccessLog,
    /// Interval between two pings of an HTTP/2 connection to an endpoint that has a request on it.
    #[serde(skip)]
    pub upstream_ping_interval: Duration,
    /// Peers (CIDR) whose `X-Forwarded-*`, `Forwarded` and `X-Real-IP` are trusted and extended.
    /// Those of other peers are replaced.
    pub trusted_proxies: Vec<IpNet>,
    /// Port of HTTPS that clients see behind a port mapping or a balancer; `None` for 443.
    pub external_https_port: Option<u16>,
    /// Peers (CIDR) that must begin each connection with a PROXY protocol header (v1 or v2).
    pub proxy_protocol_from: Vec<IpNet>,
    /// Time from the first byte of a request (or the start of the connection) to the end of its
    /// head: 408.
    #[serde(with = "span")]
    pub client_header_timeout: Duration,
    /// Time after which a keep-alive connection without a request in flight is closed.
    #[serde(with = "span")]
    pub client_idle_timeout: Duration,
    /// Time for the TLS handshake, from accept to its end.
    #[serde(with = "span")]
    pub handshake_timeout: Duration,
    /// Time for the TCP (and TLS) connect to an endpoint: next endpoint, then 504.
    #[serde(with = "span")]
    pub connect_timeout: Duration,
    /// Time from the end of the request head sent upstream to the head of the response: 504.
    #[serde(with = "span")]
    pub response_header_timeout: Duration,
    /// Time between two reads or two writes of a body or an upgraded connection.
    #[serde(with = "span")]
    pub stream_idle_timeout: Duration,
    /// Time after which a connection to a TCP port is closed if nothing moves.
    #[serde(with = "span")]
    pub tcp_idle_timeout: Duration,
    /// Time after which connections of TCP ports to an endpoint end that is not listed any more.
    #[serde(with = "span")]
    pub tcp_drain_timeout: Duration,
    /// Time after which a session of a UDP port ends if nothing moves.
    #[serde(with = "span")]
    pub udp_idle_timeout: Duration,
    /// Idle time after which a pooled upstream connection is closed.
    #[serde(with = "span")]
    pub upstream_idle_timeout: Duration,
    /// Time from the request head to the last byte of the response; `None` for no limit. Upgraded
    /// connections are exempt.
    #[serde(with = "span")]
    pub request_timeout: Option<Duration>,
    /// Bytes of a request head: 431 above (414 when the target is too long).
    #[serde(with = "size")]
    pub max_header_bytes: usize,
    /// Fields in a request head: 431 above.
    pub max_headers: usize,
    /// Refuse request targets with characters that no URI has (RFC 3986 section 2): 400. By default
    /// they are percent-encoded.
    pub strict_targets: bool,
    /// Bytes of a request body: 413 above; `None` for no limit.
    #[serde(with = "size")]
    pub max_body_bytes: Option<u64>,
    /// Bytes of a request body that are read before its endpoint is asked, on routes that ask for
    /// it. What is beyond is passed on as it comes.
    #[serde(with = "size")]
    pub max_buffered_bytes: usize,
    /// The directory of files for the rest of those bodies, which are then read whole; `None` for
    /// none. The files have no names.
    pub spool_directory: Option<PathBuf>,
    /// Bytes in all those files: what is beyond is passed on as it comes.
    #[serde(with = "size")]
    pub max_spool_bytes: usize,
    /// Client connections in total: further ones are closed at once.
    pub max_connections: usize,
    /// Client connections per client address; 0 for no limit.
    pub max_connections_per_client: usize,
    /// Status for requests above a limit of an Ingress (`limit-rps`, `limit-connections`): 503 as
    /// nginx has it, or 429.
    pub limit_status: u16,
    /// Sessions of UDP ports in total: beyond that, the one that was idle for the longest time
    /// ends.
    pub max_udp_sessions: usize,
    /// Concurrent streams of one HTTP/2 connection.
    pub max_streams: u32,
    /// Idle upstream connections kept per endpoint and core.
    pub max_idle_per_endpoint: usize,
    /// Attempts for one request, the first included.
    pub max_attempts: u32,
    /// Refused connections in a row after which an endpoint is ejected.
    pub eject_after: u32,
    /// Time for which it is ejected, the first time; doubled each further time up to ten times
    /// this.
    #[serde(with = "span")]
    pub eject_for: Duration,
    /// The choice of an endpoint.
    pub balance: LoadBalancing,
    /// Verify the certificates of TLS backends against the web's roots. Off by default, as with
    /// ingress-nginx.
    pub verify_backends: bool,
    /// Backends known by a name may be on this device (loopback) or have link-local addresses.
    pub local_names: bool,
}

/// The access log: the requests in it, and its form.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum AccessLog {
    /// No access log.
    #[default]
    Off,
    /// One line of text per request, for this share of requests (0 to 1). Errors (5xx) are always
    /// written.
    Text(f64),
    /// The same as JSON.
    Json(f64),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: 0,
            pipes: MAX_PIPES,
            access_log: AccessLog::Off,
            // gRPC servers count pings that come more often than every 5 minutes, and end the
            // connection after a few.
            upstream_ping_interval: Duration::from_secs(310),

            trusted_proxies: Vec::new(),
            external_https_port: None,
            proxy_protocol_from: Vec::new(),
            client_header_timeout: Duration::from_secs(30),
            client_idle_timeout: Duration::from_secs(75),
            handshake_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            response_header_timeout: Duration::from_secs(60),
            stream_idle_timeout: Duration::from_secs(300),
            tcp_idle_timeout: Duration::from_secs(3600),
            // RFC 4787, requirement 5: never shorter.
            tcp_drain_timeout: Duration::from_secs(3600),
            udp_idle_timeout: Duration::from_secs(120),
            upstream_idle_timeout: Duration::from_secs(60),
            request_timeout: None,

            max_header_bytes: 32 * 1024,
            max_headers: 100,
            strict_targets: false,
            max_body_bytes: None,
            max_buffered_bytes: 1 << 20,
            spool_directory: None,
            max_spool_bytes: 256 << 20,
            max_connections: 10_000,
            max_connections_per_client: 0,
            limit_status: 503,
            max_udp_sessions: 4096,
            max_streams: 128,
            max_idle_per_endpoint: 256,

            max_attempts: 3,
            eject_after: 3,
            eject_for: Duration::from_secs(5),
            balance: LoadBalancing::RoundRobin,
            verify_backends: false,
            local_names: false,
        }
    }
}

impl Settings {
    /// Checks the values that their types do not limit.
    ///
    /// # Errors
    /// The first setting with a value that it cannot have.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        let invalid = |key, reason: &str| Err(InvalidSetting::new(key, reason));

        if self.external_https_port == Some(0) {
            return invalid("external_https_port", "it is a port, from 1 to 65535");
        }
        if self.max_attempts == 0 {
            let reason = "it counts the first attempt too, so it is at least 1";
            return invalid("max_attempts", reason);
        }
        if ![429, 503].contains(&self.limit_status) {
            return invalid("limit_status", "it is 429 or 503");
        }
        if self.max_header_bytes < MIN_HEADER_BYTES {
            return invalid("max_header_bytes", "it is at least 8KiB");
        }
        Ok(())
    }
}
