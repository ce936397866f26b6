//! Canaries: which requests they take of which rules, and what keeps them from it.

use std::collections::BTreeSet;

use super::*;
use crate::routing::{Canary, CanaryDecision, CanaryValues, RequestStep, Route};

/// The Ingress `next` with these annotations, older than the main one.
fn canary(annotations: &[(&str, &str)]) -> Value {
    let mut canary = annotated(ingress("next", "a.example", "/", "next"), annotations);
    canary["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z".into();
    canary
}

/// An index with a main Ingress `web`, and Services with an endpoint each.
fn with_main(annotations: &[(&str, &str)]) -> Index {
    let mut index = index();
    for (name, address) in [("web", "10.0.0.1"), ("next", "10.0.0.2")] {
        index.apply(apply(service(name)));
        let endpoints = json!([{"addresses": [address]}]);
        index.apply(apply(slice(name, name, endpoints)));
    }
    let main = ingress("web", "a.example", "/", "web");
    index.apply(apply(annotated(main, annotations)));
    index
}

fn route(index: &Index) -> Arc<Route> {
    let found = index.table().find(Some("a.example"), "/", &GET);
    found.expect("a route").route.clone()
}

fn canary_of(route: &Route) -> Option<Canary> {
    match &route.action {
        Action::Forward(split) => split.canary().cloned(),
        _ => None,
    }
}

/// Compiles, and returns the canary of the route.
fn compiled(index: &mut Index) -> (Option<Canary>, Output) {
    let output = index.compile();
    live(&output);
    (canary_of(&route(index)), output)
}

#[test]
fn a_canary_takes_a_part_of_the_main_rule() {
    let mut index = with_main(&[]);
    index.apply(apply(canary(&[
        ("canary", "true"),
        ("canary-weight", "20"),
    ])));
    let (found, output) = compiled(&mut index);
    let found = found.expect("a canary");
    assert_eq!((found.terms.weight, found.terms.total), (20, 100));
    assert_eq!(found.backend.id().to_string(), "default/next:80");
    assert_eq!(&*route(&index).origin.name, "web");
    assert_eq!(met(&index, "a.example", "/"), "10.0.0.1:8080");
    assert!(found.has_endpoints() && reasons(&output).is_empty());

    // An edit of the canary, of its Service, or of the main Ingress.
    index.apply(apply(canary(&[
        ("canary", "true"),
        ("canary-weight", "30"),
    ])));
    assert_eq!(compiled(&mut index).0.expect("a canary").terms.weight, 30);
    index.apply(delete(Kind::Service, "next"));
    let (found, output) = compiled(&mut index);
    assert!(found.is_none());
    let expected = ["UnknownService", "UnusedCanary"].map(|reason| ("next".to_owned(), reason));
    assert_eq!(reasons(&output), expected);
    index.apply(apply(service("next")));
    assert!(compiled(&mut index).0.is_some());
    index.apply(delete(Kind::Ingress, "next"));
    assert!(compiled(&mut index).0.is_none());
}

#[test]
fn the_annotations_of_ingress_nginx_make_the_terms() {
    let terms = |annotations: &[(&str, &str)]| {
        let mut index = with_main(&[]);
        let annotations = [&[("canary", "true")], annotations].concat();
        index.apply(apply(canary(&annotations)));
        let (found, output) = compiled(&mut index);
        (found.expect("a canary").terms, reasons(&output).len())
    };
    for (weight, total, expected) in [("5", "1000", (5, 1000)), ("5", "50", (5, 100))] {
        let (terms, found) = terms(&[("canary-weight", weight), ("canary-weight-total", total)]);
        assert_eq!(((terms.weight, terms.total), found), (expected, 0));
    }
    for invalid in ["", "-1", "ten", "1.5"] {
        let (terms, found) = terms(&[("canary-weight", invalid)]);
        assert_eq!((terms.weight, found), (0, 1), "{invalid:?}");
    }

    let header = ("canary-by-header", "X-Canary");
    let (by_header, _) = terms(&[header, ("canary-by-cookie", "c")]);
    let found = by_header.header.as_ref().expect("a field");
    assert_eq!(
        (found.name.as_str(), by_header.cookie.as_deref()),
        ("x-canary", Some("c"))
    );
    assert_eq!(found.values, CanaryValues::AlwaysOrNever);

    let pattern = ("canary-by-header-pattern", "^a|b$");
    let (both, _) = terms(&[header, pattern, ("canary-by-header-value", "eu")]);
    let values = &both.header.as_ref().expect("a field").values;
    assert_eq!(*values, CanaryValues::Exact("eu".into()));
    let (alone, _) = terms(&[header, pattern]);
    let asked = |value: &str| {
        let request = http::Request::builder().header("x-canary", value);
        alone.decide(&request.body(()).expect("a request"))
    };
    for (value, expected) in [
        ("ax", CanaryDecision::Header(true)),
        ("xb", CanaryDecision::Header(true)),
        ("xa", CanaryDecision::Weight),
    ] {
        assert_eq!(asked(value), expected, "{value}");
    }

    for (name, value) in [
        ("canary-by-header-pattern", "(?=a)"),
        ("canary-by-header-pattern", "a)(b"),
    ] {
        let (terms, found) = terms(&[header, (name, value)]);
        let values = &terms.header.as_ref().expect("a field").values;
        assert_eq!((values, found), (&CanaryValues::Invalid, 1), "{value}");
    }
    let (terms, found) = terms(&[("canary-by-header", "x y"), ("canary-by-cookie", "a b")]);
    assert_eq!((&terms.header, &terms.cookie, found), (&None, &None, 2));
}

#[test]
fn a_canary_in_doubt_takes_nothing() {
    // Not even the requests that its field would lead there.
    let mut index = with_main(&[]);
    index.apply(apply(canary(&[
        ("canary", "yes"),
        ("canary-weight", "100"),
        ("canary-by-header", "x"),
    ])));
    let (found, output) = compiled(&mut index);
    let terms = found.expect("a canary").terms;
    assert_eq!((&terms.header, terms.weight), (&None, 0));
    assert_eq!(reasons(&output), [("next".to_owned(), "InvalidAnnotation")]);

    // Its paths do not exist without the main Ingress.
    index.apply(delete(Kind::Ingress, "web"));
    let output = index.compile();
    assert_eq!(met(&index, "a.example", "/"), "404");
    assert!(reasons(&output).contains(&("next".to_owned(), "UnusedCanary")));
}

#[test]
fn annotations_of_canaries_without_canary_are_reported() {
    let mut index = with_main(&[]);
    let mut other = ingress("other", "a.example", "/other", "next");
    other = annotated(other, &[("canary", "false"), ("canary-weight", "10")]);
    index.apply(apply(other));
    let output = index.compile();
    live(&output);
    assert_eq!(met(&index, "a.example", "/other"), "10.0.0.2:8080");
    assert_eq!(
        reasons(&output),
        [("other".to_owned(), "InvalidAnnotation")]
    );
}

#[test]
fn a_canary_without_a_main_rule_is_reported() {
    let weight = [("canary", "true"), ("canary-weight", "100")];
    let unused = |edit: &dyn Fn(&mut Value)| {
        let mut index = with_main(&[]);
        let mut one = canary(&weight);
        edit(&mut one);
        index.apply(apply(one));
        let (found, output) = compiled(&mut index);
        assert!(found.is_none());
        let findings = output.findings.expect("findings");
        let unused = findings
            .iter()
            .find(|one| one.reason == Reason::UnusedCanary);
        unused.expect("a finding").message.to_string()
    };
    let path = |one: &mut Value| one["spec"]["rules"][0]["http"]["paths"][0]["path"] = "/x".into();
    assert!(unused(&path).contains("no other Ingress has it"));
    let kind = |one: &mut Value| {
        one["spec"]["rules"][0]["http"]["paths"][0]["pathType"] = "Exact".into();
    };
    assert!(unused(&kind).contains("no other Ingress has it"));
    let host = |one: &mut Value| one["spec"]["rules"][0]["host"] = "b.example".into();
    assert!(unused(&host).contains("no other Ingress has it"));
    let namespace = |one: &mut Value| one["metadata"]["namespace"] = "other".into();
    let text = unused(&namespace);
    assert!(
        text.contains("does not exist") || text.contains("different namespace"),
        "{text}"
    );
}

#[test]
fn the_oldest_of_two_canaries_is_served() {
    let mut index = with_main(&[]);
    let weight = [("canary", "true"), ("canary-weight", "10")];
    index.apply(apply(canary(&weight)));
    let second = ingress("second", "a.example", "/", "next");
    index.apply(apply(annotated(second, &weight)));
    let (found, output) = compiled(&mut index);
    assert_eq!(&*found.expect("a canary").origin.name, "next");
    assert_eq!(reasons(&output), [("second".to_owned(), "UnusedCanary")]);
}

#[test]
fn a_canary_inherits_the_terms_of_the_main_ingress() {
    let mut index = with_main(&[
        ("backend-protocol", "GRPC"),
        ("proxy-read-timeout", "7"),
        ("allowlist-source-range", "10.0.0.0/8"),
    ]);
    index.apply(apply(canary(&[
        ("canary", "true"),
        ("backend-protocol", "HTTPS"),
        ("proxy-read-timeout", "9"),
    ])));
    let (found, _) = compiled(&mut index);
    assert_eq!(found.expect("a canary").backend.protocol(), Protocol::H2c);
    let route = route(&index);
    let policy = route.policy.as_ref().expect("a policy");
    assert_eq!(
        policy.timeouts.response_header.expect("a time").as_secs(),
        7
    );
    assert!(route.steps.is_some());
}

#[test]
fn a_guard_that_the_main_ingress_lacks_keeps_the_canary_out() {
    let list = ("allowlist-source-range", "10.0.0.0/8");
    let is_used = |of_main: &[(&str, &str)], of_canary: &[(&str, &str)]| {
        let mut index = with_main(of_main);
        index.apply(apply(canary(&[&[("canary", "true")], of_canary].concat())));
        let (found, output) = compiled(&mut index);
        let all: BTreeSet<_> = reasons(&output).into_iter().map(|(_, one)| one).collect();
        assert_eq!(found.is_none(), all.contains("UnusedCanary"), "{all:?}");
        found.is_some()
    };
    assert!(is_used(&[], &[]) && is_used(&[list], &[]) && is_used(&[list], &[list]));
    let ours = ("gatelet.dev/allowlist-source-range", list.1);
    assert!(is_used(&[ours], &[list]));
    for guard in [
        list,
        ("allowlist-source-range", "nonsense"),
        ("auth-tls-secret", "default/ca"),
        ("permanent-redirect", "https://b.example/"),
        ("rewrite-target", "https://b.example/"),
        (
            "haproxy-ingress.github.io/allowlist-source-range",
            "10.0.0.0/8",
        ),
    ] {
        assert!(!is_used(&[], &[guard]), "{guard:?}");
    }
    // Its guards on whole hosts close nothing of the main Ingress.
    let mut index = with_main(&[]);
    let guard = ("auth-tls-secret", "default/ca");
    index.apply(apply(canary(&[("canary", "true"), guard])));
    live(&index.compile());
    assert_eq!(met(&index, "a.example", "/"), "10.0.0.1:8080");
}

#[test]
fn a_canary_has_the_rewriting_of_its_main_ingress() {
    for (of_main, of_canary) in [
        (&[("rewrite-target", "/v2")][..], &[][..]),
        (&[("rewrite-target", "/v2")], &[("rewrite-target", "/v3")]),
        (&[("use-regex", "true")], &[]),
        (&[], &[("rewrite-target", "/v3")]),
    ] {
        let mut index = with_main(of_main);
        index.apply(apply(canary(&[&[("canary", "true")], of_canary].concat())));
        let (found, _) = compiled(&mut index);
        assert!(found.is_some(), "{of_main:?} {of_canary:?}");

        let route = route(&index);
        let steps = route.steps.iter().flat_map(|steps| &steps.request);
        let rewrites = steps.filter(|step| matches!(step, RequestStep::Rewrite(_)));
        let is_rewritten = of_main.iter().any(|(name, _)| *name == "rewrite-target");
        assert_eq!(rewrites.count(), usize::from(is_rewritten));
    }
}

#[test]
fn a_closed_main_rule_closes_its_canary() {
    let mut index = with_main(&[("allowlist-source-range", "nonsense")]);
    index.apply(apply(canary(&[
        ("canary", "true"),
        ("canary-weight", "100"),
    ])));
    let (found, _) = compiled(&mut index);
    assert!(found.is_none());
    assert_eq!(met(&index, "a.example", "/"), "InvalidGuard");
}

#[test]
fn a_default_backend_has_a_canary_too() {
    let default = |name: &str, service: &str| {
        let mut one = ingress(name, "a.example", "/", service);
        let backend = one["spec"]["rules"][0]["http"]["paths"][0]["backend"].clone();
        one["spec"] = json!({"defaultBackend": backend});
        one
    };
    let mut index = with_main(&[]);
    let weight = [("canary", "true"), ("canary-weight", "10")];
    index.apply(apply(annotated(default("all-next", "next"), &weight)));
    let output = index.compile();
    assert_eq!(reasons(&output), [("all-next".to_owned(), "UnusedCanary")]);
    assert!(index.table().default_route().is_none());

    index.apply(apply(default("all", "web")));
    let output = index.compile();
    assert!(reasons(&output).is_empty());
    let route = index.table().default_route().expect("a route");
    assert_eq!(
        &*canary_of(route).expect("a canary").origin.name,
        "all-next"
    );
}
