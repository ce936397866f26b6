//! Ports of layer 4 with TLS: names that decide, TLS to endpoints, and what the PROXY protocol says
//! about it; beside HAProxy, and with it as the endpoint.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use super::support::{
    Certificate, Folder, Gatelet, backend, certificates::ECDSA, eventually, free_port, peers, said,
};

/// A process, killed with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A real HAProxy with these sections; `None` if it is not there.
fn haproxy(folder: &Folder, sections: &str, port: u16) -> Option<Running> {
    let mut command = peers::haproxy()?;
    let text = format!(
        "defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
{sections}"
    );
    let file = folder.write(&format!("haproxy-{port}.cfg"), &text);
    let process = command.arg("-f").arg(file).arg("-db").spawn();
    let running = Running(process.expect("HAProxy starts"));
    eventually("HAProxy listens", || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    Some(running)
}

/// Returns a certificate with its key in one file, as HAProxy has it.
fn pem(folder: &Folder, file: &str, names: &[&str]) -> (Certificate, String) {
    let made = Certificate::make(folder, file, names, ECDSA);
    let both = [&made.chain, &made.key].map(|path| std::fs::read_to_string(path).expect("PEM"));
    let path = folder.write(&format!("{file}.both.pem"), &both.concat());
    (made, path.display().to_string())
}

/// Starts an endpoint that sends its name and what it got to each connection.
fn naming(name: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut got = [0; 3];
                let length = stream.read(&mut got).unwrap_or(0);
                let _ = stream.write_all(name.as_bytes());
                let _ = stream.write_all(&got[..length]);
                let _ = stream.shutdown(Shutdown::Both);
            });
        }
    });
    port
}

/// The Service and the slice of an endpoint; `annotations` are those of the Service.
fn service(name: &str, endpoint: u16, annotations: &str) -> String {
    let metadata = format!("metadata: {{name: {name}, annotations: {{{annotations}}}}}");
    let text = backend::service(name, "");
    let text = text.replace(&format!("metadata: {{name: {name}}}"), &metadata);
    format!("{text}{}", backend::slice(name, &[endpoint]))
}

/// An Ingress for a TCP port; an empty host is for all names.
fn tcp_ingress(name: &str, port: u16, host: &str, more: &str, tls: &str) -> String {
    let host = match host {
        "" => String::new(),
        host => format!("host: \"{host}\", "),
    };
    format!(
        "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {name}
  annotations: {{haproxy-ingress.github.io/tcp-service-port: \"{port}\"{more}}}
spec:
{tls}
  rules:
    - {{{host}http: {{paths: [{{path: /, pathType: Prefix,
        backend: {{service: {{name: {name}, port: {{number: 80}}}}}}}}]}}}}
---
"
    )
}

/// Returns what a client gets that sends bytes; an empty text if the connection is reset.
fn sent(port: u16, bytes: &[u8]) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return String::new();
    };
    let wait = Some(Duration::from_secs(20));
    stream.set_read_timeout(wait).expect("a time");
    let _ = stream.write_all(bytes);
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

/// Returns the ClientHello that openssl sends; without a name if it is empty.
fn client_hello(name: &str) -> Vec<u8> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address]);
    match name {
        "" => command.arg("-noservername"),
        name => command.args(["-servername", name]),
    };
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut client = Running(quiet.stderr(Stdio::null()).spawn().expect("openssl"));
    let (mut stream, _) = listener.accept().expect("openssl connects");
    let mut hello = vec![0; 5];
    stream.read_exact(&mut hello).expect("a head");
    let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
    hello.resize(5 + length, 0);
    stream.read_exact(&mut hello[5..]).expect("the record");
    drop(stream);
    let _ = client.0.wait();
    hello
}

