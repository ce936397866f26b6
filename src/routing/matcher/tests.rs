use proptest::prelude::*;

use super::*;
use crate::routing::{Closed, Origin, Pattern, PlainGet, Refusal};

const GET: PlainGet<'_> = PlainGet { query: None };

fn route(name: &str) -> Arc<Route> {
    let origin = Origin {
        namespace: "default".into(),
        name: name.into(),
        field: "".into(),
        requests: None,
    };
    Arc::new(Route::refused(origin, Refusal::UnknownService))
}

fn matcher(paths: impl IntoIterator<Item = PathMatch>) -> Matcher {
    let rules = paths
        .into_iter()
        .enumerate()
        .map(|(position, path)| (path, route(&position.to_string())));
    Matcher::new(rules).0
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
    let (matcher, losers) = Matcher::new(rules);
    let found = matcher.find("/apix", &GET).expect("a rule");
    assert_eq!(&*found.origin.name, "wide");
    assert_eq!(losers.len(), 1);
}
