//! Tells the backend about the certificate of a client as Traefik does.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::Passing;
use crate::{
    proxy::request::client_certificates,
    routing::{SetField, TraefikCertificateFields},
    tls::{ClientCertificate, certificate_info},
};

const CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-tls-client-cert");
const INFO: HeaderName = HeaderName::from_static("x-forwarded-tls-client-cert-info");

/// Sets the fields, if the host of the request has asked for a certificate and its client has shown
/// one.
pub(super) fn tell(request: &mut Passing<'_>, wanted: &TraefikCertificateFields) {
    let Some(chain) = client_certificates::shown(request) else {
        return;
    };
    let ders = || chain.iter().map(|one| &one[..]);
    let mut fields = Vec::new();
    if wanted.has_certificate {
        let all: Vec<String> = ders().map(ClientCertificate::base64).collect();
        fields.push((CERTIFICATE, all.join(",")));
    }
    if let Some(parts) = &wanted.info {
        fields.push((INFO, certificate_info(ders(), parts)));
    }

    for (name, text) in fields {
        if let Ok(value) = HeaderValue::from_str(&text) {
            request.changes.set(Arc::new(SetField {
                from: wanted.from.clone(),
                name,
                value,
            }));
        }
    }
}
