//! The vocabulary of certificates that the compiler, the ACME engine and the configuration share:
//! their names, the kinds of their keys, and their terms.

mod name;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use name::{CertificateName, CertificateNameError};

/// Kinds of private keys for certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// ECDSA on P-256: small, fast on every board, known to every client.
    #[default]
    P256,
    /// ECDSA on P-384.
    P384,
    /// RSA with 2048 bits, for old clients.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
}

/// Time between the renewal of a certificate and its expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RenewBefore {
    /// A fixed time.
    Time(Duration),
    /// A share of the certificate's lifetime, in percent, 1 to 99.
    Percent(u8),
}

/// Settings of one certificate that override those of its issuer. `None` leaves the choice to the
/// issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CertificateTerms {
    /// The subject's common name; one of the certificate's names.
    pub common_name: Option<Box<str>>,
    /// Kind of the private key.
    pub key_type: Option<KeyType>,
    /// Keeps the private key over renewals instead of generating a new one each time.
    pub keep_key: bool,
    /// Lifetime, for issuers that let the client choose it.
    pub duration: Option<Duration>,
    /// Time of the renewal, unless the CA suggests one (RFC 9773).
    pub renew_before: Option<RenewBefore>,
}

impl KeyType {
    /// All types.
    pub const ALL: [Self; 5] = [
        Self::P256,
        Self::P384,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
    ];

    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Rsa2048 => "rsa2048",
            Self::Rsa3072 => "rsa3072",
            Self::Rsa4096 => "rsa4096",
        }
    }

    /// Returns the number of bits of RSA keys; `None` for other types.
    pub fn rsa_bits(self) -> Option<usize> {
        match self {
            Self::P256 | Self::P384 => None,
            Self::Rsa2048 => Some(2048),
            Self::Rsa3072 => Some(3072),
            Self::Rsa4096 => Some(4096),
        }
    }
}
