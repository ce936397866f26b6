//! Connections to ports over real sockets, through the running data plane.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, SockRef, Socket, Type};

use crate::{
    proxy::{Running, Settings, Shared, Sockets, StartError, start},
    routing::{
        Access, Backend, BackendId, BackendSettings, ClientLimits, Endpoint, EndpointSet, Limits,
        OpenPort, Origin, Policy, Port, PortRoute, PortTable, Prefixes, ProxyVersion,
    },
    util::{datagram::Datagrams, drain},
};

mod hanging;
mod large;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// More than every buffer on the way together.
const MUCH: usize = 20 << 20;

/// A data plane with ports, and without HTTP.
struct Front {
    running: Running,
    shared: Arc<Shared>,
    signal: drain::Signal,
    routes: Vec<(Port, Arc<OpenPort>)>,
}

impl Front {
    fn new(settings: Settings) -> Self {
        let shared = Arc::new(Shared::default());
        let (signal, drain) = drain::channel();
        let workers = if settings.workers == 0 {
            2
        } else {
            settings.workers
        };
        let settings = Settings {
            workers,
            ..settings
        };
        let running = start(
            settings,
            &[],
            Sockets::default(),
            shared.clone(),
            None,
            drain,
        )
        .expect("no listener");
        Self {
            running,
            shared,
            signal,
            routes: Vec::new(),
        }
    }

    /// Opens a port that leads to these endpoints.
    fn open(&mut self, endpoints: &[SocketAddr]) -> SocketAddr {
        // Another test may take the port first.
        loop {
            let port = Port::tcp(Unheard::new().address.port());
            self.routes.push((port, route(port, endpoints)));
            if self.publish().is_empty() {
                return SocketAddr::new(LOCALHOST, port.number);
            }
            self.routes.pop();
        }
    }

    /// Opens a UDP port that leads to these endpoints.
    fn open_udp(&mut self, endpoints: &[SocketAddr]) -> SocketAddr {
        loop {
            let probe = UdpSocket::bind((LOCALHOST, 0)).expect("a port");
            let port = Port::udp(probe.local_addr().expect("its address").port());
            drop(probe);
            self.routes.push((port, route(port, endpoints)));
            if self.publish().is_empty() {
                return SocketAddr::new(LOCALHOST, port.number);
            }
            self.routes.pop();
        }
    }

    /// Returns the sessions that have begun and ended.
    fn udp_sessions(&self) -> (u64, u64) {
        let cores = self.shared.counters();
        let begun = cores.iter().map(|core| core.udp.begun.value()).sum();
        (begun, cores.iter().map(|core| core.udp.ended.value()).sum())
    }

    /// Opens and closes ports. Returns those that cannot be opened.
    fn publish(&self) -> Vec<(Port, StartError)> {
        let table: PortTable = self.routes.iter().cloned().collect();
        let ports: Vec<Port> = table.iter().map(|(port, _)| port).collect();
        self.shared.ports.store(Arc::new(table));
        self.running.listeners.replace_ports(LOCALHOST, &ports)
    }
}

/// An address of this machine that refuses connections.
struct Unheard {
    address: SocketAddr,
    _bound: Socket,
}

impl Unheard {
    fn new() -> Self {
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any = SocketAddr::new(LOCALHOST, 0);
        bound.bind(&any.into()).expect("a port");
        let address = bound.local_addr().expect("its address").as_socket();
        Self {
            address: address.expect("an IP address"),
            _bound: bound,
        }
    }
}

fn route(port: Port, endpoints: &[SocketAddr]) -> Arc<OpenPort> {
    open(plain_route(port, endpoints))
}

fn open(route: PortRoute) -> Arc<OpenPort> {
    Arc::new(OpenPort::to(Arc::new(route), false))
}

fn plain_route(port: Port, endpoints: &[SocketAddr]) -> PortRoute {
    let id = BackendId {
        namespace: "n".into(),
        service: "s".into(),
        port: port.number,
    };
    let backend = Backend::new(BackendSettings::new(id, port.transport.protocol()));
    let endpoints = endpoints.iter().copied().map(Endpoint::at).collect();
    backend.set_endpoints(EndpointSet::Addresses(endpoints));
    PortRoute {
        kind: "Service",
        ends_tls: None,
        limits: None,
        total: None,
        sticky: false,
        sends_proxy: None,
        accesses: Box::default(),
        origin: Origin {
            namespace: "n".into(),
            name: "s".into(),
            field: "f".into(),
            requests: None,
            priority: None,
        },
        backend: Arc::new(backend),
        policy: Policy::default(),
    }
}

