//! Malformed HTTP over real sockets: it is refused with the right status and never reaches a
//! backend.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    thread,
};

use super::support::{
    Backend, Connection, Gatelet,
    backend::{field, head, manifests},
    eventually, frames,
};

const HOST: &str = "m.example.com";

fn served() -> (Gatelet, Backend) {
    let (gatelet, backend) = (Gatelet::start(), Backend::start("malformed"));
    gatelet.serve(&backend.manifests("malformed", HOST), HOST);
    (gatelet, backend)
}

/// Heads that are refused, each with its status.
const HEADS: &[(u16, &[u8])] = &[
    // Line ends.
    (400, b"GET / HTTP/1.1\nHost: m.example.com\n\n"),
    (400, b"GET / HTTP/1.1\r\nHost: m.example.com\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: m.example.com\r\n\n"),
    (
        400,
        b"GET / HTTP/1.1\r\nHost: m.example.com\r\nX: a\nY: b\r\n\r\n",
    ),
    (
        400,
        b"GET / HTTP/1.1\r\nHost: m.example.com\r\nX: a\rb\r\n\r\n",
    ),
    (
        400,
        b"GET / HTTP/1.1\r\nHost: m.example.com\r\nX: a\r\rb\r\n\r\n",
    ),
    (400, b"GET / HTTP/1.1\rHost: m.example.com\r\r"),
    (400, b"\nGET / HTTP/1.1\r\nHost: m.example.com\r\n\r\n"),
    // Request line.
    (400, b"GET /\r\nHost: m.example.com\r\n\r\n"),
    (400, b"GET  / HTTP/1.1\r\nHost: m.example.com\r\n\r\n"),
    (400, b"GET /  HTTP/1.1\r\nHost: m.example.com\r\n\r\n"),
    (400, b"GET / HTTP/1.1 \r\nHost: m.example.com\r\n\r\n"),
    (400, b" GET / HTTP/1.1\r\nHost: m.example.com\r\n\r\n"),
    (400, b"GET\t/ HTTP/1.1\r\nHost: m.example.com\r\n\r\n"),
    (400, b"GET / x HTTP/1.1\r\nHost: m.example.com\r\n\r\n"),
    (400, b"GET / http/1.1\r\nHost: m.example.com\r\n\r\n"),
    (400, b"GET / HTTP/11\r\nHost: m.example.com\r\n\r\n"),
    (400, b"G@T / HTTP/1.1\r\nHost: m.example.com\r\n\r\n"),
    (400, b"GET noslash HTTP/1.1\r\nHost: m.example.com\r\n\r\n"),
    (400, b"GET * HTTP/1.1\r\nHost: m.example.com\r\n\r\n"),
    (
        400,
        b"GET m.example.com:80 HTTP/1.1\r\nHost: m.example.com\r\n\r\n",
    ),
    (400, b"GET /a\x00b HTTP/1.1\r\nHost: m.example.com\r\n\r\n"),
    (400, b"GET /a\x7fb HTTP/1.1\r\nHost: m.example.com\r\n\r\n"),
    (400, b"GET /%zz HTTP/1.1\r\nHost: m.example.com\r\n\r\n"),
    (400, b"GET /a%2 HTTP/1.1\r\nHost: m.example.com\r\n\r\n"),
    (400, b"GET /a%00 HTTP/1.1\r\nHost: m.example.com\r\n\r\n"),
    (400, b"GET /a#b HTTP/1.1\r\nHost: m.example.com\r\n\r\n"),
    (400, b"GET /?a#b HTTP/1.1\r\nHost: m.example.com\r\n\r\n"),
    (400, b"GET http:// HTTP/1.1\r\nHost: m.example.com\r\n\r\n"),
    (
        400,
        b"GET http://user@m.example.com/ HTTP/1.1\r\nHost: m.example.com\r\n\r\n",
    ),
    (
        400,
        b"GET http://other.example.com/ HTTP/1.1\r\nHost: m.example.com\r\n\r\n",
    ),
    (
        400,
        b"GET ftp://m.example.com/ HTTP/1.1\r\nHost: m.example.com\r\n\r\n",
    ),
    (
        405,
        b"CONNECT m.example.com:443 HTTP/1.1\r\nHost: m.example.com\r\n\r\n",
    ),
    (505, b"GET / HTTP/2.0\r\nHost: m.example.com\r\n\r\n"),
    (505, b"GET / HTTP/1.2\r\nHost: m.example.com\r\n\r\n"),
    (505, b"GET / HTTP/0.9\r\nHost: m.example.com\r\n\r\n"),
    // Hosts.
    (400, b"GET / HTTP/1.1\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    (
        400,
        b"GET / HTTP/1.1\r\nHost: m.example.com\r\nHost: m.example.com\r\n\r\n",
    ),
    (
        400,
        b"GET / HTTP/1.1\r\nHost: m.example.com\r\nhost: other.example.com\r\n\r\n",
    ),
    (
        400,
        b"GET / HTTP/1.1\r\nHost: m.example.com, other.example.com\r\n\r\n",
    ),
    (400, b"GET / HTTP/1.1\r\nHost: m.example.com/x\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: user@m.example.com\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: m.example.com other\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: m.example.com:80:80\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: m.example.com:99999\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: m.example.com:http\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: m..example.com\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: [nonsense]\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: m.ex\xe4mple.com\r\n\r\n"),
    // Fields.
    (
        400,
        b"GET / HTTP/1.1\r\nHost: m.example.com\r\nX: a\r\n folded\r\n\r\n",
    ),
    (
        400,
        b"GET / HTTP/1.1\r\nHost: m.example.com\r\nX: a\r\n\tfolded\r\n\r\n",
    ),
    (400, b"GET / HTTP/1.1\r\n Host: m.example.com\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost : m.example.com\r\n\r\n"),
    (
        400,
        b"GET / HTTP/1.1\r\nHost: m.example.com\r\nX\t: a\r\n\r\n",
    ),
    (
        400,
        b"GET / HTTP/1.1\r\nHost: m.example.com\r\nno colon\r\n\r\n",
    ),
    (
        400,
        b"GET / HTTP/1.1\r\nHost: m.example.com\r\n: no name\r\n\r\n",
    ),
    (
        400,
        b"GET / HTTP/1.1\r\nHost: m.example.com\r\nX(Y): a\r\n\r\n",
    ),
    (
        400,
        b"GET / HTTP/1.1\r\nHost: m.example.com\r\nX\xff: a\r\n\r\n",
    ),
    (
        400,
        b"GET / HTTP/1.1\r\nHost: m.example.com\r\nX: a\x00b\r\n\r\n",
    ),
    (
        400,
        b"GET / HTTP/1.1\r\nHost: m.example.com\r\nX: a\x01b\r\n\r\n",
    ),
    (
        417,
        b"GET / HTTP/1.1\r\nHost: m.example.com\r\nExpect: miracles\r\n\r\n",
    ),
    // Lengths.
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nContent-Length: 1\r\nContent-Length: \
        2\r\n\r\nab",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nContent-Length: 1, 2\r\n\r\nab",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nContent-Length: +2\r\n\r\nab",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nContent-Length: -2\r\n\r\nab",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nContent-Length: 0x2\r\n\r\nab",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nContent-Length: 2 2\r\n\r\nab",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nContent-Length:\r\n\r\nab",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nContent-Length: \
        99999999999999999999\r\n\r\nab",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nContent-Length : 2\r\n\r\nab",
    ),
    // Transfer codings.
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nContent-Length: 5\r\nTransfer-Encoding: \
        chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nTransfer-Encoding: chunked\r\nContent-Length: \
        5\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nTransfer-Encoding: chunked, \
        chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nTransfer-Encoding: \
        chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nTransfer-Encoding: \
        chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nTransfer-Encoding: chunked, \
        gzip\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nTransfer-Encoding: \
        \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nTransfer-Encoding: \
        \"chunked\"\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        b"PUT / HTTP/1.1\r\nHost: m.example.com\r\nTransfer-Encoding:\r\n \
        chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        b"PUT / HTTP/1.0\r\nHost: m.example.com\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
];

