use super::*;

fn request<'a>(path: &'a str, query: Option<&'a str>) -> RequestUrl<'a> {
    RequestUrl {
        https: false,
        host: "a.example",
        port: 80,
        https_port: 443,
        path,
        query,
    }
}

/// Rewrites a path by the expression and target of a rule.
fn apply(
    expression: &str,
    target: &str,
    path: &str,
    query: Option<&str>,
) -> Result<Rewritten, RewriteError> {
    let expression = Expression::parse(expression).expect("an expression");
    let rewrite = Rewrite {
        from: "rewrite-target".into(),
        path: Some(Arc::new(expression)),
        to: RewriteTarget::parse(target).expect("a target"),
    };
    rewrite.apply(path, request(path, query))
}

fn path_and_query(path: &str, query: Option<&str>) -> Result<Rewritten, RewriteError> {
    Ok(Rewritten::Path {
        path: path.to_owned(),
        query: query.map(str::to_owned),
    })
}

#[test]
fn groups_stand_in_the_target() {
    for (expression, target, path, expected) in [
        ("/app(/|$)(.*)", "/$2", "/app/x/y", "/x/y"),
        ("/app(/|$)(.*)", "/$2", "/app", "/"),
        ("/(a)/(b)/(c)", "/$3/$2/$1", "/a/b/c/d", "/c/b/a"),
        ("/app", "/", "/app/x", "/"),
        ("/app", "/$1", "/app/x", "/"),
        ("/app/(.*)", "$1", "/app/x", "/x"),
        ("/app/(.*)", "/b/$1", "/app/a%2Fb%20c", "/b/a%2Fb%20c"),
        ("/app/(.*)", "/$host/$1", "/app/x", "/a.example/x"),
        ("/app/(.*)", "/$10", "/app/x", "/x0"),
        ("/app/(.*)", "/\"$1", "/app/x", "/%22x"),
    ] {
        let result = apply(expression, target, path, None);
        assert_eq!(
            result,
            path_and_query(expected, None),
            "{expression} {target}"
        );
    }
}

#[test]
fn the_query_is_kept_unless_the_target_ends_it() {
    for (target, query, expected) in [
        ("/x", Some("a=1"), Some("a=1")),
        ("/x", None, None),
        ("/x?b=2", Some("a=1"), Some("b=2&a=1")),
        ("/x?b=2", None, Some("b=2")),
        ("/x?b=$1", Some("a=1"), Some("b=y&a=1")),
        ("/x?", Some("a=1"), None),
        ("/x?b=2?", Some("a=1"), Some("b=2")),
    ] {
        let result = apply("/(.*)", target, "/y", query);
        assert_eq!(result, path_and_query("/x", expected), "{target} {query:?}");
    }
}

#[test]
fn a_url_is_where_clients_are_sent() {
    for (target, expected) in [
        ("https://b.example/$1", "https://b.example/y?a=1"),
        ("HTTP://b.example?", "HTTP://b.example"),
        ("$scheme://$host/z?c=d", "http://a.example/z?c=d&a=1"),
    ] {
        let result = apply("/(.*)", target, "/y", Some("a=1"));
        assert_eq!(result, Ok(Rewritten::Url(expected.to_owned())), "{target}");
    }
}

#[test]
fn no_result_leads_out_of_the_target() {
    for (expression, target, path, expected) in [
        ("/a(.*)", "/app/$1", "/a../secret", RewriteError::Dots),
        ("/a(.*)", "/$1", "/a./x", RewriteError::Dots),
        ("/a(.*)", "/$1", "/a..%2Fx", RewriteError::Unclear),
        ("/a(.*)", "/$1", "/a..%5Cx", RewriteError::Unclear),
        ("/a(.*)", "/%2e%2e/x", "/a", RewriteError::Dots),
        ("/(.*)", "/$1", "/a/..%2Fx", RewriteError::Unclear),
    ] {
        let result = apply(expression, target, path, None);
        assert_eq!(result, Err(expected), "{expression} {target} {path}");
    }
    let many = "$1".repeat(1000);
    let long = format!("/{}", "a".repeat(100));
    assert_eq!(
        apply("/(.*)", &many, &long, None),
        Err(RewriteError::TooLong)
    );
}

#[test]
fn what_is_no_target_is_refused() {
    for (text, expected) in [
        ("/$0", LocationError::Variable),
        ("/$uri", LocationError::Variable),
        ("/$", LocationError::Variable),
        ("/a b", LocationError::Character),
        ("/\u{e4}", LocationError::Character),
    ] {
        assert_eq!(RewriteTarget::parse(text), Err(expected), "{text}");
    }
    let target = RewriteTarget::parse("/$1").expect("a target");
    assert!(target.has_groups() && !target.is_url());
}

proptest::proptest! {
    /// Whatever the path, the result is a normal path without dot segments.
    #[test]
    fn a_rewritten_path_is_normal(path in "/[a-c/%2F5Ce.]{0,16}", which in 0_usize..4) {
        let Ok(normal) = path::normalize(&path) else { return Ok(()) };
        let matched = path::matched(&normal);
        let target = ["/$1", "$2", "/app/$2?x=$1", "/$2$1"][which];
        if let Ok(Rewritten::Path { path, .. }) = apply("/([a-c]*)(.*)", target, &matched, None) {
            let again = path::normalize(&path).map(Cow::into_owned);
            proptest::prop_assert_eq!(again.as_ref(), Ok(&path));
            let mut segments = path.split('/');
            proptest::prop_assert!(!segments.any(|one| matches!(one, "." | "..")));
        }
    }
}
