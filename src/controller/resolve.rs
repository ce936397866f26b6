//! Resolves the backend of a rule to the port of a Service.

use std::sync::Arc;

use super::{
    Message, Missing, Reason,
    backend_terms::BackendTerms,
    backends::Backends,
    objects::{Name, Objects},
};
use crate::{
    objects::{
        Kind,
        slim::{BackendPort, ServicePort},
    },
    routing::{Action, Protocol, Refusal, Split},
};

/// A backend that does not resolve to a Service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ResolveError {
    UnknownService { service: Arc<str> },
    UnknownPort { service: Arc<str>, port: String },
}

impl ResolveError {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::UnknownService { .. } => Reason::UnknownService,
            Self::UnknownPort { .. } => Reason::UnknownPort,
        }
    }

    /// Returns the message of its finding.
    pub(super) fn message(self) -> Message {
        match self {
            Self::UnknownService { service } => Message::Missing(Missing {
                kind: Kind::Service,
                name: service,
                effect: "503 for this path",
            }),
            Self::UnknownPort { service, port } => {
                format!("Service {service} has no port {port}: 503 for this path").into()
            }
        }
    }

    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::UnknownService { .. } => Refusal::UnknownService,
            Self::UnknownPort { .. } => Refusal::UnknownPort,
        }
    }
}

/// Resolves a Service port to its backend.
pub(super) fn resolve(
    objects: &Objects,
    backends: &mut Backends,
    service: &Name,
    port: &BackendPort,
    terms: BackendTerms,
) -> Result<Action, ResolveError> {
    let Some(fact) = objects.services.get(service) else {
        return Err(ResolveError::UnknownService {
            service: service.1.clone(),
        });
    };

    let found = fact.ports.iter().find(|candidate| match &*port.name {
        "" => candidate.port == port.number,
        name => *candidate.name == *name,
    });

    let (number, spoken) = match found {
        Some(found) => (found.port, terms.protocol.unwrap_or_else(|| spoken(found))),
        // An ExternalName needs no ports: the number of the Ingress is the one that is dialled.
        None if fact.external.is_some() && port.number != 0 => {
            (port.number, terms.protocol.unwrap_or_default())
        }
        None => {
            let port = match &*port.name {
                "" => port.number.to_string(),
                name => name.to_owned(),
            };
            return Err(ResolveError::UnknownPort {
                service: service.1.clone(),
                port,
            });
        }
    };

    let spoken = match spoken {
        Protocol::H2 if terms.only_http1 => Protocol::Https,
        spoken => spoken,
    };
    let terms = BackendTerms {
        protocol: Some(spoken),
        ..terms
    };
    let backend = backends.get(service, number, terms);
    Ok(Action::Forward(Split::to(backend)))
}

/// Returns the protocol of a port by its `appProtocol` (KEP-3726 names, and those that were in use
/// before). WebSocket is an upgrade of HTTP/1.1.
fn spoken(port: &ServicePort) -> Protocol {
    match &*port.app_protocol {
        "kubernetes.io/h2c" | "h2c" | "grpc" => Protocol::H2c,
        "kubernetes.io/wss" | "https" | "HTTPS" | "wss" => Protocol::Https,
        "grpcs" => Protocol::H2,
        _ => Protocol::Http1,
    }
}
