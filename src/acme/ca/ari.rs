//! The name of a certificate in renewal information.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

/// The identifier of a certificate by its issuer's key and its serial number (RFC 9773 section 4.1). `None` if the
/// certificate cannot be read or does not name its issuer's key.
pub fn ari_id(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let issuer = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(identifier) => identifier.key_identifier.as_ref(),
        _ => None,
    })?;
    Some(format!("{}.{}", URL_SAFE_NO_PAD.encode(issuer.0), URL_SAFE_NO_PAD.encode(certificate.raw_serial())))
}

#[cfg(test)]
mod tests;