/// A port with names is sorted as by the configuration that HAProxy Ingress writes, which is here
/// read by a real HAProxy.
#[test]
fn names_choose_the_endpoint_as_by_haproxy() {
    let folder = Folder::new();
    let gatelet = Gatelet::start();
    let port = free_port();
    let [one, wild, any] = [naming("one:"), naming("wild:"), naming("any:")];
    gatelet.apply(&format!(
        "{}{}{}{}{}{}",
        service("one", one, ""),
        service("wild", wild, ""),
        service("any", any, ""),
        tcp_ingress("one", port, "one.example.com", "", ""),
        tcp_ingress("wild", port, "*.wild.example.com", "", ""),
        tcp_ingress("any", port, "", "", ""),
    ));
    let status = || gatelet.status()["ports"].as_array().map(Vec::len);
    eventually("the port is open", || {
        (status() == Some(3) && sent(port, b"abc") == "any:abc").then_some(())
    });

    let peer = free_port();
    let sections = format!(
        "frontend _front_tcp_{peer}
  bind 127.0.0.1:{peer}
  tcp-request inspect-delay 5s
  tcp-request content accept if {{ req.ssl_hello_type 1 }}
  use_backend one if {{ req.ssl_sni -i one.example.com }}
  use_backend wild if {{ req.ssl_sni -i -m reg ^[^.]+\\.wild\\.example\\.com$ }}
  default_backend any
backend one
  server s 127.0.0.1:{one}
backend wild
  server s 127.0.0.1:{wild}
backend any
  server s 127.0.0.1:{any}
"
    );
    let haproxy = haproxy(&folder, &sections, peer);
    for (name, expected) in [
        ("one.example.com", "one:"),
        ("ONE.example.com", "one:"),
        ("a.wild.example.com", "wild:"),
        ("a.b.wild.example.com", "any:"),
        ("wild.example.com", "any:"),
        ("other.example.com", "any:"),
        ("", "any:"),
    ] {
        let hello = client_hello(name);
        let expected = format!("{expected}{}", String::from_utf8_lossy(&hello[..3]));
        assert_eq!(sent(port, &hello), expected, "{name:?}");
        if haproxy.is_some() {
            assert_eq!(sent(peer, &hello), expected, "{name:?} by HAProxy");
        }
    }
    assert_eq!(sent(port, b"GET / HTTP/1.1\r\n\r\n"), "any:GET");

    // A client that waits for the other side, and one that stops in the middle of its ClientHello.
    let silent = thread::spawn(move || sent_late(port));
    let half = client_hello("one.example.com");
    assert_eq!(sent(port, &half[..half.len() / 2]), "");
    assert_eq!(silent.join().expect("it ends"), "any:abc");
    // A name that no host can have, and a ClientHello that announces more than 64 KB.
    let mut odd = half;
    let at = odd.windows(4).position(|bytes| bytes == b"one.");
    odd[at.expect("the name")] = b'\0';
    assert!(sent(port, &odd).starts_with("any:"));
    let long = [&[22, 3, 1, 0x40, 0, 1, 1, 0, 1][..], &[0; 100]].concat();
    assert_eq!(sent(port, &long), "");

    // Without a rule for all names, the others are reset.
    gatelet.kubectl(&["delete", "ingress", "any"]);
    eventually("other names are reset", || {
        sent(port, &client_hello("other.example.com"))
            .is_empty()
            .then_some(())
    });
    assert!(sent(port, &client_hello("one.example.com")).starts_with("one:"));
    assert_eq!(sent(port, b"abc"), "");
    let explain = |host: &str| {
        let url = format!("tcp://{host}:{port}");
        said(&gatelet.command(&["explain", &url]))
    };
    assert!(explain("x.wild.example.com").contains("passed to default/wild:80"));
    assert!(explain("other.example.com").contains("are reset"));
}

/// Sends the first byte after more than the time for a ClientHello.
fn sent_late(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    thread::sleep(Duration::from_secs(7));
    stream.write_all(b"abc").expect("sent");
    let mut all = String::new();
    let _ = stream.read_to_string(&mut all);
    all
}

