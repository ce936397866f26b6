//! Redirects to HTTPS, and HSTS.

use super::*;

/// Returns true for a redirect of plain HTTP, and true for HSTS in responses over TLS.
fn policy(index: &Index, host: &str, path: &str) -> (bool, bool) {
    let found = index.table().find(Some(host), path, &GET).expect("a route");
    (
        found.route.redirect(found.tls).is_some(),
        found.route.hsts(found.tls).is_some(),
    )
}

fn redirects(index: &Index, host: &str, path: &str) -> bool {
    policy(index, host, path).0
}

fn with_tls(mut ingress: Value, host: &str) -> Value {
    ingress["spec"]["tls"] = json!([{"hosts": [host]}]);
    ingress
}

fn annotated(mut ingress: Value, name: &str, value: &str) -> Value {
    ingress["metadata"]["annotations"][name] = value.into();
    ingress
}

/// As a younger object of another namespace.
fn elsewhere(mut ingress: Value) -> Value {
    ingress["metadata"]["namespace"] = "other".into();
    ingress["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z".into();
    ingress
}

#[test]
fn hosts_under_tls_redirect_unless_the_object_says_no() {
    for (annotation, expected) in [
        (None, true),
        (Some(("gatelet.dev/ssl-redirect", "false")), false),
        (
            Some(("nginx.ingress.kubernetes.io/ssl-redirect", "false")),
            false,
        ),
        (
            Some(("nginx.ingress.kubernetes.io/ssl-redirect", "maybe")),
            true,
        ),
    ] {
        let mut index = index();
        index.apply(apply(service("web")));
        let one = with_tls(ingress("web", "a.example", "/", "web"), "*.example");
        index.apply(apply(match annotation {
            Some((name, value)) => annotated(one, name, value),
            None => one,
        }));
        index.apply(apply(ingress("plain", "b.test", "/", "web")));
        index.compile();
        assert_eq!(
            redirects(&index, "a.example", "/"),
            expected,
            "{annotation:?}"
        );
        assert!(!redirects(&index, "b.test", "/"));
    }
}

#[test]
fn a_host_with_tls_redirects_all_rules_of_its_namespace() {
    let mut index = index();
    index.objects.settings.hsts = Some("max-age=1".into());
    index.objects.settings.default_backend = Some("default/web:80".into());
    index.apply(apply(service("web")));
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let mut first = with_tls(ingress("first", "a.example", "/x", "web"), "a.example");
    first["spec"]["defaultBackend"] = backend.clone();
    index.apply(apply(first));
    index.apply(apply(ingress("second", "a.example", "/second", "web")));
    let free = annotated(
        ingress("free", "a.example", "/free", "web"),
        "gatelet.dev/ssl-redirect",
        "false",
    );
    index.apply(apply(free));
    index.apply(apply(elsewhere(ingress(
        "guest",
        "a.example",
        "/guest",
        "web",
    ))));

    // No rule takes its other paths: the controller's default backend does.
    index.apply(apply(with_tls(
        ingress("bare", "b.example", "/x", "web"),
        "b.example",
    )));
    index.compile();
    for (host, path, expected) in [
        ("a.example", "/x", (true, true)),
        ("a.example", "/other", (true, true)),
        ("a.example", "/second", (true, true)),
        ("a.example", "/free", (false, true)),
        ("a.example", "/guest", (true, true)),
        ("b.example", "/other", (true, true)),
        ("c.example", "/", (false, false)),
    ] {
        assert_eq!(policy(&index, host, path), expected, "{host}{path}");
    }

    // An Ingress without rules takes what is left, and decides about it.
    let mut all = ingress("all", "", "/", "web");
    all["spec"] = json!({"defaultBackend": backend});
    index.apply(apply(all.clone()));
    index.compile();
    assert!(redirects(&index, "b.example", "/other") && !redirects(&index, "c.example", "/"));

    index.apply(apply(annotated(
        all,
        "gatelet.dev/force-ssl-redirect",
        "true",
    )));
    index.compile();
    assert!(redirects(&index, "c.example", "/"));

    // Without its `tls` a host is like any other.
    index.apply(apply(ingress("first", "a.example", "/x", "web")));
    index.compile();
    assert_eq!(policy(&index, "a.example", "/second"), (false, false));
}

#[test]
fn only_the_owning_namespace_puts_a_host_under_tls() {
    let mut index = index();
    index.apply(apply(service("web")));
    index.apply(apply(ingress("owner", "a.example", "/", "web")));
    index.apply(apply(elsewhere(with_tls(
        ingress("guest", "a.example", "/guest", "web"),
        "a.example",
    ))));
    let output = index.compile();
    assert_eq!(
        reasons(&output),
        [
            ("guest".to_owned(), "HostTaken"),
            ("guest".to_owned(), "UnknownService")
        ]
    );
    assert!(!redirects(&index, "a.example", "/"));
    assert!(
        redirects(&index, "a.example", "/guest"),
        "its own rules are its own affair"
    );
}

#[test]
fn redirects_may_be_off_for_all_and_forced_by_an_object() {
    let mut index = index();
    index.objects.settings.ssl_redirect = false;
    index.apply(apply(service("web")));
    index.apply(apply(with_tls(
        ingress("off", "off.example", "/", "web"),
        "off.example",
    )));
    for (name, annotation) in [
        ("on", "gatelet.dev/ssl-redirect"),
        ("forced", "nginx.ingress.kubernetes.io/force-ssl-redirect"),
    ] {
        let host = format!("{name}.example");
        index.apply(apply(with_tls(
            annotated(ingress(name, &host, "/", "web"), annotation, "true"),
            &host,
        )));
    }

    index.apply(apply(annotated(
        ingress("bare", "bare.example", "/", "web"),
        "gatelet.dev/force-ssl-redirect",
        "true",
    )));
    index.compile();
    for (host, expected) in [
        ("off.example", false),
        ("on.example", true),
        ("forced.example", true),
        ("bare.example", true),
    ] {
        assert_eq!(redirects(&index, host, "/"), expected, "{host}");
    }
}
