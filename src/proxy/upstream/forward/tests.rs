//! The whole way from a client's socket to a backend's and back, with backends that misbehave.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender as Tx},
    },
    thread,
    time::Duration,
};

use http::Request;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;

use super::*;
use crate::{
    limit::Connections,
    proxy::{
        Settings, Shared,
        downstream::serve::serve,
        executor::{Local, local},
    },
    routing::{
        Action, Backend, BackendId, BackendSettings, Endpoint, EndpointSet, Host, Origin, Protocol,
        RequestStep, Route, RoutingTable, Split, Steps,
    },
    tls::{ChallengeKind, ChallengeMap},
    util::drain,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A proxy with one route, for all hosts and paths, to the given endpoints.
struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    _stop: tokio::sync::oneshot::Sender<()>,
}

fn table(endpoints: EndpointSet, protocol: Protocol, steps: Vec<RequestStep>) -> RoutingTable {
    table_of(settings(protocol), endpoints, steps)
}

/// The settings of a backend.
fn settings(protocol: Protocol) -> BackendSettings {
    let id = BackendId {
        namespace: "n".into(),
        service: "s".into(),
        port: 80,
    };
    BackendSettings::new(id, protocol)
}

fn table_of(
    settings: BackendSettings,
    endpoints: EndpointSet,
    steps: Vec<RequestStep>,
) -> RoutingTable {
    let backend = Backend::new(settings);
    backend.set_endpoints(endpoints);
    let origin = Origin {
        namespace: "n".into(),
        name: "i".into(),
        field: "f".into(),
        requests: None,
        priority: None,
    };
    let steps = Steps {
        request: steps.into(),
        ..Steps::default()
    };
    let action = Action::Forward(Split::to(Arc::new(backend)));
    let route = Route {
        steps: Some(Arc::new(steps)),
        ..Route::new(origin, action)
    };
    let mut table = RoutingTable::default();
    table.set_default(Some(Arc::new(route)));
    table
}

fn addresses(list: &[SocketAddr]) -> EndpointSet {
    EndpointSet::Addresses(list.iter().map(|addr| Endpoint::at(*addr)).collect())
}

fn to(endpoints: &[SocketAddr]) -> Proxy {
    start(
        Settings::default(),
        table(addresses(endpoints), Protocol::Http1, Vec::new()),
    )
}

fn with(settings: Settings, endpoint: SocketAddr) -> Proxy {
    start(
        settings,
        table(addresses(&[endpoint]), Protocol::Http1, Vec::new()),
    )
}

fn start(settings: Settings, table: RoutingTable) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("address");
    let shared = Arc::new(Shared::default());
    shared.table.store(Arc::new(table));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let of_worker = shared.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let worker = Worker::new(0, Arc::new(settings), of_worker);
            listener.set_nonblocking(true).expect("non-blocking");
            let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
            tokio::task::spawn_local(async move {
                let connections = Connections::new(1000, 0);
                let (_signal, drain) = drain::channel();
                while let Ok((stream, peer)) = listener.accept().await {
                    let (worker, drain) = (worker.clone(), drain.clone());
                    let permit = connections.admit().expect("a place");
                    tokio::task::spawn_local(serve(stream, peer, None, permit, worker, drain));
                }
            });
            let _ = stopped.await;
        });
    });
    Proxy {
        addr,
        shared,
        _stop: stop,
    }
}

/// A backend that treats each connection, by its number from 0, as the test defines.
fn backend(each: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("address");
    let each = Arc::new(each);
    thread::spawn(move || {
        for (index, stream) in listener.incoming().flatten().enumerate() {
            let each = each.clone();
            thread::spawn(move || each(index, stream));
        }
    });
    addr
}

/// An address where nothing listens.
fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("address")
}

/// Reads up to the end of a head; empty at the end of the stream.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text").to_ascii_lowercase()
}

fn exactly(stream: &mut TcpStream, length: usize) -> String {
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the body");
    String::from_utf8(body).expect("text")
}

fn client(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr).expect("the proxy");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("timeout");
    stream
}

fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).expect("write");
}

