//! TCP ports that Ingresses ask for, as HAProxy Ingress has them.

use super::*;
use crate::routing::{OpenPort, Port, PortRoute};

const PREFIX: &str = "haproxy-ingress.github.io/";

/// An Ingress with a TCP port, its hosts each with a backend; an empty host is for all others.
fn tcp(name: &str, age: u32, port: &str, rules: &[(&str, &str)]) -> Value {
    let rules: Vec<Value> = rules
        .iter()
        .map(|(host, service)| {
            let backend = json!({"service": {"name": service, "port": {"number": 80}}});
            let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
            json!({"host": host, "http": {"paths": paths}})
        })
        .collect();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {
            "name": name,
            "creationTimestamp": format!("2026-01-{age:02}T00:00:00Z"),
            "annotations": {format!("{PREFIX}tcp-service-port"): port},
        },
        "spec": {"rules": rules},
    })
}

fn with(objects: &[Value]) -> Index {
    let mut index = index();
    for name in ["echo1", "echo2"] {
        index.apply(apply(service(name)));
    }
    for object in objects {
        index.apply(apply(object.clone()));
    }
    index
}

/// Returns the destinations of all ports, and the reasons of the findings.
fn compiled(index: &mut Index) -> (Vec<String>, Vec<&'static str>) {
    let output = index.compile();
    let table = output.ports.clone().expect("a table");
    let routes = table.iter().flat_map(|(port, open)| {
        let accepts = if open.accepts_proxy { " PROXY" } else { "" };
        open.routes().map(move |(host, route)| {
            let host = host.map_or_else(|| "*".to_owned(), ToString::to_string);
            let tls = if route.ends_tls.is_some() { " TLS" } else { "" };
            let to = &route.backend.id().service;
            format!("{} {host} {to}{tls}{accepts}", port.number)
        })
    });
    let reasons = reasons(&output).into_iter().map(|one| one.1).collect();
    (routes.collect(), reasons)
}

fn open(index: &mut Index, port: u16) -> Arc<OpenPort> {
    let table = index.compile().ports.expect("a table");
    table.find(Port::tcp(port)).expect("the port").clone()
}

fn only(index: &mut Index) -> Arc<PortRoute> {
    open(index, 7001).route().expect("a route").clone()
}

fn note(mut object: Value, name: &str, value: &str) -> Value {
    let name = match name.contains('/') {
        true => name.to_owned(),
        false => format!("{PREFIX}{name}"),
    };
    object["metadata"]["annotations"][name] = value.into();
    object
}

fn tls(mut object: Value, hosts: &[&str], secret: &str) -> Value {
    object["spec"]["tls"] = json!([{"hosts": hosts, "secretName": secret}]);
    object
}

/// The cases are those of HAProxy Ingress' own test of this annotation.
#[test]
fn ingresses_share_a_port_by_the_names_of_their_hosts() {
    let any = |name: &str, age| tcp(name, age, "7001", &[("", "echo1")]);
    let one = tcp("one", 1, "7001", &[("echo1.local", "echo1")]);
    let two = tcp("two", 2, "7001", &[("echo2.local", "echo2")]);
    let mut default = tcp("default", 1, "7001", &[]);
    default["spec"]["defaultBackend"] =
        json!({"service": {"name": "echo2", "port": {"number": 80}}});
    let both = tcp(
        "both",
        1,
        "7001",
        &[("a.local", "echo1"), ("a.local", "echo2")],
    );
    let wild = tcp("wild", 3, "7001", &[("*.local", "echo2")]);
    let mut path = any("path", 1);
    path["spec"]["rules"][0]["http"]["paths"][0]["path"] = "/app".into();
    let mut port = any("port", 1);
    port["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"] =
        json!({"name": "other"});

    for (objects, expected, findings) in [
        (vec![any("a", 1)], &["7001 * echo1"][..], &[][..]),
        (vec![default], &["7001 * echo2"], &[]),
        (
            vec![tcp("a", 1, "7001", &[("", "other")])],
            &[],
            &["UnknownService"],
        ),
        (vec![port], &[], &["UnknownPort"]),
        (vec![path], &[], &["UnsupportedPath"]),
        (
            vec![any("a", 1), any("b", 2)],
            &["7001 * echo1"],
            &["PortTaken"],
        ),
        (vec![both], &["7001 a.local echo1"], &["PortTaken"]),
        (
            vec![one, two.clone(), any("c", 3), wild],
            &[
                "7001 * echo1",
                "7001 echo1.local echo1",
                "7001 echo2.local echo2",
                "7001 *.local echo2",
            ],
            &[],
        ),
        (
            vec![
                two.clone(),
                tcp("late", 3, "7001", &[("echo2.local", "echo1")]),
            ],
            &["7001 echo2.local echo2"],
            &["PortTaken"],
        ),
        (
            vec![
                any("a", 1),
                note(
                    tcp("b", 2, "7002", &[("", "echo2")]),
                    "tcp-service-proxy-protocol",
                    "true",
                ),
            ],
            &["7001 * echo1", "7002 * echo2 PROXY"],
            &[],
        ),
        (
            vec![any("a", 1), note(two, "tcp-service-proxy-protocol", "true")],
            &["7001 * echo1"],
            &["PortTaken"],
        ),
        (
            vec![tcp("a", 1, "443", &[("", "echo1")])],
            &[],
            &["PortTaken"],
        ),
    ] {
        let mut index = with(&objects);
        let (ports, reasons) = compiled(&mut index);
        assert_eq!(ports, expected);
        assert_eq!(reasons, findings, "{expected:?}");
        // None of it is for requests.
        for host in ["echo1.local", "a.local", "x.example"] {
            assert!(index.table().find(Some(host), "/", &GET).is_none());
        }
    }
}

