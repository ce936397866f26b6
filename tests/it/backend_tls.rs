//! TLS to backends: certificates as devices have them, and handshakes that fail.

mod mutual;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use super::support::{Gatelet, backend, eventually, free_port, run, said};

const HOST: &str = "backend.example.com";
const HTTPS: &str = "nginx.ingress.kubernetes.io/backend-protocol: HTTPS";

/// `openssl s_server`, which responds to every request with a page about the connection. Killed
/// with its test.
struct TlsServer {
    port: u16,
    child: Child,
}

impl TlsServer {
    fn start(chain: &Path, key: &Path, arguments: &[&str]) -> Self {
        let port = free_port();
        let mut command = Command::new("openssl");
        command
            .args([
                "s_server",
                "-quiet",
                "-www",
                "-accept",
                &format!("127.0.0.1:{port}"),
            ])
            .args(arguments);
        // As for old devices, whose keys today's defaults refuse.
        command.args(["-cipher", "DEFAULT@SECLEVEL=0"]);
        command.arg("-cert").arg(chain).arg("-key").arg(key);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl");
        let server = Self { port, child };
        eventually("openssl listens", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        server
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A self-signed certificate: openssl's arguments for its key, and for the certificate.
fn certificate(gatelet: &Gatelet, name: &str, key: &[&str], more: &[&str]) -> (PathBuf, PathBuf) {
    let (chain, private) = (
        gatelet.folder.path().join(format!("{name}.crt")),
        gatelet.folder.path().join(name),
    );
    let mut command = Command::new("openssl");
    command
        .args([
            "req",
            "-x509",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=device",
        ])
        .args(more)
        .arg("-newkey")
        .args(key);
    run(command.arg("-keyout").arg(&private).arg("-out").arg(&chain));
    (chain, private)
}

/// One of version 1, without any extension.
fn version_1(gatelet: &Gatelet) -> (PathBuf, PathBuf) {
    let [chain, key, request] =
        ["v1.crt", "v1.key", "v1.csr"].map(|name| gatelet.folder.path().join(name));
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-new",
        "-nodes",
        "-subj",
        "/CN=device",
        "-newkey",
        "rsa:2048",
    ]);
    run(command.arg("-keyout").arg(&key).arg("-out").arg(&request));
    let mut command = Command::new("openssl");
    command
        .args(["x509", "-req", "-days", "30", "-in"])
        .arg(&request)
        .arg("-signkey")
        .arg(&key);
    run(command.arg("-out").arg(&chain));
    let text = run(Command::new("openssl")
        .args(["x509", "-noout", "-text", "-in"])
        .arg(&chain));
    assert!(text.contains("Version: 1 "), "{text}");
    (chain, key)
}

/// Returns a Service with an endpoint, and an Ingress that names the protocol of the backend.
fn manifests(port: u16, annotation: &str) -> String {
    let ingress = backend::ingress("tls", HOST, "").replace(
        "metadata: {name: tls}",
        &format!("metadata: {{name: tls, annotations: {{{annotation}}}}}"),
    );
    format!(
        "{}{}{ingress}",
        backend::service("tls", ""),
        backend::slice("tls", &[port])
    )
}

fn live(gatelet: &Gatelet, port: u16) {
    eventually("the endpoint is live", || {
        gatelet.status()["backends"]
            .to_string()
            .contains(&format!("127.0.0.1:{port}"))
            .then_some(())
    });
}

#[test]
fn any_certificate_is_accepted_where_none_is_verified() {
    let gatelet = Gatelet::start();
    let curve = |name| ["ec", "-pkeyopt", name];
    let (p256, p521) = (
        curve("ec_paramgen_curve:P-256"),
        curve("ec_paramgen_curve:P-521"),
    );
    for (name, (chain, key)) in [
        ("version 1", version_1(&gatelet)),
        (
            "RSA with 1024 bits",
            certificate(&gatelet, "rsa1024", &["rsa:1024"], &[]),
        ),
        ("P-521", certificate(&gatelet, "p521", &p521, &[])),
        ("Ed448", certificate(&gatelet, "ed448", &["ed448"], &[])),
        (
            "SHA-1",
            certificate(&gatelet, "sha1", &["rsa:2048"], &["-sha1"]),
        ),
        (
            "an unknown extension that is critical",
            certificate(
                &gatelet,
                "unknown",
                &p256,
                &["-addext", "1.2.3.4=critical,ASN1:UTF8String:x"],
            ),
        ),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            // TLS 1.2 ties the kind of key to the suites and curves of the key exchange, and rustls
            // has none for these.
            if version == "-tls1_2" && matches!(name, "P-521" | "Ed448") {
                continue;
            }
            let server = TlsServer::start(&chain, &key, &[version]);
            gatelet.apply(&manifests(server.port, HTTPS));
            live(&gatelet, server.port);
            let page = gatelet.get(HOST, "/");
            assert!(page.contains("s_server"), "{name} with {version}: {page}");
        }
    }
}

