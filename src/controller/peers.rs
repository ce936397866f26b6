//! The annotations of other Ingress controllers, in tables with the meaning that each has there.
//!
//! gatelet implements none of these. An annotation that restricts access closes its paths
//! (`guards`); every other one is a finding.

mod f5;
mod haproxy;
mod ingress_nginx;
mod others;
mod row;
mod traefik;
mod values;

pub use row::{Meaning, Peer, Row, Scope};
use values::Siblings;

use super::annotations;
use crate::objects::Texts;

/// The other controllers. Several may share a prefix.
pub const PEERS: &[&Peer] = &[
    &ingress_nginx::PEER,
    &traefik::PEER,
    &traefik::FIRST_PEER,
    &haproxy::INGRESS_PEER,
    &haproxy::TECHNOLOGIES_PEER,
    &f5::PEER,
    &f5::APP_PROTECT_PEER,
    &others::KONG_PEER,
    &others::OLD_KONG_PEER,
    &others::ALB_PEER,
    &others::GCE_PEER,
    &others::SHARED_PEER,
    &others::OWN_PEER,
];

/// Words that mark an unknown annotation as a guard: gatelet never ignores a name that suggests a
/// restriction.
pub const GUARD_WORDS: &[&str] = &[
    "acl",
    "allow-list",
    "allowlist",
    "auth",
    "black-list",
    "blacklist",
    "block-",
    "blocklist",
    "client-ca",
    "client-cert",
    "client-crt",
    "deny",
    "firewall",
    "forbid",
    "htpasswd",
    "jwt",
    "kerberos",
    "ldap",
    "login",
    "middleware",
    "mtls",
    "oidc",
    "password",
    "permit",
    "plugin",
    "protect",
    "restrict",
    "saml",
    "snippet",
    "source-range",
    "waf",
    "white-list",
    "whitelist",
];

/// The protection that such an annotation asks for.
const UNKNOWN_GUARD: &str = "a protection that gatelet does not know, judging by the name";

/// An annotation of another controller on an object, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeerAnnotation {
    pub(super) name: Box<str>,
    pub(super) meaning: Meaning,
}

/// The kind of object that an annotation is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    Ingress,
    Service,
}

/// Reads the annotations of other controllers. On Services those of controllers that read them
/// there may close paths, and the others are notes.
pub(super) fn read(texts: &Texts, on: On) -> Box<[PeerAnnotation]> {
    let mut found = Vec::new();
    for (name, value) in texts.iter() {
        let is_implemented = match on {
            On::Ingress => annotations::is_known(name),
            On::Service => annotations::is_known_on_services(name),
        };
        if is_implemented {
            continue;
        }

        let mut all = meanings(texts, name, value.trim(), on);
        let decides = |meaning: &Meaning| meaning.closes() || *meaning == Meaning::Canary;
        if on == On::Service && !all.iter().any(decides) {
            let note = note_of_service(texts, name, value.trim(), all.first());
            all = note.into_iter().collect();
        }
        found.extend(all.into_iter().map(|meaning| PeerAnnotation {
            name: name.clone(),
            meaning,
        }));
    }
    found.into()
}

/// Returns the note about an annotation on a Service that is not read there: `found` is its first
/// meaning for the controllers that read annotations of Services.
fn note_of_service(
    texts: &Texts,
    name: &str,
    value: &str,
    found: Option<&Meaning>,
) -> Option<Meaning> {
    if annotations::is_usual_on_services(name) {
        return None;
    }
    if annotations::is_known(name) {
        return Some(Meaning::OnIngresses);
    }

    let elsewhere = match found {
        None | Some(Meaning::Unknown) => meanings(texts, name, value, On::Ingress),
        Some(known) => vec![*known],
    };
    let meaning = match elsewhere.first()? {
        Meaning::Nothing => return None,
        Meaning::Guard(..) | Meaning::Canary | Meaning::HttpsOnly => Meaning::OnIngresses,
        other => *other,
    };
    Some(meaning)
}

/// Returns the meanings of one annotation, rarely more than one.
fn meanings(texts: &Texts, name: &str, value: &str, on: On) -> Vec<Meaning> {
    // Traefik accepts its names in upper and lower case.
    let lower = name.to_ascii_lowercase();
    let mut is_of_a_peer = false;
    let mut is_known = false;
    let mut found = Vec::new();

    for peer in PEERS
        .iter()
        .filter(|peer| on == On::Ingress || peer.services)
    {
        for prefix in peer.prefixes {
            let Some(rest) = lower.strip_prefix(prefix) else {
                continue;
            };
            let siblings = Siblings {
                annotations: texts,
                prefix,
            };
            is_of_a_peer |= !prefix.is_empty();

            for row in peer.rows.iter().filter(|row| row.has(rest)) {
                is_known = true;
                if row.when.holds(value, &siblings) {
                    found.push(row.meaning.resolve(&siblings));
                }
            }
        }
    }

    if is_of_a_peer && !is_known {
        let is_guard = !value.is_empty() && suggests_a_guard(&lower);
        return vec![if is_guard {
            Meaning::Guard(UNKNOWN_GUARD, Scope::Paths)
        } else {
            Meaning::Unknown
        }];
    }

    // Under a shared prefix one controller may ignore what another enforces: the strictest counts.
    if let Some(closing) = found.iter().find(|meaning| meaning.closes()) {
        return vec![*closing];
    }

    let does_something =
        |meaning: &&Meaning| matches!(meaning, Meaning::Canary | Meaning::HttpsOnly);
    let is_reported =
        |meaning: &&Meaning| matches!(meaning, Meaning::Detail(_) | Meaning::Unsupported(_));
    found
        .iter()
        .filter(does_something)
        .chain(found.iter().find(is_reported))
        .copied()
        .collect()
}

/// Returns how an annotation differs here, if at all, from the same one of the controller that it
/// comes from; `None` if that is not another one. Findings have the rest: those that gatelet does
/// not implement.
pub fn difference(name: &str) -> Option<&'static str> {
    if name == annotations::OLD_CLASS || annotations::is_our_own(name) {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let mut prefixes = PEERS.iter().flat_map(|peer| peer.prefixes);
    let is_of_a_peer = prefixes.any(|prefix| !prefix.is_empty() && lower.starts_with(prefix));
    annotations::difference(name)
        .or_else(|| (is_of_a_peer || annotations::is_known(name)).then_some(""))
}

/// Returns true if the name of an unknown annotation suggests a restriction of access.
pub(super) fn suggests_a_guard(name: &str) -> bool {
    // The domain belongs to the controller and does not describe the annotation.
    let own = name.split_once('/').map_or(name, |(_domain, own)| own);
    GUARD_WORDS.iter().any(|word| own.contains(word))
}
