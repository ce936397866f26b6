//! The resources of RFC 8555 as they arrive. Whatever a CA may extend is open: a word that is not known here is kept, not
//! an error.

use std::{collections::BTreeMap, fmt, net::IpAddr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::json;

use super::error::Problem;

/// An answer with what its headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replied<T> {
    /// The answer.
    pub value: T,
    /// How long to wait before asking again, as the CA says it.
    pub retry_after: Option<Duration>,
    /// The CA's time, in seconds since 1970.
    pub date: Option<i64>,
}

/// Where a CA's resources are (RFC 8555 section 7.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    pub(super) new_nonce: String,
    pub(super) new_account: String,
    pub(super) new_order: String,
    pub(super) revoke_cert: Option<String>,
    pub(super) key_change: Option<String>,
    pub(super) renewal_info: Option<String>,
    /// What the CA says of itself.
    #[serde(default, deserialize_with = "or_default")]
    pub meta: Meta,
}

/// What a CA says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    /// URL of the terms of service.
    pub terms_of_service: Option<String>,
    /// URL of a page on the CA.
    pub website: Option<String>,
    /// What CAA records must name (RFC 8659).
    #[serde(deserialize_with = "or_default")]
    pub caa_identities: Vec<String>,
    /// Accounts need credentials that were given out beforehand.
    #[serde(deserialize_with = "or_default")]
    pub external_account_required: bool,
    /// Profiles that an order can name, with what they are.
    #[serde(deserialize_with = "or_default")]
    pub profiles: BTreeMap<String, String>,
}

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identifier {
    /// A DNS name, which may begin with `*.`.
    Dns(String),
    /// An IP address (RFC 8738).
    Ip(IpAddr),
    /// What a CA has beside these.
    Other {
        /// `type`.
        kind: String,
        /// `value`.
        value: String,
    },
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
            Self::Other { kind, value } => write!(f, "{kind}:{value}"),
        }
    }
}

impl Serialize for Identifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = match self {
            Self::Dns(name) => json!({"type": "dns", "value": name}),
            Self::Ip(address) => json!({"type": "ip", "value": address}),
            Self::Other { kind, value } => json!({"type": kind, "value": value}),
        };
        value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Identifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            #[serde(rename = "type")]
            kind: String,
            value: String,
        }

        let Raw { kind, value } = Raw::deserialize(deserializer)?;
        Ok(match (&*kind, value.parse()) {
            ("dns", _) => Self::Dns(value),
            ("ip", Ok(address)) => Self::Ip(address),
            _ => Self::Other { kind, value },
        })
    }
}

/// The state of an account, order, authorization or challenge (RFC 8555 section 7.1.6). Not each has all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Waits for the client.
    Pending,
    /// Waits for the CA.
    Processing,
    /// An order that can be finalized.
    Ready,
    /// Good.
    Valid,
    /// Failed for good.
    Invalid,
    /// Given up by the client.
    Deactivated,
    /// Ran out.
    Expired,
    /// Taken back by the CA.
    Revoked,
    /// A word that is not known here.
    Other(String),
}

impl Status {
    const WORDS: [(&str, Self); 8] = [
        ("pending", Self::Pending),
        ("processing", Self::Processing),
        ("ready", Self::Ready),
        ("valid", Self::Valid),
        ("invalid", Self::Invalid),
        ("deactivated", Self::Deactivated),
        ("expired", Self::Expired),
        ("revoked", Self::Revoked),
    ];
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(word) => f.write_str(word),
            known => f.write_str(Self::WORDS.iter().find(|(_, status)| status == known).map_or("", |(word, _)| word)),
        }
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let known = Self::WORDS.into_iter().find(|(known, _)| *known == word);
        Ok(known.map_or(Self::Other(word), |(_, status)| status))
    }
}

/// An account (RFC 8555 section 7.1.2).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Account {
    /// Its URL, which signs for it from now on.
    #[serde(skip)]
    pub url: String,
    /// `valid`, `deactivated` or `revoked`.
    pub status: Status,
    /// URLs by which the CA reaches its owner.
    #[serde(default, deserialize_with = "or_default")]
    pub contact: Vec<String>,
}

