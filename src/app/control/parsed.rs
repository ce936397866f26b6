//! The certificates of Secrets, parsed once: the compiler checks them, and the publisher serves
//! them. Parsing one costs as much as a handshake.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use crate::{
    controller::{CertificateSource, InspectError, InvalidAuthorities, TlsHost},
    objects::Key,
    routing::{Authorities, HostPattern},
    tls::{self, Certificate, CertificateError},
    util::{hash::sha256_fields, sync::lock},
};

/// Hash of a chain and its key.
type Id = [u8; 32];

/// A parsed pair, or the reason why it is invalid.
type Pair = Result<Arc<Certificate>, CertificateError>;

/// A pair, and whether it was used since the last sweep.
#[derive(Debug)]
struct Entry {
    pair: Pair,
    is_used: bool,
}

/// The pairs that are served, and those that were used since the last sweep.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pairs: Mutex<HashMap<Id, Entry>>,
}

impl Parsed {
    /// Returns the pair of a PEM chain and key.
    pub(crate) fn get(&self, chain: &[u8], key: &[u8]) -> Pair {
        let id: Id = sha256_fields([chain, key]);

        if let Some(entry) = lock(&self.pairs).get_mut(&id) {
            entry.is_used = true;
            return entry.pair.clone();
        }

        // Several threads parse at once. Of two that parse the same pair, the first counts.
        let pair = Certificate::from_pem(chain, key).map(Arc::new);
        let mut pairs = lock(&self.pairs);
        let entry = pairs.entry(id).or_insert(Entry {
            pair,
            is_used: true,
        });
        entry.pair.clone()
    }

    /// Returns the Secret of a host with its certificate, if both can be used.
    pub(super) fn of_host(&self, host: &TlsHost) -> Option<(Key, Arc<Certificate>)> {
        let CertificateSource::Secret {
            key,
            chain,
            private_key,
            ..
        } = &host.source
        else {
            return None;
        };
        let certificate = self.get(chain, &private_key.0).ok()?;
        Some((key.clone(), certificate))
    }

    /// Checks a pair for a host, as [`controller::Inspect`] describes.
    ///
    /// [`controller::Inspect`]: crate::controller::Inspect
    pub(crate) fn inspect(
        &self,
        chain: &[u8],
        key: &[u8],
        pattern: &HostPattern,
    ) -> Result<(), InspectError> {
        let certificate = self
            .get(chain, key)
            .map_err(|error| InspectError::Invalid(error.to_string()))?;

        if certificate.covers(pattern) {
            return Ok(());
        }

        Err(InspectError::Mismatch(match certificate.names() {
            [] => format!(
                "its certificate names no host (subjectAltName), so no client accepts it for \
                 {pattern}"
            ),
            names => format!(
                "its certificate is for {}, not for {pattern}",
                names.join(", ")
            ),
        }))
    }

    /// Forgets the pairs that are not served, unless they were used since the last call.
    pub(crate) fn sweep(&self) {
        lock(&self.pairs).retain(|_, entry| {
            let certificate = entry.pair.as_ref();
            let is_served = certificate.is_ok_and(|pair| Arc::strong_count(pair) > 1);
            std::mem::take(&mut entry.is_used) || is_served
        });
    }
}

/// Reads the authorities of certificates of clients, as [`controller::ReadAuthorities`] describes.
///
/// [`controller::ReadAuthorities`]: crate::controller::ReadAuthorities
pub(crate) fn authorities(
    ca: &[u8],
    crl: Option<&[u8]>,
) -> Result<Authorities, InvalidAuthorities> {
    tls::read_authorities(ca, crl).map_err(|error| InvalidAuthorities(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_is_parsed_once_and_forgotten_when_unused() {
        let parsed = Parsed::default();
        let (chain, key) = pair("a.example");
        let get = || {
            parsed
                .get(chain.as_bytes(), key.as_bytes())
                .expect("a pair")
        };
        let count = || parsed.pairs.lock().expect("no panic").len();
        let served = get();
        assert!(Arc::ptr_eq(&served, &get()));

        parsed.sweep();
        parsed.sweep();
        assert_eq!(count(), 1, "it is served");
        drop(served);
        parsed.sweep();
        assert_eq!(count(), 0);
    }

    #[test]
    fn an_invalid_pair_does_not_affect_a_valid_one() {
        let parsed = Parsed::default();
        let ((chain, key), (_, other)) = (pair("a.example"), pair("b.example"));
        assert!(parsed.get(chain.as_bytes(), other.as_bytes()).is_err());
        assert!(parsed.get(chain.as_bytes(), key.as_bytes()).is_ok());

        let pattern = |host: &str| HostPattern::parse(host).expect("a host");
        let inspect = |host| parsed.inspect(chain.as_bytes(), key.as_bytes(), &pattern(host));
        assert_eq!(inspect("a.example"), Ok(()));
        assert!(matches!(
            inspect("c.example"),
            Err(InspectError::Mismatch(_))
        ));
    }
}
