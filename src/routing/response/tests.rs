use super::*;

const REQUEST: RequestUrl<'_> = RequestUrl {
    https: true,
    host: "a.example",
    port: 443,
    https_port: 443,
    path: "/x",
    query: None,
};

#[test]
fn attributes_of_cookies_are_changed() {
    let pair = |from: &str, to: &str| Some((Box::from(from), Box::from(to)));
    let change = CookieChange {
        domain: pair("inside.example", "a.example"),
        path: pair("/app/", "/"),
    };
    for (value, expected) in [
        (
            "s=1; Domain=inside.example; Secure",
            Some("s=1; Domain=a.example; Secure"),
        ),
        (
            "s=1;domain = .INSIDE.example",
            Some("s=1;domain =.a.example"),
        ),
        (
            "s=1; Path=/app/x; domain=b.example",
            Some("s=1; Path=/x; domain=b.example"),
        ),
        ("s=1; path=/app", None),
        ("domain=inside.example", None),
        ("s=1; Secure; =; x", None),
        ("s=domain=inside.example", None),
        ("", None),
    ] {
        let result = change.apply(value.as_bytes());
        assert_eq!(result.as_deref(), expected.map(str::as_bytes), "{value}");
    }
}

#[test]
fn targets_of_redirects_are_changed() {
    let parse = |text| Location::parse_any(text).expect("a target");
    for (from, to, value, expected) in [
        (
            "http://inside/",
            "/app/",
            "http://inside/x",
            Some("https://a.example/app/x"),
        ),
        (
            "http://inside/",
            "https://b.example/",
            "http://inside/",
            Some("https://b.example/"),
        ),
        (
            "http://$host/",
            "https://$host/",
            "http://a.example/x",
            Some("https://a.example/x"),
        ),
        ("/", "/app/", "/x", Some("https://a.example/app/x")),
        ("http://inside/", "/app/", "https://inside/x", None),
    ] {
        let change = LocationChange {
            from: parse(from),
            to: parse(to),
        };
        assert_eq!(
            change.location(value, REQUEST).as_deref(),
            expected,
            "{from} {value}"
        );
    }

    let change = LocationChange {
        from: parse("/old"),
        to: parse("/new"),
    };
    let refresh = change.refresh("5; URL=/old/x", REQUEST);
    assert_eq!(refresh.as_deref(), Some("5; URL=https://a.example/new/x"));
    assert_eq!(change.refresh("5", REQUEST), None);
}
