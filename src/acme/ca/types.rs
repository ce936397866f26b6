//! The resources of RFC 8555. Values that CAs may extend are open: an unknown word is kept and is
//! no error.

use std::{collections::BTreeMap, fmt, time::Duration};

use instant_acme::CertificateIdentifier;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{error::Problem, identifier::Identifier};
use crate::util::time::UnixSeconds;

/// A resource with the information from the response's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replied<T> {
    /// The resource.
    pub value: T,
    /// The CA's `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The CA's time.
    pub date: Option<UnixSeconds>,
}

/// The URLs of a CA's resources (RFC 8555 section 7.1.1).
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
    /// The metadata about the CA.
    #[serde(default, skip_serializing, deserialize_with = "lenient")]
    pub meta: Meta,
}

/// Metadata about a CA.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    /// The CA's names in CAA records (RFC 8659).
    pub caa_identities: Vec<String>,
    /// True if new accounts need an external account binding.
    pub external_account_required: bool,
    /// The profiles that an order can name, with their descriptions.
    pub profiles: BTreeMap<String, String>,
}

/// The state of an account, order, authorization or challenge (RFC 8555 section 7.1.6). Each of
/// them uses only some of the states.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Waits for the client.
    Pending,
    /// Waits for the CA.
    Processing,
    /// An order that can be finalized.
    Ready,
    /// Successful, or usable.
    Valid,
    /// Failed permanently.
    Invalid,
    /// Given up by the client.
    Deactivated,
    /// No longer valid.
    Expired,
    /// Revoked by the CA.
    Revoked,
    /// An unknown state.
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
    /// The URL, which identifies the account in requests.
    #[serde(skip)]
    pub url: String,
    /// `valid`, `deactivated` or `revoked`. Valid if a CA leaves it out.
    #[serde(default = "valid")]
    pub status: Status,
    /// The contact URLs of the owner.
    #[serde(default, deserialize_with = "lenient")]
    pub contact: Vec<String>,
}

/// An order (RFC 8555 section 7.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Order {
    /// The URL of the order.
    #[serde(skip)]
    pub url: String,
    /// `pending`, `ready`, `processing`, `valid` or `invalid`.
    pub status: Status,
    /// The URLs of the authorizations.
    pub authorizations: Vec<String>,
    /// The URL for the CSR.
    pub finalize: String,
    /// The URL of the certificate, once it is issued.
    #[serde(default, deserialize_with = "lenient")]
    pub certificate: Option<String>,
    /// The reason for an invalid order.
    #[serde(default, deserialize_with = "lenient")]
    pub error: Option<Problem>,
    /// The certificate that it replaces (RFC 9773 section 5), if the CA accepted that.
    #[serde(default, deserialize_with = "lenient")]
    pub replaces: Option<String>,
    /// The profile that the CA uses.
    #[serde(default, deserialize_with = "lenient")]
    pub profile: Option<String>,
}

/// The authorization to use one identifier (RFC 8555 section 7.1.4).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Authorization {
    /// `pending`, `valid`, `invalid`, `deactivated`, `expired` or `revoked`.
    pub status: Status,
    /// The identifier, without the `*.` of a wildcard.
    pub identifier: Identifier,
    /// True if it is for a wildcard.
    #[serde(default, deserialize_with = "lenient")]
    pub wildcard: bool,
    /// The offered challenges.
    #[serde(default, deserialize_with = "readable")]
    pub challenges: Vec<Challenge>,
}

/// A method to prove control of an identifier (RFC 8555 section 8).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Challenge {
    /// `http-01`, `dns-01`, `tls-alpn-01` (RFC 8737), or another.
    #[serde(rename = "type")]
    pub kind: String,
    /// The URL that triggers the validation.
    pub url: String,
    /// `pending`, `processing`, `valid` or `invalid`. Pending if a CA leaves it out.
    #[serde(default = "pending")]
    pub status: Status,
    /// The CA's random token.
    #[serde(default, deserialize_with = "lenient")]
    pub token: Option<String>,
    /// The reason for a failure.
    #[serde(default, deserialize_with = "lenient")]
    pub error: Option<Problem>,
    /// For `dns-persist-01`: the CA's names that a record may contain.
    #[serde(default, rename = "issuer-domain-names", deserialize_with = "lenient")]
    pub issuer_domain_names: Vec<String>,
    /// For `dns-persist-01`: the account that a record must name.
    #[serde(default, rename = "accounturi", deserialize_with = "lenient")]
    pub account_uri: Option<String>,
}

/// A downloaded certificate (RFC 8555 section 7.4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The certificate, then the intermediates, PEM.
    pub pem: String,
    /// The URLs of the same certificate with other intermediates.
    pub alternates: Vec<String>,
}

/// The renewal window of a certificate (RFC 9773 section 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalInfo {
    /// Start of the window.
    pub start: UnixSeconds,
    /// End of the window, later than the start.
    pub end: UnixSeconds,
    /// The URL of an explanation.
    pub explanation_url: Option<String>,
}

impl RenewalInfo {
    /// Converts the crate's form. Returns `None` if the window ends before it starts.
    pub(super) fn of(read: instant_acme::RenewalInfo) -> Option<Self> {
        let [start, end] = [read.suggested_window.start, read.suggested_window.end]
            .map(|time| UnixSeconds(time.unix_timestamp()));
        (start < end).then_some(Self {
            start,
            end,
            explanation_url: read.explanation_url,
        })
    }
}

/// Returns the ID of a certificate for renewal information, made from its issuer's key and its
/// serial number (RFC 9773 section 4.1). Returns `None` if the certificate is malformed or does not
/// name its issuer's key.
pub fn ari_id(certificate: &[u8]) -> Option<String> {
    CertificateIdentifier::try_from(&CertificateDer::from(certificate))
        .ok()
        .map(|id| id.to_string())
}

/// Converts the result of [`ari_id`] into the crate's form.
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

/// Deserializes an optional member. A malformed value counts as absent.
fn lenient<'de, T: DeserializeOwned + Default, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(T::deserialize(Value::deserialize(deserializer)?).unwrap_or_default())
}

/// Deserializes a list, leaving out malformed entries.
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
