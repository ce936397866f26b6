//! Six minutes with the defaults and the real times: every idle, slow, silent and non-reading kind
//! of client at once. All the while every core serves; at the end connections and memory are
//! released, and SIGTERM ends the process. Beside it, certificates of a minute are renewed
//! (`certificates`), and peers of ports vanish (`vanished`).
//!
//! `tests/run` runs it beside the other tests; by itself: `cargo test --test soak -- --ignored`.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests"
)]

mod certificates;
#[path = "../it/support/mod.rs"]
mod support;
mod vanished;

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread::{self, sleep},
    time::Duration,
};

use support::{
    Backend, Connection, Gatelet,
    clients::{Kind, Timeouts, Transport, kinds, open_connections},
    eventually, run,
};

const HOST: &str = "soak.example.com";
/// The host of the backend for the one request that is in flight at the end.
const SLOW_HOST: &str = "slow.example.com";

/// Clients of each kind at once.
const EACH: usize = 3;

/// The new connections of one round; the kernel spreads them over the cores by their addresses.
const PROBES: usize = 40;

/// The delay that a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_secs(30);

/// The memory that may remain after some hundred connections, in KiB: gatelet trims when memory has
/// grown by 6 MiB. Pages of files do not count: other processes of the same program share them.
const MEMORY_LEFT: u64 = 9 * 1024;

/// Returns the number of gatelet's connections with clients.
fn connections(gatelet: &Gatelet) -> usize {
    [gatelet.http, gatelet.https]
        .map(|port| open_connections(port).len())
        .iter()
        .sum()
}

/// Sends requests over so many new connections, with and without TLS, that every core gets some.
fn every_core_answers(gatelet: &Gatelet) {
    for probe in 0..PROBES {
        let connection = match probe % 4 {
            0 => Connection::tls(gatelet.https_addr(), HOST, &["http/1.1"]),
            _ => Connection::open(gatelet.http_addr()),
        };
        let answer = connection.and_then(|mut connection| connection.get(HOST, "/"));
        assert_eq!(answer.expect("each core answers").status, 200);
    }
    assert_eq!(gatelet.admin_page("/readyz"), (200, "ok\n".to_owned()));
}

/// Uses gatelet as ordinary clients do, so that everything that it allocates once is allocated.
fn warm_up(gatelet: &Gatelet) {
    for (scheme, port) in [("http", gatelet.http), ("https", gatelet.https)] {
        let mut load = std::process::Command::new("h2load");
        load.args([
            "-n",
            "2000",
            "-c",
            "20",
            "-m",
            "10",
            "-H",
            &format!(":authority: {HOST}"),
        ]);
        let said = run(load.arg(format!("{scheme}://127.0.0.1:{port}/")));
        assert!(said.contains("2000 succeeded"), "{said}");
    }
}

fn start(
    gatelet: &Gatelet,
    kind: Kind,
    patience: Duration,
) -> thread::JoinHandle<Option<Duration>> {
    let (http, https) = (gatelet.http_addr(), gatelet.https_addr());
    thread::spawn(move || {
        kind.run(http, https, HOST, patience)
            .map(|ended| ended.after)
    })
}

#[test]
#[ignore = "takes six minutes: tests/run runs it beside the other tests"]
fn six_minutes_with_every_kind_of_client() {
    let mut gatelet = Gatelet::start();
    let backend = Backend::start("soak");
    gatelet.serve(&backend.manifests("soak", HOST), HOST);
    let slow = Backend::start("slow");
    gatelet.serve(&slow.manifests("slow", SLOW_HOST), SLOW_HOST);
    warm_up(&gatelet);
    let before = eventually("the warm-up's connections end", || {
        (connections(&gatelet) == 0).then(|| gatelet.memory())
    });

    // All kinds at once, and ordinary clients between them.
    let timeouts = Timeouts::default();
    let patience = |kind: &Kind| (kind.ends_after)(&timeouts) + Duration::from_secs(2) + SLACK;
    let mut clients = Vec::new();
    for kind in kinds() {
        for _ in 0..EACH {
            clients.push((kind, start(&gatelet, kind, patience(&kind))));
        }
    }
    let over = AtomicBool::new(false);
    let ended: Vec<_> = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                every_core_answers(&gatelet);
                sleep(Duration::from_secs(3));
            }
        });
        let ended = clients
            .into_iter()
            .map(|(kind, client)| (kind, client.join().expect("no panic")))
            .collect();
        over.store(true, Relaxed);
        ended
    });
    for (kind, after) in ended {
        let due = (kind.ends_after)(&timeouts);
        let after =
            after.unwrap_or_else(|| panic!("{kind:?} was not ended within {due:?} and {SLACK:?}"));
        assert!(
            after >= due.mul_f32(0.9),
            "{kind:?} was ended too early: after {after:?}, due after {due:?}"
        );
    }

    // Their memory is released.
    every_core_answers(&gatelet);
    eventually("the connections end", || {
        (connections(&gatelet) == 0).then_some(())
    });
    let peak = gatelet.memory();
    let mut after = peak;
    let limit = before + MEMORY_LEFT;
    eventually("memory is given back", || {
        sleep(Duration::from_millis(500));
        after = gatelet.memory();
        (after <= limit).then_some(())
    });
    eprintln!(
        "memory: {before} KiB before, {peak} KiB when the last client left, {after} KiB in the end"
    );

    // SIGTERM while clients of all kinds are connected: requests in flight are finished, and the
    // process ends.
    let clients: Vec<_> = kinds()
        .into_iter()
        .map(|kind| start(&gatelet, kind, Duration::from_secs(60)))
        .collect();
    let quiet = kinds()
        .iter()
        .filter(|kind| kind.transport == Transport::Plain)
        .count();
    eventually("they are connected", || {
        (connections(&gatelet) >= quiet).then_some(())
    });
    let asked = slow.count();
    let mut connection = Connection::open(gatelet.http_addr()).expect("a connection");
    let request = format!("GET /slow/5000 HTTP/1.1\r\nHost: {SLOW_HOST}\r\n\r\n");
    connection.send(request.as_bytes()).expect("sent");
    eventually("the request is in flight", || {
        (slow.count() > asked).then_some(())
    });

    gatelet.signal("TERM");

    let answer = connection
        .answer()
        .expect("the request in flight is answered");
    assert_eq!((answer.status, answer.closes()), (200, true));
    assert!(gatelet.wait().success(), "{}", gatelet.log());
    drop(clients);
}
