use bytes::BytesMut;
use http::Method;

use super::*;
use crate::proxy::{h1::body::BodyReader, request::spare};

const LIMITS: Limits = Limits {
    bytes: 1024,
    fields: 20,
};

/// Returns the bytes that are used, the number of heads among them, and the reason if the rest was
/// refused.
fn pass(bytes: &[u8], step: usize) -> (&[u8], usize, Option<&'static str>) {
    let (mut scanner, mut body) = (Scanner::default(), BodyReader::default());
    let (mut received, mut heads, mut fed) = (BytesMut::new(), 0, 0);

    for piece in bytes.chunks(step) {
        received.extend_from_slice(piece);
        fed += piece.len();
        let refused = loop {
            if !body.is_end() {
                match body.take(&mut received, LIMITS) {
                    Ok(None) if !body.is_end() => break None,
                    Ok(_) => continue,
                    Err(kind) => break Some(kind),
                }
            }
            match scanner.scan(&received, LIMITS) {
                Ok(None) => break None,
                Ok(Some((head, length))) => {
                    drop(received.split_to(length));
                    heads += 1;
                    body = BodyReader::new(head.length.into());
                    scanner = Scanner::default();
                    spare::give(head.fields);
                }
                Err(kind) => break Some(kind),
            }
        };
        if let Some(kind) = refused {
            return (&bytes[..fed - received.len()], heads, Some(kind.reason()));
        }
    }
    (&bytes[..fed - received.len()], heads, None)
}

#[test]
fn what_is_right_passes_unchanged_however_it_is_cut() {
    let long = [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n".as_slice(),
        &[b'\n'; 3000],
    ]
    .concat();

    for bytes in [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(),
        b"\r\nGET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:a\r\nX: \t v \r\nY:\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n\n\n\n\
          GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
          3;x=\"y\"\r\na\nb\r\n0\r\nT: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        &long,
    ] {
        for step in [1, 2, 7, 100, 10_000] {
            let (passed, _, refused) = pass(bytes, step);
            assert_eq!(refused, None, "{}", String::from_utf8_lossy(bytes));
            assert_eq!(passed, bytes, "{}", String::from_utf8_lossy(bytes));
        }
    }
}

#[test]
fn ambiguous_heads_are_refused_however_they_are_cut() {
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(30));
    let large = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "y".repeat(2000)
    );
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(2000));
    let with = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
    let chunked = |body: &str| with(&format!("Transfer-Encoding: chunked\r\n\r\n{body}"));

    for (bytes, why) in [
        ("GET / HTTP/1.1\nHost: a\n\n".to_owned(), "bare LF in head"),
        (
            "GET / HTTP/1.1\r\nHost: a\n\r\n".to_owned(),
            "bare LF in head",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n".to_owned(),
            "bare CR in head",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n".to_owned(),
            "NUL in head",
        ),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "no Host"),
        (with("Host: b"), "more than one Host"),
        (
            "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "fragment in target",
        ),
        (
            "GET /?a#b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "fragment in target",
        ),
        (
            "GET http://a/# HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "fragment in target",
        ),
        (with("X: a\r\n folded"), "folded field line"),
        (with("X : a"), "bad field name"),
        (with("nonsense"), "field line without colon"),
        (
            with("Content-Length: 1\r\nContent-Length: 2"),
            "conflicting Content-Length",
        ),
        (with("Content-Length: 1, 1"), "bad Content-Length"),
        (with("Content-Length: +1"), "bad Content-Length"),
        (with("Content-Length: 0x1"), "bad Content-Length"),
        (with("Content-Length:"), "bad Content-Length"),
        (
            with("Content-Length: 99999999999999999999"),
            "bad Content-Length",
        ),
        (
            with("Content-Length: 3\r\nTransfer-Encoding: chunked"),
            "Transfer-Encoding with Content-Length",
        ),
        (
            with("Transfer-Encoding: gzip, chunked"),
            "bad Transfer-Encoding",
        ),
        (with("Transfer-Encoding: identity"), "bad Transfer-Encoding"),
        (
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            "bad Transfer-Encoding",
        ),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            "Transfer-Encoding in HTTP/1.0",
        ),
        (
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n".to_owned(),
            "bad request line",
        ),
        (
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "bad request line",
        ),
        (
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "bad request line",
        ),
        ("GET /\r\nHost: a\r\n\r\n".to_owned(), "bad request line"),
        (
            "GET / HTTP/3.0\r\nHost: a\r\n\r\n".to_owned(),
            "only HTTP/1.0, HTTP/1.1 and HTTP/2 are supported",
        ),
        (many, "the request head is too large"),
        (large, "the request head is too large"),
        (target, "the request target is too long"),
        (chunked("g\r\n"), "bad chunk size"),
        (chunked("\r\n"), "bad chunk size"),
        (chunked("-1\r\n"), "bad chunk size"),
        (chunked("11111111111111111\r\n"), "bad chunk size"),
        (chunked("1\n"), "bad chunk size"),
        (chunked("1\r\nab\r\n"), "bad chunk framing"),
        (chunked("1\r\na\n"), "bad chunk framing"),
        (chunked("0\r\nbad trailer\r\n\r\n"), "bad trailer"),
        (chunked("0\r\nT: a\nb\r\n\r\n"), "bad trailer"),
    ] {
        for step in [1, 3, 10_000] {
            assert_eq!(
                pass(bytes.as_bytes(), step).2,
                Some(why),
                "{bytes:?} in steps of {step}"
            );
        }
    }
}

#[test]
fn nothing_of_a_refused_head_is_passed() {
    let good = "GET /good HTTP/1.1\r\nHost: a\r\n\r\n";
    let text = format!("{good}GET /bad HTTP/1.1\nHost: a\n\n");
    let (passed, _, refused) = pass(text.as_bytes(), 10_000);
    assert_eq!(std::str::from_utf8(passed), Ok(good));
    assert!(refused.is_some());
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        step in 1_usize..50,
    ) {
        pass(&bytes, step);
    }

    #[test]
    fn the_verdict_does_not_depend_on_how_bytes_are_cut(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "GET / HTTP/1.1\r\n", "POST / HTTP/1.0\r\n", "Host: a\r\n", "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n", "\r\n", "\n", "\r", "hello", "5\r\nhello\r\n",
            "0\r\n\r\n", "X: y\r\n", " ", "Upgrade: x\r\n",
        ]), 0..12),
        step in 1_usize..20,
    ) {
        let text = words.concat();
        let (whole, cut) = (pass(text.as_bytes(), 100_000), pass(text.as_bytes(), step));
        assert_eq!((whole.1, whole.2), (cut.1, cut.2), "{text:?}");
    }
}

#[test]
fn a_head_is_taken_apart() {
    let text = b"\r\nPOST /a?b HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Y: \t v w \t\r\n\
        Content-Length: 3\r\n\r\nabc";
    let (head, length) = Scanner::default().scan(text, LIMITS).unwrap().unwrap();
    assert_eq!(&text[length..], b"abc");
    assert_eq!(
        (&head.method, head.path(), head.query()),
        (&Method::POST, "/a", Some("b"))
    );
    assert_eq!(head.length, BodyLength::Known(3));
    let fields: Vec<_> = head
        .fields
        .iter()
        .map(|field| (field.name, field.value))
        .collect();
    let expected: [(&[u8], &[u8]); 4] = [
        (b"Host", b"a"),
        (b"X-Empty", b""),
        (b"X-Y", b"v w"),
        (b"Content-Length", b"3"),
    ];
    assert_eq!(fields, expected);
}
