//! The rows of the tables: an annotation of another controller with its meaning.

use super::values::{Siblings, When};

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
    pub(super) when: When,
}

/// The meaning of an annotation for its controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Restricts access. The text completes "it asks for".
    Guard(&'static str, Scope),
    /// The object takes a part of the requests for its paths.
    Canary,
    /// Plain HTTP never reaches the backend.
    HttpsOnly,
    /// Configures the named annotation, and has no effect without it.
    Detail(&'static str),
    /// Asks for something that gatelet does not do. The text is a sentence without its full stop.
    Unsupported(&'static str),
    /// Is on a Service, and has an effect on Ingresses alone.
    OnIngresses,
    /// Has no effect that a user would miss.
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

impl Meaning {
    /// Returns true if the paths of the object must not be served without it.
    pub(in crate::controller) fn closes(self) -> bool {
        matches!(self, Self::Guard(..))
    }

    /// Returns true if it reaches beyond the paths of its object.
    pub(in crate::controller) fn is_of_hosts(self) -> bool {
        matches!(self, Self::Guard(_, Scope::Hosts))
    }

    pub(super) fn resolve(self, siblings: &Siblings<'_>) -> Self {
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
    /// Describes for people the values with which the annotations have the meaning.
    pub fn values(&self) -> String {
        self.when.words()
    }

    pub(super) fn has(&self, rest: &str) -> bool {
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
pub(super) const fn guard(names: &'static [&'static str], what: &'static str) -> Row {
    guard_when(names, When::ANY, what)
}

pub(super) const fn guard_when(
    names: &'static [&'static str],
    when: When,
    what: &'static str,
) -> Row {
    Row {
        names,
        when,
        meaning: Meaning::Guard(what, Scope::Paths),
    }
}

pub(super) const fn canary(names: &'static [&'static str], when: When) -> Row {
    Row {
        names,
        when,
        meaning: Meaning::Canary,
    }
}

pub(super) const fn https_only(names: &'static [&'static str], when: When) -> Row {
    Row {
        names,
        when,
        meaning: Meaning::HttpsOnly,
    }
}

/// A detail of the annotation `of`.
pub(super) const fn detail(names: &'static [&'static str], of: &'static str) -> Row {
    Row {
        names,
        when: When::Always,
        meaning: Meaning::Detail(of),
    }
}

pub(super) const fn unsupported(names: &'static [&'static str], effect: &'static str) -> Row {
    Row {
        names,
        when: When::Always,
        meaning: Meaning::Unsupported(effect),
    }
}

pub(super) const fn nothing(names: &'static [&'static str]) -> Row {
    Row {
        names,
        when: When::Always,
        meaning: Meaning::Nothing,
    }
}
