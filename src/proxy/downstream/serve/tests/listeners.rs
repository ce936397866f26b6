use super::{tls::shake, *};

const CLOSE: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

fn listener(address: SocketAddr, protocol: ListenerProtocol) -> Listener {
    Listener { address, protocol }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

/// Connects again and again until nothing listens at the address.
fn comes_to_an_end(address: SocketAddr) {
    let began = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

/// Returns an address on which nothing listens.
fn unused() -> SocketAddr {
    let probe = TcpListener::bind("127.0.0.1:0").unwrap();
    probe.local_addr().unwrap()
}

#[test]
fn a_new_listener_leaves_connections_to_the_others_alone() {
    let front = Front::simple();
    let listeners = &front.running.as_ref().unwrap().listeners;
    let mut before = front.connect();
    before.write_all(GET).unwrap();
    assert!(one(&mut before).ends_with("request 1"));

    let (old, new) = (
        listener("127.0.0.1:0".parse().unwrap(), ListenerProtocol::Http),
        listener(unused(), ListenerProtocol::Http),
    );
    listeners.replace(&[old, new]).unwrap();
    let addresses = listeners.addresses(ListenerProtocol::Http);
    assert_eq!(addresses, [front.http, new.address]);
    assert!(listeners.addresses(ListenerProtocol::Https).is_empty());

    before.write_all(GET).unwrap();
    assert!(one(&mut before).ends_with("request 2"));
    let mut after = connect(new.address);
    after.write_all(CLOSE).unwrap();
    assert!(all(after).ends_with("request 3"));
    comes_to_an_end(front.https);
}

#[test]
fn a_closed_listener_finishes_requests_in_flight() {
    let front = Front::new(Settings::default(), Duration::from_millis(500));
    let listeners = &front.running.as_ref().unwrap().listeners;
    let mut idle = front.connect();
    idle.write_all(GET).unwrap();
    one(&mut idle);
    let mut busy = front.connect();
    busy.write_all(GET).unwrap();
    let began = Instant::now();
    while front.requests() < 2 {
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    let new = listener(unused(), ListenerProtocol::Http);
    listeners.replace(&[new]).unwrap();
    let last = all(busy).to_ascii_lowercase();
    assert!(last.contains("connection: close") && last.ends_with("request 2"));
    assert_eq!(all(idle), "");
    comes_to_an_end(front.http);

    // The address is free for another listener.
    let again = listener(front.http, ListenerProtocol::Http);
    listeners.replace(&[new, again]).unwrap();
    assert!(front.talk(CLOSE).ends_with("request 3"));
}

#[test]
fn an_address_in_use_changes_no_listener() {
    let front = Front::simple();
    let listeners = &front.running.as_ref().unwrap().listeners;
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener(stranger.local_addr().unwrap(), ListenerProtocol::Http);

    let error = listeners.replace(&[taken]).unwrap_err();
    assert!(error.to_string().contains(&taken.address.to_string()));
    let addresses = listeners.addresses(ListenerProtocol::Http);
    assert_eq!(addresses, [front.http]);
    assert!(front.talk(CLOSE).ends_with("request 1"));
}

#[test]
fn an_address_can_change_its_protocol() {
    let mut front = Front::simple();
    let (http, https) = (front.http, front.https);
    let listeners = &front.running.as_ref().unwrap().listeners;
    let swapped = [
        listener(https, ListenerProtocol::Http),
        listener(http, ListenerProtocol::Https),
    ];
    listeners.replace(&swapped).unwrap();
    (front.http, front.https) = (https, http);

    // Until the old sockets are closed, one of them may still take a connection.
    let began = Instant::now();
    while !front.talk(CLOSE).contains(" 200 OK") {
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    while shake(&front, "a.example", &[]).is_err() {
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
