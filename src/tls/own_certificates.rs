//! The certificates that ports of layer 4 have for themselves, whatever name a client sends.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use rustls::sign::CertifiedKey;

use super::{Certificate, CertificateError};
use crate::{routing::Identity, util::sync::lock};

/// The certificates with their keys, parsed once. Those that no port has any more are dropped.
#[derive(Debug, Default)]
pub(super) struct OwnCertificates(Mutex<HashMap<Arc<Identity>, Arc<CertifiedKey>>>);

impl OwnCertificates {
    /// Returns the certificate of an identity.
    pub(super) fn get(&self, of: &Arc<Identity>) -> Result<Arc<CertifiedKey>, CertificateError> {
        let mut known = lock(&self.0);
        if let Some(certified) = known.get(of) {
            return Ok(certified.clone());
        }

        let certificate = Certificate::from_pem(of.chain(), of.key())?;
        let certified = certificate.certified().clone();
        known.retain(|one, _| Arc::strong_count(one) > 1);
        known.insert(of.clone(), certified.clone());
        Ok(certified)
    }
}
