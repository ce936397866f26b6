//! What is held, ready to be served.

use std::{collections::BTreeMap, sync::Arc};

use super::record::StoredCertificate;
use crate::{routing::HostPattern, tls::Certificate, util::hash::fnv1a};

/// Certificates by the id of their wish.
#[derive(Clone, Debug, Default)]
pub struct ActiveCertificates {
    /// See there.
    pub certificates: BTreeMap<String, CertificatePair>,
}

/// The certificate of a wish, and the one before it.
#[derive(Clone, Debug)]
pub struct CertificatePair {
    /// The newest one.
    pub live: Arc<Certificate>,
    /// The one before it.
    pub previous: Option<Arc<Certificate>>,
    /// Name of its issuer.
    pub issuer: Arc<str>,
    /// Whether a public CA issued it, as far as that can be said.
    pub public: bool,
    stamp: u64,
}

/// Which of the two is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The newest.
    Live,
    /// The one before it.
    Previous,
}

impl ActiveCertificates {
    /// Reads what is held; what is in `known` already is not read again. A record that cannot be
    /// used is as good as none.
    pub(super) fn of(
        held: &BTreeMap<String, StoredCertificate>,
        known: &BTreeMap<String, CertificatePair>,
    ) -> Self {
        let read = |chain: &str, key: &str| {
            Certificate::from_pem(chain.as_bytes(), key.as_bytes()).map(Arc::new)
        };
        let mut certificates = BTreeMap::new();
        for (id, held) in held {
            let stamp = fnv1a(held.chain.as_bytes());
            if let Some(same) = known.get(id).filter(|known| known.stamp == stamp) {
                certificates.insert(id.clone(), same.clone());
                continue;
            }
            let live = match read(&held.chain, &held.key) {
                Ok(live) => live,
                Err(error) => {
                    tracing::error!(want = id, %error, "a stored certificate cannot be used");
                    continue;
                }
            };
            let previous = held
                .previous
                .as_ref()
                .and_then(|previous| read(&previous.chain, &previous.key).ok());
            let pair = CertificatePair {
                live,
                previous,
                issuer: (&*held.issuer).into(),
                public: !held.directory.is_empty(),
                stamp,
            };
            certificates.insert(id.clone(), pair);
        }
        Self { certificates }
    }
}

impl CertificatePair {
    /// What a client that asks for the pattern is served: the newest that is for it, however old.
    /// An expired certificate tells a person more than none, and the clock that calls it expired
    /// may be wrong.
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
