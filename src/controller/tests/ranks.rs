//! The places of rules and the matches of paths that annotations of Traefik set.

use super::{
    paths::{A, B, compiled, with_paths},
    *,
};

const MATCHER: &str = "traefik.ingress.kubernetes.io/router.pathmatcher";
const PRIORITY: &str = "traefik.ingress.kubernetes.io/router.priority";
const INVALID: &str = "InvalidGuard";

/// Adds an Ingress with these paths and annotations.
fn add(index: &mut Index, name: &str, paths: &[(&str, &str, &str)], annotations: &[(&str, &str)]) {
    let one = with_paths(index, name, paths);
    index.apply(apply(annotated(one, annotations)));
}

#[test]
fn a_matcher_is_for_implementation_specific_paths() {
    const SPECIFIC: &str = "ImplementationSpecific";
    for (matcher, path_type, path, asked, expected) in [
        ("", SPECIFIC, "/foo", "/foobar", B),
        ("PathPrefix", SPECIFIC, "/foo", "/foobar", B),
        ("Path", SPECIFIC, "/foo", "/foobar", A),
        ("Path", SPECIFIC, "/foo", "/foo", B),
        ("Path", SPECIFIC, "/foo", "/foo/x", A),
        ("Path", "Prefix", "/foo", "/foo/x", B),
        ("PathRegexp", SPECIFIC, "/v[0-9]+$", "/api/v12", B),
        ("PathRegexp", SPECIFIC, "/v[0-9]+$", "/api/v12/x", A),
        ("PathRegexp", SPECIFIC, "/v[0-9]+$", "/api/V12", A),
        ("PathRegexp", SPECIFIC, "/a b", "/a%20b/x", B),
        ("PathRegexp", "Exact", "/v.", "/v1", A),
        ("PathRegexp", "Exact", "/v.", "/v.", B),
        ("PathRegexp", "Prefix", "/v.", "/v1", A),
        (
            "PathRegexp",
            "Prefix",
            "/v[0-9]+",
            "/v[0-9]+",
            "UnsupportedPath",
        ),
        ("path", SPECIFIC, "/foo", "/foo", INVALID),
        ("Regexp", SPECIFIC, "/foo", "/foo", INVALID),
    ] {
        let mut index = index();
        add(&mut index, "root", &[("/", "Prefix", "a")], &[]);
        let annotations = [(MATCHER, matcher)];
        add(&mut index, "web", &[(path, path_type, "b")], &annotations);
        compiled(&mut index);
        let found = met(&index, "a.example", asked);
        assert_eq!(found, expected, "{matcher} {path_type} {path}: {asked}");
    }
}

#[test]
fn an_expression_that_cannot_be_evaluated_closes_what_is_left() {
    let mut index = index();
    let paths = [("/(?=a)x", "ImplementationSpecific", "b")];
    add(&mut index, "web", &paths, &[(MATCHER, "PathRegexp")]);
    add(&mut index, "other", &[("/plain", "Prefix", "a")], &[]);
    let findings = compiled(&mut index);
    assert_eq!(met(&index, "a.example", "/plain/x"), A);
    assert_eq!(met(&index, "a.example", "/bx"), "UnsupportedPath");
    let [(name, "UnsupportedPath", message)] = &findings[..] else {
        panic!("{findings:?}")
    };
    assert_eq!(name, "web");
    assert!(
        message.contains("503 for all that begins with /"),
        "{message}"
    );
}

#[test]
fn names_of_traefik_are_taken_in_upper_and_lower_case() {
    let mut index = index();
    add(&mut index, "root", &[("/", "Prefix", "a")], &[]);
    let mixed = [("traefik.ingress.kubernetes.io/router.pathMatcher", "Path")];
    let paths = [("/foo", "ImplementationSpecific", "b")];
    add(&mut index, "web", &paths, &mixed);
    assert_eq!(compiled(&mut index), []);
    assert_eq!(met(&index, "a.example", "/foo/x"), A);
}