/// Starts an endpoint that runs `serve` for each connection.
fn endpoint(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("its address");
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Starts an endpoint that sends back all that it receives, then the end.
fn echo() -> SocketAddr {
    endpoint(|mut stream| {
        let mut reading = stream.try_clone().expect("a copy");
        let _ = std::io::copy(&mut reading, &mut stream);
        let _ = stream.shutdown(Shutdown::Write);
    })
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout");
    stream
}

/// Reads to the end.
fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the end");
    bytes
}

fn exchange(mut stream: &TcpStream, text: &[u8]) -> Vec<u8> {
    stream.write_all(text).expect("sent");
    let mut echoed = vec![0; text.len()];
    stream.read_exact(&mut echoed).expect("the echo");
    echoed
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 / 7) as u8).collect()
}

#[test]
fn bytes_pass_in_both_directions_at_once() {
    let mut front = Front::new(Settings::default());
    let stream = connect(front.open(&[echo()]));

    let mut sending = stream.try_clone().expect("a copy");
    let sender = thread::spawn(move || {
        sending.write_all(&pattern(MUCH)).expect("sent");
        sending.shutdown(Shutdown::Write).expect("the end");
    });
    assert!(rest(&stream) == pattern(MUCH));
    sender.join().expect("all sent");
}

#[test]
fn one_direction_goes_on_after_the_other_has_ended() {
    let mut front = Front::new(Settings::default());
    let counting = endpoint(|mut stream| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the end");
        stream
            .write_all(format!("{} bytes", bytes.len()).as_bytes())
            .expect("sent");
    });
    let mut stream = connect(front.open(&[counting]));
    stream.write_all(&pattern(100_000)).expect("sent");
    stream.shutdown(Shutdown::Write).expect("the end");
    assert_eq!(rest(&stream), b"100000 bytes");

    // The endpoint ends first.
    let (ended, received) = std::sync::mpsc::sync_channel(1);
    let first = endpoint(move |mut stream| {
        stream.write_all(b"bye").expect("sent");
        stream.shutdown(Shutdown::Write).expect("the end");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the end");
        ended.send(bytes).expect("the test waits");
    });
    let mut stream = connect(front.open(&[first]));
    assert_eq!(rest(&stream), b"bye");
    stream.write_all(b"later").expect("sent");
    drop(stream);
    assert_eq!(received.recv().expect("the end"), b"later");
}

#[test]
fn an_endpoint_that_refuses_is_passed_over() {
    let mut front = Front::new(Settings::default());
    let unheard = [Unheard::new(), Unheard::new()];
    let address = front.open(&[unheard[0].address, echo(), unheard[1].address]);
    for _ in 0..20 {
        assert_eq!(exchange(&connect(address), b"hello"), b"hello");
    }
    let stats = front.shared.endpoints();
    assert!(stats.iter().any(|one| one.ejected_on > 0), "{stats:?}");
}

#[test]
fn without_an_endpoint_the_client_is_reset() {
    let mut front = Front::new(Settings::default());
    let unheard = [Unheard::new(), Unheard::new()].map(|one| (one.address, one));
    let addresses = [unheard[0].0, unheard[1].0];
    for count in 0..=2 {
        let endpoints = &addresses[..count];
        let mut stream = connect(front.open(endpoints));
        let error = stream.read(&mut [0; 1]).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{endpoints:?}");
    }
    let failures = front.shared.counters();
    let failures: u64 = failures.iter().map(|core| core.tcp.failures.value()).sum();
    assert_eq!(failures, 3);
}

#[test]
fn a_reset_by_one_side_ends_the_other() {
    let mut front = Front::new(Settings::default());
    let resetting = endpoint(|mut stream| {
        stream.read_exact(&mut [0; 5]).expect("the request");
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    });
    let mut stream = connect(front.open(&[resetting]));
    stream.write_all(b"hello").expect("sent");
    // An end or a reset, but no wait.
    assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
}

