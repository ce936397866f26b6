//! Ports of layer 4 that Services ask for.

use super::*;
use crate::routing::{Port, PortRoute, PortTable};

fn asking(name: &str, value: &str) -> Value {
    let mut service = service(name);
    service["metadata"]["annotations"] = json!({"gatelet.dev/tcp-listen": value});
    service["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    service
}

/// Returns the ports with their backends.
fn ports(table: &PortTable) -> Vec<String> {
    let ports = table.iter();
    let routes = ports.flat_map(|(port, open)| open.routes().map(move |one| (port, one)));
    routes
        .map(|(port, (host, route))| match host {
            Some(host) => format!("{port} {host} -> {}", route.backend.id()),
            None => format!("{port} -> {}", route.backend.id()),
        })
        .collect()
}

/// Returns the route of the connections to a port that no name decides about.
fn route_of(table: &PortTable, port: Port) -> Option<Arc<PortRoute>> {
    table.find(port)?.route().cloned()
}

fn opened(output: &Output) -> Vec<String> {
    ports(output.ports.as_ref().expect("a new table"))
}

fn found(output: &Output) -> Vec<(&'static str, String)> {
    let findings = output.findings.as_ref().expect("findings").iter();
    findings
        .map(|one| (one.reason.as_str(), one.message.to_string()))
        .collect()
}

#[test]
fn a_service_gets_the_ports_that_it_asks_for() {
    for (value, expected) in [
        ("80", &["tcp/80 -> default/web:80"][..]),
        ("8022:80", &["tcp/8022 -> default/web:80"]),
        (
            " 8022:web , 80,",
            &["tcp/80 -> default/web:80", "tcp/8022 -> default/web:80"],
        ),
        ("8022 : web", &["tcp/8022 -> default/web:80"]),
        ("", &[]),
    ] {
        let mut index = index();
        index.apply(apply(asking("web", value)));
        let output = index.compile();
        assert_eq!(opened(&output), expected, "{value:?}");
        assert_eq!(found(&output), [], "{value:?}");
    }
}

#[test]
fn an_entry_that_cannot_be_had_leaves_the_others() {
    for (entry, reason) in [
        ("0", "InvalidAnnotation"),
        ("65536", "InvalidAnnotation"),
        ("+81", "InvalidAnnotation"),
        ("81:", "InvalidAnnotation"),
        (":80", "InvalidAnnotation"),
        ("web", "InvalidAnnotation"),
        ("81:0", "InvalidAnnotation"),
        ("81:80:80", "InvalidAnnotation"),
        ("81", "UnknownPort"),
        ("81:other", "UnknownPort"),
        ("443:80", "PortTaken"),
        ("80", "PortTaken"),
    ] {
        let mut index = index();
        index.apply(apply(asking("web", &format!("80,{entry},82:80"))));
        let output = index.compile();
        assert_eq!(
            opened(&output),
            ["tcp/80 -> default/web:80", "tcp/82 -> default/web:80"],
            "{entry:?}"
        );
        let reasons: Vec<_> = found(&output)
            .into_iter()
            .map(|(reason, _)| reason)
            .collect();
        assert_eq!(reasons, [reason], "{entry:?}");
    }
}

#[test]
fn the_older_service_has_the_port() {
    let mut index = index();
    let mut young = asking("a", "1883:80");
    young["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z".into();
    index.apply(apply(young));
    assert_eq!(opened(&index.compile()), ["tcp/1883 -> default/a:80"]);

    index.apply(apply(asking("b", "1883:80")));
    let output = index.compile();
    assert_eq!(opened(&output), ["tcp/1883 -> default/b:80"]);
    let message = "port 1883 belongs to the older Service default/b".to_owned();
    assert_eq!(found(&output), [("PortTaken", message)]);

    index.apply(delete(Kind::Service, "b"));
    let output = index.compile();
    assert_eq!(opened(&output), ["tcp/1883 -> default/a:80"]);
    assert_eq!(found(&output), []);
}

#[test]
fn only_edits_of_services_with_ports_make_a_new_table() {
    let mut index = index();
    index.apply(apply(asking("web", "80")));
    live(&index.compile());
    index.apply(apply(service("other")));
    index.apply(apply(ingress("i", "a.example", "/", "web")));
    assert!(index.compile().ports.is_none());

    index.apply(apply(service("web")));
    assert_eq!(opened(&index.compile()), [""; 0]);
    index.apply(apply(service("web")));
    assert!(index.compile().ports.is_none());
}

#[test]
fn endpoints_follow_without_a_new_table() {
    let mut index = index();
    index.apply(apply(asking("web", "1883:80")));
    let output = index.compile();
    live(&output);
    let table = output.ports.expect("a table");
    let route = route_of(&table, Port::tcp(1883)).expect("the port");
    assert_eq!(**route.backend.endpoints(), EndpointSet::Empty);

    index.apply(apply(slice(
        "web-1",
        "web",
        json!([{"addresses": ["10.0.0.1"]}]),
    )));
    let output = index.compile();
    live(&output);
    assert!(output.ports.is_none());
    let EndpointSet::Addresses(list) = &**route.backend.endpoints() else {
        panic!("{:?}", route.backend);
    };
    assert_eq!(list[0].addr.to_string(), "10.0.0.1:8080");
}

#[test]
fn a_port_without_its_name_in_slices_is_a_finding() {
    let mut index = index();
    index.apply(apply(asking("web", "1883:80")));
    let mut slice = slice("web-1", "web", json!([{"addresses": ["10.0.0.1"]}]));
    slice["ports"][0]["name"] = "other".into();
    index.apply(apply(slice));
    let reasons: Vec<_> = found(&index.compile())
        .into_iter()
        .map(|one| one.0)
        .collect();
    assert_eq!(reasons, ["EndpointPortMismatch"]);
}

#[test]
fn a_name_needs_no_ports_in_its_service() {
    let mut index = index();
    let mut service = asking("away", "5432");
    service["spec"] = json!({"type": "ExternalName", "externalName": "db.example.net"});
    index.apply(apply(service));
    let output = index.compile();
    live(&output);
    assert_eq!(opened(&output), ["tcp/5432 -> default/away:5432"]);
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data, "metadata": {
        "name": "tcp-services", "creationTimestamp": "2026-01-15T00:00:00Z"}})
}

