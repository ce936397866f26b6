//! What is wanted: a certificate for some names, and by whom it may be issued.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use super::issuer::{Issuer, KeyType};
use crate::routing::HostPattern;

/// A certificate that somebody asks for. The same wish has the same [`CertificateSpec::id`] for as long as it
/// lasts, whatever changes in it.
#[derive(Clone, Debug)]
pub struct CertificateSpec {
    /// `namespace/secret` where a Secret is named, else `namespace/~` and the first name.
    pub id: Arc<str>,
    /// What the certificate must be for, sorted, each once. Not empty.
    pub names: Box<[Name]>,
    /// Who may issue it, in the order of preference. Not empty.
    pub issuers: Box<[Arc<Issuer>]>,
    /// What differs from the issuer's own settings.
    pub terms: Terms,
}

/// Wishes of one certificate that win over its issuer's settings. Each is `None` where nothing is
/// said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Terms {
    /// The subject's common name; one of the names.
    pub common_name: Option<Box<str>>,
    /// Kind of the private key.
    pub key_type: Option<KeyType>,
    /// Keep the private key over renewals instead of making a new one each time.
    pub keep_key: bool,
    /// How long it shall be valid, where the issuer lets us choose.
    pub duration: Option<Duration>,
    /// When it is renewed, where the CA does not say (RFC 9773).
    pub renew_before: Option<RenewBefore>,
}

/// How long before its end a certificate is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RenewBefore {
    /// This long.
    Time(Duration),
    /// This share of its lifetime, in percent, 1 to 99.
    Percent(u8),
}

/// A name or address in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// A DNS name in canonical form.
    Dns(Box<str>),
    /// `*.` before a DNS name, which is kept here without it.
    Wildcard(Box<str>),
    /// An address (RFC 8738).
    Ip(IpAddr),
}

/// Why something is no name for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name or address that a certificate can be for")]
pub struct NameError(String);

impl CertificateSpec {
    /// What a certificate of this issuer for this wish is made of: with another print it has to be
    /// made anew, whatever is left of its life.
    pub fn fingerprint(&self, issuer: &Issuer) -> u64 {
        let names: Vec<String> = self.names.iter().map(ToString::to_string).collect();
        let key = self.key_type(issuer).name();
        let common_name = self.terms.common_name.as_deref().unwrap_or_default();
        fnv(format!(
            "{} {key} {common_name} {}",
            names.join(" "),
            issuer.fingerprint()
        )
        .as_bytes())
    }

    /// What an attempt with this issuer depends on: with another print, earlier failures say
    /// nothing any more.
    pub(super) fn attempt_fingerprint(&self, issuer: &Issuer) -> u64 {
        fnv(format!(
            "{:016x} {}",
            self.fingerprint(issuer),
            issuer.attempt_fingerprint()
        )
        .as_bytes())
    }

    /// Whether only DNS-01 can prove control of one of the names (RFC 8555 section 7.1.3).
    pub fn has_wildcard(&self) -> bool {
        self.names
            .iter()
            .any(|name| matches!(name, Name::Wildcard(_)))
    }

    /// The key type that applies with this issuer.
    pub fn key_type(&self, issuer: &Issuer) -> KeyType {
        self.terms.key_type.unwrap_or_else(|| issuer.key_type())
    }
}

impl Name {
    /// Reads a name as it stands under `spec.tls[].hosts`, or an address.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError(text.chars().take(80).collect());
        if let Ok(address) = text.trim_matches(['[', ']']).parse() {
            return Ok(Self::Ip(address));
        }
        match HostPattern::parse(text).map_err(|_bad| wrong())? {
            HostPattern::Exact(host) if is_public_form(host.as_str()) => {
                Ok(Self::Dns(host.as_str().into()))
            }
            HostPattern::Wildcard(suffix) if is_public_form(suffix.as_str()) => {
                Ok(Self::Wildcard(suffix.as_str().into()))
            }
            _ => Err(wrong()),
        }
    }

    /// What an authorization for it names: the name itself, or what is behind `*.`.
    pub fn base(&self) -> String {
        match self {
            Self::Dns(name) | Self::Wildcard(name) => name.to_string(),
            Self::Ip(address) => address.to_string(),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Wildcard(name) => write!(f, "*.{name}"),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// CAs refuse underscores (CA/Browser Forum baseline requirements 7.1.4.2.1), and labels that begin
/// or end with `-`.
fn is_public_form(host: &str) -> bool {
    !host.starts_with('[')
        && host
            .split('.')
            .all(|label| !label.starts_with('-') && !label.ends_with('-') && !label.contains('_'))
}

/// FNV-1a: small, and the same in every version of this program, as what is stored needs it.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
