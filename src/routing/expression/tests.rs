use super::*;

/// Returns whether an expression takes a path.
fn takes(text: &str, path: &str) -> bool {
    let expression = Expression::parse(text).expect("an expression");
    Subject::of(path).is_some_and(|subject| expression.takes(&subject))
}

#[test]
fn expressions_are_anchored_at_the_start_and_ignore_case() {
    for (text, path, expected) in [
        ("/", "/", true),
        ("/", "/x", true),
        ("/foo", "/foo", true),
        ("/foo", "/foobar", true),
        ("/foo", "/FOO/x", true),
        ("/foo", "/x/foo", false),
        ("/foo$", "/foo", true),
        ("/foo$", "/foobar", false),
        ("/api(/|$)(.*)", "/api", true),
        ("/api(/|$)(.*)", "/API/x", true),
        ("/api(/|$)(.*)", "/apis", false),
        ("/v[0-9]+/x", "/v12/xyz", true),
        ("/v[0-9]+/x", "/v/x", false),
        ("/a.b", "/aXb", true),
        ("/a\\.b", "/aXb", false),
        ("/a\\.b", "/A.B/c", true),
        ("/a?b", "/b", true),
        ("/a|/b", "/x/b", true),
        ("/a{2}b", "/aab", true),
        ("/(?i)x", "/X", true),
        ("/[^/]+/x", "/a/x", true),
        ("/\u{e4}", "/%C3%A4", true),
        ("/a%20b", "/a%20b", true),
        ("/a b", "/a%20b", true),
        ("/(\u{e4}|\u{f6})/x", "/%C3%B6/x", true),
    ] {
        assert_eq!(takes(text, path), expected, "{text} on {path}");
    }
}

#[test]
fn an_encoded_slash_is_no_way_around() {
    assert!(takes("/admin/(.*)", "/admin%2Fx"));
    assert!(takes("/admin/x", "/admin%2F%2Fx"));
    assert!(!takes("/api/[^/]+$", "/api/a%2Fb"));
    for unclear in [
        "/public/..%2Fadmin",
        "/public/..%5Cadmin",
        "/public%2F.%2Fadmin",
        "/public%5C..%5Cadmin",
        "/admin%0A",
    ] {
        assert!(!takes("/", unclear), "{unclear}");
    }
    assert!(takes("/", "/a..%2Fb"));
    assert!(!takes("/", &format!("/{}", "a".repeat(MAX_PATH))));
}

#[test]
fn groups_keep_the_escapes_of_the_request() {
    for (text, path, expected) in [
        ("/a/(.*)", "/a/b/c", ["b/c", ""]),
        ("/a(/|$)(.*)", "/a", ["", ""]),
        ("/a(/|$)(.*)", "/a/x%2Fy", ["/", "x%2Fy"]),
        ("/a/([^/]+)/(.*)", "/A/%C3%A4/%25", ["%C3%A4", "%25"]),
        ("/a/(.*)/b", "/a%2Fx%2F%2Fb", ["x", ""]),
        (
            "/u/(.*)",
            "/u/https:%2F%2Fb.example",
            ["https:%2F%2Fb.example", ""],
        ),
        ("/a(x)?(y)?", "/ay", ["", "y"]),
        ("/a", "/ab", ["", ""]),
    ] {
        let expression = Expression::parse(text).expect("an expression");
        let groups = expression.groups(path);
        assert_eq!([groups.get(1), groups.get(2)], expected, "{text} on {path}");
        assert_eq!(groups.get(9), "");
    }
}

#[test]
fn longer_texts_come_first_then_greater_ones() {
    let parse = |text| Expression::parse(text).expect("an expression");
    let mut all: Vec<Expression> = ["/", "/a", "/(.*)", "/b.*", "/b"].map(parse).into();
    all.sort();
    let texts: Vec<&str> = all.iter().map(Expression::as_str).collect();
    assert_eq!(texts, ["/(.*)", "/b.*", "/b", "/a", "/"]);
}

#[test]
fn literal_texts_need_no_evaluation() {
    for (text, literal, is_whole) in [
        ("/Foo", "/foo", true),
        ("/a\\.b", "/a.b", true),
        ("/a%20b", "/a b", true),
        ("/api(/|$)(.*)", "/api", false),
        ("/apis?/x", "/api", false),
        ("/a+b", "/", false),
        ("/a+*b", "/", false),
        ("/\\*+b", "/", false),
        ("/a|/b", "", false),
        ("/(a|b)", "/", false),
        ("/a\\d", "/a", false),
        ("/a$", "/a", false),
    ] {
        let expression = Expression::parse(text).expect("an expression");
        let found = (&*expression.literal, expression.regex.is_none());
        assert_eq!(found, (literal.as_bytes(), is_whole), "{text}");
    }
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    for text in [
        "/(?!x)",
        "/(?=x)",
        "/(?<=x)",
        "/(a)\\1",
        "/(",
        "/a)",
        "/[",
        "/a*+b",
        "/(?>a)",
        "/[a&&b]",
        "/users/{id}",
        "/\\Ka",
    ] {
        let error = Expression::parse(text);
        assert!(matches!(error, Err(PatternError::Syntax(_))), "{text}");
    }
    let large = Expression::parse("/(a{1,100}){1,100}");
    assert_eq!(large.err(), Some(PatternError::TooLarge));
    let long = Expression::parse(&format!("/{}", "a".repeat(MAX_TEXT)));
    assert_eq!(long.err(), Some(PatternError::TooLong));
}

#[test]
fn elements_end_at_a_slash() {
    let closed = Expression::elements("/api(/|$)", "/api");
    let takes = |path| Subject::of(path).is_some_and(|subject| closed.takes(&subject));
    assert!(takes("/api") && takes("/API/x") && takes("/api%2Fx"));
    assert!(!takes("/apis"));
}

proptest::proptest! {
    /// No text panics, and the literal is the beginning of all that is taken.
    #[test]
    fn every_match_begins_with_the_literal(
        text in "/[a-c/%.()|\\\\$^*+?{}\\[\\]\u{e4}2]{0,12}",
        path in "/[a-c/.A2]{0,12}",
    ) {
        let Ok(expression) = Expression::parse(&text) else { return Ok(()) };
        let source = format!("(?i)^{}", decoded_source(&text));
        let regex = compile(&source).expect("it was compiled");
        if let Some(subject) = Subject::of(&path) {
            let expected = regex.is_match(path.as_bytes());
            proptest::prop_assert_eq!(expression.takes(&subject), expected, "{} {}", text, path);
        }
    }
}