/// Sends one request on a new connection. Returns everything that comes back.
fn ask(proxy: &Proxy, request: &str) -> String {
    let mut stream = client(proxy);
    let (line, rest) = request.split_once("\r\n").expect("a request line");
    say(
        &mut stream,
        &format!("{line}\r\nHost: a.example\r\nConnection: close\r\n{rest}"),
    );
    let mut all = String::new();
    let _ = stream.read_to_string(&mut all);
    all
}

fn get(proxy: &Proxy) -> String {
    ask(proxy, "GET / HTTP/1.1\r\n\r\n")
}

fn status(response: &str) -> &str {
    response.get(9..12).unwrap_or("none")
}

#[test]
fn only_idempotent_requests_are_retried_on_a_dead_connection() {
    let addr = backend(|index, mut stream| {
        let answers = if index % 2 == 0 { 1 } else { usize::MAX };

        for _ in 0..answers {
            if head(&mut stream).is_empty() {
                return;
            }
            say(&mut stream, OK);
        }

        // The connection dies under the second request on it.
        head(&mut stream);
    });

    let proxy = to(&[addr]);
    assert_eq!(status(&get(&proxy)), "200");
    assert_eq!(status(&get(&proxy)), "200");
    assert_eq!(proxy.shared.counters()[0].retries.value(), 1);

    let proxy = to(&[backend(|_, mut stream| {
        head(&mut stream);
        say(&mut stream, OK);
        head(&mut stream);
    })]);
    assert_eq!(status(&get(&proxy)), "200");
    assert_eq!(
        status(&ask(&proxy, "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")),
        "502"
    );
}

#[test]
fn a_connection_with_bytes_left_over_is_never_used_again() {
    let proxy = to(&[backend(|_, mut stream| {
        while !head(&mut stream).is_empty() {
            say(
                &mut stream,
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\
                 HTTP/1.1 299 Evil\r\nContent-Length: 0\r\n\r\n",
            );
        }
    })]);

    for _ in 0..5 {
        assert_eq!(status(&get(&proxy)), "200");
    }
    assert_eq!(proxy.shared.counters()[0].connects.value(), 5);
}

#[test]
fn conflicting_framing_of_a_response_is_502() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Content-Length: +5\r\n",
    ] {
        let proxy = to(&[backend(move |_, mut stream| {
            head(&mut stream);
            say(
                &mut stream,
                &format!("HTTP/1.1 200 OK\r\n{fields}\r\n0\r\n\r\n"),
            );
        })]);
        assert_eq!(status(&get(&proxy)), "502", "{fields:?}");
    }
}

#[test]
fn an_incomplete_response_is_visibly_incomplete() {
    let proxy = to(&[backend(|_, mut stream| {
        head(&mut stream);
        say(
            &mut stream,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        );
    })]);
    let response = get(&proxy);
    assert_eq!(status(&response), "200");
    assert!(
        response.contains("hello") && !response.ends_with("0\r\n\r\n"),
        "{response:?}"
    );
}

#[test]
fn a_client_that_goes_away_cancels_its_request() {
    let (tx, rx) = mpsc::channel();
    let tx = Mutex::new(tx);

    let proxy = to(&[backend(move |_, mut stream| {
        head(&mut stream);
        let tx = tx.lock().expect("lock").clone();
        tx.send("asked").expect("the test listens");

        // Returns when the proxy closes the connection.
        let _ = stream.read(&mut [0]);
        tx.send("cancelled").expect("the test listens");
    })]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let io = TokioIo::new(
            tokio::net::TcpStream::connect(proxy.addr)
                .await
                .expect("the proxy"),
        );
        let (mut sender, connection) = http2::handshake(Local, io).await.expect("handshake");
        tokio::task::spawn_local(connection);
        let request =
            Request::get("http://a.example/").body(http_body_util::Empty::<bytes::Bytes>::new());
        let asked = tokio::task::spawn_local(sender.send_request(request.expect("request")));
        let rx =
            tokio::task::spawn_blocking(move || (rx.recv_timeout(Duration::from_secs(20)), rx));
        let (first, rx) = rx.await.expect("no panic");
        assert_eq!(first, Ok("asked"));
        asked.abort();
        let rx = tokio::task::spawn_blocking(move || rx.recv_timeout(Duration::from_secs(20)));
        assert_eq!(rx.await.expect("no panic"), Ok("cancelled"));
    });
}

