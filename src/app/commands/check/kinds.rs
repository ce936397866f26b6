//! Classifies documents: objects to check, old versions, kinds of other programs that route or
//! certify, other kinds, and data without objects.

use serde_json::Value;

use crate::objects::Kind;

/// The class of a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// An object of a kind that is checked.
    Object(Kind),
    /// An object of such a kind in a removed version.
    Old(Kind),
    /// An object of another kind, with the program that it belongs to if that routes, guards or
    /// certifies.
    Other {
        kind: String,
        part_of: Option<&'static str>,
    },
    /// Values, a kustomization or the like.
    Data,
    /// An incomplete object, with the missing part.
    Wrong(&'static str),
}

/// API groups of programs that route, guard or certify. A group includes its subdomains.
const ROUTING: &[(&str, &str)] = &[
    ("gateway.networking.k8s.io", "Gateway API"),
    ("gateway.networking.x-k8s.io", "Gateway API"),
    ("traefik.io", "Traefik"),
    ("traefik.containo.us", "Traefik"),
    ("cert-manager.io", "cert-manager"),
    ("nginx.org", "NGINX Ingress Controller"),
    ("configuration.konghq.com", "Kong"),
    ("haproxy.org", "HAProxy Ingress Controller"),
    ("projectcontour.io", "Contour"),
    ("getambassador.io", "Emissary"),
    ("networking.istio.io", "Istio"),
    ("security.istio.io", "Istio"),
    ("route.openshift.io", "OpenShift"),
    ("gateway.envoyproxy.io", "Envoy Gateway"),
    ("networking.gke.io", "GKE"),
    ("cloud.google.com", "GKE"),
    ("elbv2.k8s.aws", "AWS Load Balancer Controller"),
];

/// Classifies a document.
pub(super) fn sort(value: &Value) -> Sort {
    let Some(members) = value.as_object() else {
        return Sort::Data;
    };
    let text = |key: &str| members.get(key).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let (is_versioned, has_spec) = (!version.is_empty(), members.contains_key("spec"));

    if kind.is_empty() {
        // Charts and values files can have one of these keys, but not two.
        return match (is_versioned, members.contains_key("metadata"), has_spec) {
            (true, true, _) | (true, _, true) | (_, true, true) => Sort::Wrong("it has no kind"),
            _ => Sort::Data,
        };
    }

    // Kustomize reads these itself: no cluster has them.
    if kind == "Kustomization" || kind == "Component" && version.starts_with("kustomize.") {
        return Sort::Data;
    }
    if !is_versioned {
        return Sort::Wrong("it has no apiVersion");
    }

    match Kind::find(version, kind) {
        Some(found) if members.get("metadata").is_some_and(Value::is_object) => Sort::Object(found),
        Some(_) => Sort::Wrong("it has no metadata"),
        None => match old(version, kind) {
            Some(kind) => Sort::Old(kind),
            None => Sort::Other {
                kind: kind.to_owned(),
                part_of: part_of(version),
            },
        },
    }
}

/// Explains how to change an object of a removed version.
pub(super) fn advice(kind: Kind, version: &str) -> String {
    let change = match kind {
        Kind::Ingress => {
            ", `backend.service.name` and `backend.service.port.number` (or `.name`) in place of \
             `serviceName` and `servicePort`, and a `pathType` for each path"
        }
        Kind::EndpointSlice => ", and `nodeName` and `zone` in place of `topology`",
        _ => "",
    };
    let gone = match kind {
        Kind::EndpointSlice => "1.25",
        _ => "1.22",
    };
    format!(
        "Kubernetes {gone} removed {version}, and it is not read: write {}{change}",
        kind.api_version()
    )
}