/// Asks by curl, which offers h2 and http/1.1. Returns the body, the protocol that was chosen and
/// the chain that was verified with.
fn curl(host: &str, port: u16, chain: &str, arguments: &[&str]) -> (String, String) {
    let mut curl = Command::new("curl");
    let resolve = format!("{host}:{port}:127.0.0.1");
    curl.args(["-sv", "-m", "20", "--resolve", &resolve, "--cacert", chain]);
    curl.args(arguments).arg(format!("https://{host}:{port}/"));
    let output = curl.output().expect("curl");
    let body = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    (body, log)
}

/// TLS of clients ends here and begins again to HAProxy, which reads the header of the PROXY
/// protocol before it, and chooses the protocol.
#[test]
fn tls_begins_again_to_endpoints() {
    let folder = Folder::new();
    let (made, own) = pem(&folder, "own", &["db.internal"]);
    let authority = made.chain;
    let client = Certificate::make(&folder, "client", &["db.example.com"], ECDSA);
    let (endpoint, port) = (free_port(), free_port());
    let sections = format!(
        "frontend front
  mode http
  bind 127.0.0.1:{endpoint} accept-proxy ssl crt {own} alpn http/1.1,http/1.0
  http-request return status 200 content-type text/plain lf-string \"%[src] %[fc_pp_authority] \
         %[ssl_fc_sni] %[ssl_fc_alpn] %[ssl_fc]\"
"
    );
    let Some(_haproxy) = haproxy(&folder, &sections, endpoint) else {
        return;
    };

    let gatelet = Gatelet::start();
    let secret = |name: &str, certificate: &Certificate, more: &str| {
        let [chain, key] = [&certificate.chain, &certificate.key];
        let file =
            |key: &str, path: &std::path::Path| format!("--from-file={key}={}", path.display());
        let arguments = [
            file("tls.crt", chain),
            file("tls.key", key),
            more.to_owned(),
        ];
        let mut all = vec!["create", "secret", "generic", name];
        all.extend(
            arguments
                .iter()
                .map(|one| &**one)
                .filter(|one| !one.is_empty()),
        );
        gatelet.kubectl(&all);
    };
    secret("db-tls", &client, "");
    let ca = format!("--from-file=ca.crt={}", authority.display());
    gatelet.kubectl(&["create", "secret", "generic", "db-ca", &ca]);
    let own_ca = format!("--from-file=ca.crt={}", client.chain.display());
    gatelet.kubectl(&["create", "secret", "generic", "other-ca", &own_ca]);
    let annotations = |ca: &str| {
        format!(
            "gatelet.dev/tcp-listen: \"{port}:80\", gatelet.dev/tcp-tls: db-tls, \
             gatelet.dev/tcp-send-tls: \"true\", gatelet.dev/tcp-send-proxy: v2, \
             gatelet.dev/proxy-ssl-secret: {ca}, gatelet.dev/proxy-ssl-verify: \"on\", \
             gatelet.dev/proxy-ssl-name: db.internal"
        )
    };
    gatelet.apply(&service("db", endpoint, &annotations("db-ca")));

    let chain = client.chain.display().to_string();
    let ask = || curl("db.example.com", port, &chain, &[]);
    let (body, log) = eventually("the endpoint answers", || {
        let (body, log) = ask();
        (!body.is_empty()).then_some((body, log))
    });
    assert_eq!(
        body, "127.0.0.1 db.example.com db.internal http/1.1 1",
        "{log}"
    );
    assert!(log.contains("server accepted http/1.1"), "{log}");
    let explained = said(&gatelet.command(&["explain", &format!("tcp://:{port}")]));
    assert!(explained.contains("TCP over TLS"), "{explained}");

    // Another authority: no byte reaches the endpoint, and a finding says why.
    gatelet.apply(&service("db", endpoint, &annotations("other-ca")));
    eventually("the endpoint is refused", || {
        ask().0.is_empty().then_some(())
    });
    eventually("the finding is there", || {
        let events = gatelet.kubectl(&["describe", "service", "db"]);
        events.contains("TlsHandshakeFailed").then_some(())
    });
    // Without the Secret the port is closed.
    gatelet.kubectl(&["delete", "secret", "db-tls"]);
    eventually("the port is closed", || {
        TcpStream::connect(("127.0.0.1", port))
            .is_err()
            .then_some(())
    });
}

