//! The routing table and its lookup.

use std::sync::Arc;

use super::{HostPattern, PathMatch, Route};

/// The rules of one host pattern, in order of precedence.
#[derive(Debug)]
pub struct HostRoutes {
    pattern: HostPattern,
    rules: Box<[(PathMatch, Arc<Route>)]>,
    /// Taken when no path matches (an Ingress' `defaultBackend` beside rules for this host).
    fallback: Option<Arc<Route>>,
}

/// All rules of the process at one moment.
#[derive(Debug, Default)]
pub struct RoutingTable {}
