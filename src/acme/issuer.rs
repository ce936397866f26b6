//! Issuers of certificates: ACME CAs, the local CA, and self-signing.

use std::fmt;

use http::Uri;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::{ca::jws::ExternalAccount, dns};
use crate::{http_client::Proxy, pki::KeyType, util::hash::fnv1a};

/// The directory of Let's Encrypt.
pub const LETSENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// The directory of Let's Encrypt's staging CA, which has generous limits and whose certificates
/// are not trusted by clients.
pub const LETSENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// Built-in issuers, with alternative names that are common with cert-manager.
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
    /// The name that objects use.
    pub name: Box<str>,
    /// The kind of issuer with its settings.
    pub kind: IssuerKind,
}

/// Kinds of issuers.
#[derive(Clone, Debug)]
pub enum IssuerKind {
    /// An ACME CA (RFC 8555).
    Acme(Box<AcmeIssuer>),
    /// The CA in this device's store.
    LocalCa,
    /// Self-signed certificates.
    SelfSigned,
}

/// An ACME CA, and the account there.
#[derive(Clone, Debug, Default)]
pub struct AcmeIssuer {
    /// URL of its directory.
    pub directory: String,
    /// True if the CA publishes rate limits, which orders must stay below.
    pub publishes_limits: bool,
    /// Hash of the environment's settings for connections to the CA.
    pub environment: u64,
    /// Additional roots to verify the CA's HTTPS with.
    pub roots: Vec<CertificateDer<'static>>,
    /// The account's contacts, as `mailto:` URLs.
    pub contacts: Vec<String>,
    /// External account binding.
    pub eab: Option<ExternalAccount>,
    /// The profile to request from the CA.
    pub profile: Option<String>,
    /// The common name of an issuer in the preferred chain, for CAs that offer several chains.
    pub preferred_chain: Option<String>,
    /// The type of the certificates' keys.
    pub key_type: KeyType,
    /// The allowed challenge types, in order of preference; empty to allow every usable one.
    pub challenges: Vec<ChallengeType>,
    /// The provider that publishes records for DNS-01.
    pub dns: Option<dns::Provider>,
    /// The mistake in its configuration that prevents orders; `None` if it can be used.
    pub problem: Option<Box<str>>,
}

/// Methods to prove control of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChallengeType {
    /// A response over HTTP on port 80 (RFC 8555 section 8.3).
    #[serde(rename = "http-01")]
    Http01,
    /// A certificate in a TLS handshake on port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// A temporary DNS record (RFC 8555 section 8.4).
    #[serde(rename = "dns-01")]
    Dns01,
    /// A permanent DNS record.
    #[serde(rename = "dns-persist-01")]
    DnsPersist01,
}

impl Issuer {
    /// Returns the built-in issuer with this name or alternative name.
    pub fn preset(name: &str) -> Option<Self> {
        let (name, _) = PRESETS
            .iter()
            .find(|(preset, others)| *preset == name || others.contains(&name))?;

        let acme = |directory: &str| IssuerKind::Acme(Box::new(AcmeIssuer::at(directory)));

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

    /// Returns the ACME settings, if it is an ACME CA.
    pub fn acme(&self) -> Option<&AcmeIssuer> {
        match &self.kind {
            IssuerKind::Acme(acme) => Some(acme),
            IssuerKind::LocalCa | IssuerKind::SelfSigned => None,
        }
    }

    /// Returns the mistake in its configuration that prevents orders.
    pub fn problem(&self) -> Option<&str> {
        self.acme()?.problem.as_deref()
    }

    /// Kind of the certificates' keys.
    pub fn key_type(&self) -> KeyType {
        self.acme().map(|acme| acme.key_type).unwrap_or_default()
    }

    /// Returns the key of its account in the store, which depends on directory and binding.
    pub fn account_id(&self) -> Option<String> {
        let acme = self.acme()?;
        let kid = acme.eab.as_ref().map_or("", ExternalAccount::kid);
        Some(format!(
            "{:016x}",
            fnv1a(format!("{} {kid}", acme.directory).as_bytes())
        ))
    }

    /// Returns the settings whose change forces reissuance.
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

    /// Returns the settings whose change makes a new attempt sensible, though the certificate
    /// would be the same.
    pub(super) fn attempt_fingerprint(&self) -> String {
        let Some(acme) = self.acme() else {
            return String::new();
        };
        let eab = acme.eab.as_ref().map_or(0, |eab| {
            fnv1a(format!("{} {:?}", eab.kid(), eab.fingerprint()).as_bytes())
        });
        let roots: Vec<u8> = acme.roots.iter().flat_map(|root| root.to_vec()).collect();
        let roots = fnv1a(&roots);
        format!(
            "{:?} {eab:x} {:?} {roots:x} {:?} {:x}",
            acme.contacts, acme.challenges, acme.dns, acme.environment
        )
    }
}

impl AcmeIssuer {
    /// Returns the CA with this directory, with the default of every other setting. Let's Encrypt
    /// publishes rate limits, for its staging CA too.
    pub fn at(directory: &str) -> Self {
        let url = directory.parse::<Uri>().ok();
        let host = url.as_ref().and_then(Uri::host).unwrap_or_default();
        let host = host.to_ascii_lowercase();
        Self {
            directory: directory.to_owned(),
            publishes_limits: host.ends_with(".api.letsencrypt.org"),
            environment: Proxy::environment_fingerprint(),
            ..Self::default()
        }
    }
}

impl ChallengeType {
    /// Returns its name in the ACME registry.
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
