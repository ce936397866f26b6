//! HTTP/2 on either side.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    task::Poll,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header::TE};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full};
use hyper::{body::Incoming, service::service_fn};

use super::*;

/// A body of one chunk, followed by trailers.
struct WithTrailers(Option<Bytes>, Option<HeaderMap>);

impl http_body::Body for WithTrailers {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let data = self.0.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.1.take().map(Frame::trailers)).map(Ok))
    }
}

fn trailers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| (name.parse().expect("name"), HeaderValue::from_static(value)))
        .collect()
}

/// Responds with the request that it received: its body, some fields and its trailers.
async fn mirror(request: Request<Incoming>) -> Result<Response<WithTrailers>, hyper::Error> {
    let te = request
        .headers()
        .get(TE)
        .cloned()
        .unwrap_or(HeaderValue::from_static("none"));
    let authority = request
        .uri()
        .authority()
        .map(ToString::to_string)
        .unwrap_or_default();
    let hop = ["connection", "host", "keep-alive"]
        .iter()
        .any(|name| request.headers().contains_key(*name));
    let version = format!("{:?}", request.version());
    let body = request.into_body().collect().await?;
    let sum = body
        .trailers()
        .and_then(|trailers| trailers.get("x-sum").cloned());
    let mut after = trailers(&[("grpc-status", "0")]);
    after.insert("x-sum", sum.unwrap_or(HeaderValue::from_static("none")));
    let response = Response::builder()
        .header("seen-te", te)
        .header("seen-authority", authority)
        .header("seen-version", version)
        .header("seen-hop", hop.to_string());
    Ok(response
        .body(WithTrailers(Some(body.to_bytes()), Some(after)))
        .expect("response"))
}

/// An HTTP/2 backend without TLS, and the number of its connections so far.
pub(crate) fn h2c_backend() -> (SocketAddr, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let addr = backend(move |_, stream| {
        counted.fetch_add(1, Relaxed);
        stream.set_nonblocking(true).expect("non-blocking");
        local(async move {
            let io = TokioIo::new(tokio::net::TcpStream::from_std(stream).expect("stream"));
            let _ = hyper::server::conn::http2::Builder::new(Local)
                .serve_connection(io, service_fn(mirror))
                .await;
        });
    });
    (addr, connections)
}

/// A TLS backend with an untrusted certificate, which speaks the protocol that ALPN chose.
fn tls_backend() -> SocketAddr {
    let ca = Arc::new(crate::tls::LocalCa::generate("test").expect("CA"));
    let resolver = crate::tls::Resolver::new(ca, crate::tls::UnknownSni::default());
    let config = crate::tls::server_config(Arc::new(resolver), crate::tls::MinVersion::default());
    backend(move |_, stream| {
        stream.set_nonblocking(true).expect("non-blocking");
        let acceptor = tokio_rustls::TlsAcceptor::from(config.clone());
        local(async move {
            let stream = tokio::net::TcpStream::from_std(stream).expect("stream");
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let (io, service) = (TokioIo::new(stream), service_fn(mirror));
            if h2 {
                let _ = hyper::server::conn::http2::Builder::new(Local)
                    .serve_connection(io, service)
                    .await;
            } else {
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(io, service)
                    .await;
            }
        });
    })
}

pub(crate) async fn connect<B>(proxy: &Proxy) -> http2::SendRequest<B>
where
    B: http_body::Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let io = TokioIo::new(
        tokio::net::TcpStream::connect(proxy.addr)
            .await
            .expect("the proxy"),
    );
    let (sender, connection) = http2::handshake(Local, io).await.expect("handshake");
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    sender
}

#[test]
fn grpc_passes_from_http2_to_h2c_with_its_trailers() {
    let (addr, _) = h2c_backend();

    let proxy = start(
        Settings::default(),
        table(addresses(&[addr]), Protocol::H2c, Vec::new()),
    );
    local(async {
        let mut sender = connect(&proxy).await;
        let request = Request::post("http://a.example/p.S/M")
            .header(TE, "trailers")
            .body(WithTrailers(
                Some(Bytes::from_static(b"ping")),
                Some(trailers(&[("x-sum", "7")])),
            ))
            .expect("request");
        let response = sender.send_request(request).await.expect("response");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["seen-te"], "trailers");
        assert_eq!(response.headers()["seen-authority"], "a.example");
        let body = response.into_body().collect().await.expect("body");
        let after = body.trailers().expect("trailers").clone();
        assert_eq!(
            (&after["grpc-status"], &after["x-sum"]),
            (&HeaderValue::from(0), &HeaderValue::from(7))
        );
        assert_eq!(body.to_bytes(), "ping");
    });
}

