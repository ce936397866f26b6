//! Requests that are refused or cannot be served: limits, deadlines, missing backends, and how
//! errors are reported.

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
};

use super::support::{Backend, Connection, Gatelet, backend, eventually, free_port, run};

const HOST: &str = "limits.example.com";

/// A backend that reads a head and then writes these bytes and closes.
fn rude(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
        }
    });
    port
}

#[test]
fn limits_of_requests_have_their_statuses_and_spare_the_backend() {
    let gatelet = Gatelet::configured(
        "[proxy]\nmax_body_bytes = \"1MiB\"\nmax_header_bytes = \"16KiB\"\nmax_headers = 50\n",
    );
    let backend = Backend::start("limits");
    gatelet.serve(&backend.manifests("limits", HOST), HOST);
    let before = backend.count();
    let long = "l".repeat(20_000);
    let large = gatelet.folder.write("large", &"x".repeat(1024 * 1024 + 1));
    let large = format!("@{}", large.display());
    let many: Vec<String> = (0..60)
        .flat_map(|n| ["-H".to_owned(), format!("X-{n}: y")])
        .collect();
    let field = format!("X-Long: {long}");
    let cases: [(&str, &str, Vec<&str>); 4] = [
        ("413", "/", vec!["--data-binary", &large]),
        ("431", "/", vec!["-H", &field]),
        ("431", "/", many.iter().map(String::as_str).collect()),
        ("414", &format!("/{long}"), vec![]),
    ];
    for (status, path, arguments) in &cases {
        for version in ["--http1.1", "--http2"] {
            if version == "--http2" && *status == "413" {
                // curl fails if a response arrives before it has sent everything.
                let mut command = Command::new("nghttp");
                command.args([
                    "-v",
                    "--data",
                    &large[1..],
                    "-H",
                    &format!(":authority: {HOST}"),
                ]);
                let said = run(command.arg(format!("https://127.0.0.1:{}/", gatelet.https)));
                assert!(
                    said.contains(":status: 413") && said.contains("error_code=NO_ERROR"),
                    "{said}"
                );
                continue;
            }
            let mut command = gatelet.curl_tls(HOST, path);
            command.args(arguments).args([
                version,
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "-H",
                "Expect:",
            ]);
            let output = command.output().expect("curl");
            // Over HTTP/2 a head that is too large leads to 431, whichever part is large.
            let expected = if version == "--http2" && *status == "414" {
                "431"
            } else {
                status
            };
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(
                said, expected,
                "{version} {path:.10} {arguments:.40?}: {output:?}"
            );
        }
    }
    assert_eq!(backend.count(), before);

    // A body of unknown length passes until it is too long; the backend never sees its end.
    let mut connection = Connection::open(gatelet.http_addr()).expect("a connection");
    connection
        .send(
            format!("PUT / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n")
                .as_bytes(),
        )
        .expect("sent");
    let chunk = format!("10000\r\n{}\r\n", "c".repeat(0x10000));
    for _ in 0..17 {
        connection.send(chunk.as_bytes()).expect("sent");
    }
    let answer = connection.answer().expect("a response");
    assert_eq!((answer.status, answer.closes()), (413, true), "{answer:?}");
    eventually("the backend learns of it", || {
        (backend.abandoned() == 1).then_some(())
    });
    assert_eq!(gatelet.status_of(HOST, "/"), 200);
    // Exactly at the limit.
    let largest = gatelet.folder.write("largest", &"x".repeat(1024 * 1024));
    let said = run(gatelet
        .curl(HOST, "/")
        .arg("--data-binary")
        .arg(format!("@{}", largest.display())));
    assert!(said.ends_with("\n1048576 bytes"), "{said:.200}");
}

#[test]
fn connections_are_counted_in_all_and_per_client() {
    let gatelet = Gatelet::configured("[proxy]\nmax_connections_per_client = 5\n");
    let backend = Backend::start("limits");
    gatelet.serve(&backend.manifests("limits", HOST), HOST);
    let mut held: Vec<_> = (0..5)
        .map(|_| Connection::open(gatelet.http_addr()).expect("a connection"))
        .collect();
    for connection in &mut held {
        assert_eq!(connection.get(HOST, "/").expect("a response").status, 200);
    }
    let mut sixth = Connection::open(gatelet.http_addr()).expect("a connection");
    assert!(
        sixth.get(HOST, "/").is_err(),
        "the sixth of one client is closed"
    );
    let from_another = run(gatelet.curl(HOST, "/").args([
        "--interface",
        "127.0.0.7",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
    ]));
    assert_eq!(from_another, "200");
    assert_eq!(held[0].get(HOST, "/").expect("a response").status, 200);
    held.pop();
    eventually("there is room again", || {
        let mut connection = Connection::open(gatelet.http_addr()).ok()?;
        connection.get(HOST, "/").ok()
    });
    // The total includes silent connections.
    let gatelet = Gatelet::configured("[proxy]\nmax_connections = 20\n");
    gatelet.serve(&backend.manifests("limits", HOST), HOST);
    let silent: Vec<_> = (0..30)
        .map(|_| TcpStream::connect(gatelet.http_addr()).expect("a connection"))
        .collect();
    eventually("the connections are full", || {
        let output = gatelet.curl(HOST, "/").output().expect("curl");
        (!output.status.success()).then_some(())
    });
    drop(silent);
    eventually("there is room again", || {
        (gatelet.status_of(HOST, "/") == 200).then_some(())
    });
}

