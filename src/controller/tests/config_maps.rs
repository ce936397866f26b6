//! Fields of messages that are in ConfigMaps: what is followed, and what closes the paths.

use super::*;
use crate::{
    objects::NamedConfigMaps,
    routing::{Action, RequestStep, ResponseStep, Route},
};

const CUSTOM: (&str, &str) = ("nginx.ingress.kubernetes.io/custom-headers", "fields");

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// An index with these annotations on an Ingress for `a.example`.
fn annotated_index(annotations: &[(&str, &str)]) -> Index {
    let mut index = index();
    index.apply(apply(service("web")));
    index.apply(apply(annotated(
        ingress("web", "a.example", "/", "web"),
        annotations,
    )));
    index
}

fn route(index: &Index) -> Arc<Route> {
    let found = index.table().find(Some("a.example"), "/", &GET);
    found.expect("a route").route.clone()
}

fn is_closed(index: &Index) -> bool {
    matches!(route(index).action, Action::Refuse(_))
}

/// Returns the fields that responses get.
fn fields(index: &Index) -> Vec<String> {
    let route = route(index);
    let steps = route.steps.iter().flat_map(|steps| &steps.response);
    let fields = steps.filter_map(|step| match step {
        ResponseStep::SetField(field) => {
            let value = field.value.to_str().expect("text");
            Some(format!("{}: {value}", field.name))
        }
        _ => None,
    });
    fields.collect()
}

/// The ConfigMaps of the settings, and these.
fn named(names: &[&str]) -> NamedConfigMaps {
    let names = ["tcp-services", "udp-services"].iter().chain(names);
    names
        .map(|name| ("default".into(), (*name).into()))
        .collect()
}

#[test]
fn config_maps_are_followed_while_annotations_name_them() {
    let mut index = annotated_index(&[CUSTOM]);
    let output = index.compile();
    assert_eq!(output.config_maps, Some(named(&["fields"])));
    assert_eq!(reasons(&output), [("web".to_owned(), "ConfigMapNotFound")]);
    assert!(is_closed(&index));

    let map = config_map(
        "fields",
        json!({"X-Frame-Options": "DENY", "X-Team": " web "}),
    );
    index.apply(apply(map));
    let output = index.compile();
    assert_eq!(output.config_maps, None);
    assert!(reasons(&output).is_empty());
    assert_eq!(fields(&index), ["x-frame-options: DENY", "x-team: web"]);

    index.apply(apply(config_map("fields", json!({"X-Team": "shop"}))));
    index.compile();
    assert_eq!(fields(&index), ["x-team: shop"]);

    index.apply(delete(Kind::ConfigMap, "fields"));
    index.compile();
    assert!(is_closed(&index));

    index.apply(delete(Kind::Ingress, "web"));
    assert_eq!(index.compile().config_maps, Some(named(&[])));
}

#[test]
fn fields_that_cannot_be_set_close_the_paths() {
    for (data, part) in [
        (
            json!({"Content-Length": "7"}),
            "is not a field that can be set",
        ),
        (
            json!({"Host": "a.example"}),
            "is not a field that can be set",
        ),
        (json!({"X Y": "7"}), "is not a field that can be set"),
        (json!({"X-A": "a\r\nX-B: b"}), "cannot be sent"),
        (json!({"X-A": "$request_id"}), "is not plain text"),
        (json!({"X-A": ""}), "is not plain text"),
    ] {
        let mut index = annotated_index(&[CUSTOM]);
        index.apply(apply(config_map("fields", data.clone())));
        let output = index.compile();
        assert!(is_closed(&index), "{data}");
        let findings = output.findings.expect("findings");
        let messages: Vec<String> = findings.iter().map(|one| one.message.to_string()).collect();
        assert!(messages[0].contains(part), "{data}: {messages:?}");
    }
}

#[test]
fn config_maps_of_other_namespaces_are_not_read() {
    let mut index = annotated_index(&[(CUSTOM.0, "other/fields")]);
    let output = index.compile();
    assert!(is_closed(&index));
    assert_eq!(output.config_maps, Some(named(&[])));

    let mut index = annotated_index(&[(CUSTOM.0, "default/fields")]);
    index.apply(apply(config_map("fields", json!({"X-A": "b"}))));
    index.compile();
    assert_eq!(fields(&index), ["x-a: b"]);
}

#[test]
fn the_server_of_a_login_gets_further_fields() {
    let mut index = annotated_index(&[
        (
            "nginx.ingress.kubernetes.io/auth-url",
            "http://auth.other.svc/",
        ),
        (
            "nginx.ingress.kubernetes.io/auth-proxy-set-headers",
            "default/fields",
        ),
    ]);
    let mut server = service("auth");
    server["metadata"]["namespace"] = "other".into();
    index.apply(apply(server));
    let output = index.compile();
    assert!(is_closed(&index), "without the ConfigMap");
    assert_eq!(output.config_maps, Some(named(&["fields"])));

    index.apply(apply(config_map("fields", json!({"X-From": "$nothing"}))));
    index.compile();
    assert!(is_closed(&index), "with an unknown variable");

    let data = json!({"X_From": "$remote_addr", "X-Gone": ""});
    index.apply(apply(config_map("fields", data)));
    let output = index.compile();
    assert!(reasons(&output).is_empty());
    let route = route(&index);
    let steps = &route.steps.as_ref().expect("steps").request;
    let adds = steps.iter().find_map(|step| match step {
        RequestStep::ExternalAuth(auth) => auth.adds.clone(),
        _ => None,
    });
    let adds = adds.expect("further fields");
    assert!(adds.names.has(b"x-from") && adds.names.has(b"x-gone"));
}
