//! Every setting of the data plane, with its default in one place.

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;

/// Settings of the data plane. Fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Plain HTTP listeners.
    pub http: Vec<SocketAddr>,
    /// HTTPS listeners.
    pub https: Vec<SocketAddr>,
    /// Data-plane cores; 0 for all.
    pub workers: usize,
    /// Peers (CIDR) whose `X-Forwarded-*`, `Forwarded` and `X-Real-IP` are believed and extended;
    /// others' are replaced.
    pub trusted_proxies: Vec<IpNet>,
    /// The port of HTTPS that clients see behind a port mapping or a balancer; `None` for 443.
    pub external_https_port: Option<u16>,
    /// Peers (CIDR) that must begin each connection with a PROXY protocol header (v1 or v2); empty
    /// expects none.
    pub proxy_protocol_from: Vec<IpNet>,
    /// From the first byte of a request (or the start of the connection) to the end of its head:
    /// 408.
    pub client_header_timeout: Duration,
    /// A keep-alive connection without a request in flight is closed after this.
    pub client_idle_timeout: Duration,
    /// TLS handshake, from accept to its end.
    pub handshake_timeout: Duration,
    /// TCP (and TLS) connect to an endpoint: next endpoint, then 504.
    pub connect_timeout: Duration,
    /// From the end of the request head sent upstream to the head of the answer: 504.
    pub response_header_timeout: Duration,
    /// Between two reads or two writes of a body or an upgraded connection.
    pub stream_idle_timeout: Duration,
    /// A pooled upstream connection is closed after this idle time.
    pub upstream_idle_timeout: Duration,
    /// Between two pings of an HTTP/2 connection to an endpoint that has a request on it.
    pub upstream_ping_interval: Duration,
    /// From the request head to the last byte of the answer; `None` for no limit. Upgraded
    /// connections are exempt.
    pub request_timeout: Option<Duration>,
    /// Bytes of a request head: 431 above (414 when it is the target that is too long).
    pub max_header_bytes: usize,
    /// Fields in a request head: 431 above.
    pub max_headers: usize,
    /// Bytes of a request body: 413 above; `None` for no limit.
    pub max_body_bytes: Option<u64>,
    /// Client connections in all: further ones are closed at once.
    pub max_connections: usize,
    /// Client connections per client address; 0 for no limit.
    pub max_connections_per_client: usize,
    /// Concurrent streams of one HTTP/2 connection.
    pub max_streams: u32,
    /// Idle upstream connections kept per endpoint and core.
    pub max_idle_per_endpoint: usize,
    /// Attempts for one request, the first included.
    pub max_attempts: u32,
    /// Refused connections in a row after which an endpoint is passed over.
    pub eject_after: u32,
    /// For how long it is passed over, the first time; doubled each further time up to ten times
    /// this.
    pub eject_for: Duration,
    /// How an endpoint is chosen.
    pub balance: BalanceSetting,
    /// Verify the certificates of TLS backends against the web's roots. Off by default, as with
    /// ingress-nginx.
    pub verify_backends: bool,
    /// Backends known by a name may be on this device (loopback) or have link-local addresses.
    pub local_names: bool,
    /// Access log.
    pub access_log: AccessLog,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BalanceSetting {
    /// In turn.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight (of two picked at random).
    LeastRequest,
}

/// What is written per request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AccessLog {
    /// Nothing.
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
            http: Vec::new(),
            https: Vec::new(),
            workers: 0,
            trusted_proxies: Vec::new(),
            external_https_port: None,
            proxy_protocol_from: Vec::new(),
            client_header_timeout: Duration::from_secs(30),
            client_idle_timeout: Duration::from_secs(75),
            handshake_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            response_header_timeout: Duration::from_secs(60),
            stream_idle_timeout: Duration::from_secs(300),
            upstream_idle_timeout: Duration::from_secs(60),
            // gRPC servers count pings that come more often than every 5 minutes, and end the
            // connection after a few.
            upstream_ping_interval: Duration::from_secs(310),
            request_timeout: None,
            max_header_bytes: 32 * 1024,
            max_headers: 100,
            max_body_bytes: None,
            max_connections: 10_000,
            max_connections_per_client: 0,
            max_streams: 128,
            max_idle_per_endpoint: 256,
            max_attempts: 3,
            eject_after: 3,
            eject_for: Duration::from_secs(5),
            balance: BalanceSetting::RoundRobin,
            verify_backends: false,
            local_names: false,
            access_log: AccessLog::Off,
        }
    }
}
