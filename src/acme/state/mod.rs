//! The state that outlives an attempt, and the parts that attempts share: stored records, the time,
//! our accounts and sessions at CAs, and the responses to their challenges.

pub(crate) mod accounts;
pub mod active;
pub(crate) mod assignment;
pub(crate) mod ca_pool;
pub(crate) mod context;
pub(crate) mod ledger;
pub mod notice;
pub(crate) mod progress;
pub(crate) mod responder;
pub(crate) mod time_source;
pub(crate) mod timing;
pub(crate) mod triggered;
