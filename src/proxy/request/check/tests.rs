use super::*;
use crate::proxy::request::message::{BodyLength, Target};

/// Returns the head of an HTTP/1 request, as the parser makes it.
fn head(version: Version, method: &str, target: &str, lines: &[(&str, &str)]) -> RequestHead {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    let span = fields.note(target.as_bytes());
    let target = Target::parse(&mut fields, span, &method).unwrap();
    RequestHead {
        method,
        version,
        target,
        fields,
        length: BodyLength::None,
    }
}

/// Returns the head of an HTTP/2 request.
fn http2(target: &str, hosts: &[&'static str]) -> Result<RequestHead, Kind> {
    let mut request = http::Request::get(target).version(Version::HTTP_2);
    for host in hosts {
        request = request.header("host", *host);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    RequestHead::of_http2(&parts, true, 100)
}

fn code(result: Result<(), Kind>) -> u16 {
    result.map_or_else(|kind| kind.status().as_u16(), |()| 200)
}

fn status(version: Version, method: &str, target: &str, host: Option<&str>) -> u16 {
    let lines: Vec<_> = host.map(|host| ("Host", host)).into_iter().collect();
    let head = head(version, method, target, &lines);
    code(check(&head, false).map(drop).map_err(|error| error.kind))
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
        let hosts: Vec<_> = host.into_iter().collect();
        let of_http2 = http2(target, &hosts)
            .and_then(|head| check(&head, false).map(drop).map_err(|error| error.kind));
        assert_eq!(code(of_http2), expected, "HTTP/2: {target} {host:?}");
        if !target.starts_with("ftp:") {
            let of_http1 = status(Version::HTTP_11, "GET", target, host);
            assert_eq!(of_http1, expected, "{target} {host:?}");
        }
    }
}

#[test]
fn two_hosts_are_refused() {
    let head = http2("http://a.example/", &["a.example", "a.example"]).unwrap();
    assert!(check(&head, false).is_err());
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
    let head = head(Version::HTTP_11, "GET", "http://A.example:81/p/q?x=1", &[]);
    let target = check(&head, false).unwrap();
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
        let mut lines = vec![("Connection", connection)];
        lines.extend(values.iter().map(|value| ("Upgrade", *value)));
        let mut head = head(Version::HTTP_11, "GET", "/", &lines);
        let passed = upgrade(&head).map(|value| String::from_utf8(value).unwrap());
        assert_eq!(passed.as_deref(), expected, "{values:?}");
        head.version = Version::HTTP_10;
        assert_eq!(upgrade(&head), None);
    }
}

#[test]
fn only_the_known_expectation_is_met() {
    let checked = |expectation| {
        let lines = [("Host", "a.example"), ("Expect", expectation)];
        let head = head(Version::HTTP_11, "POST", "/", &lines);
        check(&head, false).map(drop).map_err(|error| error.kind)
    };
    assert_eq!(checked("100-Continue"), Ok(()));
    assert_eq!(checked("fish"), Err(Kind::ExpectationFailed));
}

#[test]
fn characters_that_no_uri_has_are_refused_if_set() {
    for (target, odd) in [
        ("/a?b=c", false),
        ("/a%22", false),
        ("/a\"", true),
        ("/a?{b}", true),
        ("http://a.example?<", true),
        ("/ä", true),
    ] {
        let lines = [("Host", "a.example")];
        let head = head(Version::HTTP_11, "GET", target, &lines);
        assert!(check(&head, false).is_ok(), "{target}");
        assert_eq!(check(&head, true).is_err(), odd, "{target}");
    }
    let head = http2("https://a.example/{b}", &[]).unwrap();
    assert!(check(&head, true).is_err());
}
