//! TLS passed through by its name, to `openssl s_server`, beside hosts whose TLS gatelet ends.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::support::{
    Backend, Certificate, Gatelet, backend, certificates::ECDSA, eventually, free_port, run, said,
};

const HOST: &str = "vault.example.com";
const OURS: &str = "ours.example.com";
const ON: &str = "gatelet.dev/ssl-passthrough: 'true'";

/// `openssl s_server` with a page about each connection. Killed with its test.
struct TlsServer {
    port: u16,
    certificate: Certificate,
    child: Child,
}

impl TlsServer {
    fn start(gatelet: &Gatelet, name: &str) -> Self {
        let names = [HOST, "*.wild.example.com"];
        let certificate = Certificate::make(&gatelet.folder, name, &names, ECDSA);
        let port = free_port();
        let accept = format!("127.0.0.1:{port}");
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-www", "-accept", &accept]);
        command.arg("-cert").arg(&certificate.chain);
        command.arg("-key").arg(&certificate.key);
        let silent = [Stdio::null(), Stdio::null(), Stdio::null()];
        let [input, output, errors] = silent;
        let child = command.stdin(input).stdout(output).stderr(errors).spawn();
        let child = child.expect("openssl");
        eventually("openssl listens", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self {
            port,
            certificate,
            child,
        }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An Ingress with annotations for a host.
fn ingress(name: &str, service: &str, host: &str, annotations: &str) -> String {
    let metadata = format!("metadata: {{name: {name}, annotations: {{{annotations}}}}}");
    let text = backend::ingress(name, host, "");
    let text = text.replace(&format!("metadata: {{name: {name}}}"), &metadata);
    text.replace(
        &format!("service: {{name: {name}"),
        &format!("service: {{name: {service}"),
    )
}

/// The Service and slice of an endpoint.
fn service(name: &str, port: u16) -> String {
    format!(
        "{}{}",
        backend::service(name, ""),
        backend::slice(name, &[port])
    )
}

/// curl to a host that trusts only the certificate of the endpoint.
fn curl(gatelet: &Gatelet, server: &TlsServer, host: &str) -> Command {
    let mut command = Command::new("curl");
    let resolve = format!("{host}:{}:127.0.0.1", gatelet.https);
    command.args(["-sS", "-m", "20", "--resolve", &resolve, "--cacert"]);
    command.arg(&server.certificate.chain);
    command.arg(format!("https://{host}:{}/", gatelet.https));
    command
}

/// Waits until the endpoint's own certificate is served for a host.
fn passed(gatelet: &Gatelet, server: &TlsServer, host: &str) -> String {
    eventually("TLS is passed through", || {
        let output = curl(gatelet, server, host).output().expect("curl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success() && text.contains("s_server")).then_some(text)
    })
}

/// Returns the ClientHello that openssl sends for a name.
fn client_hello(name: &str) -> Vec<u8> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-servername", name]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut client = command.spawn().expect("openssl");
    let (mut stream, _) = listener.accept().expect("openssl connects");
    let mut head = [0; 5];
    stream
        .read_exact(&mut head)
        .expect("the head of the record");
    let mut rest = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut rest).expect("the record");
    drop(stream);
    client.wait().expect("openssl ends");
    [&head[..], &rest].concat()
}

fn connect(gatelet: &Gatelet) -> TcpStream {
    let stream = TcpStream::connect(gatelet.https_addr()).expect("a connection");
    let limit = Some(Duration::from_secs(60));
    stream.set_read_timeout(limit).expect("a timeout");
    stream
}

/// Returns all that comes back for these bytes, up to the end or a reset.
fn answer(gatelet: &Gatelet, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(gatelet);
    // The other side may have closed before all is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    all
}

/// Applies a host that is passed through, a wildcard too, and one whose TLS ends here.
fn serve(gatelet: &Gatelet) -> (TlsServer, Backend) {
    let (server, ours) = (TlsServer::start(gatelet, "server"), Backend::start("ours"));
    gatelet.apply(&format!(
        "{}{}{}{}{}{}",
        service("vault", server.port),
        ingress("vault", "vault", HOST, ON),
        ingress("wild", "vault", "*.wild.example.com", ON),
        service("ours", ours.port),
        ingress("ours", "ours", OURS, ""),
        ingress("own", "ours", "own.wild.example.com", ""),
    ));
    passed(gatelet, &server, HOST);
    (server, ours)
}

#[test]
fn names_decide_who_ends_tls() {
    let gatelet = Gatelet::configured("[log]\naccess = 1.0\n");
    let (server, _ours) = serve(&gatelet);
    passed(&gatelet, &server, "a.wild.example.com");
    // Names have no case.
    passed(&gatelet, &server, "VAULT.example.com");
    for host in [OURS, "own.wild.example.com"] {
        let text = run(&mut gatelet.curl_tls(host, "/"));
        assert!(text.starts_with("ours\n"), "{host}: {text}");
    }
    // Without a name, and with one that nothing has, TLS ends here.
    let mut command = gatelet.curl_tls("127.0.0.1", "/");
    let text = said(
        &command
            .args(["-k", "-H", &format!("Host: {OURS}")])
            .output()
            .expect("curl"),
    );
    assert!(text.starts_with("ours\n"), "{text}");
    let text = said(
        &gatelet
            .curl_tls("other.example.com", "/")
            .arg("-k")
            .output()
            .expect("curl"),
    );
    assert!(text.starts_with("404 "), "{text}");

    let explain = |url: String| said(&gatelet.command(&["explain", &url]));
    let text = explain(format!("tls://{HOST}:{}", gatelet.https));
    let outcome = "TLS is passed through to default/vault:80 (TCP), for Ingress default/vault";
    assert!(text.contains(outcome), "{text}");
    let text = explain(format!("tls://{OURS}:{}", gatelet.https));
    assert!(text.contains("TLS ends here"), "{text}");
    let text = explain("tls://ours.example.com:1".to_owned());
    assert!(text.contains("no HTTPS listener has port 1"), "{text}");
    let text = explain(format!("https://{HOST}/"));
    assert!(
        text.contains("421: TLS of this host ends at its backend"),
        "{text}"
    );

    let log = gatelet.log();
    let line = log
        .lines()
        .find(|line| line.contains(&format!("host={HOST}")));
    let line = line.expect("a line in the access log");
    assert!(line.contains("backend=default/vault:80"), "{line}");
    let metrics = gatelet.admin_page("/metrics").1;
    let lines = metrics
        .lines()
        .filter(|line| line.contains("transport=\"tls\""));
    let begun = lines.filter(|line| line.starts_with("gatelet_port_connections_total"));
    assert!(begun.clone().count() == 1 && !begun.clone().any(|line| line.ends_with(" 0")));
}

#[test]
fn a_request_over_other_tls_is_misdirected() {
    let gatelet = Gatelet::start();
    let _both = serve(&gatelet);
    for (version, path) in [
        ("--http1.1", "/"),
        ("--http2", "/"),
        ("--http1.1", "//x"),
        ("--http1.1", "/%2e/"),
    ] {
        let mut command = gatelet.curl_tls(OURS, path);
        command.args([
            version,
            "-H",
            &format!("Host: {HOST}"),
            "-w",
            "%{http_code}",
        ]);
        let output = said(&command.args(["-o", "/dev/null"]).output().expect("curl"));
        assert_eq!(output, "421", "{version} {path}");
    }

    // Plain HTTP goes to the backend over TLS, as with ingress-nginx.
    assert!(gatelet.get(HOST, "/").contains("s_server"));
    gatelet.kubectl(&[
        "annotate",
        "ingress/vault",
        "gatelet.dev/force-ssl-redirect=true",
    ]);
    eventually("plain HTTP is redirected", || {
        (gatelet.status_of(HOST, "/") == 308).then_some(())
    });
}

#[test]
fn a_hello_in_pieces_is_passed_on_unchanged() {
    let gatelet = Gatelet::start();
    // An endpoint that sends back what it receives.
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reading = stream.try_clone().expect("a copy");
            let _ = std::io::copy(&mut reading, &mut stream);
            let _ = stream.shutdown(Shutdown::Write);
        }
    });
    let objects = format!(
        "{}{}",
        service("echo", port),
        ingress("echo", "echo", HOST, ON)
    );
    gatelet.apply(&objects);

    let hello = [client_hello(HOST), b"and more".to_vec()].concat();
    eventually("TLS is passed through", || {
        (answer(&gatelet, &hello) == hello).then_some(())
    });
    let mut stream = connect(&gatelet);
    stream.set_nodelay(true).expect("a socket");
    for piece in hello.chunks(7) {
        stream.write_all(piece).expect("sent");
    }
    stream.shutdown(Shutdown::Write).expect("the end");
    let mut echoed = Vec::new();
    stream.read_to_end(&mut echoed).expect("the echo");
    assert_eq!(echoed, hello);

    // The same message in records of one byte each, and with padding up to nearly 64 KB.
    let mut divided = Vec::new();
    for byte in &hello[5..hello.len() - 8] {
        divided.extend([22, 3, 1, 0, 1, *byte]);
    }
    assert_eq!(answer(&gatelet, &divided), divided);
    let padded = padded(&hello[5..hello.len() - 8], 60_000);
    assert_eq!(answer(&gatelet, &padded), padded);

    // What is longer is closed, and so is half a ClientHello that ends.
    let too_long = self::padded(&hello[5..hello.len() - 8], 66_000);
    assert_eq!(answer(&gatelet, &too_long), b"");
    assert_eq!(answer(&gatelet, &hello[..hello.len() / 2]), b"");
    // Garbage has the alert of rustls, as without such hosts.
    let alert = answer(&gatelet, b"GET / HTTP/1.1\r\n\r\n");
    assert!(alert.starts_with(&[21, 3]), "{alert:?}");
    let alert = answer(&gatelet, &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0]);
    assert!(alert.starts_with(&[21, 3]), "{alert:?}");
}

