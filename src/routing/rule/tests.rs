use proptest::prelude::*;

use super::*;
use crate::routing::{HostPattern, HostRoutes, Origin, Refusal};

fn text(text: &str) -> TextMatch {
    TextMatch::Exact(text.into())
}

fn pattern(text: &str) -> TextMatch {
    TextMatch::Pattern(Box::new(Pattern::parse(text).expect("a pattern")))
}

fn header(name: &str, value: TextMatch) -> HeaderMatch {
    HeaderMatch {
        each: false,
        name: name.parse().expect("a name"),
        value,
    }
}

fn query(name: &str, value: TextMatch) -> QueryMatch {
    QueryMatch {
        name: name.into(),
        value,
    }
}

fn request(method: &str, uri: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

#[test]
fn fields_of_one_name_count_as_one_list() {
    for (fields, condition, expected) in [
        (&[("x-a", "1")][..], text("1"), true),
        (&[("X-A", "1")], text("1"), true),
        (&[("x-a", "11")], text("1"), false),
        (&[("x-b", "1")], text("1"), false),
        (&[("x-a", "1"), ("x-a", "2")], text("1"), false),
        (&[("x-a", "1"), ("x-a", "2")], text("1,2"), true),
        (&[("x-a", "12")], pattern("1[0-9]"), true),
        (&[("x-a", "1"), ("x-a", "2")], pattern("1"), false),
        (&[], pattern(".*"), false),
    ] {
        let request = request("GET", "/", fields);
        let holds = header("x-a", condition.clone()).holds(&request);
        assert_eq!(holds, expected, "{condition:?} on {fields:?}");
    }
}

#[test]
fn the_first_parameter_of_a_name_counts_decoded() {
    for (uri, name, condition, expected) in [
        ("/?a=1", "a", text("1"), true),
        ("/?b=2&a=1", "a", text("1"), true),
        ("/?a=2&a=1", "a", text("1"), false),
        ("/?a", "a", text(""), true),
        ("/", "a", text(""), false),
        ("/?a=%31", "a", text("1"), true),
        ("/?%61=1", "a", text("1"), true),
        ("/?a=x+y", "a", text("x y"), true),
        ("/?a=x+y", "a", text("x+y"), false),
        ("/?a=%37", "a", pattern("[0-9]"), true),
        ("/?a=x", "a", pattern("[0-9]"), false),
        ("/?A=1", "a", text("1"), false),
    ] {
        let request = request("GET", uri, &[]);
        let holds = query(name, condition.clone()).holds(Head::query(&request));
        assert_eq!(holds, expected, "{name} {condition:?} on {uri}");
    }
}

/// A rule as it is generated: its object's age and name come with it.
#[derive(Clone, Debug)]
struct Given {
    path: PathMatch,
    conditions: Option<Conditions>,
    age: u8,
    name: u8,
}

/// Reports whether a rule takes a request, by the words of Gateway API and Ingress v1.
fn takes(given: &Given, path: &str, request: &Request<()>) -> bool {
    let elements = |text: &str| -> Vec<String> { text.split('/').map(str::to_owned).collect() };
    let path_matches = match &given.path {
        PathMatch::Exact(exact) => **exact == *path,
        PathMatch::Prefix(prefix) => {
            elements(path).starts_with(&elements(prefix.trim_end_matches('/')))
        }
        PathMatch::Start(start) => path.starts_with(&**start),
        PathMatch::Pattern(pattern) => {
            let prefix = pattern.as_str().trim_end_matches(".*");
            path.starts_with(prefix)
        }
        PathMatch::Below(_)
        | PathMatch::Closed(_)
        | PathMatch::Expression(_)
        | PathMatch::Regexp(_) => {
            unreachable!("not generated")
        }
    };

    let Some(conditions) = &given.conditions else {
        return path_matches;
    };
    let method = conditions.method.as_ref();
    let headers = conditions.headers.iter().all(|one| {
        let value = request.headers().get(&one.name);
        value.is_some_and(|value| text(value.to_str().expect("text")) == one.value)
    });
    let query = conditions.query.iter().all(|one| {
        let pair = format!("{}=1", one.name);
        let pairs = request.uri().query().unwrap_or_default().split('&');
        pairs.collect::<Vec<_>>().contains(&&*pair)
    });
    path_matches && method.is_none_or(|one| one == request.method()) && headers && query
}

/// Returns the place of a rule in the order that is stated for [`Rule::precedence`]: the least is
/// the first.
fn place(given: &Given, index: usize) -> impl Ord + use<> {
    let slash = |text: &str| text.trim_end_matches('/').len();
    let (is_exact, length, breadth) = match &given.path {
        PathMatch::Exact(_) => (true, 0, 0),
        PathMatch::Pattern(pattern) => (false, pattern.as_str().len() - 2, 1),
        PathMatch::Prefix(prefix) => (false, slash(prefix), 2),
        PathMatch::Start(start) if **start == *"/" => (false, 0, 2),
        PathMatch::Start(start) => (false, start.len(), 3),
        PathMatch::Below(_)
        | PathMatch::Closed(_)
        | PathMatch::Expression(_)
        | PathMatch::Regexp(_) => {
            unreachable!("not generated")
        }
    };
    let conditions = given.conditions.clone().unwrap_or_default();
    (
        !is_exact,
        usize::MAX - length,
        breadth,
        conditions.method.is_none(),
        usize::MAX - conditions.headers.len(),
        usize::MAX - conditions.query.len(),
        (given.age, given.name, index),
    )
}

fn given() -> impl Strategy<Value = Given> {
    let path = ("/[ab]{1,2}(/[ab]{0,2}){0,2}", 0..4).prop_map(|(path, kind)| match kind {
        0 => PathMatch::Exact(path.into()),
        1 => PathMatch::Prefix(path.into()),
        2 => PathMatch::Start(path.into()),
        _ => {
            let pattern = Pattern::parse(&format!("{path}.*")).expect("a pattern");
            PathMatch::Pattern(Box::new(pattern))
        }
    });
    let conditions = (0..3_u8, 0..4_u8, 0..4_u8).prop_map(|(method, headers, parameters)| {
        let method = [None, Some(Method::GET), Some(Method::POST)][usize::from(method)].clone();
        let chosen = |bits: u8| {
            ["a", "b"]
                .into_iter()
                .zip(0..)
                .filter(move |(_, bit)| bits >> bit & 1 == 1)
        };
        Conditions {
            method,
            headers: chosen(headers)
                .map(|(name, _)| header(name, text("1")))
                .collect(),
            query: chosen(parameters)
                .map(|(name, _)| query(name, text("1")))
                .collect(),
        }
    });
    let conditions = proptest::option::of(conditions);
    (path, conditions, 0..3_u8, 0..3_u8).prop_map(|(path, conditions, age, name)| Given {
        path,
        conditions,
        age,
        name,
    })
}

fn requests() -> impl Strategy<Value = Request<()>> {
    let uri = "(/[ab]{0,2}){1,4}(\\?(a=1|b=1|a=1&b=1))?";
    (uri, any::<bool>(), 0..4_u8).prop_map(|(uri, post, bits)| {
        let fields = [("a", "1"), ("b", "1")];
        let fields: Vec<_> = (0..)
            .zip(fields)
            .filter(|(bit, _)| bits >> bit & 1 == 1)
            .collect();
        let fields: Vec<_> = fields.into_iter().map(|(_, field)| field).collect();
        request(if post { "POST" } else { "GET" }, &uri, &fields)
    })
}

proptest! {
    #[test]
    fn rules_match_in_the_stated_order(
        mut rules in proptest::collection::vec(given(), 0..40),
        requests in proptest::collection::vec(requests(), 1..20),
    ) {
        // The objects come by age and name.
        rules.sort_by_key(|one| (one.age, one.name));
        let made = rules.iter().enumerate().map(|(index, one)| Rule {
            path: one.path.clone(),
            conditions: one.conditions.clone().map(Box::new),
            route: Arc::new(Route::refused(
                Origin {
                    namespace: "n".into(),
                    // Different objects: no twins.
                    name: index.to_string().into(),
                    field: "".into(), requests: None, priority: None, },
                Refusal::UnknownService,
            )),
        });
        let (routes, _) = HostRoutes::new(HostPattern::Any, made, None);

        for request in &requests {
            let path = request.uri().path();
            let taking = rules.iter().enumerate().filter(|(_, one)| takes(one, path, request));
            let expected = taking.min_by_key(|(index, one)| place(one, *index));
            let found = routes.find(path, request).map(|route| route.origin.name.to_string());
            prop_assert_eq!(found, expected.map(|(index, _)| index.to_string()), "{:?}", request);
        }
    }
}

#[test]
fn one_of_the_values_of_a_field_is_enough_for_haproxy() {
    let rule = |value: TextMatch| Conditions {
        headers: [HeaderMatch {
            each: true,
            ..header("x-env", value)
        }]
        .into(),
        ..Conditions::default()
    };
    let exact = rule(TextMatch::Exact("a".into()));
    let pattern = Pattern::parse_within("a.c", false).expect("a pattern");
    let pattern = rule(TextMatch::Pattern(Box::new(pattern)));
    for (values, of_exact, of_pattern) in [
        (&["a"][..], true, false),
        (&["b, a"], true, false),
        (&["b", "a,c"], true, false),
        (&["A"], false, false),
        (&["ab"], false, false),
        (&["xabcx"], false, true),
        (&["ab, c"], false, false),
        (&["\"x,a\""], false, false),
        (&["\"x\\\",\",a"], true, false),
        (&[""], false, false),
        (&[], false, false),
    ] {
        let mut request = Request::get("/");
        for value in values {
            request = request.header("X-Env", *value);
        }
        let request = request.body(()).expect("a request");
        assert_eq!(exact.hold(&request), of_exact, "{values:?}");
        assert_eq!(pattern.hold(&request), of_pattern, "{values:?}");
    }
}
