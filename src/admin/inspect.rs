//! The view of the process that the admin server serves.

use std::pin::Pin;

use super::{CertsReport, ExplainReport, StatusReport};
use crate::{
    acme::OperateError,
    routing::{HostError, path::PathError},
};

/// Inspects and operates the process.
pub trait Inspect: Send + Sync + 'static {
    /// Returns whether the process serves.
    fn readiness(&self) -> Result<(), Unhealthy>;
    /// Returns a note for the operator of a process that serves; empty if there is none.
    fn note(&self) -> String;
    /// Returns the state of everything.
    fn status(&self) -> StatusReport;
    /// Explains what happens to a request.
    fn explain(&self, request: &ExplainRequest) -> Result<ExplainReport, UrlError>;
    /// Returns everything about certificates.
    fn certs(&self) -> CertsReport;
    /// Performs an operation. Returns one sentence about its result.
    fn operate(
        &self,
        operation: Operation,
    ) -> Pin<Box<dyn Future<Output = Result<String, OperationError>> + Send>>;
}

/// A request to explain.
#[derive(Clone, Debug, Default)]
pub struct ExplainRequest {
    /// Its URL, or host and path.
    pub url: String,
    /// The address of the client.
    pub from: Option<String>,
    /// Its method; GET without one.
    pub method: Option<String>,
    /// Its fields (`Name: value`).
    pub headers: Vec<String>,
}

/// The reason why a process does not serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unhealthy {
    /// The objects have not been read yet.
    #[error("not ready: the objects have not been read yet")]
    Starting,
    /// A core of the data plane hangs, and only a restart helps.
    #[error("not ready: {0}")]
    Stalled(String),
}

/// An operation on certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Renews a certificate now; it is named by its name or a host.
    Renew(String),
    /// Revokes a certificate for a reason of RFC 5280 section 5.3.1, and orders a new one.
    Revoke(String, Option<u8>),
    /// Changes the key of the account at an issuer.
    ChangeKey(String),
    /// Makes a new account at an issuer.
    NewAccount(String),
}

/// The reason why an operation fails.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// No certificate has this issuer.
    #[error("no certificate has the issuer {0}")]
    UnknownIssuer(String),
    /// The engine or the CA refuses.
    #[error(transparent)]
    Engine(#[from] OperateError),
}

/// The reason why a URL cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// The scheme is not supported.
    #[error("{0:?} is not one of http, https, tcp, udp")]
    Scheme(String),
    /// There is no port behind the host.
    #[error("{0:?} does not end with a port from 1 to 65535")]
    Port(String),
    /// The host is invalid.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The address of the client is invalid.
    #[error("{0:?} is not an address")]
    Address(String),
    /// A field is invalid.
    #[error("{0:?} is not a field (Name: value)")]
    Header(String),
    /// The method is invalid.
    #[error("{0:?} is not a method")]
    Method(String),
    /// The path is invalid.
    #[error(transparent)]
    Path(#[from] PathError),
}