#[test]
fn concurrent_requests_share_one_http2_connection() {
    let (addr, connections) = h2c_backend();

    let proxy = start(
        Settings::default(),
        table(addresses(&[addr]), Protocol::H2c, Vec::new()),
    );
    local(async {
        let sender = connect(&proxy).await;
        let mut all = Vec::new();

        for _ in 0..50 {
            let mut sender = sender.clone();
            let request = Request::get("http://a.example/")
                .body(Empty::<Bytes>::new())
                .expect("request");
            all.push(tokio::task::spawn_local(async move {
                sender.send_request(request).await
            }));
        }

        for response in all {
            assert_eq!(
                response
                    .await
                    .expect("no panic")
                    .expect("response")
                    .status(),
                200
            );
        }
    });
    assert_eq!(connections.load(Relaxed), 1);
}

#[test]
fn http1_to_h2c_has_no_fields_of_the_connection() {
    let (addr, _) = h2c_backend();

    let proxy = start(
        Settings::default(),
        table(addresses(&[addr]), Protocol::H2c, Vec::new()),
    );
    let response = ask(
        &proxy,
        "POST / HTTP/1.1\r\nKeep-Alive: 5\r\nContent-Length: 2\r\n\r\nhi",
    )
    .to_ascii_lowercase();
    assert!(
        response.contains("seen-authority: a.example\r\n")
            && response.contains("seen-hop: false\r\n"),
        "{response}"
    );
    assert!(response.contains("hi"), "{response}");
}

#[test]
fn http2_to_http1_joins_cookies_and_sends_a_get_with_its_body() {
    let (tx, rx) = mpsc::channel();
    let tx = Mutex::new(tx);

    let proxy = to(&[backend(move |_, mut stream| {
        let head = head(&mut stream);
        let body = exactly(&mut stream, "4\r\nbody\r\n0\r\n\r\n".len());
        tx.lock()
            .expect("lock")
            .send((head, body))
            .expect("the test listens");
        say(&mut stream, OK);
    })]);
    local(async {
        let mut sender = connect(&proxy).await;
        let body = OnceFrame(Some(Bytes::from_static(b"body")));
        let request = Request::get("http://a.example/x?y")
            .header("cookie", "a=1")
            .header("cookie", "b=2");
        let response = sender
            .send_request(request.body(body).expect("request"))
            .await
            .expect("response");
        assert_eq!(response.status(), 200);
    });
    let (head, body) = rx.recv().expect("a request");
    assert!(
        head.starts_with("get /x?y http/1.1\r\n") && head.contains("host: a.example\r\n"),
        "{head}"
    );
    assert!(head.contains("cookie: a=1; b=2\r\n"), "{head}");
    assert_eq!(body, "4\r\nbody\r\n0\r\n\r\n");
}

#[test]
fn an_incomplete_response_resets_only_its_stream() {
    let proxy = to(&[backend(|index, mut stream| {
        head(&mut stream);
        let response = if index == 0 {
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
        } else {
            OK
        };
        say(&mut stream, response);
    })]);
    local(async {
        let mut sender = connect(&proxy).await;
        let get = || {
            Request::get("http://a.example/")
                .body(Full::new(Bytes::new()))
                .expect("request")
        };
        let response = sender.send_request(get()).await.expect("response");
        assert!(response.into_body().collect().await.is_err());
        let response = sender
            .send_request(get())
            .await
            .expect("the connection lives");
        assert_eq!(
            response
                .into_body()
                .collect()
                .await
                .expect("body")
                .to_bytes(),
            "ok"
        );
    });
}

