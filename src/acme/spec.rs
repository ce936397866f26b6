//! Certificate specs: the names of a desired certificate and the issuers that may provide it.

use std::sync::Arc;

use super::issuer::Issuer;
use crate::{
    pki::{CertificateName, CertificateTerms, KeyType},
    util::hash::fnv1a,
};

/// A certificate that the engine must provide. Its [`CertificateSpec::id`] stays the same for as
/// long as the spec exists, whatever else changes in it.
#[derive(Clone, Debug)]
pub struct CertificateSpec {
    /// `namespace/secret` where a Secret is named, else `namespace/~` and the first name.
    pub id: Arc<str>,
    /// The names that the certificate must cover, sorted and without duplicates. Not empty.
    pub names: Box<[CertificateName]>,
    /// The issuers that may provide it, in order of preference. Not empty.
    pub issuers: Box<[Arc<Issuer>]>,
    /// Settings of this certificate that override its issuer's.
    pub terms: CertificateTerms,
}

impl CertificateSpec {
    /// Hashes the fields whose change forces reissuance from this issuer, whatever is left of the
    /// certificate's lifetime.
    pub fn fingerprint(&self, issuer: &Issuer) -> u64 {
        let names = self.names_as_text().join(" ");
        let key = self.key_type(issuer).name();
        let common_name = self.terms.common_name.as_deref().unwrap_or_default();
        let issuer = issuer.fingerprint();
        fnv1a(format!("{names} {key} {common_name} {issuer}").as_bytes())
    }

    /// Hashes everything that an attempt with this issuer depends on. When it changes, earlier
    /// failures no longer count.
    pub(super) fn attempt_fingerprint(&self, issuer: &Issuer) -> u64 {
        let certificate = self.fingerprint(issuer);
        fnv1a(format!("{certificate:016x} {}", issuer.attempt_fingerprint()).as_bytes())
    }

    /// Returns the names as text.
    pub(super) fn names_as_text(&self) -> Vec<String> {
        self.names.iter().map(ToString::to_string).collect()
    }

    /// Returns the ACME CA with this directory among the issuers.
    pub(super) fn ca_at(&self, directory: &str) -> Option<&Arc<Issuer>> {
        let mut issuers = self.issuers.iter();
        issuers.find(|issuer| {
            let acme = issuer.acme();
            acme.is_some_and(|acme| acme.directory == directory)
        })
    }

    /// Returns the names to order: all but those that a wildcard among them covers. The common name
    /// stays, because CAs require it among the names.
    pub fn ordered_names(&self) -> impl Iterator<Item = &CertificateName> {
        let is_covered = |name: &CertificateName| match name {
            CertificateName::Dns(name) => name.split_once('.').is_some_and(|(_, parent)| {
                self.names
                    .contains(&CertificateName::Wildcard(parent.into()))
            }),
            CertificateName::Wildcard(_) | CertificateName::Ip(_) => false,
        };
        self.names.iter().filter(move |name| {
            let text = name.to_string();
            self.terms.common_name.as_deref() == Some(&*text) || !is_covered(name)
        })
    }

    /// Returns the names to order as text.
    pub fn ordered_names_as_text(&self) -> Vec<String> {
        self.ordered_names().map(ToString::to_string).collect()
    }

    /// Returns true if one of the issuers has this account.
    pub(super) fn uses(&self, account: &str) -> bool {
        let mut accounts = self.issuers.iter().filter_map(|issuer| issuer.account_id());
        accounts.any(|used| used == account)
    }

    /// Returns true if a CA validates the same name for both specs.
    pub(super) fn shares_name(&self, other: &Self) -> bool {
        self.names
            .iter()
            .any(|name| other.names.iter().any(|one| one.base() == name.base()))
    }

    /// Returns the key type that applies with this issuer.
    pub fn key_type(&self, issuer: &Issuer) -> KeyType {
        self.terms.key_type.unwrap_or_else(|| issuer.key_type())
    }
}
