use super::*;

/// Returns the start, whatever the pieces.
fn started(bytes: &[u8]) -> Option<Result<Start, TooLong>> {
    let whole = start_of(bytes, usize::MAX).0.transpose();
    for size in [1, 3, 5, 1000] {
        assert_eq!(start_of(bytes, size).0.transpose(), whole, "{size}");
    }
    whole
}

fn hello(bytes: &[u8]) -> Hello {
    match started(bytes) {
        Some(Ok(Start::Hello(hello))) => hello,
        other => panic!("{other:?}"),
    }
}

fn list(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a short list");
    [&length.to_be_bytes(), bytes].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &list(data)].concat()
}

fn name(text: &[u8]) -> Vec<u8> {
    extension(0, &list(&[&[0], &list(text)[..]].concat()))
}

/// A ClientHello with these extensions, as a message.
fn message(extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([2, 1, 1]);
    body.extend(list(&[0x13, 0x01]));
    body.extend([1, 0]);
    body.extend(list(extensions));
    let length = u32::try_from(body.len()).expect("a short message");
    [&[1], &length.to_be_bytes()[1..], &body].concat()
}

/// The message in records of this size.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let records = message.chunks(size);
    let records = records.map(|record| [&[22, 3, 1][..], &list(record)].concat());
    records.collect::<Vec<_>>().concat()
}

#[test]
fn a_name_is_found_in_every_division_into_records() {
    let protocols = list(b"\x02h2\x08http/1.1");
    let extensions = [
        extension(13, b"xyz"),
        name(b"A.example"),
        extension(16, &protocols),
    ];
    let message = message(&extensions.concat());
    for size in [1, 3, 4, 5, 40, 1 << 14] {
        let bytes = records(&message, size);
        let found = hello(&bytes);
        assert_eq!(found.server_name.as_deref(), Some("A.example"), "{size}");
        assert_eq!(found.protocols, [&b"h2"[..], b"http/1.1"].map(Into::into));

        // Not one byte of what follows is read.
        let more = [&bytes[..], b"more"].concat();
        assert_eq!(start_of(&more, usize::MAX).1, bytes.len(), "{size}");
        let cut = start_of(&bytes[..bytes.len() - 1], 7).0.transpose();
        assert_eq!(cut, None, "{size}");
    }
}

#[test]
fn a_large_hello_is_read_up_to_the_limit() {
    let with =
        |length: usize| message(&[name(b"a.example"), extension(51, &vec![0; length])].concat());
    let large = hello(&records(&with(60_000), 1 << 14));
    assert_eq!(large.server_name.as_deref(), Some("a.example"));

    let too_large = records(&with(65_450), 1 << 14);
    assert_eq!(started(&too_large), Some(Err(TooLong)));
    // The heads of its records count too.
    let divided = records(&with(60_000), 10);
    assert_eq!(started(&divided), Some(Err(TooLong)));
    let announced = [&[22, 3, 1, 0, 4][..], &[1, 1, 0, 1]].concat();
    assert_eq!(started(&announced), Some(Err(TooLong)));
}

#[test]
fn a_hello_without_a_name_is_one() {
    let bare = hello(&records(&message(b""), 1 << 14));
    assert_eq!(bare, Hello::default());

    // SSL 3.0 and old versions of TLS have no extensions at all.
    let mut old = message(b"");
    old.truncate(old.len() - 2);
    old[3] -= 2;
    assert_eq!(hello(&records(&old, 1 << 14)), Hello::default());
}

#[test]
fn what_is_malformed_is_left_to_the_end_of_tls() {
    let one = name(b"a.example");
    let wrong_type = [&[22, 3, 1][..], &list(b"\x02\0\0\0")].concat();
    for (what, bytes) in [
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("an alert", vec![21, 3, 1, 0, 2, 1, 0]),
        ("SSL 2", vec![0x80, 0x2e, 1, 3, 1]),
        ("an empty record", vec![22, 3, 1, 0, 0]),
        ("a long record", vec![22, 3, 1, 0x40, 1]),
        ("another version", vec![22, 2, 0, 0, 4, 1, 0, 0, 0]),
        ("another message", wrong_type),
        (
            "two names",
            records(&message(&[&one[..], &one].concat()), 99),
        ),
        ("an empty name", records(&message(&name(b"")), 99)),
        ("a name of bytes", records(&message(&name(b"\xff")), 99)),
        (
            "an empty protocol",
            records(&message(&extension(16, &list(&[0]))), 99),
        ),
        ("a long extension", records(&message(&[0, 0, 0, 9, 0]), 99)),
        (
            "more after it",
            records(&[message(&one), vec![0]].concat(), 1 << 14),
        ),
    ] {
        assert_eq!(started(&bytes), Some(Ok(Start::Other)), "{what}");
    }

    let mut lists = one.clone();
    lists[5] = 0;
    let cut = |at: usize| one[..at].to_vec();
    for extensions in [lists, cut(3), cut(8), [cut(4), vec![0; 9]].concat()] {
        let bytes = records(&message(&extensions), 99);
        assert_eq!(started(&bytes), Some(Ok(Start::Other)), "{extensions:?}");
    }
}

#[test]
fn rustls_and_this_reader_see_the_same() {
    use tokio_rustls::rustls::{ClientConnection, pki_types::ServerName};

    let mut config = crate::tls::unverified_config();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let name = ServerName::try_from("a.example").expect("a name");
    let mut client = ClientConnection::new(config.into(), name).expect("a connection");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("a ClientHello");

    let found = hello(&bytes);
    assert_eq!(found.server_name.as_deref(), Some("a.example"));
    assert_eq!(found.protocols, [b"acme-tls/1"[..].into()]);
}