#[test]
fn malformed_heads_are_refused_and_nothing_behind_them_is_read() {
    let (gatelet, backend) = served();
    let before = backend.count();
    let long = [
        b"GET /".to_vec(),
        vec![b'a'; 70_000],
        b" HTTP/1.1\r\nHost: m.example.com\r\n\r\n".to_vec(),
    ]
    .concat();
    let large = [
        b"GET / HTTP/1.1\r\nHost: m.example.com\r\nX: ".to_vec(),
        vec![b'a'; 70_000],
        b"\r\n\r\n".to_vec(),
    ]
    .concat();
    let many = format!(
        "GET / HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n",
        "X: y\r\n".repeat(200)
    )
    .into_bytes();
    let unending = format!(
        "GET / HTTP/1.1\r\nHost: {HOST}\r\n{}",
        "X: y\r\n".repeat(200)
    )
    .into_bytes();
    let own: [(u16, &[u8]); 4] = [(414, &long), (431, &large), (431, &many), (431, &unending)];
    // The bytes that a smuggler would pass off as the next request.
    let smuggled = format!("GET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    for secure in [false, true] {
        for (status, head) in HEADS.iter().chain(&own) {
            let shown = String::from_utf8_lossy(&head[..head.len().min(120)]);
            let mut connection = if secure {
                Connection::tls(gatelet.https_addr(), HOST, &["http/1.1"]).expect("a connection")
            } else {
                Connection::open(gatelet.http_addr()).expect("a connection")
            };
            connection
                .send(&[head, smuggled.as_bytes()].concat())
                .expect("sent");
            let answer = connection
                .answer()
                .unwrap_or_else(|error| panic!("{shown:?} (TLS: {secure}): {error}"));
            assert_eq!(
                answer.status, *status,
                "{shown:?} (TLS: {secure}): {answer:?}"
            );
            assert!(answer.closes(), "{shown:?}: {answer:?}");
            assert_eq!(
                connection.rest().unwrap_or_default(),
                b"",
                "{shown:?}: nothing more is answered"
            );
        }
    }
    assert_eq!(backend.count(), before, "the backend has seen none of them");
    assert_eq!(gatelet.status_of(HOST, "/"), 200);
}