/// The name that a client asks for is known to the endpoint: where gatelet ends TLS, where it
/// passes TLS through, and where another proxy has told it.
#[test]
fn haproxy_reads_the_name_of_the_client_from_the_header() {
    let folder = Folder::new();
    let (made, own) = pem(&folder, "own", &["a.example.com"]);
    let chain = made.chain.display().to_string();
    let (plain, tls, front) = (free_port(), free_port(), free_port());
    let (ended, passed, handed) = (free_port(), free_port(), free_port());
    let tell = "http-request return status 200 content-type text/plain \
                lf-string \"%[src] %[fc_pp_authority]\"";
    let sections = format!(
        "frontend plain
  mode http
  bind 127.0.0.1:{plain} accept-proxy
  {tell}
frontend tls
  mode http
  bind 127.0.0.1:{tls} accept-proxy ssl crt {own}
  {tell}
listen front
  bind 127.0.0.1:{front} ssl crt {own}
  server gatelet 127.0.0.1:{handed} send-proxy-v2 proxy-v2-options authority
"
    );
    let Some(_haproxy) = haproxy(&folder, &sections, front) else {
        return;
    };

    let gatelet = Gatelet::start();
    let more = ", haproxy-ingress.github.io/proxy-protocol: v2";
    let annotations = format!(
        "gatelet.dev/tcp-listen: \"{handed}:80\", gatelet.dev/tcp-accept-proxy: \"true\", \
         gatelet.dev/tcp-send-proxy: v2"
    );
    gatelet.apply(&format!(
        "{}{}{}{}{}",
        service("ended", plain, ""),
        service("passed", tls, ""),
        service("handed", plain, &annotations),
        tcp_ingress(
            "ended",
            ended,
            "a.example.com",
            more,
            "  tls: [{hosts: [a.example.com]}]"
        ),
        tcp_ingress("passed", passed, "*.example.com", more, ""),
    ));
    let ca = gatelet.inner_state().join("ca.pem").display().to_string();
    for (port, chain) in [(ended, &ca), (passed, &chain), (front, &chain)] {
        let body = eventually("the name is told", || {
            let (body, _) = curl("a.example.com", port, chain, &["--http1.1"]);
            (!body.is_empty()).then_some(body)
        });
        assert_eq!(body, "127.0.0.1 a.example.com", "{port}");
    }
}

