use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::proxy::{
    executor::local,
    request::{body::RequestBody, message::BodyLength},
};

const LIMITS: Limits = Limits {
    bytes: 4096,
    fields: 100,
};

/// All parts of one response.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    reusable: bool,
}

fn request(method: &str) -> RequestWriter {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let head = HeadWriter::new(&method, "/", None);
    RequestWriter::new(&method, head, BodyLength::None, RequestBody::empty())
}

/// An endpoint that sends `bytes` to every request, in pieces of a given size, and then closes or
/// stays.
fn endpoint(bytes: &[u8], step: usize, close: bool) -> Connection {
    let (ours, mut theirs) = tokio::io::duplex(256 * 1024);
    let bytes = bytes.to_vec();
    tokio::task::spawn_local(async move {
        for piece in bytes.chunks(step) {
            theirs.write_all(piece).await.expect("room");
            tokio::task::yield_now().await;
        }
        if !close {
            std::future::pending::<DuplexStream>().await;
        }
    });
    Connection::new(ours)
}

async fn ask(method: &str, mut connection: Connection) -> Result<Result<Seen, Broken>, Failed> {
    let mut writer = request(method);
    let head = connection.exchange(&mut writer, LIMITS, |_| {}).await?;
    let mut response = ResponseBody::new(connection, &head, writer, LIMITS);
    let mut seen = Seen {
        status: head.passed.status.as_u16(),
        body: Vec::new(),
        trailers: None,
        reusable: false,
    };
    if let Some(whole) = response.whole() {
        seen.body.extend_from_slice(&whole);
    }
    while let Some(frame) = std::future::poll_fn(|cx| response.poll_frame(cx)).await {
        match frame {
            Ok(frame) if frame.is_data() => seen
                .body
                .extend_from_slice(&frame.into_data().expect("data")),
            Ok(frame) => seen.trailers = frame.into_trailers().ok(),
            Err(error) => return Ok(Err(error)),
        }
    }
    seen.reusable = response.into_connection().is_some();
    Ok(Ok(seen))
}

/// Returns the outcome of a GET, which must be the same however the bytes are cut. The connection
/// stays open.
fn get(bytes: &[u8]) -> Result<Seen, String> {
    let outcomes = [1, 7, 1 << 20].map(|step| {
        local(async { ask("GET", endpoint(bytes, step, false)).await })
            .map_err(|failed| format!("{failed:?}"))
            .and_then(|body| body.map_err(|broken| broken.to_string()))
    });
    let [first, rest @ ..] = outcomes;

    for other in rest {
        assert_eq!(first, other, "{}", String::from_utf8_lossy(bytes));
    }
    first
}

fn whole(status: u16, body: &str) -> Result<Seen, String> {
    Ok(Seen {
        status,
        body: body.into(),
        trailers: None,
        reusable: true,
    })
}

