use super::*;

fn length(values: &[&'static str], ended: bool) -> Option<BodyLength> {
    let mut fields = Fields::default();
    for value in values {
        fields.push(b"Content-Length", value.as_bytes());
    }
    body_length(&fields, ended).ok()
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

/// Returns authority, path and query of a target.
fn parsed(target: &[u8]) -> Result<(Option<String>, String, Option<String>), Kind> {
    let mut fields = Fields::default();
    let span = fields.note(target);
    let target = Target::parse(&mut fields, span, &Method::GET)?;
    let text = |span| String::from_utf8(fields.text(span).to_vec()).unwrap();
    Ok((
        target.authority.map(text),
        text(target.path),
        target.query.map(text),
    ))
}

#[test]
fn targets_have_the_forms_of_rfc9112_3_2() {
    for (target, authority, path, query) in [
        ("/", None, "/", None),
        ("/a?b?c", None, "/a", Some("b?c")),
        ("/?", None, "/", Some("")),
        ("//a/b", None, "//a/b", None),
        ("/http://b/", None, "/http://b/", None),
        ("*", None, "*", None),
        ("http://a.example/x?y", Some("a.example"), "/x", Some("y")),
        ("HTTPS://A.example:8443", Some("A.example:8443"), "/", None),
        ("http://a?x", Some("a"), "/", Some("x")),
    ] {
        let expected = (
            authority.map(str::to_owned),
            path.to_owned(),
            query.map(str::to_owned),
        );
        assert_eq!(parsed(target.as_bytes()), Ok(expected), "{target:?}");
    }

    for target in [
        "a",
        "a.example:443",
        "http:/a",
        "http://",
        "http:///x",
        "?x",
    ] {
        let refused = parsed(target.as_bytes());
        assert_eq!(refused, Err(Kind::BadRequest("bad target")), "{target:?}");
    }
    assert!(parsed(b"ftp://a/x").is_err());
}

#[test]
fn characters_that_no_uri_has_are_encoded() {
    let (_, path, query) = parsed("/a\"<b>/ä\\^`{|}?q={1}&\u{e9}|".as_bytes()).unwrap();
    assert_eq!(path, "/a%22%3Cb%3E/%C3%A4%5C%5E%60%7B%7C%7D");
    assert_eq!(query.as_deref(), Some("q=%7B1%7D&%C3%A9%7C"));
    let (_, path, _) = parsed(b"/\xff").unwrap();
    assert_eq!(path, "/%FF");
}

#[test]
fn rfc9113_8_2_3_cookie_crumbs_are_joined() {
    let request = http::Request::get("https://a.example/")
        .version(Version::HTTP_2)
        .header("cookie", "a=1")
        .header("x", "y")
        .header("cookie", "b=2");
    let (parts, ()) = request.body(()).unwrap().into_parts();
    // Joined before they are counted.
    let head = RequestHead::of_http2(&parts, true, 2).unwrap();
    let cookies: Vec<_> = head.fields.all(FieldName::Cookie).collect();
    assert_eq!(cookies, [b"a=1; b=2"]);
    let few = RequestHead::of_http2(&parts, true, 1);
    assert_eq!(few.map(drop), Err(Kind::HeadersTooLarge));
}

#[test]
fn a_length_is_only_where_rfc9110_8_6_allows_it() {
    let mut head = ResponseHead::new(StatusCode::OK, 5);
    assert_eq!(head.content_length(), Some(5));
    head.length = BodyLength::Unknown;
    assert_eq!(head.content_length(), None);

    // HEAD and 304.
    head.length = BodyLength::None;
    head.fields.set("Content-Length", b"7");
    assert_eq!(head.content_length(), Some(7));
    assert_eq!(
        head.clone().into_http2().get("content-length").unwrap(),
        "7"
    );

    head.status = StatusCode::NO_CONTENT;
    assert_eq!(head.content_length(), None);
    assert!(head.into_http2().is_empty());
}

#[test]
fn rfc9113_8_2_1_values_have_no_outer_white_space() {
    for (value, expected) in [("a b", true), ("", true), (" a", false), ("a\t", false)] {
        let request = http::Request::get("https://a.example/").header("x", value);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let head = RequestHead::of_http2(&parts, true, 100);
        assert_eq!(head.is_ok(), expected, "{value:?}");
    }
}