/// The ClientHello with an extension of padding (RFC 7685), in records.
fn padded(message: &[u8], length: usize) -> Vec<u8> {
    let mut body = message[4..].to_vec();
    // Version, random, session, cipher suites, compression.
    let mut at = 34 + 1 + usize::from(body[34]);
    at += 2 + usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    at += 1 + usize::from(body[at]);
    let mut left = length;
    while left > 0 {
        let some = left.min(30_000);
        let size = u16::try_from(some).expect("it is small").to_be_bytes();
        body.extend([&[0xff, u8::from(left > 30_000)][..], &size, &vec![0; some]].concat());
        left -= some;
    }
    let extensions = u16::try_from(body.len() - at - 2).unwrap_or(u16::MAX);
    body[at..at + 2].copy_from_slice(&extensions.to_be_bytes());
    let size = u32::try_from(body.len())
        .expect("it is small")
        .to_be_bytes();
    let message = [&[1], &size[1..], &body].concat();
    let records = message.chunks(1 << 14).map(|record| {
        let size = u16::try_from(record.len()).expect("it is small");
        [&[22, 3, 1][..], &size.to_be_bytes(), record].concat()
    });
    records.collect::<Vec<_>>().concat()
}

#[test]
fn the_proxy_protocol_precedes_tls_that_is_passed() {
    let text = "[proxy]\nproxy_protocol_from = [\"127.0.0.0/8\"]\n";
    let gatelet = Gatelet::configured(text);
    let server = TlsServer::start(&gatelet, "server");
    let list = format!("{ON}, gatelet.dev/denylist-source-range: 192.0.2.0/24");
    let objects = [
        service("vault", server.port),
        ingress("vault", "vault", HOST, &list),
    ];
    gatelet.apply(&objects.concat());
    eventually("TLS is passed through", || {
        let mut command = curl(&gatelet, &server, HOST);
        let output = command.arg("--haproxy-protocol").output().expect("curl");
        String::from_utf8_lossy(&output.stdout)
            .contains("s_server")
            .then_some(())
    });

    // The list is about the client that the header names.
    let hello = client_hello(HOST);
    let begin = |client: &str| {
        let header = format!("PROXY TCP4 {client} 127.0.0.1 5 443\r\n");
        answer(&gatelet, &[header.as_bytes(), &hello].concat())
    };
    assert!(begin("198.51.100.1").starts_with(&[22, 3]));
    assert_eq!(begin("192.0.2.1"), b"");
    let explain = [
        "explain",
        "--from",
        "192.0.2.1",
        &format!("tls://{HOST}:{}", gatelet.https),
    ];
    let text = said(&gatelet.command(&explain));
    assert!(
        text.contains("connections are reset: this client may not come in"),
        "{text}"
    );
}

