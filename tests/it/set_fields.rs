//! Fields of requests and responses that annotations set, over each protocol.

use super::support::{Backend, Certificate, Gatelet, backend, certificates, eventually, run};

const HOST: &str = "app.example.com";

/// Starts gatelet with an Ingress with these annotations.
fn start(backend: &Backend, annotations: &str) -> Gatelet {
    let gatelet = Gatelet::start();
    gatelet.serve(&manifests(backend, annotations), HOST);
    gatelet
}

/// Returns an Ingress with these annotations, and its Service.
fn manifests(backend: &Backend, annotations: &str) -> String {
    let ingress = backend::ingress("app", HOST, "").replace(
        "metadata: {name: app}",
        &format!("metadata:\n  name: app\n  annotations:\n{annotations}"),
    );
    let service = backend::service("app", "") + &backend::slice("app", &[backend.port]);
    service + &ingress
}

#[test]
fn fields_are_set_in_place_of_those_that_come() {
    let backend = Backend::start("app");
    let annotations = "    haproxy.org/request-set-header: |
      X-Team web
      X-Real-Ip \"192.0.2.9\"
    haproxy-ingress.github.io/headers: |
      X-Colour: blue
    haproxy.org/response-set-header: |
      Cache-Control \"no-store, max-age=0\"
      Content-Type text/other
    haproxy.org/set-host: inside.example
";
    let gatelet = start(&backend, annotations);
    let arguments = [
        "-i",
        "-H",
        "x-team: mine",
        "-H",
        "X-TEAM: other",
        "-H",
        "X-Colour: red",
    ];
    for curl in [
        &mut gatelet.curl(HOST, "/"),
        gatelet.curl_tls(HOST, "/").arg("--http1.1"),
        gatelet.curl_tls(HOST, "/").arg("--http2"),
    ] {
        let text = run(curl.args(arguments)).to_ascii_lowercase();
        let count = |line: &str| text.lines().filter(|one| one.trim() == line).count();
        for line in [
            "x-team: web",
            "x-real-ip: 192.0.2.9",
            "x-colour: blue",
            "host: inside.example",
            "cache-control: no-store, max-age=0",
            "content-type: text/other",
        ] {
            assert_eq!(count(line), 1, "{line}: {text}");
        }
        for value in ["mine", "other\n", "red"] {
            assert!(!text.contains(&format!(": {value}")), "{value}: {text}");
        }
    }
}

#[test]
fn fields_of_a_config_map_follow_it() {
    let backend = Backend::start("app");
    let annotation = "    nginx.ingress.kubernetes.io/custom-headers: default/fields\n";
    let gatelet = Gatelet::start();
    gatelet.apply(&manifests(&backend, annotation));
    let has_status = |status: u16| {
        eventually(&format!("status {status}"), || {
            (gatelet.status_of(HOST, "/") == status).then_some(())
        });
    };
    // It may say what browsers must not do: without it nothing is shown.
    has_status(503);
    let findings = gatelet.status()["findings"].to_string();
    assert!(
        findings.contains("ConfigMap fields does not exist"),
        "{findings}"
    );

    let map = |policy: &str| {
        let data = format!("data: {{X-Frame-Options: {policy}, Server: none}}");
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: fields}}\n{data}\n")
    };
    let has_field = |line: &str| {
        eventually(line, || {
            let text = run(gatelet.curl(HOST, "/").arg("-i")).to_ascii_lowercase();
            text.contains(&format!("{line}\r\n")).then_some(())
        });
    };
    gatelet.apply(&map("DENY"));
    has_status(200);
    has_field("x-frame-options: deny");
    has_field("server: none");

    gatelet.apply(&map("SAMEORIGIN"));
    has_field("x-frame-options: sameorigin");

    gatelet.kubectl(&["delete", "configmap", "fields"]);
    has_status(503);
}

#[test]
fn framing_cannot_be_set() {
    let backend = Backend::start("app");
    let annotations = "    haproxy.org/request-set-header: Content-Length 7
    haproxy.org/response-set-header: Transfer-Encoding chunked
    haproxy-ingress.github.io/headers: 'X-Client: %[src]'
";
    let gatelet = start(&backend, annotations);
    let text = gatelet.get(HOST, "/").to_ascii_lowercase();
    assert!(
        !text.contains("content-length: 7") && !text.contains("x-client"),
        "{text}"
    );
    let findings = gatelet.status()["findings"].to_string();
    assert_eq!(
        findings.matches("is not a field that can be set").count(),
        3,
        "{findings}"
    );
}

#[test]
fn hsts_is_what_the_annotations_say() {
    let backend = Backend::start("app");
    let on = "    haproxy-ingress.github.io/hsts: 'true'
    haproxy-ingress.github.io/hsts-max-age: '300'
    haproxy-ingress.github.io/hsts-include-subdomains: 'true'
    haproxy-ingress.github.io/hsts-preload: 'true'
    gatelet.dev/ssl-redirect: 'false'
";
    let off = "    haproxy-ingress.github.io/hsts: 'false'\n";
    for (annotations, expected) in [
        (on, Some("max-age=300; includesubdomains; preload")),
        (off, None),
    ] {
        let gatelet = start(&backend, annotations);
        let ca = Certificate::make(&gatelet.folder, "ca", &["ca"], certificates::ECDSA);
        let certificate = ca.signed_by(&gatelet.folder, "app", &[HOST]);
        gatelet.apply(&certificate.secret("app"));
        let patch =
            format!(r#"{{"spec": {{"tls": [{{"hosts": ["{HOST}"], "secretName": "app"}}]}}}}"#);
        gatelet.kubectl(&["patch", "ingress", "app", "--type=merge", "-p", &patch]);
        eventually("the certificate is served", || {
            let shown = certificates::shown(gatelet.https, HOST);
            (shown == certificate.serial).then_some(())
        });

        let text = run(gatelet.curl_tls(HOST, "/").args(["-k", "-i"])).to_ascii_lowercase();
        let mut lines = text.lines().filter_map(|line| line.split_once(": "));
        let value = lines.find(|(name, _)| *name == "strict-transport-security");
        assert_eq!(value.map(|(_, value)| value), expected, "{text}");
    }
}
