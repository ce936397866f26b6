mod access;
mod annotations;
mod backend_tls;
mod canary;
mod certificates;
mod checks;
mod class_parameters;
mod classes;
mod client_certificates;
mod config_maps;
mod edits;
mod endpoints;
mod expressions;
mod external_auth;
mod fields;
mod findings;
mod further_hosts;
mod global_settings;
mod groups;
mod guards;
mod haproxy;
mod hosts_closed;
mod https;
mod limits;
mod middlewares;
mod mirror;
mod passthrough;
mod paths;
mod ports;
mod ranks;
mod server_terms;
mod servers_transport;
mod service_middlewares;
mod service_notes;
mod snippets;
mod sticky;
mod tcp;
mod traffic;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::{
    objects::{Event, Key, Kind, RawObject, StatusPatch},
    pki::{KeyType, RenewBefore},
    routing::{Action, EndpointId, EndpointSet, Found, HostPattern, PlainGet, Protocol, Refusal},
};

/// Adds annotations to an object, by default those of ingress-nginx.
fn annotated(mut object: Value, annotations: &[(&str, &str)]) -> Value {
    for (name, value) in annotations {
        let name = match name.contains('/') {
            true => (*name).to_owned(),
            false => format!("nginx.ingress.kubernetes.io/{name}"),
        };
        object["metadata"]["annotations"][name] = (*value).into();
    }
    object
}

fn settings() -> Settings {
    Settings {
        controller: "gatelet.dev/ingress-controller".into(),
        namespace: "gatelet".into(),
        classes: Vec::new(),
        classless: false,
        standalone: false,
        default_backend: None,
        ssl_redirect: true,
        hsts: None,
        node: "pi1".into(),
        addresses: vec!["192.0.2.1".parse().expect("an address")],
        issuers: ["lab", "letsencrypt"].map(Into::into).into(),
        aliases: Default::default(),
        default_issuer: None,
        own_ports: [(443, "the HTTPS listener")].into(),
        tcp_services: Some(("default".into(), "tcp-services".into())),
        udp_services: Some(("default".into(), "udp-services".into())),
        nginx_configmap: None,
        open_ports: vec![crate::util::port_range::PortRange::ALL],
        unsupported_guards: UnsupportedGuards::default(),
    }
}

fn index() -> Index {
    let inspect =
        |chain: &[u8], _key: &[u8], pattern: &HostPattern| match std::str::from_utf8(chain) {
            Ok("broken") => Err(InspectError::Invalid("not a certificate".to_owned())),
            Ok(name) if pattern.to_string() == name => Ok(()),
            other => Err(InspectError::Mismatch(format!(
                "{other:?} is not for {pattern}"
            ))),
        };
    let mut index = Index::new(settings(), Box::new(inspect));
    index.apply(apply(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": "gatelet", "annotations": {
            "ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "gatelet.dev/ingress-controller"},
    })));
    index
}

fn object(mut value: Value) -> Arc<RawObject> {
    let kind = Kind::find(
        value["apiVersion"].as_str().expect("a version"),
        value["kind"].as_str().expect("a kind"),
    );
    let kind = kind.expect("a known kind");
    if kind.namespaced() && value["metadata"]["namespace"].is_null() {
        value["metadata"]["namespace"] = "default".into();
    }
    Arc::new(RawObject::parse(kind, Bytes::from(value.to_string())).expect("an object"))
}

fn apply(value: Value) -> Event {
    Event::Apply(object(value))
}

fn delete(kind: Kind, name: &str) -> Event {
    Event::Delete(Key {
        kind,
        namespace: "default".into(),
        name: name.into(),
    })
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": [{"name": "web", "port": 80}]}})
}

fn slice(name: &str, service: &str, endpoints: Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "endpoints": endpoints, "ports": [{"name": "web", "port": 8080}],
    })
}

fn ingress(name: &str, host: &str, path: &str, service: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": name, "uid": format!("uid-{name}"),
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"rules": [{"host": host, "http": {"paths": [
            {"path": path, "pathType": "Prefix", "backend": {"service": {"name": service,
                "port": {"number": 80}}}}
        ]}}]},
    })
}

/// Asks the table about a URL alone.
const GET: PlainGet<'_> = PlainGet { query: None };

/// Applies an output as its driver does.
fn live(output: &Output) {
    for update in &output.endpoints {
        update.backend.set_endpoints(update.endpoints.clone());
    }
}

