//! Finds the backends that respond in place of errors.

use super::{
    Reason, annotations,
    backends::Backends,
    facts::ServiceFact,
    objects::{Name, Objects},
    references::References,
    resolve::{ResolveError, resolve},
    service_terms,
};
use crate::{
    objects::slim::BackendPort,
    routing::{BackendRef, Protocol},
};

/// Returns the backend of a Service, for a port or else its first one, with the protocol of the
/// port or another one, and follows the Service and what its annotations name.
///
/// # Errors
/// The reason, and a message for people.
pub(super) fn backend(
    objects: &Objects,
    backends: &mut Backends,
    references: &mut References,
    service: &Name,
    (port, protocol): (Option<BackendPort>, Option<Protocol>),
) -> Result<BackendRef, (Reason, String)> {
    references.services.push(service.clone());
    let name = &service.1;
    let fact = objects.services.get(service);
    let unknown = || {
        let message = format!("Service {name} does not exist");
        (Reason::UnknownService, message)
    };
    let fact = fact.ok_or_else(unknown)?;
    if is_guarded(fact) {
        // The guards of the paths to it would be bypassed.
        let message = format!("Service {name} restricts who may come in");
        return Err((Reason::InvalidAnnotation, message));
    }

    let first = || Some(BackendPort::of_number(fact.ports.first()?.port));
    let no_port = |port: &str| {
        let message = format!("Service {name} has no port{port}");
        (Reason::UnknownPort, message)
    };
    let port = port.or_else(first).ok_or_else(|| no_port(""))?;
    let own = &service.0;
    let terms = service_terms::of_server(objects, backends, references, own, service, protocol)?;
    let resolved = resolve(objects, backends, service, &port, terms);
    let action = resolved.map_err(|error| match error {
        ResolveError::UnknownService { .. } => unknown(),
        ResolveError::UnknownPort { port, .. } => no_port(&format!(" {port}")),
    })?;
    let backend = action.backends().next().cloned();
    backend.map(BackendRef).ok_or_else(|| no_port(""))
}

/// Returns true if annotations on a Service restrict who may come in.
fn is_guarded(fact: &ServiceFact) -> bool {
    let mut peers = fact.peers.iter();
    let mut names = fact.annotations.iter().map(|(name, _value)| name);
    peers.any(|peer| peer.meaning.closes())
        || names.any(|name| annotations::is_guard_on_services(name))
}
