//! Regular expressions and rewritten paths.

use super::{HOST, nginx_with, program};
use crate::support::{Backend, Gatelet, backend, eventually, run};

/// An Ingress of the Service with its name, with annotations of ingress-nginx and paths with their
/// types.
fn ingress(name: &str, annotations: &[&str], paths: &[(&str, &str)]) -> String {
    let annotations: String = annotations
        .iter()
        .map(|one| format!("    nginx.ingress.kubernetes.io/{one}\n"))
        .collect();
    let paths: String = paths
        .iter()
        .map(|(path, path_type)| {
            format!(
                "      - path: '{path}'
        pathType: {path_type}
        backend: {{service: {{name: {name}, port: {{number: 80}}}}}}\n"
            )
        })
        .collect();
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {name}
  annotations:
{annotations}spec:
  rules:
  - host: {HOST}
    http:
      paths:
{paths}---
"
    )
}

/// Returns the status, the target of a redirect, the backend, and the path that it was asked for.
fn outcome(port: u16, path: &str) -> String {
    let mut curl = std::process::Command::new("curl");
    curl.args([
        "-sS",
        "-m",
        "20",
        "--path-as-is",
        "-H",
        &format!("Host: {HOST}"),
    ]);
    curl.args(["-w", "\n%{http_code} %{redirect_url}"]);
    let text = run(curl.arg(format!("http://127.0.0.1:{port}{path}")));
    let mut lines = text.lines();
    let result = text.lines().last().unwrap_or_default();
    if !result.starts_with("200") {
        return result.to_owned();
    }
    let name = lines.next().unwrap_or_default();
    let asked = lines.next().and_then(|line| line.split(' ').nth(1));
    let mut prefix = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let is_prefix = name.eq_ignore_ascii_case("x-forwarded-prefix");
        is_prefix.then_some(value)
    });
    let prefix = prefix.next().unwrap_or_default();
    format!("{name} {} {prefix}", asked.unwrap_or_default())
}

/// Sends paths to gatelet with Ingresses of the Services `app` and `plain`, and to nginx.
fn compare(ingresses: &[String], locations: &str, ready: &str, paths: &[&str]) {
    if program().is_none() {
        return;
    }
    let (app, plain) = (Backend::start("app"), Backend::start("plain"));
    let gatelet = Gatelet::start();
    for (name, backend) in [("app", &app), ("plain", &plain)] {
        let slice = backend::slice(name, &[backend.port]);
        gatelet.apply(&(backend::service(name, "") + &slice));
    }
    gatelet.apply(&ingresses.concat());

    let locations = locations
        .replace("APP", &format!("proxy_pass http://127.0.0.1:{}", app.port))
        .replace(
            "PLAIN",
            &format!("proxy_pass http://127.0.0.1:{}", plain.port),
        );
    let nginx = nginx_with(&locations);
    let expected = outcome(nginx.port, ready);
    eventually("the Ingresses are served", || {
        (outcome(gatelet.http, ready) == expected).then_some(())
    });
    for path in paths {
        let ours = outcome(gatelet.http, path);
        assert_eq!(ours, outcome(nginx.port, path), "{path}");
    }
}

#[test]
fn paths_are_rewritten_as_by_nginx() {
    let rewrite = ["rewrite-target: /$2", "x-forwarded-prefix: /app"];
    compare(
        &[
            ingress(
                "app",
                &rewrite,
                &[("/app(/|$)(.*)", "ImplementationSpecific")],
            ),
            ingress(
                "plain",
                &[],
                &[("/", "Prefix"), ("/foo", "Prefix"), ("/foo/exact", "Exact")],
            ),
        ],
        r#"location ~* "^/app(/|$)(.*)" {
             rewrite "(?i)/app(/|$)(.*)" /$2 break;
             proxy_set_header X-Forwarded-Prefix /app; APP; }
           location ~* "^/foo/exact" { PLAIN; }
           location ~* "^/foo/" { PLAIN; }
           location ~* "^/foo" { PLAIN; }
           location ~* "^/" { PLAIN; }"#,
        "/app/x",
        &[
            "/",
            "/app",
            "/app/",
            "/app/x/y?q=1&r",
            "/APP/X",
            "/apps",
            "/app//x",
            "//app/x",
            "/app/%C3%A4",
            "/app/a%20b",
            "/app/a+b",
            "/app/?q=/app/z",
            "/foo",
            "/foobar",
            "/Foo/Exact/x",
            "/x/../app/y",
            "/x/./../app/y",
            "/%61pp/y",
        ],
    );
}

