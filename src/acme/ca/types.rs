//! The resources of RFC 8555 as they arrive. Whatever a CA may extend is open: a word that is not
//! known here is kept, not an error.

use std::{collections::BTreeMap, fmt, net::IpAddr, time::Duration};

use instant_acme::CertificateIdentifier;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::Value;

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
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    pub(super) new_nonce: String,
    pub(super) new_account: String,
    pub(super) new_order: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) revoke_cert: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) key_change: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) renewal_info: Option<String>,
    /// What the CA says of itself.
    #[serde(default, skip_serializing, deserialize_with = "lenient")]
    pub meta: Meta,
}

/// What a CA says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    /// What CAA records must name (RFC 8659).
    pub caa_identities: Vec<String>,
    /// Accounts need credentials that were given out beforehand.
    pub external_account_required: bool,
    /// Profiles that an order can name, with what they are.
    pub profiles: BTreeMap<String, String>,
}

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "lowercase")]
pub enum Identifier {
    /// A DNS name, which may begin with `*.`.
    Dns(String),
    /// An address (RFC 8738).
    Ip(IpAddr),
    /// Of a kind that is not known here.
    #[serde(untagged)]
    Other {
        /// `type`.
        #[serde(rename = "type")]
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

impl From<&Identifier> for instant_acme::Identifier {
    fn from(identifier: &Identifier) -> Self {
        match identifier {
            Identifier::Dns(name) => Self::Dns(name.clone()),
            Identifier::Ip(address) => Self::Ip(*address),
            // The only other kind that CAs have use for.
            Identifier::Other { value, .. } => Self::PermanentIdentifier(value.clone()),
        }
    }
}

/// The state of an account, order, authorization or challenge (RFC 8555 section 7.1.6). Not each
/// has all.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
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
    #[serde(untagged)]
    Other(String),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// An account (RFC 8555 section 7.1.2).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Account {
    /// Its URL, which signs for it from now on.
    #[serde(skip)]
    pub url: String,
    /// `valid`, `deactivated` or `revoked`. Valid where a CA leaves it out.
    #[serde(default = "valid")]
    pub status: Status,
    /// URLs by which the CA reaches its owner.
    #[serde(default, deserialize_with = "lenient")]
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
    /// URLs of what has to be proved.
    pub authorizations: Vec<String>,
    /// Where the CSR goes.
    pub finalize: String,
    /// URL of the certificate, once there is one.
    #[serde(default, deserialize_with = "lenient")]
    pub certificate: Option<String>,
    /// Why it is invalid.
    #[serde(default, deserialize_with = "lenient")]
    pub error: Option<Problem>,
    /// The certificate that it replaces (RFC 9773 section 5). A CA that ignored the wish leaves it
    /// out.
    #[serde(default, deserialize_with = "lenient")]
    pub replaces: Option<String>,
    /// The profile that the CA took.
    #[serde(default, deserialize_with = "lenient")]
    pub profile: Option<String>,
}

/// What has to be proved for one identifier (RFC 8555 section 7.1.4).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Authorization {
    /// `pending`, `valid`, `invalid`, `deactivated`, `expired` or `revoked`.
    pub status: Status,
    /// Without the `*.` of a wildcard.
    pub identifier: Identifier,
    /// It is for all names one level below.
    #[serde(default, deserialize_with = "lenient")]
    pub wildcard: bool,
    /// The ways to prove it.
    #[serde(default, deserialize_with = "readable")]
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
    #[serde(default, deserialize_with = "lenient")]
    pub token: Option<String>,
    /// Why it failed.
    #[serde(default, deserialize_with = "lenient")]
    pub error: Option<Problem>,
    /// For `dns-persist-01`: names of the CA that a record may have.
    #[serde(default, rename = "issuer-domain-names", deserialize_with = "lenient")]
    pub issuer_domain_names: Vec<String>,
    /// For `dns-persist-01`: the account that a record must name.
    #[serde(default, rename = "accounturi", deserialize_with = "lenient")]
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

impl RenewalInfo {
    /// What the crate read, unless its window ends before it begins.
    pub(super) fn of(read: instant_acme::RenewalInfo) -> Option<Self> {
        let [start, end] = [read.suggested_window.start, read.suggested_window.end]
            .map(|time| time.unix_timestamp());
        (start < end).then_some(Self {
            start,
            end,
            explanation_url: read.explanation_url,
        })
    }
}

/// A body in JSON; an empty one has no members. Servers written in Go say `null` for what is empty:
/// it is left out.
pub(super) fn document(body: &[u8]) -> Option<Value> {
    fn tidy(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.retain(|_, member| !member.is_null());
                members.values_mut().for_each(tidy);
            }
            Value::Array(members) => members.iter_mut().for_each(tidy),
            _ => {}
        }
    }
    let body = if body.is_empty() { b"{}" } else { body };
    let mut value = serde_json::from_slice(body).ok()?;
    tidy(&mut value);
    Some(value)
}

/// The identifier of a certificate by its issuer's key and its serial number (RFC 9773 section
/// 4.1). `None` if the certificate cannot be read or does not name its issuer's key.
pub fn ari_id(certificate: &[u8]) -> Option<String> {
    CertificateIdentifier::try_from(&CertificateDer::from(certificate))
        .ok()
        .map(|id| id.to_string())
}

/// What [`ari_id`] says, for the crate.
pub(super) fn certificate_id(id: &str) -> CertificateIdentifier<'_> {
    let (issuer, serial) = id.split_once('.').unwrap_or((id, ""));
    CertificateIdentifier {
        authority_key_identifier: issuer.into(),
        serial: serial.into(),
    }
}

fn pending() -> Status {
    Status::Pending
}

fn valid() -> Status {
    Status::Valid
}

/// What a CA may leave out does no harm in another shape either.
fn lenient<'de, T: DeserializeOwned + Default, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(T::deserialize(Value::deserialize(deserializer)?).unwrap_or_default())
}

/// The entries of a list that can be read.
fn readable<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let entries: Vec<Value> = lenient(deserializer)?;
    Ok(entries
        .into_iter()
        .filter_map(|entry| T::deserialize(entry).ok())
        .collect())
}

#[cfg(test)]
mod tests;
