//! Paths of several rules, trailing slashes and regular expressions.

use super::*;
use crate::objects::EventType;

/// An Ingress for one host with these paths; each Service has one endpoint.
pub(super) fn with_paths(index: &mut Index, name: &str, paths: &[(&str, &str, &str)]) -> Value {
    let mut one = ingress(name, "a.example", "/", "web");
    let paths = paths.iter().map(|(path, path_type, service_name)| {
        index.apply(apply(service(service_name)));
        let endpoint = format!(
            "10.0.0.{}",
            service_name.bytes().last().expect("a name") - b'a'
        );
        index.apply(apply(slice(
            service_name,
            service_name,
            json!([{"addresses": [endpoint]}]),
        )));
        let backend = json!({"service": {"name": service_name, "port": {"number": 80}}});
        json!({"path": path, "pathType": path_type, "backend": backend})
    });
    one["spec"]["rules"][0]["http"]["paths"] = paths.collect();
    one
}

pub(super) fn compiled(index: &mut Index) -> Vec<(String, &'static str, String)> {
    let output = index.compile();
    live(&output);
    let findings = output.findings.into_iter().flatten();
    findings
        .map(|one| {
            (
                one.about.key.name.to_string(),
                one.reason.as_str(),
                one.message.to_string(),
            )
        })
        .collect()
}

pub(super) const A: &str = "10.0.0.0:8080";
pub(super) const B: &str = "10.0.0.1:8080";

#[test]
fn paths_with_and_without_a_slash_at_the_end_are_both_served() {
    let mut index = index();
    let one = with_paths(
        &mut index,
        "web",
        &[("/foo/bar", "Prefix", "a"), ("/foo/bar/", "Prefix", "b")],
    );
    index.apply(apply(one));
    assert_eq!(compiled(&mut index), []);

    for (path, expected) in [
        ("/foo/bar", A),
        ("/foo/bar/", B),
        ("/foo/bar/x", B),
        ("/foo/barx", "404"),
    ] {
        assert_eq!(met(&index, "a.example", path), expected, "{path}");
    }
}

#[test]
fn a_duplicate_path_in_one_object_is_reported() {
    let mut index = index();
    let one = with_paths(
        &mut index,
        "web",
        &[
            ("/x", "Prefix", "a"),
            ("/x", "Prefix", "b"),
            ("/x", "Prefix", "a"),
        ],
    );
    index.apply(apply(one));
    let output = index.compile();
    live(&output);
    assert_eq!(met(&index, "a.example", "/x"), A);

    let findings = output.findings.expect("findings");
    let reported: Vec<_> = findings
        .iter()
        .map(|one| (one.severity, &*one.field, one.message.to_string()))
        .collect();
    let message = "this Ingress has Prefix /x on host a.example more than once: the first, \
                   spec.rules[0].http.paths[0], is served";
    let expected = [
        (EventType::Warning, "spec.rules[0].http.paths[1]"),
        (EventType::Normal, "spec.rules[0].http.paths[2]"),
    ];
    let expected = expected.map(|(severity, field)| (severity, field, message.to_owned()));
    assert_eq!(reported, expected);
}

#[test]
fn the_winner_of_a_path_is_called_older_only_where_it_is() {
    let mut index = index();
    for (name, created) in [
        ("b-old", "2026-01-01"),
        ("c-same", "2026-01-01"),
        ("a-young", "2026-02-01"),
    ] {
        let mut one = with_paths(&mut index, name, &[("/x", "Prefix", "a")]);
        one["metadata"]["creationTimestamp"] = format!("{created}T00:00:00Z").into();
        index.apply(apply(one));
    }

    // An Exact rule does not own the Prefix.
    let exact = with_paths(&mut index, "d", &[("/x", "Exact", "a")]);
    index.apply(apply(exact));
    let mut reported: Vec<_> = compiled(&mut index)
        .into_iter()
        .map(|(name, _, message)| (name, message))
        .collect();
    reported.sort();
    let taken = |by: &str| format!("Prefix /x on host a.example is taken by {by}");
    let expected = [
        (
            "a-young".to_owned(),
            taken("the older Ingress default/b-old"),
        ),
        (
            "c-same".to_owned(),
            taken("the Ingress default/b-old, which is as old and comes first by its name"),
        ),
    ];
    assert_eq!(reported, expected);
}

