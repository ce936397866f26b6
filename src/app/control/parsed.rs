//! Certificates of Secrets, parsed once: the compiler asks whether they fit, and the publisher
//! serves them. Parsing one costs as much as a handshake.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use ring::digest;

use crate::{
    util::sync::lock,
    {routing::HostPattern, tls::Certificate},
};

/// What tells pairs of chain and key apart.
type Id = [u8; 32];

/// A parsed pair, or why it is none.
type Pair = Result<Arc<Certificate>, String>;

/// The pairs that are served, and those that were asked about since.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    /// With whether it was asked for since the last sweep.
    pairs: Mutex<HashMap<Id, (Pair, bool)>>,
}

impl Parsed {
    /// The pair of a PEM chain and key.
    pub(crate) fn get(&self, chain: &[u8], key: &[u8]) -> Pair {
        let mut both = digest::Context::new(&digest::SHA256);
        both.update(&(chain.len() as u64).to_le_bytes());
        both.update(chain);
        both.update(key);
        let id: Id = both.finish().as_ref().try_into().unwrap_or_default();
        let mut pairs = lock(&self.pairs);
        let read = || {
            Certificate::from_pem(chain, key)
                .map(Arc::new)
                .map_err(|error| error.to_string())
        };
        let (pair, asked) = pairs.entry(id).or_insert_with(|| (read(), true));
        *asked = true;
        pair.clone()
    }

    /// What the compiler asks about a pair.
    pub(crate) fn inspect(
        &self,
        chain: &[u8],
        key: &[u8],
        pattern: &HostPattern,
    ) -> Result<(), String> {
        let certificate = self.get(chain, key)?;
        if certificate.covers(pattern) {
            return Ok(());
        }
        Err(match certificate.names() {
            [] => {
                format!(
                    "mismatch: its certificate names no host (subjectAltName), so no client takes it for {pattern}"
                )
            }
            names => format!(
                "mismatch: its certificate is for {}, not for {pattern}",
                names.join(", ")
            ),
        })
    }

    /// Forgets what is not served, unless it was asked for since the last call.
    pub(crate) fn sweep(&self) {
        lock(&self.pairs).retain(|_, (pair, asked)| {
            std::mem::take(asked)
                || pair
                    .as_ref()
                    .is_ok_and(|certificate| Arc::strong_count(certificate) > 1)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_is_parsed_once_and_forgotten_when_it_is_neither_served_nor_asked_for() {
        let parsed = Parsed::default();
        let (chain, key) = pair("a.example");
        let get = || {
            parsed
                .get(chain.as_bytes(), key.as_bytes())
                .expect("a pair")
        };
        let known = || parsed.pairs.lock().expect("no panic").len();
        let served = get();
        assert!(Arc::ptr_eq(&served, &get()));
        parsed.sweep();
        parsed.sweep();
        assert_eq!(known(), 1, "it is served");
        drop(served);
        parsed.sweep();
        assert_eq!(known(), 0);
    }

    #[test]
    fn a_pair_that_is_none_stays_one() {
        let parsed = Parsed::default();
        let ((chain, key), (_, other)) = (pair("a.example"), pair("b.example"));
        assert!(parsed.get(chain.as_bytes(), other.as_bytes()).is_err());
        assert!(parsed.get(chain.as_bytes(), key.as_bytes()).is_ok());
        let pattern = |host: &str| HostPattern::parse(host).expect("a host");
        assert_eq!(
            parsed.inspect(chain.as_bytes(), key.as_bytes(), &pattern("a.example")),
            Ok(())
        );
        let refused = parsed.inspect(chain.as_bytes(), key.as_bytes(), &pattern("c.example"));
        assert!(refused.is_err_and(|why| why.starts_with("mismatch: ")));
    }
}