#[test]
fn a_silent_connection_ends_and_a_busy_one_does_not() {
    let settings = Settings {
        tcp_idle_timeout: Duration::from_millis(700),
        ..Settings::default()
    };
    let mut front = Front::new(settings);
    let address = front.open(&[echo()]);
    let silent = connect(address);
    let watcher = thread::spawn(move || rest(&silent));
    let busy = connect(address);
    let mut exchanges = 0;
    while !watcher.is_finished() {
        assert_eq!(exchange(&busy, b"x"), b"x");
        exchanges += 1;
    }
    assert!(exchanges > 10, "{exchanges}");
    assert_eq!(watcher.join().expect("the end"), b"");
    assert_eq!(exchange(&busy, b"x"), b"x");
}

#[test]
fn ports_close_and_open_beside_those_that_stay() {
    let mut front = Front::new(Settings::default());
    let (stays, goes) = (front.open(&[echo()]), front.open(&[echo()]));
    let (kept, ended) = (connect(stays), connect(goes));
    assert_eq!(exchange(&kept, b"a"), b"a");
    assert_eq!(exchange(&ended, b"a"), b"a");

    let closed = front.routes.pop().expect("the second port");
    assert!(front.publish().is_empty());
    assert_eq!(rest(&ended), b"", "it was quiet");
    assert_eq!(exchange(&kept, b"b"), b"b");

    // It opens again at once, though a core may not have closed its socket yet.
    front.routes.push(closed);
    assert!(front.publish().is_empty());
    assert_eq!(exchange(&connect(goes), b"c"), b"c");
    assert_eq!(exchange(&kept, b"d"), b"d");
}

#[test]
fn an_edit_leads_new_connections_elsewhere() {
    let mut front = Front::new(Settings::default());
    let named = |name: &'static [u8]| endpoint(move |mut one| drop(one.write_all(name)));
    let address = front.open(&[echo()]);
    let kept = connect(address);
    assert_eq!(exchange(&kept, b"a"), b"a");

    let (port, _) = front.routes.pop().expect("the port");
    front.routes.push((port, route(port, &[named(b"new")])));
    assert!(front.publish().is_empty());
    assert_eq!(rest(&connect(address)), b"new");
    assert_eq!(exchange(&kept, b"b"), b"b");
}

#[test]
fn a_port_that_is_taken_is_reported_alone() {
    let mut front = Front::new(Settings::default());
    let open = front.open(&[echo()]);
    let holder = TcpListener::bind((LOCALHOST, 0)).expect("a port");
    let taken = Port::tcp(holder.local_addr().expect("its address").port());

    let ports = [Port::tcp(open.port()), taken];
    let failed = front.running.listeners.replace_ports(LOCALHOST, &ports);
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].0, taken);
    let why = failed[0].1.to_string();
    assert!(
        why.contains("listens there") && why.ends_with("or choose another port"),
        "{why}"
    );
    assert_eq!(exchange(&connect(open), b"a"), b"a");
}

#[test]
fn the_limit_of_connections_holds_for_ports_too() {
    let settings = Settings {
        max_connections_per_client: 2,
        ..Settings::default()
    };
    let mut front = Front::new(settings);
    let address = front.open(&[echo()]);
    let kept = [connect(address), connect(address)];
    for stream in &kept {
        assert_eq!(exchange(stream, b"a"), b"a");
    }
    let mut third = connect(address);
    assert!(
        matches!(third.read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::ConnectionReset)
    );
}

#[test]
fn quiet_connections_do_not_hold_up_the_end() {
    let mut front = Front::new(Settings::default());
    let stream = connect(front.open(&[echo()]));
    assert_eq!(exchange(&stream, b"a"), b"a");
    front.signal.drain(Duration::from_secs(60));
    assert_eq!(rest(&stream), b"");
    assert!(front.running.join(Duration::from_secs(30)));
}

