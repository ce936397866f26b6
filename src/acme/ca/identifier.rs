//! The identifiers of RFC 8555, and the JSON documents that contain them.

use std::{fmt, net::IpAddr};

use serde::Deserialize;
use serde_json::Value;

use crate::pki::CertificateName;

/// A name or address in an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "lowercase")]
pub enum Identifier {
    /// A DNS name, which may begin with `*.`.
    Dns(String),
    /// An address (RFC 8738).
    Ip(IpAddr),
    /// An identifier of an unknown type.
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

impl From<&CertificateName> for instant_acme::Identifier {
    fn from(name: &CertificateName) -> Self {
        match name {
            CertificateName::Ip(address) => Self::Ip(*address),
            dns => Self::Dns(dns.to_string()),
        }
    }
}

/// Parses a JSON body. An empty body counts as an empty object, and members that are `null` are
/// removed, because servers written in Go send `null` for empty values.
pub(super) fn document(body: &[u8]) -> Option<Value> {
    fn remove_nulls(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.retain(|_, member| !member.is_null());
                members.values_mut().for_each(remove_nulls);
            }
            Value::Array(members) => members.iter_mut().for_each(remove_nulls),
            _ => {}
        }
    }
    let body = if body.is_empty() { b"{}" } else { body };
    let mut value = serde_json::from_slice(body).ok()?;
    remove_nulls(&mut value);
    Some(value)
}
