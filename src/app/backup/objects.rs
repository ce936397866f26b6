//! The objects of a backup as manifests for any cluster.

use std::path::Path;

use serde_json::{Value, json};

use super::{
    encryption::DecryptionKeys,
    restore::{self, RestoreError},
};
use crate::cluster;

/// Members of `metadata` that belong to the cluster that an object is from.
const OWN: [&str; 7] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "uid",
];

/// Returns the objects of a backup as a `List` that `kubectl apply` takes, without those that every
/// cluster has or makes for itself.
///
/// # Errors
/// The file cannot be read or decrypted, or is not a whole backup.
pub fn objects_of_backup(file: &Path, keys: &DecryptionKeys) -> Result<Value, RestoreError> {
    let backup = restore::read(file, keys)?;
    let records = backup.records.into_iter();
    let objects = records.filter_map(|(key, value)| cluster::stored_object(&key, value));
    let mut items: Vec<Value> = objects.filter_map(portable).collect();
    items.sort_by_key(rank);
    Ok(json!({ "apiVersion": "v1", "kind": "List", "items": items }))
}

/// Returns the rank of an object in the order of creation. A cluster deletes Endpoints that have no
/// Service.
fn rank(object: &Value) -> u8 {
    match object["kind"].as_str() {
        Some("Namespace") => 0,
        Some("Service") => 1,
        _ => 2,
    }
}

/// Returns an object without what belongs to its cluster; `None` for one that every cluster has.
fn portable(mut object: Value) -> Option<Value> {
    if is_own(&object) {
        return None;
    }

    let members = object.as_object_mut()?;
    members.remove("status");
    // Its finalizer is set by every cluster.
    if members["kind"] == "Namespace" {
        members.remove("spec");
    }
    let metadata = members.get_mut("metadata")?.as_object_mut()?;
    metadata.retain(|name, _value| !OWN.contains(&name.as_str()));
    // The uids of owners are others, so the new cluster would delete the object.
    metadata.remove("ownerReferences");
    Some(object)
}

/// Returns whether every cluster has the object, or makes it for itself.
fn is_own(object: &Value) -> bool {
    let text = |pointer: &str| {
        let value = object.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default()
    };
    let label = |name: &str| object["metadata"]["labels"][name].as_str();
    let (kind, name) = (text("/kind"), text("/metadata/name"));

    let is_terminating = object["metadata"].get("deletionTimestamp").is_some();
    let is_default_role = label("kubernetes.io/bootstrapping") == Some("rbac-defaults");
    let is_mirrored = label("endpointslice.kubernetes.io/managed-by")
        == Some("endpointslicemirroring-controller.k8s.io");
    is_terminating
        || is_default_role
        || is_mirrored
        || match kind {
            "Namespace" => name == "default" || name.starts_with("kube-"),
            "ServiceAccount" => name == "default",
            "ConfigMap" => name == "kube-root-ca.crt",
            _ => false,
        }
}
