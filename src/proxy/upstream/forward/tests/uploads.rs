//! Requests with a body whose response comes first.

use super::*;

#[test]
fn a_response_before_the_end_of_the_body_is_passed_on() {
    let proxy = to(&[backend(|_, mut stream| {
        head(&mut stream);
        say(
            &mut stream,
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
        );
        let _ = stream.read_to_end(&mut Vec::new());
    })]);

    for _ in 0..3 {
        let mut stream = client(&proxy);
        say(
            &mut stream,
            "PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000\r\n\r\nsome",
        );
        assert_eq!(status(&head(&mut stream)), "403");
        assert_eq!(exactly(&mut stream, 2), "no");
    }

    // No connection with half a request on it went back to the pool.
    assert_eq!(proxy.shared.counters()[0].connects.value(), 3);
}

#[test]
fn an_early_response_survives_a_backend_that_closes() {
    let proxy = to(&[backend(|_, mut stream| {
        head(&mut stream);
        exactly(&mut stream, 1000);
        say(
            &mut stream,
            "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
        );
    })]);

    for _ in 0..10 {
        let mut stream = client(&proxy);
        say(
            &mut stream,
            "PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 50000000\r\n\r\n",
        );
        let mut upload = stream.try_clone().expect("clone");
        let sending = thread::spawn(move || {
            let part = [b'x'; 65536];
            while upload.write_all(&part).is_ok() {}
        });
        assert_eq!(status(&head(&mut stream)), "413");
        assert_eq!(exactly(&mut stream, 2), "no");
        let _ = stream.shutdown(Shutdown::Both);
        sending.join().expect("no panic");
    }
}

#[test]
fn an_upload_continues_while_its_response_waits() {
    const UPLOAD: usize = 32 << 20;
    let (tx, rx) = mpsc::channel();
    let tx = Mutex::new(tx);

    let proxy = to(&[backend(move |_, mut stream| {
        head(&mut stream);
        let mut responding = stream.try_clone().expect("clone");
        thread::spawn(move || {
            say(
                &mut responding,
                &format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 256 << 20),
            );
            while responding.write_all(&[0; 65536]).is_ok() {}
        });
        let taken = std::io::copy(&mut stream.take(UPLOAD as u64), &mut std::io::sink()).ok();
        tx.lock()
            .expect("lock")
            .send(taken)
            .expect("the test listens");
    })]);

    let mut stream = client(&proxy);
    say(
        &mut stream,
        &format!("PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {UPLOAD}\r\n\r\n"),
    );
    assert_eq!(status(&head(&mut stream)), "200");

    // The client reads nothing more, until it has sent everything.
    for _ in 0..UPLOAD / 65536 {
        stream.write_all(&[b'x'; 65536]).expect("taken");
    }
    assert_eq!(
        rx.recv_timeout(Duration::from_secs(60)),
        Ok(Some(UPLOAD as u64))
    );
}

#[test]
fn an_upload_may_take_longer_than_its_response() {
    let settings = Settings {
        response_header_timeout: Duration::from_millis(400),
        ..Settings::default()
    };

    let proxy = with(
        settings,
        backend(|_, mut stream| {
            head(&mut stream);
            exactly(&mut stream, 10);
            say(&mut stream, OK);
        }),
    );

    let mut stream = client(&proxy);
    say(
        &mut stream,
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\n",
    );

    for _ in 0..10 {
        // The pace of a slow client is what is tested here.
        thread::sleep(Duration::from_millis(120));
        say(&mut stream, "x");
    }
    assert_eq!(status(&head(&mut stream)), "200");
}

#[test]
fn only_a_request_that_is_taken_is_told_to_continue() {
    let addr = backend(|_, mut stream| {
        let head = head(&mut stream);
        assert!(!head.contains("expect:"), "{head}");
        exactly(&mut stream, 4);
        say(&mut stream, OK);
    });

    let proxy = with(
        Settings {
            max_body_bytes: Some(4),
            ..Settings::default()
        },
        addr,
    );

    let mut stream = client(&proxy);
    say(
        &mut stream,
        "POST / HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    );
    assert_eq!(status(&head(&mut stream)), "100");
    say(&mut stream, "body");
    assert_eq!(status(&head(&mut stream)), "200");
    assert_eq!(
        status(&ask(
            &proxy,
            "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )),
        "413"
    );
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(status(&ask(&proxy, chunked)), "413");
    let refused = to(&[refusing()]);
    assert_eq!(
        status(&ask(
            &refused,
            "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )),
        "502"
    );
}
