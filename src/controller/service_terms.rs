//! Makes the terms of the backends of a Service from its own annotations: for the paths to it, and
//! where it checks logins, gets copies of requests or has the pages of errors.

use super::{
    Reason,
    annotations::{
        self, AnnotationFinding, AnnotationValues, BackendTlsValues, CheckAnnotations,
        GroupAnnotations,
    },
    backend_terms::BackendTerms,
    backend_tls,
    backends::Backends,
    groups,
    objects::{Name, Objects},
    references::References,
    servers_transport::{self, MadeTransport},
};
use crate::{
    objects::EventType,
    routing::{BackendTimes, Protocol, Reach, Refusal, Timeouts},
};

/// The annotations of an Ingress that those of its Services take the place of.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfIngress<'a> {
    /// The terms before Secrets are read.
    pub(super) terms: &'a BackendTerms,
    pub(super) tls: &'a BackendTlsValues,
    pub(super) groups: &'a GroupAnnotations,
    pub(super) checks: &'a CheckAnnotations,
}

/// The result of making terms.
#[derive(Debug, Default)]
pub(super) struct ServiceTerms {
    pub(super) terms: BackendTerms,
    /// The times of its ServersTransport.
    pub(super) timeouts: Timeouts,
    /// The groups of endpoints, if annotations of the Service are about them.
    pub(super) groups: Option<GroupAnnotations>,
    /// The refusal, if the terms cannot be met.
    pub(super) refusal: Option<Refusal>,
    /// The objects that they depend on.
    pub(super) references: References,
    pub(super) findings: Vec<AnnotationFinding>,
}

/// Makes the terms of a Service; `None` if it does not exist, or its annotations say nothing about
/// them.
pub(super) fn make(
    objects: &Objects,
    backends: &mut Backends,
    service: &Name,
    of_ingress: OfIngress<'_>,
) -> Option<ServiceTerms> {
    let fact = objects.services.get(service)?;
    let values = annotations::read(&fact.annotations);
    if is_unset(&values) {
        return None;
    }

    let own = values.terms;
    let mut terms = of_ingress.terms.clone();
    terms.protocol = own.protocol.or(terms.protocol);
    terms.sends_proxy = own.sends_proxy.or(terms.sends_proxy);
    terms.max_requests = own.max_requests.or(terms.max_requests);
    if own.reach == Reach::Service {
        terms.reach = own.reach;
    }
    if values.checks != CheckAnnotations::default() {
        terms.check = of_ingress.checks.with_service(values.checks).check();
    }

    let has_groups = values.groups != GroupAnnotations::default();
    let groups = has_groups.then(|| of_ingress.groups.with_service(values.groups));
    if let Some(groups) = &groups {
        terms.groups = groups::groups(groups);
    }

    let both = of_ingress.tls.with_service(values.backend_tls);
    let made = backend_tls::make(objects, backends, &service.0, &both, &mut terms);

    let transport = match &values.transport {
        None => MadeTransport::default(),
        Some(named) => servers_transport::make(objects, backends, named, &mut terms),
    };
    terms.times = BackendTimes {
        connect: transport.timeouts.connect,
        response_header: transport.timeouts.response_header,
    };

    let mut secrets = made.secrets;
    secrets.extend(transport.secrets);
    let mut findings = made.findings;
    findings.extend(transport.findings);

    Some(ServiceTerms {
        terms,
        timeouts: transport.timeouts,
        groups,
        refusal: made.refusal.or(transport.refusal),
        references: References {
            secrets,
            config_maps: transport.config_maps,
            traefik: transport.id.into_iter().collect(),
            ..References::default()
        },
        findings,
    })
}

fn is_unset(values: &AnnotationValues) -> bool {
    values.terms == BackendTerms::default()
        && values.backend_tls.is_unset()
        && values.transport.is_none()
        && values.groups == GroupAnnotations::default()
        && values.checks == CheckAnnotations::default()
}

/// Makes the terms of a Service that an object of the namespace `own` names beside its backends,
/// and follows what they depend on. `protocol` is what the object asks for: TLS is spoken if either
/// of them says so.
///
/// # Errors
/// The reason, and a message for people. What the Service asks for is never left out.
pub(super) fn of_server(
    objects: &Objects,
    backends: &mut Backends,
    references: &mut References,
    own: &str,
    service: &Name,
    protocol: Option<Protocol>,
) -> Result<BackendTerms, (Reason, String)> {
    let nothing = AnnotationValues::default();
    let of_ingress = OfIngress {
        terms: &nothing.terms,
        tls: &nothing.backend_tls,
        groups: &nothing.groups,
        checks: &nothing.checks,
    };
    let Some(made) = make(objects, backends, service, of_ingress) else {
        return Ok(BackendTerms {
            protocol,
            ..BackendTerms::default()
        });
    };
    references.append(made.references);

    let (namespace, name) = service;
    if made.refusal.is_some() {
        let mut findings = made.findings.into_iter();
        let finding = findings.find(|one| one.severity == EventType::Warning);
        let (reason, why) = finding.map_or_else(
            || (Reason::InvalidAnnotation, "it cannot be met".to_owned()),
            |one| (one.reason, format!("{}: {}", one.annotation, one.message)),
        );
        let why = why.trim_end_matches(annotations::CLOSED);
        let message = format!("Service {namespace}/{name}, {why}");
        return Err((reason, message));
    }

    let mut terms = made.terms;
    if terms.tls.request_name.is_some() {
        let message = format!(
            "Service {namespace}/{name} has a secure-sni of requests, which is for the backends of \
             paths"
        );
        return Err((Reason::InvalidAnnotation, message));
    }
    let identity = |terms: &BackendTerms| terms.tls.terms.as_ref()?.identity.clone();
    if **namespace != *own && identity(&terms).is_some() {
        // Its certificate would speak for requests that its owner does not know.
        let message = format!(
            "Service {namespace}/{name} has a certificate for its servers, which is for Ingresses \
             of its own namespace"
        );
        return Err((Reason::InvalidAnnotation, message));
    }

    terms.protocol = match (protocol, terms.protocol) {
        (_, Some(Protocol::ByScheme)) => {
            let message = format!(
                "Service {namespace}/{name} has AUTO_HTTP, which is for the backends of paths"
            );
            return Err((Reason::InvalidAnnotation, message));
        }
        (Some(Protocol::H2c), Some(Protocol::Https)) => Some(Protocol::H2),
        (_, secure @ Some(Protocol::Https | Protocol::H2)) => secure,
        (asked, of_service) => asked.or(of_service),
    };
    Ok(terms)
}
