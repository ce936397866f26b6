//! The matches of paths and the places of rules, with several rules of one host.

use std::fmt::Write as _;

use super::{Traefik, is_there, run};
use crate::support::{Backend, Gatelet, backend, eventually};

const ANNOTATIONS: &str = "traefik.ingress.kubernetes.io/router.";

/// The rules of a host, and requests to it.
struct Case {
    /// The match of the path, the path, and a priority (0 for none). Each has a backend of its own,
    /// which is called by the number of the rule.
    rules: &'static [(&'static str, &'static str, i64)],
    paths: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        rules: &[
            ("PathPrefix", "/", 0),
            ("Path", "/whole", 0),
            ("PathRegexp", "/v[0-9]+/x", 0),
            ("PathRegexp", "/start/[a-z]+$", 0),
            ("PathPrefix", "/start/of/something/longer", 0),
        ],
        paths: &[
            "/v1/x",
            "/api/v12/x/y",
            "/v/x",
            "/V1/x",
            "/v1%2Fx",
            "/%761/x",
            "/start/abc",
            "/start/abc/",
            "/start/Abc",
            "/x/start/abc",
            "/start/of/something/longer",
            "/start/of",
            "/other?/v1/x",
        ],
    },
    Case {
        rules: &[
            ("PathPrefix", "/", 1),
            ("PathPrefix", "/foo", 0),
            ("PathRegexp", "/(foo|bar)/a b", 0),
            ("PathRegexp", r"/\d+/\w{2}", 0),
            ("PathRegexp", "/(?i)CASE", 0),
            ("PathRegexp", "/%2F", 0),
            ("PathRegexp", "/\u{e4}+$", 0),
        ],
        paths: &[
            "/foo",
            "/foo/a%20b",
            "/bar/a%20b/c",
            "/bar/a+b",
            "/1/ab",
            "/a/12/a_",
            "/a/12/a",
            "/case",
            "/%2F",
            "/%C3%A4",
            "/%C3%A4%C3%A4",
            "/a/%C3%A4",
        ],
    },
    Case {
        // The rule of `/api` has the length 17 + 26 + 4.
        rules: &[
            ("PathPrefix", "/", 46),
            ("PathPrefix", "/api", 0),
            ("PathPrefix", "/api/low", 2),
            ("PathPrefix", "/a", 45),
            ("PathPrefix", "/high", 1000),
            ("PathPrefix", "/high/longer", 999),
            ("PathRegexp", "/api/[a-z]+", 3),
        ],
        paths: &[
            "/",
            "/api",
            "/api/low",
            "/api/abc",
            "/a",
            "/b",
            "/high",
            "/high/longer",
            "/low",
        ],
    },
    Case {
        rules: &[
            ("PathPrefix", "/same", 7),
            ("PathPrefix", "/same", 9),
            ("PathPrefix", "/same", 8),
            ("PathPrefix", "/negative", -1),
            ("PathPrefix", "/", 1),
        ],
        paths: &["/same", "/same/x", "/negative", "/"],
    },
];

fn host(number: usize) -> String {
    format!("case{number}.example.com")
}

/// Returns the objects for gatelet: an Ingress for each rule.
fn objects(ports: &[u16]) -> String {
    let mut text = String::new();
    for (number, port) in ports.iter().enumerate() {
        let name = format!("b{number}");
        text += &(backend::service(&name, "") + &backend::slice(&name, &[*port]));
    }
    for (number, case) in CASES.iter().enumerate() {
        for (rule, (matcher, path, priority)) in case.rules.iter().enumerate() {
            let _ = write!(
                text,
                "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: case{number}-{rule}
  annotations:
    {ANNOTATIONS}pathmatcher: {matcher}
    {ANNOTATIONS}priority: '{priority}'
spec:
  rules:
  - host: {}
    http:
      paths:
      - path: '{path}'
        pathType: ImplementationSpecific
        backend: {{service: {{name: b{rule}, port: {{number: 80}}}}}}
---
",
                host(number)
            );
        }
    }
    text
}

/// Returns the file for Traefik.
fn file(ports: &[u16]) -> String {
    let mut text = "http:\n  services:\n".to_owned();
    for (number, port) in ports.iter().enumerate() {
        let _ = writeln!(
            text,
            "    b{number}: {{loadBalancer: {{servers: [{{url: 'http://127.0.0.1:{port}'}}]}}}}"
        );
    }
    text += "  routers:\n";
    for (number, case) in CASES.iter().enumerate() {
        for (rule, (matcher, path, priority)) in case.rules.iter().enumerate() {
            let _ = writeln!(
                text,
                "    case{number}-{rule}: {{rule: 'Host(`{}`) && {matcher}(`{path}`)', service: \
                 b{rule}, priority: {priority}}}",
                host(number)
            );
        }
    }
    text
}

#[test]
fn rules_match_and_come_first_as_in_traefik() {
    let most = CASES.iter().map(|case| case.rules.len()).max();
    let names = (0..most.unwrap_or_default()).map(|number| format!("b{number}"));
    let backends: Vec<Backend> = names.map(|name| Backend::start(&name)).collect();
    let ports: Vec<u16> = backends.iter().map(|backend| backend.port).collect();
    let gatelet = Gatelet::start();
    gatelet.apply(&objects(&ports));
    let traefik = Traefik::start(&file(&ports), &[]);

    for (number, case) in CASES.iter().enumerate() {
        let host = host(number);
        for port in [gatelet.http, traefik.port] {
            eventually("both have the host", || is_there(port, &host).then_some(()));
        }
        for path in case.paths {
            let [ours, theirs] = [gatelet.http, traefik.port].map(|port| {
                let mut curl = std::process::Command::new("curl");
                curl.args(["-sS", "-m", "20", "--path-as-is", "-H"]);
                curl.arg(format!("Host: {host}"));
                let text = run(curl.arg(format!("http://127.0.0.1:{port}{path}")));
                text.lines().next().unwrap_or_default().to_owned()
            });
            // Neither may have taken it by an error of its own.
            assert!(ours.starts_with('b'), "{host}{path}: {ours}");
            assert_eq!(ours, theirs, "{host}{path}");
        }
    }
}
