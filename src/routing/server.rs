//! A server that is asked beside the backends of a route.

use http::HeaderValue;

use super::BackendRef;

/// A server with its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Its endpoints.
    pub backend: BackendRef,
    /// `Host` for it.
    pub authority: HeaderValue,
}
