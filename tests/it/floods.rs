//! HTTP/2 clients that keep a server busy or fill its memory: only their own connection ends.

use std::io;

use super::support::{
    Backend, Connection, Gatelet, backend, eventually,
    frames::{self, Client, frame},
    peers::{Server, script},
    run,
};

const HOST: &str = "floods.example.com";

fn served() -> (Gatelet, Backend) {
    let (gatelet, backend) = (
        Gatelet::configured("workers = 1\n"),
        Backend::start("floods"),
    );
    gatelet.serve(&backend.manifests("floods", HOST), HOST);
    (gatelet, backend)
}

fn request() -> [(&'static str, &'static str); 4] {
    [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", HOST),
    ]
}

/// Sends pieces of a flood until the connection ends. Returns the number of accepted pieces.
fn flood(client: &mut Client, piece: impl Fn(u32) -> Vec<u8>) -> Option<u32> {
    const PIECES: u32 = 200_000;
    (0..PIECES).find(|n| match client.send(&piece(*n)) {
        Ok(()) => false,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            panic!("the server reads no more, and does not end")
        }
        Err(_) => true,
    })
}

#[test]
fn floods_of_frames_end_their_connection_and_no_other() {
    let (gatelet, _backend) = served();
    let block = frames::block(&request());
    let head = |stream, flags| frame(frames::HEADERS, flags, stream, &block);
    let odd = |n: u32| 2 * n + 1;
    let floods: [(&str, Box<dyn Fn(u32) -> Vec<u8> + '_>); 11] = [
        (
            "pings",
            Box::new(|_| frame(frames::PING, 0, 0, &[0; 8]).repeat(50)),
        ),
        (
            "settings",
            Box::new(|_| frame(frames::SETTINGS, 0, 0, &[]).repeat(50)),
        ),
        (
            "settings that change",
            Box::new(|n| frame(frames::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, n as u8]).repeat(20)),
        ),
        (
            "priorities",
            Box::new(|n| frame(frames::PRIORITY, 0, odd(n), &[0, 0, 0, 0, 1])),
        ),
        (
            "unknown frames",
            Box::new(|_| frame(0xbe, 0, 0, b"x").repeat(50)),
        ),
        (
            "resets",
            Box::new(|n| {
                [
                    head(odd(n), 5),
                    frame(frames::RST_STREAM, 0, odd(n), &[0, 0, 0, 8]),
                ]
                .concat()
            }),
        ),
        (
            "requests that break a rule",
            Box::new(|n| {
                [
                    head(odd(n), 4),
                    frame(frames::WINDOW_UPDATE, 0, odd(n), &[0; 4]),
                ]
                .concat()
            }),
        ),
        (
            "continuations",
            Box::new(|n| match n {
                0 => frame(frames::HEADERS, 1, 1, &block),
                _ => frame(frames::CONTINUATION, 0, 1, &frames::block(&[("x", "y")])),
            }),
        ),
        (
            "empty continuations",
            Box::new(|n| match n {
                0 => frame(frames::HEADERS, 1, 1, &block),
                _ => frame(frames::CONTINUATION, 0, 1, &[]).repeat(50),
            }),
        ),
        (
            "empty data",
            Box::new(|n| match n {
                0 => head(1, 4),
                _ => frame(frames::DATA, 0, 1, &[]).repeat(50),
            }),
        ),
        (
            "padding",
            Box::new(|n| match n {
                0 => head(1, 4),
                _ => frame(frames::DATA, 8, 1, &[0]).repeat(50),
            }),
        ),
    ];
    let mut other = Connection::open(gatelet.http_addr()).expect("a connection");
    gatelet.forget_peak();
    let before = gatelet.peak();
    for (what, piece) in &floods {
        let mut client = Client::open(gatelet.http_addr()).expect("a connection");
        let took = flood(&mut client, piece);
        assert!(took.is_some(), "{what}: it goes on and on");
        assert_eq!(
            other
                .get(HOST, "/")
                .expect("the other connection is still there")
                .status,
            200,
            "{what}"
        );
    }
    let grown = gatelet.peak() - before;
    assert!(grown < 16 * 1024, "{grown} KiB");
    let metrics = run(std::process::Command::new("curl")
        .args(["-s", &format!("http://127.0.0.1:{}/metrics", gatelet.admin)]));
    let ended = metrics
        .lines()
        .find_map(|line| line.strip_prefix("gatelet_connections_rejected_total{reason=\"flood\"} "))
        .expect("it is there");
    assert!(
        ended.parse::<u32>().expect("a number") >= 5,
        "{ended} were counted"
    );
}

