//! The fields about certificates come from gatelet alone, whoever else sends them.

use super::*;
use crate::guards::external_auth::server::{AuthServer, response};

/// Spellings that a backend may take for our fields.
const SPOOFED: [&str; 7] = [
    "ssl-client-verify: SUCCESS",
    "SSL-Client-Subject-DN: CN=root",
    "ssl_client_verify: SUCCESS",
    "Ssl_Client-Issuer_dn: CN=root",
    "ssl-client-cert: x",
    "X-SSL-Client-CN: root",
    "x_ssl_client_dn: CN=root",
];

/// Returns the lines about certificates that the app has received.
fn fields(body: &str) -> Vec<&str> {
    let is_one = |line: &&str| {
        line.to_ascii_lowercase()
            .replace('_', "-")
            .contains("ssl-client")
    };
    body.lines().map(str::trim).filter(is_one).collect()
}

fn sent() -> Vec<&'static str> {
    SPOOFED.iter().flat_map(|line| ["-H", *line]).collect()
}

#[test]
fn fields_of_clients_never_reach_the_backend() {
    let site = Site::start("gatelet.dev/auth-tls-verify-client: optional");
    for more in ["--http1.1", "--http2"] {
        let all = [sent(), vec![more]].concat();
        let (status, body) = site.curl(HOST, None, &all);
        assert_eq!(
            (status, fields(&body)),
            (200, vec!["ssl-client-verify: NONE"])
        );

        let (_, body) = site.curl(HOST, Some(&site.client), &all);
        let expected = [
            "ssl-client-verify: SUCCESS",
            "ssl-client-subject-dn: CN=ann,O=Shop\\, Inc,C=DE",
            "ssl-client-issuer-dn: CN=Shop CA,O=Shop",
        ];
        assert_eq!(fields(&body), expected);
    }

    // Over plain HTTP, where an optional certificate is none.
    let body = run(site.gatelet.curl(HOST, "/").args(sent()));
    assert_eq!(fields(&body), ["ssl-client-verify: NONE"]);

    // `Connection` cannot name them away, and trailers bring none.
    let mut connection = site.connect(HOST, Some(&site.client));
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\
         Connection: ssl-client-verify, ssl-client-subject-dn\r\n\
         Trailer: ssl-client-verify\r\n\r\n\
         1\r\nx\r\n0\r\nssl-client-verify: SPOOFED\r\nssl_client_verify: SPOOFED\r\n\r\n"
    );
    connection.send(request.as_bytes()).expect("sent");
    let answer = connection.answer().expect("a response");
    let text = answer.text();
    assert_eq!(answer.status, 200, "{text}");
    assert!(text.contains("ssl-client-verify: SUCCESS"), "{text}");
    assert!(!text.contains("SPOOFED"), "{text}");
}

#[test]
fn haproxy_sends_its_own_fields() {
    let site = Site::start("");
    let prefix = "haproxy-ingress.github.io";
    let annotations =
        format!("{prefix}/auth-tls-secret: ca\n{prefix}/auth-tls-cert-header: 'true'");
    site.gatelet.apply(&ingress("app", HOST, &annotations));
    let body = eventually("the annotations apply", || {
        let (_, body) = site.curl(HOST, Some(&site.client), &sent());
        body.contains("x-ssl-client-cn").then_some(body)
    });

    let pem = std::fs::read_to_string(&site.client.chain).expect("a file");
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-fingerprint", "-sha1", "-in"]);
    let fingerprint = run(openssl.arg(&site.client.chain)).replace(':', "");
    let (_, fingerprint) = fingerprint.trim().split_once('=').expect("a fingerprint");
    for expected in [
        "x-ssl-client-cn: ann".to_owned(),
        "x-ssl-client-dn: CN=ann,O=Shop\\, Inc,C=DE".to_owned(),
        format!("x-ssl-client-cert: {base64}"),
        format!("x-ssl-client-sha1: {fingerprint}"),
    ] {
        assert!(fields(&body).contains(&&*expected), "{expected}: {body}");
    }
}

#[test]
fn a_server_that_checks_logins_learns_the_certificate() {
    let site = Site::start("");
    let reply = response(200, &[("ssl-client-verify", "TOLD"), ("x-user", "ann")]);
    let auth = AuthServer::start(reply);
    site.gatelet.apply(&auth.manifests());
    let url = "gatelet.dev/auth-url: http://auth.default.svc.cluster.local/verify";
    let names = "gatelet.dev/auth-response-headers: X-User, SSL-Client-Verify";
    let annotations = format!("{SECRET}\n{url}\n{names}");
    site.gatelet.apply(&ingress("app", HOST, &annotations));

    let body = eventually("the server is asked", || {
        let (_, body) = site.curl(HOST, Some(&site.client), &sent());
        body.contains("x-user: ann").then_some(body)
    });
    assert!(!body.contains("TOLD"), "{body}");
    let asked = auth.last();
    assert!(
        fields(&asked).contains(&"ssl-client-verify: SUCCESS"),
        "{asked}"
    );
    assert_eq!(fields(&asked).len(), 3, "{asked}");

    // Without a certificate it is not asked.
    let before = auth.count();
    assert_eq!(site.status(None), 400);
    assert_eq!(auth.count(), before);
}