/// An order (RFC 8555 section 7.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Order {
    /// Its URL.
    #[serde(skip)]
    pub url: String,
    /// `pending`, `ready`, `processing`, `valid` or `invalid`.
    pub status: Status,
    /// When the CA forgets it, in seconds since 1970.
    #[serde(default, deserialize_with = "time")]
    pub expires: Option<i64>,
    /// What the certificate will be for.
    pub identifiers: Vec<Identifier>,
    /// URLs of what has to be proved.
    pub authorizations: Vec<String>,
    /// Where the CSR goes.
    pub finalize: String,
    /// URL of the certificate, once there is one.
    pub certificate: Option<String>,
    /// Why it is invalid.
    pub error: Option<Problem>,
    /// The certificate that it replaces (RFC 9773 section 5). A CA that ignored the wish leaves it out.
    pub replaces: Option<String>,
    /// The profile that the CA took.
    pub profile: Option<String>,
}

/// What has to be proved for one identifier (RFC 8555 section 7.1.4).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Authorization {
    /// Its URL.
    #[serde(skip)]
    pub url: String,
    /// `pending`, `valid`, `invalid`, `deactivated`, `expired` or `revoked`.
    pub status: Status,
    /// When it is worth nothing any more, in seconds since 1970.
    #[serde(default, deserialize_with = "time")]
    pub expires: Option<i64>,
    /// Without the `*.` of a wildcard.
    pub identifier: Identifier,
    /// It is for all names one level below.
    #[serde(default, deserialize_with = "or_default")]
    pub wildcard: bool,
    /// The ways to prove it.
    #[serde(default, deserialize_with = "or_default")]
    pub challenges: Vec<Challenge>,
}

/// A way to prove control of an identifier (RFC 8555 section 8).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Challenge {
    /// `http-01`, `dns-01`, `tls-alpn-01` (RFC 8737), or another.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where the CA is told to look.
    pub url: String,
    /// `pending`, `processing`, `valid` or `invalid`. Pending where a CA leaves it out.
    #[serde(default = "pending")]
    pub status: Status,
    /// What the CA made up.
    pub token: Option<String>,
    /// Why it failed.
    pub error: Option<Problem>,
    /// For `dns-persist-01`: names of the CA that a record may have.
    #[serde(default, rename = "issuer-domain-names", deserialize_with = "or_default")]
    pub issuer_domain_names: Vec<String>,
    /// For `dns-persist-01`: the account that a record must name.
    #[serde(default, rename = "accounturi")]
    pub account_uri: Option<String>,
}

/// A certificate as it is downloaded (RFC 8555 section 7.4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Certificate, then intermediates.
    pub pem: String,
    /// URLs of the same certificate with other intermediates.
    pub alternates: Vec<String>,
}

/// When a certificate should be replaced (RFC 9773 section 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalInfo {
    /// Begin of the window, in seconds since 1970.
    pub start: i64,
    /// Its end, later than the begin.
    pub end: i64,
    /// A page that says why.
    pub explanation_url: Option<String>,
}

impl<'de> Deserialize<'de> for RenewalInfo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Raw {
            suggested_window: Window,
            #[serde(rename = "explanationURL")]
            explanation_url: Option<String>,
        }

        #[derive(Deserialize)]
        struct Window {
            start: String,
            end: String,
        }

        let Raw { suggested_window: Window { start, end }, explanation_url } = Raw::deserialize(deserializer)?;
        match (seconds(&start), seconds(&end)) {
            (Some(start), Some(end)) if start < end => Ok(Self { start, end, explanation_url }),
            _ => Err(de::Error::custom("no window")),
        }
    }
}

fn pending() -> Status {
    Status::Pending
}

/// Servers written in Go say `null` for what is empty.
fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A time that cannot be read is as good as none.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.and_then(|text| seconds(&text)))
}

/// RFC 3339 to seconds since 1970.
fn seconds(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

#[cfg(test)]
mod tests;
