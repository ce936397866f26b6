//! The ConfigMap of ingress-nginx: defaults of annotations, what applies beside them, and what
//! closes every path.

use super::*;
use crate::routing::{Action, Entry, RequestStep, ResponseStep, Route};

/// An index with this ConfigMap, and an Ingress with these annotations.
fn index_with(data: Value, annotations: &[(&str, &str)]) -> Index {
    let mut index = named_index();
    index.apply(apply(service("web")));
    index.apply(apply(map("nginx", data)));
    index.apply(apply(annotated(
        ingress("web", "a.example", "/", "web"),
        annotations,
    )));
    index
}

/// An index whose settings name a ConfigMap.
fn named_index() -> Index {
    let mut index = index();
    index.objects.settings.nginx_configmap = Some(("default".into(), "nginx".into()));
    index
}

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn route(index: &Index) -> Arc<Route> {
    let found = index.table().find(Some("a.example"), "/", &GET);
    found.expect("a route").route.clone()
}

fn is_closed(index: &Index) -> bool {
    matches!(route(index).action, Action::Refuse(_))
}

fn requests(route: &Route) -> Vec<RequestStep> {
    let steps = route.steps.iter().flat_map(|steps| &steps.request);
    steps.cloned().collect()
}

/// Reports whether the lists of addresses of the route let an address in.
fn lets_in(index: &Index, address: &str) -> bool {
    let address = address.parse().expect("an address");
    requests(&route(index)).iter().all(|step| match step {
        RequestStep::Access(access) => matches!(access.entry(Some(address)), Entry::Open),
        _ => true,
    })
}

#[test]
fn keys_are_the_defaults_of_annotations() {
    let data = json!({
        "proxy-body-size": "8m", "proxy-read-timeout": "90", "ssl-redirect": "false",
        "whitelist-source-range": "10.0.0.0/8",
    });
    let mut index = index_with(data.clone(), &[]);
    let output = index.compile();
    assert!(reasons(&output).is_empty(), "{:?}", reasons(&output));
    let route_by_default = route(&index);
    let policy = route_by_default.policy.as_deref().expect("a policy");
    assert_eq!(policy.max_body_bytes, Some(8 << 20));
    assert!(lets_in(&index, "10.1.2.3") && !lets_in(&index, "192.0.2.1"));

    // Those of the Ingress take their place, whatever their prefix.
    let own = [
        ("gatelet.dev/proxy-body-size", "1m"),
        ("allowlist-source-range", "192.0.2.0/24"),
    ];
    let mut index = index_with(data, &own);
    index.compile();
    let own_route = route(&index);
    let policy = own_route.policy.as_deref().expect("a policy");
    assert_eq!(policy.max_body_bytes, Some(1 << 20));
    assert!(!lets_in(&index, "10.1.2.3") && lets_in(&index, "192.0.2.1"));
}

#[test]
fn some_keys_apply_beside_annotations() {
    let data = json!({
        "block-cidrs": "10.1.0.0/16,192.0.2.7",
        "block-user-agents": "~*bot, curl/8.0",
        "block-referers": "~^https?://bad[.]example",
        "hide-headers": "X-Powered-By,Server",
        "location-snippet": "proxy_set_header X-Zone $http_x_zone;",
    });
    let own = [
        ("denylist-source-range", "10.2.0.0/16"),
        ("configuration-snippet", "if ($http_x) { return 404; }"),
    ];
    let mut index = index_with(data, &own);
    index.compile();
    for denied in ["10.1.2.3", "10.2.3.4", "192.0.2.7"] {
        assert!(!lets_in(&index, denied), "{denied}");
    }
    assert!(lets_in(&index, "10.3.0.1"));

    let route = route(&index);
    let conditions = requests(&route).into_iter().filter_map(|step| match step {
        RequestStep::Conditional(one) => one.condition.clone(),
        _ => None,
    });
    let conditions: Vec<_> = conditions.collect();
    assert_eq!(conditions.len(), 4, "{conditions:?}");
    let meets = |variable: &str, text: &str| {
        let mut of = conditions
            .iter()
            .filter(|one| one.text.as_str() == variable);
        of.any(|one| one.holds(text.as_bytes()))
    };
    assert!(meets("$http_user_agent", "GoogleBot") && meets("$http_user_agent", "CURL/8.0"));
    assert!(!meets("$http_user_agent", "curl/8x0") && !meets("$http_user_agent", "curl/8.01"));
    assert!(meets("$http_referer", "http://bad.example/x") && !meets("$http_referer", ""));
    assert!(meets("$http_x", "1"));

    let steps = route.steps.as_deref().expect("steps");
    let hidden = steps.response.iter();
    let hidden = hidden.filter(|step| matches!(step, ResponseStep::RemoveField(_)));
    assert_eq!(hidden.count(), 2);
    let texts = steps.request.iter();
    let texts = texts.filter(|step| matches!(step, RequestStep::SetText(_)));
    assert_eq!(texts.count(), 1);
}

