//! Parameters of IngressClasses: defaults of annotations for the Ingresses of a class.

use super::*;
use crate::{
    objects::NamedConfigMaps,
    routing::{Access, Policy, RequestStep, Route},
};

fn class(parameters: Value) -> Event {
    apply(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": "gatelet", "uid": "class"},
        "spec": {"controller": "gatelet.dev/ingress-controller", "parameters": parameters},
    }))
}

fn of_map() -> Event {
    class(json!({"kind": "ConfigMap", "name": "options"}))
}

fn options(data: Value) -> Event {
    apply(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {"name": "options", "namespace": "gatelet"}}),
    )
}

/// An index with an Ingress of the class.
fn with(annotations: &[(&str, &str)]) -> Index {
    let mut index = index();
    index.apply(of_map());
    index.apply(apply(service("web")));
    let mut one = annotated(ingress("web", "a.example", "/", "web"), annotations);
    one["spec"]["ingressClassName"] = "gatelet".into();
    index.apply(apply(one));
    index
}

fn route(index: &mut Index) -> Arc<Route> {
    index.compile();
    let found = index.table().find(Some("a.example"), "/", &GET);
    found.expect("a route").route.clone()
}

fn policy(index: &mut Index) -> Policy {
    let policy = route(index).policy.clone();
    policy.as_deref().cloned().unwrap_or_default()
}

fn is_closed(index: &mut Index) -> bool {
    matches!(route(index).action, Action::Refuse(_))
}

fn access(index: &mut Index) -> Option<Arc<Access>> {
    let steps = route(index).steps.clone()?;
    steps.request.iter().find_map(|step| match step {
        RequestStep::Access(access) => Some(access.clone()),
        _ => None,
    })
}

fn found(index: &Index) -> Vec<(String, &'static str)> {
    let findings = index.findings();
    let found = findings.iter().map(|one| {
        let kind = one.about.key.kind.name();
        (format!("{kind} {}", one.field), one.reason.as_str())
    });
    found.collect()
}

#[test]
fn parameters_are_defaults_of_annotations() {
    let mut index = with(&[]);
    index.apply(options(json!({
        "maxconn-server": "500",
        "timeout-connect": "7s",
        "gatelet.dev/proxy-body-size": "1m",
        "proxy-send-timeout": "9",
        "timeout-queue": "3s",
        "allowlist-source-range": "192.0.2.0/24",
    })));
    let found_policy = policy(&mut index);
    let seconds = |time: Option<std::time::Duration>| time.map(|time| time.as_secs());
    assert_eq!(seconds(found_policy.timeouts.connect), Some(7));
    assert_eq!(seconds(found_policy.timeouts.queue), Some(3));
    assert_eq!(seconds(found_policy.timeouts.idle), Some(9));
    assert_eq!(found_policy.max_body_bytes, Some(1 << 20));
    let backend = route(&mut index).backends().next().cloned().expect("one");
    assert_eq!(backend.settings.limits.requests, Some(500));
    assert!(access(&mut index).is_some());
    assert_eq!(found(&index), []);

    // They are followed.
    index.apply(options(json!({"timeout-connect": "8s"})));
    assert_eq!(seconds(policy(&mut index).timeouts.connect), Some(8));
    assert!(access(&mut index).is_none());
    index.apply(class(Value::Null));
    assert_eq!(policy(&mut index), Policy::default());
}

#[test]
fn annotations_of_the_objects_come_first() {
    let mut index = with(&[("haproxy-ingress.github.io/timeout-connect", "2s")]);
    index.apply(options(
        json!({"timeout-connect": "7s", "timeout-server": "8s"}),
    ));
    let timeouts = policy(&mut index).timeouts;
    let seconds = |time: Option<std::time::Duration>| time.map(|time| time.as_secs());
    assert_eq!(seconds(timeouts.connect), Some(2));
    assert_eq!(seconds(timeouts.response_header), Some(8));

    let own = [("haproxy-ingress.github.io/timeout-server", "1s")];
    index.apply(apply(annotated(service("web"), &own)));
    let timeouts = policy(&mut index).timeouts;
    assert_eq!(seconds(timeouts.response_header), Some(1));
    assert_eq!(seconds(timeouts.connect), Some(2));
}

