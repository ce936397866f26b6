//! Lists of addresses and logins by name and password, and each way around them that a client may
//! try.

use std::process::Command;

use super::support::{Backend, Gatelet, eventually, run};

const HOST: &str = "app.example.com";
const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// A Secret with a user of each kind of hash; all have the password `secret`.
const USERS: &str = "apiVersion: v1
kind: Secret
metadata: {name: users}
stringData:
  auth: |
    bcrypt:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a
    apr1:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0
    sha256:$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA
    sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
---
";

/// Starts a gatelet that serves a backend at `HOST`, with annotations of ingress-nginx.
fn guarded(settings: &str, annotations: &[&str]) -> (Gatelet, Backend) {
    let backend = Backend::start("app");
    let gatelet = Gatelet::configured(settings);
    gatelet.apply(USERS);
    gatelet.serve(&backend.manifests("app", HOST), HOST);
    annotate(&gatelet, annotations);
    (gatelet, backend)
}

fn annotate(gatelet: &Gatelet, annotations: &[&str]) {
    let annotations = annotations.iter().map(|one| format!("{NGINX}{one}"));
    let mut arguments = vec!["annotate", "--overwrite", "ingress", "app"];
    let annotations: Vec<String> = annotations.collect();
    arguments.extend(annotations.iter().map(String::as_str));
    gatelet.kubectl(&arguments);
}

/// The status of a request with further arguments of curl.
fn status(mut curl: Command, arguments: &[&str]) -> String {
    run(curl
        .args(["-o", "/dev/null", "-w", "%{http_code}"])
        .args(arguments))
}

fn status_becomes(gatelet: &Gatelet, expected: u16) {
    eventually(&format!("it is {expected}"), || {
        (gatelet.status_of(HOST, "/") == expected).then_some(())
    });
}

#[test]
fn a_login_takes_every_kind_of_hash_and_nothing_else() {
    let (gatelet, backend) = guarded(
        "",
        &["auth-type=basic", "auth-secret=users", "auth-realm=Members"],
    );
    status_becomes(&gatelet, 401);
    let answer = run(gatelet.curl(HOST, "/").arg("-i"));
    assert!(
        answer.contains("www-authenticate: Basic realm=\"Members\""),
        "{answer}"
    );

    let before = backend.count();
    for (login, expected) in [
        ("bcrypt:secret", "200"),
        ("apr1:secret", "200"),
        ("sha256:secret", "200"),
        ("sha:secret", "200"),
        ("bcrypt:secret", "200"),
        ("bcrypt:Secret", "401"),
        ("apr1:", "401"),
        ("sha:secret:", "401"),
        ("nobody:secret", "401"),
        (":secret", "401"),
    ] {
        assert_eq!(
            status(gatelet.curl(HOST, "/"), &["-u", login]),
            expected,
            "{login}"
        );
    }
    assert_eq!(backend.count(), before + 5);

    // The backend does not see the password.
    let echoed = run(gatelet.curl(HOST, "/").args(["-u", "sha:secret"]));
    assert!(!echoed.to_lowercase().contains("authorization"), "{echoed}");
}

#[test]
fn there_is_no_way_around_a_login() {
    let (gatelet, backend) = guarded("", &["auth-type=basic", "auth-secret=users"]);
    status_becomes(&gatelet, 401);
    let before = backend.count();
    for path in [
        "//",
        "/%2e/",
        "/x/..",
        "/%61",
        "/A",
        "/?a",
        "/.well-known/acme-challenge/x",
    ] {
        assert_eq!(gatelet.status_of(HOST, path), 401, "{path}");
    }
    for arguments in [
        &["-H", "Host: APP.EXAMPLE.COM"][..],
        &["-H", "Host: app.example.com."],
        &[
            "-H",
            "Authorization: Basic",
            "-H",
            "Authorization: Bearer x",
        ],
        &[
            "-H",
            "X-Forwarded-User: sha",
            "-H",
            "X-Forwarded-For: 127.0.0.1",
        ],
        &["-H", "Connection: upgrade", "-H", "Upgrade: websocket"],
        &["-X", "OPTIONS"],
        &["-X", "POST", "-d", "x"],
        &["--http2-prior-knowledge"],
        &["-u", "sha:secret", "-H", "Authorization: Basic eDp5"],
    ] {
        let found = status(gatelet.curl(HOST, "/"), arguments);
        assert_eq!(found, "401", "{arguments:?}");
        let over_tls = status(gatelet.curl_tls(HOST, "/"), arguments);
        assert_eq!(over_tls, "401", "{arguments:?} over TLS");
    }
    assert_eq!(backend.count(), before, "nothing came through");
}