#[test]
fn malformed_chunks_abort_their_request() {
    let (gatelet, backend) = served();
    let bodies: &[&[u8]] = &[
        b"x\r\nabc\r\n0\r\n\r\n",
        b"-1\r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b" 3\r\nabc\r\n0\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"\r\nabc\r\n0\r\n\r\n",
        b"3\nabc\n0\n\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"3;a\nb\r\nabc\r\n0\r\n\r\n",
        b"3;a\rb\r\nabc\r\n0\r\n\r\n",
        b"3;\x00\r\nabc\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nabc",
        b"10000000000000000\r\nabc",
        b"3\r\nabc\r\n0\r\nbad trailer\r\n\r\n",
        b"3\r\nabc\r\n0\r\nX: a\nY: b\r\n\r\n",
        b"3\r\nabc\r\n0\r\n X: folded\r\n\r\n",
        b"3\r\nabc\r\n0\r\nX : a\r\n\r\n",
    ];
    let smuggled = format!("GET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let well = backend.count() - backend.abandoned();
    for body in bodies {
        let shown = String::from_utf8_lossy(body);
        let mut connection = Connection::open(gatelet.http_addr()).expect("a connection");
        let head = format!("PUT / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
        connection
            .send(&[head.as_bytes(), body, smuggled.as_bytes()].concat())
            .expect("sent");
        let answer = connection
            .answer()
            .unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        assert!(
            answer.status == 400 && answer.closes(),
            "{shown:?}: {answer:?}"
        );
        assert_eq!(
            connection.rest().unwrap_or_default(),
            b"",
            "{shown:?}: nothing more is answered"
        );
        // The head may already be at the backend; its body must not seem complete.
        eventually(&format!("{shown:?} is broken off at the backend"), || {
            (backend.count() - backend.abandoned() == well).then_some(())
        });
    }
    // A request may arrive late, but not twice, and a smuggled request would not be cut off.
    assert!(backend.abandoned() <= bodies.len() as u64);
    eventually("no request is left whole", || {
        (backend.count() - backend.abandoned() == well).then_some(())
    });
    // Allowed are extensions, trailers, upper case and leading zeros.
    let mut connection = Connection::open(gatelet.http_addr()).expect("a connection");
    let head = format!("PUT / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: CHUNKED\r\n\r\n");
    connection
        .send(
            format!("{head}003;a=\"b\"\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-T: t\r\n\r\n")
                .as_bytes(),
        )
        .expect("sent");
    let answer = connection.answer().expect("a response");
    assert!(
        answer.status == 200 && answer.text().ends_with("\nabc0123456789"),
        "{answer:?}"
    );
}

#[test]
fn malformed_http2_requests_are_refused_each_on_its_own() {
    let (gatelet, backend) = served();
    let before = backend.count();
    let good = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", HOST),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&good[..], more].concat();
    let without = |name: &str| {
        good.into_iter()
            .filter(|(other, _)| *other != name)
            .collect::<Vec<_>>()
    };
    let instead = |name: &'static str, value: &'static str| {
        good.into_iter()
            .map(|pair| if pair.0 == name { (name, value) } else { pair })
            .collect::<Vec<_>>()
    };
    let cases: Vec<Vec<(&str, &str)>> = vec![
        without(":method"),
        without(":scheme"),
        without(":path"),
        without(":authority"),
        instead(":path", ""),
        instead(":path", "noslash"),
        instead(":path", "*"),
        instead(":path", "/a b"),
        instead(":path", "/a#b"),
        instead(":path", "/?a#b"),
        instead(":path", "#"),
        instead(":path", "/%zz"),
        instead(":path", "/\u{1}"),
        instead(":method", "G T"),
        instead(":method", "CONNECT"),
        instead(":scheme", "ftp"),
        instead(":authority", ""),
        instead(":authority", "user@m.example.com"),
        instead(":authority", "m.example.com/x"),
        instead(":authority", "m example.com"),
        instead(":authority", "m.example.com:99999"),
        with(&[("host", "other.example.com")]),
        with(&[(":path", "/twice")]),
        with(&[(":authority", "other.example.com")]),
        with(&[(":unknown", "x")]),
        with(&[(":status", "200")]),
        with(&[("x", "y"), (":late", "x")]),
        with(&[("connection", "close")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("keep-alive", "1")]),
        with(&[("upgrade", "h2c")]),
        with(&[("te", "gzip")]),
        with(&[("X-Upper", "y")]),
        with(&[("x y", "z")]),
        with(&[("", "z")]),
        with(&[("x", "a\r\nb: c")]),
        with(&[("x", "a\nb")]),
        with(&[("x", "a\0b")]),
        with(&[("content-length", "5")]),
        with(&[("content-length", "1"), ("content-length", "2")]),
        with(&[("content-length", "+0")]),
        with(&[("content-length", "")]),
        with(&[("content-length", "0"), ("content-length", "")]),
        with(&[("expect", "miracles")]),
    ];
    for case in cases {
        let mut client = frames::Client::open(gatelet.http_addr()).expect("a connection");
        client.request(1, &case, true).expect("sent");
        let answer = client.outcome(1);
        assert!(
            matches!(
                answer,
                frames::Outcome::Status(400 | 405 | 417)
                    | frames::Outcome::Reset(_)
                    | frames::Outcome::Gone
            ),
            "{case:?}: {answer:?}"
        );
    }
    assert_eq!(backend.count(), before, "the backend has seen none of them");

    // A body that is longer or shorter than its declared length.
    for (said, sent) in [
        (&["3"][..], &b"abcd"[..]),
        (&["5"], b"abcd"),
        (&["4", "5"], b"abcd"),
        (&["5", "4"], b"abcd"),
        (&["4, 4"], b"abcd"),
    ] {
        let (count, abandoned) = (backend.count(), backend.abandoned());
        let mut client = frames::Client::open(gatelet.http_addr()).expect("a connection");
        let lengths = said.iter().map(|length| ("content-length", *length));
        let fields: Vec<_> = instead(":method", "PUT")
            .into_iter()
            .chain(lengths)
            .collect();
        client.request(1, &fields, false).expect("sent");
        client
            .send(&frames::frame(frames::DATA, frames::END_STREAM, 1, sent))
            .expect("sent");
        let answer = client.outcome(1);
        assert!(
            matches!(
                answer,
                frames::Outcome::Status(400) | frames::Outcome::Reset(_)
            ),
            "{said:?}: {answer:?}"
        );
        eventually("it is broken off at the backend", || {
            (backend.count() - count == backend.abandoned() - abandoned).then_some(())
        });
    }
    let mut client = frames::Client::open(gatelet.http_addr()).expect("a connection");
    client.request(1, &good, true).expect("sent");
    assert_eq!(
        client.outcome(1),
        frames::Outcome::Status(200),
        "the client here can do it right"
    );
}

/// A backend that reads an invalid length as 0, as many do, and responds to every head with its
/// first line. If that is not a request, it waits for further bytes first.
fn lenient() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                while let Some(head) = head(&mut reader) {
                    let said = field(&head, "content-length")
                        .and_then(|text| text.parse().ok())
                        .unwrap_or(0);
                    let _ = std::io::copy(&mut reader.by_ref().take(said), &mut std::io::sink());
                    let line = head.lines().next().unwrap_or_default();
                    if !line.ends_with(" HTTP/1.1") {
                        let _ = reader.fill_buf();
                    }
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{line}",
                        line.len()
                    );
                    let _ = (&stream).write_all(answer.as_bytes());
                }
            });
        }
    });
    port
}

