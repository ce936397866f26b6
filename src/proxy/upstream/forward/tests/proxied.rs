//! Connections that begin with the PROXY protocol: each has the requests of one client alone.

use std::convert::Infallible;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;

use super::*;
use crate::{proxy::downstream::proxy_protocol, routing::ProxyVersion};

/// Settings of a backend that gets the header.
fn proxied(protocol: Protocol, version: ProxyVersion) -> BackendSettings {
    BackendSettings {
        sends_proxy: Some(version),
        ..settings(protocol)
    }
}

/// Reads the line of version 1.
fn line(stream: &mut TcpStream) -> String {
    let mut line = String::new();
    let mut byte = [0];
    while !line.ends_with("\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        line.push(char::from(byte[0]));
    }
    line
}

/// Sends a request on a connection, and returns the body of the response.
fn again(stream: &mut TcpStream) -> String {
    say(stream, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let head = head(stream);
    let length = head.split("content-length: ").nth(1).expect("a length");
    let length = length.split("\r\n").next().expect("a line");
    exactly(stream, length.parse().expect("a number"))
}

/// A backend that responds with the line that the connection began with.
fn telling() -> SocketAddr {
    backend(|_, mut stream| {
        let line = line(&mut stream);
        while !head(&mut stream).is_empty() {
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", line.len());
            say(&mut stream, &(text + &line));
        }
    })
}

#[test]
fn a_connection_has_the_requests_of_one_client() {
    let addr = telling();
    let proxy = start(
        Settings::default(),
        table_of(
            proxied(Protocol::Http1, ProxyVersion::V1),
            addresses(&[addr]),
            Vec::new(),
        ),
    );
    let connects = || proxy.shared.counters()[0].connects.value();
    let expected = |client: &TcpStream| {
        let own = client.local_addr().expect("an address");
        let port = proxy.addr.port();
        format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {port}\r\n", own.port())
    };

    let (mut one, mut other) = (client(&proxy), client(&proxy));
    for _ in 0..3 {
        assert_eq!(again(&mut one), expected(&one));
        assert_eq!(again(&mut other), expected(&other));
    }
    assert_eq!(connects(), 2, "each client has kept its own");

    let mut third = client(&proxy);
    assert_eq!(again(&mut third), expected(&third));
    assert_eq!(connects(), 3);
}

#[test]
fn few_idle_connections_are_those_of_the_last_clients() {
    let addr = telling();
    let settings = Settings {
        max_idle_per_endpoint: 1,
        ..Settings::default()
    };
    let backend = proxied(Protocol::Http1, ProxyVersion::V1);
    let proxy = start(settings, table_of(backend, addresses(&[addr]), Vec::new()));
    let (mut one, mut other) = (client(&proxy), client(&proxy));
    for stream in [&mut one, &mut other] {
        again(stream);
    }
    again(&mut other);
    assert_eq!(proxy.shared.counters()[0].connects.value(), 2);
}

#[test]
fn http2_and_version_2_name_the_client_too() {
    let (tx, rx) = mpsc::channel();
    let tx = Mutex::new(tx);
    let addr = backend(move |_, stream| {
        stream.set_nonblocking(true).expect("non-blocking");
        let tx = tx.lock().expect("lock").clone();
        local(async move {
            let mut stream = tokio::net::TcpStream::from_std(stream).expect("stream");
            let header = proxy_protocol::read(&mut stream).await.expect("a header");
            tx.send(header.expect("addresses").0).expect("a test");
            let fixed = |_| async {
                let body = Full::new(Bytes::from_static(b"ok"));
                Ok::<_, Infallible>(Response::new(body))
            };
            let _ = hyper::server::conn::http2::Builder::new(Local)
                .serve_connection(TokioIo::new(stream), service_fn(fixed))
                .await;
        });
    });
    let backend = proxied(Protocol::H2c, ProxyVersion::V2Tls);
    let proxy = start(
        Settings::default(),
        table_of(backend, addresses(&[addr]), Vec::new()),
    );

    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut stream = client(&proxy);
        for _ in 0..3 {
            assert_eq!(again(&mut stream), "ok");
        }
        seen.push(rx.recv().expect("a connection"));
        assert_eq!(seen.last(), stream.local_addr().ok().as_ref());
        assert!(rx.try_recv().is_err(), "its requests share one");
    }
    assert_ne!(seen[0], seen[1]);
}
