//! The server names that backends with TLS get: those of the requests, as from HAProxy.

use std::{fs, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Haproxy, INGRESS};
use crate::support::{
    Folder, Gatelet, Nginx, backend,
    client_certificates::{Authority, ClientFiles, of_server},
    eventually, free_port, peers, run,
};

/// Starts a backend that says which name it got, over HTTP/1.1 or HTTP/2.
fn telling(own: &ClientFiles, http2: bool) -> (Nginx, u16) {
    let port = free_port();
    let version = if http2 { "http2" } else { "" };
    let nginx = Nginx::start(&format!(
        "listen 127.0.0.1:{port} ssl {version}; ssl_certificate {}; ssl_certificate_key {};
         location / {{ return 200 'name=$ssl_server_name\\n'; }}",
        own.chain.display(),
        own.key.display(),
    ));
    (nginx, port)
}

/// Returns the status and the name that the backend got for a request with this `Host`, over TLS
/// for `sni` if there is one.
fn outcome((http, https): (u16, u16), host: &str, sni: Option<&str>) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-sSk", "-m", "20", "-w", "%{http_code}"]);
    curl.args(["-H", &format!("Host: {host}")]);
    match sni {
        None => curl.arg(format!("http://127.0.0.1:{http}/")),
        Some(sni) => {
            curl.args(["--connect-to", &format!("::127.0.0.1:{https}")]);
            curl.arg(format!("https://{sni}:{https}/"))
        }
    };
    let text = run(&mut curl);
    match text.strip_suffix("200") {
        Some(body) => body.trim_end().to_owned(),
        // HAProxy has 503 for a failed handshake, and gatelet 502.
        None => "refused".to_owned(),
    }
}

/// Serves the backend for all hosts of a domain.
fn serving(port: u16, keys: &str, annotations: &[&str]) -> Gatelet {
    let lines = annotations.iter().filter_map(|one| one.split_once('='));
    let lines = lines.map(|(name, value)| format!("    {INGRESS}{name}: {value:?}\n"));
    let lines: String = lines.collect();
    let ingress = backend::ingress("app", "*.example.com", "").replace(
        "metadata: {name: app}\n",
        &format!("metadata:\n  name: app\n  annotations:\n{lines}"),
    );
    let (service, slice) = (backend::service("app", ""), backend::slice("app", &[port]));
    let gatelet = Gatelet::start();
    gatelet.apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: ca}}\ndata: {{ca.crt: {keys}}}\n---\n\
         {service}{slice}{ingress}"
    ));
    gatelet
}

#[test]
fn backends_get_the_names_of_requests_as_from_haproxy() {
    if peers::haproxy().is_none() {
        return;
    }
    let folder = Folder::new();
    let authority = Authority::root("ca");
    let own = authority.issue(&folder, "own", &of_server("app.example.com"));
    let ca = folder.write("ca.crt", &authority.pem());
    let keys = STANDARD.encode(fs::read(&ca).expect("a file"));
    let hosts = [
        ("app.example.com", None),
        ("b.example.com:8080", None),
        ("APP.example.com", Some("app.example.com")),
        ("b.example.com", Some("app.example.com")),
        ("app.example.com", Some("b.example.com")),
    ];

    for (sni, expression) in [
        ("host", "hdr(host),field(1,:),lower"),
        ("sni", "ssl_fc_sni"),
    ] {
        for (verified, http2) in [(false, false), (true, false), (false, true)] {
            let (_nginx, port) = telling(&own, http2);
            let verify = match verified {
                true => format!("verify required ca-file {}", ca.display()),
                false => "verify none".to_owned(),
            };
            let alpn = if http2 { "alpn h2" } else { "" };
            let server = format!("ssl {verify} {alpn} sni {expression}");
            let haproxy = Haproxy::start("", &server, port).expect("HAProxy");

            let name = format!("secure-sni={sni}");
            let protocol = format!(
                "backend-protocol={}",
                if http2 { "h2-ssl" } else { "h1-ssl" }
            );
            let mut annotations = vec![&*name, &*protocol];
            if verified {
                annotations.push("secure-verify-ca-secret=ca");
            }
            let gatelet = serving(port, &keys, &annotations);
            // Twice: connections that are kept have the same name again.
            for (host, client) in hosts.iter().chain(&hosts) {
                if sni == "sni" && client.is_none() {
                    // HAProxy sends requests without a name over connections with any name.
                    continue;
                }
                let theirs = outcome((haproxy.port, haproxy.https), host, *client);
                let what = format!("{sni} {verified} {http2} {host} {client:?}: {theirs}");
                eventually(&what, || {
                    let ours = outcome((gatelet.http, gatelet.https), host, *client);
                    (ours == theirs).then_some(())
                });
            }
        }
    }
}

#[test]
fn names_that_fail_harm_no_other_and_none_is_refused() {
    let folder = Folder::new();
    let authority = Authority::root("ca");
    let own = authority.issue(&folder, "own", &of_server("app.example.com"));
    let keys = STANDARD.encode(authority.pem());
    let (_nginx, port) = telling(&own, false);
    let both = ["backend-protocol=h1-ssl", "secure-verify-ca-secret=ca"];
    let gatelet = serving(port, &keys, &[both[0], both[1], "secure-sni=host"]);
    let ports = (gatelet.http, gatelet.https);
    let good = "name=app.example.com";
    eventually("the host is served", || {
        (outcome(ports, "app.example.com", None) == good).then_some(())
    });
    for _ in 0..10 {
        assert_eq!(outcome(ports, "b.example.com", None), "refused");
        assert_eq!(outcome(ports, "app.example.com", None), good);
    }

    let gatelet = serving(port, &keys, &[both[0], both[1], "secure-sni=sni"]);
    let ports = (gatelet.http, gatelet.https);
    eventually("the host is served", || {
        (outcome(ports, "x.example.com", Some("app.example.com")) == good).then_some(())
    });
    let mut curl = gatelet.curl("app.example.com", "/");
    let status = run(curl.args(["-o", "/dev/null", "-w", "%{http_code}"]));
    assert_eq!(status, "421", "a client without a name");
}
