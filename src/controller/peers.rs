//! The annotations of other Ingress controllers, in tables that say what each means there.
//!
//! None of these is implemented. An annotation that restricts who may come in closes its paths
//! (`guards`); every other one is a finding.

mod f5;
mod haproxy;
mod ingress_nginx;
mod others;
mod traefik;
mod values;

use std::collections::BTreeMap;

use values::{Siblings, When};

/// The controllers whose annotations are known. Several may share a prefix.
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

/// Words that mark an unknown annotation as a guard: a name that says "closed" is never ignored.
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
const UNKNOWN_GUARD: &str = "a protection that is not known here, to judge by its name";

/// A controller with its annotations.
#[derive(Debug)]
pub struct Peer {
    /// Its name, for people.
    pub name: &'static str,
    /// The beginnings of its annotations. An empty prefix stands for whole names.
    pub prefixes: &'static [&'static str],
    /// True if it reads annotations of Services too.
    pub services: bool,
    /// Its annotations. A name may have several rows, for different values.
    pub rows: &'static [Row],
}

/// Annotations of a controller that mean the same.
#[derive(Debug)]
pub struct Row {
    /// Their names behind the prefix. `*` at the beginning or end stands for any text.
    pub names: &'static [&'static str],
    /// Their meaning with the values of the row.
    pub meaning: Meaning,
    when: When,
}

/// The meaning of an annotation for its controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Restricts who may come in. The words complete "it asks for".
    Guard(&'static str, Scope),
    /// The backend terminates TLS.
    Passthrough,
    /// The object takes a part of the requests for its paths.
    Canary,
    /// Plain HTTP never reaches the backend.
    HttpsOnly,
    /// Configures the named annotation, and has no effect without it.
    Detail(&'static str),
    /// Asks for something that is not done here. The words are a sentence without its full stop.
    Unsupported(&'static str),
    /// Has no effect that would be missed.
    Nothing,
    /// Is not in the tables.
    Unknown,
}

/// The reach of a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The paths of the object.
    Paths,
    /// Everything on the hosts of the object, because the peer applies it to TLS or the whole host.
    Hosts,
    /// The hosts if the object is the master of a mergeable Ingress of F5, else its paths.
    Mergeable,
}

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

/// Reads the annotations of other controllers. On Services only those that close paths are kept,
/// and only those of controllers that read them there.
pub(super) fn read(annotations: &BTreeMap<Box<str>, Box<str>>, on: On) -> Box<[PeerAnnotation]> {
    let mut found = Vec::new();
    for (name, value) in annotations {
        if on == On::Ingress && super::annotations::is_known(name) {
            continue;
        }
        for meaning in meanings(annotations, name, value.trim(), on) {
            if on == On::Ingress || meaning.closes() || meaning == Meaning::Canary {
                found.push(PeerAnnotation {
                    name: name.clone(),
                    meaning,
                });
            }
        }
    }
    found.into()
}

/// Returns the meanings of one annotation, rarely more than one.
fn meanings(
    annotations: &BTreeMap<Box<str>, Box<str>>,
    name: &str,
    value: &str,
    on: On,
) -> Vec<Meaning> {
    // Traefik takes its names in any case.
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
                annotations,
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
        let is_guard = !value.is_empty() && speaks_of_access(&lower);
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
    let is_told =
        |meaning: &&Meaning| matches!(meaning, Meaning::Detail(_) | Meaning::Unsupported(_));
    found
        .iter()
        .filter(does_something)
        .chain(found.iter().find(is_told))
        .copied()
        .collect()
}

fn speaks_of_access(name: &str) -> bool {
    // The domain is the controller's and says nothing about the annotation.
    let own = name.split_once('/').map_or(name, |(_domain, own)| own);
    GUARD_WORDS.iter().any(|word| own.contains(word))
}

impl Meaning {
    /// True if the paths of the object must not be served without it.
    pub(super) fn closes(self) -> bool {
        matches!(self, Self::Guard(..) | Self::Passthrough)
    }

    /// True if it reaches beyond the paths of its object.
    pub(super) fn is_of_hosts(self) -> bool {
        matches!(self, Self::Guard(_, Scope::Hosts) | Self::Passthrough)
    }

    fn resolve(self, siblings: &Siblings<'_>) -> Self {
        match self {
            Self::Guard(what, Scope::Mergeable) => {
                let kind = siblings.get("mergeable-ingress-type").unwrap_or_default();
                let scope = if kind.eq_ignore_ascii_case("master") {
                    Scope::Hosts
                } else {
                    Scope::Paths
                };
                Self::Guard(what, scope)
            }
            other => other,
        }
    }
}

impl Row {
    /// The values with which the annotations have the meaning, for people.
    pub fn values(&self) -> String {
        self.when.words()
    }

    fn has(&self, rest: &str) -> bool {
        self.names.iter().any(
            |name| match (name.strip_prefix('*'), name.strip_suffix('*')) {
                (Some(end), _) => rest.ends_with(end),
                (None, Some(start)) => rest.starts_with(start),
                (None, None) => *name == rest,
            },
        )
    }
}

/// A guard on the paths of the object, with any value.
const fn guard(names: &'static [&'static str], what: &'static str) -> Row {
    guard_when(names, When::ANY, what)
}

const fn guard_when(names: &'static [&'static str], when: When, what: &'static str) -> Row {
    Row {
        names,
        when,
        meaning: Meaning::Guard(what, Scope::Paths),
    }
}

const fn host_guard(names: &'static [&'static str], when: When, what: &'static str) -> Row {
    Row {
        names,
        when,
        meaning: Meaning::Guard(what, Scope::Hosts),
    }
}

const fn passthrough(names: &'static [&'static str]) -> Row {
    Row {
        names,
        when: When::TRUE,
        meaning: Meaning::Passthrough,
    }
}

const fn canary(names: &'static [&'static str], when: When) -> Row {
    Row {
        names,
        when,
        meaning: Meaning::Canary,
    }
}

const fn https_only(names: &'static [&'static str], when: When) -> Row {
    Row {
        names,
        when,
        meaning: Meaning::HttpsOnly,
    }
}

/// `of` is the annotation that it belongs to.
const fn detail(names: &'static [&'static str], of: &'static str) -> Row {
    Row {
        names,
        when: When::Always,
        meaning: Meaning::Detail(of),
    }
}

const fn unsupported(names: &'static [&'static str], effect: &'static str) -> Row {
    Row {
        names,
        when: When::Always,
        meaning: Meaning::Unsupported(effect),
    }
}

const fn nothing(names: &'static [&'static str]) -> Row {
    Row {
        names,
        when: When::Always,
        meaning: Meaning::Nothing,
    }
}
