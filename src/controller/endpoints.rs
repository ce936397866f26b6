//! Diagnoses Services that rules lead to and that have no endpoints because of how their objects
//! are written.

use std::{collections::BTreeSet, mem, sync::Arc};

use super::{
    Finding,
    facts::{ServiceFact, SliceFact},
    index::{Index, Name},
};
use crate::{
    objects::{EventType, Key, Kind, ObjectRef, slim::ServicePort},
    routing::{Action, Route},
};

/// At most this many slices are named in one message.
const MAX_NAMED: usize = 3;

impl Index {
    /// Diagnoses these Services again, and those that have findings. Returns whether findings
    /// changed.
    pub(super) fn diagnose(&mut self, services: &BTreeSet<Name>) -> bool {
        let before = mem::take(&mut self.unserved);
        let concerned: BTreeSet<&Name> = services.iter().chain(before.keys()).collect();
        for service in concerned {
            let findings = self.without_endpoints(service);
            if !findings.is_empty() {
                self.unserved.insert(service.clone(), findings);
            }
        }
        self.unserved != before
    }

    /// Returns the reasons why ports of a Service have no endpoints. A Service without ready Pods
    /// has none: that is an ordinary state.
    fn without_endpoints(&self, service: &Name) -> Vec<Finding> {
        let Some(fact) = self
            .services
            .get(service)
            .filter(|fact| fact.external.is_none())
        else {
            return Vec::new();
        };
        let slices = self.slices_of(service);
        if slices.is_empty() {
            let unfilled =
                self.settings.standalone && fact.selects && !self.ports_in_use(service).is_empty();
            return unfilled
                .then(|| selects_nothing(service, fact))
                .into_iter()
                .collect();
        }

        let ports = fact.ports.iter();
        let mut found: Vec<(u16, Finding)> = ports
            .filter_map(|port| Some((port.port, name_mismatch(service, fact, port, &slices)?)))
            .collect();
        // A Service can have thousands of users, so they are looked at only if there is a finding.
        if !found.is_empty() {
            let used = self.ports_in_use(service);
            found.retain(|(port, _)| used.contains(port));
        }
        found.into_iter().map(|(_, finding)| finding).collect()
    }

    /// Returns the ports of a Service that rules lead to.
    fn ports_in_use(&self, service: &Name) -> BTreeSet<u16> {
        let users = self.users_of_service.get(service).into_iter().flatten();
        let routes = users
            .filter_map(|user| self.compiled.get(user))
            .flat_map(|one| {
                let rules = one.rules.iter().map(|(_, _, route)| route);
                rules.chain(one.fallbacks.values()).chain(&one.catch_all)
            });
        let port = |route: &Arc<Route>| match &route.action {
            Action::Forward(backend) => {
                let id = &backend.id;
                ((&id.namespace, &id.service) == (&service.0, &service.1)).then_some(id.port)
            }
            Action::Refuse(_) => None,
        };
        routes
            .chain(self.table.default_route())
            .filter_map(port)
            .collect()
    }
}

/// Reports a selector where nothing evaluates it.
fn selects_nothing(service: &Name, fact: &ServiceFact) -> Finding {
    let message = format!(
        "the Service has a selector, but the mini cluster has no Pods: 503. Remove the selector and write an \
         EndpointSlice with the label kubernetes.io/service-name: {}, or let `gatelet expose` write both",
        service.1
    );
    finding(
        service,
        fact,
        "SelectorWithoutPods",
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
        "no endpoints for port {}, 503: its name in the Service is {}, and {}. Give it the same name in both",
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
        "EndpointPortMismatch",
        "spec.ports",
        message,
    ))
}

fn finding(
    service: &Name,
    fact: &ServiceFact,
    reason: &'static str,
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
