//! No client blocks a core or outlives its deadline: every idle, slow, silent and non-reading kind
//! of client, with short timeouts. `tests/soak` does the same with the defaults.

use std::{
    io::Read,
    net::TcpStream,
    thread::{self, sleep},
    time::Duration,
};

use super::support::{
    Backend, Gatelet,
    clients::{Timeouts, kinds},
    frames::{self, DATA, END_STREAM, WINDOW_UPDATE},
};

const HOST: &str = "deadlines.example.com";

/// The delay that a busy machine may cause.
const SLACK: Duration = Duration::from_secs(20);

#[test]
fn every_kind_of_client_ends_with_its_deadline() {
    let seconds = Duration::from_secs;
    let timeouts = Timeouts {
        handshake: seconds(2),
        header: seconds(3),
        idle: seconds(4),
        stream: seconds(6),
    };
    let gatelet = Gatelet::configured(
        "workers = 2\n[proxy]\nhandshake_timeout = \"2s\"\nclient_header_timeout = \"3s\"\n\
         client_idle_timeout = \"4s\"\nstream_idle_timeout = \"6s\"\n",
    );
    let backend = Backend::start("deadlines");
    gatelet.serve(&backend.manifests("deadlines", HOST), HOST);

    let clients: Vec<_> = kinds()
        .into_iter()
        .map(|kind| {
            let (http, https) = (gatelet.http_addr(), gatelet.https_addr());
            let patience = (kind.ends_after)(&timeouts) + Duration::from_secs(2) + SLACK;
            (
                kind,
                thread::spawn(move || kind.run(http, https, HOST, patience)),
            )
        })
        .collect();
    for (kind, client) in clients {
        let ended = client
            .join()
            .expect("no panic")
            .unwrap_or_else(|| panic!("{kind:?} was not ended"));
        let due = (kind.ends_after)(&timeouts);
        assert!(
            ended.after >= due.mul_f32(0.9),
            "{kind:?} was ended too early: {:?}",
            ended.after
        );
    }

    // Every core still serves: the kernel spreads the connections over them.
    for _ in 0..40 {
        assert_eq!(gatelet.status_of(HOST, "/"), 200);
    }
}

/// Reads a connection slowly.
struct Slowly(TcpStream);

impl Read for Slowly {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        sleep(Duration::from_millis(20));
        let length = buffer.len().min(8 * 1024);
        self.0.read(&mut buffer[..length])
    }
}

#[test]
fn a_client_that_reads_slowly_gets_everything() {
    let gatelet = Gatelet::configured("[proxy]\nclient_idle_timeout = \"1s\"\n");
    let backend = Backend::start("slowly");
    gatelet.serve(&backend.manifests("slowly", HOST), HOST);

    const STREAMS: u32 = 120;
    // HTTP/1.1: the end of the response waits in buffers for longer than a connection may be idle.
    let http1 = thread::spawn({
        let addr = gatelet.http_addr();
        move || {
            use std::io::Write;
            let mut stream = TcpStream::connect(addr).expect("a connection");
            let request =
                format!("GET /bytes/8000000 HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("sent");
            let mut response = Vec::new();
            Slowly(stream)
                .read_to_end(&mut response)
                .expect("all of it");
            response.len()
        }
    });

    // HTTP/2: many small responses are whole at once, and wait in buffers.
    let mut client = frames::Client::with(gatelet.http_addr(), &[]).expect("a connection");
    client.receive_little();
    client
        .send(&frames::frame(
            WINDOW_UPDATE,
            0,
            0,
            &(1_u32 << 30).to_be_bytes(),
        ))
        .expect("sent");
    for stream in 0..STREAMS {
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/bytes/60000"),
            (":authority", HOST),
        ];
        client.request(2 * stream + 1, &fields, true).expect("sent");
    }
    let (mut ended, mut bytes) = (0, 0);
    while ended < STREAMS {
        let (kind, flags, _stream, payload) = client.next().expect("all of it");
        if kind == DATA {
            sleep(Duration::from_millis(20));
            bytes += payload.len();
            ended += u32::from(flags & END_STREAM != 0);
        }
    }
    assert_eq!(bytes, STREAMS as usize * 60_000);
    assert!(http1.join().expect("no panic") > 8_000_000);
}