#[test]
fn failures_of_backends_have_the_right_status() {
    let gatelet = Gatelet::configured(
        "[proxy]\nresponse_header_timeout = \"700ms\"\nstream_idle_timeout = \
            \"1s\"\nconnect_timeout = \"1s\"\n",
    );
    let backend = Backend::start("limits");
    gatelet.serve(&backend.manifests("limits", HOST), HOST);
    assert_eq!(gatelet.status_of(HOST, "/hang"), 504);
    assert_eq!(gatelet.status_of("nobody.example.com", "/"), 404);
    // The response breaks off, and the client notices.
    let cases: [(&'static [u8], u16, &str); 9] = [
        (b"", 502, "no answer"),
        (b"nonsense\r\n\r\n", 502, "no HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            502,
            "two lengths",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            502,
            "both framings",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab",
            502,
            "an unknown coding",
        ),
        (
            b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            502,
            "an upgrade without a request for one",
        ),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: \
            2\r\n\r\nok",
            200,
            "103",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, "no length"),
        (
            b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
            200,
            "HTTP/1.0",
        ),
    ];
    let rude_ports: Vec<_> = cases.iter().map(|(answer, ..)| rude(answer)).collect();
    let manifests: String = (0..)
        .zip(&rude_ports)
        .map(|(n, port)| {
            backend::manifests(
                &format!("rude-{n}"),
                &format!("rude-{n}.example.com"),
                *port,
            )
        })
        .collect();
    gatelet.apply(&manifests);
    for (n, (_, status, what)) in (0..).zip(&cases) {
        let host = format!("rude-{n}.example.com");
        eventually("it is routed", || {
            (gatelet.status_of(&host, "/") != 404).then_some(())
        });
        assert_eq!(gatelet.status_of(&host, "/"), *status, "{what}");
    }

    let broken: [(&'static [u8], &str); 3] = [
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
            "a short body",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
            "no last chunk",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "a bad chunk",
        ),
    ];
    for (n, (answer, what)) in (0..).zip(broken) {
        let host = format!("broken-{n}.example.com");
        gatelet.apply(&backend::manifests(
            &format!("broken-{n}"),
            &host,
            rude(answer),
        ));
        eventually("it is routed", || {
            (gatelet.status_of(&host, "/") != 404).then_some(())
        });
        for version in ["--http1.1", "--http2"] {
            let output = gatelet
                .curl_tls(&host, "/")
                .arg(version)
                .output()
                .expect("curl");
            // 18 is a partial file, 52 no response, 56 a failure to receive, 92 a stream error.
            assert!(
                matches!(output.status.code(), Some(18 | 52 | 56 | 92)),
                "{version} {what}: {output:?}"
            );
        }
    }
    let stalled = gatelet.curl(HOST, "/drip/1").output().expect("curl");
    assert!(stalled.status.success(), "{stalled:?}");
}

#[test]
fn no_endpoint_is_503_and_a_refusing_endpoint_is_502() {
    let gatelet = Gatelet::start();
    let ingress = |name: &str| backend::ingress(name, &format!("{name}.example.com"), "");
    gatelet.apply(&format!(
        "{}{}{}{}{}",
        backend::service("empty", ""),
        ingress("empty"),
        backend::manifests("closed", "closed.example.com", free_port()),
        ingress("missing"),
        ingress("port")
            .replace("number: 80", "number: 81")
            .replace("service: {name: port", "service: {name: empty"),
    ));
    for (host, status, reason) in [
        ("empty.example.com", 503, "no endpoints"),
        ("closed.example.com", 502, "refuses connections"),
        ("missing.example.com", 503, "does not exist"),
        ("port.example.com", 503, "no such port"),
    ] {
        eventually("it is routed", || {
            (gatelet.status_of(host, "/") != 404).then_some(())
        });
        let said = run(gatelet.curl(host, "/").args(["-w", " %{http_code}"]));
        assert!(
            said.ends_with(&format!(" {status}")) && said.contains(reason),
            "{host}: {said}"
        );
    }
    let findings = gatelet.status()["findings"].to_string();
    assert!(
        findings.contains("UnknownService") && findings.contains("UnknownPort"),
        "{findings}"
    );
    let events = gatelet.kubectl(&[
        "get",
        "events",
        "-o",
        "custom-columns=R:.reason,N:.involvedObject.name",
        "--no-headers",
    ]);
    assert!(
        events
            .lines()
            .any(|line| line.starts_with("UnknownService") && line.ends_with("missing")),
        "{events}"
    );
}

