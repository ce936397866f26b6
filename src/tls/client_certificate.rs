//! A certificate of a client as backends see it: its subject and issuer in the form of nginx, and
//! the certificate itself as text.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest;
use x509_parser::{
    asn1_rs::{Tag, ToDer},
    prelude::{AttributeTypeAndValue, FromDer, X509Certificate, X509Name},
};

use crate::util::{hex, percent};

/// The number of characters in a line of PEM (RFC 7468 section 2).
const PEM_LINE: usize = 64;

/// The types of attributes that have a name.
const NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// A certificate of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject (RFC 4514).
    pub subject: String,
    /// The issuer (RFC 4514).
    pub issuer: String,
    /// The last common name in the subject; empty without any.
    pub common_name: String,
}

impl ClientCertificate {
    /// Reads a certificate (DER); `None` if it is not X.509.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let common_names = certificate.subject().iter_common_name();
        let common_name = common_names.last().and_then(text).unwrap_or_default();
        Some(Self {
            subject: distinguished(certificate.subject()),
            issuer: distinguished(certificate.issuer()),
            common_name,
        })
    }

    /// Returns a certificate (DER) as PEM with percent-encoding, as in `$ssl_client_escaped_cert`.
    pub fn escaped_pem(der: &[u8]) -> String {
        let base64 = STANDARD.encode(der);
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        for line in base64.as_bytes().chunks(PEM_LINE) {
            pem.extend(line.iter().copied().map(char::from));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        percent::encode(&pem)
    }

    /// Returns a certificate (DER) as base64.
    pub fn base64(der: &[u8]) -> String {
        STANDARD.encode(der)
    }

    /// Returns the SHA-1 of a certificate (DER), in hexadecimal.
    pub fn sha1(der: &[u8]) -> String {
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der);
        hex::encode(hash.as_ref()).to_ascii_uppercase()
    }
}

/// Writes a name: the last part first, as OpenSSL does.
fn distinguished(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut out = String::new();
    for part in parts.into_iter().rev() {
        if !out.is_empty() {
            out.push(',');
        }
        let attributes: Vec<_> = part.iter().collect();
        for (at, attribute) in attributes.into_iter().rev().enumerate() {
            if at > 0 {
                out.push('+');
            }
            write_attribute(attribute, &mut out);
        }
    }
    out
}

fn write_attribute(attribute: &AttributeTypeAndValue<'_>, out: &mut String) {
    let id = attribute.attr_type().to_id_string();
    let name = NAMES.iter().find(|(known, _)| *known == id);
    match (name, text(attribute)) {
        (Some((_, name)), Some(text)) => {
            out.push_str(name);
            out.push('=');
            escape(&text, out);
        }
        (name, _) => {
            out.push_str(name.map_or(&*id, |(_, name)| *name));
            out.push_str("=#");
            let value = attribute.attr_value();
            let der = value.to_der_vec_raw().unwrap_or_default();
            out.push_str(&hex::encode(&der).to_ascii_uppercase());
        }
    }
}

/// Returns the value of an attribute, if it is a text.
pub(super) fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let value = attribute.attr_value();
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            String::from_utf8(value.data.to_vec()).ok()
        }
        Tag::T61String => Some(value.data.iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let units = value.data.chunks_exact(2);
            let units = units.map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            String::from_utf16(&units.collect::<Vec<u16>>()).ok()
        }
        _ => None,
    }
}

/// Writes a value with the escapes of RFC 4514 section 2.4.
fn escape(text: &str, out: &mut String) {
    let last = text.chars().count().saturating_sub(1);
    for (at, character) in text.chars().enumerate() {
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => {
                out.push('\\');
                out.push(character);
            }
            '#' if at == 0 => out.push_str("\\#"),
            ' ' if at == 0 || at == last => out.push_str("\\ "),
            control if control.is_ascii_control() => {
                let _ = write!(out, "\\{:02X}", u32::from(control));
            }
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, KeyPair};

    use super::*;

    fn certificate(parts: Vec<(DnType, DnValue)>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind, value);
        }
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0])];
        let key = KeyPair::generate().expect("a key");
        params
            .self_signed(&key)
            .expect("a certificate")
            .der()
            .to_vec()
    }

    /// The texts are those of `openssl x509 -nameopt RFC2253,-esc_msb`.
    #[test]
    fn subjects_are_written_as_openssl_does() {
        let text = |text: &str| DnValue::from(text);
        for (parts, expected) in [
            (
                vec![
                    (DnType::CountryName, text("DE")),
                    (DnType::OrganizationName, text("Shop, Inc")),
                    (DnType::CommonName, text("ann")),
                ],
                "CN=ann,O=Shop\\, Inc,C=DE",
            ),
            (
                vec![(DnType::CommonName, text("#a+b\"c\\d<e>;f "))],
                "CN=\\#a\\+b\\\"c\\\\d\\<e\\>\\;f\\ ",
            ),
            (vec![(DnType::CommonName, text(" "))], "CN=\\ "),
            (vec![(DnType::CommonName, text("a\nb=c"))], "CN=a\\0Ab=c"),
            (
                vec![(DnType::CommonName, text("J\u{fc}rgen"))],
                "CN=J\u{fc}rgen",
            ),
            (
                vec![(DnType::CustomDnType(vec![1, 2, 3, 4]), text("x"))],
                "1.2.3.4=#0C0178",
            ),
            (vec![], ""),
        ] {
            let read = ClientCertificate::read(&certificate(parts)).expect("X.509");
            assert_eq!(read.subject, expected);
        }
    }

    #[test]
    fn parts_with_several_attributes_are_written_backwards() {
        // The name of `openssl req -multivalue-rdn -subj /C=DE+CN=a+O=b/OU=x`.
        let name = [
            &b"\x30\x2d\x31\x1f"[..],
            b"\x30\x08\x06\x03\x55\x04\x03\x0c\x01a",
            b"\x30\x08\x06\x03\x55\x04\x0a\x0c\x01b",
            b"\x30\x09\x06\x03\x55\x04\x06\x13\x02DE",
            b"\x31\x0a\x30\x08\x06\x03\x55\x04\x0b\x0c\x01x",
        ];
        let name = name.concat();
        let (_, name) = X509Name::from_der(&name).expect("a name");
        assert_eq!(distinguished(&name), "OU=x,C=DE+O=b+CN=a");
    }

    #[test]
    fn no_subject_adds_a_line_to_a_head() {
        let name = "a\r\nssl-client-verify: SUCCESS";
        let der = certificate(vec![(DnType::CommonName, DnValue::from(name))]);
        let read = ClientCertificate::read(&der).expect("X.509");
        assert!(!read.subject.contains(['\r', '\n']), "{}", read.subject);
        assert!(!ClientCertificate::escaped_pem(&der).contains(['\r', '\n', ' ']));
    }

    #[test]
    fn the_last_common_name_is_shown() {
        let der = certificate(vec![(DnType::CommonName, DnValue::from("ann"))]);
        let read = ClientCertificate::read(&der).expect("X.509");
        assert_eq!(read.common_name, "ann");
        assert_eq!(ClientCertificate::read(b"no certificate"), None);
    }
}
