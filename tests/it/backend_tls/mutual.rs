//! Backends that want certificates of their clients, and backends whose certificates are verified,
//! in front of a real nginx.

use std::{fs, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, date_time_ymd};

use super::{HOST, backend};
use crate::support::{
    Folder, Gatelet, Nginx,
    client_certificates::{Authority, ClientFiles, of_client, of_server},
    eventually, free_port,
    nginx::program,
    peers::{Server, script},
    run, said,
};

const INSIDE: &str = "inside.example.com";
const NGINX: &str = "nginx.ingress.kubernetes.io";

/// A gatelet in front of a backend with TLS.
struct Site {
    gatelet: Gatelet,
    folder: Folder,
    /// The authority of backends, and that of their clients.
    authority: Authority,
    clients: Authority,
    ann: ClientFiles,
}

/// A backend with TLS.
struct TlsBackend {
    nginx: Nginx,
    port: u16,
}

impl Site {
    /// Starts it without a backend. `None` without nginx.
    fn start() -> Option<Self> {
        program()?;
        let folder = Folder::new();
        let clients = Authority::root("Clients");
        let ann = clients.issue(&folder, "ann", &of_client("ann"));
        Some(Self {
            gatelet: Gatelet::configured("workers = 1\n[proxy]\neject_after = 1000\n"),
            authority: Authority::root("Backends"),
            folder,
            clients,
            ann,
        })
    }

    /// Starts a backend that says what it knows about connections. `more` goes into its server.
    fn backend(&self, certificate: &ClientFiles, more: &str) -> TlsBackend {
        let said = "return 200 'verify=$ssl_client_verify dn=$ssl_client_s_dn \
                    sni=$ssl_server_name version=$ssl_protocol cipher=$ssl_cipher \
                    connection=$connection http=$server_protocol\\n';";
        self.backend_with(certificate, &format!("{more} location / {{ {said} }}"))
    }

    fn backend_with(&self, certificate: &ClientFiles, server: &str) -> TlsBackend {
        let port = free_port();
        let ca = self.folder.write("clients.crt", &self.clients.pem());
        let nginx = Nginx::start(&format!(
            "listen 127.0.0.1:{port} ssl http2; ssl_certificate {}; ssl_certificate_key {};
             ssl_protocols TLSv1.2 TLSv1.3; ssl_client_certificate {}; {server}",
            certificate.chain.display(),
            certificate.key.display(),
            ca.display(),
        ));
        TlsBackend { nginx, port }
    }

    /// Issues a certificate for a backend, in files called `file`.
    fn certificate(&self, file: &str, params: &CertificateParams) -> ClientFiles {
        self.authority.issue(&self.folder, file, params)
    }

    /// Applies a Service with this backend, and an Ingress with annotations, one in a line. Waits
    /// until the backend is known.
    fn apply(&self, backend: u16, annotations: &str) {
        self.apply_closed(backend, annotations);
        super::live(&self.gatelet, backend);
    }

    /// The same where the backend gets no requests.
    fn apply_closed(&self, backend: u16, annotations: &str) {
        let lines = annotations.lines().map(str::trim);
        let lines: String = lines.map(|line| format!("    {line}\n")).collect();
        let ingress = backend::ingress("tls", HOST, "").replace(
            "metadata: {name: tls}\n",
            &format!("metadata:\n  name: tls\n  annotations:\n{lines}"),
        );
        let (service, slice) = (
            backend::service("tls", ""),
            backend::slice("tls", &[backend]),
        );
        self.gatelet.apply(&format!("{service}{slice}{ingress}"));
    }

    /// Returns the status and the body of a response, which is the same from when it is first as
    /// expected.
    fn becomes(&self, what: &str, is_right: impl Fn(u16, &str) -> bool) -> String {
        eventually(what, || {
            let (status, body) = self.get(&[]);
            is_right(status, &body).then_some(body)
        })
    }

    /// Checks whether a backend had a request for this path.
    fn was_asked(&self, backend: &Nginx, path: &str, expected: bool) {
        match expected {
            // nginx writes its log behind the response.
            true => eventually("the backend was asked", || {
                backend.was_asked(path).then_some(())
            }),
            false => assert!(!backend.was_asked(path), "{path} was asked for"),
        }
    }

    fn get(&self, more: &[&str]) -> (u16, String) {
        self.get_path("/", more)
    }

    fn get_path(&self, path: &str, more: &[&str]) -> (u16, String) {
        let mut curl = self.gatelet.curl(HOST, path);
        let text = run(curl.args(["-w", "\n%{http_code}"]).args(more));
        let (body, status) = text.rsplit_once('\n').expect("a line of our own");
        (status.parse().expect("a status"), body.to_owned())
    }
}