#[test]
fn tls_backends_get_the_configured_protocol() {
    let addr = tls_backend();

    for (protocol, version) in [(Protocol::Https, "http/1.1"), (Protocol::H2, "http/2.0")] {
        let proxy = start(
            Settings::default(),
            table(addresses(&[addr]), protocol, Vec::new()),
        );

        for _ in 0..2 {
            let response =
                ask(&proxy, "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi").to_ascii_lowercase();
            assert!(
                response.contains(&format!("seen-version: {version}\r\n"))
                    && response.contains("hi"),
                "{response}"
            );
        }
        assert_eq!(proxy.shared.counters()[0].connects.value(), 1);
        let strict = Settings {
            verify_backends: true,
            ..Settings::default()
        };

        let proxy = start(strict, table(addresses(&[addr]), protocol, Vec::new()));
        assert_eq!(status(&get(&proxy)), "502");
    }
}

#[test]
fn a_backend_with_a_name_is_found_and_connected_to() {
    let (addr, _) = h2c_backend();
    let named = EndpointSet::Name {
        host: "localhost".into(),
        port: addr.port(),
    };

    let settings = Settings {
        local_names: true,
        ..Settings::default()
    };

    let proxy = start(settings, table(named, Protocol::H2c, Vec::new()));
    assert_eq!(
        status(&ask(
            &proxy,
            "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"
        )),
        "200"
    );
}

#[test]
fn a_name_does_not_lead_to_what_is_local_here() {
    let (addr, _) = h2c_backend();
    let names = [
        "localhost",
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "fe80::1",
    ];

    for name in names {
        let named = EndpointSet::Name {
            host: name.into(),
            port: addr.port(),
        };

        let proxy = start(Settings::default(), table(named, Protocol::H2c, Vec::new()));
        let response = get(&proxy);
        assert!(
            status(&response) == "503" && response.contains("no allowed address"),
            "{name}: {response}"
        );
    }
}

#[test]
fn an_http2_connection_that_ended_is_replaced() {
    let addr = backend(|index, stream| {
        stream.set_nonblocking(true).expect("non-blocking");
        local(async move {
            let io = TokioIo::new(tokio::net::TcpStream::from_std(stream).expect("stream"));

            let server = hyper::server::conn::http2::Builder::new(Local)
                .serve_connection(io, service_fn(mirror));
            let mut server = std::pin::pin!(server);
            if index == 0 {
                // GOAWAY, which lets the first request end.
                std::future::poll_fn(|cx| Poll::Ready(server.as_mut().poll(cx).is_ready())).await;
                server.as_mut().graceful_shutdown();
            }
            let _ = server.await;
        });
    });

    let proxy = start(
        Settings::default(),
        table(addresses(&[addr]), Protocol::H2c, Vec::new()),
    );

    for _ in 0..5 {
        assert_eq!(status(&get(&proxy)), "200");
    }
}

/// A stream of one frame, so that the length is not known before.
struct OnceFrame(Option<Bytes>);

impl http_body::Body for OnceFrame {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[test]
fn pings_to_an_endpoint_come_at_their_own_interval() {
    let (tx, rx) = mpsc::channel();
    let tx = Mutex::new(tx);
    let addr = backend(move |_, mut stream| {
        let tx = tx.lock().expect("lock").clone();
        exactly(&mut stream, 24);

        // SETTINGS of ours, and the acknowledgement of theirs.
        stream
            .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0])
            .expect("write");
        let mut head = [0; 9];
        while stream.read_exact(&mut head).is_ok() {
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            stream.read_exact(&mut payload).expect("a payload");
            match (head[3], head[4]) {
                (1, _) => tx.send("request").expect("the test listens"),
                (6, 0) => {
                    tx.send("ping").expect("the test listens");
                    stream
                        .write_all(&[&[0, 0, 8, 6, 1, 0, 0, 0, 0][..], &payload].concat())
                        .expect("write");
                }
                _ => {}
            }
        }
    });
    let short = Duration::from_millis(50);

    let settings = Settings {
        upstream_ping_interval: short,
        ..Settings::default()
    };

    let proxy = start(
        settings,
        table(addresses(&[addr]), Protocol::H2c, Vec::new()),
    );

    let mut stream = client(&proxy);
    say(&mut stream, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");

    for expected in ["request", "ping", "ping", "ping"] {
        assert_eq!(rx.recv_timeout(Duration::from_secs(20)), Ok(expected));
    }

    // gRPC servers count pings that come more often.
    assert!(Settings::default().upstream_ping_interval > Duration::from_secs(300));
}