/// Returns the endpoints that a request would reach, or the refusal.
fn met(index: &Index, host: &str, path: &str) -> String {
    match index.table().find(Some(host), path, &GET) {
        None => "404".to_owned(),
        Some(Found {
            client_certificates: Some(terms),
            ..
        }) if terms.authorities.is_err() => format!("{:?}", terms.authorities.as_ref().err()),
        Some(found) => match &found.route.action {
            Action::Refuse(refusal) => format!("{refusal:?}"),
            Action::Forward(split) => {
                let backend = split.backends().next().expect("a backend");
                match &**backend.endpoints() {
                    EndpointSet::Empty => "empty".to_owned(),
                    EndpointSet::Name { host, port } => format!("{host}:{port}"),
                    EndpointSet::Addresses(list) => list
                        .iter()
                        .map(|endpoint| endpoint.addr.to_string())
                        .collect::<Vec<_>>()
                        .join(" "),
                }
            }
            other => format!("{other:?}"),
        },
    }
}

fn reasons(output: &Output) -> Vec<(String, &'static str)> {
    let findings = output.findings.as_ref().expect("findings");
    let mut reasons: Vec<_> = findings
        .iter()
        .map(|finding| (finding.about.key.name.to_string(), finding.reason.as_str()))
        .collect();
    reasons.sort();
    reasons
}

#[test]
fn an_ingress_a_service_and_a_slice_become_a_route() {
    let mut index = index();
    index.apply(apply(service("web")));
    index.apply(apply(slice(
        "web-1",
        "web",
        json!([{"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.1"]}]),
    )));
    index.apply(apply(ingress("web", "a.example", "/", "web")));
    let output = index.compile();
    live(&output);
    assert_eq!(
        met(&index, "a.example", "/x"),
        "10.0.0.1:8080 10.0.0.2:8080"
    );
    assert_eq!(met(&index, "b.example", "/x"), "404");
    assert!(matches!(
        &output.statuses[..],
        [StatusPatch::IngressAddresses { addresses, .. }] if addresses.len() == 1
    ));
    assert!(reasons(&output).is_empty());
}

#[test]
fn endpoint_churn_makes_no_new_table() {
    let mut index = index();
    index.apply(apply(service("web")));
    index.apply(apply(ingress("web", "a.example", "/", "web")));
    live(&index.compile());
    assert_eq!(met(&index, "a.example", "/"), "empty");

    index.apply(apply(slice(
        "web-1",
        "web",
        json!([{"addresses": ["10.0.0.1"]}]),
    )));
    let output = index.compile();
    assert!(output.table.is_none() && output.certificates.is_none() && output.findings.is_none());

    live(&output);
    assert_eq!(met(&index, "a.example", "/"), "10.0.0.1:8080");

    index.apply(delete(Kind::EndpointSlice, "web-1"));
    live(&index.compile());
    assert_eq!(met(&index, "a.example", "/"), "empty");
}

#[test]
fn terminating_endpoints_serve_only_without_ready_ones() {
    let mut index = index();
    index.apply(apply(service("web")));
    index.apply(apply(ingress("web", "a.example", "/", "web")));
    let terminating = json!({"addresses": ["10.0.0.9"], "conditions": {"ready": false,
        "serving": true, "terminating": true}});
    let gone = json!({"addresses": ["10.0.0.8"], "conditions": {"ready": false}});
    index.apply(apply(slice("s1", "web", json!([terminating, gone]))));
    index.apply(apply(slice(
        "s2",
        "web",
        json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}]),
    )));
    live(&index.compile());
    assert_eq!(met(&index, "a.example", "/"), "10.0.0.1:8080");

    index.apply(delete(Kind::EndpointSlice, "s2"));
    live(&index.compile());
    assert_eq!(met(&index, "a.example", "/"), "10.0.0.9:8080");

    index.apply(apply(slice("s1", "web", json!([gone]))));
    live(&index.compile());
    assert_eq!(met(&index, "a.example", "/"), "empty");
}

