//! A server that gets copies of requests.

use super::{BackendRef, Variables};

/// A server that gets a copy of each request that is forwarded. Its responses are dropped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mirror {
    /// The annotations that it is made from, for people.
    pub from: Box<str>,
    /// Its URL, for people.
    pub url: Box<str>,
    /// Its endpoints.
    pub backend: BackendRef,
    /// The path and the query of copies.
    pub target: Variables,
    /// True if the query of the request is added to them.
    pub adds_query: bool,
    /// `Host` of copies.
    pub host: Variables,
    /// True if copies have the body of the request.
    pub has_body: bool,
}
