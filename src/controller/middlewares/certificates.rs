//! The middleware `passTLSClientCert`: fields about the certificates of clients.

use std::sync::Arc;

use super::{Fields, Making, Problem};
use crate::routing::{CertificatePart, NamePart, RequestStep, TraefikCertificateFields};

/// The fields that backends get.
const FIELDS: [&str; 2] = [
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
];

impl Making<'_> {
    pub(super) fn pass_tls_client_cert(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        let has_certificate = fields.flag("pem")?;
        let info = fields.part("info")?.map(info).transpose()?;
        fields.finish()?;

        self.made.changed.extend(FIELDS.map(Into::into));
        let from = self.from();
        self.step(RequestStep::CertificateFields(Arc::new(
            TraefikCertificateFields {
                from,
                has_certificate,
                info,
            },
        )));
        Ok(())
    }
}

/// Reads the parts of a certificate that are asked for.
fn info(mut fields: Fields<'_>) -> Result<Box<[CertificatePart]>, Problem> {
    let mut parts = Vec::new();
    let names = fields.part("subject")?.map(name_parts).transpose()?;
    parts.extend(names.map(CertificatePart::Subject));
    let names = fields.part("issuer")?.map(name_parts).transpose()?;
    parts.extend(names.map(CertificatePart::Issuer));
    for (name, part) in [
        ("serialNumber", CertificatePart::SerialNumber),
        ("notBefore", CertificatePart::NotBefore),
        ("notAfter", CertificatePart::NotAfter),
        ("sans", CertificatePart::Names),
    ] {
        parts.extend(fields.flag(name)?.then_some(part));
    }
    fields.finish()?;
    Ok(parts.into())
}

fn name_parts(mut fields: Fields<'_>) -> Result<Box<[NamePart]>, Problem> {
    let mut parts = Vec::new();
    for (name, part) in [
        ("domainComponent", NamePart::DomainComponent),
        ("country", NamePart::Country),
        ("province", NamePart::Province),
        ("locality", NamePart::Locality),
        ("organization", NamePart::Organization),
        ("organizationalUnit", NamePart::OrganizationalUnit),
        ("serialNumber", NamePart::SerialNumber),
        ("commonName", NamePart::CommonName),
    ] {
        parts.extend(fields.flag(name)?.then_some(part));
    }
    fields.finish()?;
    Ok(parts.into())
}
