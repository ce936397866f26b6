//! Connections and endpoints by the settings of their backend.

use super::*;
use crate::routing::{BackendLimits, BackendTls, Verify};

/// Puts the backend with these settings and this endpoint behind all paths.
fn switch_to(proxy: &Proxy, settings: BackendSettings, addr: SocketAddr) {
    let table = table_of(settings, addresses(&[addr]), Vec::new());
    proxy.shared.table.store(Arc::new(table));
}

#[test]
fn backends_that_differ_share_no_connection() {
    let addr = backend(|_, mut stream| {
        while !head(&mut stream).is_empty() {
            say(&mut stream, OK);
        }
    });
    let plain = settings(Protocol::Http1);
    let other_service = BackendSettings {
        id: BackendId {
            service: "t".into(),
            ..plain.id.clone()
        },
        ..plain.clone()
    };
    let verified = BackendSettings {
        tls: BackendTls {
            verify: Verify::Always,
            ..BackendTls::default()
        },
        ..plain.clone()
    };
    let named = BackendSettings {
        tls: BackendTls {
            server_name: Some(Host::parse("a.example").expect("a host")),
            ..BackendTls::default()
        },
        ..plain.clone()
    };
    let limited = BackendSettings {
        limits: BackendLimits {
            requests: Some(7),
            idle: None,
        },
        ..plain.clone()
    };

    let proxy = to(&[addr]);
    let connects = || proxy.shared.counters()[0].connects.value();
    for (number, settings) in [plain.clone(), other_service, verified, named, limited]
        .into_iter()
        .enumerate()
    {
        for _ in 0..3 {
            switch_to(&proxy, settings.clone(), addr);
            assert_eq!(status(&get(&proxy)), "200");
        }
        assert_eq!(connects(), number as u64 + 1, "{settings:?}");
    }

    switch_to(&proxy, plain.clone(), addr);
    assert_eq!(status(&get(&proxy)), "200");
    assert_eq!(connects(), 5, "the first connection is still there");

    // One that keeps none has a connection for each request.
    let before = connects();
    let closing = BackendSettings {
        limits: BackendLimits {
            requests: None,
            idle: Some(0),
        },
        ..plain
    };
    for number in 1..=3 {
        switch_to(&proxy, closing.clone(), addr);
        assert_eq!(status(&get(&proxy)), "200");
        assert_eq!(connects(), before + number);
    }
}

#[test]
fn an_endpoint_has_no_more_requests_than_its_limit() {
    let (asked, at_backend) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (asked, released) = (Mutex::new(asked), Mutex::new(released));
    let addr = backend(move |_, mut stream| {
        while !head(&mut stream).is_empty() {
            let _ = asked.lock().expect("lock").send(());
            let _ = released.lock().expect("lock").recv();
            say(&mut stream, OK);
        }
    });
    let limits = BackendLimits {
        requests: Some(1),
        idle: None,
    };
    let limited = BackendSettings {
        limits,
        ..settings(Protocol::Http1)
    };
    let proxy = to(&[addr]);
    switch_to(&proxy, limited, addr);

    thread::scope(|scope| {
        let first = scope.spawn(|| get(&proxy));
        at_backend.recv().expect("the first request");
        assert_eq!(status(&get(&proxy)), "503");
        release.send(()).expect("the backend waits");
        assert_eq!(status(&first.join().expect("a response")), "200");
    });

    release.send(()).expect("the backend waits");
    assert_eq!(status(&get(&proxy)), "200");
}

#[test]
fn a_request_waits_for_a_place_at_an_endpoint() {
    let (asked, at_backend) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (asked, released) = (Mutex::new(asked), Mutex::new(released));
    let addr = backend(move |_, mut stream| {
        while !head(&mut stream).is_empty() {
            let _ = asked.lock().expect("lock").send(());
            let _ = released.lock().expect("lock").recv();
            say(&mut stream, OK);
        }
    });
    let limited = BackendSettings {
        limits: BackendLimits {
            requests: Some(2),
            idle: None,
        },
        ..settings(Protocol::Http1)
    };
    let proxy = to(&[addr]);
    switch_to(&proxy, limited, addr);

    thread::scope(|scope| {
        let all: Vec<_> = (0..6).map(|_| scope.spawn(|| get(&proxy))).collect();
        for _ in 0..2 {
            at_backend.recv().expect("a request");
        }
        for _ in 0..4 {
            let early = at_backend.recv_timeout(Duration::from_millis(100));
            assert!(early.is_err(), "one more than the limit");
            release.send(()).expect("the backend waits");
            at_backend.recv().expect("the next request");
        }
        for _ in 0..2 {
            release.send(()).expect("the backend waits");
        }
        for one in all {
            assert_eq!(status(&one.join().expect("a response")), "200");
        }
    });
}

