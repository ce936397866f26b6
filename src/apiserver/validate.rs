//! Validates objects as a real API server does, with its messages (Kubernetes 1.36:
//! pkg/apis/*/validation).

mod core;
mod endpoints;
mod names;
mod networking;
mod problems;
mod rbac;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::objects::Kind;

pub(crate) use problems::FieldError;
use problems::{Problems, immutable, list, pairs, text};

/// Returns the problems of a new object.
pub(crate) fn create(kind: Kind, object: &Value) -> Vec<FieldError> {
    let mut problems = Problems::default();
    metadata(kind, object, &mut problems);
    content(kind, object, &mut problems);
    problems.0
}

/// Returns the problems of a changed object.
pub(crate) fn update(kind: Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut problems = Problems::default();
    match kind {
        Kind::Secret => core::secret_update(new, old, &mut problems),
        Kind::ConfigMap => core::immutable_data(new, old, &["data", "binaryData"], &mut problems),
        Kind::Service => {
            core::service_update(new, old, &mut problems);
            core::service_status(new, old, &mut problems);
        }
        Kind::EndpointSlice => immutable(new, old, "addressType", &mut problems),
        Kind::IngressClass => immutable(&new["spec"], &old["spec"], "controller", &mut problems),
        Kind::RoleBinding | Kind::ClusterRoleBinding => {
            rbac::binding_update(new, old, &mut problems);
        }
        Kind::Namespace
        | Kind::Endpoints
        | Kind::Ingress
        | Kind::Node
        | Kind::Event
        | Kind::Lease
        | Kind::Middleware
        | Kind::Pod
        | Kind::ServersTransport
        | Kind::ServiceAccount
        | Kind::ClusterRole
        | Kind::Role => {}
    }

    metadata(kind, new, &mut problems);
    content(kind, new, &mut problems);

    // Stored endpoints stay valid, even if the rules have become stricter.
    let kept = match kind {
        Kind::Endpoints => "subsets",
        Kind::EndpointSlice => "endpoints",
        _ => return problems.0,
    };
    if new[kept] == old[kept] {
        problems
            .0
            .retain(|problem| !problem.field.starts_with(kept));
    }
    problems.0
}

/// Returns the texts of `Warning` headers for an object that is accepted.
pub(crate) fn warnings(kind: Kind, object: &Value) -> Vec<String> {
    match kind {
        Kind::Ingress
            if !text(object, "/metadata/annotations/kubernetes.io~1ingress.class").is_empty() =>
        {
            let what = "annotation \"kubernetes.io/ingress.class\" is deprecated";
            vec![format!(
                "{what}, please use 'spec.ingressClassName' instead"
            )]
        }
        Kind::Endpoints => endpoints::warnings(object),
        Kind::EndpointSlice if text(object, "/addressType") == "FQDN" => {
            vec!["spec.addressType: FQDN endpoints are deprecated".to_owned()]
        }
        Kind::Secret => core::secret_warnings(object),
        _ => Vec::new(),
    }
}

fn content(kind: Kind, object: &Value, problems: &mut Problems) {
    match kind {
        Kind::Secret => core::secret(object, problems),
        Kind::ConfigMap => core::config_map(object, problems),
        Kind::Service => core::service(object, problems),
        Kind::Endpoints => endpoints::endpoints(object, problems),
        Kind::EndpointSlice => endpoints::endpoint_slice(object, problems),
        Kind::Ingress => networking::ingress(object, problems),
        Kind::IngressClass => networking::ingress_class(object, problems),
        Kind::Lease => core::lease(object, problems),
        Kind::Role => rbac::role(object, problems),
        Kind::ClusterRole => rbac::cluster_role(object, problems),
        Kind::RoleBinding => rbac::binding(object, &["Role", "ClusterRole"], problems),
        Kind::ClusterRoleBinding => rbac::binding(object, &["ClusterRole"], problems),
        Kind::Namespace
        | Kind::Node
        | Kind::Event
        | Kind::Middleware
        | Kind::Pod
        | Kind::ServersTransport
        | Kind::ServiceAccount => {}
    }
}

/// Checks `metadata` (k8s.io/apimachinery/pkg/api/validation/objectmeta.go).
fn metadata(kind: Kind, object: &Value, problems: &mut Problems) {
    const MAX_ANNOTATIONS: usize = 256 << 10;
    let name = text(object, "/metadata/name");
    let check = match kind {
        Kind::Service | Kind::Namespace => names::label,
        Kind::ClusterRole | Kind::ClusterRoleBinding | Kind::Role | Kind::RoleBinding => {
            names::path_segment
        }
        _ => names::subdomain,
    };

    let prefix = text(object, "/metadata/generateName");
    if !prefix.is_empty() {
        // A dash at the end is valid, because a suffix follows it.
        problems.all(
            "metadata.generateName",
            prefix,
            check(prefix.strip_suffix('-').unwrap_or(prefix)),
        );
    }

    if name.is_empty() {
        problems.required("metadata.name", "name or generateName is required");
    } else {
        problems.all("metadata.name", name, check(name));
    }

    for (key, value) in pairs(object, "/metadata/labels") {
        problems.all("metadata.labels", key, names::qualified(key));
        problems.all("metadata.labels", value, names::label_value(value));
    }

    // The size limit is for all annotations together.
    let mut size = 0;
    for (key, value) in pairs(object, "/metadata/annotations") {
        problems.all(
            "metadata.annotations",
            key,
            names::qualified(&key.to_lowercase()),
        );
        size += key.len() + value.len();
    }
    if size > MAX_ANNOTATIONS {
        problems.too_long("metadata.annotations", MAX_ANNOTATIONS);
    }

    for (number, finalizer) in list(object, "/metadata/finalizers")
        .iter()
        .filter_map(Value::as_str)
        .enumerate()
    {
        let field = format!("metadata.finalizers[{number}]");
        problems.all(
            "metadata.finalizers",
            finalizer,
            names::qualified(finalizer),
        );
        if !finalizer.contains('/')
            && !["orphan", "foregroundDeletion", "kubernetes"].contains(&finalizer)
        {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            problems.invalid(&field, finalizer, why);
        }
    }
}
