//! The defaults of a real API server (pkg/apis/*/v1/defaults.go), set when an object is written, so
//! that it looks the same each time it is read.
//!
//! One difference: a Service without `clusterIP` is headless, because nothing here routes cluster
//! addresses.

#[cfg(test)]
mod tests;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use crate::objects::Kind;

/// Sets the defaults of the kind. Applying it again changes nothing.
pub(crate) fn apply(kind: Kind, object: &mut Value) {
    match kind {
        Kind::Secret => secret(object),
        Kind::Service => service(object),
        Kind::Endpoints => endpoints(object),
        Kind::EndpointSlice => endpoint_slice(object),
        Kind::Ingress => {
            let status = ensure(object, "status", json!({}));
            ensure(status, "loadBalancer", json!({}));
        }
        Kind::IngressClass => {
            if let Some(parameters) = object
                .pointer_mut("/spec/parameters")
                .filter(|p| p.is_object())
            {
                ensure(parameters, "scope", "Cluster".into());
            }
        }
        Kind::Event => event(object),
        Kind::Role | Kind::ClusterRole => role(object),
        Kind::RoleBinding | Kind::ClusterRoleBinding => binding(object),
        Kind::Namespace
        | Kind::ConfigMap
        | Kind::Middleware
        | Kind::Pod
        | Kind::ServersTransport
        | Kind::Node
        | Kind::Lease
        | Kind::ServiceAccount => {}
    }
}

/// Sets the fields that a real API server allocates when it stores an object.
pub(crate) fn allocate(kind: Kind, object: &mut Value) {
    let spec = object.get_mut("spec").filter(|spec| spec.is_object());
    if let Some(spec) = spec
        && kind == Kind::Service
        && spec["type"] != "ExternalName"
    {
        service_addresses(spec);
    }
}

/// Adds the fields that Go writes even when they are empty.
fn event(object: &mut Value) {
    let Some(members) = object.as_object_mut() else {
        return;
    };
    for time in ["eventTime", "firstTimestamp", "lastTimestamp"] {
        members.entry(time).or_insert(Value::Null);
    }
    for text in ["reportingComponent", "reportingInstance"] {
        members.entry(text).or_insert_with(|| "".into());
    }
    members.entry("source").or_insert_with(|| json!({}));
}

fn secret(object: &mut Value) {
    ensure(object, "type", "Opaque".into());
    let Some(members) = object.as_object_mut() else {
        return;
    };
    if let Some(Value::Object(texts)) = members.remove("stringData") {
        let data = members
            .entry("data")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(data) = data.as_object_mut() {
            for (key, text) in texts {
                data.insert(
                    key,
                    STANDARD.encode(text.as_str().unwrap_or_default()).into(),
                );
            }
        }
    }
}

fn service(object: &mut Value) {
    let status = ensure(object, "status", json!({}));
    ensure(status, "loadBalancer", json!({}));
    let spec = ensure(object, "spec", json!({}));
    if !spec.is_object() {
        return;
    }
    ensure(spec, "sessionAffinity", "None".into());
    if spec["sessionAffinity"] == "None"
        && let Some(members) = spec.as_object_mut()
    {
        members.remove("sessionAffinityConfig");
    }
    if spec["sessionAffinity"] == "ClientIP"
        && spec
            .pointer("/sessionAffinityConfig/clientIP/timeoutSeconds")
            .is_none()
    {
        spec["sessionAffinityConfig"] = json!({ "clientIP": { "timeoutSeconds": 10_800 } });
    }

    ensure(spec, "type", "ClusterIP".into());
    service_ports(spec);
    if spec["type"] == "ExternalName" {
        return;
    }

    ensure(spec, "internalTrafficPolicy", "Cluster".into());

    // This policy is for traffic from outside of the cluster only.
    let external = spec
        .get("externalIPs")
        .and_then(Value::as_array)
        .is_some_and(|all| !all.is_empty());
    if external || spec["type"] == "NodePort" || spec["type"] == "LoadBalancer" {
        ensure(spec, "externalTrafficPolicy", "Cluster".into());
    }
    if spec["type"] == "LoadBalancer" {
        ensure(spec, "allocateLoadBalancerNodePorts", true.into());
    }
}

