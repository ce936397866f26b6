//! Heads and informational responses on their way through.

use bytes::Bytes;

use super::*;

/// A backend that sends `response` to every request.
fn responds(response: &'static str) -> SocketAddr {
    backend(move |_, mut stream| {
        while !head(&mut stream).is_empty() {
            say(&mut stream, response);
        }
    })
}

const HINTS: &str = "HTTP/1.1 100 Continue\r\n\r\n\
    HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: 1\r\n\r\n\
    HTTP/1.1 200 All Fine\r\nX-Own: 1\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn informational_responses_are_passed_on() {
    let proxy = to(&[responds(HINTS)]);
    let response = get(&proxy);
    let (hints, rest) = response.split_once("\r\n\r\n").expect("two heads");
    assert_eq!(hints, "HTTP/1.1 103 Early Hints\r\nLink: </a>");
    assert!(
        rest.starts_with("HTTP/1.1 200 All Fine\r\nX-Own: 1\r\n"),
        "{rest}"
    );
    assert!(rest.ends_with("\r\n\r\nok"), "{rest}");

    // RFC 9110 section 15.2.
    let old = ask(&proxy, "GET / HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.0 200 All Fine\r\n"), "{old}");
}

#[test]
fn an_informational_response_does_not_wait_for_the_final_one() {
    let (go_on, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let addr = backend(move |_, mut stream| {
        head(&mut stream);
        say(
            &mut stream,
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        );
        gate.lock().expect("the gate").recv().expect("a signal");
        say(&mut stream, OK);
    });
    let proxy = to(&[addr]);
    let mut stream = client(&proxy);
    say(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status(&head(&mut stream)), "103");
    go_on.send(()).expect("the backend");
    assert_eq!(status(&head(&mut stream)), "200");
}

#[test]
fn informational_responses_are_bounded() {
    let many = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(200) + OK;
    let proxy = to(&[responds(many.leak())]);
    let response = get(&proxy);
    assert!(response.contains("HTTP/1.1 502 "), "{response}");
}

/// An HTTP/2 client of the `h2` crate, which shows informational responses.
async fn http2(proxy: &Proxy) -> ::h2::client::SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(proxy.addr)
        .await
        .expect("the proxy");
    let (sender, connection) = ::h2::client::handshake(stream).await.expect("a handshake");
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    sender.ready().await.expect("room")
}

#[test]
fn http2_clients_get_informational_responses() {
    let proxy = to(&[responds(HINTS)]);
    local(async {
        let mut sender = http2(&proxy).await;
        let request = Request::get("http://a.example/")
            .body(())
            .expect("a request");
        let (mut response, _) = sender.send_request(request, true).expect("sent");
        let hints = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
        let hints = hints.expect("a response").expect("an informational one");
        assert_eq!(hints.status(), 103);
        assert_eq!(hints.headers()["link"], "</a>");

        let response = response.await.expect("the final response");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-length"], "2");
        assert!(response.headers().contains_key("date"));
    });
}

#[test]
fn an_expectation_is_met_over_http2() {
    let proxy = to(&[backend(|_, mut stream| {
        let head = head(&mut stream);
        assert!(!head.contains("expect:"), "{head}");
        exactly(&mut stream, 4);
        say(&mut stream, OK);
    })]);
    local(async {
        let mut sender = http2(&proxy).await;
        let request = Request::post("http://a.example/")
            .header("expect", "100-continue")
            .header("content-length", "4");
        let request = request.body(()).expect("a request");
        let (mut response, mut body) = sender.send_request(request, false).expect("sent");
        let go_on = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
        assert_eq!(go_on.expect("a response").expect("go on").status(), 100);
        body.send_data(Bytes::from_static(b"body"), true)
            .expect("sent");
        assert_eq!(response.await.expect("the final response").status(), 200);
    });
}

/// RFC 9113 section 8.1: an empty DATA frame may end a request.
#[test]
fn a_request_that_an_empty_frame_ends_has_no_body() {
    let proxy = to(&[backend(|_, mut stream| {
        let head = head(&mut stream);
        let framed = head.contains("transfer-encoding") || head.contains("content-length");
        let status = if framed { "400 Framed" } else { "200 OK" };
        say(
            &mut stream,
            &format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"),
        );
    })]);
    local(async {
        let mut sender = http2(&proxy).await;
        let request = Request::get("http://a.example/")
            .body(())
            .expect("a request");
        let (response, mut body) = sender.send_request(request, false).expect("sent");
        body.send_data(Bytes::new(), true).expect("sent");
        assert_eq!(response.await.expect("a response").status(), 200);
    });
}

#[test]
fn the_response_to_http_1_0_is_one_of_http_1_0() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let proxy = to(&[responds(chunked)]);
    let response = ask(&proxy, "GET / HTTP/1.0\r\n\r\n");
    assert!(response.starts_with("HTTP/1.0 200 OK\r\n"), "{response}");
    assert!(
        !response.to_ascii_lowercase().contains("transfer-encoding"),
        "{response}"
    );
    assert!(
        response.ends_with("connection: close\r\n\r\nok"),
        "{response}"
    );

    // With a length the connection can stay.
    let proxy = to(&[responds(OK)]);
    let mut stream = client(&proxy);
    for _ in 0..2 {
        say(
            &mut stream,
            "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        );
        let head = head(&mut stream);
        assert!(head.contains("\r\nconnection: keep-alive\r\n"), "{head}");
        assert_eq!(exactly(&mut stream, 2), "ok");
    }
}

#[test]
fn a_body_that_the_backend_leaves_does_not_break_the_connection() {
    let proxy = to(&[backend(|_, mut stream| {
        head(&mut stream);
        say(&mut stream, OK);
        // The rest is dropped with the connection.
    })]);
    let mut stream = client(&proxy);
    let body = "x".repeat(100_000);
    for _ in 0..3 {
        say(
            &mut stream,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n",
        );
        let head = head(&mut stream);
        assert_eq!(status(&head), "200");
        assert_eq!(exactly(&mut stream, 2), "ok");
        say(&mut stream, &body);
    }
}