#[test]
fn a_regular_expression_closes_all_that_it_could_match() {
    for (annotation, path_type) in [
        (None, "ImplementationSpecific"),
        (None, "Prefix"),
        (
            Some(("haproxy-ingress.github.io/path-type", "regex")),
            "Prefix",
        ),
        (
            Some(("haproxy-ingress.github.io/path-type", "regex")),
            "Exact",
        ),
    ] {
        let mut index = index();
        let root = with_paths(
            &mut index,
            "root",
            &[("/", "Prefix", "a"), ("/api/open", "Prefix", "b")],
        );
        index.apply(apply(root));
        let mut api = with_paths(&mut index, "api", &[("/api(/|$)(.*)", path_type, "b")]);
        if let Some((name, value)) = annotation {
            api["metadata"]["annotations"] = json!({name: value});
        }
        index.apply(apply(api));
        let reported: Vec<_> = compiled(&mut index)
            .into_iter()
            .filter(|(_, reason, _)| *reason == "UnsupportedPath")
            .collect();
        let [(name, _, message)] = &reported[..] else {
            panic!("{reported:?}")
        };
        assert_eq!(name, "api");
        assert_eq!(
            message,
            "\"/api(/|$)(.*)\" is a regular expression or a wildcard, which gatelet evaluates with \
             the annotation use-regex alone: 503 for /api and what is below it, unless a longer \
             path takes the request"
        );
        let closed = format!("{:?}", Refusal::UnsupportedPath);
        for (path, expected) in [
            ("/", A),
            ("/apis", A),
            ("/api", &*closed),
            ("/API/x", &closed),
            ("/api/open/x", B),
            ("/api/(.*)", &closed),
        ] {
            assert_eq!(
                met(&index, "a.example", path),
                expected,
                "{path} {annotation:?} {path_type}"
            );
        }
    }
}

#[test]
fn an_exact_path_with_odd_characters_is_literal_with_a_finding() {
    let mut index = index();
    let odd = with_paths(
        &mut index,
        "odd",
        &[
            ("/a[0]", "Exact", "a"),
            ("/$metadata", "Prefix", "b"),
            ("/c++", "Prefix", "b"),
        ],
    );
    index.apply(apply(odd));
    let reported = compiled(&mut index);
    let [(_, "UnsupportedPath", message)] = &reported[..] else {
        panic!("{reported:?}")
    };
    assert_eq!(
        message,
        "\"/a[0]\" is compared character by character, not evaluated as a pattern"
    );

    for (path, expected) in [
        ("/a[0]", A),
        ("/a0", "404"),
        ("/$metadata/x", B),
        ("/c++", B),
    ] {
        assert_eq!(met(&index, "a.example", path), expected, "{path}");
    }
}

#[test]
fn an_expression_closes_its_literal_prefix_in_its_namespace() {
    for (namespace, expected) in [
        ("default", Refusal::UnsupportedPath.reason()),
        ("other", ""),
    ] {
        let mut index = index();
        let root = with_paths(
            &mut index,
            "root",
            &[("/", "Prefix", "a"), ("/login", "Prefix", "b")],
        );
        index.apply(apply(root));
        let mut guard = with_paths(
            &mut index,
            "guard",
            &[("/[a-z]+/admin", "ImplementationSpecific", "b")],
        );
        guard["metadata"]["namespace"] = namespace.into();
        guard["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z".into();
        index.apply(apply(guard));
        let reported = compiled(&mut index);
        let covered: Vec<_> = reported
            .iter()
            .filter(|(name, ..)| name == "root")
            .map(|(_, _, message)| &**message)
            .collect();
        let found = index
            .table()
            .find(Some("a.example"), "/x/admin", &GET)
            .expect("a rule")
            .route;
        let reason = match &found.action {
            Action::Refuse(refusal) => refusal.reason(),
            _ => "",
        };
        assert_eq!(reason, expected, "{namespace}");
        assert_eq!(met(&index, "a.example", "/login"), B, "longer");
        match namespace {
            "default" => assert_eq!(
                covered,
                [
                    "Prefix / on host a.example returns 503: the regular expression /[a-z]+/admin \
                        of Ingress \
                  default/guard begins with the same path and is not evaluated, so a request \
                  cannot be assigned to \
                  one of them"
                ]
            ),
            _ => assert!(
                covered.is_empty(),
                "a neighbour's object closes nothing of this one: {covered:?}"
            ),
        }
    }
}

#[test]
fn plain_paths_beside_expressions_are_served() {
    let mut index = index();
    let mut one = with_paths(&mut index, "web", &[("/a.b/c-d", "Prefix", "a")]);
    one["metadata"]["annotations"] = json!({"haproxy-ingress.github.io/path-type": "regex"});
    index.apply(apply(one));
    assert!(
        compiled(&mut index)
            .iter()
            .all(|(_, reason, _)| *reason != "UnsupportedPath")
    );
    assert_eq!(met(&index, "a.example", "/a.b/c-d/e"), A);
}

#[test]
fn paths_of_rules_are_normalised_as_requests_are() {
    let mut index = index();
    let paths = [
        ("/a b", "Exact", "a"),
        ("/\u{e4}", "Prefix", "b"),
        ("/%c3%bc", "ImplementationSpecific", "a"),
    ];
    let web = with_paths(&mut index, "web", &paths);
    index.apply(apply(web));
    assert!(compiled(&mut index).is_empty());

    for (path, expected) in [
        ("/a%20b", A),
        ("/%C3%A4", B),
        ("/%c3%a4/x", B),
        ("/\u{e4}", B),
        ("/%C3%BCber", A),
        ("/%C3%A4x", "404"),
        ("/a+b", "404"),
    ] {
        let normal = crate::routing::path::normalize(path).expect("a path");
        assert_eq!(met(&index, "a.example", &normal), expected, "{path}");
    }
}
