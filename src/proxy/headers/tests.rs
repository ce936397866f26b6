use super::*;

fn conn(trusted: bool) -> ConnInfo {
    let client = "192.0.2.9:4000".parse().expect("an address");
    ConnInfo {
        client,
        peer: client,
        local: "192.0.2.1:443".parse().expect("an address"),
        listener: Some(443),
        client_ip: HeaderValue::from_static("192.0.2.9"),
        trusted,
        tls: None,
        state: crate::proxy::conn_state::ConnState::of_tests(),
        pins: crate::proxy::pin::Pins::default(),
    }
}

/// A client whose `Host` has no port.
fn client<'a>(conn: &'a ConnInfo, trusted: &'a [IpNet], headers: &HeaderMap) -> Client<'a> {
    static HOST: HeaderValue = HeaderValue::from_static("a.example");
    let outside = Outside::of(conn, headers, None, Default::default());
    Client {
        conn,
        trusted,
        host: &HOST,
        outside,
    }
}

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = fields.iter().map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    let mut map = HeaderMap::new();

    for (name, value) in pairs {
        map.append(name, value);
    }
    map
}

#[test]
fn connection_removes_fields_but_not_framing_or_routing() {
    let mut headers = map(&[
        ("connection", "close, X-Secret, host, content-length"),
        ("x-secret", "1"),
        ("host", "a.example"),
        ("content-length", "3"),
        ("keep-alive", "5"),
        ("te", "gzip"),
        ("accept", "*/*"),
    ]);
    strip(&mut headers);
    let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["accept", "content-length", "host"]);
}