#[test]
fn an_endpoint_without_weight_has_no_requests() {
    let numbered = |number: usize| {
        backend(move |_, mut stream| {
            while !head(&mut stream).is_empty() {
                let text = format!("HTTP/1.1 20{number} OK\r\nContent-Length: 0\r\n\r\n");
                say(&mut stream, &text);
            }
        })
    };
    let weights = [0, 1, 3];
    let list = weights.iter().enumerate().map(|(number, weight)| Endpoint {
        weight: *weight,
        ..Endpoint::at(numbered(number))
    });
    let proxy = to(&[]);
    let endpoints = EndpointSet::Addresses(list.collect());
    let table = table_of(settings(Protocol::Http1), endpoints, Vec::new());
    proxy.shared.table.store(Arc::new(table));

    let mut seen = [0_u32; 3];
    for _ in 0..400 {
        let response = get(&proxy);
        let number: usize = status(&response)[2..].parse().expect("a number");
        seen[number] += 1;
    }
    assert_eq!(seen[0], 0);
    assert!(seen[1].abs_diff(100) < 50, "{seen:?}");
}

#[test]
fn a_request_that_comes_back_again_and_again_is_508() {
    let proxy = to(&[]);
    switch_to(&proxy, settings(Protocol::Http1), proxy.addr);
    assert_eq!(status(&get(&proxy)), "508");

    let counters = &proxy.shared.counters()[0];
    // Each but the last was sent on.
    assert_eq!(counters.connects.value(), 8);
    let refused = |code| {
        let index = crate::proxy::counters::REFUSALS
            .iter()
            .position(|refusal| *refusal == code);
        counters.refused[index.expect("a refusal")].value()
    };
    assert_eq!((refused(508), refused(400)), (1, 0));

    assert_eq!(status(&ask(&proxy, "GET /%zz HTTP/1.1\r\n\r\n")), "400");
    assert_eq!((refused(508), refused(400)), (1, 1));
}

/// An address where connects are neither accepted nor refused, as long as the result lives.
pub(super) fn silent() -> (SocketAddr, Vec<socket2::Socket>) {
    let socket = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        socket.expect("a socket")
    };
    let listener = socket();
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    listener.bind(&any.into()).expect("a port");
    listener.listen(0).expect("listening");
    let addr = listener.local_addr().expect("address");

    // The queue has room for one; the kernel drops the SYN of the next.
    let queued = socket();
    queued.connect(&addr).expect("the only place of the queue");
    (
        addr.as_socket().expect("an address"),
        vec![listener, queued],
    )
}

#[test]
fn one_request_at_a_time_waits_for_a_silent_endpoint() {
    let live = backend(|_, mut stream| {
        while !head(&mut stream).is_empty() {
            say(&mut stream, OK);
        }
    });
    let (silent, _sockets) = silent();
    let settings = Settings {
        connect_timeout: Duration::from_secs(1),
        // Ejection alone would hide it after some failures.
        eject_after: u32::MAX,
        ..Settings::default()
    };
    let proxy = start(
        settings,
        table(addresses(&[silent, live]), Protocol::Http1, Vec::new()),
    );

    // Both are tried in turn, from any: one of these has waited and gone on to the other endpoint,
    // or both have.
    for _ in 0..2 {
        assert_eq!(status(&get(&proxy)), "200");
    }
    let failures = || proxy.shared.counters()[0].connect_failures.value();
    let before = failures();
    assert!((1..=2).contains(&before), "{before}");

    thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| assert_eq!(status(&get(&proxy)), "200"));
        }
    });
    let waited = failures() - before;
    assert!(waited <= 3, "{waited} requests waited");
}
