//! A certificate chain with its key, checked when it is read.

use std::{fmt, sync::Arc};

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SigningKey},
};
use x509_parser::{
    oid_registry::OID_PKCS1_RSASSAPSS,
    prelude::{FromDer, GeneralName, SubjectPublicKeyInfo, X509Certificate},
};

use super::pem::{self, Found, KeyKind};
use crate::{routing::HostPattern, util::time::UnixSeconds};

/// Chains longer than this are refused: the web's have three.
const MAX_CHAIN: usize = 16;

/// A certificate that can be served.
#[derive(Clone)]
pub struct Certificate {
    certified: Arc<CertifiedKey>,
    names: Box<[Box<str>]>,
    not_before: UnixSeconds,
    not_after: UnixSeconds,
    issuer: Box<str>,
    self_signed: bool,
    serial: Box<str>,
}

/// A problem of a certificate or its key. Never shows key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// `tls.crt` has no certificate.
    #[error("tls.crt has no PEM certificate{0}")]
    NoCertificate(Found),
    /// `tls.crt` cannot be read.
    #[error("tls.crt is not a certificate chain in PEM")]
    BadCertificate,
    /// The first certificate cannot be read.
    #[error("the first certificate in tls.crt is not X.509")]
    NotX509,
    /// Too many certificates.
    #[error("tls.crt has more than {MAX_CHAIN} certificates")]
    TooLong,
    /// The certificate allows only a kind of signature that rustls does not make with it.
    #[error(
        "the first certificate in tls.crt is for signatures by RSASSA-PSS only, \
         which are not supported"
    )]
    PssOnly,
    /// `tls.key` has no private key.
    #[error("tls.key has no PEM private key{0}")]
    NoKey(Found),
    /// The key needs a passphrase.
    #[error(
        "tls.key is encrypted: store it without a passphrase (openssl pkey -in FILE -out FILE)"
    )]
    EncryptedKey,
    /// `tls.key` cannot be read.
    #[error(
        "tls.key is broken: what is between its BEGIN and END is not base64, or there is no END"
    )]
    BadKey,
    /// A kind of key that cannot be used.
    #[error(
        "tls.key is {0}, which is not supported: \
         use ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits"
    )]
    UnsupportedKey(KeyKind),
    /// A key of a supported kind that is invalid.
    #[error("tls.key cannot be used: its contents are not those of a valid private key")]
    InvalidKey,
    /// The key is that of another certificate of the chain.
    #[error(
        "tls.key is the key of certificate {0} in tls.crt: \
         the certificate of the host has to be the first"
    )]
    WrongOrder(usize),
    /// The key is not the certificate's.
    #[error("tls.key is not the key of the first certificate in tls.crt")]
    Mismatch,
}