#[test]
fn what_an_untrusted_client_claims_is_replaced() {
    let mut headers = map(&[
        ("x-forwarded-for", "10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("x_forwarded_for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-ssl", "on"),
        ("x-forwarded-user", "root"),
        ("x-forwarded-anything-else", "1"),
        ("content_length", "9"),
        ("transfer_encoding", "chunked"),
        ("x-request-id", "mine"),
        ("x_own", "kept"),
    ]);
    let conn = conn(false);
    let client = client(&conn, &[], &headers);

    forwarded(&mut headers, client, || HeaderValue::from_static("id"));
    assert_eq!(headers["x-forwarded-for"], "192.0.2.9");
    assert_eq!(headers["x-real-ip"], "192.0.2.9");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-forwarded-host"], "a.example");
    assert_eq!(headers["x-forwarded-port"], "80");
    assert_eq!(headers["x-request-id"], "id");
    let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(
        left,
        [
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-proto",
            "x-forwarded-scheme",
            "x-real-ip",
            "x-request-id",
            "x-scheme",
            "x_own",
        ]
    );
}

#[test]
fn what_a_trusted_proxy_says_is_believed_and_extended() {
    let trusted = ["192.0.2.0/24".parse().expect("a network")];
    let mut headers = map(&[
        ("x-forwarded-for", "6.6.6.6, 198.51.100.7"),
        ("x-forwarded-for", "192.0.2.77"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "theirs"),
    ]);
    let conn = conn(true);
    let client = client(&conn, &trusted, &headers);

    forwarded(&mut headers, client, || HeaderValue::from_static("id"));
    assert_eq!(
        headers["x-forwarded-for"],
        "6.6.6.6, 198.51.100.7, 192.0.2.77, 192.0.2.9"
    );
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert_eq!(headers["x-scheme"], "https");
    assert_eq!(headers["x-forwarded-port"], "443");
    assert_eq!(headers["x-request-id"], "theirs");
    assert_eq!(headers["x-real-ip"], "198.51.100.7");
}

#[test]
fn addresses_are_read_as_proxies_write_them() {
    for (text, expected) in [
        ("192.0.2.1", Some("192.0.2.1")),
        ("192.0.2.1:5678", Some("192.0.2.1")),
        ("2001:db8::1", Some("2001:db8::1")),
        ("[2001:db8::1]", Some("2001:db8::1")),
        ("[2001:db8::1]:443", Some("2001:db8::1")),
        ("2001:DB8:0::1", Some("2001:db8::1")),
        ("::ffff:192.0.2.1", Some("192.0.2.1")),
        ("[::ffff:192.0.2.1]:443", Some("192.0.2.1")),
        ("", None),
        ("unknown", None),
        ("_hidden", None),
        ("192.0.2.1:", None),
        ("192.0.2.1:65536", None),
        ("[192.0.2.1]", None),
        ("[2001:db8::1", None),
        ("a.example", None),
    ] {
        assert_eq!(
            address(text.as_bytes())
                .map(|addr| addr.to_string())
                .as_deref(),
            expected,
            "{text:?}"
        );
    }
}

#[test]
fn the_client_is_the_last_that_no_trusted_proxy_is() {
    let trusted = ["192.0.2.0/24".parse().expect("a network")];

    for (chain, expected) in [
        ("198.51.100.7", "198.51.100.7"),
        ("6.6.6.6, 198.51.100.7:4711", "198.51.100.7"),
        ("[2001:db8::1]:443, 192.0.2.77:80", "2001:db8::1"),
        ("6.6.6.6, ::ffff:192.0.2.77", "6.6.6.6"),
        // All are trusted: the outermost one is the client.
        ("192.0.2.5, 192.0.2.6", "192.0.2.5"),
        // An element that is not an address ends the trusted part.
        ("6.6.6.6, unknown, 192.0.2.6", "192.0.2.6"),
        ("6.6.6.6, unknown", "192.0.2.9"),
        ("", "192.0.2.9"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_FOR, HeaderValue::from_static(chain));
        let conn = conn(true);
        let client = client(&conn, &trusted, &headers);

        forwarded(&mut headers, client, || HeaderValue::from_static("id"));
        assert_eq!(headers["x-real-ip"], expected, "{chain:?}");
        assert!(
            headers["x-forwarded-for"]
                .to_str()
                .expect("text")
                .ends_with("192.0.2.9"),
            "{headers:?}"
        );
    }
}

#[test]
fn backends_are_told_one_scheme() {
    for (fields, expected) in [
        (&[("x-forwarded-proto", "https, http")][..], "https"),
        (
            &[
                ("x-forwarded-proto", "https"),
                ("x-forwarded-proto", "http"),
            ],
            "https",
        ),
        (&[("x-forwarded-proto", "nonsense")], "http"),
        (&[("x-forwarded-proto", "wss")], "wss"),
        (&[], "http"),
    ] {
        let mut headers = map(fields);
        let conn = conn(true);
        let client = client(&conn, &[], &headers);

        forwarded(&mut headers, client, || HeaderValue::from_static("id"));
        assert_eq!(
            headers
                .get_all("x-forwarded-proto")
                .iter()
                .collect::<Vec<_>>(),
            [expected],
            "{fields:?}"
        );
    }
}

#[test]
fn rfc9113_8_2_3_cookie_crumbs_are_joined() {
    let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2")]);
    join_cookies(&mut headers, Version::HTTP_11);
    assert_eq!(headers.len(), 2, "HTTP/1.1 has no crumbs");
    join_cookies(&mut headers, Version::HTTP_2);
    assert_eq!(
        headers.get_all("cookie").iter().collect::<Vec<_>>(),
        ["a=1; b=2"]
    );
}

/// The fields for an HTTP/1.1 endpoint are written directly from the client's fields. They must
/// equal the map for an HTTP/2 endpoint.
#[test]
fn endpoints_of_both_protocols_get_the_same_fields() {
    let fields = map(&[
        ("host", "a.example"),
        ("accept", "*/*"),
        ("connection", "X-Secret, keep-alive"),
        ("x-secret", "1"),
        ("keep-alive", "5"),
        ("te", "trailers"),
        ("upgrade", "x"),
        ("content-length", "3"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-ssl", "on"),
        ("x-real-ip", "10.0.0.1"),
        ("x_forwarded_for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("cookie", "a=1"),
        ("x-many", "1"),
        ("x-many", "2"),
    ]);

    for trusted in [false, true] {
        let conn = conn(trusted);
        let client = client(&conn, &[], &fields);
        let id = HeaderValue::from_static("id");
        let (mut mapped, mut written) = (fields.clone(), fields.clone());
        strip(&mut mapped);

        forwarded(&mut mapped, client, || id.clone());

        // The writer of the body adds its length.
        mapped.remove(HOST);
        mapped.remove(CONTENT_LENGTH);
        let mut head = HeadWriter::new(
            &http::Method::GET,
            &http::uri::PathAndQuery::from_static("/"),
        );
        write(&mut head, &mut written, client, id);
        let mut lines: Vec<String> = head.text().lines().skip(1).map(str::to_owned).collect();
        let text = |value: &HeaderValue| value.to_str().expect("text").to_owned();
        let mut expected: Vec<_> = mapped
            .iter()
            .map(|(name, value)| format!("{name}: {}", text(value)))
            .collect();
        lines.sort_unstable();
        expected.sort_unstable();
        assert_eq!(lines, expected, "trusted: {trusted}");
    }
}
