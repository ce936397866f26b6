use proptest::prelude::*;

use super::*;

#[test]
fn rfc9112_3_2_good_authorities_reach_their_canonical_form() {
    for (given, host, port) in [
        ("example.com", "example.com", None),
        ("Example.COM", "example.com", None),
        ("example.com.", "example.com", None),
        ("example.com:8080", "example.com", Some(8080)),
        ("example.com.:443", "example.com", Some(443)),
        ("example.com:", "example.com", None),
        ("192.0.2.1:80", "192.0.2.1", Some(80)),
        ("[2001:DB8::1]", "[2001:db8::1]", None),
        ("[::1]:8443", "[::1]", Some(8443)),
        ("my_host.lan", "my_host.lan", None),
        ("localhost", "localhost", None),
    ] {
        let authority =
            Authority::parse(given.as_bytes()).unwrap_or_else(|error| panic!("{given}: {error}"));
        assert_eq!((&*authority.host, authority.port), (host, port), "{given}");
    }
}

#[test]
fn rfc9112_3_2_bad_authorities_are_refused() {
    for given in [
        "",
        ".",
        ":80",
        "a..b",
        "user@example.com",
        "exa mple.com",
        "example.com/",
        "example.com:80:80",
        "example.com:x",
        "example.com:65536",
        "example.com:123456",
        "[::1",
        "[::g]",
        "[::1]x",
        "[::1]:x",
        "ex\u{e4}mple",
        "a,b",
        "*.example.com",
        "example.com\0",
        "%65xample.com",
        ".example.com",
        "example.com..",
    ] {
        assert!(
            Authority::parse(given.as_bytes()).is_err(),
            "{given:?} was taken"
        );
    }
    assert_eq!(
        Authority::parse("a".repeat(64).as_bytes()),
        Err(HostError::TooLong)
    );
    assert_eq!(
        Authority::parse("a.".repeat(130).as_bytes()),
        Err(HostError::TooLong)
    );
}

#[test]
fn lower_case_is_not_copied() {
    let authority = Authority::parse(b"example.com:80").expect("good");
    assert!(matches!(authority.host, Cow::Borrowed(_)));
}

#[test]
fn kubernetes_documentation_wildcard_hosts() {
    let pattern = HostPattern::parse("*.foo.com").expect("a pattern");
    assert!(pattern.matches("bar.foo.com"));
    assert!(!pattern.matches("baz.bar.foo.com"));
    assert!(!pattern.matches("foo.com"));
}

proptest! {
    #[test]
    fn accepted_authorities_parse_to_themselves(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        if let Ok(authority) = Authority::parse(&bytes) {
            let again = Authority::parse(authority.host.as_bytes()).expect("canonical");
            prop_assert_eq!(&again.host, &authority.host);
        }
    }
}

#[test]
fn an_address_is_a_host_and_back() {
    for text in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
        let ip: IpAddr = text.parse().unwrap();
        let host = Host::from(ip);
        assert_eq!(host.ip(), Some(ip));
        assert_eq!(Host::parse(host.as_str()), Ok(host));
    }
    for text in ["a.example", "1.example", "192.0.2", "192.0.2.256"] {
        assert_eq!(Host::parse(text).unwrap().ip(), None, "{text}");
    }
}