#[test]
fn a_client_that_does_not_read_stops_its_backend() {
    let (tx, rx) = mpsc::channel();
    let tx = Mutex::new(tx);

    let proxy = to(&[backend(move |_, mut stream| {
        head(&mut stream);
        say(
            &mut stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 268435456\r\n\r\n",
        );
        stream
            .set_write_timeout(Some(Duration::from_millis(500)))
            .expect("timeout");
        let mut taken = 0;
        while let Ok(n @ 1..) = stream.write(&[0; 65536]) {
            taken += n;
        }
        tx.lock()
            .expect("lock")
            .send(taken)
            .expect("the test listens");
    })]);

    let mut stream = client(&proxy);
    say(&mut stream, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let taken = rx
        .recv_timeout(Duration::from_secs(60))
        .expect("the backend is stopped");
    assert!(
        taken < 64 << 20,
        "{taken} bytes of 256 MiB were taken from the backend"
    );
}

#[test]
fn a_refusing_endpoint_is_avoided_and_then_ejected() {
    let good = backend(|_, mut stream| {
        while !head(&mut stream).is_empty() {
            say(&mut stream, OK);
        }
    });
    let bad = refusing();

    let proxy = to(&[bad, good]);

    for _ in 0..20 {
        assert_eq!(status(&get(&proxy)), "200");
    }
    assert_eq!(proxy.shared.counters()[0].connect_failures.value(), 3);
    assert_eq!(proxy.shared.ejected(), [bad]);
    assert_eq!(status(&get(&to(&[refusing(), refusing()]))), "502");
    assert_eq!(status(&get(&to(&[]))), "503");
}

#[test]
fn one_direction_may_be_silent_while_the_other_is_busy() {
    let settings = || Settings {
        stream_idle_timeout: Duration::from_millis(400),
        ..Settings::default()
    };
    let begins = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n";

    // The pace of both is what is tested here.
    let pause = || thread::sleep(Duration::from_millis(120));
    let asks = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 12\r\n\r\n.";

    let busy_backend = backend(move |_, mut stream| {
        head(&mut stream);
        say(&mut stream, begins);

        for _ in 0..10 {
            pause();
            say(&mut stream, "1\r\n.\r\n");
        }
        exactly(&mut stream, 12);
        say(&mut stream, "0\r\n\r\n");
    });

    let proxy = with(settings(), busy_backend);

    let mut stream = client(&proxy);
    say(&mut stream, asks);
    assert_eq!(status(&head(&mut stream)), "200");
    assert_eq!(exactly(&mut stream, 66), "1\r\n.\r\n".repeat(11));
    say(&mut stream, "...........");
    assert_eq!(exactly(&mut stream, 5), "0\r\n\r\n");

    let silent_backend = backend(move |_, mut stream| {
        head(&mut stream);
        say(&mut stream, begins);
        exactly(&mut stream, 12);
        say(&mut stream, "0\r\n\r\n");
    });

    let proxy = with(settings(), silent_backend);

    let mut stream = client(&proxy);
    say(&mut stream, asks);
    assert_eq!(status(&head(&mut stream)), "200");

    for _ in 0..11 {
        pause();
        say(&mut stream, ".");
    }
    assert_eq!(exactly(&mut stream, 11), "1\r\n.\r\n0\r\n\r\n");
}

#[test]
fn a_silent_backend_is_504_and_a_silent_client_is_408() {
    let short = Duration::from_millis(200);
    let silent = || {
        backend(|_, mut stream| {
            head(&mut stream);
            let _ = stream.read_to_end(&mut Vec::new());
        })
    };

    let proxy = with(
        Settings {
            response_header_timeout: short,
            ..Settings::default()
        },
        silent(),
    );
    assert_eq!(status(&get(&proxy)), "504");

    let proxy = with(
        Settings {
            request_timeout: Some(short),
            ..Settings::default()
        },
        silent(),
    );
    assert_eq!(status(&get(&proxy)), "504");

    let proxy = with(
        Settings {
            stream_idle_timeout: short,
            ..Settings::default()
        },
        silent(),
    );
    assert_eq!(
        status(&ask(
            &proxy,
            "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf"
        )),
        "408"
    );
}

#[test]
fn responses_without_a_body_keep_their_length() {
    let proxy = to(&[backend(|_, mut stream| {
        loop {
            let head = head(&mut stream);
            let response = match head.split(' ').nth(1) {
                Some("/length") => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
                Some("/chunked") => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                Some("/304") => {
                    "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"a\"\r\n\r\n"
                }
                Some("/204") => "HTTP/1.1 204 No Content\r\n\r\n",
                _ => return,
            };
            say(&mut stream, response);
        }
    })]);
    let lower = |request: &str| ask(&proxy, request).to_ascii_lowercase();
    assert!(lower("HEAD /length HTTP/1.1\r\n\r\n").contains("content-length: 1234\r\n"));
    let chunked = lower("HEAD /chunked HTTP/1.1\r\n\r\n");
    assert!(!chunked.contains("content-length"), "{chunked}");
    assert!(lower("GET /304 HTTP/1.1\r\n\r\n").contains("etag: \"a\"\r\n"));
    let empty = lower("GET /204 HTTP/1.1\r\n\r\n");
    assert!(
        !empty.contains("content-length") && !empty.contains("transfer-encoding"),
        "{empty}"
    );
    assert_eq!(proxy.shared.counters()[0].connects.value(), 1);
}

#[test]
fn trailers_of_http1_pass_both_ways_without_framing_fields() {
    let (tx, rx) = mpsc::channel();
    let tx = Mutex::new(tx);

    let proxy = to(&[backend(move |_, mut stream| {
        head(&mut stream);
        exactly(&mut stream, "2\r\nhi\r\n0\r\n".len());
        tx.lock()
            .expect("lock")
            .send(head(&mut stream))
            .expect("the test listens");
        say(
            &mut stream,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             2\r\nok\r\n0\r\n\
             X-Sum: 7\r\nContent-Length: 99\r\n\r\n",
        );
    })]);
    let response = ask(
        &proxy,
        "POST / HTTP/1.1\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Check, Host\r\n\r\n2\r\nhi\r\n0\r\n\
         X-Check: 5\r\nHost: evil.example\r\n\r\n",
    );
    assert!(
        response
            .to_ascii_lowercase()
            .ends_with("0\r\nx-sum: 7\r\n\r\n"),
        "{response:?}"
    );
    assert_eq!(rx.recv().expect("trailers"), "x-check: 5\r\n\r\n");
}

#[test]
fn the_path_is_sent_as_it_was_matched_and_our_fields_are_set() {
    let (tx, rx) = mpsc::channel();
    let tx = Mutex::new(tx);

    let proxy = to(&[backend(move |_, mut stream| {
        tx.lock()
            .expect("lock")
            .send(head(&mut stream))
            .expect("the test listens");
        say(&mut stream, OK);
    })]);
    ask(
        &proxy,
        "GET /a/../%62?q=%62 HTTP/1.1\r\nX-Forwarded-For: 10.9.9.9\r\n\
         X_Forwarded_For: 10.9.9.9\r\nProxy: x\r\n\r\n",
    );

    let seen = rx.recv().expect("a head");
    assert!(seen.starts_with("get /b?q=%62 http/1.1\r\n"), "{seen}");
    assert!(
        seen.contains("x-forwarded-for: 127.0.0.1\r\n") && !seen.contains("10.9.9.9"),
        "{seen}"
    );
    assert!(
        !seen.contains("\r\nproxy:") && !seen.contains("connection:"),
        "{seen}"
    );
}

#[test]
fn an_idle_connection_that_turns_readable_is_closed() {
    let (tx, rx) = mpsc::channel();
    let tx = Mutex::new(tx);

    let proxy = to(&[backend(move |_, mut stream| {
        head(&mut stream);
        say(&mut stream, OK);
        say(
            &mut stream,
            "HTTP/1.1 299 Evil\r\nContent-Length: 0\r\n\r\n",
        );
        let rest = stream.read_to_end(&mut Vec::new()).ok();
        tx.lock()
            .expect("lock")
            .send(rest)
            .expect("the test listens");
    })]);

    for _ in 0..3 {
        assert_eq!(status(&get(&proxy)), "200");

        // Closed without a byte of another request (a reset counts too).
        assert!(matches!(
            rx.recv_timeout(Duration::from_secs(20)),
            Ok(Some(0) | None)
        ));
    }
}

#[test]
fn a_large_head_is_502_and_a_body_may_end_with_its_connection() {
    for fields in [
        "X: y\r\n".repeat(200),
        format!("X: {}\r\n", "y".repeat(100_000)),
    ] {
        let proxy = to(&[backend(move |_, mut stream| {
            head(&mut stream);
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes());
        })]);
        assert_eq!(status(&get(&proxy)), "502");
    }

    let proxy = to(&[backend(|_, mut stream| {
        head(&mut stream);
        say(
            &mut stream,
            "HTTP/1.0 200 OK\r\nKeep-Alive: 5\r\n\r\nto the end",
        );
    })]);
    let response = get(&proxy);
    assert!(
        response.contains("to the end") && !response.to_ascii_lowercase().contains("keep-alive"),
        "{response}"
    );
}

