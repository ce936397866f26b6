//! Groups of the endpoints of a Service, by the labels of their Pods: weights, and the groups that
//! requests name.

use std::sync::Arc;

use super::{
    Finding, Reason,
    annotations::GroupAnnotations,
    endpoints::{self, Labelled, Labels},
    objects::{Name, Objects},
};
use crate::routing::{
    Backend, EndpointGroups, EndpointSet, GroupSelector, GroupWeight, Reach, Route, Transport,
};

/// The most groups that one message names.
const MAX_NAMED: usize = 4;

/// Returns the groups that annotations ask for; `None` for none.
pub(super) fn groups(values: &GroupAnnotations) -> Option<Arc<EndpointGroups>> {
    let selected = label(values);
    if values.weights.is_empty() && selected.is_none() {
        return None;
    }
    Some(Arc::new(EndpointGroups {
        weights: values.weights.clone(),
        per_endpoint: values.per_endpoint.unwrap_or_default(),
        label: selected.map(Into::into),
    }))
}

/// Returns the property by which requests name a group; `None` for none.
pub(super) fn selector(values: &GroupAnnotations) -> Option<Box<GroupSelector>> {
    label(values)?;
    let (header, cookie) = (values.header.as_ref(), values.cookie.as_ref());
    let from = header.map(|one| &one.from);
    let from = from.or_else(|| cookie.map(|one| &one.from))?;
    Some(Box::new(GroupSelector {
        from: from.clone(),
        header: header.map(|one| one.name.clone()),
        cookie: cookie.map(|one| one.name.clone()),
    }))
}

/// Returns the label whose values requests name. A field and a cookie must mean the same one.
fn label(values: &GroupAnnotations) -> Option<&str> {
    let of_header = values.header.as_ref().map(|one| &*one.label);
    let of_cookie = values.cookie.as_ref().map(|one| &*one.label);
    match (of_header, of_cookie) {
        (Some(one), Some(other)) if one != other => None,
        (one, other) => one.or(other),
    }
}

/// Returns true if a field and a cookie mean different labels, so that neither applies.
pub(super) fn are_mixed(values: &GroupAnnotations) -> bool {
    values.header.is_some() && values.cookie.is_some() && label(values).is_none()
}

/// Returns the labels that are asked for.
pub(super) fn labels(groups: &EndpointGroups) -> impl Iterator<Item = &str> {
    let of_weights = groups.weights.iter().map(|one| &*one.label);
    of_weights.chain(groups.label.as_deref())
}

/// Returns the endpoints of a Service port with their weights and groups; `None` while the labels
/// of Pods are not known yet.
pub(super) fn resolve(
    objects: &Objects,
    service: &Name,
    port: u16,
    transport: Transport,
    groups: &EndpointGroups,
) -> Option<EndpointSet> {
    let set = endpoints::labelled(objects, service, port, transport);
    let mut list = match set {
        Ok(list) if list.is_empty() => return Some(EndpointSet::Empty),
        Ok(list) => list,
        // A name has no labels.
        Err(_name) if !groups.weights.is_empty() => return Some(EndpointSet::Empty),
        Err(name) => return Some(name),
    };

    if list.iter().any(has_pod) && waits(objects, service, groups) {
        return None;
    }
    weigh(groups, &mut list);
    let list = list.into_iter().map(|one| one.endpoint);
    Some(EndpointSet::Addresses(list.collect()))
}

fn has_pod(one: &Labelled<'_>) -> bool {
    matches!(one.labels, Labels::Pod(_))
}

/// Reports whether the labels of some Pods of a namespace are not known yet.
pub(super) fn waits(objects: &Objects, service: &Name, groups: &EndpointGroups) -> bool {
    let pods = &objects.pods;
    let is_answered = pods.is_refused || objects.settings.standalone;
    !is_answered && labels(groups).any(|label| !pods.known.contains(&service.0, label))
}

