//! TLS to backends, beside `proxy_ssl_*` of nginx as ingress-nginx writes them.

use std::fs;

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, date_time_ymd};

use super::program;
use crate::support::{
    Folder, Gatelet, Nginx, backend,
    client_certificates::{Authority, ClientFiles, of_client, of_server},
    eventually, free_port, run,
};

const INSIDE: &str = "inside.example.com";

/// The part of a comparison that is the same for both.
struct Case<'a> {
    name: &'a str,
    /// The certificate of the backend.
    backend: &'a ClientFiles,
    /// The client that proxies show.
    client: Option<&'a ClientFiles>,
    /// The authorities, if the Secret has any.
    ca: Option<&'a str>,
    /// Annotations without the prefix, and the directives of nginx for them.
    annotations: &'a [(&'a str, &'a str)],
    directives: &'a str,
    /// The status of nginx.
    status: &'a str,
}

/// Returns the status and the body that curl gets.
fn outcome(port: u16, host: &str) -> String {
    let mut curl = std::process::Command::new("curl");
    curl.args(["-sS", "-m", "20", "-w", "\n%{http_code}"]);
    curl.args(["-H", &format!("Host: {host}")]);
    let text = run(curl.arg(format!("http://127.0.0.1:{port}/")));
    let (body, status) = text.rsplit_once('\n').expect("a line of our own");
    match status {
        // The pages of both differ.
        "502" => "502".to_owned(),
        _ => format!("{status} {body}"),
    }
}

/// Starts a backend that wants a certificate of its clients, if they have one.
fn backend_with(own: &ClientFiles, clients: &str, folder: &Folder) -> (Nginx, u16) {
    let port = free_port();
    let ca = folder.write("clients.crt", clients);
    let nginx = Nginx::start(&format!(
        "listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {};
         ssl_protocols TLSv1.2 TLSv1.3; ssl_client_certificate {}; ssl_verify_client optional_no_ca;
         location / {{ return 200 'verify=$ssl_client_verify dn=$ssl_client_s_dn \
         version=$ssl_protocol\\n'; }}",
        own.chain.display(),
        own.key.display(),
        ca.display(),
    ));
    (nginx, port)
}

/// Sends a request to both, and compares.
fn compare(gatelet: &Gatelet, folder: &Folder, clients: &str, case: &Case<'_>) {
    let (_backend, port) = backend_with(case.backend, clients, folder);
    let read = |path| fs::read_to_string(path).expect("a file");
    let mut keys = Vec::new();
    if let Some(client) = case.client {
        keys.push(("tls.crt", read(&client.chain)));
        keys.push(("tls.key", read(&client.key)));
    }
    keys.extend(case.ca.map(|ca| ("ca.crt", ca.to_owned())));
    let keys = keys
        .iter()
        .map(|(key, text)| format!("  {key}: {:?}\n", STANDARD.encode(text)));
    let keys: String = keys.collect();
    // Each case has objects of its own: none meets what another one has left.
    let app = format!("app-{port}");
    let (host, secret) = (format!("{app}.example.com"), format!("default/{app}"));
    gatelet.apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {app}}}\ndata:\n{keys}"
    ));

    let own = [
        ("backend-protocol", "HTTPS"),
        ("proxy-ssl-secret", &*secret),
    ];
    let lines = own.iter().chain(case.annotations);
    let lines =
        lines.map(|(name, value)| format!("    nginx.ingress.kubernetes.io/{name}: {value:?}\n"));
    let lines: String = lines.collect();
    let ingress = backend::ingress(&app, &host, "").replace(
        &format!("metadata: {{name: {app}}}\n"),
        &format!("metadata:\n  name: {app}\n  annotations:\n{lines}"),
    );
    let (service, slice) = (backend::service(&app, ""), backend::slice(&app, &[port]));
    gatelet.apply(&format!("{service}{slice}{ingress}"));

    let mut directives = case.directives.to_owned();
    if let Some(ca) = case.ca {
        let ca = folder.write("trusted.crt", ca);
        directives += &format!(" proxy_ssl_trusted_certificate {};", ca.display());
    }
    if let Some(client) = case.client {
        directives += &format!(
            " proxy_ssl_certificate {}; proxy_ssl_certificate_key {};",
            client.chain.display(),
            client.key.display()
        );
    }
    let nginx = Nginx::start(&format!(
        "location / {{ {directives} proxy_pass https://127.0.0.1:{port}; }}"
    ));
    let theirs = outcome(nginx.port, &host);
    assert!(theirs.starts_with(case.status), "{}: {theirs}", case.name);
    eventually(&format!("{}: gatelet responds {theirs}", case.name), || {
        (outcome(gatelet.http, &host) == theirs).then_some(())
    });
}