#[test]
fn a_config_map_opens_ports_as_ingress_nginx_has_them() {
    for (value, expected) in [
        ("default/web:80", "tcp/9000 -> default/web:80 false None"),
        ("default/web:web", "tcp/9000 -> default/web:80 false None"),
        (
            "default/web:80:PROXY",
            "tcp/9000 -> default/web:80 true None",
        ),
        (
            "default/web:80::PROXY",
            "tcp/9000 -> default/web:80 false Some(V1)",
        ),
        (
            "default/web:80:PROXY:PROXY",
            "tcp/9000 -> default/web:80 true Some(V1)",
        ),
        (
            "default/web:80:proxy:",
            "tcp/9000 -> default/web:80 true None",
        ),
        ("web:80", "InvalidPort"),
        ("default/web", "InvalidPort"),
        ("/web:80", "InvalidPort"),
        ("default/web:", "InvalidPort"),
        ("default/web:80:PROXIED", "InvalidPort"),
        ("default/web:80:PROXY:PROXY:PROXY", "InvalidPort"),
        ("default/other:80", "UnknownService"),
        ("default/web:81", "UnknownPort"),
    ] {
        let mut index = index();
        index.apply(apply(service("web")));
        index.apply(apply(map(json!({"9000": value}))));
        let output = index.compile();
        let table = output.ports.clone().expect("a table");
        let described = match table.iter().next() {
            Some((port, open)) => format!(
                "{} {} {:?}",
                ports(&table)[0],
                open.accepts_proxy,
                route_of(&table, port).expect("a route").sends_proxy
            ),
            None => found(&output)[0].0.to_owned(),
        };
        assert_eq!(described, expected, "{value:?}");
    }
}

