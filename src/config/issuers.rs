//! Issuers of certificates: the types.

use std::{fmt, net::SocketAddr, path::PathBuf};

use serde::Deserialize;

pub use crate::acme::dns::TokenApi;
use crate::{acme::issuer::ChallengeType, pki::KeyType};

/// An issuer of certificates.
#[derive(Clone, Debug, PartialEq)]
pub struct Issuer {
    /// Its name, a label as in DNS (RFC 1123).
    pub name: String,
    /// Its kind, with the settings of that kind.
    pub kind: IssuerKind,
}

/// Kinds of issuers.
#[derive(Clone, Debug, PartialEq)]
pub enum IssuerKind {
    /// A CA that speaks ACME.
    Acme(Box<Acme>),
    /// The CA of this device.
    LocalCa,
    /// Each certificate is its own issuer.
    SelfSigned,
}

/// A CA that speaks ACME.
#[derive(Clone, Debug, PartialEq)]
pub struct Acme {
    /// Its directory.
    pub directory: Directory,
    /// A PEM file of roots that its HTTPS is verified against, in addition to the built-in ones.
    pub roots: Option<PathBuf>,
    /// The same roots as PEM itself.
    pub roots_pem: Option<String>,
    /// `mailto:` URLs.
    pub contacts: Vec<String>,
    /// External account binding.
    pub eab: Option<Eab>,
    /// Profile that orders ask for.
    pub profile: Option<String>,
    /// Common name in the chain that is preferred.
    pub preferred_chain: Option<String>,
    /// Kind of the certificates' keys.
    pub key_type: KeyType,
    /// Challenges that may be used, in the order of preference; empty for all that can work.
    pub challenges: Vec<ChallengeType>,
    /// DNS provider and lookups for DNS-01.
    pub dns: Option<Dns>,
}

/// A directory (RFC 8555 section 7.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directory {
    /// The directory of a CA that is built in.
    Preset(&'static str),
    /// An https URL.
    Url(String),
}

/// External account binding (RFC 8555 section 7.3.4).
#[derive(Clone, Debug, PartialEq)]
pub struct Eab {
    /// Name of the key.
    pub kid: String,
    /// The key, base64url.
    pub hmac: Secret,
}

/// A secret, or the file that holds it.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A file that holds nothing else.
    File(PathBuf),
    /// The secret itself, from the configuration.
    Inline(String),
}

/// DNS provider and lookups for DNS-01.
#[derive(Clone, Debug, PartialEq)]
pub struct Dns {
    /// The service that publishes records.
    pub provider: DnsProvider,
    /// Resolvers; empty for the system's.
    pub resolvers: Vec<SocketAddr>,
    /// The servers that confirm that a record is published.
    pub propagation: Propagation,
    /// Follow a CNAME at the record's name and publish the record at its target.
    pub follow_cname: bool,
}

/// A service that publishes records in DNS.
#[derive(Clone, Debug, PartialEq)]
pub enum DnsProvider {
    /// DNS UPDATE.
    Rfc2136 {
        /// The primary server of the zone.
        server: SocketAddr,
        /// The zone; `None` to ask the server for it.
        zone: Option<String>,
        /// The key that signs updates.
        key: Option<TsigKey>,
    },
    /// Cloudflare's API.
    Cloudflare {
        /// A file with an API token.
        token_file: PathBuf,
        /// The zone's ID; `None` to search for the zone by name.
        zone_id: Option<String>,
        /// Base URL, if it is not Cloudflare's own.
        base: Option<String>,
    },
    /// An API that needs a token and nothing else.
    Token {
        /// The API.
        api: TokenApi,
        /// A file with the token.
        token_file: PathBuf,
        /// Base URL, if it is not the API's own.
        base: Option<String>,
    },
    /// OVH's API.
    Ovh {
        /// The application key.
        application_key: String,
        /// A file with the application secret.
        secret_key_file: PathBuf,
        /// A file with the consumer key.
        consumer_key_file: PathBuf,
        /// Base URL, if it is not that of Europe.
        base: Option<String>,
    },
    /// Porkbun's API.
    Porkbun {
        /// A file with the API key.
        api_key_file: PathBuf,
        /// A file with the secret API key.
        secret_key_file: PathBuf,
        /// Base URL, if it is not Porkbun's own.
        base: Option<String>,
    },
    /// Route 53's API.
    Route53 {
        /// ID of the access key.
        access_key_id: String,
        /// A file with the secret access key.
        secret_key_file: PathBuf,
        /// The zone's ID; `None` to search for the zone by name.
        zone_id: Option<String>,
        /// Base URL, if it is not that of all regions.
        base: Option<String>,
    },
    /// A server of the program acme-dns.
    AcmeDns {
        /// Base URL of its API.
        url: String,
        /// A JSON file with one account, or with one for each domain.
        accounts_file: PathBuf,
    },
    /// A web service.
    Webhook {
        /// Base URL: `/present` and `/cleanup` are added to it.
        url: String,
        /// User, and a file with the password.
        login: Option<(String, PathBuf)>,
    },
    /// A program.
    Command {
        /// An absolute path, or a name that is found in `PATH`.
        program: PathBuf,
        /// Arguments before `present` or `cleanup`, the name and the value.
        arguments: Vec<String>,
    },
}

/// A TSIG key (RFC 8945).
#[derive(Clone, Debug, PartialEq)]
pub struct TsigKey {
    /// Its name.
    pub name: String,
    /// Its algorithm.
    pub algorithm: TsigAlgorithm,
    /// The key in base64.
    pub secret: Secret,
}

/// Algorithm of a TSIG key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TsigAlgorithm {
    /// HMAC with SHA-256.
    #[default]
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// HMAC with SHA-384.
    #[serde(rename = "hmac-sha384")]
    HmacSha384,
    /// HMAC with SHA-512.
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
}

/// The servers that confirm that a record is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// The servers of its zone.
    #[default]
    Authoritative,
    /// The resolvers, for networks whose firewall blocks other servers.
    Resolvers,
}

/// A mistake in the settings of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerProblem {
    /// The key, below the issuer's table: `dns.server`; empty if the text is not TOML of an issuer.
    pub field: String,
    /// The mistake, with the allowed values.
    pub message: String,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Inline(_secret) => f.write_str("<hidden>"),
        }
    }
}

impl TsigAlgorithm {
    /// Returns its name in servers' configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }
}

impl IssuerProblem {
    pub(super) fn new(field: &str, message: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            message: message.into(),
        }
    }
}

impl fmt::Display for IssuerProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.field {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

/// Returns true if an issuer can have this name: a label as in DNS (RFC 1123), so that annotations
/// and objects can spell it.
pub fn is_issuer_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Returns the message about a name that [`is_issuer_name`] refuses.
pub(super) fn not_a_name(name: &str) -> String {
    format!(
        "{name:?} is not of 1 to 63 lower-case letters, digits and -, which neither begins nor \
         ends it"
    )
}

/// Returns true if the value of a key is itself a secret.
pub(super) fn is_secret(key: &str) -> bool {
    matches!(key, "hmac" | "secret")
}

/// Returns a line of a file as an error may show it.
pub(super) fn shown(line: &str) -> String {
    let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    if words.any(is_secret) {
        "(not shown, it may hold a secret)".to_owned()
    } else {
        line.trim().to_owned()
    }
}