#[test]
fn a_name_finds_its_backend_or_none() {
    let rules = [("a.local", "echo1"), ("*.b.local", "echo2")];
    let mut index = with(&[tcp("a", 1, "7001", &rules)]);
    let port = open(&mut index, 7001);
    let found = |name: &str| {
        let host = crate::routing::Host::parse(name).ok();
        let route = port.find(host.as_ref());
        route.map(|route| route.backend.id().service.to_string())
    };
    for (name, expected) in [
        ("a.local", Some("echo1")),
        ("A.LOCAL.", Some("echo1")),
        ("x.b.local", Some("echo2")),
        ("x.y.b.local", None),
        ("b.local", None),
        ("c.local", None),
        ("", None),
    ] {
        assert_eq!(found(name).as_deref(), expected, "{name}");
    }
}

#[test]
fn tls_ends_for_the_rules_of_an_ingress_with_tls() {
    let one = tls(
        tcp(
            "a",
            1,
            "7001",
            &[("a.local", "echo1"), ("b.local", "echo1")],
        ),
        &["a.local"],
        "own",
    );
    let two = tcp("b", 2, "7001", &[("c.local", "echo2")]);
    let mut index = with(&[secret("own", "a.local"), one, two]);
    let output = index.compile();
    assert_eq!(source(&output, "a.local"), "secret");
    assert_eq!(source(&output, "b.local"), "local");
    assert_eq!(source(&output, "c.local"), "none");
    index.apply(apply(service("echo2")));
    let all = compiled_again(&mut index);
    let expected = [
        "7001 a.local echo1 TLS",
        "7001 b.local echo1 TLS",
        "7001 c.local echo2",
    ];
    assert_eq!(all, expected);

    // A certificate for all names is that of the port alone.
    let any = tls(tcp("any", 1, "7001", &[("", "echo1")]), &[], "own");
    let mut index = with(&[secret("own", "a.local"), any]);
    let output = index.compile();
    let hosts = output.certificates.as_ref().expect("certificates");
    assert!(hosts.is_empty(), "{hosts:?}");
    let table = output.ports.expect("a table");
    let route = table
        .find(Port::tcp(7001))
        .expect("a port")
        .route()
        .cloned();
    let ended = route.expect("a route").ends_tls.clone().expect("TLS");
    assert_eq!(
        ended.certificate.expect("a certificate").chain(),
        b"a.local"
    );
}

fn compiled_again(index: &mut Index) -> Vec<String> {
    index.apply(apply(tcp("other", 9, "7009", &[("", "echo1")])));
    let mut all = compiled(index).0;
    all.retain(|one| one.starts_with("7001"));
    all
}

#[test]
fn terms_of_backends_and_guards_by_addresses_apply() {
    let plain = || tcp("a", 1, "7001", &[("", "echo1")]);
    let route = |name: &str, value: &str| only(&mut with(&[note(plain(), name, value)]));
    let seconds = std::time::Duration::from_secs;

    assert_eq!(
        route("secure-backends", "true").backend.protocol(),
        Protocol::Tls
    );
    assert_eq!(
        route("backend-protocol", "h1-ssl").backend.protocol(),
        Protocol::Tls
    );
    let version = route("proxy-protocol", "v2").sends_proxy;
    assert_eq!(version, Some(crate::routing::ProxyVersion::V2));
    let times = route("timeout-server", "30s").policy.timeouts.clone();
    assert_eq!(times.idle, Some(seconds(30)));
    let times = route("timeout-tunnel", "2h").policy.timeouts.clone();
    assert_eq!(times.idle, Some(seconds(7200)));
    let times = route("timeout-connect", "3s").policy.timeouts.clone();
    assert_eq!(times.connect, Some(seconds(3)));
    let limits = route("limit-connections", "5").limits.clone();
    assert_eq!(limits.expect("limits").limits.in_flight, Some(5));
    let limited = route("maxconn-server", "9")
        .backend
        .settings
        .limits
        .requests;
    assert_eq!(limited, Some(9));
    let balance = route("balance-algorithm", "leastconn").policy.balancing;
    assert!(balance.is_some());
    let own = only(&mut with(&[{
        let mut object = plain();
        object["metadata"]["annotations"] = json!({"gatelet.dev/tcp-service-port": "7001"});
        object
    }]));
    assert_eq!(own.backend.protocol(), Protocol::Tcp);

    for name in ["allowlist-source-range", "whitelist-source-range"] {
        let route = route(name, "10.0.0.0/8");
        assert!(route.lets_in("10.0.0.1".parse().expect("an address")));
        assert!(!route.lets_in("192.0.2.1".parse().expect("an address")));
    }
    // Lists of the Ingress and of the Service both apply.
    let mut guarded = with(&[note(plain(), "allowlist-source-range", "10.0.0.0/8")]);
    let list = note(service("echo1"), "denylist-source-range", "10.1.0.0/16");
    guarded.apply(apply(list));
    let route = only(&mut guarded);
    assert!(route.lets_in("10.2.0.1".parse().expect("an address")));
    assert!(!route.lets_in("10.1.0.1".parse().expect("an address")));
}

