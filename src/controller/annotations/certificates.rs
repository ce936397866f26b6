//! Annotations about certificates: our own and those of cert-manager.

use super::{
    row::{Annotation, OURS, nothing, row},
    value::{InvalidValue, boolean, common_name, duration, issuers, list, none_of},
    values::{AnnotationValues, Choice},
};
use crate::pki::{KeyType, RenewBefore};

/// The prefix of cert-manager.
pub(super) const CERT_MANAGER: &str = "cert-manager.io/";
/// Its prefix for the challenges of CAs.
pub(super) const CERT_MANAGER_ACME: &str = "acme.cert-manager.io/";

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        &[OURS],
        "issuer",
        "names separated by commas, none",
        "The issuers of the certificates of `spec.tls`, in the order of preference; `none`: \
         no certificate is ordered.",
        |values, name, value| {
            values.issuer = Some((
                name.into(),
                if value == "none" {
                    Choice::NoIssuer
                } else {
                    Choice::Named(issuers(value)?)
                },
            ));
            Ok(())
        },
    ),
    row(
        &[CERT_MANAGER],
        "cluster-issuer",
        "a name",
        "The issuer of the certificates of `spec.tls`: an issuer of gatelet of that name.",
        one_issuer,
    ),
    row(&[CERT_MANAGER], "issuer", "a name", "The same.", one_issuer),
    row(
        &["kubernetes.io/"],
        "tls-acme",
        "true, false",
        "`true`: the default issuer, or else letsencrypt, issues the certificates of `spec.tls`.",
        |values, name, value| {
            if boolean(value)? {
                values.issuer = Some((name.into(), Choice::Default));
            }
            Ok(())
        },
    ),
    row(
        &[OURS, CERT_MANAGER],
        "common-name",
        "one of the hosts",
        "The common name in the certificate.",
        |values, name, value| {
            values.common_name = Some((name.into(), common_name(value)?));
            Ok(())
        },
    ),
    row(
        &[CERT_MANAGER],
        "ip-sans",
        "addresses separated by commas",
        "Further addresses in the certificate.",
        |values, _, value| {
            let addresses: Result<_, InvalidValue> = list(value)
                .map(|address| {
                    address
                        .parse()
                        .map_err(|_bad| InvalidValue::Address(address.to_owned()))
                })
                .collect();
            values.addresses = addresses?;
            Ok(())
        },
    ),
    row(
        &[OURS, CERT_MANAGER],
        "duration",
        "a duration (2160h, 1h30m)",
        "The lifetime to ask the CA for, if the issuer allows a choice.",
        |values, _, value| {
            values.duration = Some(duration(value)?);
            Ok(())
        },
    ),
    row(
        &[OURS, CERT_MANAGER],
        "renew-before",
        "a duration shorter than `duration`",
        "The time between renewal and the end of the certificate, if the CA does not suggest \
         a time.",
        |values, name, value| {
            values.renew_before = Some((name.into(), RenewBefore::Time(duration(value)?)));
            Ok(())
        },
    ),
    row(
        &[CERT_MANAGER],
        "renew-before-percentage",
        "1 to 99",
        "The same as a percentage of its lifetime.",
        |values, name, value| {
            let share = value.parse().ok().filter(|share| (1..=99).contains(share));
            let share = share.ok_or_else(|| InvalidValue::Percentage(value.to_owned()))?;
            values.renew_before = Some((name.into(), RenewBefore::Percent(share)));
            Ok(())
        },
    ),
    row(
        &[OURS],
        "key-type",
        "p256, p384, rsa2048, rsa3072, rsa4096",
        "The type of its key, ECDSA or RSA; without it the issuer's setting decides.",
        |values, _, value| {
            let name = value.to_ascii_lowercase();
            let key_type = KeyType::ALL.into_iter().find(|one| one.name() == name);
            let expected = "p256, p384, rsa2048, rsa3072, rsa4096";
            values.key_type = Some(key_type.ok_or_else(|| none_of(value, expected))?);
            Ok(())
        },
    ),
    row(
        &[CERT_MANAGER],
        "private-key-size",
        "256, 384, 2048, 3072, 4096",
        "The same: ECDSA on P-256 or P-384, or RSA. 521 makes a key on P-384, 8192 one with 4096 \
         bits.",
        |values, name, value| {
            let (key_type, other) = match value {
                "256" => (KeyType::P256, ""),
                "384" => (KeyType::P384, ""),
                "521" => (
                    KeyType::P384,
                    "CAs do not accept keys on P-521: the key is on P-384",
                ),
                "2048" => (KeyType::Rsa2048, ""),
                "3072" => (KeyType::Rsa3072, ""),
                "4096" => (KeyType::Rsa4096, ""),
                "8192" => (
                    KeyType::Rsa4096,
                    "CAs do not accept RSA keys with 8192 bits: the key has 4096",
                ),
                _ => return Err(none_of(value, "256, 384, 2048, 3072, 4096")),
            };

            // The row below has been read.
            let is_rsa = key_type.rsa_bits().is_some();
            if let Some(algorithm) = values.key_type
                && algorithm.rsa_bits().is_some() != is_rsa
            {
                return Err(InvalidValue::KeySize(value.to_owned()));
            }
            values.key_type = Some(key_type);
            if !other.is_empty() {
                values.unsupported(name, other);
            }
            Ok(())
        },
    ),
    row(
        &[CERT_MANAGER],
        "private-key-algorithm",
        "ECDSA, RSA, Ed25519",
        "Without a size, RSA makes a key with 2048 bits, and ECDSA one on P-256. Ed25519 makes an \
         ECDSA key.",
        |values, name, value| {
            values.key_type = Some(match value.to_ascii_uppercase().as_str() {
                "ECDSA" => KeyType::P256,
                "RSA" => KeyType::Rsa2048,
                "ED25519" => {
                    let message = "CAs do not accept Ed25519 keys: the key is ECDSA on P-256";
                    values.unsupported(name, message);
                    KeyType::P256
                }
                _ => return Err(none_of(value, "ECDSA, RSA, Ed25519")),
            });
            Ok(())
        },
    ),
    row(
        &[CERT_MANAGER],
        "private-key-rotation-policy",
        "Always, Never",
        "`Never` keeps the key over renewals; otherwise each certificate has a new one.",
        |values, _, value| {
            values.keep_key = match value {
                "Always" => false,
                "Never" => true,
                _ => return Err(none_of(value, "Always, Never")),
            };
            Ok(())
        },
    ),
    row(
        &[CERT_MANAGER],
        "private-key-encoding",
        "PKCS1, PKCS8",
        "None: it is PKCS#8.",
        |_, _, value| match value {
            "PKCS1" | "PKCS8" => Ok(()),
            _ => Err(none_of(value, "PKCS1, PKCS8")),
        },
    ),
    row(
        &[CERT_MANAGER],
        "email-sans",
        "anything",
        "None, and a finding says so.",
        left_out,
    ),
    row(
        &[CERT_MANAGER],
        "uri-sans",
        "anything",
        "None, and a finding says so.",
        left_out,
    ),
    row(&[CERT_MANAGER], "issuer-kind", "anything", "None.", nothing),
    row(
        &[CERT_MANAGER],
        "issuer-group",
        "anything",
        "None.",
        nothing,
    ),
    row(&[CERT_MANAGER], "usages", "anything", "None.", nothing),
    row(&[CERT_MANAGER], "subject-*", "anything", "None.", nothing),
    row(
        &[CERT_MANAGER],
        "revision-history-limit",
        "anything",
        "None.",
        nothing,
    ),
    row(
        &[CERT_MANAGER],
        "secret-template",
        "anything",
        "None.",
        nothing,
    ),
    row(
        &[CERT_MANAGER],
        "issue-temporary-certificate",
        "anything",
        "None: the local CA issues a certificate until one exists.",
        nothing,
    ),
    row(
        &[CERT_MANAGER_ACME],
        "*",
        "anything",
        "None: gatelet itself solves a CA's challenges.",
        nothing,
    ),
];

fn left_out(values: &mut AnnotationValues, name: &str, _: &str) -> Result<(), InvalidValue> {
    values.unsupported(
        name,
        "certificates have hosts and addresses only, without these names",
    );
    Ok(())
}

fn one_issuer(values: &mut AnnotationValues, name: &str, value: &str) -> Result<(), InvalidValue> {
    if value.is_empty() {
        return Err(InvalidValue::NoIssuer);
    }
    values.issuer = Some((name.into(), Choice::Named(vec![value.into()])));
    Ok(())
}
