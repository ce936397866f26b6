//! The endpoints of Services, and diagnoses for Services that rules lead to and that have no
//! endpoints because of how their objects are written.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use super::{
    Finding, Reason,
    facts::{ServiceFact, SliceAddress, SliceFact},
    objects::{Name, Objects},
};
use crate::{
    objects::{EventType, Key, Kind, ObjectRef, Texts, slim::ServicePort},
    routing::{Backend, Endpoint, EndpointSet, Route, Transport},
};

/// The most slices that one message names.
const MAX_NAMED: usize = 3;

/// An endpoint with the labels of what serves there.
#[derive(Debug)]
pub(super) struct Labelled<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) labels: Labels<'a>,
}

/// The labels of what serves at an endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) enum Labels<'a> {
    /// Those of its Pod; `None` if that is not known.
    Pod(Option<&'a Texts>),
    /// Those of its slice, which names no Pod.
    Slice(&'a Texts),
}

/// Returns the endpoints of a Service port.
pub(super) fn resolve(
    objects: &Objects,
    service: &Name,
    port: u16,
    transport: Transport,
) -> EndpointSet {
    match labelled(objects, service, port, transport) {
        Ok(list) if list.is_empty() => EndpointSet::Empty,
        Ok(list) => {
            let list = list.into_iter().map(|one| one.endpoint);
            EndpointSet::Addresses(list.collect())
        }
        Err(name) => name,
    }
}

/// Returns the endpoints of a Service port with their labels; a name in place of them for a Service
/// that has one.
pub(super) fn labelled<'a>(
    objects: &'a Objects,
    service: &Name,
    port: u16,
    transport: Transport,
) -> Result<Vec<Labelled<'a>>, EndpointSet> {
    let Some(fact) = objects.services.get(service) else {
        return Ok(Vec::new());
    };
    if let Some(host) = &fact.external {
        return Err(EndpointSet::Name {
            host: host.trim_end_matches('.').into(),
            port,
        });
    }
    let mut named = fact.ports_of(transport).iter();
    let Some(named) = named.find(|candidate| candidate.port == port) else {
        return Ok(Vec::new());
    };

    let mut ready = BTreeMap::new();
    let mut last_resort = BTreeMap::new();
    for (_, slice) in objects.slices_of(service) {
        let mut targets = slice.ports_of(transport).iter();
        let Some((_, target)) = targets.find(|(name, _)| *name == named.name) else {
            continue;
        };

        for endpoint in &slice.endpoints {
            let addr = SocketAddr::new(endpoint.address, *target);
            let chosen = match endpoint {
                SliceAddress { ready: true, .. } => &mut ready,
                SliceAddress {
                    last_resort: true, ..
                } => &mut last_resort,
                _ => continue,
            };

            let plain = Endpoint::at(addr);
            chosen.entry(addr).or_insert_with(|| Labelled {
                endpoint: Endpoint {
                    id: endpoint.id.unwrap_or(plain.id),
                    zone: endpoint.zone.clone(),
                    draining: endpoint.terminating,
                    ..plain
                },
                labels: match endpoint.id.filter(|_| !objects.settings.standalone) {
                    Some(id) => Labels::Pod(objects.pods.labels(id)),
                    None => Labels::Slice(&slice.labels),
                },
            });
        }
    }

    let chosen = if ready.is_empty() { last_resort } else { ready };
    Ok(chosen.into_values().collect())
}

/// Returns the address of a Service itself, or its endpoints if it has none.
pub(super) fn of_service(
    objects: &Objects,
    service: &Name,
    port: u16,
    transport: Transport,
) -> EndpointSet {
    match objects.address_of(service) {
        Some(address) => EndpointSet::Addresses([Endpoint::at((address, port).into())].into()),
        None => resolve(objects, service, port, transport),
    }
}

/// Returns the ports of a Service that routes lead to.
pub(super) fn ports_in_use<'a>(
    service: &Name,
    routes: impl Iterator<Item = &'a Arc<Route>>,
) -> BTreeSet<u16> {
    let backends = routes.flat_map(|route| route.backends());
    let port = |backend: &Arc<Backend>| {
        let id = backend.id();
        ((&id.namespace, &id.service) == (&service.0, &service.1)).then_some(id.port)
    };
    backends.filter_map(port).collect()
}

