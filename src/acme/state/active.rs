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
        let read = |id: &str, chain: &str, key: &str| {
            let read = Certificate::from_pem(chain.as_bytes(), key.as_bytes());
            let read = read.inspect_err(|error| {
                tracing::error!(certificate = id, %error, "a stored certificate cannot be used");
            });
            read.ok().map(Arc::new)
        };

        let mut certificates = BTreeMap::new();
        for (id, stored) in stored {
            let stamp = fnv1a(stored.chain.as_bytes());
            let same = known.get(id).filter(|known| known.stamp == stamp);
            let (live, previous) = match same {
                Some(same) => (same.live.clone(), same.previous.clone()),
                None => {
                    let Some(live) = read(id, &stored.chain, &stored.key) else {
                        continue;
                    };
                    let previous = stored.previous.as_ref();
                    (
                        live,
                        previous.and_then(|one| read(id, &one.chain, &one.key)),
                    )
                }
            };

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