#[test]
fn a_challenge_takes_precedence_over_the_redirect_to_https() {
    let redirect = RequestStep::HttpsRedirect {
        status: StatusCode::PERMANENT_REDIRECT,
        port: None,
        always: true,
    };

    let settings = Settings {
        external_https_port: Some(8443),
        ..Settings::default()
    };

    let proxy = start(
        settings,
        table(addresses(&[refusing()]), Protocol::Http1, vec![redirect]),
    );
    let response = ask(&proxy, "GET /a?b=c HTTP/1.1\r\n\r\n").to_ascii_lowercase();
    assert_eq!(status(&response), "308");
    assert!(
        response.contains("location: https://a.example:8443/a?b=c\r\n"),
        "{response}"
    );
    assert_eq!(
        status(&ask(
            &proxy,
            "GET /.well-known/acme-challenge/t HTTP/1.1\r\n\r\n"
        )),
        "502"
    );
    let mut map = ChallengeMap::default();
    map.answer_http(Host::parse("a.example").expect("a host"), "print");
    proxy.shared.challenges.swap(map);

    for path in [
        "/.well-known/acme-challenge/t?x",
        "/x/../.well-known/acme-challenge/./%74",
    ] {
        let response = ask(&proxy, &format!("GET {path} HTTP/1.1\r\n\r\n"));
        assert!(
            response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\nt.print"),
            "{response}"
        );
        let response = response.to_ascii_lowercase();

        for field in [
            "content-type: text/plain",
            "cache-control: no-store",
            "x-content-type-options: nosniff",
        ] {
            assert!(
                response.contains(&format!("\r\n{field}\r\n")),
                "{field}: {response}"
            );
        }
    }
    let response = ask(
        &proxy,
        "HEAD /.well-known/acme-challenge/t HTTP/1.1\r\n\r\n",
    )
    .to_ascii_lowercase();
    assert!(
        response.starts_with("http/1.1 200 ok\r\n") && response.contains("content-length: 7\r\n"),
        "{response}"
    );
    assert!(response.ends_with("\r\n\r\n"), "{response}");

    // Requests for the backend: another method, no token, and hosts that are not ours.
    for request in [
        "POST /.well-known/acme-challenge/t",
        "GET /.well-known/acme-challenge/a.b",
    ] {
        assert_eq!(
            status(&ask(&proxy, &format!("{request} HTTP/1.1\r\n\r\n"))),
            "502",
            "{request}"
        );
    }
    let hits = proxy.shared.challenges.hits(
        &Host::parse("a.example").expect("a host"),
        ChallengeKind::Http01,
    );
    assert_eq!((hits.count, hits.from), (3, Some([127, 0, 0, 1].into())));
    proxy.shared.challenges.swap(ChallengeMap::default());
    assert_eq!(
        status(&ask(
            &proxy,
            "GET /.well-known/acme-challenge/t HTTP/1.1\r\n\r\n"
        )),
        "502"
    );
}

