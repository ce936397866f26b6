//! Certificates that issue and renew themselves (RFC 8555): desired certificates, stored
//! certificates, the plan that reconciles them, and the engine that carries it out. This module
//! knows nothing of Kubernetes: specs come in as data, certificates go out as data.

mod accounts;
pub mod active;
pub mod budget;
pub mod ca;
mod classify;
mod diagnose;
pub mod dns;
mod engine;
pub mod failure;
pub mod issuer;
mod keys;
mod local;
pub mod notice;
mod operate;
mod order;
pub mod plan;
mod prove;
pub mod record;
pub mod renewal;
pub mod report;
mod responder;
mod revoke;
mod run;
pub mod spec;
mod triggered;

pub use accounts::{SharedAccounts, SharedAccountsError};
pub use engine::{Engine, Parts, Timing};
pub use operate::OperateError;
pub use run::LoopError;
