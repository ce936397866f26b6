//! Certificates that issue and renew themselves (RFC 8555): what is wanted, what is had, what to do
//! next, and the engine that does it. Knows nothing of Kubernetes: wishes come in as data,
//! certificates go out as data.

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

pub use accounts::SharedAccounts;
pub use engine::{Engine, Parts, Timing};
pub use operate::OperateError;