#[test]
fn the_client_is_known_by_headers_of_the_proxy_protocol() {
    let mut front = Front::new(Settings::default());
    let address = front.open(&[echo()]);
    let (port, _) = front.routes.pop().expect("the port");
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let route = PortRoute {
            sends_proxy: Some(version),
            ..plain_route(port, &[echo()])
        };
        let open = OpenPort::to(Arc::new(route), true);
        front.routes = vec![(port, Arc::new(open))];
        assert!(front.publish().is_empty());

        // The endpoint sends back the header that it got.
        let mut stream = connect(address);
        let known = b"PROXY TCP4 192.0.2.1 192.0.2.2 1024 1883\r\n";
        stream
            .write_all(&[&known[..], b"hello"].concat())
            .expect("sent");
        stream.shutdown(Shutdown::Write).expect("the end");
        let echoed = rest(&stream);
        match version {
            ProxyVersion::V1 => assert_eq!(echoed, [&known[..], b"hello"].concat()),
            ProxyVersion::V2 | ProxyVersion::V2Tls => {
                let start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02";
                assert_eq!(echoed, [&start[..], b"\x04\0\x07\x5bhello"].concat());
            }
        }
    }

    let mut without = connect(address);
    without.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    let error = without.read(&mut [0; 1]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Starts a UDP endpoint that sends each datagram back, with its name before it.
fn datagram_echo(name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind((LOCALHOST, 0)).expect("a port");
    let address = socket.local_addr().expect("its address");
    thread::spawn(move || {
        let mut buffer = vec![0; 65_535];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).expect("a datagram");
            let answer = [name.as_bytes(), &buffer[..length]].concat();
            socket.send_to(&answer, from).expect("answered");
        }
    });
    address
}

fn udp_client(port: SocketAddr) -> UdpSocket {
    let client = UdpSocket::bind((LOCALHOST, 0)).expect("a port");
    client.connect(port).expect("connected");
    let limit = Some(Duration::from_secs(30));
    client.set_read_timeout(limit).expect("a timeout");
    client
}

fn asked(client: &UdpSocket, data: &[u8]) -> Vec<u8> {
    client.send(data).expect("sent");
    let mut answer = vec![0; 65_535];
    let length = client.recv(&mut answer).expect("an answer");
    answer.truncate(length);
    answer
}

/// Waits until something is true.
fn wait(what: &str, is_true: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_true() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        thread::yield_now();
    }
}

#[test]
fn datagrams_of_every_size_pass_both_ways() {
    let mut front = Front::new(Settings::default());
    let port = front.open_udp(&[datagram_echo("")]);
    let (one, other) = (udp_client(port), udp_client(port));
    for length in [0, 1, 1500, 9000, 60_000, 65_507] {
        let data = pattern(length);
        assert!(asked(&one, &data) == data, "{length}");
        assert!(asked(&other, &data) == data, "{length}");
    }
    assert_eq!(front.udp_sessions(), (2, 0));
}

/// The system hands on what comes fast as one piece, on both ways.
#[test]
fn datagrams_in_a_row_stay_apart_and_in_order() {
    const ANSWERS: u8 = 100;

    let endpoint = UdpSocket::bind((LOCALHOST, 0)).expect("a port");
    let address = endpoint.local_addr().expect("its address");
    let received = thread::spawn(move || {
        let mut buffer = vec![0; 65_535];
        let mut lengths = Vec::new();
        loop {
            let (length, from) = endpoint.recv_from(&mut buffer).expect("a datagram");
            lengths.push(length);
            if length == 1 {
                endpoint.send_to(b"x", from).expect("answered");
            } else if length < 1000 {
                for number in 0..ANSWERS {
                    let answer = vec![number; 500 + usize::from(number / 90)];
                    endpoint.send_to(&answer, from).expect("answered");
                }
                return lengths;
            }
        }
    });
    let mut front = Front::new(Settings::default());
    let client = udp_client(front.open_udp(&[address]));
    assert_eq!(asked(&client, b"x"), b"x");
    let row = pattern(20_100);
    let row = Datagrams::new(&row, Some(1000));
    row.send(SockRef::from(&client)).expect("sent");

    for number in 0..ANSWERS {
        let mut answer = vec![0; 65_535];
        let length = client.recv(&mut answer).expect("an answer");
        assert_eq!(length, 500 + usize::from(number / 90));
        assert!(answer[..length].iter().all(|byte| *byte == number));
    }
    let lengths = received.join().expect("all came");
    assert_eq!(lengths, [&[1][..], &[1000; 20], &[100]].concat());
    assert_eq!(front.udp_sessions(), (1, 0));
}