#[test]
fn a_body_ends_where_its_framing_says() {
    assert_eq!(
        get(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        whole(200, "ok")
    );
    assert_eq!(
        get(b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n"),
        whole(404, "")
    );
    assert_eq!(get(b"HTTP/1.1 204 No Content\r\n\r\n"), whole(204, ""));
    assert_eq!(
        get(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
        whole(304, "")
    );
    assert_eq!(
        get(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
        whole(200, "ok")
    );
    assert_eq!(
        get(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
        whole(200, "ok")
    );
    assert_eq!(
        get(b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n\
            2;x=y\r\nok\r\n1\r\n!\r\n0\r\n\r\n"),
        whole(200, "ok!")
    );
    assert_eq!(
        get(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
            HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        ),
        whole(200, "")
    );
}

#[test]
fn trailers_come_after_the_body() {
    let seen = get(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            2\r\nok\r\n0\r\nX-Sum: 7\r\nX-Sum: 8\r\n\r\n");

    let seen = seen.expect("a response");
    let sums: Vec<_> = seen
        .trailers
        .iter()
        .flat_map(|trailers| trailers.get_all("x-sum"))
        .collect();
    assert_eq!(
        (sums, &*seen.body, seen.reusable),
        (
            vec![
                &HeaderValue::from_static("7"),
                &HeaderValue::from_static("8")
            ],
            b"ok".as_slice(),
            true
        )
    );
}

#[test]
fn a_connection_that_ends_with_its_response_is_not_reused() {
    for fields in [
        "Connection: close\r\nContent-Length: 2\r\n",
        "Connection: x, Close\r\nContent-Length: 2\r\n",
        "",
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{fields}\r\nok");

        let seen = local(async { ask("GET", endpoint(bytes.as_bytes(), 9, true)).await });
        let expected = Seen {
            status: 200,
            body: b"ok".into(),
            trailers: None,
            reusable: false,
        };
        assert_eq!(
            seen.expect("a head").expect("a body"),
            expected,
            "{fields:?}"
        );
    }
    assert!(
        !get(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .expect("a response")
            .reusable
    );
    let persistent = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok";
    assert!(get(persistent).expect("a response").reusable);

    // Bytes behind the response would count as the next response.
    let seen = local(async {
        ask(
            "GET",
            endpoint(
                b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n",
                99,
                false,
            ),
        )
        .await
    });
    assert!(!seen.expect("a head").expect("a body").reusable);
}

#[test]
fn connection_fields_of_a_response_are_not_passed_on() {
    let bytes = b"HTTP/1.1 200 OK\r\nX-Own: 1\r\nConnection: X-Own, Content-Length\r\n\
        Keep-Alive: 5\r\nServer: x\r\n\
        Content-Length: 0\r\nX-OWN: 2\r\nUpgrade: h2c\r\n\r\n";
    let head = local(async {
        endpoint(bytes, 99, false)
            .exchange(&mut request("GET"), LIMITS, |_| {})
            .await
    });
    let head = head.expect("a head");
    let names: Vec<_> = head.passed.fields.iter().map(|field| field.name).collect();
    assert_eq!(names, [&b"Server"[..], b"Content-Length"]);
}

/// RFC 9112 section 5.1, and the setting for the number of fields.
#[test]
fn fields_of_a_response_are_read_leniently() {
    let many = "A : b\r\n".repeat(150);
    let bytes = format!("HTTP/1.1 200 Fine\r\n{many}\r\n");
    let limits = Limits {
        fields: 150,
        ..LIMITS
    };
    let head = local(async {
        endpoint(bytes.as_bytes(), 99, false)
            .exchange(&mut request("GET"), limits, |_| {})
            .await
    });
    let passed = head.expect("a head").passed;
    assert_eq!(passed.fields.len(), 150);
    assert!(
        passed
            .fields
            .iter()
            .all(|field| field.name == b"A" && field.value == b"b")
    );
    assert_eq!(
        passed.reason.map(|reason| passed.fields.text(reason)),
        Some(&b"Fine"[..])
    );
}

#[test]
fn the_response_to_head_has_no_body() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n";

    let seen = local(async { ask("HEAD", endpoint(bytes, 5, false)).await });
    assert_eq!(
        seen.expect("a head").expect("a body"),
        whole(200, "").expect("a response")
    );
}

#[test]
fn malformed_responses_are_refused() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        &format!(
            "HTTP/1.1 200 OK\r\n{}\r\n",
            "A: b\r\n".repeat(LIMITS.fields + 1)
        ),
        &format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(LIMITS.bytes)),
        &"HTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_INFORMATIONAL + 1),
    ] {
        let seen = get(bytes.as_bytes());
        assert!(
            seen.as_ref()
                .is_err_and(|error| error.starts_with("Malformed")),
            "{bytes:?}: {seen:?}"
        );
    }
}

#[test]
fn a_body_that_breaks_off_is_an_error() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalfx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\n",
    ] {
        for step in [1, 1000] {
            let seen = local(async { ask("GET", endpoint(bytes.as_bytes(), step, true)).await });
            assert!(
                seen.as_ref().is_ok_and(Result::is_err),
                "{bytes:?}: {seen:?}"
            );
        }
    }
}

#[test]
fn how_far_a_request_got_is_known() {
    let failed =
        |bytes: &'static [u8]| local(async { ask("GET", endpoint(bytes, 99, true)).await }).err();
    assert_eq!(failed(b""), Some(Failed::NoResponse));
    assert_eq!(failed(b"HTTP/1.1 200"), Some(Failed::Broken));
    assert_eq!(
        failed(b"HTTP/1.1 100 Continue\r\n\r\n"),
        Some(Failed::Broken)
    );
    let unsent = local(async {
        let (ours, theirs) = tokio::io::duplex(64);

        drop(theirs);
        ask("GET", Connection::new(ours)).await.err()
    });
    assert_eq!(unsent, Some(Failed::Unsent));
}

#[test]
fn bytes_after_a_101_head_belong_to_the_new_protocol() {
    let bytes =
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nContent-Length: 3\r\n\r\nhello";
    let said = local(async {
        let mut connection = endpoint(bytes, 1000, true);
        let mut writer = request("GET");
        let head = connection
            .exchange(&mut writer, LIMITS, |_| {})
            .await
            .expect("a head");
        let mut stream = ResponseBody::new(connection, &head, writer, LIMITS)
            .into_stream()
            .expect("a stream");
        let mut said = String::new();
        stream.read_to_string(&mut said).await.expect("text");
        said
    });
    assert_eq!(said, "hello");
}

#[test]
fn an_idle_connection_is_quiet_until_anything_comes() {
    local(async {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let connection = Connection::new(ours);
        assert!(connection.is_quiet() && connection.is_quiet());
        theirs.write_all(b"H").await.expect("room");
        assert!(!connection.is_quiet());
        let (ours, theirs) = tokio::io::duplex(64);
        let connection = Connection::new(ours);

        drop(theirs);
        assert!(!connection.is_quiet());
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the sizes of chunks, and wherever the network cuts, the body is the data.
    #[test]
    fn chunks_are_taken_apart(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..600), 0..20),
        step in 1_usize..2000,
    ) {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();

        for chunk in &chunks {
            bytes.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");

        let seen = local(async { ask("GET", endpoint(&bytes, step, false)).await });
        let expected = Seen { status: 200, body: chunks.concat(), trailers: None, reusable: true };
        prop_assert_eq!(seen.expect("a head").expect("a body"), expected);
    }
}
