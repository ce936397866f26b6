//! Certificate authorities: their protocol (RFC 8555) over our HTTP client. The caller decides
//! which requests to send and what to store. It also provides keys and CSRs, so that they can be
//! stored before they are used.

mod client;
mod error;
#[cfg(fuzzing)]
pub mod fuzz;
mod identifier;
pub mod jws;
mod session;
mod types;
mod wire;

pub use client::Client;
pub use error::{ClientError, ErrorKind, Problem};
pub use identifier::Identifier;
pub use session::Session;
pub use types::{
    Account, Authorization, Chain, Challenge, Directory, Meta, Order, RenewalInfo, Replied, Status,
    ari_id,
};