#[test]
fn an_annotation_asks_for_verified_certificates() {
    let gatelet = Gatelet::start();
    let key = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let (chain, key) = certificate(&gatelet, "self", &key, &[]);
    let server = TlsServer::start(&chain, &key, &[]);
    let verify =
        |value: &str| format!("{HTTPS}, nginx.ingress.kubernetes.io/proxy-ssl-verify: \"{value}\"");
    for (value, expected) in [("off", 200), ("on", 502), ("off", 200), ("yes", 502)] {
        gatelet.apply(&manifests(server.port, &verify(value)));
        live(&gatelet, server.port);
        eventually(&format!("{value} leads to {expected}"), || {
            (gatelet.status_of(HOST, "/") == expected).then_some(())
        });
    }
}

/// A backend without TLS, which tells clients so when they begin a handshake.
fn plain() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut seen = [0; 4096];
            let length = stream.read(&mut seen).unwrap_or(0);
            let status = if seen[..length].starts_with(b"GET ") {
                "200 OK"
            } else {
                "400 Bad Request"
            };
            let answer =
                format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

/// Returns the output of a command, with single spaces between its uncut cells.
fn text(gatelet: &Gatelet, arguments: &[&str]) -> String {
    let wide: &[&str] = match arguments[0] {
        "status" => &["-o", "wide"],
        _ => &[],
    };
    let output = gatelet.command(&[arguments, wide].concat());
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_failed_handshake_is_reported_with_its_reason() {
    let gatelet = Gatelet::start();
    let port = plain();
    gatelet.apply(&manifests(port, HTTPS));
    live(&gatelet, port);
    assert_eq!(gatelet.status_of(HOST, "/"), 502);
    let reason = "the TLS handshake failed: it does not speak TLS on this port";
    let row = format!("127.0.0.1:{port} failing: {reason}");
    for arguments in [&["status"][..], &["explain", &format!("http://{HOST}/")]] {
        let said = text(&gatelet, arguments);
        assert!(said.contains(&row), "{arguments:?}: {said}");
    }
    let finding = format!(
        "TlsHandshakeFailed spec.rules[0].http.paths[0] no connection to default/tls:80: {reason}"
    );
    eventually("the finding is there", || {
        text(&gatelet, &["status"]).contains(&finding).then_some(())
    });
    eventually("an Event is there", || {
        let events = gatelet.kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"]);
        events.contains(reason).then_some(())
    });
    // There is one Event, however often the handshake fails.
    for _ in 0..5 {
        assert_eq!(gatelet.status_of(HOST, "/"), 502);
    }
    let log = gatelet.log();
    let warnings = || {
        log.lines()
            .filter(|line| line.contains("cannot connect to the endpoint"))
    };
    assert_eq!(
        warnings()
            .filter(|line| line.contains("WARN") && line.contains(reason))
            .count(),
        1,
        "{log}"
    );

    // The finding ends as soon as the backend speaks the protocol that the Ingress names.
    gatelet.apply(&manifests(port, ""));
    eventually("the finding is gone", || {
        (!text(&gatelet, &["status"]).contains(&finding)).then_some(())
    });
    assert_eq!(gatelet.status_of(HOST, "/"), 200);
}

#[test]
fn the_reason_of_a_failed_connection_is_the_real_one() {
    let gatelet = Gatelet::configured("[proxy]\neject_after = 1000\n");
    let curve = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let (chain, key) = certificate(&gatelet, "client", &curve, &[]);
    let wants = TlsServer::start(&chain, &key, &["-Verify", "1", "-verify_return_error"]);
    let old = TlsServer::start(&chain, &key, &["-tls1_1"]);
    let nothing = free_port();
    for (port, annotation, reason) in [
        (nothing, HTTPS, "connection refused"),
        (
            wants.port,
            HTTPS,
            "the TLS handshake failed: it sent the alert certificate_required: it wants a client",
        ),
        (
            old.port,
            HTTPS,
            "the TLS handshake failed: it sent the alert protocol_version: it speaks other \
                versions",
        ),
    ] {
        gatelet.apply(&manifests(port, annotation));
        live(&gatelet, port);
        assert_eq!(gatelet.status_of(HOST, "/"), 502);
        let said = text(&gatelet, &["status"]);
        assert!(
            said.contains(&format!("127.0.0.1:{port} failing: {reason}")),
            "{reason}: {said}"
        );
        assert_eq!(
            gatelet.status()["backends"][0]["endpoints"][0]["failure"]
                .as_str()
                .map(|why| why.starts_with(reason)),
            Some(true)
        );
    }
}
