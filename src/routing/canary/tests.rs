use http::Request;

use super::*;
use crate::routing::{BackendId, BackendSettings, Endpoint, Protocol};

fn terms() -> CanaryTerms {
    CanaryTerms {
        header: None,
        cookie: None,
        weight: 0,
        total: 100,
        ignores_sessions: false,
    }
}

fn header(values: CanaryValues) -> CanaryTerms {
    CanaryTerms {
        header: Some(CanaryHeader {
            name: HeaderName::from_static("x-canary"),
            values,
        }),
        cookie: Some("c".into()),
        ..terms()
    }
}

fn head(fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder();
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

fn decide(terms: &CanaryTerms, fields: &[(&str, &str)]) -> CanaryDecision {
    terms.decide(&head(fields))
}

#[test]
fn the_field_decides_before_the_cookie_and_the_weight() {
    use CanaryDecision::{Cookie, Header, Weight};
    let terms = header(CanaryValues::AlwaysOrNever);
    for (fields, decision) in [
        (&[][..], Weight),
        (&[("x-canary", "always")], Header(true)),
        (&[("x-canary", "never")], Header(false)),
        (&[("x-canary", "Always")], Weight),
        (&[("x-canary", "")], Weight),
        (&[("x-canary", "always"), ("x-canary", "never")], Weight),
        (&[("cookie", "c=always")], Cookie(true)),
        (&[("cookie", "a=1; c=never; c=always")], Cookie(false)),
        (&[("cookie", "a=1;c=always ")], Cookie(true)),
        (&[("cookie", "cc=always; c")], Weight),
        (&[("cookie", "c=1")], Weight),
        (&[("cookie", "a=1"), ("cookie", "c=always")], Cookie(true)),
        (
            &[("x-canary", "never"), ("cookie", "c=always")],
            Header(false),
        ),
        (&[("x-canary", "1"), ("cookie", "c=always")], Cookie(true)),
    ] {
        assert_eq!(decide(&terms, fields), decision, "{fields:?}");
    }
}

#[test]
fn a_value_or_an_expression_decides_for_the_canary_alone() {
    use CanaryDecision::{Header, Weight};
    let exact = header(CanaryValues::Exact("eu".into()));
    let pattern = Pattern::parse("(?s:.*)b.d(?s:.*)").expect("an expression");
    let pattern = header(CanaryValues::Pattern(Box::new(pattern)));
    let invalid = header(CanaryValues::Invalid);
    for (terms, value, decision) in [
        (&exact, "eu", Header(true)),
        (&exact, "always", Weight),
        (&exact, "never", Weight),
        (&pattern, "abcde", Header(true)),
        (&pattern, "always", Weight),
        (&invalid, "always", Header(false)),
    ] {
        assert_eq!(decide(terms, &[("x-canary", value)]), decision, "{value}");
    }
    assert_eq!(decide(&invalid, &[]), Weight);
}

#[test]
fn the_weight_is_a_share_of_the_total() {
    let wins = |weight, total, random| {
        let terms = CanaryTerms {
            weight,
            total,
            ..terms()
        };
        terms.wins(|| random)
    };
    for random in [0, u64::MAX / 2, u64::MAX] {
        assert!(!wins(0, 100, random) && wins(100, 100, random) && wins(200, 100, random));
    }
    assert!(wins(1, 100, 0) && !wins(1, 100, u64::MAX / 99));
    assert!(wins(99, 100, u64::MAX / 100 * 98) && !wins(99, 100, u64::MAX));
}

#[test]
fn a_canary_without_endpoints_takes_nothing() {
    let id = BackendId {
        namespace: "n".into(),
        service: "next".into(),
        port: 80,
    };
    let backend = Arc::new(Backend::new(BackendSettings::new(id, Protocol::Http1)));
    let canary = Canary {
        origin: Origin {
            namespace: "n".into(),
            name: "next".into(),
            field: "f".into(),
            requests: None,
            priority: None,
        },
        backend: backend.clone(),
        terms: Arc::new(header(CanaryValues::AlwaysOrNever)),
        stickiness: None,
        balancing: None,
    };
    let asked = head(&[("x-canary", "always")]);
    assert!(!canary.takes(&asked, || 0));
    let endpoint = Endpoint::at("10.0.0.1:80".parse().expect("an address"));
    backend.set_endpoints(EndpointSet::Addresses([endpoint].into()));
    assert!(canary.takes(&asked, || 0));
}