#[test]
fn a_config_map_competes_with_services_by_age() {
    let mut index = index();
    index.apply(apply(asking("old", "9000:80,9001:80")));
    let mut young = asking("young", "9002:80");
    young["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z".into();
    index.apply(apply(young));
    let to = "default/old:80";
    index.apply(apply(map(
        json!({"9001": to, "9002": to, "9003": to, "x": to}),
    )));
    let output = index.compile();
    assert_eq!(
        opened(&output),
        [
            "tcp/9000 -> default/old:80",
            "tcp/9001 -> default/old:80",
            "tcp/9002 -> default/old:80",
            "tcp/9003 -> default/old:80"
        ]
    );
    let found = found(&output);
    let reasons: Vec<_> = found.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(reasons, ["PortTaken", "InvalidPort", "PortTaken"]);
    assert_eq!(
        found[0].1,
        "port 9001 belongs to the older Service default/old"
    );
    let holder = "port 9002 belongs to the older ConfigMap default/tcp-services";
    assert_eq!(found[2].1, holder);

    // Its Services need no annotation.
    index.apply(delete(Kind::Service, "old"));
    assert_eq!(opened(&index.compile()), ["tcp/9002 -> default/young:80"]);
    index.apply(delete(Kind::ConfigMap, "tcp-services"));
    assert_eq!(opened(&index.compile()), ["tcp/9002 -> default/young:80"]);
}

#[test]
fn other_config_maps_open_no_ports() {
    let mut index = index();
    index.apply(apply(service("web")));
    let mut other = map(json!({"9000": "default/web:80"}));
    other["metadata"]["name"] = "other".into();
    index.apply(apply(other));
    assert_eq!(opened(&index.compile()), [""; 0]);
}

#[test]
fn a_wrong_term_opens_no_port() {
    for (annotation, value, expected) in [
        ("tcp-accept-proxy", "true", "true None"),
        ("tcp-accept-proxy", "false", "false None"),
        ("tcp-send-proxy", "v1", "false Some(V1)"),
        ("tcp-send-proxy", "v2", "false Some(V2)"),
        ("tcp-accept-proxy", "yes", "InvalidAnnotation"),
        ("tcp-send-proxy", "true", "InvalidAnnotation"),
        ("tcp-tls", "", "InvalidAnnotation"),
        ("tcp-tls", "auto", "false None"),
        ("tcp-tls", "yes", "SecretNotFound"),
        ("tcp-tls", "other/yes", "InvalidAnnotation"),
        ("tcp-send-tls", "yes", "InvalidAnnotation"),
        ("tcp-alpn", "mqtt, x-amzn-mqtt-ca", "false None"),
        ("tcp-alpn", "mqtt,,h2", "InvalidAnnotation"),
        ("tcp-connect-timeout", "0s", "InvalidAnnotation"),
        ("tcp-idle-timeout", "9999999h", "InvalidAnnotation"),
        ("udp-idle-timeout", "x", "false None"),
        ("limit-total-connections", "x", "InvalidAnnotation"),
        ("limit-connections", "x", "InvalidAnnotation"),
        ("limit-connections", "-1", "InvalidAnnotation"),
        ("limit-connections", "0", "false None"),
    ] {
        let mut index = index();
        let mut service = asking("web", "80");
        service["metadata"]["annotations"][format!("gatelet.dev/{annotation}")] = value.into();
        index.apply(apply(service));
        let output = index.compile();
        let table = output.ports.clone().expect("a table");
        let described = match table.find(Port::tcp(80)) {
            Some(open) => {
                let route = open.route().expect("a route");
                format!("{} {:?}", open.accepts_proxy, route.sends_proxy)
            }
            None => found(&output)[0].0.to_owned(),
        };
        assert_eq!(described, expected, "{annotation}: {value}");
    }
}

#[test]
fn the_terms_of_a_service_are_those_of_its_ports() {
    let mut index = index();
    let mut service = asking("web", "80");
    service["metadata"]["annotations"]["gatelet.dev/limit-connections"] = "3".into();
    index.apply(apply(service.clone()));
    let of_port = |index: &mut Index| {
        let table = index.compile().ports.expect("a table");
        let route = route_of(&table, Port::tcp(80)).expect("a route");
        let limits = route.limits.as_ref();
        let most = limits.and_then(|limits| limits.limits.in_flight);
        (route.sticky, route.ends_tls.is_some(), most)
    };
    assert_eq!(of_port(&mut index), (false, false, Some(3)));

    service["spec"]["sessionAffinity"] = "ClientIP".into();
    service["metadata"]["annotations"]["gatelet.dev/tcp-tls"] = "true".into();
    service["metadata"]["annotations"]["gatelet.dev/limit-connections"] = "0".into();
    index.apply(apply(service));
    assert_eq!(of_port(&mut index), (true, true, None));
}

#[test]
fn udp_ports_are_apart_from_tcp_ports_of_the_same_number() {
    let mut index = index();
    let mut dns = asking("dns", "53");
    dns["metadata"]["annotations"]["gatelet.dev/udp-listen"] = "53,443:53,5353:dns".into();
    dns["spec"]["ports"] = json!([
        {"name": "dns-tcp", "port": 53},
        {"name": "dns", "port": 53, "protocol": "UDP"},
    ]);
    index.apply(apply(dns));
    let mut slice = slice("dns-1", "dns", json!([{"addresses": ["10.0.0.1"]}]));
    slice["ports"] = json!([
        {"name": "dns-tcp", "port": 1053},
        {"name": "dns", "port": 2053, "protocol": "UDP"},
    ]);
    index.apply(apply(slice));

    let output = index.compile();
    live(&output);
    assert_eq!(
        opened(&output),
        [
            "tcp/53 -> default/dns:53",
            "udp/53 -> default/dns:53",
            "udp/443 -> default/dns:53",
            "udp/5353 -> default/dns:53"
        ]
    );
    assert_eq!(found(&output), []);
    let table = output.ports.expect("a table");
    for (port, expected) in [
        (Port::tcp(53), "10.0.0.1:1053"),
        (Port::udp(53), "10.0.0.1:2053"),
    ] {
        let route = route_of(&table, port).expect("the port");
        let EndpointSet::Addresses(list) = &**route.backend.endpoints() else {
            panic!("{port}");
        };
        assert_eq!(list[0].addr.to_string(), expected);
    }
}

#[test]
fn a_config_map_opens_udp_ports_too() {
    let mut index = index();
    let mut dns = service("dns");
    dns["spec"]["ports"] = json!([{"name": "dns", "port": 53, "protocol": "UDP"}]);
    index.apply(apply(dns));
    let mut map = map(json!({"53": "default/dns:53", "54": "default/dns:80"}));
    map["metadata"]["name"] = "udp-services".into();
    index.apply(apply(map));
    let output = index.compile();
    assert_eq!(opened(&output), ["udp/53 -> default/dns:53"]);
    let message = "Service dns has no UDP port 80: 54 is not opened".to_owned();
    assert_eq!(found(&output), [("UnknownPort", message)]);
}

#[test]
fn lists_of_addresses_apply_to_ports() {
    let allowed = |route: &PortRoute| {
        let addresses = ["10.0.0.1", "192.0.2.1", "::1"];
        let lets_in = |text: &&&str| route.lets_in(text.parse().expect("an address"));
        addresses.iter().filter(lets_in).count()
    };
    for (annotation, value, expected) in [
        ("gatelet.dev/allowlist-source-range", "10.0.0.0/8", 1),
        ("gatelet.dev/denylist-source-range", "10.0.0.0/8", 2),
        ("haproxy.org/allow-list", "10.0.0.0/8,::/0", 2),
        ("haproxy-ingress.github.io/denylist-source-range", "::1", 2),
        ("haproxy.org/allow-list", "", 3),
    ] {
        let mut web = asking("web", "8022:80");
        web["metadata"]["annotations"][annotation] = value.into();
        let mut index = index();
        index.apply(apply(web.clone()));
        // The ConfigMap leads to the same Service.
        index.apply(apply(map(json!({"9000": "default/web:80"}))));
        let output = index.compile();
        assert_eq!(found(&output), [], "{annotation}");
        let table = output.ports.expect("a table");
        for port in [8022, 9000] {
            let route = route_of(&table, Port::tcp(port)).expect("the port");
            assert_eq!(allowed(&route), expected, "{annotation}");
        }

        // Not even who ignores guards opens what cannot be read.
        web["metadata"]["annotations"][annotation] = "10.0.0.0/8, x".into();
        web["metadata"]["annotations"]["gatelet.dev/unsupported-guards"] = "ignore".into();
        index.apply(apply(web));
        let output = index.compile();
        assert_eq!(opened(&output), [""; 0], "{annotation}");
        assert!(
            found(&output)[0].1.contains(annotation),
            "{:?}",
            found(&output)
        );
    }
}

#[test]
fn a_service_with_another_guard_gets_no_port() {
    for (name, value) in [
        ("haproxy.org/auth-type", "basic-auth"),
        ("gatelet.dev/auth-secret", "users"),
        ("haproxy-ingress.github.io/ssl-passthrough", "true"),
        ("haproxy-ingress.github.io/waf", "modsecurity"),
        ("haproxy-ingress.github.io/auth-url", "svc://web:80/"),
        ("gatelet.dev/auth-url", "http://auth.example/"),
    ] {
        let mut guarded = asking("web", "8022:80");
        guarded["metadata"]["annotations"][name] = value.into();
        guarded["metadata"]["annotations"]["gatelet.dev/denylist-source-range"] = "::1".into();
        let mut index = index();
        index.apply(apply(guarded.clone()));
        let output = index.compile();
        assert_eq!(opened(&output), [""; 0], "{name}");
        let found = found(&output);
        let reasons: Vec<_> = found.iter().map(|(reason, _)| *reason).collect();
        assert_eq!(reasons, ["UnsupportedGuard"], "{found:?}");
        assert!(found[0].1.contains(name), "{found:?}");

        guarded["metadata"]["annotations"]["gatelet.dev/unsupported-guards"] = "ignore".into();
        index.apply(apply(guarded));
        let output = index.compile();
        assert_eq!(opened(&output), ["tcp/8022 -> default/web:80"]);
        let table = output.ports.expect("a table");
        let route = route_of(&table, Port::tcp(8022)).expect("the port");
        assert!(!route.lets_in("::1".parse().expect("an address")), "{name}");
    }
}

#[test]
fn the_operator_bounds_the_ports_of_objects() {
    let ranges = |texts: &[&str]| {
        texts
            .iter()
            .map(|one| one.parse().expect("a range"))
            .collect()
    };
    for (open_ports, expected) in [
        (ranges(&["1-65535"]), 3),
        (ranges(&["80", "1000-1999"]), 2),
        (ranges(&[]), 0),
    ] {
        let settings = Settings {
            open_ports,
            ..settings()
        };
        let mut index = Index::new(settings, Box::new(|_, _, _| Ok(())));
        index.apply(apply(asking("web", "80, 1883:80, 8022:80")));
        let output = index.compile();
        assert_eq!(opened(&output).len(), expected);
        let found = found(&output);
        assert_eq!(found.len(), 3 - expected, "{found:?}");
        let message = "open_ports in the settings does not allow port ";
        let is_said = |(reason, text): &(_, String)| {
            *reason == "PortUnavailable" && text.starts_with(message)
        };
        assert!(found.iter().all(is_said), "{found:?}");
    }
}

#[test]
fn a_port_has_the_certificate_of_a_secret() {
    let mut index = index();
    let mut web = asking("web", "8883:80");
    web["metadata"]["annotations"]["gatelet.dev/tcp-tls"] = "own".into();
    web["metadata"]["annotations"]["gatelet.dev/tcp-alpn"] = "mqtt,h2".into();
    index.apply(apply(web.clone()));
    let output = index.compile();
    assert_eq!(opened(&output), [""; 0]);
    let message = found(&output).remove(0).1;
    assert!(message.ends_with(": port 8883 is not opened"), "{message}");

    // The Secret comes, cannot be used any more, and comes again.
    let mut ended = |object: Option<Value>| {
        index.apply(match object {
            Some(object) => apply(object),
            None => delete(Kind::Secret, "own"),
        });
        let table = index.compile().ports.expect("a table");
        let route = route_of(&table, Port::tcp(8883));
        route.map(|route| route.ends_tls.clone().expect("TLS"))
    };
    let first = ended(Some(secret("own", "a.example"))).expect("a port");
    let certificate = first.certificate.expect("a certificate");
    assert_eq!(certificate.chain(), b"a.example");
    assert_eq!(
        first.protocols,
        [&b"mqtt"[..], b"h2"].map(Into::into).into()
    );
    assert!(ended(Some(secret("own", "broken"))).is_none());
    assert!(ended(Some(secret("own", "b.example"))).is_some());
    assert!(ended(None).is_none());

    web["metadata"]["annotations"]["gatelet.dev/tcp-tls"] = "auto".into();
    let auto = ended(Some(web)).expect("a port");
    assert_eq!(auto.certificate, None);
}

#[test]
fn endpoints_get_tls_on_the_terms_of_the_service() {
    let mut index = index();
    index.apply(apply(secret("own", "a.example")));
    let mut port = |annotations: &[(&str, &str)]| {
        let mut web = asking("web", "5432:80");
        for (name, value) in annotations {
            web["metadata"]["annotations"][format!("gatelet.dev/{name}")] = (*value).into();
        }
        index.apply(apply(web));
        let output = index.compile();
        let table = output.ports.clone().expect("a table");
        match route_of(&table, Port::tcp(5432)) {
            Some(route) => Ok(route.backend.settings.clone()),
            None => Err(found(&output)[0].0),
        }
    };
    assert_eq!(port(&[]).map(|one| one.protocol), Ok(Protocol::Tcp));
    let plain = port(&[("tcp-send-tls", "true")]).expect("a port");
    assert_eq!(
        (plain.protocol, plain.tls.terms.is_none()),
        (Protocol::Tls, true)
    );

    let named = [
        ("tcp-send-tls", "true"),
        ("proxy-ssl-secret", "own"),
        ("proxy-ssl-verify", "on"),
        ("proxy-ssl-name", "db.example"),
    ];
    let tls = port(&named).expect("a port").tls.clone();
    assert_eq!(tls.verify, crate::routing::Verify::Always);
    assert_eq!(tls.server_name.expect("a name").as_str(), "db.example");
    assert!(tls.terms.expect("terms").identity.is_some());
    let without = port(&named[1..]).map(|one| one.protocol);
    assert_eq!(without, Ok(Protocol::Tcp));

    for (name, value, expected) in [
        ("proxy-ssl-secret", "other", "SecretNotFound"),
        ("proxy-ssl-verify", "yes", "InvalidAnnotation"),
        ("proxy-ssl-protocols", "TLSv9", "InvalidAnnotation"),
    ] {
        let refused = port(&[("tcp-send-tls", "true"), (name, value)]);
        assert_eq!(refused.map(|_| ()), Err(expected), "{name}");
    }
}

#[test]
fn a_service_bounds_the_times_and_all_connections_of_its_ports() {
    let mut index = index();
    let mut dns = asking("dns", "53");
    for (name, value) in [
        ("udp-listen", "53"),
        ("tcp-idle-timeout", "10m"),
        ("tcp-connect-timeout", "3s"),
        ("udp-idle-timeout", "30s"),
        ("limit-total-connections", "7"),
    ] {
        dns["metadata"]["annotations"][format!("gatelet.dev/{name}")] = value.into();
    }
    dns["spec"]["ports"] = json!([{"port": 53}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
    index.apply(apply(dns));
    let table = index.compile().ports.expect("a table");
    for (port, idle) in [(Port::tcp(53), 600), (Port::udp(53), 30)] {
        let route = route_of(&table, port).expect("a route");
        let idle = Some(std::time::Duration::from_secs(idle));
        assert_eq!(route.policy.timeouts.idle, idle);
        let total = route.total.as_ref().expect("a limit");
        assert_eq!(total.limits.in_flight, Some(7));
    }
}
