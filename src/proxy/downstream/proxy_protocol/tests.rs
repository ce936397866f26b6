use super::*;

/// Returns the parsed header, and the bytes left for the next reader.
async fn read_all(bytes: &[u8]) -> (Result<Addresses, String>, Vec<u8>) {
    let mut rest = bytes;
    let said = read(&mut rest).await.map_err(|error| error.to_string());
    (said, rest.to_vec())
}

fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(addresses.len()).expect("short").to_be_bytes());
    bytes.extend(addresses);
    bytes
}

#[tokio::test]
async fn both_versions_name_the_client_and_leave_the_rest_alone() {
    let expected = Some((
        "192.0.2.7:4711".parse().unwrap(),
        "198.51.100.1:443".parse().unwrap(),
    ));
    let (said, rest) =
        read_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\nGET / HTTP/1.1\r\n").await;
    assert_eq!(said, Ok(expected));
    assert_eq!(rest, b"GET / HTTP/1.1\r\n");

    let addresses = [
        192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 0xbb, /* an extension */ 4, 0, 1, 0,
    ];
    let (said, rest) = read_all(&[&v2(0x21, 0x11, &addresses), &b"rest"[..]].concat()).await;
    assert_eq!(said, Ok(expected));
    assert_eq!(rest, b"rest");

    let (said, _) = read_all(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n").await;
    assert_eq!(
        said,
        Ok(Some((
            "[2001:db8::1]:1".parse().unwrap(),
            "[2001:db8::2]:65535".parse().unwrap()
        )))
    );
    let mut addresses = [0; 36];
    addresses[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
    addresses[35] = 80;
    let (said, _) = read_all(&v2(0x21, 0x21, &addresses)).await;
    assert_eq!(
        said,
        Ok(Some((
            "[2001:db8::]:0".parse().unwrap(),
            "[::]:80".parse().unwrap()
        )))
    );
}

#[tokio::test]
async fn a_proxy_may_speak_for_itself() {
    assert_eq!(read_all(b"PROXY UNKNOWN\r\n").await.0, Ok(None));
    assert_eq!(
        read_all(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n").await.0,
        Ok(None)
    );
    assert_eq!(read_all(&v2(0x20, 0, &[])).await.0, Ok(None));
    assert_eq!(read_all(&v2(0x21, 0, &[1, 2, 3])).await.0, Ok(None));
}

#[tokio::test]
async fn anything_else_is_refused_with_the_reason() {
    let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();

    for (bytes, why) in [
        (
            b"GET / HTTP/1.1\r\n\r\n".as_slice(),
            "no PROXY protocol header",
        ),
        (
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
            "PROXY line too short",
        ),
        (
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443 1\r\n",
            "PROXY line too long",
        ),
        (
            b"PROXY TCP4 192.0.2.7 ::1 4711 443\r\n",
            "bad address in PROXY line",
        ),
        (
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 65536\r\n",
            "bad port in PROXY line",
        ),
        (
            b"PROXY UDP4 192.0.2.7 198.51.100.1 4711 443\r\n",
            "unknown protocol in PROXY line",
        ),
        (&long, "PROXY line too long"),
        (
            &v2(0x31, 0x11, &[0; 12]),
            "unknown version or command in PROXY header",
        ),
        (&v2(0x21, 0x11, &[0; 11]), "PROXY header too short"),
        (&v2(0x21, 0x11, &[0; 5000]), "PROXY header too long"),
    ] {
        assert_eq!(
            read_all(bytes).await.0,
            Err(why.to_owned()),
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
    assert!(read_all(b"PROXY TCP4 192").await.0.is_err());
}
