//! Endpoints over HTTP/2 that refuse, reset, limit, or say nothing.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use ::h2::{
    Reason,
    server::{Builder, Connection, SendResponse},
};
use bytes::Bytes;

use super::*;

type Responder = SendResponse<Bytes>;
type Client = Connection<tokio::net::TcpStream, Bytes>;

/// A backend that calls `stream` with each request, by its number from 0. Returns its address and
/// the number of its connections.
fn backend_h2(
    max_streams: u32,
    stream: impl Fn(usize, &mut Client, Responder) + Send + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("non-blocking");
    let addr = listener.local_addr().expect("address");
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime");
        let (stream, requests) = (Rc::new(stream), Rc::new(AtomicUsize::new(0)));
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
            while let Ok((socket, _)) = listener.accept().await {
                counted.fetch_add(1, SeqCst);
                let (stream, requests) = (stream.clone(), requests.clone());
                tokio::task::spawn_local(async move {
                    let opened = Builder::new()
                        .max_concurrent_streams(max_streams)
                        .handshake(socket);
                    let mut open = opened.await.expect("a handshake");
                    while let Some(Ok((_request, respond))) = open.accept().await {
                        stream(requests.fetch_add(1, SeqCst), &mut open, respond);
                    }
                });
            }
        });
    });
    (addr, connections)
}

fn h2c(settings: Settings, addr: SocketAddr) -> Proxy {
    start(
        settings,
        table(addresses(&[addr]), Protocol::H2c, Vec::new()),
    )
}

fn ok(mut respond: Responder) {
    let _ = respond.send_response(http::Response::new(()), true);
}

const POST: &str = "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n";

/// RFC 9113 section 8.7: whatever the method.
#[test]
fn a_refused_stream_is_sent_again() {
    let (addr, connections) = backend_h2(100, |index, _, mut respond| match index {
        0 => respond.send_reset(Reason::REFUSED_STREAM),
        _ => ok(respond),
    });
    let proxy = h2c(Settings::default(), addr);
    assert_eq!(status(&ask(&proxy, POST)), "200");
    assert_eq!(connections.load(SeqCst), 1, "the connection goes on");
}

/// Reads the preface of a client and its frames up to the first request.
fn read_request(stream: &mut TcpStream) {
    let _preface = exactly(stream, 24);
    loop {
        let mut frame = [0; 9];
        stream.read_exact(&mut frame).expect("a frame");
        let length = usize::from(frame[1]) << 8 | usize::from(frame[2]);
        stream
            .read_exact(&mut vec![0; length])
            .expect("its payload");
        if frame[3] == 1 {
            return;
        }
    }
}

/// RFC 9113 section 6.8: streams above the last that GOAWAY names were not processed.
#[test]
fn what_goaway_leaves_out_is_sent_again() {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let addr = backend(|index, mut stream| {
        if index == 0 {
            stream.write_all(SETTINGS).expect("room");
            read_request(&mut stream);
            stream.write_all(GOAWAY).expect("room");
            let _ = stream.read_to_end(&mut Vec::new());
            return;
        }
        local(async move {
            stream.set_nonblocking(true).expect("non-blocking");
            let socket = tokio::net::TcpStream::from_std(stream).expect("a socket");
            let opened = Builder::new().handshake(socket).await;
            let mut open: Connection<_, Bytes> = opened.expect("a handshake");
            while let Some(Ok((_request, respond))) = open.accept().await {
                ok(respond);
            }
        });
    });
    let proxy = h2c(Settings::default(), addr);
    assert_eq!(status(&ask(&proxy, POST)), "200");
    assert_eq!(proxy.shared.counters()[0].retries.value(), 1);
}

#[test]
fn a_reset_stream_leaves_its_connection_in_use() {
    let (addr, connections) = backend_h2(100, |index, _, mut respond| match index {
        0 => respond.send_reset(Reason::INTERNAL_ERROR),
        _ => ok(respond),
    });
    let proxy = h2c(Settings::default(), addr);
    assert_eq!(status(&get(&proxy)), "502");
    assert_eq!(status(&get(&proxy)), "200");
    assert_eq!(connections.load(SeqCst), 1);
}

#[test]
fn the_streams_that_an_endpoint_allows_are_obeyed() {
    let waiting = Mutex::new(Vec::new());
    let (addr, connections) = backend_h2(1, move |_, _, respond| {
        let mut waiting = waiting.lock().expect("the list");
        waiting.push(respond);
        // Nobody gets a response before all have asked.
        if waiting.len() == 3 {
            waiting.drain(..).for_each(ok);
        }
    });
    let proxy = Arc::new(h2c(Settings::default(), addr));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let proxy = proxy.clone();
            thread::spawn(move || get(&proxy))
        })
        .collect();
    for client in clients {
        assert_eq!(status(&client.join().expect("a client")), "200");
    }
    assert_eq!(connections.load(SeqCst), 3);
}

#[test]
fn requests_share_the_outcome_of_one_connect() {
    let (tell, accepted) = mpsc::channel();
    let addr = backend(move |_, mut stream| {
        tell.send(()).expect("the test");
        // It never says what it speaks.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let settings = Settings {
        connect_timeout: Duration::from_secs(2),
        ..Settings::default()
    };
    let proxy = Arc::new(h2c(settings, addr));
    let clients: Vec<_> = (0..5)
        .map(|_| {
            let proxy = proxy.clone();
            thread::spawn(move || get(&proxy))
        })
        .collect();
    for client in clients {
        assert_eq!(status(&client.join().expect("a client")), "502");
    }
    assert_eq!(accepted.try_iter().count(), 1);
}
