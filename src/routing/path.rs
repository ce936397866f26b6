//! Paths: normal form of a request path, and the three matches of Ingress v1.

/// How a rule matches the normalised path of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathMatch {
    /// The whole path, case-sensitive (`pathType: Exact`).
    Exact(Box<str>),
    /// By elements split at `/`; `/foo` takes `/foo`, `/foo/` and `/foo/bar`, not `/foobar` (`pathType: Prefix`).
    Prefix(Box<str>),
    /// As a plain string prefix (`pathType: ImplementationSpecific`, as ingress-nginx does).
    Start(Box<str>),
}
