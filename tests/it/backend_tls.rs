//! TLS to backends: certificates as devices have them, and handshakes that fail.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::support::{Gatelet, backend, eventually, free_port, run};

const HOST: &str = "backend.example.com";
const HTTPS: &str = "nginx.ingress.kubernetes.io/backend-protocol: HTTPS";

/// `openssl s_server`, which answers every request with a page about the connection. Killed with its test.
struct TlsServer {
    port: u16,
    child: Child,
}

impl TlsServer {
    fn start(chain: &Path, key: &Path, arguments: &[&str]) -> Self {
        let port = free_port();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}")]).args(arguments);
        // As old devices are: today's defaults do not take their keys.
        command.args(["-cipher", "DEFAULT@SECLEVEL=0"]);
        command.arg("-cert").arg(chain).arg("-key").arg(key);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("openssl");
        let server = Self { port, child };
        eventually("openssl listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        server
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A self-signed certificate: arguments for its key, and for itself.
fn certificate(gatelet: &Gatelet, name: &str, key: &[&str], more: &[&str]) -> (PathBuf, PathBuf) {
    let (chain, private) = (gatelet.folder.path().join(format!("{name}.crt")), gatelet.folder.path().join(name));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=device"]).args(more).arg("-newkey").args(key);
    run(command.arg("-keyout").arg(&private).arg("-out").arg(&chain));
    (chain, private)
}

/// One of version 1, without any extension.
fn version_1(gatelet: &Gatelet) -> (PathBuf, PathBuf) {
    let [chain, key, request] = ["v1.crt", "v1.key", "v1.csr"].map(|name| gatelet.folder.path().join(name));
    let mut command = Command::new("openssl");
    command.args(["req", "-new", "-nodes", "-subj", "/CN=device", "-newkey", "rsa:2048"]);
    run(command.arg("-keyout").arg(&key).arg("-out").arg(&request));
    let mut command = Command::new("openssl");
    command.args(["x509", "-req", "-days", "30", "-in"]).arg(&request).arg("-signkey").arg(&key);
    run(command.arg("-out").arg(&chain));
    let text = run(Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(&chain));
    assert!(text.contains("Version: 1 "), "{text}");
    (chain, key)
}

/// A Service with an endpoint, and an Ingress that says how to speak to it.
fn manifests(port: u16, annotation: &str) -> String {
    let ingress = backend::ingress("tls", HOST, "")
        .replace("metadata: {name: tls}", &format!("metadata: {{name: tls, annotations: {{{annotation}}}}}"));
    format!("{}{}{ingress}", backend::service("tls", ""), backend::slice("tls", &[port]))
}

fn live(gatelet: &Gatelet, port: u16) {
    eventually("the endpoint is live", || {
        gatelet.status()["backends"].to_string().contains(&format!("127.0.0.1:{port}")).then_some(())
    });
}

#[test]
fn any_certificate_is_accepted_where_none_is_verified() {
    let gatelet = Gatelet::start();
    let curve = |name| ["ec", "-pkeyopt", name];
    let (p256, p521) = (curve("ec_paramgen_curve:P-256"), curve("ec_paramgen_curve:P-521"));
    for (name, (chain, key)) in [
        ("version 1", version_1(&gatelet)),
        ("RSA with 1024 bits", certificate(&gatelet, "rsa1024", &["rsa:1024"], &[])),
        ("P-521", certificate(&gatelet, "p521", &p521, &[])),
        ("Ed448", certificate(&gatelet, "ed448", &["ed448"], &[])),
        ("SHA-1", certificate(&gatelet, "sha1", &["rsa:2048"], &["-sha1"])),
        (
            "an unknown extension that is critical",
            certificate(&gatelet, "unknown", &p256, &["-addext", "1.2.3.4=critical,ASN1:UTF8String:x"]),
        ),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            // TLS 1.2 ties the kind of key to the suites and curves of the key exchange, and rustls has none for these.
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
