//! The annotations of Ingresses that are read: one table from their names to what reads them, which
//! is also on the page for users (`docs/annotations.md`). Those of other controllers are in
//! `peers`.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::UnsupportedGuards;
use crate::{
    objects::EventType,
    pki::{KeyType, RenewBefore},
    routing::{HostPattern, Protocol},
};

/// The class of an Ingress before `ingressClassName`.
pub(super) const OLD_CLASS: &str = "kubernetes.io/ingress.class";
const OURS: &[&str] = &["gatelet.dev/"];
const OURS_OR_NGINX: &[&str] = &["gatelet.dev/", "nginx.ingress.kubernetes.io/"];
const OURS_OR_CERT_MANAGER: &[&str] = &["gatelet.dev/", "cert-manager.io/"];
const CERT_MANAGER: &[&str] = &["cert-manager.io/"];

/// A common name has no more characters (X.520 `ub-common-name`).
const MAX_COMMON_NAME: usize = 64;
/// The longest duration of Go, which users of cert-manager write: 2^63 nanoseconds.
const MAX_DURATION: Duration = Duration::from_nanos(i64::MAX.unsigned_abs());

/// An annotation of Ingresses that is known here.
#[derive(Debug)]
pub struct Annotation {
    /// The prefixes that it is read under. Where several are there, the first that makes sense
    /// holds.
    pub prefixes: &'static [&'static str],
    /// Its name behind the prefix; `*` at the end stands for every rest.
    pub name: &'static str,
    /// What it may say.
    pub values: &'static str,
    /// What that does.
    pub effect: &'static str,
    read: fn(&mut Asked, &str, &str) -> Result<(), String>,
}

