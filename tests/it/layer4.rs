//! Ports of layer 4: opened and closed with kubectl, in front of programs that users have.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use super::support::{DnsServer, Gatelet, backend, eventually, free_port, said};

/// Starts an endpoint that sends back all that it receives, then the end. Returns its port.
pub(super) fn echo() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut reading = stream.try_clone().expect("a copy");
                let _ = std::io::copy(&mut reading, &mut stream);
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
    port
}

/// Returns what a port sends back for a text; `None` unless it is open.
pub(super) fn echoed(port: u16, text: &str) -> Option<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .ok()?;
    stream.write_all(text.as_bytes()).ok()?;
    stream.shutdown(Shutdown::Write).ok()?;
    let mut all = String::new();
    stream.read_to_string(&mut all).ok()?;
    Some(all)
}

/// Starts an endpoint that says its name to each connection, and stays until the client ends.
fn named(name: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let _ = stream.write_all(name.as_bytes());
                let _ = stream.read(&mut [0]);
            });
        }
    });
    port
}

/// Connects from an address of the loopback. Returns the connection with what the endpoint says;
/// `None` if it is reset.
fn greeted(from: &str, port: u16) -> Option<(TcpStream, String)> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).ok()?;
    let from: SocketAddr = format!("{from}:0").parse().expect("an address");
    socket.bind(&from.into()).ok()?;
    socket
        .connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())
        .ok()?;

    let mut stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .ok()?;
    let mut name = [0; 1];
    stream.read_exact(&mut name).ok()?;
    Some((stream, String::from_utf8_lossy(&name).into_owned()))
}

/// A Service with an annotation, and a slice with its endpoint.
fn service(name: &str, annotation: &str, endpoint: u16) -> String {
    let metadata = format!("metadata: {{name: {name}, annotations: {{{annotation}}}}}");
    let service = backend::service(name, "");
    let service = service.replace(&format!("metadata: {{name: {name}}}"), &metadata);
    format!("{service}{}", backend::slice(name, &[endpoint]))
}

#[test]
fn kubectl_opens_and_closes_ports() {
    let gatelet = Gatelet::start();
    let (first, second) = (free_port(), free_port());
    let listen = format!("gatelet.dev/tcp-listen: \"{first}:80, {second}:main\"");
    gatelet.apply(&service("echo", &listen, echo()));
    for port in [first, second] {
        eventually("the port is open", || {
            (echoed(port, "hello")? == "hello").then_some(())
        });
    }

    let ports = gatelet.status()["ports"].clone();
    assert_eq!(ports[0]["object"], "Service default/echo", "{ports}");
    assert_eq!(ports[0]["state"], "open", "{ports}");
    assert_eq!(ports[1]["endpoints"][0]["health"], "ok", "{ports}");
    let table = said(&gatelet.command(&["status"]));
    assert!(
        table.contains("Ports") && table.contains(&format!("tcp/{first}")),
        "{table}"
    );
    let explained = said(&gatelet.command(&["explain", &format!("tcp://home:{first}")]));
    let outcome = format!("tcp/{first}: passed to default/echo:80 (TCP), for Service default/echo");
    assert!(explained.starts_with(&outcome), "{explained}");

    // One of them closes; a connection to the other goes on.
    let mut kept = TcpStream::connect(("127.0.0.1", second)).expect("a connection");
    kept.write_all(b"a").expect("sent");
    kept.read_exact(&mut [0; 1]).expect("the echo");
    let listen = format!("gatelet.dev/tcp-listen={second}:main");
    gatelet.kubectl(&["annotate", "--overwrite", "service/echo", &listen]);
    eventually("the port is closed", || {
        echoed(first, "hello").is_none().then_some(())
    });
    kept.write_all(b"b").expect("sent");
    kept.read_exact(&mut [0; 1]).expect("the echo");

    let metrics = gatelet.admin_page("/metrics").1;
    let open = "gatelet_port_connections_open{transport=\"tcp\"} 1";
    assert!(metrics.contains(open), "{metrics}");
}