#[test]
fn what_is_closed_is_not_ended_here_instead() {
    let gatelet = Gatelet::start();
    let (server, _ours) = serve(&gatelet);
    let hello = client_hello(HOST);

    // A login elsewhere on the host.
    let login = "gatelet.dev/auth-type: basic, gatelet.dev/auth-secret: users";
    let guarded = ingress("admin", "vault", HOST, login).replace("path: /,", "path: /admin,");
    gatelet.apply(&guarded);
    eventually("TLS is closed", || {
        answer(&gatelet, &hello).is_empty().then_some(())
    });
    eventually("the finding is an Event", || {
        let text = gatelet.kubectl(&["describe", "ingress", "vault"]);
        text.contains("is not possible where TLS is passed through")
            .then_some(())
    });
    gatelet.kubectl(&["delete", "ingress", "admin"]);
    passed(&gatelet, &server, HOST);

    // Its endpoints and its Service go while it is served.
    gatelet.kubectl(&["delete", "endpointslice", "vault-1"]);
    eventually("TLS is closed", || {
        answer(&gatelet, &hello).is_empty().then_some(())
    });
    gatelet.apply(&backend::slice("vault", &[server.port]));
    passed(&gatelet, &server, HOST);
    gatelet.kubectl(&["delete", "service", "vault"]);
    eventually("TLS is closed", || {
        answer(&gatelet, &hello).is_empty().then_some(())
    });

    // Without the annotation, it ends here.
    gatelet.kubectl(&["annotate", "ingress/vault", "gatelet.dev/ssl-passthrough-"]);
    eventually("gatelet ends TLS", || {
        let mut command = gatelet.curl_tls(HOST, "/");
        let output = command
            .args(["-o", "/dev/null", "-w", "%{http_code}"])
            .output();
        (said(&output.expect("curl")) == "503").then_some(())
    });
}
