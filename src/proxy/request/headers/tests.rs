use super::*;

fn conn(trusted: bool) -> ConnInfo {
    let client = "192.0.2.9:4000".parse().expect("an address");
    ConnInfo {
        client,
        peer: client,
        local: "192.0.2.1:443".parse().expect("an address"),
        listener: Some(443),
        client_ip: "192.0.2.9".into(),
        trusted,
        tls: None,
        pins: crate::proxy::upstream::pin::Pins::default(),
    }
}

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    fields
}

/// Returns the fields that an endpoint gets, of a client whose `Host` has no port.
fn sent(lines: &[(&str, &str)], conn: &ConnInfo, trusted: &[IpNet]) -> Vec<(String, String)> {
    let fields = fields(lines);
    let client = Client {
        conn,
        trusted,
        host: b"a.example",
        outside: Outside::of(conn, &fields, None, Default::default()),
        request_id: b"id",
        loop_id: b"us",
        changes: &Changes::default(),
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let mut sent = Vec::new();
    write(&fields, client, |name, value| {
        sent.push((text(name), text(value)));
    });
    sent
}

/// Returns the only value of a field.
fn only<'a>(sent: &'a [(String, String)], name: &str) -> &'a str {
    let values: Vec<_> = sent.iter().filter(|field| field.0 == name).collect();
    let [(_, value)] = *values else {
        panic!("{name}: {values:?}");
    };
    value
}

fn names(sent: &[(String, String)]) -> Vec<&str> {
    sent.iter().map(|(name, _)| &**name).collect()
}

const FORWARDED: [&str; 9] = [
    "x-forwarded-for",
    "x-real-ip",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-scheme",
    "x-request-id",
    "cdn-loop",
];

#[test]
fn connection_removes_fields_but_not_framing_or_routing() {
    for trusted in [false, true] {
        let lines = [
            ("Connection", "close, X-Secret, host, content-length"),
            ("X-SECRET", "1"),
            ("host", "a.example"),
            ("content-length", "3"),
            ("Keep-Alive", "5"),
            ("TE", "gzip"),
            ("Upgrade", "x"),
            ("Proxy-Authorization", "Basic x"),
            ("Accept", "*/*"),
        ];
        let sent = sent(&lines, &conn(trusted), &[]);
        // `Host` and the framing are written apart from the other fields.
        let expected: Vec<_> = ["Accept"].into_iter().chain(FORWARDED).collect();
        assert_eq!(names(&sent), expected, "trusted: {trusted}");
    }

    let named = |value: &'static str| named(value.as_bytes()).collect::<Vec<_>>();
    assert_eq!(
        named("close, X-Secret, Host, content-length,"),
        [b"X-Secret"]
    );
}

#[test]
fn what_an_untrusted_client_claims_is_replaced() {
    let lines = [
        ("X-Forwarded-For", "10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("x_forwarded_for", "10.0.0.1"),
        ("X_Real-IP", "10.0.0.1"),
        ("Forwarded", "for=10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-ssl", "on"),
        ("X-FORWARDED-USER", "root"),
        ("x-forwarded-anything-else", "1"),
        ("content_length", "9"),
        ("Transfer_Encoding", "chunked"),
        ("x-request-id", "mine"),
        ("x_own", "kept"),
    ];
    let sent = sent(&lines, &conn(false), &[]);
    assert_eq!(only(&sent, "x-forwarded-for"), "192.0.2.9");
    assert_eq!(only(&sent, "x-real-ip"), "192.0.2.9");
    assert_eq!(only(&sent, "x-forwarded-proto"), "http");
    assert_eq!(only(&sent, "x-forwarded-host"), "a.example");
    assert_eq!(only(&sent, "x-forwarded-port"), "80");
    assert_eq!(only(&sent, "x-request-id"), "id");

    let expected: Vec<_> = ["x_own"].into_iter().chain(FORWARDED).collect();
    assert_eq!(names(&sent), expected);
}

#[test]
fn what_a_trusted_proxy_says_is_believed_and_extended() {
    let trusted = ["192.0.2.0/24".parse().expect("a network")];
    let lines = [
        ("x-forwarded-for", "6.6.6.6, 198.51.100.7"),
        ("x-forwarded-for", "192.0.2.77"),
        ("X-Forwarded-Proto", "https"),
        ("x_forwarded_proto", "http"),
        ("x-forwarded-ssl", "on"),
        ("x-request-id", "theirs"),
    ];
    let sent = sent(&lines, &conn(true), &trusted);
    assert_eq!(
        only(&sent, "x-forwarded-for"),
        "6.6.6.6, 198.51.100.7, 192.0.2.77, 192.0.2.9"
    );
    assert_eq!(only(&sent, "X-Forwarded-Proto"), "https");
    assert_eq!(only(&sent, "x-forwarded-ssl"), "on");
    assert_eq!(only(&sent, "x-scheme"), "https");
    assert_eq!(only(&sent, "x-forwarded-port"), "443");
    assert_eq!(only(&sent, "x-request-id"), "theirs");
    assert_eq!(only(&sent, "x-real-ip"), "198.51.100.7");
    assert_eq!(sent.len(), 10, "{sent:?}");
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
        let sent = sent(&[("x-forwarded-for", chain)], &conn(true), &trusted);
        assert_eq!(only(&sent, "x-real-ip"), expected, "{chain:?}");
        assert!(
            only(&sent, "x-forwarded-for").ends_with("192.0.2.9"),
            "{sent:?}"
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
        let sent = sent(fields, &conn(true), &[]);
        assert_eq!(only(&sent, "x-forwarded-proto"), expected, "{fields:?}");
    }
}

/// Old devices and some clients depend on it.
#[test]
fn names_keep_their_case_and_fields_their_order() {
    let lines = [
        ("B", "1"),
        ("a", "2"),
        ("X-Many", "1"),
        ("b", "3"),
        ("x-MANY", "2"),
    ];
    let sent = sent(&lines, &conn(false), &[]);
    assert_eq!(names(&sent)[..5], ["B", "a", "X-Many", "b", "x-MANY"]);
}
