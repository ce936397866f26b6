use proptest::prelude::*;

use super::*;
use crate::routing::{CertificateFields, Conditions, Origin, PlainGet, Refusal, VerifyClient};

const GET: PlainGet<'_> = PlainGet { query: None };

fn route(name: &str) -> Arc<Route> {
    let origin = Origin {
        namespace: "default".into(),
        name: name.into(),
        field: "".into(),
        requests: None,
        priority: None,
    };
    Arc::new(Route::refused(origin, Refusal::UnknownService))
}

fn table(rules: &[(&str, PathMatch, &str)]) -> RoutingTable {
    let mut hosts: Vec<&str> = rules.iter().map(|(host, ..)| *host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let mut table = RoutingTable::default();
    for host in hosts {
        let mine = rules
            .iter()
            .filter(|rule| rule.0 == host)
            .map(|(_, path, name)| (path.clone(), route(name)));
        let pattern = HostPattern::parse(host).expect("a pattern");
        table.set(Arc::new(HostRoutes::new(pattern, mine, None).0));
    }
    table
}

fn found<'a>(table: &'a RoutingTable, host: &str, path: &str) -> Option<&'a str> {
    table
        .find(Some(host), path, &GET)
        .map(|found| &*found.route.origin.name)
}

#[test]
fn kubernetes_documentation_precedence() {
    let table = table(&[
        ("", PathMatch::Prefix("/".into()), "root"),
        ("", PathMatch::Prefix("/aaa".into()), "aaa"),
        ("", PathMatch::Prefix("/foo".into()), "prefix"),
        ("", PathMatch::Exact("/foo".into()), "exact"),
    ]);
    assert_eq!(found(&table, "any.example", "/aaa/ccc"), Some("aaa"));
    assert_eq!(found(&table, "any.example", "/ccc"), Some("root"));
    assert_eq!(found(&table, "any.example", "/foo"), Some("exact"));
    assert_eq!(found(&table, "any.example", "/foo/"), Some("prefix"));
    assert!(table.find(None, "/x", &GET).is_some());
}

#[test]
fn the_most_specific_host_decides_alone() {
    let table = table(&[
        ("a.example", PathMatch::Prefix("/only".into()), "exact"),
        ("*.example", PathMatch::Prefix("/".into()), "wildcard"),
        ("", PathMatch::Prefix("/".into()), "any"),
    ]);
    assert_eq!(found(&table, "a.example", "/only/this"), Some("exact"));
    assert_eq!(found(&table, "a.example", "/other"), None);
    assert_eq!(found(&table, "b.example", "/other"), Some("wildcard"));
    assert_eq!(found(&table, "b.a.example", "/other"), Some("any"));
    assert_eq!(found(&table, "example", "/other"), Some("any"));
}

#[test]
fn unmatched_paths_fall_through_to_wider_hosts() {
    let mut table = RoutingTable::new(HostSearch::FallThrough);
    let root = || PathMatch::Prefix("/".into());
    for (host, path, name) in [
        ("a.b.example", PathMatch::Prefix("/only".into()), "exact"),
        ("*.b.example", PathMatch::Prefix("/wild".into()), "near"),
        ("*.example", PathMatch::Exact("/far".into()), "far"),
        ("", root(), "any"),
    ] {
        let pattern = HostPattern::parse(host).expect("a pattern");
        let (routes, _) = HostRoutes::new(pattern, [(path, route(name))], None);
        table.set(Arc::new(routes));
    }

    for (host, path, expected) in [
        ("a.b.example", "/only/x", "exact"),
        ("a.b.example", "/wild", "near"),
        ("a.b.example", "/far", "far"),
        ("a.b.example", "/x", "any"),
        ("c.d.b.example", "/wild", "near"),
        ("example", "/far", "any"),
        ("other", "/", "any"),
    ] {
        assert_eq!(found(&table, host, path), Some(expected), "{host}{path}");
        let candidates = table.explain(Some(host), path, &GET);
        let winner = candidates.iter().find(|one| one.wins).expect("a winner");
        assert_eq!(&*winner.route.origin.name, expected, "{host}{path}");
    }
}

