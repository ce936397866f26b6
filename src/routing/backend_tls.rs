//! The terms of TLS to the endpoints of a backend.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use super::{Authorities, Host};
use crate::util::{hash::sha256_fields, secretive::Secretive};

/// The terms of TLS to endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendTls {
    /// The treatment of their certificates.
    pub verify: Verify,
    /// The name for SNI and verification, in place of the name or address of the endpoint.
    pub server_name: Option<Host>,
    /// The name of each request in its place; `None` for the same one for all.
    pub request_name: Option<RequestName>,
    /// The terms of handshakes; `None` for the usual ones.
    pub terms: Option<Arc<TlsTerms>>,
}

/// A name that each request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestName {
    /// Its host, without a port.
    Host,
    /// The server name that its client has sent (SNI).
    Sni,
}

/// The treatment of the certificates of endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verify {
    /// As the settings of the data plane say.
    #[default]
    Default,
    /// Any certificate is accepted.
    Never,
    /// The authorities of the terms decide, or else the system's roots.
    Always,
}

/// The terms of handshakes with endpoints. Each distinct one has its own sessions, which the
/// others do not resume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TlsTerms {
    /// The certificate that endpoints get if they ask for one.
    pub identity: Option<Arc<Identity>>,
    /// The only authorities whose certificates are accepted, in place of the system's roots.
    pub authorities: Option<Arc<Authorities>>,
    /// The most certificates between that of an endpoint and that of an authority.
    pub depth: Option<usize>,
    /// The name that their certificates must have, where the authorities decide.
    pub names: CertificateNames,
    /// True if no name is sent (SNI).
    pub hides_name: bool,
    /// The versions of TLS.
    pub versions: TlsVersions,
    /// The cipher suites of TLS 1.2 by their numbers at IANA, the preferred one first; `None` for
    /// the usual ones.
    pub suites: Option<Box<[u16]>>,
}

/// The name that a certificate must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CertificateNames {
    /// That of the endpoint, or the one in its place.
    #[default]
    Endpoint,
    /// This one, which is not sent.
    Host(Host),
    /// Any: the authority suffices.
    Any,
}

/// The versions of TLS that are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersions {
    /// TLS 1.2 and 1.3.
    #[default]
    Both,
    /// TLS 1.2 alone.
    Only12,
    /// TLS 1.3 alone.
    Only13,
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Identity {
    /// Hash of both.
    id: [u8; 32],
    chain: Arc<[u8]>,
    key: Secretive,
}

impl Identity {
    /// Returns the identity with this chain and key (PEM).
    pub fn new(chain: Arc<[u8]>, key: Secretive) -> Self {
        Self {
            id: sha256_fields([&*chain, &*key.0]),
            chain,
            key,
        }
    }

    /// Returns the chain (PEM), its own certificate first.
    pub fn chain(&self) -> &[u8] {
        &self.chain
    }

    /// Returns the private key (PEM).
    pub fn key(&self) -> &[u8] {
        &self.key.0
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Ord for Identity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}

impl PartialOrd for Identity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_never_shows_and_differs_by_chain_and_key() {
        let identity = |chain: &str, key: &str| {
            Identity::new(chain.as_bytes().into(), Secretive(key.as_bytes().into()))
        };
        let one = identity("chain", "key");
        assert_eq!(one, identity("chain", "key"));
        assert_ne!(one, identity("chain", "other"));
        assert_ne!(one, identity("chaink", "ey"));

        let terms = TlsTerms {
            identity: Some(Arc::new(one)),
            ..TlsTerms::default()
        };
        assert!(format!("{terms:?}").contains("identity: Some(Identity)"));
    }
}
