//! The interface that every DNS provider has.

use std::pin::Pin;

use hickory_proto::rr::Name;

use super::{cname::Chain, error::Failure, record::Action};

/// The future of an operation of a provider.
pub(super) type Working<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// A service that publishes and removes records.
pub(super) trait Service: Send + Sync {
    /// Returns its address or path for messages, without secrets.
    fn at(&self) -> String;

    /// Adds or removes one value of a name, unless there is nothing to do.
    fn change<'a>(&'a self, action: Action, name: &'a Name, value: &'a str) -> Working<'a, ()>;

    /// Follows the CNAMEs that the service itself knows, which may not be public.
    fn follow(&self, name: Name) -> Working<'_, Chain> {
        Box::pin(async { Ok(Chain::new(name)) })
    }
}
