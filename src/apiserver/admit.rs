//! Completes every object that is written, of any kind: identity, metadata, generation, status.

use serde_json::{Map, Value, json};

use super::{
    defaults, registry::Resource, request::Target, status::ApiError, validate::FieldError,
};
use crate::{objects::Kind, util::stamp};

/// The effect of a change on the stored object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The object is written.
    Keep,
    /// The object is removed: it was marked for deletion, and the change removes its last
    /// finalizer.
    Finished,
}

/// Members of an object whose changes do not count in its generation.
const ENVELOPE: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

/// Returns the text at a JSON pointer, empty if it is absent.
pub(crate) fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Refuses a replacement whose name is not that of the path.
pub(crate) fn check_name(object: &Value, name: &str) -> Result<(), ApiError> {
    match text(object, "/metadata/name") {
        "" => Err(ApiError::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        ))),
        found if found != name => Err(other_name(found, name)),
        _same => Ok(()),
    }
}

fn other_name(found: &str, name: &str) -> ApiError {
    ApiError::bad_request(format!(
        "the name of the object ({found}) does not match the name on the URL ({name})"
    ))
}

/// Sets kind, name and namespace as in the path. Refuses an object that has others.
pub(crate) fn identity(
    target: &Target,
    name: Option<&str>,
    object: &mut Value,
) -> Result<(), ApiError> {
    let Some(members) = object.as_object_mut() else {
        return Err(ApiError::bad_request(
            "the object provided is unrecognized (must be of type object)",
        ));
    };
    members.insert(
        "apiVersion".to_owned(),
        target.resource.kind.api_version().into(),
    );
    members.insert("kind".to_owned(), target.resource.kind.name().into());

    let metadata = members.entry("metadata").or_insert_with(|| json!({}));
    if metadata.is_null() {
        *metadata = json!({});
    }
    let Some(metadata) = metadata.as_object_mut() else {
        return Err(ApiError::bad_request("metadata must be an object"));
    };

    if let Some(name) = name {
        let found = metadata
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !found.is_empty() && found != name {
            return Err(other_name(found, name));
        }
        metadata.insert("name".to_owned(), name.into());
    }

    let found = metadata
        .get("namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    // A namespaced object takes the namespace of the path; others may not have one.
    match target.namespace.as_deref() {
        Some(namespace) if found.is_empty() || found == namespace => {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
        None if found.is_empty() => {
            metadata.remove("namespace");
        }
        _ => {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match \
                 the namespace sent on the request",
            ));
        }
    }

    metadata.remove("selfLink");
    metadata.retain(|_name, value| !value.is_null());
    Ok(())
}

/// Completes a new object. Refuses one with a version, as a real store does (storage/etcd3 store.go
/// `Create`): a dry run does not reach the store and returns the version as it was sent, and a
/// version that is not a number is ignored.
pub(crate) fn new(resource: &Resource, dry_run: bool, object: &mut Value) -> Result<(), ApiError> {
    let version = text(object, "/metadata/resourceVersion").to_owned();
    if !dry_run && version.parse::<u64>().is_ok_and(|version| version > 0) {
        return Err(ApiError::bare(
            "resourceVersion should not be set on objects to be created",
        ));
    }

    let name = text(object, "/metadata/name").to_owned();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for unset in [
            "resourceVersion",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
        ] {
            metadata.remove(unset);
        }
        if dry_run && !version.is_empty() {
            metadata.insert("resourceVersion".to_owned(), version.into());
        }
        metadata.insert("uid".to_owned(), stamp::uid().into());
        metadata.insert("creationTimestamp".to_owned(), stamp::now().into());
        if resource.generation {
            metadata.insert("generation".to_owned(), 1.into());
        }
    }

    // The status of a new object is set later, through its own path.
    if resource.status
        && let Some(members) = object.as_object_mut()
    {
        members.remove("status");
    }

    if resource.kind == Kind::Namespace {
        object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
    }
    defaults::apply(resource.kind, object);
    Ok(())
}