/// Returns a Secret with these keys.
fn secret(name: &str, keys: &[(&str, String)]) -> String {
    let lines = keys
        .iter()
        .map(|(key, text)| format!("  {key}: {:?}\n", STANDARD.encode(text)));
    let lines: String = lines.collect();
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ndata:\n{lines}---\n")
}

/// Returns the keys of a Secret with a certificate.
fn pair(files: &ClientFiles) -> [(&'static str, String); 2] {
    let read = |path| fs::read_to_string(path).expect("a file");
    [
        ("tls.crt", read(&files.chain)),
        ("tls.key", read(&files.key)),
    ]
}

/// Returns the value of a word `name=value`.
fn value(body: &str, name: &str) -> String {
    let start = body.find(&format!("{name}=")).expect("a word") + name.len() + 1;
    let rest = &body[start..];
    rest[..rest.find([' ', '\n']).unwrap_or(rest.len())].to_owned()
}

#[test]
fn a_backend_gets_the_certificate_of_the_secret() {
    let Some(site) = Site::start() else { return };
    let own = site.certificate("own", &of_server(INSIDE));
    let backend = site.backend(&own, "ssl_verify_client on;");
    site.gatelet.apply(&secret("tls", &pair(&site.ann)));

    for (protocol, http) in [("HTTPS", "HTTP/1.1"), ("GRPCS", "HTTP/2.0")] {
        let protocol = format!("{NGINX}/backend-protocol: {protocol}");
        site.apply(backend.port, &protocol);
        site.becomes("the backend refuses those without", |status, body| {
            status == 400 && body.contains("No required SSL certificate was sent")
        });

        site.apply(
            backend.port,
            &format!("{protocol}\n{NGINX}/proxy-ssl-secret: default/tls"),
        );
        let body = site.becomes("the certificate is there", |status, _| status == 200);
        assert!(body.contains("verify=SUCCESS dn=CN=ann,"), "{body}");
        assert_eq!(value(&body, "http"), http);
    }

    // The key is nowhere to be seen.
    let key = fs::read_to_string(&site.ann.key).expect("a key");
    let line = key.lines().nth(1).expect("a line");
    let inspected = said(
        &site
            .gatelet
            .command(&["explain", &format!("http://{HOST}/")]),
    );
    for text in [
        site.gatelet.log(),
        inspected,
        site.gatelet.status().to_string(),
    ] {
        assert!(!text.contains(line) && !text.contains("PRIVATE KEY"));
    }
}

#[test]
fn a_secret_that_changes_applies_to_the_next_request() {
    let Some(site) = Site::start() else { return };
    let own = site.certificate("own", &of_server(INSIDE));
    let backend = site.backend(&own, "ssl_verify_client on;");
    let annotations = format!(
        "{NGINX}/backend-protocol: HTTPS\n{NGINX}/proxy-ssl-secret: tls\n\
         {NGINX}/proxy-ssl-verify: 'on'\n{NGINX}/proxy-ssl-name: {INSIDE}"
    );
    let with = |client: &ClientFiles, ca: &str| {
        let [chain, key] = pair(client);
        secret("tls", &[chain, key, ("ca.crt", ca.to_owned())])
    };
    let is_of = |name: &'static str| {
        move |status, body: &str| status == 200 && body.contains(&format!("dn=CN={name},"))
    };
    site.gatelet.apply(&with(&site.ann, &site.authority.pem()));
    site.apply(backend.port, &annotations);
    let first = site.becomes("ann is known", is_of("ann"));
    assert_eq!(
        value(&site.get(&[]).1, "connection"),
        value(&first, "connection")
    );

    // No pooled connection of ann is used again.
    let bob = site.clients.issue(&site.folder, "bob", &of_client("bob"));
    site.gatelet.apply(&with(&bob, &site.authority.pem()));
    site.becomes("bob is known", is_of("bob"));
    for _ in 0..20 {
        let (status, body) = site.get(&[]);
        assert!(is_of("bob")(status, &body), "{body}");
    }

    // The authorities change: a connection that was verified by the others is not used again.
    let other = Authority::root("Others");
    site.gatelet.apply(&with(&bob, &other.pem()));
    site.becomes("the backend is not trusted", |status, _| status == 502);
    for _ in 0..20 {
        assert_eq!(site.get_path("/untrusted", &[]).0, 502);
    }
    site.gatelet
        .apply("apiVersion: v1\nkind: Secret\nmetadata: {name: tls}\ndata: {tls.crt: eA==}");
    site.becomes("the paths are closed", |status, _| status == 503);
    site.gatelet.kubectl(&["delete", "secret", "tls"]);
    eventually("the finding is there", || {
        let status = said(&site.gatelet.command(&["status", "-o", "wide"]));
        (status.contains("SecretNotFound") && status.contains("proxy-ssl-secret")).then_some(())
    });
    assert_eq!(site.get_path("/untrusted", &[]).0, 503);
    assert!(!backend.nginx.was_asked("/untrusted"));

    site.gatelet.apply(&with(&site.ann, &site.authority.pem()));
    site.becomes("ann is known again", is_of("ann"));
}