#[test]
fn a_client_that_begins_with_many_datagrams_loses_none() {
    const MANY: usize = 40;

    let endpoint = UdpSocket::bind((LOCALHOST, 0)).expect("a port");
    let limit = Some(Duration::from_secs(30));
    endpoint.set_read_timeout(limit).expect("a timeout");
    let mut front = Front::new(Settings::default());
    let client = udp_client(front.open_udp(&[endpoint.local_addr().expect("its address")]));
    let row = pattern(MANY * 1000);
    let datagrams = Datagrams::new(&row, Some(1000));
    datagrams.send(SockRef::from(&client)).expect("sent");

    for (number, expected) in row.chunks(1000).enumerate() {
        let mut data = [0; 2000];
        let length = endpoint.recv(&mut data).expect("a datagram");
        assert!(data[..length] == *expected, "number {number}");
    }
}

#[test]
fn a_datagram_that_is_refused_goes_to_the_next_endpoint() {
    let probe = UdpSocket::bind("127.0.0.98:0").expect("a port");
    let silent = probe.local_addr().expect("its address");
    drop(probe);

    let mut front = Front::new(Settings::default());
    let port = front.open_udp(&[silent, datagram_echo("a")]);
    for _ in 0..10 {
        assert_eq!(asked(&udp_client(port), b"x"), b"ax");
    }
    let stats = front.shared.endpoints();
    let failed = stats.iter().find(|one| one.addr == silent);
    assert!(failed.is_some_and(|one| one.failures > 0), "{stats:?}");
}