#[test]
fn an_unclear_length_over_http2_gives_no_client_a_wrong_answer() {
    let gatelet = Gatelet::configured("workers = 1\n");
    gatelet.serve(&manifests("lenient", HOST, lenient()), HOST);
    let lengths: &[&[&str]] = &[
        &[""],
        &["", ""],
        &["0", ""],
        &["5, 5"],
        &["+5"],
        &[" 5"],
        &["18446744073709551616"],
    ];
    for said in lengths {
        for body in ["", "GET /smuggled HTTP/1.1\r\n\r\n"] {
            let mut client = frames::Client::open(gatelet.http_addr()).expect("a connection");
            let asks = [
                (":method", "PUT"),
                (":scheme", "http"),
                (":path", "/attack"),
                (":authority", HOST),
            ];
            let fields: Vec<_> = asks
                .into_iter()
                .chain(said.iter().map(|length| ("content-length", *length)))
                .collect();
            client.request(1, &fields, false).expect("sent");
            // The stream may be reset already.
            let _ = client.send(&frames::frame(
                frames::DATA,
                frames::END_STREAM,
                1,
                body.as_bytes(),
            ));
            let attack = client.outcome(1);
            for own in ["/first", "/second"] {
                let answer = gatelet.get(HOST, own);
                assert_eq!(
                    answer,
                    format!("GET {own} HTTP/1.1"),
                    "after {said:?} with {body:?}"
                );
            }
            assert!(
                matches!(
                    attack,
                    frames::Outcome::Status(400) | frames::Outcome::Reset(1)
                ),
                "{said:?}: {attack:?}"
            );
        }
    }
}

