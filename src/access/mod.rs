//! The rights of users in the mini cluster: users, actions, the rules of roles, the index that
//! decides, and tokens. Keeps the default roles, aggregated roles and the accounts `default` up to
//! date.

mod aggregate;
mod defaults;
#[cfg(fuzzing)]
pub mod fuzz;
mod index;
mod rules;
#[cfg(test)]
mod tests;
mod tokens;
mod user;
mod wait;

pub use aggregate::{aggregate, keep_accounts, keep_aggregated};
pub use defaults::ensure_defaults;
pub use index::{Decision, Index, RoleRef};
pub use rules::{MAX_TUPLES, Rule, TooManyTuples, missing};
pub use tokens::{BoundObject, ISSUER, TokenError, TokenKey, TokenKeyError, TokenRequest};
pub use user::{Action, MASTERS, ResourceAction, User};