#[test]
fn endpoints_that_are_published_unready_are_used() {
    let mut index = index();
    index.apply(apply(service("web")));
    index.apply(apply(ingress("web", "a.example", "/", "web")));
    // A Pod that terminates, of a Service with `publishNotReadyAddresses`.
    let published = json!({"addresses": ["10.0.0.9"], "conditions": {"ready": true,
        "serving": false, "terminating": true}, "zone": "east",
        "targetRef": {"kind": "Pod", "uid": "uid-9"}});
    let ready = json!({"addresses": ["10.0.0.1"]});
    index.apply(apply(slice("s1", "web", json!([published, ready]))));
    live(&index.compile());
    assert_eq!(met(&index, "a.example", "/"), "10.0.0.1:8080 10.0.0.9:8080");

    let route = index
        .table()
        .find(Some("a.example"), "/", &GET)
        .expect("a route")
        .route;
    let backend = route.action.backends().next().expect("a backend");
    let EndpointSet::Addresses(list) = &**backend.endpoints() else {
        panic!("addresses")
    };
    let [one, nine] = &**list else {
        panic!("{list:?}")
    };
    assert_eq!((one.draining, one.zone.as_deref()), (false, None));
    assert_eq!((nine.draining, nine.zone.as_deref()), (true, Some("east")));
    assert_eq!(nine.id, EndpointId::of("uid-9"));
    assert_eq!(one.id, EndpointId::of("10.0.0.1:8080"));
}

#[test]
fn only_tcp_ports_have_backends() {
    let mut index = index();
    let mut both = service("web");
    both["spec"]["ports"] = json!([
        {"name": "h3", "port": 80, "protocol": "UDP"},
        {"name": "web", "port": 80, "protocol": "TCP"},
        {"name": "dns", "port": 53, "protocol": "UDP"},
    ]);
    index.apply(apply(both));
    let mut mixed = slice("s", "web", json!([{"addresses": ["10.0.0.1"]}]));
    mixed["ports"] = json!([
        {"name": "h3", "port": 9999, "protocol": "UDP"},
        {"name": "web", "port": 9998, "protocol": "UDP"},
        {"name": "web", "port": 8080},
    ]);
    index.apply(apply(mixed));
    index.apply(apply(ingress("web", "a.example", "/", "web")));
    let mut dns = ingress("dns", "dns.example", "/", "web");
    dns["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"] =
        json!({"name": "dns"});
    index.apply(apply(dns));
    let output = index.compile();
    live(&output);
    assert_eq!(met(&index, "a.example", "/"), "10.0.0.1:8080");
    assert_eq!(
        met(&index, "dns.example", "/"),
        format!("{:?}", Refusal::UnknownPort)
    );
    assert_eq!(reasons(&output), [("dns".to_owned(), "UnknownPort")]);
}

#[test]
fn each_app_protocol_has_its_way_to_speak() {
    for (name, expected) in [
        ("", Protocol::Http1),
        ("http", Protocol::Http1),
        ("kubernetes.io/ws", Protocol::Http1),
        ("kubernetes.io/wss", Protocol::Https),
        ("https", Protocol::Https),
        ("kubernetes.io/h2c", Protocol::H2c),
        ("grpc", Protocol::H2c),
        ("grpcs", Protocol::H2),
        ("example.com/own", Protocol::Http1),
    ] {
        let mut index = index();
        let mut spoken = service("web");
        spoken["spec"]["ports"][0]["appProtocol"] = name.into();
        index.apply(apply(spoken));
        index.apply(apply(ingress("web", "a.example", "/", "web")));
        index.compile();
        let route = index
            .table()
            .find(Some("a.example"), "/", &GET)
            .expect("a route")
            .route;
        let backend = route.action.backends().next().expect("a backend");
        assert_eq!(backend.protocol(), expected, "{name}");
    }
}

#[test]
fn all_slices_of_a_service_count_by_the_name_of_its_port() {
    let mut index = index();
    let mut two = service("web");
    two["spec"]["ports"] = json!([
        {"name": "web", "port": 80, "targetPort": "http"},
        {"name": "metrics", "port": 81, "targetPort": 9100},
    ]);
    index.apply(apply(two));
    let mut by_name = ingress("web", "a.example", "/", "web");
    by_name["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"] =
        json!({"name": "metrics"});
    index.apply(apply(by_name));
    index.apply(apply(ingress("number", "b.example", "/", "web")));
    let on = |name: &str, family: &str, address: &str, web: u16, metrics: u16| {
        let mut one = slice(name, "web", json!([{"addresses": [address]}]));
        one["addressType"] = family.into();
        one["ports"] = json!([{"name": "metrics", "port": metrics}, {"name": "web", "port": web}]);
        apply(one)
    };

    // Pods of one Service may give a named port different numbers: each number is a slice of its
    // own.
    index.apply(on("s1", "IPv4", "10.0.0.1", 8080, 9100));
    index.apply(on("s2", "IPv4", "10.0.0.2", 8081, 9100));
    index.apply(on("s3", "IPv6", "fd00::3", 8080, 9100));
    live(&index.compile());
    assert_eq!(
        met(&index, "b.example", "/"),
        "10.0.0.1:8080 10.0.0.2:8081 [fd00::3]:8080"
    );
    assert_eq!(
        met(&index, "a.example", "/"),
        "10.0.0.1:9100 10.0.0.2:9100 [fd00::3]:9100"
    );
}