#[test]
fn conditions_fail_over_to_the_next_rule() {
    let post = Conditions {
        method: Some(http::Method::POST),
        ..Conditions::default()
    };
    let rules = [
        Rule {
            conditions: Some(Box::new(post)),
            ..(PathMatch::Exact("/a".into()), route("post")).into()
        },
        (PathMatch::Prefix("/".into()), route("root")).into(),
    ];
    let (routes, losers) = HostRoutes::new(HostPattern::Any, rules, None);
    assert!(losers.is_empty());
    for (method, expected) in [("POST", "post"), ("GET", "root")] {
        let request = http::Request::builder().method(method).uri("/a").body(());
        let found = routes.find("/a", &request.expect("a request"));
        assert_eq!(&*found.expect("a route").origin.name, expected);
    }
}

#[test]
fn the_fallback_of_a_host_comes_before_the_default_of_the_table() {
    let mut table = RoutingTable::default();
    assert!(table.find(Some("a.example"), "/", &GET).is_none());
    table.set_default(Some(route("default")));
    let rules = [(PathMatch::Exact("/x".into()), route("x"))];
    let pattern = HostPattern::parse("a.example").expect("a pattern");
    table.set(Arc::new(
        HostRoutes::new(pattern.clone(), rules, Some(route("fallback"))).0,
    ));
    assert_eq!(found(&table, "a.example", "/x"), Some("x"));
    assert_eq!(found(&table, "a.example", "/y"), Some("fallback"));
    assert_eq!(found(&table, "b.example", "/y"), Some("default"));
    table.remove(&pattern);
    assert_eq!(found(&table, "a.example", "/x"), Some("default"));
}

#[test]
fn a_host_with_tls_has_it_for_all_that_is_asked_of_it() {
    let mut table = RoutingTable::default();
    table.set_default(Some(route("default")));
    let rules = [(PathMatch::Exact("/x".into()), route("x"))];
    let pattern = HostPattern::parse("a.example").expect("a pattern");
    let (mut routes, _) = HostRoutes::new(pattern, rules, None);
    routes.set_tls(true);
    table.set(Arc::new(routes));
    for (host, path, expected) in [
        ("a.example", "/x", ("x", true)),
        ("a.example", "/y", ("default", true)),
        ("b.example", "/", ("default", false)),
    ] {
        let found = table.find(Some(host), path, &GET).expect("a route");
        assert_eq!(
            (&*found.route.origin.name, found.tls),
            expected,
            "{host}{path}"
        );
    }
}

#[test]
fn the_first_of_two_equal_rules_wins_and_names_the_loser() {
    let rules = [
        (PathMatch::Prefix("/a".into()), route("first")),
        (PathMatch::Prefix("/a/".into()), route("second")),
        (PathMatch::Exact("/a".into()), route("exact")),
        (PathMatch::Exact("/a".into()), route("late")),
    ];
    let (routes, losers) = HostRoutes::new(HostPattern::Any, rules, None);
    assert_eq!(
        &*routes.find("/a/b", &GET).expect("a route").origin.name,
        "first"
    );
    assert_eq!(
        &*routes.find("/a", &GET).expect("a route").origin.name,
        "exact"
    );
    let mut names: Vec<_> = losers
        .iter()
        .map(|one| (&*one.rule.route.origin.name, &*one.winner.origin.name))
        .collect();
    names.sort_unstable();
    assert_eq!(names, [("late", "exact"), ("second", "first")]);
}

/// A rule of an object, in one of its fields.
fn rule(path: PathMatch, object: &str, field: &str) -> (PathMatch, Arc<Route>) {
    let origin = Origin {
        namespace: "default".into(),
        name: object.into(),
        field: field.into(),
        requests: None,
        priority: None,
    };
    (
        path,
        Arc::new(Route::refused(origin, Refusal::UnknownService)),
    )
}

#[test]
fn a_prefix_with_a_slash_and_one_without_are_both_served() {
    let prefix = |path: &str| PathMatch::Prefix(path.into());
    for rules in [
        [
            rule(prefix("/foo/bar"), "app", "plain"),
            rule(prefix("/foo/bar/"), "app", "slash"),
        ],
        [
            rule(prefix("/foo/bar/"), "app", "slash"),
            rule(prefix("/foo/bar"), "app", "plain"),
        ],
    ] {
        let root = rule(prefix("/"), "app", "root");
        let (routes, losers) =
            HostRoutes::new(HostPattern::Any, rules.into_iter().chain([root]), None);
        let found = |path: &str| routes.find(path, &GET).map(|route| &*route.origin.field);
        assert!(losers.is_empty());
        for (path, field) in [
            ("/foo/bar", "plain"),
            ("/foo/bar/", "slash"),
            ("/foo/bar/x", "slash"),
            ("/foo/barx", "root"),
        ] {
            assert_eq!(found(path), Some(field), "{path}");
        }
    }
}