#[test]
fn backends_are_verified_as_in_nginx() {
    if program().is_none() {
        return;
    }
    let (folder, gatelet) = (Folder::new(), Gatelet::start());
    let (own, other) = (Authority::root("Backends"), Authority::root("Others"));
    let first = own.intermediate("First");
    let second = first.intermediate("Second");
    let clients = Authority::root("Clients");
    let ann = clients.issue(&folder, "ann", &of_client("ann"));
    let stranger = other.issue(&folder, "stranger", &of_client("eve"));
    let old = |mut params: CertificateParams| {
        params.not_after = date_time_ymd(2025, 1, 1);
        params
    };
    let good = own.issue(&folder, "good", &of_server(INSIDE));
    let one_step = first.issue(&folder, "one", &of_server(INSIDE));
    let two_steps = second.issue(&folder, "two", &of_server(INSIDE));
    let expired = own.issue(&folder, "old", &old(of_server(INSIDE)));
    let named = own.issue(&folder, "named", &of_server("x.example.com"));
    let foreign = other.issue(&folder, "foreign", &of_server(INSIDE));
    let for_clients = own.issue(&folder, "client", &of_client("ann"));

    let ca = own.pem();
    let verified: &[_] = &[("proxy-ssl-verify", "on"), ("proxy-ssl-name", INSIDE)];
    let by = format!(
        "proxy_ssl_verify on; proxy_ssl_name {INSIDE}; proxy_ssl_protocols TLSv1.2 TLSv1.3;"
    );
    let deep = [verified, &[("proxy-ssl-verify-depth", "2")]].concat();
    let by_deep = format!("{by} proxy_ssl_verify_depth 2;");
    let both = "proxy_ssl_protocols TLSv1.2 TLSv1.3;";

    let (client, ca) = (Some(&ann), Some(&*ca));
    for (name, backend, annotations, directives, status) in [
        ("good", &good, verified, &*by, "200"),
        ("one step away", &one_step, verified, &by, "200"),
        ("two steps away", &two_steps, verified, &by, "502"),
        ("two steps away, deep", &two_steps, &deep, &by_deep, "200"),
        ("expired", &expired, verified, &by, "502"),
        ("of another name", &named, verified, &by, "502"),
        ("of another authority", &foreign, verified, &by, "502"),
        ("for clients", &for_clients, verified, &by, "502"),
        (
            "of another authority, not verified",
            &foreign,
            &[],
            both,
            "200",
        ),
        ("expired, not verified", &expired, &[], both, "200"),
    ] {
        let case = Case {
            name,
            backend,
            client,
            ca,
            annotations,
            directives,
            status,
        };
        compare(&gatelet, &folder, &clients.pem(), &case);
    }

    for (name, client, ca, annotations, directives) in [
        ("no client", None, ca, &[][..], both),
        ("a stranger", Some(&stranger), ca, &[], both),
        ("no authorities", Some(&ann), None, &[], both),
        (
            "an older version",
            Some(&ann),
            ca,
            &[("proxy-ssl-protocols", "TLSv1.2")],
            "proxy_ssl_protocols TLSv1.2;",
        ),
    ] {
        let case = Case {
            name,
            backend: &good,
            client,
            ca,
            annotations,
            directives,
            status: "200",
        };
        compare(&gatelet, &folder, &clients.pem(), &case);
    }
}