/// Sends much through a connection to an echo while it is read.
fn echoes_much(stream: &TcpStream) {
    let sent: Vec<u8> = (0..30_000_000_u32).map(|at| (at / 3 % 251) as u8).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writing = stream;
            writing.write_all(&sent).expect("sent");
        });
        let mut echoed = vec![0; sent.len()];
        let mut reading = stream;
        reading.read_exact(&mut echoed).expect("the echo");
        assert!(echoed == sent);
    });
}

/// Returns the numbers of the descriptors of a process, and of those that are pipes.
fn descriptors(pid: u32) -> (usize, usize) {
    let all = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
    let targets: Vec<_> = all
        .flatten()
        .filter_map(|one| std::fs::read_link(one.path()).ok())
        .collect();
    let is_pipe = |target: &&std::path::PathBuf| target.to_string_lossy().starts_with("pipe:");
    (targets.len(), targets.iter().filter(is_pipe).count())
}

#[test]
fn a_large_transfer_without_descriptors_is_copied() {
    let gatelet = Gatelet::start();
    let port = free_port();
    let listen = format!("gatelet.dev/tcp-listen: \"{port}:80\"");
    gatelet.apply(&service("echo", &listen, echo()));
    eventually("the port is open", || {
        (echoed(port, "hello")? == "hello").then_some(())
    });

    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.write_all(b"a").expect("sent");
    stream.read_exact(&mut [0; 1]).expect("the echo");
    let pid = gatelet.pid();
    let (_, before) = descriptors(pid);
    let limit = |limit: &str| {
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &pid.to_string(), &format!("--nofile={limit}")]);
        assert!(prlimit.status().expect("prlimit").success());
    };
    // The hard limit stays, so that the soft one can be raised again.
    limit("3:");
    echoes_much(&stream);
    assert_eq!(descriptors(pid).1, before, "no pipe could be opened");

    limit("1024:");
    echoes_much(&stream);
    assert!(descriptors(pid).1 > before, "it goes through pipes again");
}

#[test]
fn ports_that_cannot_be_had_are_events() {
    let gatelet = Gatelet::start();
    let holder = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let taken = holder.local_addr().expect("its address").port();
    let admin = gatelet.admin;
    let listen = format!("gatelet.dev/tcp-listen: \"{admin}:80,{taken}:80,nothing\"");
    gatelet.apply(&service("echo", &listen, echo()));

    let expected = [
        format!("port {admin} belongs to the admin server of gatelet"),
        format!("cannot listen on 127.0.0.1:{taken}: "),
        "\"nothing\" is not a port from 1 to 65535".to_owned(),
    ];
    let events = eventually("all three are Events", || {
        let events = gatelet.kubectl(&["describe", "service", "echo"]);
        expected
            .iter()
            .all(|one| events.contains(one))
            .then_some(events)
    });
    for reason in ["PortTaken", "PortUnavailable", "InvalidAnnotation"] {
        assert!(events.contains(reason), "{events}");
    }

    drop(holder);
    eventually("the port is open once the other program has ended", || {
        (echoed(taken, "hello")? == "hello").then_some(())
    });
    eventually("the finding is gone", || {
        let findings = gatelet.status()["findings"].to_string();
        (!findings.contains("PortUnavailable")).then_some(())
    });
}

#[test]
fn the_access_log_has_a_line_for_a_connection() {
    let gatelet = Gatelet::configured("[log]\naccess = 1.0\n");
    let port = free_port();
    let listen = format!("gatelet.dev/tcp-listen: \"{port}:80\"");
    gatelet.apply(&service("echo", &listen, echo()));
    eventually("the port is open", || {
        (echoed(port, "hello")? == "hello").then_some(())
    });

    let expected = [
        format!("port=tcp/{port}"),
        "received=5 sent=5".to_owned(),
        "backend=default/echo:80".to_owned(),
        "reason=\"closed\"".to_owned(),
    ];
    eventually("the line is there", || {
        let log = gatelet.log();
        let mut lines = log.lines();
        let has_all = |line: &str| expected.iter().all(|part| line.contains(part));
        lines.any(has_all).then_some(())
    });
}

