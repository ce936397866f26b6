//! The annotations of Ingresses that gatelet implements: one table from names to parsers. A test
//! prints the page for users (`docs/annotations.md`) from it. `peers` has the annotations of other
//! controllers.

use std::{net::IpAddr, time::Duration};

use super::{Reason, UnsupportedGuards};
use crate::{
    objects::{EventType, Texts},
    pki::{KeyType, RenewBefore},
    routing::{HostError, HostPattern, Protocol},
};

/// The annotation with the class of an Ingress, older than `ingressClassName`.
pub(super) const OLD_CLASS: &str = "kubernetes.io/ingress.class";
const OURS: &[&str] = &["gatelet.dev/"];
const OURS_OR_NGINX: &[&str] = &["gatelet.dev/", "nginx.ingress.kubernetes.io/"];
const OURS_OR_CERT_MANAGER: &[&str] = &["gatelet.dev/", "cert-manager.io/"];
const CERT_MANAGER: &[&str] = &["cert-manager.io/"];

/// The most characters in a common name (X.520 `ub-common-name`).
const MAX_COMMON_NAME: usize = 64;
/// The longest duration in Go, whose format users of cert-manager write: 2^63 nanoseconds.
const MAX_DURATION: Duration = Duration::from_nanos(i64::MAX.unsigned_abs());

/// An annotation of Ingresses that gatelet implements.
#[derive(Debug)]
pub struct Annotation {
    /// Its prefixes. If an Ingress has it under several, the first valid one applies.
    pub prefixes: &'static [&'static str],
    /// Its name behind the prefix; `*` at the end stands for any text.
    pub name: &'static str,
    /// Its values, for people.
    pub values: &'static str,
    /// Its effect, for people.
    pub effect: &'static str,
    read: fn(&mut AnnotationValues, &str, &str) -> Result<(), InvalidValue>,
}

/// All annotations that gatelet implements. If several set the same thing, the upper one applies.
pub const ANNOTATIONS: &[Annotation] = &[
    row(
        OURS_OR_NGINX,
        "ssl-redirect",
        "true, false",
        "Redirects plain HTTP to HTTPS for hosts under `spec.tls`; without it the setting \
         `ssl_redirect` decides.",
        |values, _, value| {
            values.redirect = Some(boolean(value)?);
            Ok(())
        },
    ),
    row(
        OURS_OR_NGINX,
        "force-ssl-redirect",
        "true, false",
        "Redirects plain HTTP to HTTPS for hosts that are not under `spec.tls` too.",
        |values, _, value| {
            values.forced = boolean(value)?;
            Ok(())
        },
    ),
    row(
        OURS_OR_NGINX,
        "backend-protocol",
        "HTTP, HTTPS, GRPC, GRPCS",
        "The protocol of the backends; without it `appProtocol` of the Service's port decides.",
        |values, _, value| {
            values.protocol = Some(protocol(value)?);
            Ok(())
        },
    ),
    row(
        &["kubernetes.io/"],
        "ingress.allow-http",
        "true, false",
        "`false`: plain HTTP is redirected to HTTPS and never reaches the backend, \
         regardless of other annotations.",
        |values, _, value| {
            values.https_only = !boolean(value)?;
            Ok(())
        },
    ),
    row(
        OURS,
        "unsupported-guards",
        "refuse, ignore",
        "The treatment of paths with an unsupported guard (see below); the default is the \
         setting `unsupported_guards`. Also on a Service.",
        |values, _, value| {
            let guards = guards(value);
            values.guards = Some(guards.unwrap_or_default());
            guards
                .map(|_valid| ())
                .ok_or_else(|| none_of(value, "refuse, ignore"))
        },
    ),
    row(
        OURS,
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
        CERT_MANAGER,
        "cluster-issuer",
        "a name",
        "The issuer of the certificates of `spec.tls`: an issuer of gatelet of that name.",
        one_issuer,
    ),
    row(CERT_MANAGER, "issuer", "a name", "The same.", one_issuer),
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
        OURS_OR_CERT_MANAGER,
        "common-name",
        "one of the hosts",
        "The common name in the certificate.",
        |values, name, value| {
            values.common_name = Some((name.into(), common_name(value)?));
            Ok(())
        },
    ),
    row(
        CERT_MANAGER,
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
        OURS_OR_CERT_MANAGER,
        "duration",
        "a duration (2160h, 1h30m)",
        "The lifetime to ask the CA for, if the issuer allows a choice.",
        |values, _, value| {
            values.duration = Some(duration(value)?);
            Ok(())
        },
    ),
    row(
        OURS_OR_CERT_MANAGER,
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
        CERT_MANAGER,
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
        OURS,
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
        CERT_MANAGER,
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
        CERT_MANAGER,
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
        CERT_MANAGER,
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
        CERT_MANAGER,
        "private-key-encoding",
        "PKCS1, PKCS8",
        "None: it is PKCS#8.",
        |_, _, value| match value {
            "PKCS1" | "PKCS8" => Ok(()),
            _ => Err(none_of(value, "PKCS1, PKCS8")),
        },
    ),
    row(
        CERT_MANAGER,
        "email-sans",
        "anything",
        "None, and a finding says so.",
        left_out,
    ),
    row(
        CERT_MANAGER,
        "uri-sans",
        "anything",
        "None, and a finding says so.",
        left_out,
    ),
    row(CERT_MANAGER, "issuer-kind", "anything", "None.", nothing),
    row(CERT_MANAGER, "issuer-group", "anything", "None.", nothing),
    row(CERT_MANAGER, "usages", "anything", "None.", nothing),
    row(CERT_MANAGER, "subject-*", "anything", "None.", nothing),
    row(
        CERT_MANAGER,
        "revision-history-limit",
        "anything",
        "None.",
        nothing,
    ),
    row(
        CERT_MANAGER,
        "secret-template",
        "anything",
        "None.",
        nothing,
    ),
    row(
        CERT_MANAGER,
        "issue-temporary-certificate",
        "anything",
        "None: the local CA issues a certificate until one exists.",
        nothing,
    ),
    row(
        &["acme.cert-manager.io/"],
        "*",
        "anything",
        "None: gatelet itself solves a CA's challenges.",
        nothing,
    ),
];

