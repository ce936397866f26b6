//! The parts of a certificate of a client as Traefik writes them for backends.

use std::net::{Ipv4Addr, Ipv6Addr};

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};

use super::client_certificate::text;
use crate::{
    routing::{CertificatePart, NamePart},
    util::percent,
};

/// Returns the parts of certificates (DER), with percent-encoding. Of those that are not X.509
/// nothing is written.
pub fn certificate_info<'a>(
    chain: impl IntoIterator<Item = &'a [u8]>,
    parts: &[CertificatePart],
) -> String {
    let of_one = chain.into_iter().filter_map(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let values = parts.iter().filter_map(|part| value(&certificate, part));
        Some(values.collect::<Vec<_>>().join(";"))
    });
    let all = of_one.collect::<Vec<_>>().join(",");
    // As in forms.
    percent::encode(&all).replace("%20", "+")
}

/// Returns a part of a certificate; `None` if it is empty.
fn value(certificate: &X509Certificate<'_>, part: &CertificatePart) -> Option<String> {
    let validity = certificate.validity();

    Some(match part {
        CertificatePart::Subject(parts) => {
            format!("Subject=\"{}\"", name(certificate.subject(), parts)?)
        }
        CertificatePart::Issuer(parts) => {
            format!("Issuer=\"{}\"", name(certificate.issuer(), parts)?)
        }
        CertificatePart::SerialNumber => {
            format!("SerialNumber=\"{}\"", certificate.tbs_certificate.serial)
        }
        CertificatePart::NotBefore => format!("NB=\"{}\"", validity.not_before.timestamp()),
        CertificatePart::NotAfter => format!("NA=\"{}\"", validity.not_after.timestamp()),
        CertificatePart::Names => {
            let names = alternatives(certificate);
            let names = (!names.is_empty()).then(|| names.join(","));
            format!("SAN=\"{}\"", names?)
        }
    })
}

/// Returns the parts of a name; `None` if it has none of them.
fn name(name: &X509Name<'_>, parts: &[NamePart]) -> Option<String> {
    let mut found = Vec::new();
    for part in parts {
        let (short, kind) = part.names();
        let attributes = name.iter_attributes();

        let of_kind = attributes.filter(|one| one.attr_type().to_id_string() == kind);
        let mut values: Vec<String> = of_kind.filter_map(text).collect();
        if part.is_single() {
            values = values.pop().into_iter().collect();
        }
        found.extend(values.iter().map(|value| format!("{short}={value}")));
    }
    (!found.is_empty()).then(|| found.join(","))
}

/// Returns the further names of a certificate: those of DNS, of mail, addresses and URIs.
fn alternatives(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.map(|extension| &extension.value.general_names[..]);

    let mut all: Vec<(u8, String)> = Vec::new();
    for name in names.unwrap_or_default() {
        let found = match name {
            GeneralName::DNSName(name) => Some((0, (*name).to_owned())),
            GeneralName::RFC822Name(name) => Some((1, (*name).to_owned())),
            GeneralName::IPAddress(bytes) => address(bytes).map(|text| (2, text)),
            GeneralName::URI(uri) => Some((3, (*uri).to_owned())),
            _ => None,
        };
        all.extend(found);
    }

    all.sort_by_key(|(kind, _)| *kind);
    all.into_iter().map(|(_, text)| text).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn parts_are_written_as_traefik_does() {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "ann b");
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.serial_number = Some(1000.into());
        params.subject_alt_names = vec![
            SanType::IpAddress([192, 0, 2, 1].into()),
            SanType::DnsName("a.example".try_into().expect("a name")),
        ];

        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let der = certificate.der().to_vec();

        let names: Box<[NamePart]> = [NamePart::Country, NamePart::CommonName].into();
        let organization: Box<[NamePart]> = [NamePart::Organization].into();
        let parts = [
            CertificatePart::Subject(names),
            CertificatePart::Issuer(organization),
            CertificatePart::SerialNumber,
            CertificatePart::Names,
        ];

        let one = "Subject%3D%22C%3DDE%2CCN%3Dann+b%22%3BSerialNumber%3D%221000%22%3B\
                   SAN%3D%22a.example%2C192.0.2.1%22";
        assert_eq!(certificate_info([&der[..]], &parts), one);
        let two = certificate_info([&der[..], b"none", &der[..]], &parts);
        assert_eq!(two, format!("{one}%2C{one}"));
    }

    #[test]
    fn no_name_ends_a_field() {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let name = "a\r\nX-Evil: 1";
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let parts = [CertificatePart::Subject([NamePart::CommonName].into())];
        let info = certificate_info([&certificate.der()[..]], &parts);
        assert!(info.bytes().all(|byte| byte.is_ascii_graphic()), "{info}");
    }
}