#[test]
fn what_needs_requests_closes_the_port() {
    for (name, value) in [
        ("auth-url", "http://auth.example/"),
        ("auth-secret", "users"),
        ("allowlist-source-range", "10.0.0.0/8, x"),
        ("config-tcp-service", "tcp-request content reject"),
        ("waf", "modsecurity"),
        ("tcp-service-proxy-protocol", "v2"),
        ("auth-tls-secret", "ca"),
        ("secure-verify-ca-secret", "missing"),
        (
            "nginx.ingress.kubernetes.io/auth-url",
            "http://auth.example/",
        ),
        (
            "traefik.ingress.kubernetes.io/router.middlewares",
            "default-x@kubernetescrd",
        ),
    ] {
        let closed = note(tcp("a", 1, "7001", &[("a.local", "echo1")]), name, value);
        let mut index = with(&[closed, tcp("b", 2, "7001", &[("", "echo2")])]);
        let (ports, reasons) = compiled(&mut index);
        // The name does not fall to another backend.
        assert_eq!(ports, ["7001 * echo2"], "{name}");
        assert!(!reasons.is_empty(), "{name}");
        index.apply(apply(tcp("c", 3, "7002", &[("", "echo2")])));
        let port = open(&mut index, 7001);
        let host = crate::routing::Host::parse("a.local").ok();
        assert!(port.find(host.as_ref()).is_none(), "{name}");
    }

    // A guard on the Service does it too, unless it is ignored there.
    let mut index = with(&[tcp("a", 1, "7001", &[("", "echo1")])]);
    let mut guarded = note(service("echo1"), "auth-url", "http://auth.example/");
    index.apply(apply(guarded.clone()));
    let (ports, reasons) = compiled(&mut index);
    assert_eq!((ports, reasons), (Vec::new(), vec!["UnsupportedGuard"]));
    guarded = note(guarded, "gatelet.dev/unsupported-guards", "ignore");
    index.apply(apply(guarded));
    assert_eq!(compiled(&mut index).0, ["7001 * echo1"]);
}

#[test]
fn a_port_follows_its_ingress_and_service() {
    let mut index = with(&[]);
    index.compile();
    index.apply(apply(tcp("a", 1, "7001", &[("", "later")])));
    assert_eq!(compiled(&mut index).0, [""; 0]);
    index.apply(apply(service("later")));
    assert_eq!(compiled(&mut index).0, ["7001 * later"]);
    index.apply(apply(tcp("a", 1, "", &[("", "later")])));
    assert_eq!(compiled(&mut index).0, [""; 0]);
    assert!(index.table().find(Some("x.example"), "/", &GET).is_some());
    index.apply(apply(tcp("a", 1, "7002", &[("", "later")])));
    assert_eq!(compiled(&mut index).0, ["7002 * later"]);
    index.apply(delete(Kind::Ingress, "a"));
    assert_eq!(compiled(&mut index).0, [""; 0]);

    // A port of a Service is not shared.
    let mut asking = service("echo1");
    asking["metadata"]["annotations"] = json!({"gatelet.dev/tcp-listen": "7001:80"});
    index.apply(apply(asking));
    index.apply(apply(tcp("a", 1, "7001", &[("a.local", "echo2")])));
    let (ports, reasons) = compiled(&mut index);
    assert_eq!(
        (ports, reasons),
        (vec!["7001 * echo1".to_owned()], vec!["PortTaken"])
    );

    let alone = note(
        ingress("b", "b.example", "/", "echo1"),
        "tcp-service-proxy-protocol",
        "true",
    );
    index.apply(apply(alone));
    let output = index.compile();
    assert!(reasons_contain(&output, "UnsupportedAnnotation"));
}

fn reasons_contain(output: &Output, reason: &str) -> bool {
    reasons(output).iter().any(|one| one.1 == reason)
}
