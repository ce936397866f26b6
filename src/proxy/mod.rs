//! The data plane: accept, TLS, HTTP server, filters, forward, upstream pools, upgrades, error answers, drain.
//! It knows `routing`, not Kubernetes.
//!
//! One current-thread runtime per core, each with its own listeners (SO_REUSEPORT) and its own [`worker::Worker`]
//! (pools, endpoint state). A request crosses these files in this order: `listen` → `conn` → `handle` → `forward`.

pub mod conn;
pub mod error;
pub mod settings;
pub mod worker;

mod body;
mod handle;

pub use settings::Settings;
pub use worker::Shared;