#[test]
fn the_slash_at_the_end_divides_nothing_between_two_objects() {
    let prefix = |path: &str| PathMatch::Prefix(path.into());
    let rules = [
        rule(prefix("/foo/"), "old", "slash"),
        rule(prefix("/foo"), "young", "plain"),
        rule(prefix("/foo/"), "young", "slash"),
        rule(prefix("/foo"), "old", "plain"),
        rule(prefix("/foo"), "old", "again"),
    ];
    let (routes, losers) = HostRoutes::new(HostPattern::Any, rules, None);
    let served: Vec<_> = routes
        .rules()
        .iter()
        .map(|rule| (&*rule.route.origin.name, &*rule.route.origin.field))
        .collect();
    assert_eq!(served, [("old", "slash"), ("old", "plain")]);
    let lost: Vec<_> = losers
        .iter()
        .map(|one| {
            (
                &*one.rule.route.origin.name,
                &*one.rule.route.origin.field,
                &*one.winner.origin.field,
            )
        })
        .collect();
    assert_eq!(
        lost,
        [
            ("young", "plain", "plain"),
            ("young", "slash", "slash"),
            ("old", "again", "plain")
        ]
    );
}

#[test]
fn any_path_type_of_the_root_is_the_same_match() {
    let rules = [
        rule(PathMatch::Prefix("/".into()), "old", ""),
        rule(PathMatch::Start("/".into()), "young", ""),
        rule(PathMatch::Exact("/".into()), "exact", ""),
    ];
    let (routes, losers) = HostRoutes::new(HostPattern::Any, rules, None);
    assert_eq!(losers.len(), 1);
    assert_eq!(
        &*routes.find("/x", &GET).expect("a route").origin.name,
        "old"
    );
    assert_eq!(
        &*routes.find("/", &GET).expect("a route").origin.name,
        "exact"
    );
}

#[test]
fn what_a_regular_expression_could_match_is_closed() {
    let closed = |text: &str, prefix: &str, elements: bool| {
        PathMatch::Closed(Box::new(crate::routing::Closed {
            text: text.into(),
            prefix: prefix.into(),
            elements,
        }))
    };
    let rules = [
        rule(PathMatch::Prefix("/".into()), "app", "root"),
        rule(PathMatch::Prefix("/api/public".into()), "app", "longer"),
        rule(closed("/api(/|$)(.*)", "/api", true), "app", "api"),
        rule(closed("/Files[0-9]", "/Files", false), "app", "files"),
    ];
    let (routes, losers) = HostRoutes::new(HostPattern::Any, rules, None);
    assert!(losers.is_empty());
    for (path, field) in [
        ("/api", "api"),
        ("/API/x", "api"),
        ("/apix", "root"),
        ("/api/public/x", "longer"),
        ("/files7", "files"),
        ("/file", "root"),
        ("/\u{e4}", "root"),
    ] {
        assert_eq!(
            routes.find(path, &GET).map(|route| &*route.origin.field),
            Some(field),
            "{path}"
        );
    }
}

#[test]
fn one_changed_host_of_ten_thousand_leaves_the_others_shared() {
    let mut before = RoutingTable::default();
    for index in 0..10_000 {
        let pattern = HostPattern::parse(&format!("h{index}.example")).expect("a pattern");
        before.set(Arc::new(
            HostRoutes::new(pattern, [(PathMatch::Prefix("/".into()), route("a"))], None).0,
        ));
    }
    let mut after = before.clone();
    let pattern = HostPattern::parse("h77.example").expect("a pattern");
    after.set(Arc::new(
        HostRoutes::new(pattern, [(PathMatch::Prefix("/".into()), route("b"))], None).0,
    ));
    let shared_maps = before.exact.iter().zip(&after.exact);
    let copied = shared_maps
        .filter(|(a, b)| !Arc::ptr_eq(a.as_ref().expect("full"), b.as_ref().expect("full")))
        .count();
    assert_eq!(copied, 1);
    let same = |host: &str| {
        Arc::ptr_eq(
            before.host(Some(host)).expect("there"),
            after.host(Some(host)).expect("there"),
        )
    };
    assert!(
        (0..10_000)
            .filter(|index| *index != 77)
            .all(|index| same(&format!("h{index}.example")))
    );
    assert!(!same("h77.example"));
    assert_eq!(found(&before, "h77.example", "/"), Some("a"));
}

