//! Ingresses whose access is restricted by annotations that gatelet does not support, and classes
//! of other controllers.

pub mod external_auth;

use serde_json::{Value, json};

use super::support::{Backend, Folder, Gatelet, eventually, gatelet::program, run, said};

const HOST: &str = "app.example.com";
const GUARD: &str = "nginx.ingress.kubernetes.io/modsecurity-snippet=SecRuleEngine On";

/// Returns the outcome that `explain` shows.
fn outcome(gatelet: &Gatelet) -> String {
    let output = gatelet.command(&["explain", HOST, "-o", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    report["outcome"].as_str().expect("text").to_owned()
}

#[test]
fn a_firewall_closes_its_paths_and_says_why() {
    let backend = Backend::start("app");
    let gatelet = Gatelet::start();
    gatelet.serve(&backend.manifests("app", HOST), HOST);
    let before = backend.count();
    gatelet.kubectl(&["annotate", "ingress", "app", GUARD]);
    eventually("it is closed", || {
        (gatelet.status_of(HOST, "/") == 503).then_some(())
    });

    // The client, the operator and the owner of the object all learn the reason.
    let reason = "access to this route is restricted in a way that is not supported";
    let answer = run(gatelet.curl(HOST, "/").arg("-i"));
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains(reason),
        "{answer}"
    );
    assert_eq!(outcome(&gatelet), format!("503: {reason}"));
    let findings = gatelet.status()["findings"].clone();
    let field = "metadata.annotations[nginx.ingress.kubernetes.io/modsecurity-snippet]";
    assert_eq!(findings.as_array().expect("a list").len(), 1, "{findings}");
    for (key, value) in [
        ("severity", "Warning"),
        ("reason", "UnsupportedGuard"),
        ("field", field),
    ] {
        assert_eq!(findings[0][key], value, "{findings}");
    }
    let message = "it asks for rules of a web application firewall, which is not supported: the \
                   paths return 503";
    assert!(
        findings[0]["message"]
            .as_str()
            .expect("text")
            .starts_with(message),
        "{findings}"
    );
    eventually("the Event is there", || {
        let described = gatelet.kubectl(&["describe", "ingress", "app"]);
        (described.contains("Warning")
            && described.contains("UnsupportedGuard")
            && described.contains(message))
        .then_some(())
    });
    assert_eq!(
        run(gatelet
            .curl_tls(HOST, "/")
            .args(["-o", "/dev/null", "-w", "%{http_code}"])),
        "503"
    );
    assert!(backend.count() <= before + 1, "nothing came through");

    gatelet.kubectl(&[
        "annotate",
        "ingress",
        "app",
        "gatelet.dev/unsupported-guards=ignore",
    ]);
    eventually("it is open by decision", || {
        (gatelet.status_of(HOST, "/") == 200).then_some(())
    });
    let findings = gatelet.status()["findings"].clone();
    assert_eq!(
        (&findings[0]["severity"], &findings[0]["reason"]),
        (&json!("Normal"), &json!("UnsupportedGuard"))
    );
}

#[test]
fn a_setting_serves_paths_without_their_guards() {
    let backend = Backend::start("app");
    for (flags, file, expected) in [
        (&[][..], "", 503),
        (&[], "unsupported_guards = \"ignore\"", 200),
        (&["--unsupported-guards", "ignore"], "", 200),
        (
            &["--unsupported-guards", "refuse"],
            "unsupported_guards = \"ignore\"",
            503,
        ),
    ] {
        let mut gatelet = Gatelet::prepare(flags);
        gatelet.configure(file);
        gatelet.spawn();
        gatelet.wait_ready();
        let guarded = backend.manifests("app", HOST).replace(
            "kind: Ingress\nmetadata: {name: app}",
            "kind: Ingress\nmetadata: {name: app, annotations: {haproxy.org/client-ca: \
                default/ca}}",
        );
        gatelet.apply(&guarded);
        eventually("it is decided", || {
            (gatelet.status_of(HOST, "/") == expected).then_some(())
        });
    }
}

#[test]
fn other_classes_are_reported_and_can_be_taken_over() {
    let backend = Backend::start("app");
    let gatelet = Gatelet::start();
    let of_nginx = |name: &str, host: &str, annotations: &str| {
        let manifests = backend.manifests(name, host).replace(
            "spec:\n  rules:",
            "spec:\n  ingressClassName: nginx\n  rules:",
        );
        manifests.replace(
            &format!("kind: Ingress\nmetadata: {{name: {name}}}"),
            &format!("kind: Ingress\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}"),
        )
    };
    gatelet.apply(&of_nginx("app", HOST, ""));
    gatelet.apply(&of_nginx(
        "safe",
        "safe.example.com",
        "nginx.ingress.kubernetes.io/modsecurity-snippet: basic",
    ));
    let classes = eventually("the findings are there", || {
        let status = gatelet.status();
        (status["other_classes"][0]["ingresses"] == 2).then(|| status["other_classes"].clone())
    });
    let guards =
        json!([{"annotation": "nginx.ingress.kubernetes.io/modsecurity-snippet", "ingresses": 1}]);
    assert_eq!(
        classes,
        json!([{"class": "nginx", "ingresses": 2, "guarded": 1, "guards": guards}])
    );
    let text = run(&mut gatelet.command_line(&["status"]));
    let row = "nginx  2          1            nginx.ingress.kubernetes.io/modsecurity-snippet (1)";
    assert!(
        text.contains("Ingresses of other classes: not served (docs/migrating.md)\n"),
        "{text}"
    );
    assert!(text.lines().any(|line| line == row), "{text}");
    assert_eq!(gatelet.status_of(HOST, "/"), 404);

    // No IngressClass makes this class ours.
    let mut gatelet = gatelet;
    gatelet.signal("TERM");
    gatelet.wait();
    let gatelet = gatelet.again(&["--classes", "nginx"]);
    eventually("it is served", || {
        (gatelet.status_of(HOST, "/") == 200).then_some(())
    });
    assert_eq!(gatelet.status_of("safe.example.com", "/"), 503);
    assert_eq!(gatelet.status()["other_classes"], json!([]));
}

#[test]
fn check_fails_for_a_guard_that_is_not_supported() {
    let folder = Folder::new();
    let guarded = super::support::backend::manifests("app", HOST, 3000).replace(
        "kind: Ingress\nmetadata: {name: app}",
        "kind: Ingress\nmetadata: {name: app, annotations: \
            {nginx.ingress.kubernetes.io/server-snippet: 'auth_basic x;'}}",
    );
    let path = folder.write("app.yaml", &guarded);
    let check = || {
        program()
            .arg("check")
            .arg(&path)
            .output()
            .expect("gatelet runs")
    };
    let output = check();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("UnsupportedGuard"),
        "{}",
        said(&output)
    );

    folder.write(
        "app.yaml",
        &guarded.replace("x;'", "x;', gatelet.dev/unsupported-guards: ignore"),
    );
    let output = check();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(
        said(&output).contains("served without it"),
        "{}",
        said(&output)
    );
}
