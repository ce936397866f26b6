//! The active certificates: stored certificates, parsed and ready to be served.

use std::{collections::BTreeMap, sync::Arc};

use crate::{acme::plan::StoredCertificate, tls::Certificate, util::hash::fnv1a};

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
    /// True if its issuer has revoked the newest one.
    pub revoked: bool,
    /// True if the newest one came from a Secret.
    pub adopted: bool,
    stamp: u64,
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
                let same = CertificatePair {
                    revoked: stored.revoked,
                    adopted: stored.adopted,
                    ..same.clone()
                };
                certificates.insert(id.clone(), same);
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
                revoked: stored.revoked,
                adopted: stored.adopted,
                stamp,
            };
            certificates.insert(id.clone(), pair);
        }

        Self { certificates }
    }
}