impl Certificate {
    /// Reads a chain (the host's certificate first) and its key from PEM. Only the first
    /// certificate is parsed. X.509 v1 is served like v3: clients decide what they accept.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let certificates = pem::chain(chain)?;
        Self::from_der(certificates, pem::key(key)?)
    }

    pub(super) fn from_der(
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertificateError> {
        if certificates.len() > MAX_CHAIN {
            return Err(CertificateError::TooLong);
        }

        let leaf = certificates
            .first()
            .ok_or(CertificateError::NoCertificate(Found::Nothing))?;

        // The block ends the borrow of the chain, which moves into the result.
        let (names, not_before, not_after, issuer, self_signed, serial, key) = {
            let (_, parsed) =
                X509Certificate::from_der(leaf).map_err(|_bad| CertificateError::NotX509)?;

            let kind = KeyKind::of(&key);
            let key = super::provider()
                .key_provider
                .load_private_key(key)
                .map_err(|_bad| match kind {
                    Some(kind) if !kind.is_supported() => CertificateError::UnsupportedKey(kind),
                    _ => CertificateError::InvalidKey,
                })?;
            belong_together(&parsed, &certificates[1..], &*key)?;

            let validity = parsed.validity();
            (
                names(&parsed),
                UnixSeconds(validity.not_before.timestamp()),
                UnixSeconds(validity.not_after.timestamp()),
                parsed.issuer().to_string().into(),
                parsed.issuer() == parsed.subject(),
                parsed.raw_serial_as_string().into(),
                key,
            )
        };

        let certified = CertifiedKey::new(certificates, key);
        Ok(Self {
            certified: Arc::new(certified),
            names,
            not_before,
            not_after,
            issuer,
            self_signed,
            serial,
        })
    }

    /// Returns the form that rustls serves.
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// DNS names and addresses it is for (subject alternative names), lower case.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// Begin of validity, seconds since 1970.
    pub fn not_before(&self) -> UnixSeconds {
        self.not_before
    }

    /// End of validity, seconds since 1970.
    pub fn not_after(&self) -> UnixSeconds {
        self.not_after
    }

    /// The issuer's name.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Reports whether it names itself as its issuer.
    pub fn is_self_signed(&self) -> bool {
        self.self_signed
    }

    /// The serial number in hexadecimal.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Reports whether its names are valid for every host of the pattern (RFC 6125 section 6.4.3).
    pub fn covers(&self, pattern: &HostPattern) -> bool {
        match pattern {
            HostPattern::Any => true,
            HostPattern::Wildcard(suffix) => self
                .names
                .iter()
                .any(|name| name.strip_prefix("*.") == Some(suffix.as_str())),
            HostPattern::Exact(host) => self.names.iter().any(|name| {
                **name == *host.as_str()
                    || name.strip_prefix("*.").is_some_and(|suffix| {
                        host.as_str()
                            .split_once('.')
                            .is_some_and(|(label, rest)| !label.is_empty() && rest == suffix)
                    })
            }),
        }
    }
}

/// Returns true if a certificate of a chain (PEM) names this common name as its issuer.
pub fn chain_has_issuer(chain: &str, common_name: &str) -> bool {
    let names_it = |der: &CertificateDer<'_>| {
        X509Certificate::from_der(der).is_ok_and(|(_, certificate)| {
            let mut names = certificate.issuer().iter_common_name();
            names.any(|name| name.as_str() == Ok(common_name))
        })
    };
    let mut chain = CertificateDer::pem_slice_iter(chain.as_bytes()).flatten();
    chain.any(|der| names_it(&der))
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Checks that the key is that of the first certificate, and not of another one of the chain.
/// rustls has a check of its own, but it refuses X.509 v1.
fn belong_together(
    leaf: &X509Certificate<'_>,
    others: &[CertificateDer<'_>],
    key: &dyn SigningKey,
) -> Result<(), CertificateError> {
    let Some(own) = key.public_key() else {
        return Ok(());
    };
    let Ok((_, own)) = SubjectPublicKeyInfo::from_der(&own) else {
        return Ok(());
    };

    let is_its_key = |certificate: &X509Certificate<'_>| {
        certificate.public_key().subject_public_key.data == own.subject_public_key.data
    };
    if !is_its_key(leaf) {
        let mut others = others.iter();
        let position = others.position(|other| {
            X509Certificate::from_der(other).is_ok_and(|(_, other)| is_its_key(&other))
        });
        // People count from one, and the first is the leaf.
        return Err(match position {
            Some(position) => CertificateError::WrongOrder(position + 2),
            None => CertificateError::Mismatch,
        });
    }

    match leaf.public_key().algorithm.algorithm == OID_PKCS1_RSASSAPSS {
        true => Err(CertificateError::PssOnly),
        false => Ok(()),
    }
}

fn names(certificate: &X509Certificate<'_>) -> Box<[Box<str>]> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Box::default();
    };

    let text = |name: &GeneralName<'_>| -> Option<Box<str>> {
        match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes)
                    .ok()
                    .map(|v4| std::net::Ipv4Addr::from(v4).to_string().into()),
                16 => <[u8; 16]>::try_from(*bytes)
                    .ok()
                    .map(|v6| format!("[{}]", std::net::Ipv6Addr::from(v6)).into()),
                _ => None,
            },
            _ => None,
        }
    };

    extension
        .value
        .general_names
        .iter()
        .filter_map(text)
        .collect()
}