/// Every annotation that is known. Where several set the same, the upper one holds.
pub const ANNOTATIONS: &[Annotation] = &[
    row(
        OURS_OR_NGINX,
        "ssl-redirect",
        "true, false",
        "Redirect plain HTTP to HTTPS for hosts under `spec.tls`; without it the setting `ssl_redirect` decides.",
        |asked, _, value| {
            asked.redirect = Some(boolean(value)?);
            Ok(())
        },
    ),
    row(
        OURS_OR_NGINX,
        "force-ssl-redirect",
        "true, false",
        "Redirect plain HTTP to HTTPS for hosts that are not under `spec.tls` too.",
        |asked, _, value| {
            asked.forced = boolean(value)?;
            Ok(())
        },
    ),
    row(
        OURS_OR_NGINX,
        "backend-protocol",
        "HTTP, HTTPS, GRPC, GRPCS",
        "What the backends speak; without it `appProtocol` of the Service's port decides.",
        |asked, _, value| {
            asked.protocol = Some(protocol(value)?);
            Ok(())
        },
    ),
    row(
        &["kubernetes.io/"],
        "ingress.allow-http",
        "true, false",
        "`false`: plain HTTP is redirected to HTTPS and never reaches the backend, whatever other annotations say.",
        |asked, _, value| {
            asked.https_only = !boolean(value)?;
            Ok(())
        },
    ),
    row(
        OURS,
        "unsupported-guards",
        "refuse, ignore",
        "How paths with an unsupported guard are treated (see below); the default is the setting `unsupported_guards`. Also on a Service.",
        |asked, _, value| {
            let guards = guards(value);
            asked.guards = Some(guards.unwrap_or_default());
            guards
                .map(|_valid| ())
                .ok_or_else(|| none_of(value, "refuse, ignore"))
        },
    ),
    row(
        OURS,
        "issuer",
        "names with commas between, none",
        "Who issues the certificates of `spec.tls`, in the order of preference; `none`: nobody.",
        |asked, name, value| {
            asked.issuer = Some((
                name.into(),
                if value == "none" {
                    Choice::Nobody
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
        "Who issues the certificates of `spec.tls`: an issuer of gatelet of that name.",
        one_issuer,
    ),
    row(CERT_MANAGER, "issuer", "a name", "The same.", one_issuer),
    row(
        &["kubernetes.io/"],
        "tls-acme",
        "true, false",
        "`true`: the default issuer, or letsencrypt where there is none, issues the certificates of `spec.tls`.",
        |asked, name, value| {
            if boolean(value)? {
                asked.issuer = Some((name.into(), Choice::Default));
            }
            Ok(())
        },
    ),
    row(
        OURS_OR_CERT_MANAGER,
        "common-name",
        "one of the hosts",
        "The common name in the certificate.",
        |asked, name, value| {
            asked.common_name = Some((name.into(), common_name(value)?));
            Ok(())
        },
    ),
    row(
        CERT_MANAGER,
        "ip-sans",
        "addresses with commas between",
        "The certificate is for these too.",
        |asked, _, value| {
            let addresses: Result<_, String> = list(value)
                .map(|address| {
                    address
                        .parse()
                        .map_err(|_bad| format!("{address:?} is not an address"))
                })
                .collect();
            asked.addresses = addresses?;
            Ok(())
        },
    ),
    row(
        OURS_OR_CERT_MANAGER,
        "duration",
        "a duration (2160h, 1h30m)",
        "How long the certificate is to be valid, where the issuer lets us choose.",
        |asked, _, value| {
            asked.duration = Some(duration(value)?);
            Ok(())
        },
    ),
    row(
        OURS_OR_CERT_MANAGER,
        "renew-before",
        "a duration, shorter than that",
        "How long before its end it is renewed, where the CA does not say when.",
        |asked, name, value| {
            asked.renew_before = Some((name.into(), RenewBefore::Time(duration(value)?)));
            Ok(())
        },
    ),
    row(
        CERT_MANAGER,
        "renew-before-percentage",
        "1 to 99",
        "The same as a share of its lifetime.",
        |asked, name, value| {
            let share = value.parse().ok().filter(|share| (1..=99).contains(share));
            let share = share.ok_or_else(|| format!("{value:?} is not a number from 1 to 99"))?;
            asked.renew_before = Some((name.into(), RenewBefore::Percent(share)));
            Ok(())
        },
    ),
    row(
        OURS,
        "key-type",
        "p256, p384",
        "The curve of its ECDSA key; without it the issuer's setting decides.",
        |asked, _, value| {
            asked.key_type = Some(match value.to_ascii_lowercase().as_str() {
                "p256" => KeyType::P256,
                "p384" => KeyType::P384,
                _ => return Err(none_of(value, "p256, p384")),
            });
            Ok(())
        },
    ),
    row(
        CERT_MANAGER,
        "private-key-size",
        "256, 384",
        "The same. P-384 stands in for 521; sizes of RSA keys have no effect.",
        |asked, name, value| {
            match value {
                "256" => asked.key_type = Some(KeyType::P256),
                "384" => asked.key_type = Some(KeyType::P384),
                "521" => {
                    asked.key_type = Some(KeyType::P384);
                    asked.unsupported(name, "CAs take no keys on P-521: one on P-384 is made");
                }
                "2048" | "3072" | "4096" | "8192" => {}
                _ => return Err(none_of(value, "256, 384")),
            }
            Ok(())
        },
    ),
    row(
        CERT_MANAGER,
        "private-key-algorithm",
        "ECDSA, RSA, Ed25519",
        "ECDSA on P-256 stands in for RSA and Ed25519.",
        |asked, name, value| {
            match value.to_ascii_uppercase().as_str() {
                "ECDSA" => {}
                "RSA" | "ED25519" => {
                    asked.key_type = Some(KeyType::P256);
                    asked.unsupported(
                        name,
                        &format!("{value} keys are not made: one of ECDSA on P-256 is"),
                    );
                }
                _ => return Err(none_of(value, "ECDSA, RSA, Ed25519")),
            }
            Ok(())
        },
    ),
    row(
        CERT_MANAGER,
        "private-key-rotation-policy",
        "Always, Never",
        "`Never` keeps the key over renewals; each certificate has a new one otherwise.",
        |asked, _, value| {
            asked.keep_key = match value {
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
        "None: the local CA answers until there is a certificate.",
        nothing,
    ),
    row(
        &["acme.cert-manager.io/"],
        "*",
        "anything",
        "None: gatelet itself answers a CA's challenges.",
        nothing,
    ),
];

const fn row(
    prefixes: &'static [&'static str],
    name: &'static str,
    values: &'static str,
    effect: &'static str,
    read: fn(&mut Asked, &str, &str) -> Result<(), String>,
) -> Annotation {
    Annotation {
        prefixes,
        name,
        values,
        effect,
        read,
    }
}

/// What the annotations of an Ingress ask for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) redirect: Option<bool>,
    pub(super) forced: bool,
    /// Plain HTTP never reaches the backend.
    pub(super) https_only: bool,
    /// The decision about unsupported guards. An invalid value refuses.
    pub(super) guards: Option<UnsupportedGuards>,
    pub(super) protocol: Option<Protocol>,
    /// The annotation that says it, and what it says.
    pub(super) issuer: Option<(Box<str>, Choice)>,
    /// The annotation that says it, and what it says.
    pub(super) common_name: Option<(Box<str>, Box<str>)>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) duration: Option<Duration>,
    /// The annotation that says it, and what it says.
    pub(super) renew_before: Option<(Box<str>, RenewBefore)>,
    pub(super) key_type: Option<KeyType>,
    pub(super) keep_key: bool,
    pub(super) complaints: Vec<Complaint>,
}

/// Who may issue.
#[derive(Debug)]
pub(super) enum Choice {
    /// Nobody is asked.
    Nobody,
    /// These, in the order of preference.
    Named(Vec<Box<str>>),
    /// The default issuer.
    Default,
}

/// What is to be said about an annotation.
#[derive(Debug)]
pub(super) struct Complaint {
    pub(super) severity: EventType,
    pub(super) reason: &'static str,
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

/// True if an annotation is read here. `peers` handles the others.
pub(super) fn is_known(name: &str) -> bool {
    name == OLD_CLASS || name.starts_with(CERT_MANAGER[0]) || find(name).is_some()
}

/// Returns the decision of a Service about unsupported guards. An invalid value refuses.
pub(super) fn guards_of_service(
    annotations: &BTreeMap<Box<str>, Box<str>>,
) -> Option<UnsupportedGuards> {
    annotations
        .get("gatelet.dev/unsupported-guards")
        .map(|value| guards(value.trim()).unwrap_or_default())
}

/// Reads the annotations that were kept.
pub(super) fn read(annotations: &[(Box<str>, Box<str>)]) -> Asked {
    let mut asked = Asked::default();
    let mut found = Vec::new();
    for (name, value) in annotations.iter().filter(|(name, _)| **name != *OLD_CLASS) {
        match find(name) {
            Some((row, prefix)) => found.push((row, prefix, name, value)),
            None => asked.complain(
                EventType::Normal,
                "UnknownAnnotation",
                name,
                "this annotation is not known here and has no effect".to_owned(),
            ),
        }
    }
    // What is read last holds.
    found.sort_unstable_by(|a, b| b.cmp(a));
    for (row, _prefix, name, value) in found {
        if let Err(message) = (ANNOTATIONS[row].read)(&mut asked, name, value.trim()) {
            asked.complain(EventType::Warning, "InvalidAnnotation", name, message);
        }
    }
    if let (Some(whole), Some((name, RenewBefore::Time(before)))) =
        (asked.duration, &asked.renew_before)
        && *before >= whole
    {
        let name = name.clone();
        asked.renew_before = None;
        asked.complain(
            EventType::Warning,
            "InvalidAnnotation",
            &name,
            "it is not shorter than the duration".to_owned(),
        );
    }
    asked
}

/// The row and prefix of an annotation.
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

impl Asked {
    fn complain(
        &mut self,
        severity: EventType,
        reason: &'static str,
        annotation: &str,
        message: String,
    ) {
        self.complaints.push(Complaint {
            severity,
            reason,
            annotation: annotation.into(),
            message,
        });
    }

    fn unsupported(&mut self, annotation: &str, message: &str) {
        self.complain(
            EventType::Normal,
            "UnsupportedAnnotation",
            annotation,
            message.to_owned(),
        );
    }
}

// === What reads them ===

fn nothing(_: &mut Asked, _: &str, _: &str) -> Result<(), String> {
    Ok(())
}

fn left_out(asked: &mut Asked, name: &str, _: &str) -> Result<(), String> {
    asked.unsupported(
        name,
        "certificates are for hosts and addresses only: these names are left out",
    );
    Ok(())
}

fn one_issuer(asked: &mut Asked, name: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err("it names no issuer".to_owned());
    }
    asked.issuer = Some((name.into(), Choice::Named(vec![value.into()])));
    Ok(())
}

fn issuers(value: &str) -> Result<Vec<Box<str>>, String> {
    let mut names: Vec<Box<str>> = Vec::new();
    for name in list(value) {
        match name {
            "" => return Err(format!("{value:?} has an empty name")),
            "none" => return Err("none cannot stand beside issuers".to_owned()),
            name if names.iter().any(|known| **known == *name) => {}
            name => names.push(name.into()),
        }
    }
    Ok(names)
}

fn common_name(value: &str) -> Result<Box<str>, String> {
    match HostPattern::parse(value) {
        Ok(HostPattern::Any) => Err("it is empty".to_owned()),
        Ok(pattern) if pattern.to_string().len() <= MAX_COMMON_NAME => {
            Ok(pattern.to_string().into())
        }
        Ok(_) => Err(format!(
            "a common name has {MAX_COMMON_NAME} characters at most"
        )),
        Err(error) => Err(format!("{value:?}: {error}")),
    }
}

fn protocol(value: &str) -> Result<Protocol, String> {
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

/// As `strconv.ParseBool` of Go reads it, with which the other controllers read theirs.
fn boolean(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err(none_of(value, "true, false")),
    }
}

/// As Go reads durations: numbers with units, one after the other.
fn duration(value: &str) -> Result<Duration, String> {
    let wrong = || format!("{value:?} is not a duration (2160h, 1h30m)");
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

fn none_of(value: &str, known: &str) -> String {
    format!("{value:?} is not one of {known}")
}