#[test]
fn targets_of_rewritings_are_those_of_nginx() {
    compare(
        &[
            ingress(
                "app",
                &["rewrite-target: /$3/$1?b=$2"],
                &[("/v([0-9]+)/([a-z]+)/(.*)", "ImplementationSpecific")],
            ),
            ingress(
                "plain",
                &["rewrite-target: /"],
                &[("/plain", "Prefix"), ("/", "Prefix")],
            ),
        ],
        r#"location ~* "^/v([0-9]+)/([a-z]+)/(.*)" {
             rewrite "(?i)/v([0-9]+)/([a-z]+)/(.*)" /$3/$1?b=$2 break; APP; }
           location ~* "^/plain" { rewrite "(?i)/plain" / break; PLAIN; }
           location ~* "^/" { PLAIN; }"#,
        "/v1/a/x",
        &[
            "/v12/abc/x/y",
            "/V12/Abc/x/y?c=d",
            "/v1/a/",
            "/vx/a/x",
            "/plain/x?q",
            "/plainer",
            "/other/x?q",
        ],
    );
}

#[test]
fn a_url_as_target_is_a_redirect_as_in_nginx() {
    compare(
        &[
            ingress(
                "app",
                &["rewrite-target: https://new.example.com/$1"],
                &[("/old/(.*)", "ImplementationSpecific")],
            ),
            ingress(
                "plain",
                &["rewrite-target: $scheme://new.example.com/?a=b"],
                &[("/other", "Prefix")],
            ),
        ],
        r#"location ~* "^/old/(.*)" {
             rewrite "(?i)/old/(.*)" https://new.example.com/$1 break; APP; }
           location ~* "^/other" {
             rewrite "(?i)/other" $scheme://new.example.com/?a=b break; PLAIN; }"#,
        "/old/x",
        &[
            "/old/",
            "/old/x/y?q=1",
            "/OLD/a%20b",
            "/other/x?q=1",
            "/none",
        ],
    );
}

#[test]
fn a_path_without_its_slash_leads_where_nginx_leads() {
    compare(
        &[
            ingress(
                "app",
                &[],
                &[
                    ("/dir/", "ImplementationSpecific"),
                    ("/a/b/", "ImplementationSpecific"),
                ],
            ),
            ingress(
                "plain",
                &[],
                &[("/", "ImplementationSpecific"), ("/a/b", "Exact")],
            ),
        ],
        r#"port_in_redirect on;
           location /dir/ { APP; }
           location /a/b/ { APP; }
           location = /a/b { PLAIN; }
           location / { PLAIN; }"#,
        "/dir/",
        &["/dir/x", "/dirs", "/a/b", "/a/b/", "/a/b/c", "/a/"],
    );
}

#[test]
fn expressions_are_tried_in_the_order_of_nginx() {
    compare(
        &[
            ingress(
                "app",
                &["use-regex: \"true\""],
                &[
                    ("/foo/bar/bar", "Prefix"),
                    ("/foo/bar/[A-Z0-9]{3}", "ImplementationSpecific"),
                    ("/[0-9]+$", "ImplementationSpecific"),
                ],
            ),
            ingress(
                "plain",
                &[],
                &[("/foo/bar", "Prefix"), ("/foo/bar/bara", "Exact")],
            ),
        ],
        r#"location ~* "^/foo/bar/[A-Z0-9]{3}" { APP; }
           location ~* "^/foo/bar/bara" { PLAIN; }
           location ~* "^/foo/bar/bar" { APP; }
           location ~* "^/foo/bar/" { PLAIN; }
           location ~* "^/foo/bar" { PLAIN; }
           location ~* "^/[0-9]+$" { APP; }"#,
        "/foo/bar/bar",
        &[
            "/foo/bar",
            "/foo/barx",
            "/foo/bar/ba",
            "/foo/bar/bara",
            "/foo/bar/ABC/x",
            "/123",
            "/123/x",
            "/x/123",
            "/none",
        ],
    );
}