/// Sets the fields of a new object that belong to no manager: a real API server sets them after it
/// has recorded the managers.
pub(crate) fn allocate(resource: &Resource, object: &mut Value) {
    if resource.kind == Kind::Namespace {
        object["spec"] = json!({ "finalizers": ["kubernetes"] });
        object["status"] = json!({ "phase": "Active" });
    }
    defaults::allocate(resource.kind, object);
}

/// Completes a changed object: restores the members of the old one that a change on this path
/// cannot change.
pub(crate) fn change(
    resource: &Resource,
    subresource: Option<&str>,
    new: &mut Value,
    old: &Value,
) -> Result<Change, ApiError> {
    let name = text(old, "/metadata/name");
    let (uid, known) = (text(new, "/metadata/uid"), text(old, "/metadata/uid"));
    if !uid.is_empty() && uid != known {
        let message = format!("Invalid value: \"{uid}\": field is immutable");
        let problem = FieldError {
            field: "metadata.uid".to_owned(),
            reason: "FieldValueInvalid",
            message,
        };
        return Err(ApiError::invalid(resource, name, &[problem]));
    }

    // Status and content have paths of their own, and each leaves the other unchanged.
    match subresource {
        Some("status") => {
            let status = new.get("status").cloned();
            let metadata = new.get("metadata").cloned();
            new.clone_from(old);
            set(new, "status", status);
            set(new, "metadata", metadata);
        }
        _ if resource.status => set(new, "status", old.get("status").cloned()),
        _ => {}
    }

    if resource.kind == Kind::Service {
        keep_addresses(&mut new["spec"], &old["spec"]);
        drop_unneeded(&mut new["spec"], &old["spec"]);
    }
    if resource.kind == Kind::Namespace {
        if subresource != Some("finalize") {
            set(new, "spec", old.get("spec").cloned());
        }
        new["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
    }

    // The server sets these members, so a client cannot change them.
    for kept in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
    ] {
        let value = old["metadata"].get(kept).cloned();
        set(&mut new["metadata"], kept, value);
    }

    defaults::apply(resource.kind, new);
    defaults::allocate(resource.kind, new);
    // The generation counts changes of the content, not of metadata or status.
    let generation = old["metadata"].get("generation").and_then(Value::as_i64);
    let generation = match (resource.generation, generation) {
        (true, at) => Some(at.unwrap_or(1) + i64::from(differs(resource, new, old))),
        (false, _) => None,
    };
    set(
        &mut new["metadata"],
        "generation",
        generation.map(Value::from),
    );

    check_finalizers(resource, name, new, old)?;
    let deleting = !text(new, "/metadata/deletionTimestamp").is_empty();
    // The contents of a namespace are a finalizer too.
    let contents = new.pointer("/spec/finalizers").and_then(Value::as_array);
    let empty = resource.kind != Kind::Namespace || contents.is_none_or(Vec::is_empty);
    let free = finalizers(new).is_empty() && empty;
    Ok(if deleting && free {
        Change::Finished
    } else {
        Change::Keep
    })
}

/// Keeps the addresses of a replaced Service, unless it names others or becomes an ExternalName. If
/// only one of the two address fields was changed, the other follows (pkg/registry/core/service
/// normalizeClusterIPs).
fn keep_addresses(new: &mut Value, old: &Value) {
    let (address, known) = (
        new["clusterIP"].as_str().unwrap_or_default(),
        &old["clusterIP"],
    );
    if *known != address && new["clusterIPs"] == old["clusterIPs"] && new["clusterIPs"].is_array() {
        let list = (!address.is_empty()).then(|| {
            let others = old["clusterIPs"]
                .as_array()
                .into_iter()
                .flatten()
                .skip(1)
                .cloned();
            std::iter::once(address.into()).chain(others).collect()
        });
        set(new, "clusterIPs", list);
    }

    let external_name = new["type"] == "ExternalName" || old["type"] == "ExternalName";
    let named = ["clusterIP", "clusterIPs"]
        .iter()
        .any(|member| !new[*member].is_null() && new[*member] != "");
    if external_name || named || !new.is_object() {
        return;
    }
    for member in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if new[member].is_null() {
            set(new, member, old.get(member).cloned());
        }
    }
}

