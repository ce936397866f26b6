//! Names and values of records.

use hickory_proto::rr::Name;
use serde::{Deserialize, Serialize};

use super::error::Failure;

/// The TTL of published records in seconds: the shortest that every provider accepts.
pub(super) const TTL: u32 = 60;
/// The largest number of CNAMEs that are followed in a row.
pub(super) const HOPS: usize = 8;

/// A TXT record with one value. It is stored as a pair of name and value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "(String, String)", into = "(String, String)")]
pub struct TxtRecord {
    /// The full name, such as `_acme-challenge.example.org`; a dot at the end is allowed.
    pub fqdn: String,
    /// The text. For DNS-01 the base64url digest of the key authorization.
    pub value: String,
}

impl TxtRecord {
    /// Creates the record of a DNS-01 challenge for a name, with or without `*.` in front.
    pub fn challenge(name: &str, value: &str) -> Self {
        let name = name.strip_prefix("*.").unwrap_or(name);
        Self {
            fqdn: format!("_acme-challenge.{name}"),
            value: value.to_owned(),
        }
    }

    /// Parses the name, after checking that name and value need no escaping in any message or
    /// command line.
    pub(super) fn name(&self) -> Result<Name, Failure> {
        let name = parse_name(&self.fqdn)?;
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        if self.value.is_empty() || self.value.len() > 255 || !self.value.bytes().all(plain) {
            return Err(Failure::new("the value is not 1 to 255 plain characters"));
        }
        Ok(name)
    }
}

impl From<(String, String)> for TxtRecord {
    fn from((fqdn, value): (String, String)) -> Self {
        Self { fqdn, value }
    }
}

impl From<TxtRecord> for (String, String) {
    fn from(TxtRecord { fqdn, value }: TxtRecord) -> Self {
        (fqdn, value)
    }
}

/// A change of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Publishes a value.
    Present,
    /// Removes a value.
    Cleanup,
}

impl Action {
    /// Returns its name for hooks.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Cleanup => "cleanup",
        }
    }
}

/// Parses a full name of letters, digits, `-` and `_`.
pub(super) fn parse_name(text: &str) -> Result<Name, Failure> {
    let wrong = || Failure::new(format!("{text:?} is not a DNS name"));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !text.bytes().all(plain) || text.starts_with('.') {
        return Err(wrong());
    }
    let mut name = Name::from_ascii(text).map_err(|_| wrong())?;
    if name.iter().len() == 0 {
        return Err(wrong());
    }
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
mod tests;
