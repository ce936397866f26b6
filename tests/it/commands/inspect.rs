//! `status`, `explain`, `certs` and `kubeconfig` of running gatelets.

use std::{os::unix::fs::PermissionsExt, process::Command};

use serde_json::json;

use super::{
    super::support::{
        backend::{ingress, manifests, service},
        certificates::{Certificate, ECDSA},
        peers, run,
    },
    *,
};

#[test]
fn status_shows_listeners_routes_certificates_and_findings() {
    let backend = Backend::start("app");
    let refusing = free_port();
    let gatelet = Gatelet::start();
    let empty = gatelet.status();
    assert_eq!(
        (&empty["ready"], &empty["hosts"], &empty["findings"]),
        (&json!(true), &json!([]), &json!([]))
    );

    let certificate = Certificate::make(&gatelet.folder, "tls", &["app.example.com"], ECDSA);
    gatelet.apply(&certificate.secret("app-tls"));
    gatelet.apply(&manifests("down", "down.example.com", refusing));
    gatelet.apply(&(service("empty", "") + &ingress("empty", "empty.example.com", "")));
    gatelet.apply(&ingress("lost", "lost.example.com", ""));
    let tls = "  tls: [{hosts: [app.example.com], secretName: app-tls}, {hosts: \
        [other.example.com], secretName: none}]\n";
    let with_tls = backend
        .manifests("app", "app.example.com")
        .replace("spec:\n  rules:", &format!("spec:\n{tls}  rules:"));
    gatelet.apply(&with_tls);
    eventually("the last object is served", || {
        (gatelet.status_of("app.example.com", "/") == 308).then_some(())
    });
    assert!(run(gatelet.curl_tls("app.example.com", "/").arg("-k")).starts_with("app\n"));
    eventually("a refusing endpoint is ejected", || {
        assert!([502, 503].contains(&gatelet.status_of("down.example.com", "/")));
        gatelet
            .status()
            .to_string()
            .contains("ejected")
            .then_some(())
    });

    let text = good(gatelet.command(&["status"]));
    for line in [
        format!("version {}", env!("CARGO_PKG_VERSION")),
        "node test".to_owned(),
        "source mini cluster".to_owned(),
        "ready true".to_owned(),
        "store good".to_owned(),
        format!("http 127.0.0.1:{}", gatelet.http),
        format!("https 127.0.0.1:{}", gatelet.https),
        format!("api 127.0.0.1:{}", gatelet.api),
    ] {
        assert!(text.lines().any(|one| row(one) == line), "{line}: {text}");
    }
    assert!(!text.contains("leader"), "there is no other: {text}");
    assert_eq!(
        rows(&text, "Hosts"),
        [
            "app.example.com 1",
            "down.example.com 1",
            "empty.example.com 1",
            "lost.example.com 1"
        ]
    );
    let backends = rows(&text, "Backends");
    assert_eq!(
        backends[0],
        format!("default/app:80 HTTP/1.1 127.0.0.1:{} ok 1 0", backend.port)
    );
    let ejected =
        format!("default/down:80 HTTP/1.1 127.0.0.1:{refusing} ejected: connection refused");
    assert!(
        backends[1].starts_with(&ejected) || backends[1].contains("retried"),
        "{text}"
    );
    assert!(
        backends[2].starts_with("default/empty:80 HTTP/1.1 - no endpoints: 503"),
        "{text}"
    );
    let certificates = rows(&text, "Certificates");
    assert!(
        certificates
            .iter()
            .any(|row| row.starts_with("app.example.com default/app-tls 20")),
        "{text}"
    );
    assert!(
        certificates
            .iter()
            .any(|row| row.starts_with("other.example.com local CA")),
        "{text}"
    );
    let findings = rows(&text, "Findings");
    let lost =
        "Warning Ingress default/lost UnknownService spec.rules[0].http.paths[0].backend.service";
    assert!(findings.iter().any(|row| row.starts_with(lost)), "{text}");
    let none = "Warning Ingress default/app SecretNotFound spec.tls[1].secretName Secret none does \
        not exist";
    assert!(findings.iter().any(|row| row.starts_with(none)), "{text}");

    let (as_json, as_yaml) = (
        json(gatelet.command(&["status", "-o", "json"])),
        yaml(gatelet.command(&["status", "-o", "yaml"])),
    );
    for key in [
        "hosts",
        "backends",
        "certificates",
        "findings",
        "http",
        "https",
        "api",
        "node",
        "version",
    ] {
        assert_eq!(as_json[key], as_yaml[key], "{key}");
    }
    assert_eq!(as_json["backends"][0]["endpoints"][0]["requests"], 1);
    assert_eq!(as_json["backends"][0]["protocol"], "HTTP/1.1");
    let report = json(gatelet.command(&["explain", "lost.example.com", "-o", "json"]));
    assert_eq!(
        report["outcome"],
        "503: the service of this route does not exist"
    );

    // The names of the other protocols.
    for (protocol, word) in [
        ("GRPC", "h2c"),
        ("HTTPS", "HTTP/1.1 over TLS"),
        ("GRPCS", "HTTP/2 over TLS"),
    ] {
        let annotation = format!("nginx.ingress.kubernetes.io/backend-protocol={protocol}");
        gatelet.kubectl(&["annotate", "ingress", "empty", "--overwrite", &annotation]);
        eventually(word, || {
            (gatelet.status()["backends"][2]["protocol"] == word).then_some(())
        });
    }

    let listed = good(gatelet.command(&["certs", "list"]));
    assert!(
        listed.lines().all(|line| line.chars().count() <= 160),
        "{listed}"
    );
    assert!(
        listed
            .lines()
            .any(|line| row(line).starts_with("app.example.com default/app-tls 20")),
        "{listed}"
    );
    assert_eq!(
        json(gatelet.command(&["certs", "list", "-o", "json"]))["hosts"],
        as_json["certificates"]
    );
    assert_eq!(
        yaml(gatelet.command(&["certs", "-o", "yaml"]))["hosts"],
        as_json["certificates"]
    );
}

