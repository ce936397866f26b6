//! The users that requests come from: by client certificates, and by bearer tokens.

use std::{fmt, sync::Arc};

use http::{HeaderMap, header};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    access::{TokenKey, User},
    util::{hex, time::UnixSeconds},
};

/// The fact about a user that names the credential.
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// The credentials that are accepted beside client certificates, which TLS checks.
#[derive(Clone, Default)]
pub struct Auth {
    /// The SHA-256 hashes of fixed tokens, and the users that they stand for.
    tokens: Vec<([u8; 32], Arc<User>)>,
    /// The key that signs the tokens of ServiceAccounts.
    key: Option<Arc<TokenKey>>,
    /// The certificate and key of the CA of client certificates, as PEM.
    ca: Option<Arc<(String, String)>>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("tokens", &self.tokens.len())
            .finish()
    }
}

impl Auth {
    /// Accepts these bearer tokens, except empty ones, each for a user; and those that `key` signs.
    /// `ca` is the certificate and key, as PEM, of the CA that issues client certificates.
    pub fn new<'t>(
        tokens: impl IntoIterator<Item = (&'t str, User)>,
        key: TokenKey,
        ca: (String, String),
    ) -> Self {
        Self {
            key: Some(Arc::new(key)),
            ca: Some(Arc::new(ca)),
            tokens: tokens
                .into_iter()
                .filter(|(token, _user)| !token.is_empty())
                .map(|(token, user)| (hash(token.as_bytes()), Arc::new(user)))
                .collect(),
        }
    }

    /// Returns the key that signs the tokens of ServiceAccounts.
    pub(super) fn key(&self) -> Option<&TokenKey> {
        self.key.as_deref()
    }

    /// Returns the certificate and key, as PEM, of the CA of client certificates.
    pub(super) fn ca(&self) -> Option<(&str, &str)> {
        self.ca.as_deref().map(|(ca, key)| (&**ca, &**key))
    }

    /// Returns the user of a fixed token.
    pub(super) fn user(&self, token: &str) -> Option<Arc<User>> {
        // Hashes are compared, so the duration reveals nothing about the tokens.
        let hash = hash(token.as_bytes());
        let known = self.tokens.iter().find(|(known, _user)| *known == hash);
        known.map(|(_hash, user)| user.clone())
    }
}

/// Returns the bearer token of a request.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The user of a client certificate.
#[derive(Clone, Debug)]
pub(super) struct Certified {
    pub(super) user: User,
    /// The end of the certificate, which a connection may outlive.
    pub(super) until: UnixSeconds,
}

/// Returns the user of a client certificate: the common name, and an organisation for each group
/// (k8s.io/apiserver/pkg/authentication/request/x509). `None` if it has no name.
pub(super) fn certified(certificate: &CertificateDer<'_>) -> Option<Certified> {
    let (_rest, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    if name.is_empty() {
        return None;
    }

    let groups = subject
        .iter_organization()
        .filter_map(|group| group.as_str().ok().map(str::to_owned));
    let mut user = User::known(name, groups);
    let print = format!("X509SHA256={}", hex::encode(&hash(certificate)));
    user.extra.insert(CREDENTIAL.to_owned(), vec![print]);
    let until = UnixSeconds(parsed.validity().not_after.timestamp());
    Some(Certified { user, until })
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    out
}
