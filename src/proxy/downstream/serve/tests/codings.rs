//! The coding that a client gets of those that a route has.

use flate2::read::GzDecoder;

use super::*;
use crate::routing::{Compression, ContentCoding, HAS_BROTLI, MediaTypes};

/// Returns a step that compresses every response.
fn step(coding: ContentCoding) -> ResponseStep {
    ResponseStep::Compress(Arc::new(Compression {
        from: "test".into(),
        types: MediaTypes::AllBut([].into()),
        min_length: 0,
        coding,
    }))
}

/// Splits a response into its head and the bytes of its body.
fn parts(response: &[u8]) -> (String, Vec<u8>) {
    let end = response.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, mut rest) = response.split_at(end.expect("a head") + 4);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    if !head.contains("transfer-encoding: chunked") {
        return (head, rest.to_vec());
    }

    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n");
        let (size, after) = rest.split_at(end.expect("a size"));
        let size = usize::from_str_radix(str::from_utf8(size).unwrap(), 16).unwrap();
        if size == 0 {
            return (head, body);
        }
        body.extend_from_slice(&after[2..2 + size]);
        rest = &after[4 + size..];
    }
}

fn decoded(coding: &str, body: &[u8]) -> String {
    let mut text = String::new();
    match coding {
        "" => text = String::from_utf8(body.to_vec()).unwrap(),
        "gzip" => drop(GzDecoder::new(body).read_to_string(&mut text).unwrap()),
        #[cfg(feature = "brotli")]
        "br" => {
            let mut decoder = brotli::Decompressor::new(body, 4096);
            decoder.read_to_string(&mut text).unwrap();
        }
        other => panic!("this build has no {other}"),
    }
    text
}

#[test]
fn brotli_or_gzip_is_chosen_by_the_weights_of_the_client() {
    let codings = [ContentCoding::Brotli(4), ContentCoding::Gzip(1)];
    let steps = codings.map(step);
    let front = Front::with(Settings::default(), Duration::ZERO, steps.into());

    // The coding with brotli, and without it.
    for (accepted, with, without) in [
        ("", "", ""),
        ("Accept-Encoding: identity\r\n", "", ""),
        ("Accept-Encoding: gzip\r\n", "gzip", "gzip"),
        ("Accept-Encoding: br\r\n", "br", ""),
        ("Accept-Encoding: gzip, br\r\n", "br", "gzip"),
        ("Accept-Encoding: br, gzip\r\n", "br", "gzip"),
        ("Accept-Encoding: br;q=0.5, gzip\r\n", "gzip", "gzip"),
        ("Accept-Encoding: br;q=0.5, gzip;q=0.4\r\n", "br", "gzip"),
        (
            "Accept-Encoding: gzip;q=1.0, BR;q=0.999\r\n",
            "gzip",
            "gzip",
        ),
        ("Accept-Encoding: br; q=0, gzip; q=0.1\r\n", "gzip", "gzip"),
        ("Accept-Encoding: br;q=0.001, gzip;q=0\r\n", "br", ""),
        ("Accept-Encoding: gzip;q=0, br;q=0\r\n", "", ""),
        (
            "Accept-Encoding: br;q=0.2\r\nAccept-Encoding: gzip;q=0.3\r\n",
            "gzip",
            "gzip",
        ),
    ] {
        let expected = if HAS_BROTLI { with } else { without };
        let before = front.requests();
        let mut stream = front.connect();
        let request =
            format!("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n{accepted}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).unwrap();

        let (head, body) = parts(&response);
        let coding = head.split("content-encoding: ").nth(1);
        let coding = coding.and_then(|rest| rest.lines().next());
        assert_eq!(coding.unwrap_or_default(), expected, "{accepted}{head}");
        assert!(head.contains("vary: accept-encoding"), "{accepted}{head}");
        let text = decoded(expected, &body);
        assert_eq!(text, format!("request {}", before + 1), "{accepted}");
    }
}