#[test]
fn explain_names_the_winner_that_find_returns() {
    let table = table(&[
        ("a.example", PathMatch::Prefix("/".into()), "root"),
        ("a.example", PathMatch::Prefix("/api".into()), "api"),
    ]);
    let candidates = table.explain(Some("a.example"), "/api/x", &GET);
    let names: Vec<_> = candidates
        .iter()
        .map(|c| (&*c.route.origin.name, c.matches, c.wins))
        .collect();
    assert_eq!(names, [("api", true, true), ("root", true, false)]);
}

/// The specification read aloud: all rules of the host, Exact before others, longest first.
fn slow<'a>(rules: &'a [(PathMatch, Arc<Route>)], path: &str) -> Option<&'a Arc<Route>> {
    let exact = rules
        .iter()
        .find(|(rule, _)| matches!(rule, PathMatch::Exact(p) if **p == *path));
    if let Some((_, route)) = exact {
        return Some(route);
    }
    let mut best: Option<(usize, u8, usize)> = None;
    for (index, (rule, _)) in rules.iter().enumerate() {
        let (text, kind) = match rule {
            PathMatch::Exact(_) => continue,
            PathMatch::Prefix(text) => (text, 1),
            // Every path begins with a slash.
            PathMatch::Start(text) if **text == *"/" => (text, 1),
            PathMatch::Start(text) => (text, 0),
            PathMatch::Below(_)
            | PathMatch::Closed(_)
            | PathMatch::Pattern(_)
            | PathMatch::Expression(_)
            | PathMatch::Regexp(_) => {
                unreachable!("no rule is made of these")
            }
        };
        let wanted: Vec<&str> = text
            .split('/')
            .filter(|element| !element.is_empty())
            .collect();
        let trimmed = text.trim_end_matches('/');
        let takes = match rule {
            PathMatch::Start(start) => path.starts_with(&**start),
            _ if wanted.is_empty() => true,
            _ => path == trimmed || path.starts_with(&format!("{trimmed}/")),
        };
        let size = if kind == 1 { trimmed.len() } else { text.len() };
        let better = best.is_none_or(|(length, rank, _)| (size, kind) > (length, rank));
        if takes && better {
            best = Some((size, kind, index));
        }
    }
    best.map(|(_, _, index)| &rules[index].1)
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    ("(/[ab]{0,2}){1,3}/?", 0..3).prop_map(|(path, kind)| match kind {
        0 => PathMatch::Exact(path.into()),
        1 => PathMatch::Prefix(path.into()),
        _ => PathMatch::Start(path.into()),
    })
}

proptest! {
    #[test]
    fn lookup_agrees_with_the_slow_matcher(
        rules in proptest::collection::vec(path_match(), 0..12),
        path in "(/[ab]{0,2}){1,4}",
    ) {
        let rules: Vec<_> = rules
            .into_iter()
            .enumerate()
            .map(|(i, rule)| (rule, route(&i.to_string())))
            .collect();
        let expected = slow(&rules, &path).map(|route| route.origin.name.clone());
        let (routes, _) = HostRoutes::new(HostPattern::Any, rules, None);
        prop_assert_eq!(routes.find(&path, &GET).map(|route| route.origin.name.clone()), expected);
    }
}

#[test]
fn the_terms_of_a_host_are_for_all_that_is_asked_of_it() {
    let terms = Arc::new(ClientCertificates {
        from: "auth-tls-secret".into(),
        verify: VerifyClient::On,
        authorities: Ok(Arc::default()),
        depth: 1,
        subject: None,
        error_page: None,
        fields: CertificateFields::default(),
    });
    let mut table = RoutingTable::default();
    assert!(!table.has_client_certificates());
    let pattern = HostPattern::parse("a.example").expect("a host");
    let routes = vec![(PathMatch::Prefix("/a".into()), route("a"))];
    let (mut host, _) = HostRoutes::new(pattern.clone(), routes, None);
    host.set_client_certificates(terms);
    table.set(Arc::new(host));
    table.set_default(Some(route("default")));

    // The default route too, which other hosts have without them.
    for (host, path, expected) in [
        ("a.example", "/a", true),
        ("a.example", "/b", true),
        ("b.example", "/b", false),
    ] {
        let found = table.find(Some(host), path, &GET).expect("a route");
        assert_eq!(
            found.client_certificates.is_some(),
            expected,
            "{host}{path}"
        );
    }
    assert!(table.has_client_certificates());
    table.remove(&pattern);
    assert!(!table.has_client_certificates());
}