#[test]
fn a_refusing_endpoint_is_ejected_and_another_is_tried() {
    let gatelet = Gatelet::start();
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let (refusing, late) = (free_port(), free_port());
    let slices = backend::slice("retry", &[refusing, one.port, two.port]);
    gatelet.serve(
        &format!(
            "{}{slices}{}",
            backend::service("retry", ""),
            backend::ingress("retry", HOST, "")
        ),
        HOST,
    );
    for n in 0..30 {
        let body = format!("body-{n}");
        let said = run(gatelet
            .curl(HOST, "/")
            .args(["-f", "-X", "POST", "-d", &body]));
        assert!(said.ends_with(&body), "{said}");
    }
    eventually("the refusing one is ejected", || {
        gatelet.status()["backends"]
            .to_string()
            .contains("ejected")
            .then_some(())
    });
    // An endpoint that comes back is used again.
    gatelet.apply(&backend::slice("retry", &[late, one.port, two.port]));
    let late = Backend::on("late", late);
    eventually("the new one gets requests", || {
        (gatelet.status_of(HOST, "/") == 200 && late.count() > 3).then_some(())
    });
    let (before_one, before_two) = (one.count(), two.count());
    for _ in 0..30 {
        assert_eq!(gatelet.status_of(HOST, "/"), 200);
    }
    assert!(
        one.count() - before_one >= 5 && two.count() - before_two >= 5,
        "they share the load"
    );
    // When a backend closes idle connections, no client notices.
    late.stop();
    for _ in 0..20 {
        assert_eq!(gatelet.status_of(HOST, "/"), 200);
    }
}

#[test]
fn errors_have_the_requested_format() {
    let gatelet = Gatelet::start();
    let ask = |arguments: &[&str]| {
        let mut command = gatelet.curl("nobody.example.com", "/");
        run(command
            .args(arguments)
            .args(["-w", "%{http_code} %{content_type}"]))
    };
    let plain = ask(&[]);
    assert_eq!(
        plain,
        "404 Not Found: no route for this host and path\n404 text/plain; charset=utf-8"
    );
    let json = ask(&["-H", "Accept: application/json"]);
    let (body, rest) = json.split_once('\n').expect("two lines");
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(
        (body["status"].as_u64(), rest),
        (Some(404), "404 application/json")
    );
    let browser = ask(&[
        "-H",
        "Accept: text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8",
    ]);
    assert!(browser.ends_with("text/plain; charset=utf-8"), "{browser}");
    let mut grpc = Command::new("curl");
    // Without a body, because curl fails if the response comes before it has sent everything.
    grpc.args([
        "-sS",
        "-D",
        "-",
        "--http2-prior-knowledge",
        "-H",
        "Content-Type: application/grpc",
        "-X",
        "POST",
    ]);
    let said = run(grpc.arg(format!("http://127.0.0.1:{}/test.Peer/Echo", gatelet.http)));
    assert!(
        said.starts_with("HTTP/2 200") && said.contains("grpc-status: 12\r\n"),
        "{said}"
    );
}

/// With room for 300 open files, of which 128 are kept, 86 clients have a connection each and
/// another one to the backend.
#[test]
fn connections_follow_the_limit_of_open_files() {
    let mut gatelet = Gatelet::prepare(&[]);
    let inner = gatelet.run_command();
    let mut command = Command::new("prlimit");
    command.arg("--nofile=100:300").arg(inner.get_program());
    command.args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    gatelet.spawn_command(command);
    gatelet.wait_ready();

    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gatelet.pid()));
    let limits = limits.expect("it runs");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let numbers: Vec<&str> = files.into_iter().flat_map(str::split_whitespace).collect();
    assert_eq!(numbers[3..5], ["300", "300"], "{limits}");

    let held: Vec<TcpStream> = (0..300)
        .map(|_| TcpStream::connect(gatelet.http_addr()).expect("a connection"))
        .collect();
    let is_open = |mut stream: &TcpStream| {
        let _ = stream.set_nonblocking(true);
        let read = stream.read(&mut [0]);
        read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    eventually("the connections beyond the limit are closed", || {
        (held.iter().filter(|stream| is_open(stream)).count() <= 86).then_some(())
    });
    // The API has what is kept.
    assert!(
        gatelet
            .kubectl(&["get", "namespaces"])
            .contains("kube-system")
    );
}
