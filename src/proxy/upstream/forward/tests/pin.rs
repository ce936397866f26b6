//! Endpoints that authenticate a connection and not a request, as NTLM and Negotiate do.

use super::{h2::connect, *};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http_body_util::{BodyExt, Empty};

/// A backend that asks for NTLM, in three steps on one connection, and then attributes every
/// request on it to that user. Its response names the user and the number of the connection.
/// `/public` needs no login.
fn ntlm() -> SocketAddr {
    backend(|index, mut stream| {
        let mut challenged = false;
        let mut user: Option<String> = None;
        loop {
            let head = head(&mut stream);
            if head.is_empty() {
                return;
            }
            let said = head
                .lines()
                .find_map(|line| line.strip_prefix("authorization: ntlm "));
            let ask = match said {
                _ if head.starts_with("get /public ") => None,
                Some("hello") => {
                    challenged = true;
                    Some("NTLM challenge\r\n")
                }
                Some(name) if challenged => {
                    (challenged, user) = (false, Some(name.to_owned()));
                    None
                }
                _ if user.is_some() => None,
                _ => Some("Basic realm=\"x\", nEGOTIATE\r\nWWW-Authenticate: ntlm\r\n"),
            };
            let body = format!("{} on {index}", user.as_deref().unwrap_or("nobody"));
            let response = match ask {
                Some(ask) => format!(
                    "401 Unauthorized\r\nWWW-Authenticate: {ask}Content-Length: 2\r\n\r\nno"
                ),
                None => format!("200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
            };
            say(&mut stream, &format!("HTTP/1.1 {response}"));
        }
    })
}

/// One request on a client connection: status and body.
fn next(stream: &mut TcpStream, path: &str, authorization: &str) -> (String, String) {
    let field = if authorization.is_empty() {
        String::new()
    } else {
        format!("Authorization: {authorization}\r\n")
    };
    say(
        stream,
        &format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n{field}\r\n"),
    );
    let head = head(stream);
    let length = head
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next())
        .expect("a length");
    let body = exactly(stream, length.parse().expect("a number"));
    (status(&head).to_owned(), body)
}

/// Authenticates as a browser does, and returns the number of the endpoint's connection.
fn log_in(stream: &mut TcpStream, user: &str) -> String {
    assert_eq!(next(stream, "/", "").0, "401");
    assert_eq!(next(stream, "/", "NTLM hello").0, "401");
    let (status, body) = next(stream, "/", &format!("NTLM {user}"));
    assert_eq!(status, "200", "the three steps are on one connection");
    body.strip_prefix(&format!("{user} on "))
        .unwrap_or_else(|| panic!("{body} is not for {user}"))
        .to_owned()
}

#[test]
fn each_client_sees_only_itself_behind_ntlm() {
    let proxy = to(&[ntlm()]);
    let (mut alice, mut bob, mut eve) = (client(&proxy), client(&proxy), client(&proxy));
    let of_alice = log_in(&mut alice, "alice");

    for _ in 0..4 {
        assert_eq!(
            next(&mut eve, "/", "").0,
            "401",
            "a request after Alice's is not Alice's"
        );
    }
    let of_bob = log_in(&mut bob, "bob");
    assert_ne!(of_alice, of_bob);

    for _ in 0..4 {
        assert_eq!(next(&mut alice, "/", "").1, format!("alice on {of_alice}"));
        assert_eq!(next(&mut bob, "/", "").1, format!("bob on {of_bob}"));
        assert_eq!(next(&mut eve, "/", "").0, "401");
    }

    // Others still share connections.
    for _ in 0..4 {
        assert_eq!(
            next(&mut client(&proxy), "/public", ""),
            ("200".to_owned(), "nobody on 3".to_owned())
        );
    }
}

#[test]
fn credentials_pin_their_connection_before_the_response() {
    let proxy = to(&[backend(|_, mut stream| {
        // It never asks for a login, and takes the user from the credentials that it gets.
        let mut user = "nobody".to_owned();
        loop {
            let head = head(&mut stream);
            if head.is_empty() {
                return;
            }
            if let Some(name) = head
                .lines()
                .find_map(|line| line.strip_prefix("authorization: negotiate "))
            {
                user = name.to_owned();
            }
            say(
                &mut stream,
                &format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{user}",
                    user.len()
                ),
            );
        }
    })]);
    let (mut alice, mut eve) = (client(&proxy), client(&proxy));
    assert_eq!(next(&mut eve, "/", "").1, "nobody");
    assert_eq!(next(&mut alice, "/", "Negotiate alice").1, "alice");
    assert_eq!(next(&mut eve, "/", "").1, "nobody");
    assert_eq!(next(&mut alice, "/", "").1, "alice");
}