#[test]
fn explain_shows_each_rule_in_order_and_why_one_wins() {
    let gatelet = Gatelet::start();
    let paths = "spec:
  rules:
  - host: app.example.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
      - {path: /api, pathType: Prefix, backend: {service: {name: api, port: {name: http}}}}
      - {path: /api/v1, pathType: Exact, backend: {service: {name: api, port: {number: 80}}}}
  - host: '*.example.com'
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: wild, port: {number: \
    80}}}}]}
";
    let meta = |name: &str| {
        format!("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\n")
    };
    let catch_all = "spec: {defaultBackend: {service: {name: web, port: {number: 80}}}}\n";
    let secure = "spec:
  tls: [{hosts: [secure.example.com]}]
  rules:
  - host: secure.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: \
    80}}}}]}
";
    let (web, api) = (Backend::start("web"), Backend::start("api"));
    gatelet.serve(&web.manifests("web", "web.example.com"), "web.example.com");
    gatelet.serve(&api.manifests("api", "api.example.com"), "api.example.com");
    gatelet.kubectl(&[
        "patch",
        "service",
        "api",
        "--type=json",
        "-p",
        "[{\"op\":\"add\",\"path\":\"/spec/ports/0/name\",\"value\":\"http\"}]",
    ]);
    gatelet.kubectl(&[
        "patch",
        "endpointslice",
        "api-1",
        "--type=json",
        "-p",
        "[{\"op\":\"add\",\"path\":\"/ports/0/name\",\"value\":\"http\"}]",
    ]);
    gatelet.apply(
        &(service("wild", "")
            + &meta("paths")
            + paths
            + "---\n"
            + &meta("rest")
            + catch_all
            + "---\n"
            + &meta("secure")
            + secure),
    );
    eventually("everything is served", || {
        (gatelet.status_of("secure.example.com", "/") == 308).then_some(())
    });

    let explain = |url: &str| json(gatelet.command(&["explain", url, "-o", "json"]));
    let winner = |report: &Value| {
        let all = report["candidates"].as_array().expect("a list").clone();
        let wins: Vec<&Value> = all.iter().filter(|one| one["wins"] == true).collect();
        assert!(wins.len() <= 1, "{report}");
        assert!(
            wins.first().is_none_or(|one| one["matches"] == true),
            "{report}"
        );
        wins.first().map(|one| {
            (
                one["ingress"].as_str().expect("text").to_owned(),
                one["field"].as_str().expect("text").to_owned(),
            )
        })
    };
    let rule = |r: usize, p: usize| {
        Some((
            "default/paths".to_owned(),
            format!("spec.rules[{r}].http.paths[{p}]"),
        ))
    };

    // Exact precedes Prefix, and the longer path the shorter; the response comes from the explained
    // rule.
    let report = explain("http://app.example.com/api/v1");
    assert_eq!(winner(&report), rule(0, 2));
    let order: Vec<&str> = report["candidates"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["path"].as_str())
        .collect();
    assert_eq!(
        order[..3],
        ["Exact /api/v1", "Prefix /api", "Prefix /"],
        "{report}"
    );
    assert_eq!(report["outcome"], "forwarded to default/api:80 (HTTP/1.1)");
    assert_eq!(
        report["endpoints"][0]["address"],
        format!("127.0.0.1:{}", api.port)
    );
    assert!(
        gatelet
            .get("app.example.com", "/api/v1")
            .starts_with("api\n")
    );
    let report = explain("http://app.example.com/api/v1/x");
    assert_eq!(winner(&report), rule(0, 1));
    assert_eq!(report["candidates"][0]["matches"], false);
    assert!(
        gatelet
            .get("app.example.com", "/api/v1/x")
            .starts_with("api\n")
    );
    assert_eq!(
        winner(&explain("http://APP.example.com:8080/apix?q=/api")),
        rule(0, 0)
    );
    assert!(gatelet.get("app.example.com", "/apix").starts_with("web\n"));

    // A wildcard matches one label; a Service without endpoints leads to 503.
    let report = explain("any.example.com/");
    assert_eq!(winner(&report), rule(1, 0));
    assert_eq!(report["outcome"], "503: default/wild:80 has no endpoints");
    assert_eq!(gatelet.status_of("any.example.com", "/"), 503);
    let report = explain("http://two.labels.example.com/");
    assert_eq!(
        winner(&report),
        Some(("default/rest".to_owned(), "spec.defaultBackend".to_owned()))
    );
    assert!(
        gatelet
            .get("two.labels.example.com", "/")
            .starts_with("web\n")
    );

    // Plain HTTP to a host with TLS is redirected; over HTTPS the rule and the certificate are
    // shown.
    let report = explain("http://secure.example.com/");
    assert_eq!(report["outcome"], "308 to https");
    let report = explain("https://secure.example.com/");
    assert_eq!(report["outcome"], "forwarded to default/web:80 (HTTP/1.1)");
    assert_eq!(
        (
            &report["certificate"]["host"],
            &report["certificate"]["source"]
        ),
        (&json!("secure.example.com"), &json!("local CA"))
    );

    let text = good(gatelet.command(&["explain", "http://app.example.com/api/v1/x"]));
    assert!(
        text.starts_with("app.example.com/api/v1/x: forwarded to default/api:80 (HTTP/1.1)\n"),
        "{text}"
    );
    let rules = rows(&text, "Rules in order");
    assert_eq!(
        rules[0],
        "app.example.com Exact /api/v1 default/paths spec.rules[0].http.paths[2] does not match"
    );
    assert_eq!(
        rules[1],
        "app.example.com Prefix /api default/paths spec.rules[0].http.paths[1] wins"
    );
    assert_eq!(
        rules[2],
        "app.example.com Prefix / default/paths spec.rules[0].http.paths[0] matches, comes later"
    );
    assert_eq!(rows(&text, "Endpoints").len(), 1);
    assert_eq!(
        yaml(gatelet.command(&["explain", "app.example.com/api", "-o", "yaml"]))["path"],
        "/api"
    );

    gatelet.kubectl(&["delete", "ingress", "rest"]);
    eventually("nothing takes it", || {
        (explain("nobody.test/")["outcome"] == "404: no rule matches").then_some(())
    });
    for url in [
        "ftp://app.example.com/",
        "http://a b/",
        "http:///",
        "http://app.example.com/%zz",
    ] {
        assert!(
            !bad(&gatelet.command(&["explain", url]), 2).is_empty(),
            "{url}"
        );
    }
}

