//! Routes with an action and a policy of their own.

use super::*;
use crate::routing::{Policy, Redirect, Refusal, Timeouts};

/// A proxy whose only route has this action and policy. The settings have no limit that the policy
/// has.
pub(super) fn with_route(action: Action, policy: Policy) -> Proxy {
    start(Settings::default(), table_with(action, policy))
}

pub(super) fn table_with(action: Action, policy: Policy) -> RoutingTable {
    let origin = Origin {
        namespace: "n".into(),
        name: "i".into(),
        field: "f".into(),
        requests: None,
        priority: None,
    };
    let route = Route {
        policy: Some(Arc::new(policy)),
        ..Route::new(origin, action)
    };
    let mut table = RoutingTable::default();
    table.set_default(Some(Arc::new(route)));
    table
}

pub(super) fn to_endpoints(list: &[SocketAddr]) -> Action {
    let backend = Backend::new(settings(Protocol::Http1));
    backend.set_endpoints(addresses(list));
    Action::Forward(Split::to(Arc::new(backend)))
}

/// A backend that reads requests and never responds.
fn silent() -> SocketAddr {
    backend(|_, mut stream| while stream.read(&mut [0; 100]).is_ok_and(|length| length > 0) {})
}

#[test]
fn a_policy_limits_the_time_of_a_request() {
    let short = Some(Duration::from_millis(50));
    for timeouts in [
        Timeouts {
            request: short,
            ..Timeouts::default()
        },
        Timeouts {
            response_header: short,
            ..Timeouts::default()
        },
    ] {
        let policy = Policy {
            timeouts,
            ..Policy::default()
        };
        let proxy = with_route(to_endpoints(&[silent()]), policy);
        assert_eq!(status(&get(&proxy)), "504");
    }
}

#[test]
fn a_policy_limits_the_pauses_of_a_response() {
    let addr = backend(|_, mut stream| {
        head(&mut stream);
        say(
            &mut stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        );
        // Until the proxy gives up.
        let _ = stream.read(&mut [0]);
    });
    let policy = Policy {
        timeouts: Timeouts {
            idle: Some(Duration::from_millis(50)),
            ..Timeouts::default()
        },
        ..Policy::default()
    };
    let proxy = with_route(to_endpoints(&[addr]), policy);
    assert!(get(&proxy).ends_with("\r\n\r\nhalf"));
}

#[test]
fn a_policy_limits_the_time_of_a_connect() {
    let (silent, _sockets) = backends::silent();
    let policy = Policy {
        timeouts: Timeouts {
            connect: Some(Duration::from_millis(50)),
            ..Timeouts::default()
        },
        ..Policy::default()
    };
    let settings = Settings {
        connect_timeout: Duration::MAX,
        ..Settings::default()
    };
    let proxy = start(settings, table_with(to_endpoints(&[silent]), policy));
    assert_eq!(status(&get(&proxy)), "504");
}

/// The reading of a client while it has a response without end.
#[derive(Clone, Copy, Debug)]
enum Reader {
    Steady,
    Slow,
    None,
}

#[test]
fn the_time_of_a_request_ends_it_however_its_client_reads() {
    for reader in [Reader::Steady, Reader::Slow, Reader::None] {
        let (ended, end) = mpsc::channel();
        let addr = backend(move |_, mut stream| {
            head(&mut stream);
            say(
                &mut stream,
                "HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n",
            );
            while stream.write_all(&[b'x'; 10_000]).is_ok() {}
            let _ = ended.send(());
        });
        let policy = Policy {
            timeouts: Timeouts {
                request: Some(Duration::from_millis(400)),
                ..Timeouts::default()
            },
            ..Policy::default()
        };
        let proxy = with_route(to_endpoints(&[addr]), policy);

        let mut client = client(&proxy);
        say(&mut client, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let reads = client.try_clone().expect("a second handle");
        thread::spawn(move || read_as(reader, reads));
        let waited = end.recv_timeout(Duration::from_secs(20));
        assert!(waited.is_ok(), "{reader:?}: the backend still sends");
    }
}

fn read_as(reader: Reader, mut stream: TcpStream) {
    let (size, pause) = match reader {
        Reader::Steady => (100_000, Duration::ZERO),
        Reader::Slow => (1, Duration::from_millis(10)),
        Reader::None => return,
    };
    let mut buffer = vec![0; size];
    while matches!(stream.read(&mut buffer), Ok(1..)) {
        thread::sleep(pause);
    }
}

#[test]
fn a_policy_limits_the_body_of_a_request() {
    let addr = backend(|_, mut stream| {
        head(&mut stream);
        exactly(&mut stream, 3);
        say(&mut stream, OK);
    });
    let policy = Policy {
        max_body_bytes: Some(3),
        ..Policy::default()
    };
    let proxy = with_route(to_endpoints(&[addr]), policy);
    let post = |body: &str| {
        let length = body.len();
        ask(
            &proxy,
            &format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}"),
        )
    };
    assert_eq!(status(&post("abcd")), "413");
    assert_eq!(status(&post("abc")), "200");
}

