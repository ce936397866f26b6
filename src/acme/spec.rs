//! What is wanted: a certificate for some names, and by whom it may be issued.

use std::sync::Arc;

use super::issuer::Issuer;
use crate::{
    pki::{CertificateName, CertificateTerms, KeyType},
    util::hash::fnv1a,
};

/// A certificate that somebody asks for. The same wish has the same [`CertificateSpec::id`] for as long as it
/// lasts, whatever changes in it.
#[derive(Clone, Debug)]
pub struct CertificateSpec {
    /// `namespace/secret` where a Secret is named, else `namespace/~` and the first name.
    pub id: Arc<str>,
    /// What the certificate must be for, sorted, each once. Not empty.
    pub names: Box<[CertificateName]>,
    /// Who may issue it, in the order of preference. Not empty.
    pub issuers: Box<[Arc<Issuer>]>,
    /// What differs from the issuer's own settings.
    pub terms: CertificateTerms,
}

impl CertificateSpec {
    /// What a certificate of this issuer for this wish is made of: with another print it has to be
    /// made anew, whatever is left of its life.
    pub fn fingerprint(&self, issuer: &Issuer) -> u64 {
        let names: Vec<String> = self.names.iter().map(ToString::to_string).collect();
        let key = self.key_type(issuer).name();
        let common_name = self.terms.common_name.as_deref().unwrap_or_default();
        fnv1a(
            format!(
                "{} {key} {common_name} {}",
                names.join(" "),
                issuer.fingerprint()
            )
            .as_bytes(),
        )
    }

    /// What an attempt with this issuer depends on: with another print, earlier failures say
    /// nothing any more.
    pub(super) fn attempt_fingerprint(&self, issuer: &Issuer) -> u64 {
        fnv1a(
            format!(
                "{:016x} {}",
                self.fingerprint(issuer),
                issuer.attempt_fingerprint()
            )
            .as_bytes(),
        )
    }

    /// Whether only DNS-01 can prove control of one of the names (RFC 8555 section 7.1.3).
    pub fn has_wildcard(&self) -> bool {
        self.names
            .iter()
            .any(|name| matches!(name, CertificateName::Wildcard(_)))
    }

    /// The key type that applies with this issuer.
    pub fn key_type(&self, issuer: &Issuer) -> KeyType {
        self.terms.key_type.unwrap_or_else(|| issuer.key_type())
    }
}