/// Sets the weights and groups of endpoints, as HAProxy Ingress does: one that is in no group has
/// no weight.
fn weigh(groups: &EndpointGroups, list: &mut [Labelled<'_>]) {
    let has = |one: &Labelled<'_>, label: &str, value: &str| one.label(label) == Some(value);
    if let Some(label) = &groups.label {
        for one in &mut *list {
            let group = one.label(label).filter(|group| !group.is_empty());
            one.endpoint.group = group.map(Into::into);
        }
    }
    if groups.weights.is_empty() {
        return;
    }

    let mut shares = vec![0.0_f64; list.len()];
    for group in &groups.weights {
        let is_in = |one: &Labelled<'_>| has(one, &group.label, &group.value);
        let members = list.iter().filter(|one| is_in(one)).count();
        let whole = f64::from(group.weight);
        let share = match groups.per_endpoint {
            true => whole,
            false => whole / members.max(1) as f64,
        };

        for (one, of_one) in list.iter().zip(&mut shares) {
            if is_in(one) {
                *of_one = share;
            }
        }
    }

    let weighed = list.iter_mut().map(|one| &mut one.endpoint);
    for (endpoint, weight) in weighed.zip(weights(&shares)) {
        endpoint.weight = weight;
    }
}

/// Returns whole numbers in the proportions of these shares: 1 if all are the same, and at least 1
/// for one above 0.
fn weights(shares: &[f64]) -> Vec<u16> {
    let most = shares.iter().copied().fold(0.0, f64::max);
    let is_even = shares.iter().all(|share| *share == most || *share == 0.0);
    let unit = if is_even { 1.0 } else { f64::from(u16::MAX) };
    let weight = |share: &f64| match *share {
        0.0 => 0,
        share => ((share / most * unit).round() as u16).max(1),
    };
    shares.iter().map(weight).collect()
}

impl Labelled<'_> {
    fn label(&self, name: &str) -> Option<&str> {
        let labels = match self.labels {
            Labels::Pod(labels) => labels?,
            Labels::Slice(labels) => labels,
        };
        labels.get(name).map(|value| &**value)
    }
}

/// Returns the reasons why endpoints of a Service are in no group: of the backends that routes
/// lead to.
pub(super) fn diagnose<'a>(
    objects: &Objects,
    service: &Name,
    routes: impl Iterator<Item = &'a Arc<Route>>,
) -> Option<Finding> {
    let fact = objects.services.get(service)?;
    let backends = routes.flat_map(|route| route.backends());
    let of_service = |backend: &&Arc<Backend>| {
        let id = backend.id();
        (&id.namespace, &id.service) == (&service.0, &service.1)
    };

    let mut backends: Vec<&Arc<Backend>> = backends.filter(of_service).collect();
    backends.sort_unstable_by_key(|backend| backend.id());

    let found = backends.into_iter().find_map(|backend| {
        let groups = backend.settings.groups.as_deref()?;
        problem(objects, service, backend, groups)
    });

    let (reason, message) = found?;
    Some(endpoints::finding(
        service,
        fact,
        reason,
        "spec.selector",
        message,
    ))
}

/// Returns the problem with the groups of a backend.
fn problem(
    objects: &Objects,
    service: &Name,
    backend: &Backend,
    groups: &EndpointGroups,
) -> Option<(Reason, String)> {
    let (port, transport) = (backend.id().port, backend.protocol().transport());
    let has_weights = !groups.weights.is_empty();
    let effect = match has_weights {
        true => "503 for requests that name no group",
        false => "requests cannot name a group",
    };

    let mut list = match endpoints::labelled(objects, service, port, transport) {
        Ok(list) if backend.settings.reach == Reach::Endpoints => list,
        _ if has_weights => {
            let message = format!(
                "the address of the Service is in no group, as blue-green-balance asks: {effect}"
            );
            return Some((Reason::EndpointsWithoutGroup, message));
        }
        _ => return None,
    };

    let is_unknown = |one: &Labelled<'_>| matches!(one.labels, Labels::Pod(None));
    if objects.pods.is_refused && list.iter().any(is_unknown) {
        let message = format!(
            "the cluster does not allow Pods to be read (list and watch), and the labels of Pods \
             decide about the groups of its endpoints: {effect}"
        );
        return Some((Reason::PodsForbidden, message));
    }

    if !has_weights || list.is_empty() || waits(objects, service, groups) {
        return None;
    }

    weigh(groups, &mut list);

    let has_weight = list.iter().any(|one| one.endpoint.weight > 0);
    (!has_weight).then(|| {
        let asked: Vec<String> = groups.weights.iter().take(MAX_NAMED).map(shown).collect();
        let message = format!(
            "no endpoint of port {port} is in a group with a weight ({}): {effect}",
            asked.join(", ")
        );
        (Reason::EndpointsWithoutGroup, message)
    })
}

