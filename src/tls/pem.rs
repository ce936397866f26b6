//! Reads `tls.crt` and `tls.key`, and identifies contents that cannot be used. Messages never show
//! key material.

use std::fmt;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};
use x509_parser::asn1_rs::{Any, Class, FromDer, Oid};

use super::CertificateError;

/// Reads a chain.
pub(super) fn chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match read {
        Ok(none) if none.is_empty() => Err(CertificateError::NoCertificate(Found::of(text))),
        Ok(chain) => Ok(chain),
        Err(_broken) => Err(CertificateError::BadCertificate),
    }
}

/// Reads a private key.
pub(super) fn key(text: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(key) => Ok(key),
        Err(_) if is_encrypted(text) => Err(CertificateError::EncryptedKey),
        Err(pem::Error::NoItemsFound) => Err(CertificateError::NoKey(Found::of(text))),
        Err(_broken) => Err(CertificateError::BadKey),
    }
}

/// Contents of `tls.crt` or `tls.key` other than the expected ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Unknown contents, or none.
    Nothing,
    /// PEM with this label (RFC 7468).
    Label(Box<str>),
    /// Binary DER.
    Der,
}

impl Found {
    pub(super) fn of(text: &[u8]) -> Self {
        match labels(text).next() {
            Some(label) => Self::Label(label.chars().take(64).collect::<String>().into()),
            None if is_sequence(text) => Self::Der,
            None => Self::Nothing,
        }
    }
}

/// Continues the sentence "tls.crt has no PEM certificate".
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Label(label) => write!(f, ", but \"{label}\""),
            Self::Der => f.write_str(", but binary DER: convert it with openssl"),
        }
    }
}

/// A kind of private key, as messages name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA, with the length of its modulus in bits.
    Rsa(usize),
    /// RSA restricted to RSASSA-PSS.
    RsaPss,
    /// An elliptic curve.
    Ec(&'static str),
    /// Ed25519.
    Ed25519,
    /// An algorithm that is not supported, by its name.
    Other(&'static str),
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "an RSA key of {bits} bits"),
            Self::RsaPss => f.write_str("an RSA key for RSASSA-PSS only"),
            Self::Ec(curve) => write!(f, "a key on the curve {curve}"),
            Self::Ed25519 => f.write_str("an Ed25519 key"),
            Self::Other(algorithm) => write!(f, "a key for {algorithm}"),
        }
    }
}

impl KeyKind {
    /// Identifies a key; `None` if its DER cannot be read.
    pub(super) fn of(key: &PrivateKeyDer<'_>) -> Option<Self> {
        match key {
            PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der()),
            PrivateKeyDer::Sec1(key) => {
                // ECPrivateKey (RFC 5915): the curve is the element tagged [0].
                let parts = parts(key.secret_sec1_der())?;
                let parameters = parts
                    .iter()
                    .find(|part| part.tag().0 == 0 && part.class() == Class::ContextSpecific)?;

                curve(parameters.data)
            }
            PrivateKeyDer::Pkcs8(key) => {
                // PrivateKeyInfo (RFC 5208): version, algorithm with its parameters, the key.
                let parts = parts(key.secret_pkcs8_der())?;
                let (algorithm, inner) = (parts.get(1)?, parts.get(2)?);
                let (rest, oid) = Oid::from_der(algorithm.data).ok()?;

                Some(match &*oid.to_id_string() {
                    "1.2.840.113549.1.1.1" => rsa(inner.data)?,
                    "1.2.840.113549.1.1.10" => Self::RsaPss,
                    "1.2.840.10045.2.1" => curve(rest)?,
                    "1.3.101.112" => Self::Ed25519,
                    "1.3.101.113" => Self::Other("Ed448"),
                    "1.2.840.10040.4.1" => Self::Other("DSA"),
                    "1.3.101.110" | "1.3.101.111" => Self::Other("key agreement only"),
                    _ => Self::Other("an algorithm that is not known here"),
                })
            }
            _ => None,
        }
    }

    /// Returns whether keys of this kind can be used. A refusal then has another reason.
    pub(super) fn is_supported(self) -> bool {
        match self {
            Self::Rsa(bits) => (2048..=8192).contains(&bits),
            Self::Ec(curve) => matches!(curve, "P-256" | "P-384"),
            Self::Ed25519 => true,
            Self::RsaPss | Self::Other(_) => false,
        }
    }
}

/// Splits a sequence into its elements.
fn parts(der: &[u8]) -> Option<Vec<Any<'_>>> {
    let (_, sequence) = Any::from_der(der).ok()?;
    let mut rest = sequence.data;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (after, part) = Any::from_der(rest).ok()?;
        parts.push(part);
        rest = after;
    }
    Some(parts)
}

/// Returns whether a text is the DER of one sequence, as certificates and keys are.
fn is_sequence(text: &[u8]) -> bool {
    text.first() == Some(&0x30) && Any::from_der(text).is_ok_and(|(rest, _)| rest.is_empty())
}

/// Measures an RSAPrivateKey (RFC 8017, A.1.2): version, modulus, and so on.
fn rsa(der: &[u8]) -> Option<KeyKind> {
    let parts = parts(der)?;
    let modulus = parts.get(1)?.data;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?;
    Some(KeyKind::Rsa(
        (modulus.len() - zeros) * 8 - first.leading_zeros() as usize,
    ))
}

/// Names the curve of an object identifier.
fn curve(parameters: &[u8]) -> Option<KeyKind> {
    let Ok((_, oid)) = Oid::from_der(parameters) else {
        return Some(KeyKind::Ec("written out as numbers"));
    };
    Some(KeyKind::Ec(match &*oid.to_id_string() {
        "1.2.840.10045.3.1.7" => "P-256",
        "1.3.132.0.34" => "P-384",
        "1.3.132.0.35" => "P-521",
        "1.3.132.0.33" => "P-224",
        "1.3.132.0.10" => "secp256k1",
        _ => "that is not known here",
    }))
}

/// Returns whether the key is encrypted (RFC 5958 section 3, or OpenSSL's older form).
fn is_encrypted(text: &[u8]) -> bool {
    let header = b"Proc-Type: 4,ENCRYPTED";
    labels(text).any(|label| label == "ENCRYPTED PRIVATE KEY")
        || text.windows(header.len()).any(|part| part == header)
}

/// Lists the labels of the PEM sections in a text.
fn labels(text: &[u8]) -> impl Iterator<Item = String> {
    let lines = text.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.filter_map(|line| {
        let label = line
            .trim_ascii()
            .strip_prefix(b"-----BEGIN ")?
            .strip_suffix(b"-----")?;
        Some(String::from_utf8_lossy(label).into_owned())
    })
}
