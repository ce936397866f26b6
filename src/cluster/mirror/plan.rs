//! Plans the writes that bring the mirrored EndpointSlices of an Endpoints object up to date.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::desired::Slice;
use crate::objects::{Kind, RawObject};

/// The label of an EndpointSlice with the name of its Service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label of an EndpointSlice with the controller that writes it.
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] of mirrored slices.
pub(super) const CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";

/// Annotations that describe the Endpoints object itself and are not copied.
const OWN_ANNOTATIONS: [&str; 2] = [
    "endpoints.kubernetes.io/last-change-trigger-time",
    "kubectl.kubernetes.io/last-applied-configuration",
];

/// One write. The objects have no `metadata.resourceVersion`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A new slice. Its name, uid and time are set when it is written.
    Create(Value),
    /// New content for an existing slice.
    Update(Arc<RawObject>, Value),
    /// A slice that is no longer needed.
    Delete(Arc<RawObject>),
}

/// Returns the steps from the existing slices to the desired ones; empty if nothing differs.
pub(super) fn plan(
    endpoints: &RawObject,
    desired: Vec<Slice>,
    existing: &[Arc<RawObject>],
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut known: Vec<(&Arc<RawObject>, Value)> = Vec::new();
    for slice in existing {
        // A slice that is being deleted is not reused.
        match serde_json::from_slice(&slice.body) {
            Ok(body) if slice.meta.deletion_timestamp.is_empty() => known.push((slice, body)),
            _ => steps.push(Step::Delete(slice.clone())),
        }
    }

    // A slice with the same ports keeps its place. Otherwise any slice of the family is reused,
    // because one update is cheaper than a creation and a deletion.
    let mut unmatched = Vec::new();
    for slice in desired {
        let same = |body: &Value| {
            body["addressType"] == slice.family.name() && same_ports(&body["ports"], &slice.ports)
        };
        match known.iter().position(|(_slice, body)| same(body)) {
            Some(at) => steps.extend(update(endpoints, slice, known.remove(at))),
            None => unmatched.push(slice),
        }
    }

    for slice in unmatched {
        match known
            .iter()
            .position(|(_slice, body)| body["addressType"] == slice.family.name())
        {
            Some(at) => steps.extend(update(endpoints, slice, known.remove(at))),
            None => steps.push(Step::Create(object(endpoints, slice))),
        }
    }

    steps.extend(
        known
            .into_iter()
            .map(|(slice, _body)| Step::Delete(slice.clone())),
    );
    steps
}

/// Compares ports without regard to their order.
fn same_ports(known: &Value, desired: &[Value]) -> bool {
    let known = known.as_array().map(Vec::as_slice).unwrap_or_default();
    let sorted = |ports: &[Value]| {
        let mut texts: Vec<String> = ports.iter().map(Value::to_string).collect();
        texts.sort_unstable();
        texts
    };
    known.len() == desired.len() && sorted(known) == sorted(desired)
}

fn update(
    endpoints: &RawObject,
    slice: Slice,
    (known, mut body): (&Arc<RawObject>, Value),
) -> Option<Step> {
    let mut new = object(endpoints, slice);
    for member in ["name", "uid", "creationTimestamp", "generateName"] {
        copy(&body["metadata"], &mut new["metadata"], member);
    }
    let generation = known.meta.generation.max(1);
    let content = |object: &Value| ["endpoints", "ports"].map(|member| object[member].clone());
    let changed = i64::from(content(&body) != content(&new));
    new["metadata"]["generation"] = generation.saturating_add(changed).into();

    if let Some(metadata) = body["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    (new != body).then(|| Step::Update(known.clone(), new))
}

fn copy(from: &Value, to: &mut Value, member: &str) {
    if let Some(value) = from.get(member) {
        to[member] = value.clone();
    }
}

/// Returns the slice as an object, without name, uid and time.
fn object(endpoints: &RawObject, slice: Slice) -> Value {
    let name = &*endpoints.meta.name;
    let mut labels: Map<String, Value> = endpoints
        .meta
        .labels
        .iter()
        .map(|(key, value)| (key.to_string(), (&**value).into()))
        .collect();
    labels.insert(SERVICE_NAME.to_owned(), name.into());
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.into());

    let annotations = endpoints
        .meta
        .annotations
        .iter()
        .filter(|(key, _value)| !OWN_ANNOTATIONS.contains(&&***key));
    let annotations: Map<String, Value> = annotations
        .map(|(key, value)| (key.to_string(), (&**value).into()))
        .collect();

    let mut object = json!({
        "apiVersion": Kind::EndpointSlice.api_version(),
        "kind": Kind::EndpointSlice.name(),
        "metadata": {
            "namespace": &*endpoints.meta.namespace,
            "generateName": format!("{name}-"),
            "generation": 1,
            "labels": labels,
            "ownerReferences": [{
                "apiVersion": Kind::Endpoints.api_version(),
                "kind": Kind::Endpoints.name(),
                "name": name,
                "uid": &*endpoints.meta.uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "addressType": slice.family.name(),
        "endpoints": slice.endpoints,
        "ports": slice.ports,
    });

    if !annotations.is_empty() {
        object["metadata"]["annotations"] = annotations.into();
    }
    object
}
