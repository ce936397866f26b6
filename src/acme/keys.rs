//! Keys and requests for certificates, and the check of what came for them.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{
    failure::{Class, Failure},
    spec::CertificateSpec,
};
use crate::{
    pki::{CertificateName, KeyType},
    tls::Certificate,
};

/// A new key (PKCS#8, PEM), or the one that is to be kept, and a signing request for it (DER,
/// base64).
pub(super) fn request(
    want: &CertificateSpec,
    key_type: KeyType,
    keep: Option<&str>,
) -> Result<(String, String), Failure> {
    let wrong = |error: rcgen::Error| {
        Failure::new(
            Class::Config,
            format!("no key or request can be made: {error}"),
        )
    };
    let kept = keep
        .filter(|_| want.terms.keep_key)
        .and_then(|pem| KeyPair::from_pem(pem).ok());
    let key = match kept.filter(|key| is_of(key, key_type)) {
        Some(key) => key,
        None => generate(key_type).map_err(wrong)?,
    };
    let request = params(want)
        .map_err(wrong)?
        .serialize_request(&key)
        .map_err(wrong)?;
    Ok((key.serialize_pem(), STANDARD.encode(request.der())))
}

/// A certificate that is its own issuer: chain and key, PEM.
pub(super) fn self_signed(
    want: &CertificateSpec,
    key_type: KeyType,
    not_before: i64,
    life: Duration,
) -> Result<(String, String), Failure> {
    let wrong = |error: rcgen::Error| {
        Failure::new(
            Class::Config,
            format!("no certificate can be made: {error}"),
        )
    };
    let key = generate(key_type).map_err(wrong)?;
    let mut params = params(want).map_err(wrong)?;
    let begin = std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(not_before).unwrap_or(0));
    (params.not_before, params.not_after) = (begin.into(), (begin + life).into());
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key).map_err(wrong)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Reads the chain that came for a request and checks that it is what was asked for. `now` is the
/// time.
///
/// # Errors
/// What is wrong, as a failure of class [`Class::Content`].
pub(super) fn check(
    want: &CertificateSpec,
    chain: &str,
    key: &str,
    now: i64,
) -> Result<Certificate, Failure> {
    let wrong = |what: String| {
        Failure::new(
            Class::Content,
            format!("the certificate that came is wrong: {what}"),
        )
    };
    let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).map_err(|error| {
        // Where it says `tls.crt` and `tls.key` it means what the CA sent.
        wrong(
            error
                .to_string()
                .replace("tls.crt", "the chain")
                .replace("tls.key", "the key of the request"),
        )
    })?;
    let mut wanted: Vec<String> = want.names.iter().map(in_certificate).collect();
    let mut named: Vec<String> = certificate
        .names()
        .iter()
        .map(ToString::to_string)
        .collect();
    wanted.sort_unstable();
    named.sort_unstable();
    named.dedup();
    // A name more than was ordered, such as `www`, is some CAs' gift.
    if wanted.iter().any(|name| !named.contains(name)) {
        return Err(wrong(format!(
            "it is for {} and not for {}",
            named.join(", "),
            wanted.join(", ")
        )));
    }
    if certificate.not_after().0 <= now {
        return Err(wrong("it has expired".to_owned()));
    }
    // CAs begin an hour ago, for clients whose clocks are slow; a day ahead is no slow clock of
    // ours.
    if certificate.not_before().0 > now + 86_400 {
        return Err(wrong("it is not valid yet".to_owned()));
    }
    let issuers = CertificateDer::pem_slice_iter(chain.as_bytes())
        .count()
        .saturating_sub(1);
    if issuers == 0 && !is_self_issued(chain) {
        return Err(wrong(
            "its issuer's certificate did not come with it".to_owned(),
        ));
    }
    Ok(certificate)
}

/// Whether the first certificate of a chain is its own issuer.
fn is_self_issued(chain: &str) -> bool {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let Ok(first) = CertificateDer::from_pem_slice(chain.as_bytes()) else {
        return false;
    };
    X509Certificate::from_der(&first).is_ok_and(|(_, parsed)| parsed.subject() == parsed.issuer())
}

/// How [`Certificate::names`] spells a name.
fn in_certificate(name: &CertificateName) -> String {
    match name {
        CertificateName::Ip(std::net::IpAddr::V6(v6)) => format!("[{v6}]"),
        other => other.to_string(),
    }
}

fn params(want: &CertificateSpec) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    for name in &want.names {
        params.subject_alt_names.push(match name {
            CertificateName::Ip(address) => SanType::IpAddress(*address),
            dns => SanType::DnsName(dns.to_string().try_into()?),
        });
    }
    params.distinguished_name = DistinguishedName::new();
    if let Some(common_name) = &want.terms.common_name {
        params
            .distinguished_name
            .push(DnType::CommonName, &**common_name);
    }
    Ok(params)
}

fn generate(key_type: KeyType) -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(algorithm(key_type))
}

fn is_of(key: &KeyPair, key_type: KeyType) -> bool {
    key.is_compatible(algorithm(key_type))
}

fn algorithm(key_type: KeyType) -> &'static rcgen::SignatureAlgorithm {
    match key_type {
        KeyType::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        KeyType::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
    }
}

#[cfg(test)]
mod tests;
