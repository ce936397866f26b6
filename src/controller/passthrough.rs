//! Decides for a host whether its TLS is passed through, among all Ingresses that have it.

use std::sync::Arc;

use super::{
    Finding, Reason,
    client_certificates::HostTerms,
    compiled::{Compiled, CompiledIngresses},
    guards::ClosedHost,
    objects::{Name, Objects},
};
use crate::{
    objects::EventType,
    routing::{Action, HostPattern, Passthrough, Refusal, RequestStep, Route, Steps},
};

/// Returns the treatment of a host's TLS, with findings. The namespace that had the host first
/// decides, and there the oldest Ingress that asks for it. `names` are in the order of age.
pub(super) fn of_host(
    objects: &Objects,
    compiled: &CompiledIngresses,
    host: &HostPattern,
    names: &[&Name],
    closed: &ClosedHost<'_>,
    certificates: &HostTerms<'_>,
) -> (Option<Arc<Passthrough>>, Vec<Finding>) {
    let of = |name: &Name| compiled.get(name)?.passthrough(host);
    if names.iter().all(|name| of(name).is_none()) {
        return (None, Vec::new());
    }

    let owner = &names[0].0;
    let is_owners = |name: &&Name| name.0 == *owner;
    let asking = names.iter().copied().filter(is_owners);
    let winner = asking.clone().find_map(|name| Some((name, of(name)?)));
    let mut findings = Vec::new();
    let Some((winner, passthrough)) = winner else {
        let others = names.iter().filter(|name| of(name).is_some());
        findings.extend(others.filter_map(|other| not_owner(objects, host, names[0], other)));
        return (None, findings);
    };

    let mut passthrough = passthrough.clone();
    if let Some((_, refusal)) = closed.closer(winner) {
        passthrough = Arc::new(Passthrough::closed(*refusal));
    }
    if passthrough.target.is_ok() && certificates.terms.is_some() {
        findings.extend(with_certificates(objects, host, winner));
        passthrough = Arc::new(Passthrough::closed(Refusal::UnsupportedGuard));
    }
    let bypassed = asking.filter_map(|name| {
        let routes = compiled.get(name)?.routes_of(host);
        let mut routes = routes.filter(|route| is_bypassed(route, &passthrough));
        Some((name, routes.next()?))
    });
    if passthrough.target.is_ok()
        && let Some((name, route)) = bypassed.into_iter().next()
    {
        findings.extend(guarded(objects, host, winner, name, route));
        passthrough = Arc::new(Passthrough::closed(Refusal::UnsupportedGuard));
    }

    let others = names.iter().filter(|name| **name != winner);
    findings.extend(others.filter_map(|other| plain_only(objects, host, winner, other)));
    (Some(passthrough), findings)
}

/// Returns the route as it is on a host whose TLS is passed through: for plain HTTP alone.
pub(super) fn only_plain(route: &Arc<Route>) -> Arc<Route> {
    let steps = route.steps.as_deref();
    let request = steps.map_or(&[][..], |steps| &steps.request);
    if request.contains(&RequestStep::OnlyPlain) {
        return route.clone();
    }

    let request = std::iter::once(RequestStep::OnlyPlain).chain(request.iter().cloned());
    let steps = Steps {
        request: request.collect(),
        response: steps
            .map(|steps| steps.response.clone())
            .unwrap_or_default(),
        errors: steps.and_then(|steps| steps.errors.clone()),
        mirror: steps.and_then(|steps| steps.mirror.clone()),
    };
    Arc::new(Route {
        origin: route.origin.clone(),
        steps: Some(Arc::new(steps)),
        action: route.action.clone(),
        policy: route.policy.clone(),
    })
}

/// Returns the ports of a Service that an Ingress passes TLS to.
pub(super) fn in_use(compiled: &Compiled, service: &Name) -> Vec<u16> {
    let all = compiled.passthroughs.values();
    let routes = all.filter_map(|one| one.target.as_ref().ok());
    let ids = routes.map(|route| route.backend.id());
    let of_service = ids.filter(|id| (&id.namespace, &id.service) == (&service.0, &service.1));
    of_service.map(|id| id.port).collect()
}

/// Returns true if the route has a guard that connections which are passed through do not meet.
fn is_bypassed(route: &Route, passthrough: &Passthrough) -> bool {
    let steps = route.steps.iter().flat_map(|steps| &steps.request);
    let mut guards = steps.map(|step| match step {
        RequestStep::Access(access) => !passthrough.accesses.contains(access),
        RequestStep::ExternalAuth(_)
        | RequestStep::Conditional(_)
        | RequestStep::EncodedCharacters(_) => true,
        _ => false,
    });
    let is_closed = matches!(
        route.action,
        Action::Refuse(
            Refusal::UnsupportedGuard
                | Refusal::InvalidGuard
                | Refusal::UnknownMiddleware
                | Refusal::UnknownUsers
                | Refusal::UnknownAuthorities
        )
    );
    is_closed || guards.any(|is_bypassed| is_bypassed)
}

/// Reports that a guard on a part of the host closes its TLS.
fn guarded(
    objects: &Objects,
    host: &HostPattern,
    winner: &Name,
    by: &Name,
    route: &Route,
) -> Option<Finding> {
    let message = format!(
        "Ingress {}/{} asks who may come in at {} of host {host}, which is not possible where TLS \
         is passed through: the TLS connections of the host are closed",
        by.0, by.1, route.origin.field
    );
    objects.finding(winner, Reason::UnsupportedGuard, "spec.rules", message)
}

/// Reports that client certificates close the TLS of a host.
fn with_certificates(objects: &Objects, host: &HostPattern, winner: &Name) -> Option<Finding> {
    let message = format!(
        "host {host} asks for client certificates, which is not possible where TLS is passed \
         through: the TLS connections of the host are closed"
    );
    objects.finding(winner, Reason::UnsupportedGuard, "spec.rules", message)
}

/// Reports an Ingress that asks for the TLS of a host of another namespace.
fn not_owner(objects: &Objects, host: &HostPattern, owner: &Name, other: &Name) -> Option<Finding> {
    let message = format!(
        "TLS of host {host} is not passed through, because the host belongs to {}: these rules are \
         for plain HTTP alone",
        objects.elder(owner, other)
    );
    objects.finding(other, Reason::HostTaken, "metadata.annotations", message)
}

/// Reports an Ingress whose rules TLS does not reach.
fn plain_only(objects: &Objects, host: &HostPattern, winner: &Name, of: &Name) -> Option<Finding> {
    let message = format!(
        "Ingress {}/{} passes the TLS of host {host} through: these rules are for plain HTTP alone",
        winner.0, winner.1
    );
    let mut finding = objects.finding(of, Reason::HostTaken, "spec.rules", message)?;
    finding.severity = EventType::Normal;
    Some(finding)
}
