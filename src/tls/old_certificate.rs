//! Certificates of clients without extensions (X.509 v1), as `openssl x509 -req` makes them. The
//! verifier of rustls refuses them all; here one is accepted that an authority itself has issued.

use rustls::{
    CertificateError, DigitallySignedStruct, Error,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key},
    pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer},
};
use x509_parser::{
    asn1_rs::{Any, FromDer},
    certificate::X509Certificate,
    revocation_list::CertificateRevocationList,
    x509::X509Version,
};

/// Parses a certificate (DER) if it is an old one.
pub(super) fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    (certificate.version() == X509Version::V1).then_some(certificate)
}

/// Verifies that a client of TLS 1.2 has the key of its certificate.
///
/// # Errors
/// If the signature is wrong, or of a kind that the key does not make.
pub(super) fn verify_tls12(
    message: &[u8],
    certificate: &X509Certificate<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let mut known = algorithms.mapping.iter();
    let known = known.find(|(scheme, _)| *scheme == signed.scheme);
    let mut possible = known.into_iter().flat_map(|(_, all)| all.iter());
    let key = certificate.public_key();

    let is_right = possible.any(|algorithm| {
        is_key_of(*algorithm, key.raw)
            && algorithm
                .verify_signature(&key.subject_public_key.data, message, signed.signature())
                .is_ok()
    });
    match is_right {
        true => Ok(HandshakeSignatureValid::assertion()),
        false => Err(Error::InvalidCertificate(CertificateError::BadSignature)),
    }
}

/// Verifies that a client of TLS 1.3 has the key of its certificate.
///
/// # Errors
/// As [`verify_tls12`].
pub(super) fn verify_tls13(
    message: &[u8],
    certificate: &X509Certificate<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let key = SubjectPublicKeyInfoDer::from(certificate.public_key().raw);
    verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
}

/// Returns true if an authority has issued an old certificate (DER).
pub(super) fn is_issued_by(
    der: &[u8],
    authority: &X509Certificate<'_>,
    algorithms: &WebPkiSupportedAlgorithms,
) -> bool {
    let Some(old) = parse(der) else {
        return false;
    };
    // What is signed must say with which algorithm.
    let is_clear = old.tbs_certificate.signature == old.signature_algorithm;
    let (signed, signature) = (old.tbs_certificate.as_ref(), &old.signature_value.data);
    is_clear
        && old.issuer() == authority.subject()
        && is_signed_by(der, signed, signature, authority, algorithms)
}

/// Returns true if an authority has signed a list of revoked certificates (DER).
pub(super) fn is_list_of(
    der: &[u8],
    list: &CertificateRevocationList<'_>,
    authority: &X509Certificate<'_>,
    algorithms: &WebPkiSupportedAlgorithms,
) -> bool {
    let is_clear = list.tbs_cert_list.signature == list.signature_algorithm;
    let (signed, signature) = (list.tbs_cert_list.as_ref(), &list.signature_value.data);
    is_clear
        && list.issuer() == authority.subject()
        && !list.extensions().iter().any(|extension| extension.critical)
        && is_signed_by(der, signed, signature, authority, algorithms)
}

/// Returns true if an authority has signed a part of a certificate or a list (DER).
fn is_signed_by(
    der: &[u8],
    signed: &[u8],
    signature: &[u8],
    authority: &X509Certificate<'_>,
    algorithms: &WebPkiSupportedAlgorithms,
) -> bool {
    let algorithm_id = element(der, 1);
    let key = authority.public_key();
    algorithms.all.iter().any(|algorithm| {
        algorithm_id == Some(algorithm.signature_alg_id().as_ref())
            && is_key_of(*algorithm, key.raw)
            && algorithm
                .verify_signature(&key.subject_public_key.data, signed, signature)
                .is_ok()
    })
}

/// Returns true if an algorithm is for keys of the kind of this one (SubjectPublicKeyInfo).
fn is_key_of(algorithm: &dyn SignatureVerificationAlgorithm, key: &[u8]) -> bool {
    element(key, 0) == Some(algorithm.public_key_alg_id().as_ref())
}

/// Returns the content of an element of a sequence.
fn element(der: &[u8], at: usize) -> Option<&[u8]> {
    let (_, sequence) = Any::from_der(der).ok()?;
    let mut rest = sequence.data;
    for _ in 0..at {
        rest = Any::from_der(rest).ok()?.0;
    }
    Some(Any::from_der(rest).ok()?.1.data)
}
