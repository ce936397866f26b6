use super::*;

fn request(
    version: Version,
    method: &str,
    target: &str,
    host: Option<&'static str>,
) -> Request<()> {
    let mut builder = Request::builder()
        .version(version)
        .method(method)
        .uri(target);
    if let Some(host) = host {
        builder = builder.header(HOST, host);
    }
    builder.body(()).unwrap()
}

fn status(version: Version, method: &str, target: &str, host: Option<&'static str>) -> u16 {
    match check(&request(version, method, target, host)) {
        Ok(_) => 200,
        Err(error) => error.kind.status().as_u16(),
    }
}

#[test]
fn hosts_are_checked_by_grammar() {
    for (host, expected) in [
        ("example.com", 200),
        ("EXAMPLE.com.:8080", 200),
        ("[::1]:80", 200),
        ("127.0.0.1", 200),
        ("a_b.example", 200),
        ("", 400),
        ("a b", 400),
        ("a/b", 400),
        ("user@example.com", 400),
        ("example.com:99999", 400),
        ("example.com:8o", 400),
        ("[::1", 400),
        ("[zz]", 400),
        ("a..b", 400),
        ("exa\tmple", 400),
        ("example.com, other.com", 400),
    ] {
        assert_eq!(
            status(Version::HTTP_11, "GET", "/", Some(host)),
            expected,
            "{host:?}"
        );
    }
    assert_eq!(status(Version::HTTP_11, "GET", "/", None), 400);
    assert_eq!(status(Version::HTTP_10, "GET", "/", None), 200);
}

fn length(values: &[&'static str], ended: bool) -> Option<BodyLength> {
    let mut headers = HeaderMap::new();

    for value in values {
        headers.append(CONTENT_LENGTH, HeaderValue::from_static(value));
    }
    body_length(&headers, ended).ok()
}

#[test]
fn a_content_length_is_one_decimal_number() {
    use BodyLength::{Known, None as Empty, Unknown};

    for (values, of_open, of_ended) in [
        (&[][..], Some(Unknown), Some(Empty)),
        (&["0"], Some(Known(0)), Some(Known(0))),
        (&["5"], Some(Known(5)), None),
        (&["005"], Some(Known(5)), None),
        (&["5", "5"], Some(Known(5)), None),
        (&["5", "6"], None, None),
        (&["5", ""], None, None),
        (&[""], None, None),
        (&["5, 5"], None, None),
        (&["+5"], None, None),
        (&["-0"], None, None),
        (&[" 5"], None, None),
        (&["5 "], None, None),
        (&["0x5"], None, None),
        (&["5.0"], None, None),
        (&["9223372036854775807"], Some(Known(i64::MAX as u64)), None),
        (&["9223372036854775808"], None, None),
        (&["18446744073709551616"], None, None),
        (&["99999999999999999999999999"], None, None),
    ] {
        assert_eq!(length(values, false), of_open, "{values:?}");
        assert_eq!(length(values, true), of_ended, "{values:?} at the end");
    }
}

#[test]
fn an_absolute_target_and_host_must_agree() {
    for (target, host, expected) in [
        ("http://a.example/x", Some("a.example"), 200),
        ("http://A.example/x", Some("a.EXAMPLE"), 200),
        ("http://a.example:80/x", Some("a.example"), 200),
        ("http://a.example/x", None, 200),
        ("http://a.example/x", Some("b.example"), 400),
        ("http://a.example:8080/x", Some("a.example"), 400),
        ("http://u:p@a.example/x", Some("a.example"), 400),
        ("ftp://a.example/x", Some("a.example"), 400),
    ] {
        assert_eq!(
            status(Version::HTTP_11, "GET", target, host),
            expected,
            "{target} {host:?}"
        );
        assert_eq!(
            status(Version::HTTP_2, "GET", target, host),
            expected,
            "{target} {host:?}"
        );
    }
}

#[test]
fn two_hosts_are_refused() {
    let mut request = request(
        Version::HTTP_2,
        "GET",
        "http://a.example/",
        Some("a.example"),
    );
    request
        .headers_mut()
        .append(HOST, HeaderValue::from_static("a.example"));
    assert!(check(&request).is_err());
}

#[test]
fn targets_are_of_the_four_forms() {
    assert_eq!(
        status(
            Version::HTTP_11,
            "CONNECT",
            "a.example:443",
            Some("a.example:443")
        ),
        405
    );
    assert_eq!(
        status(Version::HTTP_11, "OPTIONS", "*", Some("a.example")),
        200
    );
    assert_eq!(status(Version::HTTP_11, "GET", "*", Some("a.example")), 400);
    assert_eq!(
        status(Version::HTTP_11, "GET", "a.example:443", Some("a.example")),
        400
    );
    let request = request(Version::HTTP_11, "GET", "http://A.example:81/p/q?x=1", None);
    let target = check(&request).unwrap();
    let authority = target.authority.unwrap();
    assert_eq!(
        (authority.host.as_ref(), authority.port),
        ("a.example", Some(81))
    );
    assert_eq!(
        (target.host, target.path, target.query),
        (&b"A.example:81"[..], "/p/q", Some("x=1"))
    );
}

#[test]
fn h2c_is_never_passed_on() {
    for (connection, values, expected) in [
        ("upgrade", &["websocket"][..], Some("websocket")),
        ("Upgrade, HTTP2-Settings", &["h2c"], None),
        (
            "keep-alive, Upgrade",
            &["h2c, websocket"],
            Some("websocket"),
        ),
        ("upgrade", &["H2C", "foo/2"], Some("foo/2")),
        ("keep-alive", &["websocket"], None),
        ("upgrade", &[], None),
    ] {
        let mut request = request(Version::HTTP_11, "GET", "/", Some("a.example"));
        request
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static(connection));

        for value in values {
            request
                .headers_mut()
                .append(UPGRADE, HeaderValue::from_static(value));
        }
        assert_eq!(
            upgrade(&request)
                .as_ref()
                .map(|value| value.to_str().unwrap()),
            expected,
            "{values:?}"
        );
        *request.version_mut() = Version::HTTP_10;
        assert_eq!(upgrade(&request), None);
    }
}

#[test]
fn only_the_known_expectation_is_met() {
    let mut request = request(Version::HTTP_11, "POST", "/", Some("a.example"));
    request
        .headers_mut()
        .insert(EXPECT, HeaderValue::from_static("100-Continue"));
    assert!(check(&request).is_ok());
    request
        .headers_mut()
        .insert(EXPECT, HeaderValue::from_static("fish"));
    assert_eq!(check(&request).unwrap_err().kind, Kind::ExpectationFailed);
}
