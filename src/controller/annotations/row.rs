//! The rows of the tables: an annotation with its parser.

use super::{value::InvalidValue, values::AnnotationValues};

/// The prefix of our own annotations.
pub(super) const OURS: &str = "gatelet.dev/";
/// The prefix of ingress-nginx.
pub(super) const NGINX: &str = "nginx.ingress.kubernetes.io/";
/// The prefix that several controllers had before they had their own.
pub(super) const OLD: &str = "ingress.kubernetes.io/";
/// The prefix of HAProxy Ingress.
pub(super) const HAPROXY: &str = "haproxy-ingress.github.io/";
/// The prefix of Traefik.
pub(super) const TRAEFIK: &str = "traefik.ingress.kubernetes.io/";
/// The prefix of HAProxy Technologies.
pub(super) const HAPROXY_TECHNOLOGIES: &str = "haproxy.org/";
/// Its older prefix.
pub(super) const HAPROXY_OLD: &str = "haproxy.com/";

/// The prefixes of controllers that read these annotations on Services too.
pub(super) const ON_SERVICES: &[&str] = &[OLD, HAPROXY, HAPROXY_TECHNOLOGIES, HAPROXY_OLD];

/// An annotation of Ingresses that gatelet implements.
#[derive(Debug)]
pub struct Annotation {
    /// Its prefixes. If an Ingress has it under several, the first valid one applies; of guards
    /// all do.
    pub prefixes: &'static [&'static str],
    /// Its name behind the prefix; `*` at the end stands for any text.
    pub name: &'static str,
    /// Its values, for people.
    pub values: &'static str,
    /// Its effect, for people.
    pub effect: &'static str,
    /// The difference from the controller that it comes from, for people; empty for none.
    pub difference: &'static str,
    /// True if it restricts who may come in: a value that is not valid closes the paths.
    pub is_guard: bool,
    /// True if it is for Services and not for Ingresses.
    pub is_of_services: bool,
    /// True if it is for Services too, under prefixes whose controllers read them there.
    pub is_on_services: bool,
    pub(super) read: Read,
}

/// Reads the value of an annotation with this whole name.
type Read = fn(&mut AnnotationValues, &str, &str) -> Result<(), InvalidValue>;

/// Creates a row.
pub(super) const fn row(
    prefixes: &'static [&'static str],
    name: &'static str,
    values: &'static str,
    effect: &'static str,
    read: Read,
) -> Annotation {
    Annotation {
        prefixes,
        name,
        values,
        effect,
        difference: "",
        is_guard: false,
        is_of_services: false,
        is_on_services: false,
        read,
    }
}

impl Annotation {
    /// Makes it a guard.
    pub(super) const fn guard(self) -> Self {
        Self {
            is_guard: true,
            ..self
        }
    }

    /// Makes it one of Services.
    pub(super) const fn of_services(self) -> Self {
        Self {
            is_of_services: true,
            ..self
        }
    }

    /// Makes it one of Services too.
    pub(super) const fn on_services(self) -> Self {
        Self {
            is_on_services: true,
            ..self
        }
    }

    /// Says how it differs.
    pub(super) const fn differs(self, difference: &'static str) -> Self {
        Self { difference, ..self }
    }

    /// Returns the name of the annotation that says the same: the newer of two, or its own.
    pub(super) fn main_name(&self) -> &'static str {
        match self.name {
            "whitelist-source-range" => "allowlist-source-range",
            name => name,
        }
    }

    /// Returns true if this is the name behind a prefix.
    pub(super) fn is(&self, rest: &str) -> bool {
        self.name
            .strip_suffix('*')
            .map_or(self.name == rest, |start| rest.starts_with(start))
    }
}

/// Parses nothing: the annotation has no effect.
pub(super) fn nothing(_: &mut AnnotationValues, _: &str, _: &str) -> Result<(), InvalidValue> {
    Ok(())
}