#[test]
fn a_path_has_its_guard_in_every_spelling() {
    let backend = Backend::start("app");
    let gatelet = Gatelet::start();
    gatelet.serve(&backend.manifests("app", HOST), HOST);
    let guarded = backend
        .manifests("app", HOST)
        .replace(
            "kind: Ingress\nmetadata: {name: app}",
            "kind: Ingress\nmetadata: {name: guarded}",
        )
        .replace("path: /,", "path: /admin/a%3Bb,");
    gatelet.apply(&guarded);
    gatelet.kubectl(&[
        "annotate",
        "ingress",
        "guarded",
        "haproxy.org/deny-list=127.0.0.0/8",
    ]);
    eventually("it is guarded", || {
        (gatelet.status_of(HOST, "/admin/a%3Bb") == 403).then_some(())
    });
    for path in [
        "//admin/a%3Bb",
        "/admin//a%3bb/",
        "/%61dmin/a%3bb",
        "/x/../admin/./a%3Bb",
        "/admin/%61%3Bb/x",
    ] {
        assert_eq!(gatelet.status_of(HOST, path), 403, "{path}");
    }

    // The reason can be seen without a request.
    let explained = |from: &str| {
        let url = "app.example.com//admin/a%3bb";
        let output = gatelet.command(&["explain", url, "--from", from, "-o", "json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        (
            report["outcome"].to_string(),
            report["steps"][0]["from"].to_string(),
        )
    };
    let (outcome, from) = explained("127.0.0.1");
    assert!(
        outcome.starts_with("\"403: ") && from.contains("haproxy.org/deny-list"),
        "{outcome}"
    );
    assert!(explained("192.0.2.1").0.contains("forwarded to"));
}

#[test]
fn a_secret_that_goes_or_breaks_closes_the_path() {
    let (gatelet, backend) = guarded("", &["auth-type=basic", "auth-secret=users"]);
    status_becomes(&gatelet, 401);
    let right = || status(gatelet.curl(HOST, "/"), &["-u", "bcrypt:secret"]);
    assert_eq!(right(), "200");

    gatelet.kubectl(&["delete", "secret", "users"]);
    status_becomes(&gatelet, 503);
    let before = backend.count();
    assert_eq!(right(), "503");
    let findings = gatelet.status()["findings"].to_string();
    assert!(findings.contains("SecretNotFound"), "{findings}");

    gatelet.apply(&USERS.replace("auth:", "other:"));
    eventually("the finding is about its content", || {
        let findings = gatelet.status()["findings"].to_string();
        findings.contains("InvalidSecret").then_some(())
    });
    assert_eq!(right(), "503");
    assert_eq!(backend.count(), before);

    // With another hash the remembered password is worth nothing.
    gatelet.apply(&USERS.replace("bcrypt:$2y", "bcrypt:$2y$05$zzzz\n    other:$2y"));
    status_becomes(&gatelet, 401);
    assert_eq!(right(), "401");
    gatelet.apply(USERS);
    eventually("it is open again", || (right() == "200").then_some(()));
}

#[test]
fn a_list_of_addresses_is_about_the_real_client() {
    let (gatelet, backend) = guarded("", &["allowlist-source-range=203.0.113.0/24"]);
    status_becomes(&gatelet, 403);
    let before = backend.count();
    // Nobody but a trusted proxy may name another address.
    let spoofed = [
        "-H",
        "X-Forwarded-For: 203.0.113.7",
        "-H",
        "X-Real-IP: 203.0.113.7",
    ];
    assert_eq!(status(gatelet.curl(HOST, "/"), &spoofed), "403");
    assert_eq!(status(gatelet.curl_tls(HOST, "/"), &spoofed), "403");
    assert_eq!(
        status(gatelet.curl(HOST, "/"), &["--http2-prior-knowledge"]),
        "403"
    );
    assert_eq!(backend.count(), before);

    let (gatelet, backend) = guarded(
        "[proxy]\ntrusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n",
        &["allowlist-source-range=203.0.113.0/24,10.0.0.0/8"],
    );
    status_becomes(&gatelet, 403);
    let before = backend.count();
    for (chain, expected) in [
        ("203.0.113.7", "200"),
        ("198.51.100.1", "403"),
        ("203.0.113.7, 198.51.100.1", "403"),
        ("198.51.100.1, 203.0.113.7", "200"),
        ("198.51.100.1, 203.0.113.7, 10.1.1.1", "200"),
        ("::ffff:203.0.113.7", "200"),
        // The proxy does not know its client: neither do we.
        ("unknown, 10.1.1.1", "403"),
        ("unknown", "403"),
    ] {
        let field = format!("X-Forwarded-For: {chain}");
        let found = status(gatelet.curl(HOST, "/"), &["-H", &field]);
        assert_eq!(found, expected, "{chain}");
    }
    assert_eq!(backend.count(), before + 4);
}

#[test]
fn denied_addresses_and_satisfy_are_as_in_nginx() {
    let (gatelet, _backend) = guarded("", &["denylist-source-range=127.0.0.0/8"]);
    status_becomes(&gatelet, 403);
    annotate(
        &gatelet,
        &["auth-type=basic", "auth-secret=users", "satisfy=any"],
    );
    status_becomes(&gatelet, 401);
    assert_eq!(
        status(gatelet.curl(HOST, "/"), &["-u", "sha:secret"]),
        "200"
    );
    annotate(
        &gatelet,
        &["denylist-source-range-", "allowlist-source-range=127.0.0.1"],
    );
    status_becomes(&gatelet, 200);
    // A list that cannot be read lets nobody in.
    annotate(&gatelet, &["allowlist-source-range=office"]);
    status_becomes(&gatelet, 503);
}
