//! Guards that are for a whole host, because TLS or a server of the peer has them.

use super::*;

const SNIPPET: (&str, &str) = (
    "nginx.ingress.kubernetes.io/server-snippet",
    "auth_basic x;",
);

/// An index where `open` and the guarded `safe` share a host, in their namespaces; `safe` is
/// younger.
fn shared(guard: (&str, &str), safe_namespace: &str) -> (Index, Output) {
    let mut index = index();
    for namespace in ["default", "other"] {
        let mut web = service("web");
        web["metadata"]["namespace"] = namespace.into();
        index.apply(apply(web));
    }

    let mut open = ingress("open", "a.example", "/open", "web");
    open["metadata"]["annotations"] = json!({});
    index.apply(apply(open));
    let mut safe = ingress("safe", "a.example", "/safe", "web");
    safe["metadata"]["namespace"] = safe_namespace.into();
    safe["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z".into();
    safe["metadata"]["annotations"] = json!({guard.0: guard.1});
    index.apply(apply(safe));
    index.apply(apply(ingress("elsewhere", "b.example", "/", "web")));
    let output = index.compile();
    (index, output)
}

#[test]
fn some_guards_are_for_the_whole_host() {
    for guard in [
        SNIPPET,
        (
            "traefik.ingress.kubernetes.io/router.tls.options",
            "mtls@file",
        ),
    ] {
        let (mut index, output) = shared(guard, "default");
        for path in ["/safe", "/open"] {
            let met = met(&index, "a.example", path);
            assert_eq!(met, "UnsupportedGuard", "{guard:?}");
        }
        assert_eq!(met(&index, "b.example", "/"), "empty", "{guard:?}");
        let expected = [
            ("open".to_owned(), "UnsupportedGuard"),
            ("safe".to_owned(), "UnsupportedGuard"),
        ];
        assert_eq!(reasons(&output), expected, "{guard:?}");
        index.apply(delete(Kind::Ingress, "safe"));
        let output = index.compile();
        assert_eq!(met(&index, "a.example", "/open"), "empty", "{guard:?}");
        assert!(reasons(&output).is_empty(), "{guard:?}");
    }
}

#[test]
fn a_guard_on_paths_leaves_the_rest_of_the_host_open() {
    let (index, output) = shared(
        (
            "nginx.ingress.kubernetes.io/modsecurity-snippet",
            "http://a/",
        ),
        "default",
    );
    assert_eq!(met(&index, "a.example", "/safe"), "UnsupportedGuard");
    assert_eq!(met(&index, "a.example", "/open"), "empty");
    assert_eq!(reasons(&output), [("safe".to_owned(), "UnsupportedGuard")]);
}

#[test]
fn another_namespace_cannot_close_a_host_that_it_does_not_own() {
    let (index, _) = shared(SNIPPET, "other");
    assert_eq!(met(&index, "a.example", "/safe"), "UnsupportedGuard");
    assert_eq!(met(&index, "a.example", "/open"), "empty");
}

#[test]
fn a_decision_to_ignore_opens_the_whole_host() {
    let (mut index, _) = shared(SNIPPET, "default");
    let mut safe = ingress("safe", "a.example", "/safe", "web");
    safe["metadata"]["annotations"] = json!({SNIPPET.0: SNIPPET.1,
        "gatelet.dev/unsupported-guards": "ignore"});
    index.apply(apply(safe));
    index.compile();
    assert_eq!(
        (
            met(&index, "a.example", "/safe"),
            met(&index, "a.example", "/open")
        ),
        ("empty".into(), "empty".into())
    );
}

#[test]
fn a_master_of_f5_closes_its_minions() {
    for (kind, open) in [("master", "UnsupportedGuard"), ("minion", "empty")] {
        let (mut index, _) = shared(("nginx.org/basic-auth-secret", "users"), "default");
        let mut safe = ingress("safe", "a.example", "/safe", "web");
        safe["metadata"]["annotations"] = json!({"nginx.org/basic-auth-secret": "users",
            "nginx.org/mergeable-ingress-type": kind});
        index.apply(apply(safe));
        index.compile();
        assert_eq!(
            met(&index, "a.example", "/safe"),
            "UnsupportedGuard",
            "{kind}"
        );
        assert_eq!(met(&index, "a.example", "/open"), open, "{kind}");
    }
}