#[test]
fn the_same_over_tls() {
    // The frames are counted after decryption.
    let (gatelet, _backend) = served();
    let mut other = Connection::open(gatelet.http_addr()).expect("a connection");
    let mut client = Connection::tls(gatelet.https_addr(), HOST, &["h2"]).expect("a connection");
    client
        .send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .expect("sent");
    client
        .send(&frame(frames::SETTINGS, 0, 0, &[]))
        .expect("sent");
    let pings = frame(frames::PING, 0, 0, &[0; 8]).repeat(50);
    let ended = (0..10_000).any(|_| client.send(&pings).is_err());
    assert!(ended, "it goes on and on");
    assert_eq!(other.get(HOST, "/").expect("a response").status, 200);
}

#[test]
fn a_small_head_cannot_grow_large() {
    let (gatelet, backend) = served();
    let before = backend.count();
    gatelet.forget_peak();
    let memory = gatelet.peak();
    // One long field into the dynamic table, then one byte for each further use of it.
    let mut bomb = frames::block(&request());
    bomb.push(0x40);
    bomb.extend(&frames::block(&[("bomb", &"b".repeat(3000))])[1..]);
    bomb.extend([0xbe; 12_000]);
    let mut client = Client::open(gatelet.http_addr()).expect("a connection");
    client
        .send(&frame(frames::HEADERS, 5, 1, &bomb))
        .expect("sent");
    let outcome = client.outcome(1);
    assert!(
        !matches!(outcome, frames::Outcome::Status(200)),
        "{outcome:?}"
    );
    assert_eq!(backend.count(), before);
    let grown = gatelet.peak() - memory;
    assert!(grown < 4 * 1024, "{grown} KiB");
}

#[test]
fn a_client_that_asks_for_much_and_reads_nothing_costs_little() {
    let (gatelet, backend) = served();
    gatelet.forget_peak();
    let before = gatelet.peak();
    // The windows have their maximum, so that only the transport holds the responses back.
    let mut client = Client::with(gatelet.http_addr(), &[(4, 0x7fff_ffff)]).expect("a connection");
    client
        .send(&frame(
            frames::WINDOW_UPDATE,
            0,
            0,
            &0x7fff_0000_u32.to_be_bytes(),
        ))
        .expect("sent");
    let large = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/bytes/100000000"),
        (":authority", HOST),
    ];
    for n in 0..100 {
        client.request(2 * n + 1, &large, true).expect("sent");
    }
    eventually("the backend is made to wait", || {
        let sent = backend.sent();
        std::thread::sleep(std::time::Duration::from_millis(500));
        (backend.count() >= 101 && sent > 0 && sent == backend.sent()).then_some(())
    });
    let grown = gatelet.peak() - before;
    assert!(grown < 40 * 1024, "{grown} KiB");
    assert_eq!(gatelet.status_of(HOST, "/"), 200);
    drop(client);
    eventually("all of it is cancelled", || {
        (backend.abandoned() == 100).then_some(())
    });
}

#[test]
fn a_client_that_reads_nothing_does_not_stop_other_clients() {
    let gatelet = Gatelet::configured("workers = 1\n");
    let server = Server::start("grpc_server.py", &[]);
    gatelet.apply(&format!(
        "{}{}{}",
        backend::service("floods", "appProtocol: kubernetes.io/h2c"),
        backend::slice("floods", &[server.ports[0]]),
        backend::ingress("floods", HOST, "")
    ));
    let call = || {
        let mut client = script("grpc_client.py");
        client
            .args([HOST, &gatelet.http.to_string(), "all"])
            .output()
            .expect("python")
    };
    eventually("the backend is live", || {
        call().status.success().then_some(())
    });
    let mut client = Client::with(gatelet.http_addr(), &[(4, 0x7fff_ffff)]).expect("a connection");
    client
        .send(&frame(
            frames::WINDOW_UPDATE,
            0,
            0,
            &0x7fff_0000_u32.to_be_bytes(),
        ))
        .expect("sent");
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/test.Peer/Much"),
        (":authority", HOST),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    for n in 0..40 {
        client.request(2 * n + 1, &fields, false).expect("sent");
        client
            .send(&frame(
                frames::DATA,
                frames::END_STREAM,
                2 * n + 1,
                b"\0\0\0\0\x049999",
            ))
            .expect("sent");
    }
    std::thread::sleep(std::time::Duration::from_secs(1));
    let output = call();
    assert!(output.status.success(), "{output:?}");
    drop(client);
}