#[test]
fn the_config_map_of_ingress_nginx_opens_ports() {
    let gatelet = Gatelet::configured("tcp_services = \"default/tcp-services\"\n");
    let (plain, proxied) = (free_port(), free_port());
    gatelet.apply(&format!(
        "{}{}
apiVersion: v1
kind: ConfigMap
metadata: {{name: tcp-services}}
data: {{\"{plain}\": \"default/echo:80\", \"{proxied}\": \"default/echo:main::PROXY\"}}
",
        backend::service("echo", ""),
        backend::slice("echo", &[echo()])
    ));
    eventually("the port is open", || {
        (echoed(plain, "hello")? == "hello").then_some(())
    });
    let header = eventually("the other one too", || {
        echoed(proxied, "hello").filter(|echo| echo.ends_with("hello"))
    });
    let start = "PROXY TCP4 127.0.0.1 127.0.0.1 ";
    let end = format!(" {proxied}\r\nhello");
    assert!(
        header.starts_with(start) && header.ends_with(&end),
        "{header:?}"
    );

    let patch = format!("{{\"data\": {{\"{plain}\": null, \"x\": \"y\"}}}}");
    gatelet.kubectl(&[
        "patch",
        "configmap",
        "tcp-services",
        "--type=merge",
        "-p",
        &patch,
    ]);
    eventually("the port is closed", || {
        echoed(plain, "hello").is_none().then_some(())
    });
    eventually("the wrong entry is an Event", || {
        let events = gatelet.kubectl(&["describe", "configmap", "tcp-services"]);
        let expected = "\"x\" is not a port from 1 to 65535";
        (events.contains("InvalidPort") && events.contains(expected)).then_some(())
    });
    assert!(echoed(proxied, "hello").is_some());
}

#[test]
fn expose_opens_a_port_for_an_address() {
    let gatelet = Gatelet::start();
    let (port, to) = (free_port().to_string(), format!("127.0.0.1:{}", echo()));
    let expose = |arguments: &[&str]| {
        let output = gatelet.command(&[&["expose", "--tcp", &port], arguments].concat());
        (output.status.code(), said(&output))
    };
    let (code, text) = expose(&["--to", &to]);
    let expected = format!("service/tcp-{port} created\nendpointslice/tcp-{port}-ipv4 created\n");
    assert_eq!((code, text), (Some(0), expected));
    let number = port.parse().expect("a number");
    eventually("the port is open", || {
        (echoed(number, "hello")? == "hello").then_some(())
    });

    // A port of datagrams too.
    let server = DnsServer::start(&[("example.com", "www 60 A 192.0.2.7\n")]);
    let datagrams = free_port().to_string();
    let to_server = format!("127.0.0.1:{}", server.port);
    let output = gatelet.command(&["expose", "--udp", &datagrams, "--to", &to_server]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    eventually("the name is found", || {
        let mut kdig = Command::new("kdig");
        kdig.args([
            "@127.0.0.1",
            "-p",
            &datagrams,
            "+notcp",
            "+retry=0",
            "+time=5",
        ]);
        let answer = said(&kdig.arg("www.example.com").output().expect("kdig"));
        answer.contains("192.0.2.7").then_some(())
    });

    // It cannot be a host too.
    for arguments in [&["a.example.com", "--to", &to][..], &["--tls", "--to", &to]] {
        let (code, text) = expose(arguments);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("cannot be used with"), "{text}");
    }
}

/// Knot, asked by kdig: a small answer by UDP, a large one by TCP, and one over UDP with many
/// fragments.
#[test]
fn a_dns_server_answers_by_udp_and_tcp() {
    let text = "x".repeat(250);
    let record = format!("large 60 TXT {}\n", format!("\"{text}\" ").repeat(30));
    let server = DnsServer::start(&[("example.com", &format!("www 60 A 192.0.2.7\n{record}"))]);

    let gatelet = Gatelet::configured("udp_services = \"default/udp-services\"\n");
    let (port, mapped) = (free_port(), free_port());
    gatelet.apply(&format!(
        "apiVersion: v1
kind: Service
metadata:
  name: dns
  annotations:
    gatelet.dev/tcp-listen: \"{port}:tcp\"
    gatelet.dev/udp-listen: \"{port}:udp\"
spec:
  ports: [{{name: udp, port: 53, protocol: UDP}}, {{name: tcp, port: 53}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: dns-1
  labels: {{kubernetes.io/service-name: dns}}
  annotations: {{gatelet.dev/connect: loopback}}
addressType: IPv4
endpoints: [{{addresses: [192.0.2.1], nodeName: test}}]
ports: [{{name: udp, port: {0}, protocol: UDP}}, {{name: tcp, port: {0}}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: udp-services}}
data: {{\"{mapped}\": \"default/dns:udp\"}}
",
        server.port
    ));

    let ask = |port: u16, arguments: &[&str]| {
        let mut kdig = Command::new("kdig");
        kdig.args(["@127.0.0.1", "-p", &port.to_string(), "+retry=0", "+time=5"]);
        said(&kdig.args(arguments).output().expect("kdig"))
    };
    for port in [port, mapped] {
        eventually("the name is found", || {
            let answer = ask(port, &["+notcp", "www.example.com", "A"]);
            (answer.contains("192.0.2.7") && answer.contains("(UDP)")).then_some(())
        });
    }
    let large = ["large.example.com", "TXT"];
    let by_tcp = ask(port, &[&["+tcp"], &large[..]].concat());
    assert_eq!(by_tcp.matches(&text).count(), 30, "{by_tcp}");
    let by_udp = ask(port, &[&["+ignore", "+bufsize=16000"], &large[..]].concat());
    assert!(by_udp.contains("(UDP)"), "{by_udp}");

    let explained = said(&gatelet.command(&["explain", &format!("udp://:{port}")]));
    let outcome = format!("udp/{port}: passed to default/dns:53 (UDP), for Service default/dns");
    assert!(explained.starts_with(&outcome), "{explained}");
    let metrics = gatelet.admin_page("/metrics").1;
    assert!(
        metrics.contains("gatelet_port_connections_open{transport=\"udp\"}"),
        "{metrics}"
    );
}

#[test]
fn lists_of_addresses_and_the_operator_bound_ports() {
    let port = free_port();
    let gatelet = Gatelet::configured(&format!("open_ports = [\"{port}\"]\n"));
    let other = free_port();
    let listen = format!(
        "gatelet.dev/tcp-listen: \"{port}:80,{other}:80\", \
         gatelet.dev/denylist-source-range: 192.0.2.0/24"
    );
    gatelet.apply(&service("echo", &listen, echo()));
    eventually("the port is open", || {
        (echoed(port, "hello")? == "hello").then_some(())
    });
    assert!(echoed(other, "hello").is_none());
    let findings = gatelet.status()["findings"].to_string();
    let message = format!("open_ports in the settings does not allow port {other}");
    assert!(findings.contains(&message), "{findings}");
    let url = format!("tcp://:{port}");
    let explained = said(&gatelet.command(&["explain", "--from", "192.0.2.1", &url]));
    assert!(
        explained.contains("this client may not come in"),
        "{explained}"
    );
    let explained = said(&gatelet.command(&["explain", "--from", "127.0.0.1", &url]));
    assert!(
        explained.contains("passed to default/echo:80"),
        "{explained}"
    );

    // While it is served, the list changes, and ceases to be one.
    for list in ["127.0.0.0/8", "127.0.0.0/8,x"] {
        let list = format!("gatelet.dev/denylist-source-range={list}");
        gatelet.kubectl(&["annotate", "--overwrite", "service/echo", &list]);
        eventually("connections are reset", || {
            (echoed(port, "hello").as_deref() != Some("hello")).then_some(())
        });
    }
    eventually("the finding is an Event", || {
        let events = gatelet.kubectl(&["describe", "service", "echo"]);
        let is_named = events.contains("gatelet.dev/denylist-source-range: ");
        (is_named && events.contains("is not opened")).then_some(())
    });
}

#[test]
fn clients_stay_at_one_endpoint_and_have_limits() {
    let port = free_port();
    let gatelet = Gatelet::configured("workers = 2\n");
    let annotations =
        format!("gatelet.dev/tcp-listen: \"{port}:80\", gatelet.dev/limit-connections: \"3\"");
    let manifests = service("named", &annotations, named("a"));
    let manifests = manifests.replace("spec: {ports:", "spec: {sessionAffinity: ClientIP, ports:");
    let others = backend::slice("named", &[named("b"), named("c"), named("d")]);
    let others = others.replace("name: named-", "name: named-more-");
    gatelet.apply(&format!("{manifests}{others}"));
    eventually("the port is open", || greeted("127.0.0.1", port));
    eventually("all endpoints are known", || {
        let endpoints = gatelet.status()["ports"][0]["endpoints"]
            .as_array()
            .map(Vec::len);
        (endpoints == Some(4)).then_some(())
    });

    // Each client has one endpoint, and not all of them the same.
    let mut seen = std::collections::BTreeSet::new();
    for client in 1..40 {
        let from = format!("127.0.1.{client}");
        let names: std::collections::BTreeSet<String> = (0..3)
            .map(|_| greeted(&from, port).expect("it is open").1)
            .collect();
        assert_eq!(names.len(), 1, "{from}: {names:?}");
        seen.extend(names);
    }
    assert!(seen.len() > 1, "{seen:?}");

    // A fourth connection of a client is reset, until another one ends. Others are not affected.
    let mut held: Vec<_> = (0..3).map(|_| greeted("127.0.2.1", port)).collect();
    assert!(held.iter().all(Option::is_some));
    assert!(greeted("127.0.2.1", port).is_none());
    assert!(greeted("127.0.2.2", port).is_some());
    held.pop();
    eventually("its place is free", || greeted("127.0.2.1", port));
    let url = format!("tcp://:{port}");
    let explained = said(&gatelet.command(&["explain", &url]));
    assert!(
        explained.contains("3 connections of each client"),
        "{explained}"
    );
    assert!(
        explained.contains("one endpoint for each client"),
        "{explained}"
    );
}

#[test]
fn tls_of_clients_ends_at_a_port() {
    const HOST: &str = "mqtt.example.com";
    let (port, plain) = (free_port(), free_port());
    let gatelet = Gatelet::start();
    let annotations = format!(
        "gatelet.dev/tcp-listen: \"{port}:80\", gatelet.dev/tcp-tls: auto, \
             gatelet.dev/tcp-alpn: \"x-amzn-mqtt-ca, mqtt\""
    );
    let tls = format!("  tls: [{{hosts: [{HOST}]}}]");
    gatelet.apply(&format!(
        "{}{}{}",
        service("echo", &annotations, echo()),
        backend::ingress("echo", HOST, &tls),
        service(
            "plain",
            &format!("gatelet.dev/tcp-listen: \"{plain}:80\""),
            echo()
        )
    ));
    eventually("the plain port is open", || echoed(plain, "hello"));

    // OpenSSL verifies the certificate of the host, and asks for the protocol of MQTT.
    let says = |client: &str| {
        let connect = format!("127.0.0.1:{port}");
        let ca = gatelet.inner_state().join("ca.pem");
        let mut openssl = Command::new("sh");
        let script = format!(
            "(printf hello; sleep 1) | timeout 20 openssl s_client -quiet -no_ign_eof \
             -verify_return_error -servername {HOST} -verify_hostname {HOST} -alpn mqtt \
             -CAfile {} -connect {connect} {client}",
            ca.display()
        );
        openssl.args(["-c", &script]).output().expect("openssl")
    };
    eventually("the certificate is served", || {
        (says("").stdout == b"hello").then_some(())
    });
    assert_eq!(says("-tls1_2").stdout, b"hello");
    // The first protocol of the port that the client offers is chosen; of others, none is.
    let chosen = |offered: &str| {
        let script = format!(
            "timeout 20 openssl s_client -servername {HOST} -alpn {offered} \
             -connect 127.0.0.1:{port} </dev/null"
        );
        let output = Command::new("sh").args(["-c", &script]).output();
        let text = said(&output.expect("openssl"));
        let line = text.lines().find(|line| line.contains("ALPN"));
        line.expect("a line").trim().to_owned()
    };
    assert_eq!(chosen("h2,mqtt"), "ALPN protocol: mqtt");
    assert_eq!(
        chosen("x-amzn-mqtt-ca,mqtt"),
        "ALPN protocol: x-amzn-mqtt-ca"
    );
    assert_eq!(chosen("h2"), "No ALPN negotiated");
    // What is no TLS goes nowhere.
    assert_ne!(echoed(port, "hello").as_deref(), Some("hello"));

    let url = format!("tcp://:{port}");
    let explained = said(&gatelet.command(&["explain", &url]));
    assert!(
        explained.contains("TLS of clients ends here"),
        "{explained}"
    );
}

/// Datagrams of many sources do not lock out a client, nor take memory without bound.
#[test]
fn a_flood_of_sources_locks_nobody_out() {
    const SOURCES: u32 = 20_000;
    const SESSIONS: u32 = 500;

    let server = DnsServer::start(&[("example.com", "www 60 A 192.0.2.7\n")]);
    let gatelet = Gatelet::configured(&format!("[proxy]\nmax_udp_sessions = {SESSIONS}\n"));
    let port = free_port();
    let to = format!("127.0.0.1:{}", server.port);
    let number = port.to_string();
    let output = gatelet.command(&["expose", "--udp", &number, "--to", &to]);
    assert!(output.status.success(), "{}", said(&output));

    let ask = || {
        let mut kdig = Command::new("kdig");
        kdig.args(["@127.0.0.1", "-p", &number, "+notcp", "+retry=3", "+time=5"]);
        let answer = said(&kdig.arg("www.example.com").output().expect("kdig"));
        answer.contains("192.0.2.7")
    };
    eventually("the name is found", || ask().then_some(()));
    for source in 0..SOURCES {
        let from = std::net::Ipv4Addr::from(0x7f01_0000 + source);
        let socket = std::net::UdpSocket::bind((from, 0)).expect("a socket");
        let _ = socket.send_to(b"garbage", ("127.0.0.1", port));
        if source % 5000 == 0 {
            assert!(ask(), "after {source} sources");
        }
    }
    assert!(ask());

    let metrics = gatelet.admin_page("/metrics").1;
    let value = |name: &str| {
        let mut lines = metrics.lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.expect("the metric").parse::<u32>().expect("a number")
    };
    let begun = value("gatelet_port_connections_total{transport=\"udp\"}");
    // A busy machine loses datagrams before gatelet reads them.
    assert!(begun > 4 * SESSIONS, "{begun}");
    // Each core has its part, rounded up.
    let open = value("gatelet_port_connections_open{transport=\"udp\"}");
    assert!(open <= SESSIONS + 64, "{open}");
}
