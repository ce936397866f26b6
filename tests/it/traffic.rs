//! Requests of real clients: every version of HTTP, bodies in both directions, clients that are
//! slow or gone.

use std::{
    io::Write,
    net::TcpStream,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::support::{Backend, Connection, Gatelet, eventually, frames, free_port, run};

const HOST: &str = "traffic.example.com";

fn served() -> (Gatelet, Backend) {
    let (gatelet, backend) = (Gatelet::start(), Backend::start("traffic"));
    gatelet.serve(&backend.manifests("traffic", HOST), HOST);
    (gatelet, backend)
}

#[test]
fn every_version_of_http_reaches_the_backend() {
    let (gatelet, _backend) = served();
    let version = "\n%{http_version} %{http_code}";
    for (arguments, spoken) in [
        (["--http1.0"], "1"),
        (["--http1.1"], "1.1"),
        (["--http2-prior-knowledge"], "2"),
        (["--http2"], "1.1"),
    ] {
        let answer = run(gatelet
            .curl(HOST, "/a?b=c")
            .args(arguments)
            .args(["-w", version]));
        assert!(
            answer.starts_with("traffic\nGET /a?b=c HTTP/1.1\r\n"),
            "{arguments:?}: {answer}"
        );
        assert!(
            answer.ends_with(&format!("\n{spoken} 200")),
            "{arguments:?}: {answer}"
        );
        assert!(
            answer.contains(&format!("host: {HOST}\r\n")),
            "{arguments:?}: {answer}"
        );
        assert!(
            !answer.to_lowercase().contains("\nupgrade:"),
            "h2c must not be passed on: {answer}"
        );
    }
    for (arguments, spoken) in [
        (["--http1.0"], "1"),
        (["--http1.1"], "1.1"),
        (["--http2"], "2"),
    ] {
        let answer = run(gatelet
            .curl_tls(HOST, "/tls")
            .args(arguments)
            .args(["-w", version]));
        assert!(
            answer.starts_with("traffic\nGET /tls HTTP/1.1\r\n"),
            "{arguments:?}: {answer}"
        );
        assert!(
            answer.ends_with(&format!("\n{spoken} 200")),
            "{arguments:?}: {answer}"
        );
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"] {
        let answer = run(gatelet
            .curl(HOST, "/")
            .args(["-X", method, "-d", "some=body"]));
        assert!(
            answer.starts_with(&format!("traffic\n{method} / HTTP/1.1\r\n")),
            "{answer}"
        );
        assert!(answer.ends_with("\nsome=body"), "{answer}");
    }
}

#[test]
fn options_of_the_server_need_no_backend() {
    let (gatelet, _backend) = served();
    for (arguments, spoken) in [
        (["--http1.1"], "HTTP/1.1"),
        (["--http2-prior-knowledge"], "HTTP/2"),
    ] {
        for host in [HOST, "nobody.example.com"] {
            let mut curl = gatelet.curl(host, "/");
            curl.args(arguments)
                .args(["-i", "-X", "OPTIONS", "--request-target", "*"]);
            let answer = run(&mut curl).to_lowercase();
            assert!(
                answer.starts_with(&format!("{} 200 ", spoken.to_lowercase())),
                "{arguments:?} {host}: {answer}"
            );
            assert!(answer.contains("\r\ncontent-length: 0\r\n"), "{answer}");
            assert!(
                answer.ends_with("\r\n\r\n"),
                "nothing of a backend: {answer}"
            );
        }
    }
}

#[test]
fn one_listener_serves_ipv4_and_ipv6_clients_by_own_address() {
    let port = free_port();
    let gatelet = Gatelet::with(&["--http", &format!("[::]:{port}")]);
    let backend = Backend::start("families");
    gatelet.apply(&backend.manifests("families", HOST));
    for (address, client) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
        let answer = eventually("it is served", || {
            let mut command = Command::new("curl");
            command.args([
                "-sfg",
                "-m",
                "20",
                "-H",
                &format!("Host: {HOST}"),
                &format!("http://{address}:{port}/"),
            ]);
            let output = command.output().expect("curl");
            output
                .status
                .success()
                .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        });
        assert!(
            answer.contains(&format!("x-forwarded-for: {client}\r\n")),
            "{answer}"
        );
    }
}