#[test]
fn the_printed_local_ca_and_kubeconfig_are_those_in_use() {
    let backend = Backend::start("app");
    let gatelet = Gatelet::start();
    gatelet.serve(
        &backend.manifests("app", "app.example.com"),
        "app.example.com",
    );
    let root = gatelet
        .folder
        .write("root.pem", &good(gatelet.command(&["certs", "ca"])));
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "-m",
        "20",
        "--resolve",
        &format!("app.example.com:{}:127.0.0.1", gatelet.https),
    ])
    .arg("--cacert")
    .arg(root);
    curl.arg(format!("https://app.example.com:{}/", gatelet.https));
    assert!(run(&mut curl).starts_with("app\n"));

    let text = good(gatelet.command(&["kubeconfig"]));
    let mode = std::fs::metadata(gatelet.kubeconfig())
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "it holds a key");
    let elsewhere = gatelet.folder.write("elsewhere", &text);
    let mut kubectl = peers::kubectl();
    kubectl
        .arg("--kubeconfig")
        .arg(elsewhere)
        .args(["get", "ingress", "app", "-o", "name"])
        .env("HOME", gatelet.folder.path());
    assert_eq!(run(&mut kubectl), "ingress.networking.k8s.io/app\n");
}

#[test]
fn explain_judges_method_and_fields() {
    let gatelet = Gatelet::start();
    let backend = Backend::start("app");
    let snippet = "if ($http_x_bot = \"yes\") { return 418; }";
    let annotations = format!(
        "metadata: {{name: app, annotations: {{nginx.ingress.kubernetes.io/enable-cors: \"true\", \
         nginx.ingress.kubernetes.io/cors-allow-origin: 'https://a.example', \
         nginx.ingress.kubernetes.io/configuration-snippet: '{snippet}'}}}}\nspec:\n  rules:"
    );
    let manifests = backend.manifests("app", "app.example.com");
    let manifests = manifests.replace("metadata: {name: app}\nspec:\n  rules:", &annotations);
    gatelet.serve(&manifests, "app.example.com");

    let outcome = |arguments: &[&str]| {
        let url = ["explain", "http://app.example.com/", "-o", "json"];
        let report = json(gatelet.command(&[&url, arguments].concat()));
        report["outcome"].as_str().expect("text").to_owned()
    };
    assert!(outcome(&[]).starts_with("forwarded to"));
    assert_eq!(outcome(&["--header", "X-Bot: yes"]), "418");
    assert!(outcome(&["--header", "X-Bot: no"]).starts_with("forwarded to"));

    let origin = ["--header", "Origin: https://a.example"];
    let options = ["--method", "OPTIONS"];
    assert_eq!(
        outcome(&[origin, options].concat()),
        "204: a preflight request"
    );
    assert!(outcome(&origin).starts_with("forwarded to"));
    let other = ["--header", "Origin: https://b.example"];
    assert!(outcome(&[other, options].concat()).starts_with("forwarded to"));

    let wrong = gatelet.command(&["explain", "app.example.com", "--method", "G T"]);
    assert!(bad(&wrong, 2).contains("\"G T\" is not a method"));
}