fn shown(group: &GroupWeight) -> String {
    format!("{}={}={}", group.label, group.value, group.weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{objects::Texts, routing::Endpoint};

    fn weight(text: &str) -> GroupWeight {
        let parts: Vec<&str> = text.split('=').collect();
        GroupWeight {
            label: parts[0].into(),
            value: parts[1].into(),
            weight: parts[2].parse().expect("a weight"),
        }
    }

    /// Returns the weights of endpoints with these labels.
    fn weighed(balance: &str, per_endpoint: bool, pods: &[&str]) -> Vec<u16> {
        let groups = EndpointGroups {
            weights: balance.split(',').map(weight).collect(),
            per_endpoint,
            label: None,
        };
        let labels = pods.iter().map(|labels| {
            let pairs = labels.split(' ').filter_map(|text| text.split_once('='));
            pairs.collect::<Texts>()
        });
        let labels: Vec<Texts> = labels.collect();
        let mut list: Vec<Labelled<'_>> = labels.iter().map(labelled).collect();
        weigh(&groups, &mut list);
        list.iter().map(|one| one.endpoint.weight).collect()
    }

    fn labelled(labels: &Texts) -> Labelled<'_> {
        let address = ([192, 0, 2, 1], 80).into();
        Labelled {
            endpoint: Endpoint::at(address),
            labels: Labels::Slice(labels),
        }
    }

    #[test]
    fn the_weight_is_that_of_a_group_or_of_each_endpoint() {
        let most = u16::MAX;
        let (half, quarter) = (most / 2 + 1, most / 4 + 1);
        for (balance, per_endpoint, pods, expected) in [
            ("v=1=50,v=2=50", false, &["v=1", "v=2"][..], &[1, 1][..]),
            ("v=1=50,v=2=25", false, &["v=1", "v=2"], &[most, half]),
            (
                "v=1=50,v=2=25",
                false,
                &["v=1", "v=2", "v=2"],
                &[most, quarter, quarter],
            ),
            (
                "v=1=1,v=2=1",
                false,
                &["v=1", "v=2", "v=2", "v=2"],
                &[most, 21845, 21845, 21845],
            ),
            ("v=1=1,v=2=1", true, &["v=1", "v=2", "v=2"], &[1, 1, 1]),
            (
                "v=1=50,v=2=25",
                true,
                &["v=1", "v=2", "v=2"],
                &[most, half, half],
            ),
            ("v=1=50,v=2=0", false, &["v=1", "v=2"], &[1, 0]),
            ("v=1=0,v=2=0", false, &["v=1", "v=2"], &[0, 0]),
            ("v=1=256,v=2=1", true, &["v=1", "v=2"], &[most, 256]),
            // Those in no group, and groups without endpoints.
            (
                "v=1=50,v=9=25",
                false,
                &["v=1", "v=2", "x=1", ""],
                &[1, 0, 0, 0],
            ),
            // The last of two that match.
            ("v=1=4,x=1=1", true, &["v=1", "v=1 x=1"], &[most, quarter]),
        ] {
            let found = weighed(balance, per_endpoint, pods);
            assert_eq!(found, expected, "{balance} {per_endpoint} {pods:?}");
        }
    }
}
