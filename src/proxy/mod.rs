//! The data plane: accept, TLS, HTTP server, steps, forward, upstream pools, upgrades, error
//! responses, drain. It knows `routing`, not Kubernetes.
//!
//! One current-thread runtime per core, each with its own listeners (SO_REUSEPORT) and its own
//! [`worker::Worker`] (pools, endpoint state). `downstream` has the client's side, `request` what
//! happens to a request in between, `upstream` the endpoints' side; `h1` and `h2` have what both
//! sides need of a protocol, `l4` what passes on as bytes.

mod auth_cache;
mod clock;
pub mod conn;
mod copies;
pub mod counters;
mod deadline;
mod downstream;
#[cfg(test)]
mod executor;
#[cfg(fuzzing)]
pub mod fuzz;
mod h1;
mod h2;
mod l4;
mod logins;
pub mod memory;
mod nonces;
mod proxy_header;
mod pulse;
mod request;
mod run;
pub mod settings;
mod spool;
mod transport;
mod upstream;
mod worker;

pub use self::{
    counters::EndpointHealth,
    downstream::{
        listen::StartError,
        listeners::{Listeners, Sockets},
    },
    l4::mismatch::ProxyMismatch,
    pulse::Stalled,
    run::{Running, cores, start},
    settings::Settings,
    spool::{SpoolError, check as check_spool},
    upstream::condition::{ConnectFailure, EndpointKey},
    worker::Shared,
};