#[test]
fn a_backend_that_is_not_verified_gets_no_request() {
    let Some(site) = Site::start() else { return };
    let old = |mut params: CertificateParams| {
        params.not_after = date_time_ymd(2025, 1, 1);
        params
    };
    let other = Authority::root("Others");
    let backends = [
        ("good", site.certificate("good", &of_server(INSIDE)), 200),
        (
            "wrong name",
            site.certificate("name", &of_server("x.example.com")),
            502,
        ),
        (
            "expired",
            site.certificate("old", &old(of_server(INSIDE))),
            502,
        ),
        (
            "for clients",
            site.certificate("client", &of_client("ann")),
            502,
        ),
        (
            "other",
            other.issue(&site.folder, "other", &of_server(INSIDE)),
            502,
        ),
    ];
    site.gatelet
        .apply(&secret("tls", &[("ca.crt", site.authority.pem())]));

    let verified = format!(
        "{NGINX}/proxy-ssl-secret: tls\n{NGINX}/proxy-ssl-verify: 'on'\n\
         {NGINX}/proxy-ssl-name: {INSIDE}"
    );
    for (name, certificate, expected) in &backends {
        let backend = site.backend(certificate, "");
        for protocol in ["HTTPS", "GRPCS"] {
            let path = format!("/{}", protocol.to_lowercase());
            let protocol = format!("{NGINX}/backend-protocol: {protocol}");
            site.apply(backend.port, &format!("{protocol}\n{verified}"));
            site.becomes(&format!("{name} leads to {expected}"), |status, _| {
                status == *expected
            });
            let upgrade = ["-H", "Connection: upgrade", "-H", "Upgrade: websocket"];
            for more in [&[][..], &upgrade, &["-d", "body"]] {
                assert_eq!(site.get_path(&path, more).0, *expected, "{name} {more:?}");
            }
            site.was_asked(&backend.nginx, &path, *expected == 200);
        }
    }

    // Without `proxy-ssl-verify` the authorities verify nothing, as in ingress-nginx.
    let backend = site.backend(&backends[4].1, "");
    site.apply(
        backend.port,
        &format!("{NGINX}/backend-protocol: HTTPS\n{NGINX}/proxy-ssl-secret: tls"),
    );
    site.becomes("nothing is verified", |status, _| status == 200);
}

#[test]
fn annotations_choose_versions_suites_and_the_name() {
    let Some(site) = Site::start() else { return };
    let own = site.certificate("own", &of_server(INSIDE));
    let backend = site.backend(&own, "");
    let both = format!("{NGINX}/backend-protocol: HTTPS\n{NGINX}/proxy-ssl-name: {INSIDE}");
    for (annotations, name, expected) in [
        ("", "sni", INSIDE),
        ("", "version", "TLSv1.3"),
        ("proxy-ssl-server-name: 'off'", "sni", ""),
        ("proxy-ssl-protocols: TLSv1.1 TLSv1.2", "version", "TLSv1.2"),
        (
            "proxy-ssl-ciphers: ECDHE-ECDSA-AES256-GCM-SHA384",
            "cipher",
            "TLS_AES_256_GCM_SHA384",
        ),
    ] {
        let more = match annotations {
            "" => String::new(),
            one => format!("\n{NGINX}/{one}"),
        };
        site.apply(backend.port, &format!("{both}{more}"));
        site.becomes(
            &format!("{annotations}: {name} is {expected}"),
            |status, body| {
                let is_old = name == "cipher" && value(body, "version") == "TLSv1.3";
                status == 200 && (is_old || value(body, name) == expected)
            },
        );
    }

    let old = format!("{both}\n{NGINX}/proxy-ssl-protocols: TLSv1.2\n{NGINX}/proxy-ssl-ciphers:");
    for suite in [
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ] {
        site.apply(backend.port, &format!("{old} {suite}"));
        site.becomes(&format!("the suite is {suite}"), |status, body| {
            status == 200 && value(body, "cipher") == suite
        });
    }
    site.apply_closed(backend.port, &format!("{old} AES128-SHA"));
    site.becomes("no suite is left", |status, _| status == 503);
}

