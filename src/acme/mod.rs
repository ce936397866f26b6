//! Certificates that issue and renew themselves (RFC 8555): what is wanted, what is had, what to do
//! next, and the engine that does it. Knows nothing of Kubernetes: wishes come in as data,
//! certificates go out as data.

mod accounts;
mod advice;
mod board;
pub mod budget;
pub mod ca;
mod classify;
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
mod revoke;
mod run;
pub mod served;
mod told;
pub mod want;

pub use accounts::SharedAccounts;
pub use engine::{Engine, Pace, Parts};
pub use operate::OperateError;