#[test]
fn the_greater_priority_comes_first() {
    // The rule of `/foo` has the length 26 + 9 + 4.
    for (priority, closes, expected) in [
        ("", false, [A, B, B]),
        ("38", false, [A, B, B]),
        ("40", false, [A, A, B]),
        ("1000", false, [A, A, A]),
        ("-1", false, [A, B, B]),
        ("0", false, [A, B, B]),
        // What is closed has its place too, and takes the requests.
        ("1000", true, [INVALID, INVALID, INVALID]),
        ("high", false, [INVALID, B, B]),
    ] {
        let mut index = index();
        let mut annotations = vec![(PRIORITY, priority)];
        annotations.extend(closes.then_some((MATCHER, "broken")));
        annotations.retain(|(_, value)| !value.is_empty());
        add(&mut index, "root", &[("/", "Prefix", "a")], &annotations);
        let long = [("/foo", "Prefix", "b"), ("/foo/longer", "Prefix", "b")];
        add(&mut index, "web", &long, &[]);
        compiled(&mut index);
        let found = ["/", "/foo", "/foo/longer"].map(|path| met(&index, "a.example", path));
        assert_eq!(found, expected, "{priority:?}");
    }
}

#[test]
fn a_priority_decides_between_the_same_paths() {
    let mut index = index();
    for (name, priority, created) in [("old", "5", "2026-01-01"), ("young", "6", "2026-02-01")] {
        let service = if name == "old" { "a" } else { "b" };
        let mut one = with_paths(&mut index, name, &[("/x", "Prefix", service)]);
        one["metadata"]["creationTimestamp"] = format!("{created}T00:00:00Z").into();
        index.apply(apply(annotated(one, &[(PRIORITY, priority)])));
    }
    let findings = compiled(&mut index);
    assert_eq!(met(&index, "a.example", "/x"), B);
    let message = "Prefix /x on host a.example is taken by Ingress default/young, which \
                   router.priority puts first";
    assert_eq!(findings, [("old".into(), "PathTaken", message.into())]);
}

#[test]
fn another_namespace_takes_no_requests_by_its_priority() {
    let mut index = index();
    add(&mut index, "own", &[("/", "Prefix", "a")], &[]);
    let mut web = service("web");
    web["metadata"]["namespace"] = "other".into();
    index.apply(apply(web));
    let mut other = annotated(
        ingress("thief", "a.example", "/", "web"),
        &[(PRIORITY, "9")],
    );
    other["metadata"]["namespace"] = "other".into();
    other["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z".into();
    other["spec"]["rules"][0]["http"]["paths"][0]["path"] = "/below".into();
    index.apply(apply(annotated(other.clone(), &[(PRIORITY, "5000")])));
    other["spec"]["rules"][0]["http"]["paths"][0]["path"] = "/".into();
    other["metadata"]["name"] = "root".into();
    index.apply(apply(annotated(other, &[(PRIORITY, "5000")])));
    let findings = compiled(&mut index);
    assert_eq!(met(&index, "a.example", "/"), A);
    assert_eq!(met(&index, "a.example", "/below"), "empty");
    let told = findings
        .iter()
        .filter(|(_, _, message)| message.starts_with("router.priority does not count"));
    assert_eq!(told.count(), 2, "{findings:?}");
}

#[test]
fn a_priority_above_other_hosts_is_a_note() {
    for (host, priority, notes) in [
        ("*.example", "27", 1),
        ("", "1000", 1),
        ("", "26", 0),
        ("*.example", "-5", 0),
        ("a.example", "1000", 0),
    ] {
        let mut index = index();
        index.apply(apply(service("web")));
        let one = annotated(ingress("web", host, "/", "web"), &[(PRIORITY, priority)]);
        index.apply(apply(one));
        let findings = compiled(&mut index);
        let told = findings
            .iter()
            .filter(|(_, _, message)| message.contains("orders the rules of one host"));
        assert_eq!(told.count(), notes, "{host:?} {priority}");
    }
}