#[test]
fn loopback_is_dialled_only_for_endpoints_of_this_node() {
    let mut index = index();
    index.apply(apply(service("web")));
    index.apply(apply(ingress("web", "a.example", "/", "web")));
    let mut local = slice(
        "s1",
        "web",
        json!([
            {"addresses": ["192.0.2.1"], "nodeName": "pi1"},
            {"addresses": ["192.0.2.2"], "nodeName": "pi2"},
        ]),
    );
    local["metadata"]["annotations"] = json!({"gatelet.dev/connect": "loopback"});
    index.apply(apply(local));
    live(&index.compile());
    assert_eq!(
        met(&index, "a.example", "/"),
        "127.0.0.1:8080 192.0.2.2:8080"
    );
}

#[test]
fn unknown_services_and_ports_refuse_only_their_path() {
    let mut index = index();
    index.apply(apply(service("web")));
    index.apply(apply(slice(
        "s",
        "web",
        json!([{"addresses": ["10.0.0.1"]}]),
    )));
    let mut three = ingress("web", "a.example", "/", "web");
    let path = |path: &str, service: &str, port: Value| {
        json!({"path": path, "pathType": "Prefix",
        "backend": {"service": {"name": service, "port": port}}})
    };
    three["spec"]["rules"][0]["http"]["paths"] = json!([
        path("/ok", "web", json!({"name": "web"})),
        path("/none", "missing", json!({"number": 80})),
        path("/port", "web", json!({"number": 81})),
        {"path": "/res", "pathType": "Prefix", "backend": {"resource": {"kind": "Bucket",
            "name": "b"}}},
        {"path": "/bad/../..", "pathType": "Prefix", "backend": {}},
    ]);
    index.apply(apply(three));
    let output = index.compile();
    live(&output);
    assert_eq!(met(&index, "a.example", "/ok"), "10.0.0.1:8080");
    assert_eq!(
        met(&index, "a.example", "/none"),
        format!("{:?}", Refusal::UnknownService)
    );
    assert_eq!(
        met(&index, "a.example", "/port"),
        format!("{:?}", Refusal::UnknownPort)
    );
    assert_eq!(
        met(&index, "a.example", "/res"),
        format!("{:?}", Refusal::UnsupportedBackend)
    );

    let found: Vec<_> = reasons(&output)
        .into_iter()
        .map(|(_, reason)| reason)
        .collect();
    assert_eq!(
        found,
        [
            "InvalidPath",
            "UnknownPort",
            "UnknownService",
            "UnsupportedBackend"
        ]
    );
    index.apply(apply(service("missing")));
    let output = index.compile();
    live(&output);
    assert_eq!(met(&index, "a.example", "/none"), "empty");
    assert_eq!(reasons(&output).len(), 3);
}

