//! Paths that are regular expressions by annotations of ingress-nginx, and rewritten paths.

use super::{
    paths::{A, B, compiled, with_paths},
    *,
};
use crate::routing::{PathMatch, RequestStep, RequestUrl, Rewritten, path};

const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// An Ingress with paths and annotations of ingress-nginx.
fn annotated(
    index: &mut Index,
    name: &str,
    paths: &[(&str, &str, &str)],
    annotations: &[(&str, &str)],
) -> Value {
    let mut one = with_paths(index, name, paths);
    let annotations = annotations.iter();
    let annotations: serde_json::Map<String, Value> = annotations
        .map(|(name, value)| (format!("{NGINX}{name}"), json!(value)))
        .collect();
    one["metadata"]["annotations"] = annotations.into();
    one
}

/// Returns the path and query that the backend gets, or the URL of a redirect.
fn rewritten(index: &Index, asked: &str) -> String {
    let matched = path::matched(asked);
    let found = index.table().find(Some("a.example"), &matched, &GET);
    let route = found.expect("a rule").route;
    let steps = route.steps.iter().flat_map(|steps| &steps.request);
    let mut rewrites = steps.filter_map(|step| match step {
        RequestStep::Rewrite(rewrite) => Some(rewrite),
        _ => None,
    });
    let Some(rewrite) = rewrites.next() else {
        return asked.to_owned();
    };
    let url = RequestUrl {
        https: false,
        host: "a.example",
        port: 80,
        https_port: 443,
        path: asked,
        query: Some("q"),
    };
    match rewrite.apply(&matched, url) {
        Ok(Rewritten::Path { path, query }) => format!("{path}?{}", query.unwrap_or_default()),
        Ok(Rewritten::Url(url)) => url,
        Err(error) => error.to_string(),
    }
}

#[test]
fn one_ingress_turns_all_paths_of_its_host_into_expressions() {
    let mut index = index();
    let plain = with_paths(
        &mut index,
        "plain",
        &[
            ("/", "Prefix", "a"),
            ("/foo", "Prefix", "b"),
            ("/bar", "Exact", "b"),
        ],
    );
    index.apply(apply(plain));
    compiled(&mut index);
    assert_eq!(met(&index, "a.example", "/foobar"), A);
    assert_eq!(met(&index, "a.example", "/bar/x"), A);

    let regex = [("use-regex", "true")];
    let one = annotated(
        &mut index,
        "regex",
        &[("/v[0-9]+/x$", "Prefix", "b")],
        &regex,
    );
    index.apply(apply(one));
    let findings = compiled(&mut index);
    for (path, expected) in [
        ("/foobar", B),
        ("/FOO", B),
        ("/bar/x", B),
        ("/Bar", B),
        ("/V12/X", B),
        ("/v12/xy", A),
        ("/v%31/x", B),
        ("/x/..%2Ffoo", "404"),
    ] {
        assert_eq!(met(&index, "a.example", path), expected, "{path}");
    }
    assert_eq!(met(&index, "b.example", "/foobar"), "404");
    let [(name, "PathIsExpression", message)] = &findings[..] else {
        panic!("{findings:?}")
    };
    assert_eq!(name, "plain");
    assert!(
        message.contains("because of Ingress default/regex"),
        "{message}"
    );

    index.apply(delete(Kind::Ingress, "regex"));
    assert!(compiled(&mut index).is_empty());
    assert_eq!(met(&index, "a.example", "/foobar"), A);
}

#[test]
fn the_longest_text_is_tried_first() {
    let mut index = index();
    let one = annotated(
        &mut index,
        "regex",
        &[
            ("/foo/bar", "Exact", "a"),
            ("/foo/.*/bar", "ImplementationSpecific", "b"),
            ("/foo/[a-z]+", "ImplementationSpecific", "b"),
        ],
        &[("use-regex", "true")],
    );
    index.apply(apply(one));
    assert!(compiled(&mut index).is_empty());
    assert_eq!(
        met(&index, "a.example", "/foo/bar"),
        B,
        "the expression is longer"
    );
    assert_eq!(met(&index, "a.example", "/foo/1"), "404");
}

#[test]
fn an_exact_path_keeps_its_place_before_the_prefix() {
    let mut index = index();
    let one = with_paths(
        &mut index,
        "plain",
        &[("/foo", "Prefix", "a"), ("/foo", "Exact", "b")],
    );
    index.apply(apply(one));
    let regex = [("use-regex", "true")];
    let regex = annotated(&mut index, "regex", &[("/x.*", "Prefix", "a")], &regex);
    index.apply(apply(regex));
    let reasons: Vec<_> = compiled(&mut index).into_iter().map(|one| one.1).collect();
    assert_eq!(reasons, ["PathIsExpression"]);
    assert_eq!(met(&index, "a.example", "/foo/x"), A);
    assert_eq!(met(&index, "a.example", "/foox"), B);
}

