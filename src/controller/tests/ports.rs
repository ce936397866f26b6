//! Ports of layer 4 that Services ask for.

use super::*;
use crate::routing::{Port, PortTable};

fn asking(name: &str, value: &str) -> Value {
    let mut service = service(name);
    service["metadata"]["annotations"] = json!({"gatelet.dev/tcp-listen": value});
    service["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    service
}

/// Returns the ports with their backends.
fn ports(table: &PortTable) -> Vec<String> {
    let routes = table.iter();
    routes
        .map(|(port, route)| format!("{port} -> {}", route.backend.id()))
        .collect()
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
    let route = table.find(Port::tcp(1883)).expect("the port");
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