/// Returns the reasons why ports of a Service have no endpoints. A Service without ready Pods is in
/// an ordinary state and has no finding. `ports_in_use` is called only if it can make a difference,
/// because a Service can have thousands of users.
pub(super) fn diagnose(
    objects: &Objects,
    service: &Name,
    ports_in_use: impl Fn() -> BTreeSet<u16>,
) -> Vec<Finding> {
    let fact = objects.services.get(service);
    let Some(fact) = fact.filter(|fact| fact.external.is_none()) else {
        return Vec::new();
    };
    let slices = objects.slices_of(service);

    if slices.is_empty() {
        let is_unfilled = objects.settings.standalone && fact.selects && !ports_in_use().is_empty();
        return is_unfilled
            .then(|| selects_nothing(service, fact))
            .into_iter()
            .collect();
    }

    let ports = fact.ports.iter();
    let mut found: Vec<(u16, Finding)> = ports
        .filter_map(|port| Some((port.port, name_mismatch(service, fact, port, &slices)?)))
        .collect();

    // The ports in use are costly to find: only a Service with a mismatch asks for them.
    if !found.is_empty() {
        let used = ports_in_use();
        found.retain(|(port, _)| used.contains(port));
    }

    found.into_iter().map(|(_, finding)| finding).collect()
}

/// Reports a selector where nothing evaluates it.
fn selects_nothing(service: &Name, fact: &ServiceFact) -> Finding {
    let message = format!(
        "the Service has a selector, but the mini cluster has no Pods: 503. Remove the selector \
            and \
         write an EndpointSlice with the label kubernetes.io/service-name: {}, or let `gatelet \
         expose` write both",
        service.1
    );
    finding(
        service,
        fact,
        Reason::SelectorWithoutPods,
        "spec.selector",
        message,
    )
}

/// Reports a Service port whose name no slice with endpoints has.
fn name_mismatch(
    service: &Name,
    fact: &ServiceFact,
    port: &ServicePort,
    slices: &[(&Arc<str>, &SliceFact)],
) -> Option<Finding> {
    let filled: Vec<_> = slices
        .iter()
        .filter(|(_, slice)| !slice.endpoints.is_empty())
        .collect();
    let is_known = filled
        .iter()
        .any(|(_, slice)| slice.ports.iter().any(|(name, _)| *name == port.name));

    if filled.is_empty() || is_known {
        return None;
    }

    let shown = |name: &str| {
        if name.is_empty() {
            "without a name".to_owned()
        } else {
            format!("{name:?}")
        }
    };

    let named: Vec<String> = filled
        .iter()
        .take(MAX_NAMED)
        .map(|(name, slice)| {
            match slice
                .ports
                .iter()
                .map(|(name, _)| shown(name))
                .collect::<Vec<_>>()
            {
                none if none.is_empty() => format!("EndpointSlice {name} has no TCP port"),
                names => format!("EndpointSlice {name} has {}", names.join(", ")),
            }
        })
        .collect();

    let message = format!(
        "no endpoints for port {}, 503: its name in the Service is {}, and {}. Give it the same \
            name \
         in both",
        port.port,
        if port.name.is_empty() {
            "empty".to_owned()
        } else {
            shown(&port.name)
        },
        named.join("; "),
    );

    Some(finding(
        service,
        fact,
        Reason::EndpointPortMismatch,
        "spec.ports",
        message,
    ))
}

/// Returns a Warning about a Service.
pub(super) fn finding(
    service: &Name,
    fact: &ServiceFact,
    reason: Reason,
    field: &str,
    message: String,
) -> Finding {
    let key = Key {
        kind: Kind::Service,
        namespace: service.0.clone(),
        name: service.1.clone(),
    };
    let about = ObjectRef {
        key,
        uid: fact.uid.clone(),
    };

    Finding {
        about,
        severity: EventType::Warning,
        reason,
        field: field.into(),
        message: message.into(),
    }
}
