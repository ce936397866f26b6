//! Canaries: requests reach the backend that their field, their cookie or the weight says.

use std::process::Command;

use super::support::{Backend, Gatelet, backend, eventually, run, said};

const HOST: &str = "app.example.com";
const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// Starts a gatelet with the backends `app` and `next`, where `next` is the canary of `app`.
fn start() -> (Gatelet, Backend, Backend) {
    let (app, next) = (Backend::start("app"), Backend::start("next"));
    let gatelet = Gatelet::start();
    // The canary is older.
    let canary = backend::ingress("next", HOST, "").replace(
        "metadata: {name: next}",
        &format!("metadata: {{name: next, annotations: {{{NGINX}canary: \"true\"}}}}"),
    );
    gatelet.apply(&format!(
        "{}{}{canary}",
        backend::service("next", ""),
        backend::slice("next", &[next.port]),
    ));
    gatelet.serve(&app.manifests("app", HOST), HOST);
    (gatelet, app, next)
}

fn annotate(gatelet: &Gatelet, annotations: &[&str]) {
    let annotations = annotations.iter().map(|one| format!("{NGINX}{one}"));
    let annotations: Vec<String> = annotations.collect();
    let mut arguments = vec!["annotate", "--overwrite", "ingress", "next"];
    arguments.extend(annotations.iter().map(String::as_str));
    gatelet.kubectl(&arguments);
}

/// Returns the name of the backend that responds.
fn reached(mut curl: Command, arguments: &[&str]) -> String {
    let said = run(curl.args(arguments));
    said.lines().next().unwrap_or_default().to_owned()
}

fn becomes(gatelet: &Gatelet, arguments: &[&str], name: &str) {
    eventually(&format!("{arguments:?} reaches {name}"), || {
        (reached(gatelet.curl(HOST, "/"), arguments) == name).then_some(())
    });
}

/// The steps and the outcome that `explain` shows.
fn explained(gatelet: &Gatelet, headers: &[&str]) -> (String, String) {
    let mut arguments = vec!["explain", HOST, "-o", "json"];
    for header in headers {
        arguments.extend(["--header", *header]);
    }
    let report: serde_json::Value =
        serde_json::from_str(&said(&gatelet.command(&arguments))).expect("JSON");
    (report["steps"].to_string(), report["outcome"].to_string())
}

#[test]
fn the_field_then_the_cookie_then_the_weight_decide() {
    let (gatelet, ..) = start();
    annotate(
        &gatelet,
        &["canary-by-header=X-Canary", "canary-by-cookie=c"],
    );
    becomes(&gatelet, &["-H", "X-Canary: always"], "next");

    for (arguments, name) in [
        (&[][..], "app"),
        (&["-H", "X-Canary: never"], "app"),
        (&["-H", "X-Canary: yes"], "app"),
        (&["-b", "c=always"], "next"),
        (&["-b", "a=1; c=always"], "next"),
        (&["-b", "c=never"], "app"),
        (&["-H", "X-Canary: never", "-b", "c=always"], "app"),
        (&["-H", "X-Canary: always", "-b", "c=never"], "next"),
    ] {
        assert_eq!(
            reached(gatelet.curl(HOST, "/"), arguments),
            name,
            "{arguments:?}"
        );
        let mut arguments = arguments.to_vec();
        arguments.push("--http2");
        let over_h2 = reached(gatelet.curl_tls(HOST, "/"), &arguments);
        assert_eq!(over_h2, name, "{arguments:?}");
    }
    let (steps, outcome) = explained(&gatelet, &["X-Canary: always"]);
    assert!(steps.contains("by the field x-canary"), "{steps}");
    assert!(
        outcome.contains("forwarded to default/next:80 (HTTP/1.1)\""),
        "{outcome}"
    );
    let (steps, outcome) = explained(&gatelet, &["Cookie: c=never"]);
    assert!(steps.contains("by the cookie c"), "{steps}");
    assert!(!outcome.contains("next"), "{outcome}");

    annotate(&gatelet, &["canary-weight=100"]);
    becomes(&gatelet, &[], "next");
    assert_eq!(reached(gatelet.curl(HOST, "/"), &["-b", "c=never"]), "app");

    annotate(&gatelet, &["canary-weight=50"]);
    for name in ["app", "next", "app"] {
        becomes(&gatelet, &[], name);
    }
    let (steps, outcome) = explained(&gatelet, &[]);
    assert!(
        steps.contains("50 of 100") && outcome.contains(" or "),
        "{steps} {outcome}"
    );
}

#[test]
fn a_canary_that_ends_loses_no_request() {
    let (gatelet, app, _next) = start();
    annotate(&gatelet, &["canary-weight=100"]);
    becomes(&gatelet, &[], "next");

    // Its endpoints go: the main backend takes all.
    gatelet.kubectl(&["delete", "endpointslice", "next-1"]);
    becomes(&gatelet, &[], "app");
    gatelet.apply(&backend::slice("next", &[_next.port]));
    becomes(&gatelet, &[], "next");

    // A guard of its own that the main Ingress does not have.
    annotate(&gatelet, &["denylist-source-range=192.0.2.0/24"]);
    becomes(&gatelet, &[], "app");
    let findings = gatelet.status()["findings"].to_string();
    assert!(findings.contains("UnusedCanary"), "{findings}");
    annotate(&gatelet, &["denylist-source-range-"]);
    becomes(&gatelet, &[], "next");

    // It never stands in for the main Ingress.
    let before = app.count();
    gatelet.kubectl(&["delete", "ingress", "app"]);
    eventually("nothing is served", || {
        (gatelet.status_of(HOST, "/") == 404).then_some(())
    });
    assert_eq!(app.count(), before);
    gatelet.apply(&backend::ingress("app", HOST, ""));
    becomes(&gatelet, &[], "next");
    gatelet.kubectl(&["delete", "ingress", "next"]);
    becomes(&gatelet, &[], "app");
}

#[test]
fn a_guard_of_the_main_ingress_holds_for_its_canary() {
    let (gatelet, _app, next) = start();
    annotate(
        &gatelet,
        &["canary-weight=100", "canary-by-header=X-Canary"],
    );
    becomes(&gatelet, &[], "next");
    let list = format!("{NGINX}denylist-source-range=127.0.0.0/8");
    gatelet.kubectl(&["annotate", "ingress", "app", &list]);
    eventually("it is closed", || {
        (gatelet.status_of(HOST, "/") == 403).then_some(())
    });

    let before = next.count();
    for arguments in [
        &["-H", "X-Canary: always"][..],
        &["-H", "X-Canary: always", "-H", "X-Forwarded-For: 192.0.2.1"],
        &["-H", "Connection: upgrade", "-H", "Upgrade: websocket"],
        &["--http2"],
    ] {
        for path in ["/", "//", "/%2e/"] {
            let mut curl = gatelet.curl_tls(HOST, path);
            curl.args(["-o", "/dev/null", "-w", "%{http_code}"]);
            assert_eq!(run(curl.args(arguments)), "403", "{arguments:?} {path}");
        }
    }
    assert_eq!(next.count(), before);
}
