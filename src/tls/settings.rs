//! Settings of TLS to clients.

use serde::{Deserialize, Serialize};

use super::resolver::UnknownSni;

/// Settings of TLS to clients: the section `[tls]` of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The oldest version that clients may speak.
    pub min_version: MinVersion,
    /// The treatment of clients that name an unknown server, or none.
    pub unknown_sni: UnknownSni,
}

/// The oldest TLS version that clients may speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246) and 1.3.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446) only.
    #[serde(rename = "1.3")]
    Tls13,
}
