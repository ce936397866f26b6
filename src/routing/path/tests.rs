use proptest::prelude::*;

use super::*;

#[test]
fn kubernetes_documentation_path_examples() {
    let exact = |path: &str| PathMatch::Exact(path.into());
    let prefix = |path: &str| PathMatch::Prefix(path.into());
    for (rule, path, expected) in [
        (prefix("/"), "/any/path", true),
        (exact("/foo"), "/foo", true),
        (exact("/foo"), "/bar", false),
        (exact("/foo"), "/foo/", false),
        (exact("/foo/"), "/foo", false),
        (prefix("/foo"), "/foo", true),
        (prefix("/foo"), "/foo/", true),
        (prefix("/foo/"), "/foo", true),
        (prefix("/foo/"), "/foo/", true),
        (prefix("/aaa/bb"), "/aaa/bbb", false),
        (prefix("/aaa/bbb"), "/aaa/bbb", true),
        (prefix("/aaa/bbb/"), "/aaa/bbb", true),
        (prefix("/aaa/bbb"), "/aaa/bbb/", true),
        (prefix("/aaa/bbb"), "/aaa/bbb/ccc", true),
        (prefix("/aaa/bbb"), "/aaa/bbbxyz", false),
        (prefix("/aaa"), "/aaa/ccc", true),
        (prefix("/aaa"), "/ccc", false),
        (PathMatch::Start("/foo".into()), "/foobar", true),
        (PathMatch::Start("/foo".into()), "/fo", false),
    ] {
        assert_eq!(rule.matches(path), expected, "{rule:?} on {path}");
    }
}

#[test]
fn expressions_of_traefik_are_found_in_the_legible_path() {
    for (text, path, expected) in [
        ("/v[0-9]+", "/api/v1/x", true),
        ("/v[0-9]+$", "/api/v1/x", false),
        ("/a b", "/a%20b", true),
        ("/a/b", "/a%2Fb", false),
        ("/a%2Fb", "/a%2Fb", true),
        ("/a%3Ab|^/\u{e4}$", "/%C3%A4", true),
        ("^/.$", "/%25", false),
        ("^/%25$", "/%25", true),
        ("/A", "/a", false),
        ("(?i)/A", "/a", true),
    ] {
        let rule = PathMatch::Regexp(Box::new(GoPattern::parse(text).expect("an expression")));
        assert_eq!(rule.matches(path), expected, "{text} on {path}");
    }
}

#[test]
fn rfc3986_normal_form() {
    for (given, expected) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a//b", "/a//b"),
        ("/%61/%7Eb%2d", "/a/~b-"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2fb", "/a%2Fb"),
        ("/a/./b", "/a/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/../", "/a/"),
        ("/a/b/../c", "/a/c"),
        ("/a/%2e%2E/b", "/b"),
        ("/.", "/"),
        ("/a/.", "/a/"),
        ("/.hidden", "/.hidden"),
        ("/a/..b/.c.", "/a/..b/.c."),
        ("/a/...", "/a/..."),
        ("/\u{fc}", "/%C3%BC"),
        ("/%C3%BC", "/%C3%BC"),
        ("/%c3%bc", "/%C3%BC"),
        ("/a b", "/a%20b"),
        ("/a%20b", "/a%20b"),
        ("/\"<>\\^`{|}", "/%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("/%7b", "/%7B"),
        ("/a?b#c", "/a%3Fb%23c"),
        ("/%3f", "/%3F"),
        ("/[a];=@:!$&'()*+,", "/[a];=@:!$&'()*+,"),
    ] {
        assert_eq!(normalize(given).as_deref(), Ok(expected), "{given}");
    }
}

#[test]
fn rules_see_no_empty_elements() {
    for (path, expected) in [
        ("/", "/"),
        ("/a/b/", "/a/b/"),
        ("//", "/"),
        ("//a", "/a"),
        ("/a///b//", "/a/b/"),
        ("/%2F/", "/%2F/"),
    ] {
        assert_eq!(matched(path), expected, "{path}");
    }
}

#[test]
fn broken_paths_are_refused() {
    for (given, expected) in [
        ("", PathError::Relative),
        ("a", PathError::Relative),
        ("*", PathError::Relative),
        ("/%", PathError::Encoding),
        ("/%4", PathError::Encoding),
        ("/%zz", PathError::Encoding),
        ("/a%00", PathError::Nul),
        ("/..", PathError::AboveRoot),
        ("/a/../../b", PathError::AboveRoot),
        ("/%2e%2e/etc/passwd", PathError::AboveRoot),
    ] {
        assert_eq!(normalize(given), Err(expected), "{given}");
    }
}

proptest! {
    #[test]
    fn the_normal_form_is_its_own_normal_form(path in "/[a-z%./0-9]{0,40}") {
        if let Ok(normal) = normalize(&path) {
            // An escape may decode to what escapes again (`%2565`): one pass is what RFC 3986 asks
            // for.
            prop_assume!(!path.contains("%25"));
            let again = normalize(&normal);
            prop_assert_eq!(again.as_deref(), Ok(&*normal));
            prop_assert!(!normal.contains("/../") && !normal.contains("/./"));
        }
    }
}
