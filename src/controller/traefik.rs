//! Finds the objects of Traefik that annotations name, and reads their fields.

mod spec;

pub(super) use spec::{Fields, Problem};

use super::{
    Reason,
    facts::{TraefikFact, TraefikId},
    objects::{Name, Objects},
};
use crate::objects::Kind;

/// The provider of Traefik whose objects are those of Kubernetes.
const PROVIDER: &str = "kubernetescrd";

/// Returns the reason for an object of a kind that is not valid.
fn invalid(kind: Kind) -> Reason {
    match kind {
        Kind::ServersTransport => Reason::InvalidServersTransport,
        _ => Reason::InvalidMiddleware,
    }
}

/// Returns the reason for an object of a kind that asks for something that gatelet does not do.
pub(super) fn unsupported(kind: Kind) -> Reason {
    match kind {
        Kind::ServersTransport => Reason::UnsupportedServersTransport,
        _ => Reason::UnsupportedMiddleware,
    }
}

/// Returns the reason for an object of a kind that does not exist.
fn unknown(kind: Kind) -> Reason {
    match kind {
        Kind::ServersTransport => Reason::UnknownServersTransport,
        _ => Reason::UnknownMiddleware,
    }
}

/// Returns the object of a kind that an annotation means by `NAMESPACE-NAME@kubernetescrd`.
///
/// # Errors
/// If it is another text.
pub(super) fn id(kind: Kind, text: &str) -> Result<TraefikId, Problem> {
    let problem = |reason, why: &str| Problem {
        reason,
        field: String::new(),
        why: why.to_owned(),
    };
    match text.split_once('@') {
        Some((id, PROVIDER)) if !id.is_empty() => Ok((kind, id.into())),
        Some((_, provider)) if provider != PROVIDER => {
            let why = "it is of a provider of Traefik that gatelet does not read";
            Err(problem(unsupported(kind), why))
        }
        _ => {
            let why = "it is not NAMESPACE-NAME@kubernetescrd";
            Err(problem(invalid(kind), why))
        }
    }
}

/// Finds an object.
///
/// # Errors
/// If there is none, or more than one.
pub(super) fn find<'a>(
    objects: &'a Objects,
    id: &TraefikId,
) -> Result<(&'a Name, &'a TraefikFact), Problem> {
    let kind = id.0;
    let problem = |reason, why: String| {
        let field = String::new();
        Problem { reason, field, why }
    };
    let all = objects.traefik.get(&kind).into_iter().flatten();
    let mut found = all.filter(|(_, fact)| fact.id == *id);

    match (found.next(), found.next()) {
        (None, _) if objects.traefik_refused.contains(&kind) => {
            let (name, plural, group) = (kind.name(), kind.plural(), kind.group());
            let why = format!(
                "the cluster does not show {name}s: grant list and watch of {plural}.{group}"
            );
            Err(problem(unknown(kind), why))
        }
        (None, _) => Err(problem(unknown(kind), "it does not exist".to_owned())),
        (Some((one, _)), Some((other, _))) => {
            let why = format!(
                "it stands for {}/{} and for {}/{}: rename one of them",
                one.0, one.1, other.0, other.1
            );
            Err(problem(invalid(kind), why))
        }
        (Some(found), None) => Ok(found),
    }
}
