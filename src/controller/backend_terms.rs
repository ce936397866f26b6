//! Holds the terms of backends that annotations ask for.

use crate::routing::{BackendTls, Protocol, Reach};

/// The terms of a backend that annotations ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BackendTerms {
    /// The protocol; `None` if the port of the Service decides.
    pub(super) protocol: Option<Protocol>,
    pub(super) tls: BackendTls,
    pub(super) reach: Reach,
}
