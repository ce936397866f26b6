use proptest::prelude::*;

use super::*;
use crate::routing::{Closed, GoPattern, Origin, Pattern, PlainGet, Refusal};

const GET: PlainGet<'_> = PlainGet { query: None };

fn route(name: &str) -> Arc<Route> {
    ranked(name, None)
}

fn ranked(name: &str, priority: Option<i32>) -> Arc<Route> {
    let origin = Origin {
        namespace: "default".into(),
        name: name.into(),
        field: "".into(),
        requests: None,
        priority,
    };
    Arc::new(Route::refused(origin, Refusal::UnknownService))
}

fn matcher(paths: impl IntoIterator<Item = PathMatch>) -> Matcher {
    let rules = paths
        .into_iter()
        .enumerate()
        .map(|(position, path)| (path, route(&position.to_string())));
    Matcher::new(rules, 0).0
}

/// Returns the rule that matches, found without the index.
fn first<'a>(matcher: &'a Matcher, path: &str) -> Option<&'a Arc<Route>> {
    let rule = matcher
        .rules()
        .iter()
        .find(|rule| rule.matches(path, &GET))?;
    Some(&rule.route)
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    ("(/[abA]{0,2}){1,4}/?", 0..6).prop_map(|(path, kind)| {
        let path: Box<str> = path.into();
        match kind {
            0 => PathMatch::Exact(path),
            1 | 2 => PathMatch::Prefix(path),
            3 => PathMatch::Start(path),
            4 => {
                let pattern = Pattern::parse(&format!("{path}[ab/]*")).expect("a pattern");
                PathMatch::Pattern(Box::new(pattern))
            }
            _ => PathMatch::Closed(Box::new(Closed {
                text: format!("{path}.*").into(),
                elements: path.len().is_multiple_of(2),
                prefix: path,
            })),
        }
    })
}

proptest! {
    #[test]
    fn the_index_finds_what_a_scan_finds(
        rules in proptest::collection::vec(path_match(), 0..60),
        paths in proptest::collection::vec("(/[abAB\u{e4}]{0,2}){1,5}", 1..20),
    ) {
        let matcher = matcher(rules);
        for path in &paths {
            let name = |route: Option<&Arc<Route>>| route.map(|route| route.origin.name.clone());
            let found = name(matcher.find(path, &GET));
            prop_assert_eq!(found, name(first(&matcher, path)), "{}", path);
        }
    }
}

#[test]
fn many_rules_are_indexed_and_few_are_not() {
    let paths = |count: usize| (0..count).map(|n| PathMatch::Prefix(format!("/{n:04}").into()));
    assert!(matcher(paths(INDEXED_FROM - 1)).index.is_none());

    let matcher = matcher(paths(1_000));
    assert!(matcher.index.is_some());
    let name = |path: &str| {
        matcher
            .find(path, &GET)
            .map(|route| route.origin.name.to_string())
    };
    assert_eq!(name("/0777/x").as_deref(), Some("777"));
    assert_eq!(name("/0777x"), None);
    assert_eq!(name("/"), None);
    assert_eq!(name("/9999"), None);
}

#[test]
fn nested_rules_are_found_from_the_longest_on() {
    let nested = (1..100).map(|depth| PathMatch::Prefix("/a".repeat(depth).into()));
    let matcher = matcher(nested);
    let name = |path: &str| {
        matcher
            .find(path, &GET)
            .map(|route| route.origin.name.to_string())
    };
    assert_eq!(name("/a/a/a/b").as_deref(), Some("2"));
    assert_eq!(name("/a/a/ab").as_deref(), Some("1"));
    assert_eq!(name(&"/a".repeat(200)).as_deref(), Some("98"));
    assert_eq!(name("/b"), None);
}

#[test]
fn a_narrow_expression_does_not_hide_a_wide_one() {
    let closed = |elements| {
        PathMatch::Closed(Box::new(Closed {
            text: "".into(),
            prefix: "/api".into(),
            elements,
        }))
    };
    let rules = [
        (closed(true), route("narrow")),
        (closed(false), route("wide")),
        (closed(false), route("again")),
    ];
    let (matcher, losers) = Matcher::new(rules, 0);
    let found = matcher.find("/apix", &GET).expect("a rule");
    assert_eq!(&*found.origin.name, "wide");
    assert_eq!(losers.len(), 1);
}

proptest! {
    #[test]
    fn the_index_finds_what_a_scan_finds_by_rank(
        rules in proptest::collection::vec((path_match(), 0..40), 0..60),
        expressions in proptest::collection::vec("/[ab]{0,2}[ab.*]{0,4}", 0..3),
        paths in proptest::collection::vec("(/[abAB\u{e4}]{0,2}){1,5}", 1..20),
    ) {
        let rules = rules.into_iter().enumerate().map(|(position, (path, priority))| {
            let priority = (priority > 20).then_some(priority);
            (path, ranked(&position.to_string(), priority))
        });
        let expressions = expressions.iter().filter_map(|text| {
            let pattern = GoPattern::parse(text).ok()?;
            Some((PathMatch::Regexp(Box::new(pattern)), route(text)))
        });
        let (matcher, _) = Matcher::new(rules.chain(expressions), 0);
        for path in &paths {
            let name = |route: Option<&Arc<Route>>| route.map(|route| route.origin.name.clone());
            let found = name(matcher.find(path, &GET));
            prop_assert_eq!(found, name(first(&matcher, path)), "{}", path);
        }
    }
}

#[test]
fn the_greater_rank_comes_first() {
    let prefix = |path: &str| PathMatch::Prefix(path.into());
    let regexp =
        |text: &str| PathMatch::Regexp(Box::new(GoPattern::parse(text).expect("an expression")));
    // With the host the ranks without a priority are 20 + 14 + the length of the path.
    let rules = [
        (prefix("/"), route("root")),
        (prefix("/admin"), ranked("admin", Some(10))),
        (PathMatch::Exact("/exact".into()), route("exact")),
        (prefix("/exact"), route("prefix")),
        (regexp("/v[0-9]+"), route("version")),
        (prefix("/v1/long/path"), route("long")),
        (prefix("/low"), ranked("lower", Some(36))),
        (prefix("/low/x"), route("longer")),
        (prefix("/same"), ranked("first", None)),
        (prefix("/same"), ranked("greater", Some(500))),
        (prefix("/same"), ranked("equal", Some(500))),
    ];
    let (matcher, losers) = Matcher::new(rules, 20);
    for (path, expected) in [
        ("/", "root"),
        ("/admin", "root"),
        ("/exact", "exact"),
        ("/exact/x", "prefix"),
        ("/x/v2", "version"),
        ("/v1/long/path", "long"),
        ("/v1/long", "version"),
        ("/low", "lower"),
        ("/low/x", "longer"),
        ("/same", "greater"),
    ] {
        let found = matcher.find(path, &GET).expect("a rule");
        assert_eq!(&*found.origin.name, expected, "{path}");
    }
    let losers = losers.iter().map(|loser| &*loser.rule.route.origin.name);
    assert_eq!(losers.collect::<Vec<_>>(), ["equal", "first"]);
}