#[test]
fn the_backend_gets_the_rewritten_path() {
    for (path, path_type, target, asked, expected) in [
        (
            "/app(/|$)(.*)",
            "ImplementationSpecific",
            "/$2",
            "/app/x",
            "/x?q",
        ),
        ("/app(/|$)(.*)", "Prefix", "/$2", "/app", "/?q"),
        (
            "/app(/|$)(.*)",
            "Exact",
            "/b/$2",
            "/app//x%2Fy",
            "/b/x%2Fy?q",
        ),
        ("/app", "Prefix", "/", "/app/x", "/?q"),
        ("/app", "Prefix", "/app", "/app/x", "/app/x"),
        ("/", "Prefix", "/", "/x", "/x"),
        (
            "/(.*)",
            "Prefix",
            "https://b.example/$1",
            "/x",
            "https://b.example/x?q",
        ),
        (
            "/a(.*)",
            "Prefix",
            "/app/$1",
            "/a../x",
            "the rewritten path has dot segments",
        ),
    ] {
        let mut index = index();
        let target = [("rewrite-target", target)];
        let one = annotated(&mut index, "app", &[(path, path_type, "a")], &target);
        index.apply(apply(one));
        assert!(compiled(&mut index).is_empty(), "{path} {target:?}");
        assert_eq!(rewritten(&index, asked), expected, "{path} {target:?}");
    }
}

#[test]
fn the_prefix_is_sent_with_rewritten_paths_alone() {
    for (target, expected) in [("/$1", 1), ("/(.*)", 0)] {
        let mut index = index();
        let one = annotated(
            &mut index,
            "app",
            &[("/(.*)", "Prefix", "a")],
            &[("rewrite-target", target), ("x-forwarded-prefix", "/app")],
        );
        index.apply(apply(one));
        if expected == 1 {
            assert!(compiled(&mut index).is_empty());
        } else {
            compiled(&mut index);
        }
        let count = index
            .table()
            .hosts()
            .flat_map(|host| host.rules())
            .map(|rule| {
                let steps = rule.route.steps.iter().flat_map(|steps| &steps.request);
                let fields = steps.filter(|step| matches!(step, RequestStep::SetField(_)));
                fields.count()
            });
        assert_eq!(count.sum::<usize>(), expected, "{target}");
    }
}

#[test]
fn what_cannot_be_evaluated_closes_its_paths() {
    let mut index = index();
    let one = annotated(
        &mut index,
        "regex",
        &[
            ("/", "Prefix", "a"),
            ("/api/(?!open)(.*)", "ImplementationSpecific", "b"),
        ],
        &[("use-regex", "true")],
    );
    index.apply(apply(one));
    let findings = compiled(&mut index);
    let [(_, "UnsupportedPath", message)] = &findings[..] else {
        panic!("{findings:?}")
    };
    assert!(message.contains("look-around"), "{message}");
    assert!(
        message.contains("503 for all that begins with /api/"),
        "{message}"
    );
    let closed = format!("{:?}", Refusal::UnsupportedPath);
    for (path, expected) in [
        ("/api/x", &*closed),
        ("/API/open", &closed),
        ("/api%2Fx", &closed),
        ("/apis", A),
    ] {
        assert_eq!(met(&index, "a.example", path), expected, "{path}");
    }
}

#[test]
fn invalid_values_close_the_paths() {
    for annotation in [("use-regex", "yes"), ("rewrite-target", "/$uri")] {
        let mut index = index();
        let one = annotated(&mut index, "app", &[("/", "Prefix", "a")], &[annotation]);
        index.apply(apply(one));
        let findings = compiled(&mut index);
        let [(_, "InvalidAnnotation", message)] = &findings[..] else {
            panic!("{findings:?}")
        };
        assert!(message.ends_with("the paths return 503"), "{message}");
        let closed = format!("{:?}", Refusal::InvalidGuard);
        assert_eq!(met(&index, "a.example", "/"), closed);
    }
}

#[test]
fn equal_expressions_share_their_memory() {
    let mut index = index();
    for name in ["one", "two"] {
        let regex = [("use-regex", "true")];
        let mut one = annotated(&mut index, name, &[("/x(.*)", "Prefix", "a")], &regex);
        one["spec"]["rules"][0]["host"] = format!("{name}.example").into();
        index.apply(apply(one));
    }
    compiled(&mut index);
    let expressions: Vec<_> = index
        .table()
        .hosts()
        .flat_map(|host| host.rules())
        .filter_map(|rule| match &rule.path {
            PathMatch::Expression(expression) => Some(expression.clone()),
            _ => None,
        })
        .collect();
    assert!(Arc::ptr_eq(&expressions[0], &expressions[1]));
}