#[test]
fn what_happens_is_counted() {
    let addr = backend(|_, mut stream| {
        head(&mut stream);
        exactly(&mut stream, 4);
        say(&mut stream, OK);
    });

    let proxy = to(&[addr]);
    assert_eq!(
        status(&ask(
            &proxy,
            "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"
        )),
        "200"
    );
    let counters = &proxy.shared.counters()[0];
    assert_eq!(
        (
            counters.bytes_in.value(),
            counters.bytes_out.value(),
            counters.requests[1].value()
        ),
        (4, 2, 1)
    );

    let seen = proxy.shared.endpoints();
    assert_eq!(
        (
            seen[0].addr,
            seen[0].requests,
            seen[0].in_flight,
            seen[0].ejected_on
        ),
        (addr, 1, 0, 0)
    );

    let proxy = to(&[refusing()]);
    assert_eq!(status(&get(&proxy)), "502");
    assert_eq!(proxy.shared.counters()[0].upstream_errors[0].value(), 1);
    assert_eq!(proxy.shared.endpoints()[0].failures, 1);
}

/// Backends that close, break off, respond early or send too much, in every mixture: every client
/// gets the response to its own request.
#[test]
fn no_client_gets_the_response_to_another_request() {
    let addr = backend(|index, mut stream| {
        let mut state = index as u64 + 1;
        loop {
            let head = head(&mut stream);
            let Some(id) = head.split(' ').nth(1).map(|path| path[1..].to_owned()) else {
                return;
            };
            if head.contains("content-length: 5000") && index % 2 == 0 {
                exactly(&mut stream, 5000);
            }
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let length = id.len();
            let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{id}");
            let (response, goes_on) = match (state >> 33) % 8 {
                0 => (
                    format!(
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                         {length:x}\r\n{id}\r\n0\r\n\r\n"
                    ),
                    true,
                ),
                1 => (
                    format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{id}",
                        length + 5
                    ),
                    false,
                ),
                2 => (
                    format!("{whole}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
                    true,
                ),
                3 => (format!("HTTP/1.1 200 OK\r\n\r\n{id}"), false),
                4 => (String::new(), false),
                5 => (
                    format!("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{whole}"),
                    true,
                ),
                _ => (whole, true),
            };
            if stream.write_all(response.as_bytes()).is_err() || !goes_on {
                return;
            }
        }
    });

    let proxy = Arc::new(to(&[addr, addr]));

    let clients: Vec<_> = (0..8)
        .map(|client| {
            let proxy = proxy.clone();
            thread::spawn(move || {
                let mut responses = 0;

                for request in 0..100 {
                    let id = format!("id-{client}-{request}");
                    let response = if request % 3 == 0 {
                        let body = "x".repeat(5000);
                        ask(
                            &proxy,
                            &format!("POST /{id} HTTP/1.1\r\nContent-Length: 5000\r\n\r\n{body}"),
                        )
                    } else {
                        ask(&proxy, &format!("GET /{id} HTTP/1.1\r\n\r\n"))
                    };
                    assert!(!response.contains("evil"), "{response}");
                    let response = match response.split_once("\r\n\r\n") {
                        Some((head, rest)) if status(head) == "103" => rest,
                        _ => &response,
                    };
                    if status(response) == "200" {
                        assert!(response.contains(&format!("\r\n{id}")), "{id}: {response}");
                        responses += 1;
                    } else {
                        assert_eq!(status(response), "502", "{response}");
                    }
                }
                responses
            })
        })
        .collect();
    let responses: i32 = clients
        .into_iter()
        .map(|client| client.join().expect("no wrong response"))
        .sum();
    assert!(responses > 400, "{responses} of 800");
}

mod backends;
mod h2;
mod h2_endpoints;
mod messages;
mod pin;
mod policy;
mod proxied;
mod read_ahead;
mod upgrades;
mod uploads;
