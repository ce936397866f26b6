//! Request bodies that are read before an endpoint is asked.

use super::{
    policy::{table_with, to_endpoints},
    *,
};
use crate::routing::Policy;

/// The bytes that are read before an endpoint is asked.
const BOUND: usize = 100;

/// A proxy with these endpoints that reads bodies ahead.
fn reading_ahead(endpoints: &[SocketAddr], policy: Policy) -> Proxy {
    let settings = Settings {
        max_buffered_bytes: BOUND,
        ..Settings::default()
    };
    let policy = Policy {
        reads_ahead: true,
        ..policy
    };
    start(settings, table_with(to_endpoints(endpoints), policy))
}

/// A backend that says when it was asked, and then what the body was.
fn telling() -> (SocketAddr, Receiver<String>) {
    let (told, telling) = mpsc::channel();
    let addr = backend(move |_, mut stream| {
        let head = head(&mut stream);
        if head.is_empty() {
            return;
        }
        told.send("asked".to_owned()).expect("a listener");
        let mut body = String::new();
        while !body.contains("END") {
            body += &exactly(&mut stream, 1);
        }
        told.send(body).expect("a listener");
        say(&mut stream, OK);
    });
    (addr, telling)
}

/// Long enough for a request to reach a backend.
const SOON: Duration = Duration::from_millis(300);

#[test]
fn an_endpoint_is_asked_when_the_whole_body_is_there() {
    for (framing, first, rest) in [
        ("Content-Length: 8", "01234", "END"),
        (
            "Transfer-Encoding: chunked",
            "5\r\n01234\r\n",
            "3\r\nEND\r\n0\r\n\r\n",
        ),
    ] {
        let (addr, told) = telling();
        let proxy = reading_ahead(&[addr], Policy::default());
        let mut client = client(&proxy);
        let head = format!("POST / HTTP/1.1\r\nHost: a.example\r\n{framing}\r\n\r\n");
        say(&mut client, &(head + first));
        assert!(told.recv_timeout(SOON).is_err(), "{framing}: it was asked");

        say(&mut client, rest);
        assert_eq!(told.recv().expect("a request"), "asked");
        let body = told.recv().expect("a body");
        assert!(body.contains("01234") && body.ends_with("END"), "{body}");
        assert!(exactly(&mut client, OK.len()).starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn what_is_beyond_the_bound_is_passed_on_as_it_comes() {
    let (addr, told) = telling();
    let proxy = reading_ahead(&[addr], Policy::default());
    let mut client = client(&proxy);
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 203\r\n\r\n";
    say(&mut client, &(head.to_owned() + &"a".repeat(BOUND)));
    assert_eq!(told.recv().expect("a request"), "asked");

    say(&mut client, &("b".repeat(BOUND) + "END"));
    let body = told.recv().expect("a body");
    assert_eq!(body, "a".repeat(BOUND) + &"b".repeat(BOUND) + "END");
}

#[test]
fn a_body_that_ends_badly_never_reaches_an_endpoint() {
    let (addr, told) = telling();
    let policy = Policy {
        max_body_bytes: Some(10),
        ..Policy::default()
    };
    let proxy = reading_ahead(&[addr], policy);
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, expected) in [("b\r\n0123456789a\r\n0\r\n\r\n", "413"), ("x\r\n", "400")] {
        let response = ask(&proxy, &(chunked.to_owned() + body));
        assert_eq!(status(&response), expected, "{body}");
    }

    let mut gone = client(&proxy);
    say(&mut gone, &(chunked.to_owned() + "5\r\n01"));
    drop(gone);
    assert!(told.recv_timeout(SOON).is_err(), "it was asked");
}

#[test]
fn a_body_that_is_there_goes_to_the_next_endpoint() {
    let (addr, told) = telling();
    let proxy = reading_ahead(&[refusing(), addr], Policy::default());
    for _ in 0..2 {
        let request = "PUT / HTTP/1.1\r\nContent-Length: 8\r\n\r\n01234END";
        assert_eq!(status(&ask(&proxy, request)), "200");
        assert_eq!(told.recv().expect("a request"), "asked");
        assert_eq!(told.recv().expect("a body"), "01234END");
    }
}

#[test]
fn a_slow_body_has_the_time_of_its_request() {
    let (addr, told) = telling();
    let policy = Policy {
        timeouts: crate::routing::Timeouts {
            request: Some(Duration::from_millis(50)),
            ..Default::default()
        },
        ..Policy::default()
    };
    let proxy = reading_ahead(&[addr], policy);
    let mut client = client(&proxy);
    say(
        &mut client,
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n0123",
    );
    let status = exactly(&mut client, 12);
    assert_eq!(status, "HTTP/1.1 504");
    assert!(told.try_recv().is_err(), "it was asked");
}
