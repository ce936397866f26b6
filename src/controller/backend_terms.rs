//! Holds the terms of backends that annotations ask for.

use std::sync::Arc;

use crate::routing::{
    BackendTimes, BackendTls, EndpointGroups, HealthCheck, Protocol, ProxyVersion, Reach,
};

/// The terms of a backend that annotations ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BackendTerms {
    /// The protocol; `None` if the port of the Service decides.
    pub(super) protocol: Option<Protocol>,
    pub(super) tls: BackendTls,
    pub(super) reach: Reach,
    /// The header of the PROXY protocol; `None` if no annotation says anything.
    pub(super) sends_proxy: Option<SendsProxy>,
    /// True if HTTP/2 is not spoken over TLS.
    pub(super) only_http1: bool,
    /// True if a connection has one request.
    pub(super) closes: bool,
    /// Requests in flight of each endpoint, 0 for no limit; `None` if no annotation says anything.
    pub(super) max_requests: Option<u32>,
    /// The groups of its endpoints.
    pub(super) groups: Option<Arc<EndpointGroups>>,
    /// The health check of its endpoints.
    pub(super) check: Option<Arc<HealthCheck>>,
    /// The times of requests that are our own.
    pub(super) times: BackendTimes,
}

/// The header of the PROXY protocol at the start of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendsProxy {
    No,
    Version(ProxyVersion),
}

impl SendsProxy {
    /// Returns the version.
    pub(super) fn version(self) -> Option<ProxyVersion> {
        match self {
            Self::No => None,
            Self::Version(version) => Some(version),
        }
    }
}
