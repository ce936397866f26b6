//! Errors of making keys, requests and certificates.

use crate::acme::plan::{Class, Failure};

/// A key, request or certificate that cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    #[error(transparent)]
    Rcgen(#[from] rcgen::Error),
    #[error("generating an RSA key failed: {0}")]
    Rsa(#[from] rsa::Error),
    #[error("encoding an RSA key failed: {0}")]
    Pkcs8(#[from] rsa::pkcs8::Error),
    #[error("its thread ended early: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        let problem = format!("creating a key or certificate failed: {error}");
        Self::new(Class::Config, problem)
    }
}