/// Clients that use the PROXY protocol otherwise than expected are one finding, however many come.
#[test]
fn mismatches_of_the_proxy_protocol_are_findings() {
    let (expecting, plain) = (free_port(), free_port());
    let gatelet = Gatelet::start();
    let listen = format!("gatelet.dev/tcp-listen: \"{expecting}:80\"");
    gatelet.apply(&format!(
        "{}{}",
        service(
            "expecting",
            naming("a:"),
            &format!("{listen}, gatelet.dev/tcp-accept-proxy: \"true\"")
        ),
        service(
            "plain",
            naming("b:"),
            &format!("gatelet.dev/tcp-listen: \"{plain}:80\"")
        ),
    ));
    let header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1024 1883\r\nabc";
    eventually("the port is open", || {
        (sent(expecting, header) == "a:abc").then_some(())
    });
    let findings = || gatelet.status()["findings"].to_string();
    assert!(!findings().contains("ProxyMismatch"));

    for _ in 0..100 {
        assert_eq!(sent(expecting, b"GET / HTTP/1.1\r\n\r\n"), "");
    }
    eventually("the finding is there", || {
        let one = findings().matches("ProxyMismatch").count() == 1;
        one.then_some(())
    });
    let events = eventually("it is an Event", || {
        let events = gatelet.kubectl(&["describe", "service", "expecting"]);
        events.contains("ProxyMismatch").then_some(events)
    });
    assert_eq!(events.matches("ProxyMismatch").count(), 1, "{events}");

    assert_eq!(sent(plain, header), "b:PRO");
    eventually("the other one is there", || {
        let findings = findings();
        let expected = format!("port {plain}: connections came with a header");
        findings.contains(&expected).then_some(())
    });
    let metrics = gatelet.admin_page("/metrics").1;
    for line in [
        "gatelet_port_proxy_mismatches_total{header=\"missing\"} 100",
        "gatelet_port_proxy_mismatches_total{header=\"unexpected\"} 1",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }

    // The port expects it now: nothing is wrong any more.
    gatelet.kubectl(&[
        "annotate",
        "service/plain",
        "gatelet.dev/tcp-accept-proxy=true",
    ]);
    eventually("the finding is gone", || {
        let gone = !findings().contains("came with a header");
        gone.then_some(())
    });
}

/// kubectl is built with Go, whose ClientHello has a key of X25519MLKEM768 as those of browsers
/// have, and does not fit into one packet.
#[test]
fn a_hello_with_a_post_quantum_key_is_sorted() {
    let folder = Folder::new();
    let client = |port: u16| {
        let mut kubectl = peers::kubectl();
        let server = format!("https://127.0.0.1:{port}");
        kubectl.args([
            "--server",
            &server,
            "--insecure-skip-tls-verify",
            "--token",
            "x",
        ]);
        kubectl.args([
            "--tls-server-name",
            "pq.example.com",
            "--request-timeout",
            "20s",
        ]);
        kubectl
            .args(["get", "--raw", "/"])
            .env("KUBECONFIG", "/dev/null");
        kubectl
    };

    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let seen = listener.local_addr().expect("its address").port();
    let mut command = client(seen);
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    let kubectl = Running(quiet.spawn().expect("kubectl"));
    let (mut stream, _): (TcpStream, SocketAddr) = listener.accept().expect("it connects");
    let mut head = [0; 5];
    stream.read_exact(&mut head).expect("a head");
    let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut hello).expect("the record");
    drop((stream, listener, kubectl));
    // The group, and the length of its key.
    let share = [0x11, 0xec, 0x04, 0xc0];
    assert!(hello.windows(4).any(|bytes| bytes == share), "no ML-KEM");
    assert!(hello.len() > 1400, "{}", hello.len());

    let (_, own) = pem(&folder, "own", &["pq.example.com"]);
    let endpoint = free_port();
    let mut openssl = Command::new("openssl");
    let accept = format!("127.0.0.1:{endpoint}");
    openssl.args([
        "s_server", "-quiet", "-www", "-accept", &accept, "-cert", &own,
    ]);
    let openssl = openssl.stdin(Stdio::null()).stdout(Stdio::null());
    let _openssl = Running(openssl.stderr(Stdio::null()).spawn().expect("openssl"));

    let gatelet = Gatelet::start();
    let port = free_port();
    let passthrough = backend::ingress("pq", "pq.example.com", "").replace(
        "metadata: {name: pq}",
        "metadata: {name: pq443, annotations: {gatelet.dev/ssl-passthrough: 'true'}}",
    );
    gatelet.apply(&format!(
        "{}{}{}",
        service("pq", endpoint, ""),
        tcp_ingress("pq", port, "pq.example.com", "", ""),
        passthrough
    ));
    for port in [port, gatelet.https] {
        eventually("the endpoint answers", || {
            let output = client(port).output().expect("kubectl");
            said(&output).contains("s_server").then_some(())
        });
    }
}
