//! Finds the servers that URLs in annotations name: Services of the cluster, without DNS, and names
//! that DNS knows.

use std::sync::Arc;

use http::HeaderValue;

use super::{
    Reason,
    backend_terms::BackendTerms,
    backends::Backends,
    objects::{Name, Objects},
    references::References,
    resolve::{ResolveError, resolve},
    server_url::{UrlPort, UrlServer},
    service_terms,
};
use crate::{
    objects::slim::BackendPort,
    routing::{Backend, BackendRef, BackendTls, Host, Protocol, Server, Verify},
};

/// A server that was found.
#[derive(Debug, Default)]
pub(super) struct FoundServer {
    /// The server; `None` for the rules of the host of the request.
    pub(super) server: Option<Server>,
    /// The host whose rules it may be, by its name and port.
    pub(super) own_host: Option<Host>,
}

/// Finds a server that an object of the namespace `own` names, and adds what it depends on to
/// `references`.
///
/// # Errors
/// The reason, and a message for people.
pub(super) fn find(
    objects: &Objects,
    backends: &mut Backends,
    references: &mut References,
    own: &Arc<str>,
    server: &UrlServer,
) -> Result<FoundServer, (Reason, String)> {
    let (backend, authority, own_host) = match server {
        UrlServer::OwnHost => return Ok(FoundServer::default()),
        UrlServer::Service {
            namespace,
            name,
            port,
            https,
            authority,
            host,
        } => {
            let namespace = namespace.as_deref().unwrap_or(own);
            if host.is_none() && *namespace != **own {
                let message = "svc:// leads to Services of the same namespace only";
                return Err((Reason::InvalidAnnotation, message.to_owned()));
            }
            let service: Name = (namespace.into(), (**name).into());
            references.services.push(service.clone());
            // HAProxy speaks TLS with Services that ask for it by `appProtocol`.
            let protocol = host.as_ref().map(|_| match *https {
                true => Protocol::Https,
                false => Protocol::Http1,
            });
            let mut terms =
                service_terms::of_server(objects, backends, references, own, &service, protocol)?;
            if *https && terms.tls.server_name.is_none() {
                terms.tls.server_name = host.clone();
            }
            let backend = of_service(objects, backends, &service, port, terms)?;
            (backend, authority, None)
        }
        UrlServer::Host {
            host,
            port,
            https,
            authority,
            is_default_port,
        } => {
            let protocol = if *https {
                Protocol::Https
            } else {
                Protocol::Http1
            };
            // The name is the only evidence that it is the right server.
            let tls = BackendTls {
                verify: Verify::Always,
                ..BackendTls::default()
            };
            let name = host
                .ip()
                .map_or_else(|| host.to_string(), |ip| ip.to_string());
            let backend = backends.of_name(own, &name, *port, (protocol, tls));
            let own_host = is_default_port.then(|| host.clone());
            (backend, authority, own_host)
        }
    };

    let authority = HeaderValue::from_str(authority);
    let wrong = |_bad| {
        (
            Reason::InvalidAnnotation,
            "its host is not valid".to_owned(),
        )
    };
    let server = Server {
        backend: BackendRef(backend),
        authority: authority.map_err(wrong)?,
    };
    Ok(FoundServer {
        server: Some(server),
        own_host,
    })
}

/// Returns the backend of a Service for a port.
fn of_service(
    objects: &Objects,
    backends: &mut Backends,
    service: &Name,
    port: &UrlPort,
    terms: BackendTerms,
) -> Result<Arc<Backend>, (Reason, String)> {
    let port = match port {
        UrlPort::Number(number) => BackendPort::of_number(*number),
        UrlPort::Name(name) => BackendPort::of_name(name),
    };

    let (namespace, name) = service;
    let resolved = resolve(objects, backends, service, &port, terms);
    let action = resolved.map_err(|error| {
        let reason = error.reason();
        let message = match error {
            ResolveError::UnknownService { .. } => {
                format!("Service {namespace}/{name} does not exist")
            }
            ResolveError::UnknownPort { port, .. } => {
                format!("Service {namespace}/{name} has no port {port}")
            }
        };
        (reason, message)
    })?;

    let backend = action.backends().next().cloned();
    let backend = backend.filter(|one| matches!(one.protocol(), Protocol::Http1 | Protocol::Https));
    let unspoken = || {
        let message = format!("Service {namespace}/{name} does not speak HTTP/1.1");
        (Reason::InvalidAnnotation, message)
    };
    backend.ok_or_else(unspoken)
}