#[test]
fn an_http_10_client_gets_what_it_understands() {
    let (gatelet, _backend) = served();
    let ask = |request: String| {
        let mut connection = Connection::open(gatelet.http_addr()).expect("a connection");
        connection.send(request.as_bytes()).expect("sent");
        let answer = connection.answer().expect("a response");
        (answer, connection)
    };
    // A body of unknown length ends with the connection, without chunks.
    let (answer, _) = ask(format!("GET /drip/3 HTTP/1.0\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "..."),
        "{answer:?}"
    );
    assert_eq!(answer.field("transfer-encoding"), None, "{answer:?}");
    // There is no interim response, whatever the request asks for.
    let (answer, _) = ask(format!(
        "PUT / HTTP/1.0\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"
    ));
    assert!(
        answer.status == 200 && answer.text().ends_with("hi"),
        "{answer:?}"
    );
    // The connection stays open if the client requests keep-alive.
    let (answer, mut connection) = ask(format!(
        "GET / HTTP/1.0\r\nHost: {HOST}\r\nConnection: keep-alive\r\n\r\n"
    ));
    assert_eq!(answer.field("connection"), Some("keep-alive"), "{answer:?}");
    assert_eq!(
        connection
            .get(HOST, "/")
            .expect("the connection is still there")
            .status,
        200
    );
}

#[test]
fn responses_without_a_body_keep_the_connection_usable() {
    let (gatelet, _backend) = served();
    let mut connection = Connection::open(gatelet.http_addr()).expect("a connection");
    for _ in 0..2 {
        connection
            .send(format!("HEAD /bytes/1000 HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes())
            .expect("sent");
        let head = connection.head().expect("a response");
        assert!(
            head.starts_with("HTTP/1.1 200")
                && head.to_lowercase().contains("content-length: 1000"),
            "{head}"
        );
        for status in [204, 304] {
            let answer = connection
                .get(HOST, &format!("/status/{status}"))
                .expect("a response");
            assert_eq!((answer.status, answer.body.len()), (status, 0));
        }
        assert!(
            connection
                .get(HOST, "/")
                .expect("a response")
                .text()
                .starts_with("traffic\n")
        );
    }
    for version in ["--http1.1", "--http2"] {
        let said = run(gatelet.curl_tls(HOST, "/bytes/1000").args(["-I", version]));
        assert!(
            said.to_lowercase().contains("content-length: 1000\r\n"),
            "{version}: {said}"
        );
    }
}

#[test]
fn expect_continue_waits_until_the_backend_wants_the_body() {
    let (gatelet, backend) = served();
    let ask = |host: &str| {
        let mut connection = Connection::open(gatelet.http_addr()).expect("a connection");
        let head = format!(
            "PUT /e HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        );
        connection.send(head.as_bytes()).expect("sent");
        let answer = connection.answer().expect("a response");
        (connection, answer)
    };
    let (mut connection, answer) = ask(HOST);
    assert_eq!(answer.status, 100, "{answer:?}");
    connection.send(b"12345").expect("sent");
    let answer = connection.answer().expect("a response");
    assert!(
        answer.status == 200 && answer.text().ends_with("\n12345"),
        "{answer:?}"
    );
    assert!(
        !answer.text().to_lowercase().contains("expect:"),
        "handled here, not passed on: {answer:?}"
    );
    let before = backend.count();
    let (_, answer) = ask("unknown.example.com");
    assert_eq!(
        (answer.status, backend.count()),
        (404, before),
        "no 100 for what is not served"
    );
    let body = gatelet.folder.write("body", &"b".repeat(2_000_000));
    let said = run(gatelet
        .curl(HOST, "/")
        .args([
            "-H",
            "Expect: 100-continue",
            "--expect100-timeout",
            "10",
            "-T",
        ])
        .arg(body));
    assert!(said.ends_with("\n2000000 bytes"), "{said}");
}

#[test]
fn big_bodies_stream_both_ways_in_little_memory() {
    const BYTES: u64 = 200_000_000;
    let (gatelet, backend) = served();
    gatelet.forget_peak();
    let before = gatelet.peak();
    let length = BYTES.to_string();
    for arguments in [["--http1.1"], ["--http2-prior-knowledge"]] {
        let mut command = gatelet.curl(HOST, &format!("/bytes/{BYTES}"));
        let said = run(command
            .args(arguments)
            .args(["-o", "/dev/null", "-w", "%{size_download}"]));
        assert_eq!(said, length, "{arguments:?}");
        let received = backend.received();
        let mut zeros = Command::new("head")
            .args(["-c", &length, "/dev/zero"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("head");
        let mut command = gatelet.curl(HOST, "/up");
        command
            .args(arguments)
            .args(["-T", "-"])
            .stdin(zeros.stdout.take().expect("a pipe"));
        let said = run(&mut command);
        assert!(
            said.ends_with(&format!("\n{BYTES} bytes")),
            "{arguments:?}: {said}"
        );
        assert_eq!(backend.received() - received, BYTES, "{arguments:?}");
        zeros.wait().expect("its status");
    }
    let grown = gatelet.peak() - before;
    assert!(grown < 12 * 1024, "{grown} KiB more for {BYTES} bytes");
}

#[test]
fn slow_readers_slow_the_sender_and_memory_stays_small() {
    let (gatelet, backend) = served();
    gatelet.forget_peak();
    let before = gatelet.peak();
    let mut slow = Connection::open(gatelet.http_addr()).expect("a connection");
    slow.send(format!("GET /bytes/200000000 HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes())
        .expect("sent");
    let sent = eventually("the backend is made to wait", || {
        let sent = backend.sent();
        thread::sleep(Duration::from_millis(300));
        (sent > 0 && sent == backend.sent()).then_some(sent)
    });
    // The system's own buffers may hold some 30 MB for each of two sockets.
    assert!(
        sent < 150_000_000,
        "{sent} bytes are on the way to a client that reads nothing"
    );
    // The other direction: a backend that reads nothing.
    let mut upload = TcpStream::connect(gatelet.http_addr()).expect("a connection");
    let head = format!("PUT /stuck HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 200000000\r\n\r\n");
    upload.write_all(head.as_bytes()).expect("sent");
    upload
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("a socket");
    let (mut taken, block) = (0, [0; 65536]);
    while let Ok(length) = upload.write(&block) {
        taken += length;
        assert!(
            taken < 150_000_000,
            "{taken} bytes were taken for a backend that reads nothing"
        );
    }
    let grown = gatelet.peak() - before;
    assert!(grown < 8 * 1024, "{grown} KiB");
    assert_eq!(
        gatelet.status_of(HOST, "/"),
        200,
        "others are served meanwhile"
    );
    // The transfer continues where it stopped.
    let head = slow.head().expect("a response");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut body = Vec::new();
    slow.exactly(50_000_000, &mut body).expect("the body comes");
    drop(slow);
    eventually("the backend learns that the client is gone", || {
        (backend.abandoned() == 1).then_some(())
    });
    backend.stop();
}

#[test]
fn a_client_that_goes_away_cancels_its_request() {
    let (gatelet, backend) = served();
    let mut client = Connection::open(gatelet.http_addr()).expect("a connection");
    client
        .send(format!("GET /hang HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes())
        .expect("sent");
    eventually("the backend has the request", || {
        (backend.count() == 2).then_some(())
    });
    drop(client);
    eventually("the request over HTTP/1.1 is cancelled", || {
        (backend.abandoned() == 1).then_some(())
    });
    for (cancelled, arguments) in [(2, ["--http2-prior-knowledge"]), (3, ["--http1.1"])] {
        let output = gatelet
            .curl(HOST, "/hang")
            .args(arguments)
            .args(["-m", "0.5"])
            .output()
            .expect("curl");
        assert_eq!(output.status.code(), Some(28), "it gives up");
        eventually(arguments[0], || {
            (backend.abandoned() == cancelled).then_some(())
        });
    }
    // One stream ends, and its connection continues.
    let mut client = frames::Client::open(gatelet.http_addr()).expect("a connection");
    let asks = |path| {
        [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", path),
            (":authority", HOST),
        ]
    };
    let before = backend.count();
    client.request(1, &asks("/hang"), true).expect("sent");
    eventually("the backend has the request", || {
        (backend.count() == before + 1).then_some(())
    });
    client
        .send(&frames::frame(
            frames::RST_STREAM,
            0,
            1,
            &8_u32.to_be_bytes(),
        ))
        .expect("sent");
    eventually("the request of the stream is cancelled", || {
        (backend.abandoned() == 4).then_some(())
    });
    client.request(3, &asks("/"), true).expect("sent");
    assert_eq!(client.outcome(3), frames::Outcome::Status(200));
    // The client leaves in the middle of a response.
    let mut client = Connection::open(gatelet.http_addr()).expect("a connection");
    client
        .send(format!("GET /drip/1000 HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes())
        .expect("sent");
    client.head().expect("the response begins");
    drop(client);
    eventually("the response is cancelled", || {
        (backend.abandoned() == 5).then_some(())
    });
    assert_eq!(gatelet.status_of(HOST, "/"), 200);
}

#[test]
fn slow_clients_delay_only_themselves() {
    let gatelet = Gatelet::configured(
        "workers = 1\n[proxy]\nclient_header_timeout = \"2s\"\nhandshake_timeout = \"2s\"\n",
    );
    let backend = Backend::start("slow");
    gatelet.serve(&backend.manifests("slow", HOST), HOST);
    let mut slow: Vec<_> = (0..200)
        .map(|_| {
            let mut connection = Connection::open(gatelet.http_addr()).expect("a connection");
            connection
                .send(b"GET / HTTP/1.1\r\nHost: slow")
                .expect("sent");
            connection
        })
        .collect();
    let silent: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(gatelet.https_addr()).expect("a connection"))
        .collect();
    for _ in 0..5 {
        assert_eq!(gatelet.status_of(HOST, "/"), 200);
        let said = run(gatelet
            .curl_tls(HOST, "/")
            .args(["-o", "/dev/null", "-w", "%{http_code}"]));
        assert_eq!(said, "200");
    }
    for connection in &mut slow {
        let answer = connection.answer().expect("a response");
        assert_eq!((answer.status, answer.closes()), (408, true), "{answer:?}");
        assert_eq!(connection.rest().expect("an end").len(), 0);
    }
    for mut stream in silent {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a socket");
        assert_eq!(
            std::io::Read::read(&mut stream, &mut [0; 1]).unwrap_or(0),
            0,
            "it is closed"
        );
    }
}

#[test]
fn pipelined_requests_are_served_in_order() {
    let (gatelet, _backend) = served();
    let mut connection = Connection::open(gatelet.http_addr()).expect("a connection");
    let request = |n: u32| match n % 3 {
        0 => format!(
            "GET /slow/{}?n={n} HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
            n % 20
        ),
        1 => format!("POST /?n={n} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\n\r\nbody"),
        _ => {
            format!(
                "PUT /?n={n} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: \
                    chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
            )
        }
    };
    let all: String = (0..60).map(request).collect();
    connection.send(all.as_bytes()).expect("sent");
    for n in 0..60 {
        let answer = connection.answer().expect("a response");
        assert!(
            answer.status == 200 && answer.text().contains(&format!("?n={n} ")),
            "{n}: {answer:?}"
        );
    }
}
