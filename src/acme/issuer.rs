//! Who issues: ACME CAs, the local CA, or a key for itself.

use std::fmt;

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::{ca::jws::ExternalAccount, dns};
use crate::{pki::KeyType, util::hash::fnv1a};

/// The directory of Let's Encrypt.
pub const LETSENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// The directory of Let's Encrypt's test CA, whose certificates nobody trusts and whose limits are
/// wide.
pub const LETSENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// Issuers that exist without being configured, with the names that users of cert-manager gave
/// them.
pub const PRESETS: [(&str, &[&str]); 4] = [
    (
        "letsencrypt",
        &["letsencrypt-prod", "letsencrypt-production"],
    ),
    (
        "letsencrypt-staging",
        &["letsencrypt-stage", "letsencrypt-test"],
    ),
    ("local-ca", &[]),
    ("self-signed", &["selfsigned"]),
];

/// An issuer.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Its name, as objects use it.
    pub name: Box<str>,
    /// What it is.
    pub kind: IssuerKind,
}

/// Kinds of issuers.
#[derive(Clone, Debug)]
pub enum IssuerKind {
    /// A CA that speaks ACME (RFC 8555).
    Acme(Box<AcmeIssuer>),
    /// The CA in this device's own store.
    LocalCa,
    /// A certificate that is its own issuer.
    SelfSigned,
}

/// A CA that speaks ACME, and the account there.
#[derive(Clone, Debug, Default)]
pub struct AcmeIssuer {
    /// URL of its directory.
    pub directory: String,
    /// Roots that its own HTTPS is verified against, in addition to the built-in ones.
    pub roots: Vec<CertificateDer<'static>>,
    /// `mailto:` URLs.
    pub contacts: Vec<String>,
    /// External account binding.
    pub eab: Option<ExternalAccount>,
    /// The profile of the CA to ask for.
    pub profile: Option<String>,
    /// Common name of a certificate in the chain that is preferred where the CA offers several.
    pub preferred_chain: Option<String>,
    /// Kind of the certificates' keys.
    pub key_type: KeyType,
    /// The challenges that may be used, in the order of preference; empty for what can work.
    pub challenges: Vec<ChallengeType>,
    /// How records for DNS-01 are published.
    pub dns: Option<dns::Provider>,
}

/// How control of a name is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChallengeType {
    /// A file over HTTP on port 80 (RFC 8555 section 8.3).
    #[serde(rename = "http-01")]
    Http01,
    /// A certificate in a handshake on port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// A record in DNS (RFC 8555 section 8.4).
    #[serde(rename = "dns-01")]
    Dns01,
    /// A record in DNS that stays.
    #[serde(rename = "dns-persist-01")]
    DnsPersist01,
}

impl Issuer {
    /// What is built in under this name or one of its other names.
    pub fn preset(name: &str) -> Option<Self> {
        let (name, _) = PRESETS
            .iter()
            .find(|(preset, others)| *preset == name || others.contains(&name))?;
        let acme = |directory: &str| {
            IssuerKind::Acme(Box::new(AcmeIssuer {
                directory: directory.to_owned(),
                ..AcmeIssuer::default()
            }))
        };
        let kind = match *name {
            "letsencrypt" => acme(LETSENCRYPT),
            "letsencrypt-staging" => acme(LETSENCRYPT_STAGING),
            "local-ca" => IssuerKind::LocalCa,
            _ => IssuerKind::SelfSigned,
        };
        Some(Self {
            name: (*name).into(),
            kind,
        })
    }

    /// The ACME CA, if it is one.
    pub fn acme(&self) -> Option<&AcmeIssuer> {
        match &self.kind {
            IssuerKind::Acme(acme) => Some(acme),
            IssuerKind::LocalCa | IssuerKind::SelfSigned => None,
        }
    }

    /// Kind of the certificates' keys.
    pub fn key_type(&self) -> KeyType {
        self.acme().map(|acme| acme.key_type).unwrap_or_default()
    }

    /// The key of its account in the store: another directory or binding is another account.
    pub fn account_id(&self) -> Option<String> {
        let acme = self.acme()?;
        let kid = acme.eab.as_ref().map_or("", ExternalAccount::kid);
        Some(format!(
            "{:016x}",
            fnv1a(format!("{} {kid}", acme.directory).as_bytes())
        ))
    }

    /// What of it makes a certificate another one.
    pub(super) fn fingerprint(&self) -> String {
        match &self.kind {
            IssuerKind::Acme(acme) => format!(
                "{} {}",
                acme.directory,
                acme.profile.as_deref().unwrap_or_default()
            ),
            IssuerKind::LocalCa => "local-ca".to_owned(),
            IssuerKind::SelfSigned => "self-signed".to_owned(),
        }
    }

    /// What of it makes an attempt another one, though the certificate would be the same.
    pub(super) fn attempt_fingerprint(&self) -> String {
        let Some(acme) = self.acme() else {
            return String::new();
        };
        let eab = acme.eab.as_ref().map_or(0, |eab| {
            fnv1a(format!("{} {:?}", eab.kid(), eab.fingerprint()).as_bytes())
        });
        let roots = fnv1a(
            &acme
                .roots
                .iter()
                .flat_map(|root| root.iter().copied())
                .collect::<Vec<u8>>(),
        );
        format!(
            "{:?} {eab:x} {:?} {roots:x} {:?}",
            acme.contacts, acme.challenges, acme.dns
        )
    }
}

impl ChallengeType {
    /// Its name in RFC 8555's registry.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
            Self::DnsPersist01 => "dns-persist-01",
        }
    }
}

impl fmt::Display for ChallengeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