const fn row(
    prefixes: &'static [&'static str],
    name: &'static str,
    values: &'static str,
    effect: &'static str,
    read: fn(&mut AnnotationValues, &str, &str) -> Result<(), InvalidValue>,
) -> Annotation {
    Annotation {
        prefixes,
        name,
        values,
        effect,
        read,
    }
}

/// The reason why an annotation does not have its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum InvalidValue {
    #[error("{value:?} is not one of {known}")]
    NoneOf { value: String, known: &'static str },
    #[error("{0:?} is not an address")]
    Address(String),
    #[error("{0:?} is not a number from 1 to 99")]
    Percentage(String),
    #[error("{0:?} is not a duration (2160h, 1h30m)")]
    Duration(String),
    #[error("{0} is not a size of keys of this algorithm")]
    KeySize(String),
    #[error("it is not shorter than the duration")]
    RenewalTooEarly,
    #[error("it does not name an issuer")]
    NoIssuer,
    #[error("{0:?} has an empty name")]
    EmptyName(String),
    #[error("none cannot be combined with issuers")]
    NoneBesideIssuers,
    #[error("it is empty")]
    Empty,
    #[error("a common name has at most {MAX_COMMON_NAME} characters")]
    LongCommonName,
    #[error("{0:?}: {1}")]
    Host(String, HostError),
}

/// The settings that the annotations of an Ingress make.
#[derive(Debug, Default)]
pub(super) struct AnnotationValues {
    pub(super) redirect: Option<bool>,
    pub(super) forced: bool,
    /// Plain HTTP never reaches the backend.
    pub(super) https_only: bool,
    /// The decision about unsupported guards. An invalid value refuses.
    pub(super) guards: Option<UnsupportedGuards>,
    pub(super) protocol: Option<Protocol>,
    /// The name of the annotation, and its value.
    pub(super) issuer: Option<(Box<str>, Choice)>,
    /// The name of the annotation, and its value.
    pub(super) common_name: Option<(Box<str>, Box<str>)>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) duration: Option<Duration>,
    /// The name of the annotation, and its value.
    pub(super) renew_before: Option<(Box<str>, RenewBefore)>,
    pub(super) key_type: Option<KeyType>,
    pub(super) keep_key: bool,
    pub(super) findings: Vec<AnnotationFinding>,
}

/// The choice of an issuer.
#[derive(Debug)]
pub(super) enum Choice {
    /// No certificate is ordered.
    NoIssuer,
    /// These, in the order of preference.
    Named(Vec<Box<str>>),
    /// The default issuer.
    Default,
}

/// A problem or note about an annotation, which becomes a finding.
#[derive(Debug)]
pub(super) struct AnnotationFinding {
    pub(super) severity: EventType,
    pub(super) reason: Reason,
    pub(super) annotation: Box<str>,
    pub(super) message: String,
}

impl Annotation {
    fn is(&self, rest: &str) -> bool {
        self.name
            .strip_suffix('*')
            .map_or(self.name == rest, |start| rest.starts_with(start))
    }
}

/// Returns true if this module reads an annotation. `peers` handles the others.
pub(super) fn is_known(name: &str) -> bool {
    name == OLD_CLASS || name.starts_with(CERT_MANAGER[0]) || find(name).is_some()
}

/// Returns the decision of a Service about unsupported guards. An invalid value refuses.
pub(super) fn guards_of_service(annotations: &Texts) -> Option<UnsupportedGuards> {
    annotations
        .get("gatelet.dev/unsupported-guards")
        .map(|value| guards(value.trim()).unwrap_or_default())
}

