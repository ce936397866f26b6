//! Rewritten paths: what backends get, and that no spelling of a path is a way around a guard.

use super::support::{Backend, Gatelet, eventually, run};

const HOST: &str = "app.example.com";

/// The Secret of a login, and two Ingresses: `app`, rewritten and with a login, and `plain`.
const MANIFESTS: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: users}
stringData: {auth: "ann:{PLAIN}one"}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: app
  annotations:
    nginx.ingress.kubernetes.io/rewrite-target: /$2
    nginx.ingress.kubernetes.io/auth-type: basic
    nginx.ingress.kubernetes.io/auth-secret: users
spec:
  rules:
  - host: app.example.com
    http:
      paths:
      - path: /admin(/|$)(.*)
        pathType: ImplementationSpecific
        backend: {service: {name: app, port: {number: 80}}}
---
"#;

/// Starts gatelet with both Ingresses.
fn start(backend: &Backend) -> Gatelet {
    let gatelet = Gatelet::start();
    let manifests = backend.manifests("app", HOST);
    let plain = manifests.split("---\n").nth(2).expect("an Ingress");
    let plain = plain.replace("metadata: {name: app}", "metadata: {name: plain}");
    gatelet.serve(&(manifests.clone() + MANIFESTS + &plain), HOST);
    eventually("the login applies", || {
        (gatelet.status_of(HOST, "/admin/x") == 401).then_some(())
    });
    gatelet
}

#[test]
fn no_spelling_of_a_path_is_a_way_around_a_login() {
    let backend = Backend::start("app");
    let gatelet = start(&backend);
    for (path, expected) in [
        ("/admin", 401),
        ("/admin/x", 401),
        ("/ADMIN/x", 401),
        ("//admin//x", 401),
        ("/%61dmin/x", 401),
        ("/admin%2Fx", 401),
        ("/admin%2fx", 401),
        ("/x/../admin/x", 401),
        ("/x/%2e%2e/admin/x", 401),
        ("/x/..%2Fadmin/x", 404),
        ("/x%2F..%2Fadmin/x", 404),
        ("/x/..%5Cadmin", 404),
        ("/x/..\\admin", 404),
        ("/admin%0A", 404),
        ("/admins", 200),
    ] {
        assert_eq!(gatelet.status_of(HOST, path), expected, "{path}");
    }
}

#[test]
fn the_backend_gets_the_rewritten_path_over_all_protocols() {
    let backend = Backend::start("app");
    let gatelet = start(&backend);
    for more in [&[][..], &["--http2"], &["--http1.0"]] {
        let mut curl = gatelet.curl_tls(HOST, "/admin/x%2Fy?q=1");
        let text = run(curl.args(["-u", "ann:one"]).args(more));
        assert!(text.contains("GET /x%2Fy?q=1 HTTP/1.1"), "{more:?}: {text}");
    }

    let upgrade = ["Connection: Upgrade", "Upgrade: websocket"];
    let mut curl = gatelet.curl(HOST, "/admin/socket");
    curl.args(["-u", "ann:one", "-H", upgrade[0], "-H", upgrade[1]]);
    let text = run(&mut curl);
    assert!(text.contains("GET /socket HTTP/1.1"), "{text}");
    assert!(
        text.to_ascii_lowercase().contains("upgrade: websocket"),
        "{text}"
    );
}

#[test]
fn explain_shows_the_rewritten_path() {
    let backend = Backend::start("app");
    let gatelet = start(&backend);
    let output = gatelet.command(&["explain", "app.example.com/admin/x?q=1", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let steps = report["steps"].as_array().expect("steps");
    let step = steps.iter().find(|step| step["step"] == "rewrite");
    let step = step.expect("a step");
    assert_eq!(step["effect"], "the backend gets /x?q=1");
    assert_eq!(step["from"], "nginx.ingress.kubernetes.io/rewrite-target");
}

#[test]
fn annotations_of_haproxy_rewrite_paths() {
    let backend = Backend::start("app");
    let gatelet = Gatelet::start();
    gatelet.serve(&backend.manifests("app", HOST), HOST);
    let asked = |path: &str| {
        let text = gatelet.get(HOST, path);
        let line = text.lines().nth(1).unwrap_or_default();
        line.split(' ').nth(1).unwrap_or_default().to_owned()
    };

    for (annotation, requests) in [
        (
            "haproxy-ingress.github.io/rewrite-target=/y",
            &[("/", "/y/"), ("/a%2Fb?c", "/y/a%2Fb?c")][..],
        ),
        (
            "haproxy.org/path-rewrite=/api/(.*)/x /v1/\\1",
            &[
                ("/api/a/x", "/v1/a"),
                ("/in/api/a/x/more?q=1", "/v1/a?q=1"),
                ("/other", "/other"),
            ],
        ),
        ("haproxy.org/path-rewrite=/all", &[("/x?y", "/all?y")]),
    ] {
        let (name, _) = annotation.split_once('=').expect("a value");
        gatelet.kubectl(&["annotate", "ingress", "app", annotation]);
        let (first, expected) = requests[0];
        eventually("the annotation applies", || {
            (asked(first) == expected).then_some(())
        });
        for (path, expected) in requests {
            assert_eq!(asked(path), *expected, "{annotation}: {path}");
        }
        gatelet.kubectl(&["annotate", "ingress", "app", &format!("{name}-")]);
        eventually("the annotation is gone", || {
            (asked(first) != expected).then_some(())
        });
    }
}
