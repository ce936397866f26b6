//! Client connections over real sockets, through the running data plane, to a backend that counts
//! requests.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    proxy::{Running, Settings, Shared, Sockets, start},
    routing::{
        Action, Backend, BackendId, BackendSettings, Endpoint, EndpointSet, Listener,
        ListenerProtocol, Origin, Protocol, ResponseStep, Route, RoutingTable, Split, Steps,
    },
    tls::{LocalCa, MinVersion, Resolver, Server, UnknownSni},
    util::drain,
};

/// A data plane with one route to a backend that responds to each request, after `delay`, with the
/// number of requests.
struct Front {
    http: SocketAddr,
    https: SocketAddr,
    requests: Arc<AtomicUsize>,
    shared: Arc<Shared>,
    resolver: Arc<Resolver>,
    ca: Arc<LocalCa>,
    signal: drain::Signal,
    running: Option<Running>,
}

impl Front {
    fn new(settings: Settings, delay: Duration) -> Self {
        let hsts = ResponseStep::Hsts {
            value: http::HeaderValue::from_static("max-age=300"),
            always: true,
        };
        Self::with(settings, delay, [hsts].into())
    }

    /// Starts one whose route has these steps of responses.
    fn with(settings: Settings, delay: Duration, response: Box<[ResponseStep]>) -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let addr = backend(requests.clone(), delay);
        let id = BackendId {
            namespace: "n".into(),
            service: "s".into(),
            port: 80,
        };
        let backend = Backend::new(BackendSettings::new(id, Protocol::Http1));
        backend.set_endpoints(EndpointSet::Addresses([Endpoint::at(addr)].into()));
        let origin = Origin {
            namespace: "n".into(),
            name: "i".into(),
            field: "f".into(),
            requests: None,
            priority: None,
        };
        let steps = Steps {
            response,
            ..Steps::default()
        };
        let action = Action::Forward(Split::to(Arc::new(backend)));
        let route = Route {
            steps: Some(Arc::new(steps)),
            ..Route::new(origin, action)
        };
        let mut table = RoutingTable::default();
        table.set_default(Some(Arc::new(route)));
        let shared = Arc::new(Shared::default());
        shared.table.store(Arc::new(table));
        let ca = Arc::new(LocalCa::generate("test").unwrap());
        let resolver = Arc::new(Resolver::new(ca.clone(), UnknownSni::default()));
        let tls = Arc::new(Server::new(resolver.clone(), MinVersion::default()));
        let (signal, drain) = drain::channel();

        let settings = Settings {
            workers: 1,
            ..settings
        };
        let listeners =
            [ListenerProtocol::Http, ListenerProtocol::Https].map(|protocol| Listener {
                address: "127.0.0.1:0".parse().unwrap(),
                protocol,
            });
        let running = start(
            settings,
            &listeners,
            Sockets::default(),
            shared.clone(),
            Some(tls),
            drain,
        )
        .unwrap();
        let [http, https] =
            listeners.map(|listener| running.listeners.addresses(listener.protocol)[0]);
        Self {
            http,
            https,
            requests,
            shared,
            resolver,
            ca,
            signal,
            running: Some(running),
        }
    }

    fn simple() -> Self {
        Self::new(Settings::default(), Duration::ZERO)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.http).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// Returns everything that comes back until the connection closes.
    fn talk(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        all(stream)
    }

    fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.signal.stop();
        if let Some(running) = self.running.take() {
            assert!(running.join(Duration::from_secs(60)));
        }
    }
}

fn all(mut stream: TcpStream) -> String {
    let mut response = Vec::new();

    // A reset after the response shows in what was read before it.
    let _ = stream.read_to_end(&mut response);
    String::from_utf8_lossy(&response).into_owned()
}

/// One response with a Content-Length, and the connection stays.
fn one(stream: &mut TcpStream) -> String {
    let mut response = Vec::new();
    let mut byte = [0];
    while !response.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        response.push(byte[0]);
    }
    let head = String::from_utf8(response).unwrap();
    let length = head
        .to_ascii_lowercase()
        .split("content-length: ")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .to_owned();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8_lossy(&body)
}

/// Switches to a protocol in which the server sends back what it gets.
fn echo(mut stream: TcpStream) {
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n";
    let mut buffer = [0; 64];
    let _ = stream.write_all(head.as_bytes());
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        let _ = stream.write_all(&buffer[..n]);
    }
}

