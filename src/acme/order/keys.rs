//! Keys and signing requests for certificates, and the check of the issued certificates.

mod error;
mod rsa_key;

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType,
};
use tokio::{sync::Semaphore, task::spawn_blocking};

use self::error::KeyError;
use crate::{
    acme::{
        ca::ari_id,
        issuer::Issuer,
        plan::{Class, Failure, StoredCertificate},
        spec::CertificateSpec,
    },
    pki::{CertificateName, KeyType},
    tls::Certificate,
    util::time::UnixSeconds,
};

/// Allows one RSA key to be generated at a time. It keeps a core busy for seconds, and the data
/// plane needs the others.
static RSA_GENERATION: Semaphore = Semaphore::const_new(1);

/// Returns a private key (PKCS#8, PEM) and a signing request for it (DER, base64). The key is new,
/// or `keep` if the spec keeps its key.
pub(crate) async fn request(
    spec: &CertificateSpec,
    key_type: KeyType,
    keep: Option<&str>,
) -> Result<(String, String), Failure> {
    let kept = keep
        .filter(|_| spec.terms.keep_key)
        .and_then(|pem| KeyPair::from_pem(pem).ok())
        .filter(|key| is_of(key, key_type));
    let key = match kept {
        Some(key) => key,
        None => generate(key_type).await?,
    };

    let request = params(spec)?.serialize_request(&key);
    let request = request.map_err(KeyError::from)?;
    Ok((key.serialize_pem(), STANDARD.encode(request.der())))
}

/// Creates a self-signed certificate. Returns chain and key, PEM.
pub(crate) async fn self_signed(
    spec: &CertificateSpec,
    key_type: KeyType,
    not_before: UnixSeconds,
    life: Duration,
) -> Result<(String, String), Failure> {
    let key = generate(key_type).await?;
    let mut params = params(spec)?;
    let not_after = SystemTime::from(not_before + life);
    params.not_before = SystemTime::from(not_before).into();
    params.not_after = not_after.into();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];

    let certificate = params.self_signed(&key).map_err(KeyError::from)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Parses an issued chain and checks that it matches the request at the time `now`.
///
/// # Errors
/// A failure of class [`Class::Content`].
pub(crate) fn check(
    spec: &CertificateSpec,
    chain: &str,
    key: &str,
    now: UnixSeconds,
) -> Result<Certificate, Failure> {
    let wrong = |what: String| {
        let problem = format!("the issued certificate cannot be used: {what}");
        Failure::new(Class::Content, problem)
    };

    let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).map_err(|error| {
        // The error names the files of a Secret, but means the CA's chain and our key.
        let what = error.to_string().replace("tls.crt", "the chain");
        wrong(what.replace("tls.key", "the key of the request"))
    })?;

    let mut ordered: Vec<String> = spec.ordered_names().map(in_certificate).collect();
    let issued = certificate.names().iter();
    let mut issued: Vec<String> = issued.map(ToString::to_string).collect();

    ordered.sort_unstable();
    issued.sort_unstable();
    issued.dedup();

    // Some CAs add names that were not ordered, such as `www`.
    if ordered.iter().any(|name| !issued.contains(name)) {
        let (issued, ordered) = (issued.join(", "), ordered.join(", "));
        return Err(wrong(format!("it covers {issued} instead of {ordered}")));
    }

    if certificate.not_after() <= now {
        return Err(wrong("it has expired".to_owned()));
    }

    // CAs backdate by an hour for clients with slow clocks, so a start more than a day ahead is
    // wrong even if our own clock is slow.
    if certificate.not_before() > now + 86_400 {
        return Err(wrong("it is not valid yet".to_owned()));
    }

    // A chain may end below its root, and a root may have issued the certificate itself (RFC 8555
    // section 9.1), so that its length says nothing.
    Ok(certificate)
}

/// Returns the record of an issued certificate, which [`check`] accepted.
pub(crate) fn stored(
    spec: &CertificateSpec,
    issuer: &Issuer,
    certificate: &Certificate,
    (chain, key): (String, String),
    now: UnixSeconds,
) -> StoredCertificate {
    let acme = issuer.acme();
    let leaf = certificate.certified().cert.first();
    StoredCertificate {
        chain,
        key,
        names: spec.names_as_text(),
        issuer: issuer.name.to_string(),
        directory: acme.map(|acme| acme.directory.clone()).unwrap_or_default(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        stored: now,
        print: spec.fingerprint(issuer),
        ari: leaf
            .filter(|_| acme.is_some())
            .and_then(|leaf| ari_id(leaf))
            .unwrap_or_default(),
        ..StoredCertificate::default()
    }
}

/// Returns a name in the spelling of [`Certificate::names`].
fn in_certificate(name: &CertificateName) -> String {
    let host = name.host();
    host.map_or_else(|| name.to_string(), |host| host.to_string())
}

fn params(spec: &CertificateSpec) -> Result<CertificateParams, KeyError> {
    let mut params = CertificateParams::default();
    for name in spec.ordered_names() {
        params.subject_alt_names.push(match name {
            CertificateName::Ip(address) => SanType::IpAddress(*address),
            dns => SanType::DnsName(dns.to_string().try_into()?),
        });
    }

    params.distinguished_name = DistinguishedName::new();
    if let Some(common_name) = &spec.terms.common_name {
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, &**common_name);
    }
    Ok(params)
}

async fn generate(key_type: KeyType) -> Result<KeyPair, KeyError> {
    let Some(bits) = key_type.rsa_bits() else {
        return Ok(KeyPair::generate_for(algorithm(key_type))?);
    };

    // The thread keeps the permit if this attempt is given up. The semaphore is never closed.
    let permit = RSA_GENERATION.acquire().await.ok();
    let generated = spawn_blocking(move || {
        let _permit = permit;
        rsa_key::generate(bits)
    });
    generated.await?
}

fn is_of(key: &KeyPair, key_type: KeyType) -> bool {
    key.is_compatible(algorithm(key_type)) && rsa_key::bits(key) == key_type.rsa_bits()
}

fn algorithm(key_type: KeyType) -> &'static rcgen::SignatureAlgorithm {
    match key_type {
        KeyType::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        KeyType::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => &rcgen::PKCS_RSA_SHA256,
    }
}

#[cfg(test)]
mod tests;