#[test]
fn the_older_ingress_keeps_a_path_and_the_younger_has_a_finding() {
    let mut index = index();
    for name in ["one", "two"] {
        index.apply(apply(service(name)));
        index.apply(apply(slice(
            name,
            name,
            json!([{"addresses": [if name == "one" { "10.0.0.1" } else { "10.0.0.2" }]}]),
        )));
    }

    let mut young = ingress("a-young", "a.example", "/", "one");
    young["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z".into();
    index.apply(apply(young));
    index.apply(apply(ingress("old", "a.example", "/", "two")));
    let output = index.compile();
    live(&output);
    assert_eq!(met(&index, "a.example", "/"), "10.0.0.2:8080");
    assert_eq!(reasons(&output), [("a-young".to_owned(), "PathTaken")]);

    index.apply(delete(Kind::Ingress, "old"));
    let output = index.compile();
    live(&output);
    assert_eq!(met(&index, "a.example", "/"), "10.0.0.1:8080");
    assert!(reasons(&output).is_empty());
}

#[test]
fn classes_decide_which_ingresses_are_ours() {
    let mut index = index();
    index.apply(apply(service("web")));
    index.apply(apply(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "other"},
            "spec": {"controller": "x/y"},
    })));
    let mut named = |host: &str, class: Option<&str>, old: Option<&str>| {
        let mut one = ingress(host, host, "/", "web");
        if let Some(class) = class {
            one["spec"]["ingressClassName"] = class.into();
        }
        if let Some(old) = old {
            one["metadata"]["annotations"] = json!({"kubernetes.io/ingress.class": old});
        }
        index.apply(apply(one));
    };
    named("ours.example", Some("gatelet"), None);
    named("theirs.example", Some("other"), None);
    named("unknown.example", Some("nobody"), None);
    named("old-ours.example", None, Some("gatelet"));
    named("old-theirs.example", None, Some("other"));
    named("classless.example", None, None);
    live(&index.compile());
    let served = |index: &Index| {
        [
            "ours",
            "theirs",
            "unknown",
            "old-ours",
            "old-theirs",
            "classless",
        ]
        .map(|name| u8::from(met(index, &format!("{name}.example"), "/") != "404"))
    };
    assert_eq!(served(&index), [1, 0, 0, 1, 0, 1]);

    index.apply(Event::Delete(Key {
        kind: Kind::IngressClass,
        namespace: "".into(),
        name: "gatelet".into(),
    }));
    index.compile();
    assert_eq!(served(&index), [0, 0, 0, 1, 0, 0]);

    // A class that is ours without being the default.
    let class = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
            "metadata": {"name": "gatelet"},
        "spec": {"controller": "gatelet.dev/ingress-controller"},
    });
    index.apply(apply(class.clone()));
    index.compile();
    assert_eq!(served(&index), [1, 0, 0, 1, 0, 0]);

    index.apply(Event::Delete(Key {
        kind: Kind::IngressClass,
        namespace: "".into(),
        name: "gatelet".into(),
    }));
    index.objects.settings.classless = true;
    index.apply(apply(class));
    index.compile();
    assert_eq!(served(&index), [1, 0, 0, 1, 0, 1]);
}

fn secret(name: &str, chain: &str) -> Value {
    use base64::{Engine, engine::general_purpose::STANDARD};
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": name, "resourceVersion": "7"},
        "data": {"tls.crt": STANDARD.encode(chain), "tls.key": STANDARD.encode("key")},
    })
}

fn source(output: &Output, host: &str) -> &'static str {
    let hosts = output.certificates.as_ref().expect("certificates");
    match hosts
        .iter()
        .find(|one| one.pattern.to_string() == host)
        .map(|one| &one.source)
    {
        None => "none",
        Some(CertificateSource::Local) => "local",
        Some(CertificateSource::Secret { .. }) => "secret",
    }
}

#[test]
fn tls_hosts_use_their_secret_or_the_local_ca_with_a_finding() {
    let mut index = index();
    index.apply(apply(service("web")));
    let mut one = ingress("web", "a.example", "/", "web");
    one["spec"]["tls"] = json!([{"hosts": ["a.example"], "secretName": "cert"}]);
    index.apply(apply(one));
    let output = index.compile();
    assert_eq!(
        (source(&output, "a.example"), reasons(&output)),
        ("local", vec![("web".to_owned(), "SecretNotFound")])
    );

    for (chain, served, expected) in [
        ("a.example", "secret", vec![]),
        ("broken", "local", vec![("web".to_owned(), "InvalidSecret")]),
        (
            "b.example",
            "secret",
            vec![("web".to_owned(), "CertificateMismatch")],
        ),
    ] {
        index.apply(apply(secret("cert", chain)));
        let output = index.compile();
        assert_eq!(
            (source(&output, "a.example"), reasons(&output)),
            (served, expected),
            "{chain}"
        );
    }
    assert!(!format!("{:?}", index.compile()).contains("a2V5"));
}