/// Drops the fields of a Service that its new type does not have, unless the change sets them
/// (pkg/registry/core/service dropTypeDependentFields).
fn drop_unneeded(new: &mut Value, old: &Value) {
    if !new.is_object() {
        return;
    }
    let kind = new["type"].as_str().unwrap_or("ClusterIP").to_owned();
    let external_ips = new["externalIPs"].as_array();
    let external = external_ips.is_some_and(|addresses| !addresses.is_empty());

    let (named, balanced) = (kind == "ExternalName", kind == "LoadBalancer");
    for (member, needed) in [
        (
            "externalTrafficPolicy",
            external || balanced || kind == "NodePort",
        ),
        ("allocateLoadBalancerNodePorts", balanced),
        ("loadBalancerClass", balanced),
        ("internalTrafficPolicy", !named),
        ("clusterIP", !named),
        ("clusterIPs", !named),
        ("ipFamilies", !named),
        ("ipFamilyPolicy", !named),
    ] {
        if !needed && new[member] == old[member] {
            set(new, member, None);
        }
    }
}

/// Refuses new finalizers of an object that is being deleted.
fn check_finalizers(
    resource: &Resource,
    name: &str,
    new: &Value,
    old: &Value,
) -> Result<(), ApiError> {
    if text(new, "/metadata/deletionTimestamp").is_empty() {
        return Ok(());
    }

    let known = finalizers(old);
    let added: Vec<String> = finalizers(new)
        .into_iter()
        .filter(|one| !known.contains(one))
        .map(|one| format!("{one:?}"))
        .collect();
    if added.is_empty() {
        return Ok(());
    }

    let message = format!(
        "Forbidden: no new finalizers can be added if the object is being deleted, \
         found new finalizers []string{{{}}}",
        added.join(", ")
    );
    let problem = FieldError {
        field: "metadata.finalizers".to_owned(),
        reason: "FieldValueForbidden",
        message,
    };
    Err(ApiError::invalid(resource, name, &[problem]))
}

/// Returns the finalizers of an object.
pub(crate) fn finalizers(object: &Value) -> Vec<&str> {
    let list = object
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Returns the error for an invalid object: its problems, or that it has no name.
pub(crate) fn refused(resource: &Resource, name: &str, mut problems: Vec<FieldError>) -> ApiError {
    if problems.is_empty() {
        let message = "Required value: name or generateName is required".to_owned();
        problems.push(FieldError {
            field: "metadata.name".to_owned(),
            reason: "FieldValueRequired",
            message,
        });
    }
    ApiError::invalid(resource, name, &problems)
}

/// Returns true if a change counts in the generation. That of a slice counts its labels too.
fn differs(resource: &Resource, new: &Value, old: &Value) -> bool {
    let labels = |object: &Value| object["metadata"]["labels"].clone();
    let relabelled = resource.kind == Kind::EndpointSlice && labels(new) != labels(old);
    relabelled || content(new) != content(old)
}

/// Returns the members whose changes count in the generation.
fn content(object: &Value) -> Map<String, Value> {
    let members = object.as_object().into_iter().flatten();
    members
        .filter(|(name, _)| !ENVELOPE.contains(&name.as_str()))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect()
}

/// Sets a member, or removes it if there is no value.
fn set(object: &mut Value, member: &str, value: Option<Value>) {
    let Some(members) = object.as_object_mut() else {
        return;
    };
    match value {
        Some(value) => members.insert(member.to_owned(), value),
        None => members.remove(member),
    };
}
