//! Certificates that issue and renew themselves (RFC 8555): desired certificates, stored
//! certificates, the plan that reconciles them, and the engine that carries it out. This module
//! knows nothing of Kubernetes: specs come in as data, certificates go out as data.

pub mod ca;
pub mod dns;
pub mod engine;
pub mod issuer;
mod order;
pub mod plan;
pub mod spec;
mod state;

pub use engine::{Engine, LoopError, OperateError};
pub use state::{Parts, SharedAccounts, SharedAccountsError, Timing};