fn backend(requests: Arc<AtomicUsize>, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let requests = requests.clone();
            thread::spawn(move || {
                let mut seen = Vec::new();
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    seen.extend_from_slice(&buffer[..n]);
                    while let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
                        let head: Vec<u8> = seen.drain(..end + 4).collect();
                        if head.starts_with(b"GET /switch ") {
                            return echo(stream);
                        }
                        let count = requests.fetch_add(1, SeqCst) + 1;
                        thread::sleep(delay);
                        let body = format!("request {count}");
                        let _ = write!(
                            stream,
                            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                            body.len()
                        );
                    }
                }
            });
        }
    });
    addr
}

fn short() -> Settings {
    Settings {
        client_header_timeout: Duration::from_millis(300),
        client_idle_timeout: Duration::from_millis(600),
        ..Settings::default()
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

#[test]
fn a_refused_head_gets_its_status_and_never_reaches_the_backend() {
    let front = Front::simple();
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(200)
    );
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(40_000));

    for (bytes, status) in [
        ("GET / HTTP/1.1\nHost: a\n\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400",
        ),
        ("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (
            "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
            "405",
        ),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505"),
        (&*many, "431"),
        (&*target, "414"),
    ] {
        let response = front.talk(bytes.as_bytes());
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{bytes:.80}: {response}"
        );
        assert!(
            response.to_ascii_lowercase().contains("connection: close"),
            "{response}"
        );
    }
    assert_eq!(front.requests(), 0);
}

#[test]
fn pipelined_requests_are_served_before_a_refused_one() {
    let front = Front::simple();
    let response = front.talk(&[GET, GET, b"GET / HTTP/1.1\nHost: a\n\n", GET].concat());
    let statuses: Vec<&str> = response
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &response[at + 9..at + 12])
        .collect();
    assert_eq!(statuses, ["200", "200", "400"], "{response}");
    assert_eq!(front.requests(), 2);
}

#[test]
fn a_half_closed_client_gets_its_response() {
    let front = Front::new(Settings::default(), Duration::from_millis(200));
    let mut stream = front.connect();
    stream.write_all(GET).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(all(stream).ends_with("request 1"));
}

