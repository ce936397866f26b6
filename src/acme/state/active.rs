//! The active certificates: stored certificates, parsed and ready to be served.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    acme::plan::StoredCertificate, routing::HostPattern, tls::Certificate, util::hash::fnv1a,
};

/// Certificates by the ID of their spec.
#[derive(Clone, Debug, Default)]
pub struct ActiveCertificates {
    /// The certificates.
    pub certificates: BTreeMap<String, CertificatePair>,
}

/// The certificate of a spec, and its predecessor.
#[derive(Clone, Debug)]
pub struct CertificatePair {
    /// The newest certificate.
    pub live: Arc<Certificate>,
    /// Its predecessor, while that covers names that the newest does not.
    pub previous: Option<Arc<Certificate>>,
    /// Name of the newest certificate's issuer.
    pub issuer: Arc<str>,
    /// True if an ACME CA issued it, false for the local CA and self-signed certificates.
    pub public: bool,
    stamp: u64,
}

/// Which certificate of a pair is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The newest one.
    Live,
    /// Its predecessor.
    Previous,
}

impl ActiveCertificates {
    /// Parses the stored certificates, reusing those that are unchanged in `known`. Unusable
    /// certificates are logged and left out.
    pub(crate) fn of(
        stored: &BTreeMap<String, StoredCertificate>,
        known: &BTreeMap<String, CertificatePair>,
    ) -> Self {
        let read = |chain: &str, key: &str| {
            Certificate::from_pem(chain.as_bytes(), key.as_bytes()).map(Arc::new)
        };

        let mut certificates = BTreeMap::new();
        for (id, stored) in stored {
            let stamp = fnv1a(stored.chain.as_bytes());
            if let Some(same) = known.get(id).filter(|known| known.stamp == stamp) {
                certificates.insert(id.clone(), same.clone());
                continue;
            }
            let live = match read(&stored.chain, &stored.key) {
                Ok(live) => live,
                Err(error) => {
                    tracing::error!(
                        certificate = id,
                        %error,
                        "a stored certificate cannot be used"
                    );
                    continue;
                }
            };

            let previous = stored
                .previous
                .as_ref()
                .and_then(|previous| read(&previous.chain, &previous.key).ok());

            let pair = CertificatePair {
                live,
                previous,
                issuer: (&*stored.issuer).into(),
                public: !stored.directory.is_empty(),
                stamp,
            };
            certificates.insert(id.clone(), pair);
        }

        Self { certificates }
    }
}

impl CertificatePair {
    /// Returns the newest certificate that covers the pattern, even if it has expired: clients
    /// report that more clearly than a wrong certificate, and our clock may be wrong.
    pub fn choose(&self, pattern: &HostPattern) -> Option<(Source, &Arc<Certificate>)> {
        if self.live.covers(pattern) {
            return Some((Source::Live, &self.live));
        }
        self.previous
            .as_ref()
            .filter(|previous| previous.covers(pattern))
            .map(|previous| (Source::Previous, previous))
    }
}