#[test]
fn a_pinned_connection_ends_with_its_client() {
    let (tx, rx) = mpsc::channel();
    let tx = Mutex::new(tx);

    let proxy = to(&[backend(move |_, mut stream| {
        while !head(&mut stream).is_empty() {
            say(
                &mut stream,
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n",
            );
        }
        tx.lock().expect("lock").send(()).expect("the test listens");
    })]);

    let mut stream = client(&proxy);
    assert_eq!(next(&mut stream, "/", "").0, "401");
    assert_eq!(next(&mut stream, "/", "").0, "401");
    assert_eq!(proxy.shared.counters()[0].connects.value(), 1);
    assert!(
        rx.try_recv().is_err(),
        "it is there for the client's next request"
    );

    drop(stream);
    rx.recv_timeout(Duration::from_secs(20))
        .expect("it is closed");
}

#[test]
fn a_dead_pinned_connection_is_replaced_by_a_pinned_one() {
    let proxy = to(&[backend(|index, mut stream| {
        let asks =
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n";
        let answers = if index == 0 { 1 } else { usize::MAX };

        for _ in 0..answers {
            if head(&mut stream).is_empty() {
                return;
            }
            let own = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{index}");
            say(&mut stream, if index == 0 { asks } else { &own });
        }
    })]);
    let (mut stream, mut other) = (client(&proxy), client(&proxy));
    assert_eq!(next(&mut stream, "/", "").0, "401");

    for _ in 0..3 {
        assert_eq!(next(&mut stream, "/", "").1, "1");
        assert_eq!(next(&mut other, "/", "").1, "2");
    }
}

#[test]
fn an_endpoint_that_is_gone_gets_no_more_of_a_pinned_client() {
    let backends = [ntlm(), ntlm()];
    let table = table(addresses(&backends[..1]), Protocol::Http1, Vec::new());
    let route = table.default_route().expect("a route");
    let backend = route.action.backends().next().expect("a backend").clone();

    let proxy = start(Settings::default(), table);
    let mut alice = client(&proxy);
    log_in(&mut alice, "alice");
    backend.set_endpoints(addresses(&backends[1..]));
    assert_eq!(
        next(&mut alice, "/", "").0,
        "401",
        "the other endpoint does not know Alice"
    );
    log_in(&mut alice, "alice");
}

#[test]
fn requests_over_http2_take_turns_on_a_pinned_connection() {
    let proxy = to(&[ntlm()]);
    local(async {
        let mut clients = Vec::new();

        for user in ["alice", "bob"] {
            let mut sender = connect::<Empty<Bytes>>(&proxy).await;

            for (authorization, expected) in [
                ("NTLM hello".to_owned(), 401),
                (format!("NTLM {user}"), 200),
            ] {
                let request =
                    Request::get("http://a.example/").header(AUTHORIZATION, authorization);
                let response = sender
                    .send_request(request.body(Empty::new()).expect("request"))
                    .await
                    .expect("response");
                assert_eq!(response.status(), expected, "{user}");
                response.into_body().collect().await.expect("body");
            }
            clients.push((user, sender));
        }
        let mut all = Vec::new();

        for number in 0..40 {
            let (user, mut sender) = clients[number % 2].clone();
            let request = Request::get("http://a.example/")
                .body(Empty::new())
                .expect("request");
            all.push(tokio::task::spawn_local(async move {
                let response = sender.send_request(request).await.expect("response");
                assert_eq!(response.status(), 200);
                let body = response
                    .into_body()
                    .collect()
                    .await
                    .expect("body")
                    .to_bytes();
                assert!(body.starts_with(user.as_bytes()), "{body:?} for {user}");
            }));
        }

        for one in all {
            one.await.expect("no panic");
        }
    });
    assert_eq!(proxy.shared.counters()[0].connects.value(), 2);
}