#[test]
fn tls_without_hosts_is_the_certificate_for_unknown_hosts() {
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    for spec in [
        json!({"defaultBackend": backend, "tls": [{"secretName": "cert"}]}),
        json!({"tls": [{"secretName": "cert"}], "rules": [{"http": {"paths": [{"path": "/",
            "pathType": "Prefix", "backend": backend}]}}]}),
    ] {
        let mut index = index();
        index.apply(apply(service("web")));
        index.apply(apply(ingress("named", "a.example", "/", "web")));
        let mut all = ingress("all", "", "/", "web");
        all["spec"] = spec.clone();
        index.apply(apply(all));
        let output = index.compile();
        assert_eq!(
            (source(&output, "*"), source(&output, "a.example")),
            ("none", "local"),
            "{spec}"
        );
        index.apply(apply(secret("cert", "*")));
        let output = index.compile();
        assert_eq!(
            (source(&output, "*"), source(&output, "a.example")),
            ("secret", "local"),
            "{spec}"
        );
        let redirects = |host: &str| {
            let found = index.table().find(Some(host), "/", &GET).expect("a route");
            found.route.redirect(found.tls).is_some()
        };
        assert!(redirects("b.example") && !redirects("a.example"), "{spec}");
    }
}

#[test]
fn a_wildcard_under_tls_serves_the_hosts_of_the_rules_below_it() {
    let mut index = index();
    index.apply(apply(service("web")));
    let mut wild = ingress("wild", "app.example", "/", "web");
    wild["spec"]["tls"] = json!([{"hosts": ["*.example"], "secretName": "cert"}]);
    index.apply(apply(wild));
    index.apply(apply(ingress("bare", "bare.example", "/", "web")));
    let mut own = ingress("own", "own.example", "/", "web");
    own["spec"]["tls"] = json!([{"hosts": ["own.example"]}]);
    index.apply(apply(own));
    index.apply(apply(ingress("deeper", "a.b.example", "/", "web")));
    index.apply(apply(secret("cert", "*.example")));
    let output = index.compile();

    // "none" of its own: the wildcard's is found.
    for (host, expected) in [
        ("*.example", "secret"),
        ("app.example", "none"),
        ("bare.example", "none"),
        ("own.example", "local"),
        ("a.b.example", "local"),
    ] {
        assert_eq!(source(&output, host), expected, "{host}");
    }

    index.apply(delete(Kind::Secret, "cert"));
    let output = index.compile();
    assert_eq!(
        (source(&output, "*.example"), source(&output, "app.example")),
        ("local", "local")
    );
}

#[test]
fn an_undecodable_object_takes_down_its_own_rules_only() {
    let mut index = index();
    index.apply(apply(service("web")));
    index.apply(apply(ingress("good", "good.example", "/", "web")));
    index.apply(apply(ingress("bad", "bad.example", "/", "web")));
    index.compile();
    assert_eq!(met(&index, "bad.example", "/"), "empty");

    let mut broken = ingress("bad", "bad.example", "/", "web");
    broken["spec"]["rules"] = "none".into();
    index.apply(apply(broken));
    let output = index.compile();
    assert_eq!(met(&index, "bad.example", "/"), "404");
    assert_eq!(met(&index, "good.example", "/"), "empty");
    assert_eq!(reasons(&output), [("bad".to_owned(), "Undecodable")]);

    let finding = &output.findings.as_ref().expect("findings")[0];
    assert_eq!(
        (&*finding.field, &*finding.message.to_string()),
        ("spec.rules", "expected a list, found a string")
    );

    index.apply(apply(ingress("bad", "bad.example", "/", "web")));
    assert!(reasons(&index.compile()).is_empty());
}

#[test]
fn default_backends_take_requests_without_a_rule() {
    let mut index = index();
    for name in ["own", "all"] {
        index.apply(apply(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": "ExternalName", "externalName": format!("{name}.example.net.")},
        })));
    }

    let backend = |name: &str| json!({"service": {"name": name, "port": {"number": 8080}}});
    let mut own = ingress("own", "a.example", "/x", "own");
    own["spec"]["defaultBackend"] = backend("own");
    index.apply(apply(own));
    let mut all = ingress("all", "", "/", "all");
    all["spec"] = json!({"defaultBackend": backend("all")});
    index.apply(apply(all));
    live(&index.compile());
    assert_eq!(met(&index, "a.example", "/other"), "own.example.net:8080");
    assert_eq!(met(&index, "other.example", "/"), "all.example.net:8080");

    index.apply(delete(Kind::Ingress, "all"));
    index.compile();
    assert_eq!(met(&index, "other.example", "/"), "404");

    // The controller's own, by the name of a port, comes and goes with its Service.
    index.objects.settings.default_backend = Some("default/late:web".into());
    index.apply(apply(service("late")));
    index.apply(apply(slice(
        "late",
        "late",
        json!([{"addresses": ["10.0.0.1"]}]),
    )));
    live(&index.compile());
    assert_eq!(met(&index, "other.example", "/"), "10.0.0.1:8080");
    assert_eq!(met(&index, "a.example", "/other"), "own.example.net:8080");

    index.apply(delete(Kind::Service, "late"));
    index.compile();
    assert_eq!(
        met(&index, "other.example", "/"),
        format!("{:?}", Refusal::UnknownService)
    );
}

