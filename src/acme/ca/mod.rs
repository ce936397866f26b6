//! Certificate authorities: their protocol (RFC 8555), and the HTTP client below it. Requests go
//! in, resources come out; when to ask for what, and what to keep, is the caller's. Keys and CSRs
//! come from the caller, so they can be stored before they are used.

mod client;
mod error;
#[cfg(fuzzing)]
pub mod fuzz;
mod header;
pub mod http;
pub mod jws;
mod session;
mod types;
mod wire;

pub use client::Client;
pub use error::{ClientError, ErrorKind, Problem, Subproblem};
pub use session::Session;
pub use types::{
    Account, Authorization, Chain, Challenge, Directory, Identifier, Meta, Order, RenewalInfo,
    Replied, Status, ari_id,
};
