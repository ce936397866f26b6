//! The data plane: accept, TLS, HTTP server, steps, forward, upstream pools, upgrades, error
//! responses, drain. It knows `routing`, not Kubernetes.
//!
//! One current-thread runtime per core, each with its own listeners (SO_REUSEPORT) and its own
//! [`worker::Worker`] (pools, endpoint state). A request crosses these files in this order:
//! `listeners`, `listen`, `serve`, `downstream`, `handle`, `forward`, and `exchange` (HTTP/1.1) or
//! `upstream::h2`. Its response comes back the same way.

mod access_log;
mod body;
mod check;
mod condition;
pub mod conn;
pub mod counters;
mod deadline;
mod deferred_write_error;
mod dns;
mod downstream;
pub mod error;
mod exchange;
#[cfg(test)]
mod executor;
mod forward;
#[cfg(fuzzing)]
pub mod fuzz;
mod h1;
mod h2;
mod handle;
mod handshake;
mod headers;
mod listen;
mod listeners;
mod outside;
mod pin;
mod pool;
mod proxy_protocol;
mod pulse;
mod request;
mod run;
mod serve;
pub mod settings;
mod terms;
mod tunnel;
mod upstream;
mod worker;

pub use condition::{ConnectFailure, EndpointKey};
pub use counters::EndpointHealth;
pub use listen::StartError;
pub use listeners::Listeners;
pub use pulse::Stalled;
pub use run::{Running, cores, start};
pub use settings::Settings;
pub use worker::Shared;