#[test]
fn a_late_response_retires_its_connection() {
    let addr = backend(|index, stream| {
        stream.set_nonblocking(true).expect("non-blocking");
        local(async move {
            let io = TokioIo::new(tokio::net::TcpStream::from_std(stream).expect("stream"));
            let service = service_fn(move |request| async move {
                if index == 0 {
                    std::future::pending::<()>().await;
                }
                mirror(request).await
            });
            let _ = hyper::server::conn::http2::Builder::new(Local)
                .serve_connection(io, service)
                .await;
        });
    });

    let settings = Settings {
        response_header_timeout: Duration::from_millis(200),
        ..Settings::default()
    };

    let proxy = start(
        settings,
        table(addresses(&[addr]), Protocol::H2c, Vec::new()),
    );
    assert_eq!(status(&get(&proxy)), "504");
    assert_eq!(status(&get(&proxy)), "200");
}

/// The parts of an HTTP/2 client that reads only when the test does.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Reads the next frame. Returns its type, its flags and its payload.
fn next_frame(stream: &mut TcpStream) -> (u8, u8, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).expect("a frame");
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).expect("its payload");
    (head[3], head[4], payload)
}

/// Reads frames until this many bytes of bodies have come.
fn read_bodies(stream: &mut TcpStream, mut left: usize) {
    while left > 0 {
        if let (0, _, data) = next_frame(stream) {
            left -= data.len();
        }
    }
}

#[test]
fn many_unread_responses_take_about_as_much_memory_as_one() {
    const STREAMS: u32 = 128;
    const BODY: usize = 250_000;
    let addr = backend(|_, mut stream| {
        while !head(&mut stream).is_empty() {
            let body = "x".repeat(BODY);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    let proxy = to(&[addr]);

    let mut stream = client(&proxy);
    let large = (1_u32 << 30).to_be_bytes();
    let window = [&[0, 4][..], &large].concat();
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(4, 0, 0, &window));
    sent.extend(frame(8, 0, 0, &large));
    let head = [&[0x82, 0x86, 0x84, 0x01, 9][..], b"a.example"].concat();
    for number in 0..STREAMS {
        sent.extend(frame(1, 5, 2 * number + 1, &head));
    }
    stream.write_all(&sent).expect("requests");

    // All that the proxy has taken from the backend waits in it, or in buffers of the kernel.
    let taken = || {
        let cores = proxy.shared.counters();
        cores.iter().map(|core| core.bytes_out.value()).sum::<u64>()
    };
    let mut before = 0;
    while taken() == 0 || taken() != before {
        before = taken();
        thread::sleep(Duration::from_millis(300));
    }
    assert!(before < 8_000_000, "{before} bytes wait");

    read_bodies(&mut stream, STREAMS as usize * BODY);
}

#[test]
fn an_early_response_is_not_followed_by_a_reset() {
    const RST_STREAM: u8 = 3;
    const PING: u8 = 6;
    let proxy = to(&[]);
    let mut stream = client(&proxy);
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(4, 0, 0, &[]));
    // POST, without END_STREAM.
    let head = [&[0x83, 0x86, 0x84, 0x01, 9][..], b"a.example"].concat();
    sent.extend(frame(1, 4, 1, &head));
    stream.write_all(&sent).expect("a request");

    // Up to the end of the response: there is no endpoint.
    while !matches!(next_frame(&mut stream), (0 | 1, flags, _) if flags & 1 == 1) {}
    let body = [frame(0, 1, 1, b"late"), frame(6, 0, 0, &[7; 8])].concat();
    stream.write_all(&body).expect("the body, and a ping");

    loop {
        let (kind, _, payload) = next_frame(&mut stream);
        assert_ne!(kind, RST_STREAM);
        if kind == PING && payload == [7; 8] {
            break;
        }
    }
}