#[test]
fn a_client_stays_at_one_endpoint() {
    let mut front = Front::new(Settings::default());
    let endpoints = [datagram_echo("a"), datagram_echo("b")];
    let port = front.open_udp(&endpoints);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let client = udp_client(port);
        let first = asked(&client, b"");
        for _ in 0..3 {
            assert_eq!(asked(&client, b""), first);
        }
        seen.insert(first);
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn idle_sessions_end() {
    let settings = Settings {
        udp_idle_timeout: Duration::from_millis(500),
        ..Settings::default()
    };
    let mut front = Front::new(settings);
    let port = front.open_udp(&[datagram_echo("")]);
    let client = udp_client(port);
    assert_eq!(asked(&client, b"x"), b"x");
    wait("the session ends", || front.udp_sessions() == (1, 1));
    assert_eq!(asked(&client, b"y"), b"y");
    assert_eq!(front.udp_sessions(), (2, 1));
}

#[test]
fn the_longest_idle_session_makes_room() {
    let settings = Settings {
        workers: 1,
        max_udp_sessions: 2,
        ..Settings::default()
    };
    let mut front = Front::new(settings);
    let port = front.open_udp(&[datagram_echo("")]);
    let clients = [udp_client(port), udp_client(port), udp_client(port)];
    for client in &clients[..2] {
        assert_eq!(asked(client, b"x"), b"x");
    }
    // The second is the one that was idle.
    assert_eq!(asked(&clients[0], b"x"), b"x");
    assert_eq!(asked(&clients[2], b"x"), b"x");
    assert_eq!(front.udp_sessions(), (3, 1));
    assert_eq!(asked(&clients[0], b"x"), b"x");
    assert_eq!(front.udp_sessions(), (3, 1));

    // A flood of sources leaves room for those who come.
    for _ in 0..1000 {
        let _ = udp_client(port).send(b"flood");
    }
    // The kernel may drop what comes right behind it.
    let limit = Some(Duration::from_millis(100));
    clients[1].set_read_timeout(limit).expect("a timeout");
    wait("another client is served", || {
        clients[1].send(b"x").expect("sent");
        clients[1].recv(&mut [0; 1]).is_ok()
    });
    let (begun, ended) = front.udp_sessions();
    assert!(begun - ended <= 2, "{begun} {ended}");
}

#[test]
fn a_udp_port_that_closes_is_refused() {
    let mut front = Front::new(Settings::default());
    let port = front.open_udp(&[datagram_echo("")]);
    let client = udp_client(port);
    assert_eq!(asked(&client, b"x"), b"x");
    front.routes.clear();
    assert!(front.publish().is_empty());
    wait("the port is closed", || {
        client
            .send(b"x")
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    assert_eq!(front.udp_sessions(), (1, 1));
}

#[test]
fn clients_that_may_not_come_in_are_reset() {
    let mut front = Front::new(Settings::default());
    let address = front.open(&[echo()]);
    let port = front.routes.last().expect("a port").0;
    let access = |denied: &str| {
        let denied = [denied.parse().expect("a network")];
        let access = Access {
            denied: denied.into_iter().collect(),
            ..Access::default()
        };
        [Arc::new(access)].into()
    };
    for (denied, expected) in [("127.0.0.0/8", 0), ("10.0.0.0/8", 5)] {
        let mut route = plain_route(port, &[echo()]);
        route.accesses = access(denied);
        front.routes = vec![(port, open(route))];
        front.publish();
        let mut stream = connect(address);
        let _ = stream.write_all(b"hello");
        let _ = stream.shutdown(Shutdown::Write);
        let mut echoed = Vec::new();
        let _ = stream.read_to_end(&mut echoed);
        assert_eq!(echoed.len(), expected, "{denied}");
    }
    let forbidden = |cores: &[Arc<crate::proxy::counters::Counters>]| -> u64 {
        cores
            .iter()
            .map(|core| core.connections_forbidden.value())
            .sum()
    };
    assert_eq!(forbidden(&front.shared.counters()), 1);

    // Datagrams of clients that may not come in have no session.
    let udp = front.open_udp(&[echo()]);
    let port = Port::udp(udp.port());
    let mut route = plain_route(port, &[echo()]);
    route.accesses = access("127.0.0.0/8");
    front.routes.retain(|(one, _)| *one != port);
    front.routes.push((port, open(route)));
    front.publish();
    let client = UdpSocket::bind((LOCALHOST, 0)).expect("a socket");
    let waited = Instant::now();
    while forbidden(&front.shared.counters()) < 2 {
        client.send_to(b"hello", udp).expect("sent");
        thread::yield_now();
        assert!(waited.elapsed() < Duration::from_secs(60));
    }
    assert_eq!(front.udp_sessions(), (0, 0));
}

#[test]
fn all_clients_of_a_service_share_a_limit() {
    let mut front = Front::new(Settings::default());
    let address = front.open(&[echo()]);
    let port = front.routes.last().expect("a port").0;
    let limits = ClientLimits {
        from: "limit-total-connections".into(),
        object: "all of Service n/s".into(),
        limits: Limits {
            in_flight: Some(2),
            ..Limits::default()
        },
        exempt: Prefixes::default(),
        is_shared: false,
        status: None,
    };
    let route = PortRoute {
        total: Some(Arc::new(limits)),
        ..plain_route(port, &[echo()])
    };
    front.routes = vec![(port, open(route))];
    front.publish();

    let answers = |stream: &TcpStream| {
        let mut writing = stream;
        let sent = writing.write_all(b"a").is_ok();
        let mut reading = stream;
        sent && reading.read_exact(&mut [0]).is_ok()
    };
    let mut held: Vec<TcpStream> = (0..2).map(|_| connect(address)).collect();
    assert!(held.iter().all(answers));
    assert!(!answers(&connect(address)));
    drop(held.pop());
    wait("a place is free", || answers(&connect(address)));
}

#[test]
fn a_session_leaves_an_endpoint_that_is_gone() {
    let mut front = Front::new(Settings {
        udp_idle_timeout: Duration::from_millis(100),
        ..Settings::default()
    });
    let port = front.open_udp(&[datagram_echo("old ")]);
    let client = udp_client(port);
    assert_eq!(asked(&client, b"a"), b"old a");
    let open = front.routes.last().expect("the port").1.clone();
    let backend = &open.route().expect("a route").backend;
    let new = Endpoint::at(datagram_echo("new "));
    backend.set_endpoints(EndpointSet::Addresses([new].into()));

    // It is never silent.
    wait("the session is another one", || {
        asked(&client, b"b") == b"new b"
    });
}

/// Returns the size of the future of a function with seven arguments.
fn size_of_future<A, B, C, D, E, F, G, R: Future>(_: impl Fn(A, B, C, D, E, F, G) -> R) -> usize {
    size_of::<R>()
}

#[test]
fn the_future_of_a_connection_is_small() {
    let size = size_of_future(super::tcp::serve);
    assert!(size <= 600, "{size}");
}
