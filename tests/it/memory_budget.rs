//! A memory budget holds, whatever clients do, and what they took is given back.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use super::support::{
    Backend, Gatelet, eventually,
    frames::{self, Client, frame},
    run,
};

const HOST: &str = "budget.example.com";

/// KiB that clients could take many times over.
const BUDGET: u64 = 24 * 1024;

fn fields<'a>(
    method: &'static str,
    path: &'static str,
    host: &'a str,
) -> [(&'static str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", host),
    ]
}

/// Asks for much over HTTP/2, with the largest windows, and reads nothing.
pub(crate) fn unread_http2(to: SocketAddr, host: &str) -> Option<Client> {
    let mut client = Client::with(to, &[(4, 0x7fff_ffff)]).ok()?;
    let window = 0x7fff_0000_u32.to_be_bytes();
    client
        .send(&frame(frames::WINDOW_UPDATE, 0, 0, &window))
        .ok()?;
    for n in 0..20 {
        let large = fields("GET", "/bytes/100000000", host);
        client.request(2 * n + 1, &large, true).ok()?;
    }
    Some(client)
}

/// Uploads as much as the window lets it to a backend that takes nothing.
fn upload(to: SocketAddr) -> Option<Client> {
    let mut client = Client::open(to).ok()?;
    client
        .request(1, &fields("POST", "/stuck", HOST), false)
        .ok()?;
    let piece = frame(frames::DATA, 0, 1, &[b'x'; 16 * 1024]);
    for _ in 0..60 {
        client.send(&piece).ok()?;
    }
    Some(client)
}

/// Asks for much over HTTP/1.1 and reads nothing.
pub(crate) fn unread_http1(to: SocketAddr, host: &str) -> Option<TcpStream> {
    let mut client = TcpStream::connect(to).ok()?;
    let request = format!("GET /bytes/100000000 HTTP/1.1\r\nHost: {host}\r\n\r\n");
    client.write_all(request.as_bytes()).ok()?;
    Some(client)
}

/// Sends a request over a connection of its own. Returns the head of the response; empty if the
/// connection was closed.
fn ask(to: SocketAddr) -> String {
    let mut text = String::new();
    if let Ok(mut client) = TcpStream::connect(to) {
        let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        let _ = client.set_read_timeout(Some(Duration::from_secs(20)));
        let _ = client.write_all(request.as_bytes());
        let _ = client.read_to_string(&mut text);
    }
    text
}

#[test]
fn clients_that_take_much_do_not_exceed_the_budget() {
    let gatelet = Gatelet::configured("workers = 2\nmemory = \"24MiB\"\n");
    let backend = Backend::start("budget");
    gatelet.serve(&backend.manifests("budget", HOST), HOST);
    let to = gatelet.http_addr();
    let before = gatelet.memory();

    let over = AtomicBool::new(false);
    let (peak, served, refused, odd) = (
        AtomicU64::new(0),
        AtomicU64::new(0),
        AtomicU64::new(0),
        AtomicU64::new(0),
    );
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                peak.fetch_max(gatelet.memory(), Relaxed);
                thread::sleep(Duration::from_millis(2));
            }
        });
        scope.spawn(|| {
            while !over.load(Relaxed) {
                let head = ask(to);
                let count = match () {
                    () if head.starts_with("HTTP/1.1 200") => &served,
                    () if head.is_empty() => &refused,
                    () if head.starts_with("HTTP/1.1 503") && head.contains("retry-after: ") => {
                        &refused
                    }
                    () => &odd,
                };
                count.fetch_add(1, Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        });

        // Each kind alone would take more than the budget.
        let uploads: Vec<_> = (0..60).map(|_| upload(to)).collect();
        let unread: Vec<_> = (0..40).map(|_| unread_http2(to, HOST)).collect();
        let plain: Vec<_> = (0..300).map(|_| unread_http1(to, HOST)).collect();
        thread::sleep(Duration::from_secs(5));
        over.store(true, Relaxed);
        drop((uploads, unread, plain));
    });

    let (served, refused) = (served.into_inner(), refused.into_inner());
    let peak = peak.into_inner();
    println!("before {before} KiB, peak {peak} KiB, {served} served, {refused} refused");
    assert!(peak <= BUDGET, "{peak} KiB");
    assert_eq!(odd.into_inner(), 0);
    assert!(served > 0);

    eventually("requests are served again", || {
        ask(to).starts_with("HTTP/1.1 200").then_some(())
    });
    eventually("the memory is given back", || {
        (gatelet.memory() < BUDGET - 6 * 1024).then_some(())
    });

    let page = format!("http://127.0.0.1:{}/metrics", gatelet.admin);
    let metrics = run(std::process::Command::new("curl").args(["-s", &page]));
    let shed = metrics
        .lines()
        .find_map(|line| line.strip_prefix("gatelet_memory_shed_total "));
    assert_ne!(shed.expect("it is there"), "0");
}
