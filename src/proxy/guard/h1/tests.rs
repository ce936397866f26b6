use super::*;

const LIMITS: Limits = Limits {
    bytes: 1024,
    fields: 20,
};

/// Returns the bytes that the HTTP server would read, and the reason if the rest was refused.
fn pass(bytes: &[u8], step: usize) -> (Vec<u8>, Option<&'static str>) {
    let mut framing = Framing::Head(Head::default());
    let (mut passed, mut held) = (Vec::new(), Vec::new());

    for piece in bytes.chunks(step) {
        held.extend_from_slice(piece);
        let (pass, refused) = framing.scan(&held, LIMITS);
        passed.extend(held.drain(..pass));
        if let Some(kind) = refused {
            return (passed, Some(kind.reason()));
        }
        if let Framing::Broken(why) = framing {
            return (passed, Some(why));
        }
    }
    (passed, None)
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
            let (passed, refused) = pass(bytes, step);
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
                pass(bytes.as_bytes(), step).1,
                Some(why),
                "{bytes:?} in steps of {step}"
            );
        }
    }
}

#[test]
fn nothing_of_a_refused_head_is_passed() {
    let good = "GET /good HTTP/1.1\r\nHost: a\r\n\r\n";
    let (passed, refused) = pass(
        format!("{good}GET /bad HTTP/1.1\nHost: a\n\n").as_bytes(),
        10_000,
    );
    assert_eq!(String::from_utf8(passed).as_deref(), Ok(good));
    assert!(refused.is_some());
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic_and_none_appear(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        step in 1_usize..50,
    ) {
        let (passed, _) = pass(&bytes, step);
        assert!(bytes.starts_with(&passed));
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
        assert_eq!(whole, cut, "{text:?}");
    }
}