#[test]
fn crumbs_of_a_cookie_count_as_one_field() {
    let (gatelet, _backend) = served();
    let crumbs: Vec<String> = (0..150).map(|number| format!("c{number}=v")).collect();
    let asks = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", HOST),
    ];
    let fields: Vec<_> = asks
        .into_iter()
        .chain(crumbs.iter().map(|crumb| ("cookie", &**crumb)))
        .collect();
    let mut client = frames::Client::open(gatelet.http_addr()).expect("a connection");
    client.request(1, &fields, true).expect("sent");
    assert_eq!(client.outcome(1), frames::Outcome::Status(200));
    let answer = client.body(1);
    assert!(
        answer.contains(&format!("cookie: {}\r\n", crumbs.join("; "))),
        "{answer}"
    );
    // Each other field counts.
    let fields: Vec<_> = asks
        .into_iter()
        .chain((0..150).map(|_| ("x-many", "v")))
        .collect();
    client.request(3, &fields, true).expect("sent");
    assert_eq!(client.outcome(3), frames::Outcome::Status(431));
}

/// Each stream of a connection is judged on its own, however its path is encoded.
#[test]
fn a_fragment_over_http2_resets_its_stream_and_no_other() {
    let (gatelet, backend) = served();
    let before = backend.count();
    let mut client = frames::Client::open(gatelet.http_addr()).expect("a connection");
    // GET, http, the authority into the table, and the path: Huffman-coded `/#`, and as an entry of
    // the table.
    let authority = [&[0x41, HOST.len() as u8], HOST.as_bytes()].concat();
    let with = |path: &[u8]| [&[0x82, 0x86], path, &*authority].concat();
    // 6 bits of `/`, 12 of `#`, and 6 of padding.
    let coded = [0x44, 0x83, 0x63, 0xfe, 0xbf];
    for (stream, path, expected) in [
        (1, &b"\x44\x02/a"[..], frames::Outcome::Status(200)),
        (3, &coded, frames::Outcome::Reset(1)),
        (5, b"\x04\x04/?a#", frames::Outcome::Reset(1)),
        // The entry that stream 3 added, behind the two authorities that were added later.
        (7, &[0x80 | (62 + 2)], frames::Outcome::Reset(1)),
        (9, b"\x04\x04/%23", frames::Outcome::Status(200)),
    ] {
        let block = with(path);
        client
            .send(&frames::frame(
                frames::HEADERS,
                frames::END_HEADERS | frames::END_STREAM,
                stream,
                &block,
            ))
            .expect("sent");
        assert_eq!(client.outcome(stream), expected, "{path:?}");
    }
    assert_eq!(backend.count(), before + 2);
}