#[test]
fn a_slow_head_gets_408_and_an_idle_connection_is_closed() {
    let front = Front::new(short(), Duration::ZERO);
    let response = front.talk(b"GET / HTTP/1.1\r\nHost: a");
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    assert_eq!(front.talk(b""), "");

    let mut stream = front.connect();
    let began = Instant::now();
    stream.write_all(GET).unwrap();
    assert!(one(&mut stream).ends_with("request 1"));

    // Longer than a head may take, shorter than a connection may idle.
    thread::sleep(Duration::from_millis(400));
    stream.write_all(GET).unwrap();
    assert!(one(&mut stream).ends_with("request 2"));
    assert_eq!(all(stream), "");
    assert!(
        began.elapsed() >= Duration::from_millis(1000),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_response_may_take_longer_than_the_idle_timeout() {
    let front = Front::new(short(), Duration::from_millis(900));
    let mut stream = front.connect();
    stream.write_all(GET).unwrap();
    assert!(one(&mut stream).ends_with("request 1"));
}

#[test]
fn an_upgrade_that_is_declined_leaves_the_connection_usable() {
    let front = Front::simple();
    let mut stream = front.connect();
    let upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(&[upgrade, GET].concat()).unwrap();
    assert!(one(&mut stream).ends_with("request 1"));
    assert!(one(&mut stream).ends_with("request 2"));

    // Not only on a new connection.
    stream.write_all(&[upgrade, GET].concat()).unwrap();
    assert!(one(&mut stream).ends_with("request 3"));
    assert!(one(&mut stream).ends_with("request 4"));
    stream.write_all(GET).unwrap();
    assert!(one(&mut stream).ends_with("request 5"));
}

#[test]
fn the_proxy_protocol_is_demanded_from_those_it_is_expected_of() {
    let settings = Settings {
        proxy_protocol_from: vec!["127.0.0.0/8".parse().unwrap()],
        max_connections_per_client: 1,
        ..Settings::default()
    };

    let front = Front::new(settings, Duration::ZERO);
    assert_eq!(front.talk(GET), "");
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n";
    let mut first = front.connect();
    first.write_all(&[header, GET].concat()).unwrap();
    assert!(one(&mut first).ends_with("request 1"));

    // Connections are counted for the client behind the balancer, not for the balancer.
    assert_eq!(front.talk(&[header, GET].concat()), "");
    let mut other = front.connect();
    other
        .write_all(
            &[
                b"PROXY TCP4 192.0.2.8 192.0.2.1 4711 80\r\n".as_slice(),
                GET,
            ]
            .concat(),
        )
        .unwrap();
    assert!(one(&mut other).ends_with("request 2"));
    let counters = &front.shared.counters()[0];
    assert_eq!(
        (
            counters.bad_connections.value(),
            counters.connections_refused.value()
        ),
        (1, 1)
    );
}

#[test]
fn a_drain_finishes_requests_and_closes_idle_connections() {
    let mut front = Front::new(Settings::default(), Duration::from_millis(300));
    let idle = front.connect();
    let mut used = front.connect();
    used.write_all(GET).unwrap();
    one(&mut used);
    let mut busy = front.connect();
    busy.write_all(GET).unwrap();
    while front.requests() < 2 {
        thread::sleep(Duration::from_millis(5));
    }
    front.signal.drain(Duration::from_secs(10));
    let response = all(busy);
    assert!(
        response.contains("connection: close") && response.ends_with("request 2"),
        "{response}"
    );

    // Its client could not know of the drain: one more request is served.
    used.write_all(GET).unwrap();
    let response = all(used);
    assert!(
        response.contains("connection: close") && response.ends_with("request 3"),
        "{response}"
    );
    assert_eq!(all(idle), "");
    let began = Instant::now();
    assert!(front.running.take().unwrap().join(Duration::from_secs(60)));
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[test]
fn a_protocol_is_switched_whole_also_during_a_drain() {
    let front = Front::simple();
    let mut client = front.connect();
    client.write_all(GET).unwrap();
    one(&mut client);
    front.signal.drain(Duration::from_secs(10));

    let request = "GET /switch HTTP/1.1\r\nHost: a.example\r\n\
                   Connection: upgrade\r\nUpgrade: echo\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("connection: upgrade\r\n"), "{head}");
    assert!(!head.contains("close"), "{head}");

    client.write_all(b"ping").unwrap();
    let mut back = [0; 4];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"ping");
}

#[test]
fn http2_without_tls_is_spoken_to_those_who_begin_with_it() {
    let front = Front::simple();
    let answers = Arc::new(AtomicUsize::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (addr, counted) = (front.http, answers.clone());
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(crate::proxy::executor::Local, io)
                .await
                .unwrap();
        tokio::task::spawn_local(connection);

        for _ in 0..3 {
            let request = http::Request::get("http://a.example/")
                .body(String::new())
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            counted.fetch_add(1, SeqCst);
        }
    });
    assert_eq!((answers.load(SeqCst), front.requests()), (3, 3));
}

#[test]
fn an_http2_flood_ends_its_connection_and_is_counted() {
    let front = Front::simple();
    let mut stream = front.connect();
    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut bytes = [super::PREFACE, &settings].concat();
    bytes.extend(ping.repeat(5_000));

    // The connection may end before all is written.
    let _ = stream.write_all(&bytes);
    all(stream);
    while front.shared.counters()[0].floods.value() == 0 {
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn timeouts_that_the_kernel_does_not_take_are_no_obstacle() {
    let ages = Duration::from_secs(100 * 24 * 3600);

    let settings = Settings {
        client_idle_timeout: ages,
        stream_idle_timeout: ages,
        ..Settings::default()
    };

    let front = Front::new(settings, Duration::ZERO);
    let mut stream = front.connect();
    stream.write_all(GET).unwrap();
    assert!(one(&mut stream).ends_with("request 1"));
}

#[test]
fn connections_over_the_limit_are_closed_at_once() {
    let front = Front::new(
        Settings {
            max_connections: 2,
            ..Settings::default()
        },
        Duration::ZERO,
    );
    let mut held: Vec<TcpStream> = (0..2).map(|_| front.connect()).collect();

    for stream in &mut held {
        stream.write_all(GET).unwrap();
        one(stream);
    }
    assert_eq!(front.talk(GET), "");

    drop(held);
    let began = Instant::now();
    while front
        .talk(
            &[
                GET.strip_suffix(b"\r\n").unwrap(),
                b"Connection: close\r\n\r\n",
            ]
            .concat(),
        )
        .is_empty()
    {
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

mod codings;
mod listeners;
mod tls;
