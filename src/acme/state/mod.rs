//! The state that outlives an attempt, and the parts that attempts share: stored records, the time,
//! our accounts and sessions at CAs, and the responses to their challenges.

mod accounts;
pub mod active;
mod assignment;
mod ca_pool;
mod context;
mod ledger;
pub mod notice;
mod progress;
mod responder;
mod time_source;
mod timing;
mod triggered;

pub use accounts::{SharedAccounts, SharedAccountsError};
pub(crate) use accounts::{account_key, new_account};
pub(crate) use ca_pool::Ca;
pub(crate) use context::Context;
pub use context::Parts;
pub(crate) use ledger::Ledger;
pub(crate) use notice::NoticeReason;
pub use timing::Timing;
