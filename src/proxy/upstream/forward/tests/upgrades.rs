//! Upgraded connections.

use super::*;

#[test]
fn an_upgraded_connection_is_duplex_and_half_closes() {
    let (tx, rx): (Tx<String>, Receiver<String>) = mpsc::channel();
    let tx = Mutex::new(tx);

    let proxy = to(&[backend(move |_, mut stream| {
        tx.lock()
            .expect("lock")
            .send(head(&mut stream))
            .expect("the test listens");
        say(
            &mut stream,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n\
             hello ",
        );
        let mut all = Vec::new();
        stream
            .read_to_end(&mut all)
            .expect("until the client ends its direction");
        stream.write_all(&all).expect("write");
    })]);

    let mut stream = client(&proxy);
    say(
        &mut stream,
        "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\n\
         Upgrade: h2c, echo\r\n\
         HTTP2-Settings: AAA\r\n\r\n",
    );
    assert!(head(&mut stream).starts_with("http/1.1 101 "));
    say(&mut stream, "there");
    stream.shutdown(Shutdown::Write).expect("half-close");
    let mut all = String::new();
    stream
        .read_to_string(&mut all)
        .expect("until the backend ends");
    assert_eq!(all, "hello there");

    let seen = rx.recv().expect("a head");
    assert!(
        seen.contains("upgrade: echo\r\n")
            && !seen.contains("h2c")
            && !seen.contains("http2-settings"),
        "{seen}"
    );
}

#[test]
fn an_upgraded_connection_ends_when_its_backend_dies() {
    let proxy = to(&[backend(|_, mut stream| {
        head(&mut stream);
        say(
            &mut stream,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        );

        // Closed with data unread: a reset.
        exactly(&mut stream, 1);
    })]);

    let mut stream = client(&proxy);
    say(
        &mut stream,
        "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    );
    assert_eq!(status(&head(&mut stream)), "101");

    // Ends, because the proxy takes no more from a client whose backend is gone.
    while stream.write_all(&[b'x'; 65536]).is_ok() {}
}

#[test]
fn a_switch_of_protocols_that_nobody_asked_for_is_502() {
    let proxy = to(&[backend(|_, mut stream| {
        head(&mut stream);
        say(
            &mut stream,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        );
    })]);
    assert_eq!(status(&get(&proxy)), "502");
}

#[test]
fn an_upgraded_connection_on_which_nothing_moves_is_closed() {
    let settings = Settings {
        stream_idle_timeout: Duration::from_millis(200),
        ..Settings::default()
    };

    let proxy = with(
        settings,
        backend(|_, mut stream| {
            head(&mut stream);
            say(
                &mut stream,
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
            );
            let _ = stream.read_to_end(&mut Vec::new());
        }),
    );

    let mut stream = client(&proxy);
    say(
        &mut stream,
        "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    );
    assert_eq!(status(&head(&mut stream)), "101");
    assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
}