#[test]
fn a_policy_limits_the_attempts_of_a_request() {
    let refusing: Vec<_> = (0..6).map(|_| refusing()).collect();
    for attempts in [1, 4] {
        let policy = Policy {
            attempts: Some(attempts),
            ..Policy::default()
        };
        let proxy = with_route(to_endpoints(&refusing), policy);
        assert_eq!(status(&get(&proxy)), "502");
        let retries = proxy.shared.counters()[0].retries.value();
        assert_eq!(retries, u64::from(attempts) - 1);
    }
}

#[test]
fn a_policy_limits_the_time_of_attempts() {
    let refusing: Vec<_> = (0..6).map(|_| refusing()).collect();
    for (seconds, expected) in [(0, 0), (60, 2)] {
        let policy = Policy {
            attempts_time: Some(Duration::from_secs(seconds)),
            ..Policy::default()
        };
        let proxy = with_route(to_endpoints(&refusing), policy);
        assert_eq!(status(&get(&proxy)), "502");
        let retries = proxy.shared.counters()[0].retries.value();
        assert_eq!(retries, expected, "{seconds}");
    }
}

#[test]
fn a_policy_without_limits_has_none() {
    let addr = backend(|_, mut stream| {
        while !head(&mut stream).is_empty() {
            say(&mut stream, OK);
        }
    });
    let policy = Policy {
        timeouts: Timeouts {
            connect: Some(Duration::MAX),
            response_header: Some(Duration::MAX),
            request: Some(Duration::MAX),
            idle: Some(Duration::MAX),
            tunnel: Some(Duration::MAX),
            queue: Some(Duration::MAX),
        },
        max_body_bytes: Some(u64::MAX),
        ..Policy::default()
    };
    let proxy = with_route(to_endpoints(&[addr]), policy);
    assert_eq!(status(&get(&proxy)), "200");
}

#[test]
fn requests_are_divided_by_the_weights_of_a_route() {
    let numbered = |number: usize| {
        let addr = backend(move |_, mut stream| {
            while !head(&mut stream).is_empty() {
                let text = format!("HTTP/1.1 20{number} OK\r\nContent-Length: 0\r\n\r\n");
                say(&mut stream, &text);
            }
        });
        let backend = Backend::new(settings(Protocol::Http1));
        backend.set_endpoints(addresses(&[addr]));
        Ok(Arc::new(backend))
    };
    let parts = [
        (1, numbered(0)),
        (0, numbered(1)),
        (2, numbered(2)),
        (1, Err(Refusal::InvalidBackend)),
    ];
    let action = Action::Forward(Split::weighted(parts));
    let proxy = with_route(action, Policy::default());

    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..400 {
        *seen.entry(status(&get(&proxy)).to_owned()).or_insert(0_u32) += 1;
    }
    let shares = [("200", 100), ("202", 200), ("500", 100)];
    assert_eq!(seen.len(), shares.len(), "{seen:?}");
    for (status, share) in shares {
        assert!(seen[status].abs_diff(share) < 60, "{seen:?}");
    }
}

#[test]
fn a_route_redirects_by_itself() {
    let redirect = Redirect {
        status: StatusCode::MOVED_PERMANENTLY,
        https: None,
        host: Some(Host::parse("b.example").expect("a host")),
        port: None,
        path: None,
        is_relative: false,
    };
    let proxy = with_route(Action::Redirect(Box::new(redirect)), Policy::default());
    let response = ask(&proxy, "GET /a?b HTTP/1.1\r\n\r\n").to_ascii_lowercase();
    assert_eq!(status(&response), "301");
    assert!(
        response.contains("location: http://b.example/a?b\r\n"),
        "{response}"
    );
}

#[test]
fn a_policy_sends_the_address_of_the_endpoint_as_host() {
    let policy = || Policy {
        sends_address: true,
        ..Policy::default()
    };
    let (asked, heads) = mpsc::channel();
    let addr = backend(move |_, mut stream| {
        let _ = asked.send(head(&mut stream));
        say(&mut stream, OK);
    });
    // A further attempt goes to another address.
    for list in [&[addr][..], &[refusing(), addr], &[addr, refusing()]] {
        let proxy = with_route(to_endpoints(list), policy());
        for _ in 0..3 {
            assert_eq!(status(&get(&proxy)), "200");
            let head = heads.recv().expect("a head");
            let hosts = head.lines().filter(|line| line.starts_with("host: "));
            assert_eq!(hosts.collect::<Vec<_>>(), [format!("host: {addr}")]);
            assert!(head.contains("\r\nx-forwarded-host: "), "{head}");
        }
    }

    let (addr, _) = h2::h2c_backend();
    let backend = Backend::new(settings(Protocol::H2c));
    backend.set_endpoints(addresses(&[addr]));
    let action = Action::Forward(Split::to(Arc::new(backend)));
    let response = get(&with_route(action, policy()));
    let expected = format!("\r\nseen-authority: {addr}\r\n");
    assert!(response.contains(&expected), "{response}");
}