/// A seeded walk: whatever order changes come in, compiling step by step ends where compiling once
/// does.
#[test]
fn compiling_step_by_step_equals_compiling_from_scratch() {
    for seed in 0..40_u64 {
        let mut state = seed;
        let mut random = |below: u64| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) % below
        };
        let mut step = index();
        let mut now: BTreeMap<(Kind, String), Value> = BTreeMap::new();
        for _ in 0..60 {
            let number = random(4);
            let (kind, value) = match random(4) {
                0 => (Kind::Service, service(&format!("s{number}"))),
                1 => {
                    let address = format!("10.0.0.{}", random(200));
                    (
                        Kind::EndpointSlice,
                        slice(
                            &format!("e{number}"),
                            &format!("s{}", random(4)),
                            json!([{"addresses": [address]}]),
                        ),
                    )
                }
                2 => {
                    let mut one = secret(&format!("c{number}"), &format!("h{}.example", random(3)));
                    if random(2) == 0 {
                        one["metadata"]["labels"] = json!({"gatelet.dev/managed": "true"});
                    }
                    (Kind::Secret, one)
                }
                _ => {
                    let mut one = ingress(
                        &format!("i{number}"),
                        &format!("h{}.example", random(3)),
                        &format!("/p{}", random(2)),
                        &format!("s{}", random(4)),
                    );
                    one["metadata"]["creationTimestamp"] =
                        format!("2026-01-0{}T00:00:00Z", 1 + random(3)).into();
                    let issuer = ["none", "lab", "letsencrypt", "unknown"][random(4) as usize];
                    one["metadata"]["annotations"] = json!({"gatelet.dev/issuer": issuer});
                    one["spec"]["tls"] = json!([{"hosts": [format!("h{}.example", random(3))],
                        "secretName": format!("c{}", random(4))}]);
                    (Kind::Ingress, one)
                }
            };
            let name = value["metadata"]["name"]
                .as_str()
                .expect("a name")
                .to_owned();
            if random(3) == 0 {
                now.remove(&(kind, name.clone()));
                step.apply(delete(kind, &name));
            } else {
                now.insert((kind, name), value.clone());
                step.apply(apply(value));
            }
            if random(2) == 0 {
                live(&step.compile());
            }
        }
        live(&step.compile());
        let mut whole = index();
        let watched = Kind::WATCHED.into_iter();
        let resets: Vec<Event> = watched
            .filter(|kind| *kind != Kind::IngressClass)
            .map(|kind| {
                let objects = now.iter().filter(|((k, _), _)| *k == kind);
                let objects = objects.map(|(_, value)| object(value.clone()));
                Event::Reset(kind, objects.collect())
            })
            .collect();
        for reset in &resets {
            whole.apply(reset.clone());
        }
        let output = whole.compile();
        live(&output);
        for host in 0..3 {
            for path in ["/p0", "/p1", "/other"] {
                let host = format!("h{host}.example");
                assert_eq!(
                    met(&step, &host, path),
                    met(&whole, &host, path),
                    "seed {seed}: {host}{path}"
                );
            }
        }
        assert_eq!(step.desired.all, whole.desired.all, "seed {seed}");
        // A reset with the same objects changes nothing that is seen.
        for reset in resets {
            step.apply(reset);
        }
        let again = step.compile();
        let sorted = |output: &Output| {
            let mut all: Vec<String> = output
                .findings
                .iter()
                .flatten()
                .map(|finding| format!("{finding:?}"))
                .collect();
            all.sort();
            all
        };
        assert_eq!(sorted(&again), sorted(&output), "seed {seed}");
    }
}