#[test]
fn ingresses_of_other_classes_have_none() {
    let mut index = with(&[]);
    index.objects.settings.classes = vec!["other".into()];
    let mut one = ingress("web", "a.example", "/", "web");
    one["spec"]["ingressClassName"] = "other".into();
    index.apply(apply(one));
    index.apply(options(json!({"timeout-connect": "7s"})));
    assert_eq!(policy(&mut index), Policy::default());
}

#[test]
fn a_missing_config_map_closes_the_class() {
    let mut index = with(&[]);
    assert!(is_closed(&mut index));
    let missing = "ConfigMapNotFound";
    let expected = [
        ("Ingress spec".to_owned(), missing),
        ("IngressClass spec.parameters".to_owned(), missing),
    ];
    assert_eq!(found(&index), expected);
    index.apply(options(json!({})));
    assert!(!is_closed(&mut index));
    index.apply(Event::Delete(Key {
        kind: Kind::ConfigMap,
        namespace: "gatelet".into(),
        name: "options".into(),
    }));
    assert!(is_closed(&mut index));

    // One of another namespace, and of another kind.
    index.apply(class(json!({"kind": "ConfigMap", "name": "options",
        "scope": "Namespace", "namespace": "default"})));
    assert!(is_closed(&mut index));
    index.apply(class(
        json!({"apiGroup": "example.com", "kind": "Options", "name": "x"}),
    ));
    assert!(!is_closed(&mut index));
    assert_eq!(
        found(&index),
        [(
            "IngressClass spec.parameters".to_owned(),
            "UnsupportedSetting"
        )]
    );
}

#[test]
fn what_is_not_shown_yet_is_waited_for() {
    let known = |names: &[&str]| {
        let names = names.iter().map(|name| ("gatelet".into(), (*name).into()));
        Event::ConfigMapsKnown(names.collect::<NamedConfigMaps>())
    };
    let mut index = with(&[]);
    index.apply(known(&[]));
    // It may have guards.
    assert!(is_closed(&mut index) && index.waits());
    assert_eq!(found(&index), []);
    index.apply(options(json!({"timeout-connect": "7s"})));
    index.apply(known(&["options"]));
    assert!(!is_closed(&mut index) && !index.waits());

    // Another one: until it is known, the class stays as it is.
    index.apply(class(json!({"kind": "ConfigMap", "name": "more"})));
    let output = index.compile();
    assert!(
        output
            .config_maps
            .is_some_and(|names| names.contains(&("gatelet".into(), "more".into())))
    );
    let connect = policy(&mut index).timeouts.connect;
    assert_eq!(connect.map(|time| time.as_secs()), Some(7));
    index.apply(known(&["more"]));
    assert!(is_closed(&mut index) && !index.waits());
}

#[test]
fn guards_that_cannot_be_met_close_the_class() {
    for (key, value, reason) in [
        ("waf", "modsecurity", "UnsupportedGuard"),
        ("config-backend", "acl x", "UnsupportedGuard"),
        ("own-auth", "x", "UnsupportedGuard"),
        ("allowlist-source-range", "x", "UnsupportedGuard"),
    ] {
        let mut index = with(&[]);
        index.apply(options(json!({key: value})));
        assert!(is_closed(&mut index), "{key}");
        let field = format!("ConfigMap data[{key}]");
        let expected = [
            ("Ingress spec".to_owned(), reason),
            (field, "InvalidConfigMap"),
        ];
        assert_eq!(found(&index), expected);
        // The annotation of an Ingress takes no guard of the class away.
        index.objects.settings.unsupported_guards = UnsupportedGuards::Ignore;
        index.apply(options(json!({key: value, "x": "y"})));
        let is_ignored = !is_closed(&mut index);
        assert_eq!(is_ignored, key != "allowlist-source-range", "{key}");
    }
    for (key, value, reason) in [
        ("timeout-connect", "x", "InvalidConfigMap"),
        ("syslog-endpoint", "x", "UnsupportedSetting"),
        ("fcgi-app", "x", "UnsupportedSetting"),
    ] {
        let mut index = with(&[]);
        index.apply(options(json!({key: value})));
        assert!(!is_closed(&mut index), "{key}");
        assert_eq!(found(&index), [(format!("ConfigMap data[{key}]"), reason)]);
    }
}