/// Reads the annotations that were kept.
pub(super) fn read(annotations: &[(Box<str>, Box<str>)]) -> AnnotationValues {
    let mut values = AnnotationValues::default();
    let mut found = Vec::new();
    for (name, value) in annotations.iter().filter(|(name, _)| **name != *OLD_CLASS) {
        match find(name) {
            Some((row, prefix)) => found.push((row, prefix, name, value)),
            None => values.report(
                EventType::Normal,
                Reason::UnknownAnnotation,
                name,
                "gatelet does not know this annotation: it has no effect".to_owned(),
            ),
        }
    }

    // The last value that is read applies.
    found.sort_unstable_by(|a, b| b.cmp(a));
    for (row, _prefix, name, value) in found {
        if let Err(error) = (ANNOTATIONS[row].read)(&mut values, name, value.trim()) {
            let message = error.to_string();
            values.report(EventType::Warning, Reason::InvalidAnnotation, name, message);
        }
    }

    // A certificate that is due from its first second would be ordered again and again.
    if let (Some(whole), Some((name, RenewBefore::Time(before)))) =
        (values.duration, &values.renew_before)
        && *before >= whole
    {
        let name = name.clone();
        values.renew_before = None;
        values.report(
            EventType::Warning,
            Reason::InvalidAnnotation,
            &name,
            InvalidValue::RenewalTooEarly.to_string(),
        );
    }

    values
}

/// Returns the row and prefix of an annotation.
fn find(name: &str) -> Option<(usize, usize)> {
    ANNOTATIONS
        .iter()
        .enumerate()
        .find_map(|(row, annotation)| {
            let is = |prefix: &&str| {
                name.strip_prefix(*prefix)
                    .is_some_and(|rest| annotation.is(rest))
            };
            Some((row, annotation.prefixes.iter().position(is)?))
        })
}

impl AnnotationValues {
    fn report(&mut self, severity: EventType, reason: Reason, annotation: &str, message: String) {
        self.findings.push(AnnotationFinding {
            severity,
            reason,
            annotation: annotation.into(),
            message,
        });
    }

    fn unsupported(&mut self, annotation: &str, message: &str) {
        self.report(
            EventType::Normal,
            Reason::UnsupportedAnnotation,
            annotation,
            message.to_owned(),
        );
    }
}

// === Values ===

fn nothing(_: &mut AnnotationValues, _: &str, _: &str) -> Result<(), InvalidValue> {
    Ok(())
}

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

fn issuers(value: &str) -> Result<Vec<Box<str>>, InvalidValue> {
    let mut names: Vec<Box<str>> = Vec::new();
    for name in list(value) {
        match name {
            "" => return Err(InvalidValue::EmptyName(value.to_owned())),
            "none" => return Err(InvalidValue::NoneBesideIssuers),
            name if names.iter().any(|known| **known == *name) => {}
            name => names.push(name.into()),
        }
    }
    Ok(names)
}

fn common_name(value: &str) -> Result<Box<str>, InvalidValue> {
    match HostPattern::parse(value) {
        Ok(HostPattern::Any) => Err(InvalidValue::Empty),
        Ok(pattern) if pattern.to_string().len() <= MAX_COMMON_NAME => {
            Ok(pattern.to_string().into())
        }
        Ok(_) => Err(InvalidValue::LongCommonName),
        Err(error) => Err(InvalidValue::Host(value.to_owned(), error)),
    }
}

fn protocol(value: &str) -> Result<Protocol, InvalidValue> {
    match value.to_ascii_uppercase().as_str() {
        "HTTP" | "AUTO_HTTP" => Ok(Protocol::Http1),
        "HTTPS" => Ok(Protocol::Https),
        "GRPC" => Ok(Protocol::H2c),
        "GRPCS" => Ok(Protocol::H2),
        _ => Err(none_of(value, "HTTP, HTTPS, GRPC, GRPCS")),
    }
}

fn guards(value: &str) -> Option<UnsupportedGuards> {
    match value {
        "refuse" => Some(UnsupportedGuards::Refuse),
        "ignore" => Some(UnsupportedGuards::Ignore),
        _ => None,
    }
}

/// Parses a boolean like Go's `strconv.ParseBool`, which other controllers use.
fn boolean(value: &str) -> Result<bool, InvalidValue> {
    match value {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err(none_of(value, "true, false")),
    }
}

/// Parses a duration in Go's format: numbers with units, one after the other.
fn duration(value: &str) -> Result<Duration, InvalidValue> {
    let wrong = || InvalidValue::Duration(value.to_owned());
    let mut rest = value;
    let mut seconds = 0.0;

    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, after) = rest.split_at(rest.find(|c| !is_number(c)).ok_or_else(wrong)?);
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        let number: f64 = number.parse().map_err(|_bad| wrong())?;
        seconds += number
            * match unit {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return Err(wrong()),
            };
        rest = after;
    }

    let duration = Duration::try_from_secs_f64(seconds).ok();
    duration
        .filter(|duration| !duration.is_zero() && *duration <= MAX_DURATION)
        .ok_or_else(wrong)
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

fn none_of(value: &str, known: &'static str) -> InvalidValue {
    InvalidValue::NoneOf {
        value: value.to_owned(),
        known,
    }
}