#[test]
fn a_global_login_applies_unless_an_ingress_decides() {
    let data = json!({
        "global-auth-url": "http://auth.default.svc/verify",
        "global-auth-response-headers": "X-User",
    });
    let urls = |annotations: &[(&str, &str)]| {
        let mut index = index_with(data.clone(), annotations);
        index.apply(apply(service("auth")));
        let output = index.compile();
        assert!(!is_closed(&index), "{:?}", output.findings);
        let logins = requests(&route(&index))
            .into_iter()
            .filter_map(|step| match step {
                RequestStep::ExternalAuth(auth) => {
                    Some((auth.url.to_string(), auth.copies.iter().count()))
                }
                _ => None,
            });
        logins.collect::<Vec<_>>()
    };

    let global = ("http://auth.default.svc/verify".to_owned(), 1);
    assert_eq!(urls(&[]), std::slice::from_ref(&global));
    assert_eq!(urls(&[("enable-global-auth", "true")]), [global]);
    assert!(urls(&[("enable-global-auth", "false")]).is_empty());
    let own = "http://auth.default.svc/other";
    assert_eq!(urls(&[("auth-url", own)]), [(own.to_owned(), 0)]);
}

#[test]
fn fields_of_other_config_maps_are_set() {
    let data = json!({"add-headers": "default/out", "proxy-set-headers": "default/in"});
    let mut index = index_with(data, &[]);
    let output = index.compile();
    assert!(is_closed(&index), "they do not exist");
    let named = format!("{:?}", output.config_maps);
    for name in ["nginx", "in", "out"] {
        assert!(named.contains(&format!("{name:?}")), "{named}");
    }

    index.apply(apply(map("out", json!({"X-Out": "a \"b\" \\ c"}))));
    index.apply(apply(map("in", json!({"X-In": "$scheme"}))));
    let output = index.compile();
    assert!(!is_closed(&index), "{:?}", output.findings);
    let route = route(&index);
    let steps = route.steps.as_deref().expect("steps");
    let out = steps.response.iter().find_map(|step| match step {
        ResponseStep::SetField(field) => Some(field.value.to_str().expect("text").to_owned()),
        _ => None,
    });
    assert_eq!(out.as_deref(), Some("a \"b\" \\ c"));
    let is_set = |step: &RequestStep| matches!(step, RequestStep::SetText(_));
    assert!(steps.request.iter().any(is_set));
}

#[test]
fn what_cannot_be_enforced_closes_every_path() {
    for (key, value) in [
        ("enable-modsecurity", "true"),
        ("server-snippet", "location /x { deny all; }"),
        ("http-snippet", "auth_basic x;"),
        ("location-snippet", "auth_request /x;"),
        ("global-auth-snippet", "proxy_set_header X y;"),
        ("whitelist-source-range", "10.0.0.0/99"),
        ("block-cidrs", "x"),
        ("block-user-agents", "~*("),
        ("global-auth-url", "nowhere"),
        ("some-new-auth-list", "x"),
        ("add-headers", "x"),
    ] {
        let mut index = index_with(json!({key: value}), &[]);
        let output = index.compile();
        assert!(is_closed(&index), "{key}");
        let findings = output.findings.expect("findings");
        let about = findings.iter().map(|one| (one.about.key.kind, &*one.field));
        let about: Vec<_> = about.collect();
        let field = format!("data[{key}]");
        assert!(
            about.contains(&(Kind::ConfigMap, &field)),
            "{key}: {about:?}"
        );
        assert!(about.contains(&(Kind::Ingress, "spec")), "{key}: {about:?}");

        // It is repaired.
        index.apply(apply(map("nginx", json!({}))));
        index.compile();
        assert!(!is_closed(&index), "{key}");
    }

    for (key, value) in [
        ("enable-modsecurity", "false"),
        ("server-snippet", "gzip on;"),
        ("proxy-body-size", "x"),
        ("use-http2", "true"),
        ("hsts", "false"),
        ("whitelist-source-range", ""),
    ] {
        let mut index = index_with(json!({key: value}), &[]);
        index.compile();
        assert!(!is_closed(&index), "{key}");
    }
}

#[test]
fn without_its_config_map_every_path_is_closed() {
    let mut index = named_index();
    index.apply(apply(service("web")));
    index.apply(apply(ingress("web", "a.example", "/", "web")));
    let output = index.compile();
    assert!(is_closed(&index));
    assert_eq!(reasons(&output), [("web".to_owned(), "ConfigMapNotFound")]);

    index.apply(apply(map("nginx", json!({}))));
    index.compile();
    assert!(!is_closed(&index));
    index.apply(delete(Kind::ConfigMap, "nginx"));
    index.compile();
    assert!(is_closed(&index));
}