#[test]
fn a_websocket_goes_through_mutual_tls() {
    let Some(site) = Site::start() else { return };
    let own = site.certificate("own", &of_server(INSIDE));
    let server = Server::start("websocket_server.py", &[]);
    let backend = site.backend_with(
        &own,
        &format!(
            "ssl_verify_client on; location / {{
               proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
               proxy_set_header Connection upgrade; client_max_body_size 0;
               proxy_pass http://127.0.0.1:{}; }}",
            server.ports[0]
        ),
    );
    let [chain, key] = pair(&site.ann);
    let authorities = ("ca.crt", site.authority.pem());
    site.gatelet
        .apply(&secret("tls", &[chain, key, authorities]));
    site.apply(
        backend.port,
        &format!(
            "{NGINX}/backend-protocol: HTTPS\n{NGINX}/proxy-ssl-secret: tls\n\
             {NGINX}/proxy-ssl-verify: 'on'\n{NGINX}/proxy-ssl-name: {INSIDE}"
        ),
    );
    eventually("the WebSocket is there", || {
        let mut client: Command = script("websocket_client.py");
        client.args([HOST, &site.gatelet.http.to_string()]);
        let output = client.output().expect("python");
        output.status.success().then_some(())
    });
}

#[test]
fn annotations_of_haproxy_on_services_make_mutual_tls() {
    let Some(site) = Site::start() else { return };
    let [own, other] = [INSIDE, "x.example.com"].map(|name| {
        let certificate = site.certificate(name, &of_server(name));
        site.backend(&certificate, "ssl_verify_client on;")
    });
    let ca = site.authority.pem();
    site.gatelet.apply(&secret("pair", &pair(&site.ann)));
    site.gatelet.apply(&secret("ca", &[("ca.crt", ca.clone())]));
    site.gatelet.apply(&secret("chain", &[("tls.crt", ca)]));
    let others = Authority::root("Others").pem();
    site.gatelet.apply(&secret("others", &[("ca.crt", others)]));

    let of_haproxy = |ca: &str, name: &str| {
        let more = match name {
            "" => String::new(),
            name => format!("\nhaproxy-ingress.github.io/secure-verify-hostname: {name}"),
        };
        format!(
            "haproxy-ingress.github.io/secure-backends: 'true'
             haproxy-ingress.github.io/secure-crt-secret: pair
             haproxy-ingress.github.io/secure-verify-ca-secret: {ca}{more}"
        )
    };
    let of_technologies =
        "haproxy.org/server-ca: default/chain\nhaproxy.org/server-crt: default/pair".to_owned();
    let cases = [
        (&own, of_haproxy("ca", INSIDE), 200),
        (&other, of_haproxy("ca", INSIDE), 502),
        (&other, of_haproxy("ca", ""), 200),
        (&other, of_haproxy("others", ""), 502),
        (&own, of_technologies, 200),
        (&own, of_haproxy("missing", ""), 503),
    ];
    for (number, (backend, annotations, expected)) in cases.into_iter().enumerate() {
        let lines = annotations.lines().map(str::trim);
        let lines: String = lines.map(|line| format!("    {line}\n")).collect();
        let service = backend::service("tls", "").replace(
            "metadata: {name: tls}\n",
            &format!("metadata:\n  name: tls\n  annotations:\n{lines}"),
        );
        let slice = backend::slice("tls", &[backend.port]);
        let ingress = backend::ingress("tls", HOST, "");
        site.gatelet.apply(&format!("{service}{slice}{ingress}"));
        site.becomes(
            &format!("{annotations} leads to {expected}"),
            |status, body| status == expected && (status != 200 || body.contains("dn=CN=ann,")),
        );
        // The requests so far may have met the annotations before.
        let path = format!("/{number}");
        assert_eq!(site.get_path(&path, &[]).0, expected, "{annotations}");
        site.was_asked(&backend.nginx, &path, expected == 200);
    }
}

#[test]
fn the_scheme_of_the_client_decides_about_tls() {
    let Some(site) = Site::start() else { return };
    let own = site.certificate("own", &of_server(INSIDE));
    let backend = site.backend(&own, "ssl_verify_client on;");
    site.gatelet.apply(&secret("tls", &pair(&site.ann)));
    site.apply(
        backend.port,
        &format!(
            "{NGINX}/backend-protocol: AUTO_HTTP\n{NGINX}/proxy-ssl-secret: tls\n\
             {NGINX}/ssl-redirect: 'false'"
        ),
    );
    site.becomes("plain HTTP comes as such", |status, body| {
        status == 400 && body.contains("The plain HTTP request was sent to HTTPS port")
    });

    let mut curl = site.gatelet.curl_tls(HOST, "/");
    let body = run(curl.arg("-k"));
    assert!(body.contains("verify=SUCCESS dn=CN=ann,"), "{body}");
}