/// Returns the kind of an object in a removed version.
fn old(version: &str, kind: &str) -> Option<Kind> {
    let (group, version) = version.split_once('/')?;
    if !version.contains("beta") && !version.contains("alpha") {
        return None;
    }
    match (group, kind) {
        ("extensions" | "networking.k8s.io", "Ingress") => Some(Kind::Ingress),
        ("networking.k8s.io", "IngressClass") => Some(Kind::IngressClass),
        ("discovery.k8s.io", "EndpointSlice") => Some(Kind::EndpointSlice),
        _ => None,
    }
}

fn part_of(version: &str) -> Option<&'static str> {
    let (group, _version) = version.split_once('/')?;
    let is_below = |parent: &str| {
        group
            .strip_suffix(parent)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    ROUTING
        .iter()
        .find(|(parent, _)| is_below(parent))
        .map(|(_, part_of)| *part_of)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_classified() {
        let other = |kind: &str, part_of| Sort::Other {
            kind: kind.to_owned(),
            part_of,
        };
        let meta = json!({"name": "a"});
        for (value, expected) in [
            (
                json!({"apiVersion": "v1", "kind": "Service", "metadata": meta}),
                Sort::Object(Kind::Service),
            ),
            (
                json!({"apiVersion": "extensions/v1beta1", "kind": "Ingress", "metadata": meta}),
                Sort::Old(Kind::Ingress),
            ),
            (
                json!({"apiVersion": "networking.k8s.io/v1beta1", "kind": "Ingress"}),
                Sort::Old(Kind::Ingress),
            ),
            (
                json!({"apiVersion": "networking.k8s.io/v1beta1", "kind": "IngressClass"}),
                Sort::Old(Kind::IngressClass),
            ),
            (
                json!({"apiVersion": "discovery.k8s.io/v1beta1", "kind": "EndpointSlice"}),
                Sort::Old(Kind::EndpointSlice),
            ),
            (
                json!({"apiVersion": "extensions/v1beta1", "kind": "Deployment"}),
                other("Deployment", None),
            ),
            (
                json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service"}),
                other("Service", None),
            ),
            (
                json!({"apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute"}),
                other("IngressRoute", Some("Traefik")),
            ),
            (
                json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}),
                other("HTTPRoute", Some("Gateway API")),
            ),
            (
                json!({"apiVersion": "acme.cert-manager.io/v1", "kind": "Order"}),
                other("Order", Some("cert-manager")),
            ),
            (
                json!({"apiVersion": "notcert-manager.io/v1", "kind": "Order"}),
                other("Order", None),
            ),
            (
                json!({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}),
                Sort::Data,
            ),
            (
                json!({"kind": "Kustomization", "resources": []}),
                Sort::Data,
            ),
            (
                json!({"apiVersion": "v2", "name": "chart", "version": "1.0.0"}),
                Sort::Data,
            ),
            (
                json!({"ingress": {"enabled": true}, "metadata": {}}),
                Sort::Data,
            ),
            (
                json!({"apiVersion": "v1", "metadata": meta}),
                Sort::Wrong("it has no kind"),
            ),
            (
                json!({"metadata": meta, "spec": {}}),
                Sort::Wrong("it has no kind"),
            ),
            (
                json!({"kind": "Service", "metadata": meta}),
                Sort::Wrong("it has no apiVersion"),
            ),
            (
                json!({"apiVersion": "v1", "kind": "Service"}),
                Sort::Wrong("it has no metadata"),
            ),
            (
                json!({"apiVersion": "v1", "kind": "Service", "metadata": "web"}),
                Sort::Wrong("it has no metadata"),
            ),
            (json!(["a"]), Sort::Data),
            (json!("text"), Sort::Data),
            (json!({"kind": 5}), Sort::Data),
        ] {
            assert_eq!(sort(&value), expected, "{value}");
        }
    }

    #[test]
    fn the_advice_for_an_old_version_names_the_changes() {
        let advice = advice(Kind::Ingress, "extensions/v1beta1");
        assert!(advice.starts_with(
            "Kubernetes 1.22 removed extensions/v1beta1, and it is not read: write \
             networking.k8s.io/v1, "
        ));
        assert!(advice.contains("`pathType`"));
    }
}
