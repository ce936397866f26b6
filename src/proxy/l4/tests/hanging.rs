//! Endpoints that neither accept connections nor refuse them.

use super::*;

/// A listener with a full backlog: the system drops further attempts to connect.
struct Hanging {
    address: SocketAddr,
    _bound: Socket,
    _waiting: Vec<Socket>,
}

impl Hanging {
    fn new() -> Self {
        let stream = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let bound = stream();
        let any = SocketAddr::new(LOCALHOST, 0);
        bound.bind(&any.into()).expect("a port");
        bound.listen(0).expect("listening");
        let address = bound.local_addr().expect("its address").as_socket();
        let address = address.expect("an IP address");

        let waiting = (0..4).map(|_| {
            let socket = stream();
            socket.set_nonblocking(true).expect("a flag");
            let _ = socket.connect(&address.into());
            socket
        });
        let waiting = waiting.collect();
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(500));
        let late = late.expect_err("nothing is accepted");
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        Self {
            address,
            _bound: bound,
            _waiting: waiting,
        }
    }
}

fn impatient() -> Settings {
    Settings {
        connect_timeout: Duration::from_millis(300),
        ..Settings::default()
    }
}

#[test]
fn an_endpoint_that_hangs_is_passed_over() {
    let mut front = Front::new(impatient());
    let hanging = Hanging::new();
    let address = front.open(&[hanging.address, echo()]);
    for _ in 0..10 {
        assert_eq!(exchange(&connect(address), b"hello"), b"hello");
    }
    let stats = front.shared.endpoints();
    let failed = stats.iter().find(|one| one.addr == hanging.address);
    assert!(failed.is_some_and(|one| one.failures > 0), "{stats:?}");
}

#[test]
fn clients_of_endpoints_that_hang_are_reset() {
    let mut front = Front::new(impatient());
    let hanging = [Hanging::new(), Hanging::new()];
    let mut stream = connect(front.open(&hanging.each_ref().map(|one| one.address)));
    let error = stream.read(&mut [0; 1]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}