fn service_ports(spec: &mut Value) {
    for port in items(spec, "ports") {
        ensure(port, "protocol", "TCP".into());
        let number = port.get("port").cloned().unwrap_or_else(|| 0.into());
        let target = port.get("targetPort");
        if port.is_object() && target.is_none_or(|target| *target == 0 || *target == "") {
            port["targetPort"] = number;
        }
    }
}

/// Sets the addresses of a Service and their families.
fn service_addresses(spec: &mut Value) {
    let first = spec.pointer("/clusterIPs/0").cloned();
    if spec["clusterIP"].is_null() || spec["clusterIP"] == "" {
        // A Service without ports must set `clusterIP: None` itself; otherwise validation refuses
        // it.
        let ports = spec
            .get("ports")
            .and_then(Value::as_array)
            .is_some_and(|ports| !ports.is_empty());
        let Some(address) = first.or_else(|| ports.then(|| "None".into())) else {
            return;
        };
        spec["clusterIP"] = address;
    }

    let address = spec["clusterIP"].clone();
    ensure(spec, "clusterIPs", json!([address]));

    // The family follows the address, which is IPv4 for a headless Service.
    let v6 = spec["clusterIP"]
        .as_str()
        .is_some_and(|address| address.contains(':'));
    let selects = spec
        .get("selector")
        .and_then(Value::as_object)
        .is_some_and(|selector| !selector.is_empty());
    // The endpoints of a headless Service without a selector may be of both families.
    let (policy, families) = match (spec["clusterIP"] == "None" && !selects, v6) {
        (true, _) => ("RequireDualStack", json!(["IPv4", "IPv6"])),
        (false, true) => ("SingleStack", json!(["IPv6"])),
        (false, false) => ("SingleStack", json!(["IPv4"])),
    };

    ensure(spec, "ipFamilyPolicy", policy.into());
    ensure(spec, "ipFamilies", families);
}

fn endpoints(object: &mut Value) {
    for subset in items(object, "subsets") {
        for port in items(subset, "ports") {
            ensure(port, "protocol", "TCP".into());
        }
    }
}

fn endpoint_slice(object: &mut Value) {
    ensure(object, "endpoints", Value::Array(Vec::new()));
    for endpoint in items(object, "endpoints") {
        ensure(endpoint, "conditions", json!({}));
    }
    ensure(object, "ports", Value::Array(Vec::new()));
    for port in items(object, "ports") {
        ensure(port, "name", "".into());
        ensure(port, "protocol", "TCP".into());
    }
}

/// The API group of roles, and of the subjects of bindings that are users and groups.
const RBAC: &str = "rbac.authorization.k8s.io";

/// Adds the rules that Go writes even when there are none.
fn role(object: &mut Value) {
    let rules = object.get("rules").and_then(Value::as_array);
    let none = rules.is_none_or(Vec::is_empty);
    if let Some(members) = object.as_object_mut().filter(|_| none) {
        members.insert("rules".to_owned(), Value::Null);
    }
}

fn binding(object: &mut Value) {
    let role = ensure(object, "roleRef", json!({}));
    for (member, default) in [("apiGroup", RBAC), ("kind", ""), ("name", "")] {
        if ensure(role, member, default.into()) == "" {
            role[member] = default.into();
        }
    }

    for subject in items(object, "subjects") {
        ensure(subject, "name", "".into());
        let has_group = subject["apiGroup"]
            .as_str()
            .is_some_and(|group| !group.is_empty());
        if !has_group && (subject["kind"] == "User" || subject["kind"] == "Group") {
            subject["apiGroup"] = RBAC.into();
        }
    }
}

/// Returns the items of a list, or nothing if the member is not a list.
fn items<'v>(object: &'v mut Value, member: &str) -> impl Iterator<Item = &'v mut Value> {
    object
        .get_mut(member)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

/// Returns the member of an object, set to the default if it is absent or null. A value that is not
/// an object stays as it is; validation refuses it.
fn ensure<'v>(object: &'v mut Value, member: &str, default: Value) -> &'v mut Value {
    if !object.is_object() {
        return object;
    }
    let slot = &mut object[member];
    if slot.is_null() {
        *slot = default;
    }
    slot
}
