//! Sticky sessions: the terms that annotations of Ingresses and Services make.

use super::*;
use crate::routing::{Canary, LoadBalancing, Policy, SameSite, Stickiness, StickyCookie};

/// An index with an Ingress for `/shop` and its Service.
fn with(of_ingress: &[(&str, &str)], of_service: &[(&str, &str)]) -> Index {
    let mut index = index();
    index.apply(apply(annotated(service("web"), of_service)));
    let one = ingress("web", "a.example", "/shop", "web");
    index.apply(apply(annotated(one, of_ingress)));
    index
}

fn policy(index: &Index) -> Policy {
    let found = index.table().find(Some("a.example"), "/shop", &GET);
    let policy = found.expect("a route").route.policy.clone();
    policy.as_deref().cloned().unwrap_or_default()
}

fn cookie(of_ingress: &[(&str, &str)], of_service: &[(&str, &str)]) -> Option<StickyCookie> {
    let mut index = with(of_ingress, of_service);
    index.compile();
    match policy(&index).stickiness? {
        Stickiness::Cookie(cookie) => Some(*cookie),
        Stickiness::Hash(_) => None,
    }
}

#[test]
fn the_annotations_of_ingress_nginx_make_a_cookie() {
    let affinity = ("affinity", "cookie");
    let plain = cookie(&[affinity], &[]).expect("a cookie");
    assert_eq!(&*plain.name, "INGRESSCOOKIE");
    assert_eq!(&*plain.attributes, "; Path=/shop; HttpOnly");
    assert_eq!((plain.secure, plain.expires), (None, None));
    assert!(!plain.is_persistent && !plain.change_on_failure);

    let all = cookie(
        &[
            affinity,
            ("affinity-mode", "persistent"),
            ("session-cookie-name", "route"),
            ("session-cookie-path", "/"),
            ("session-cookie-domain", "a.example"),
            ("session-cookie-max-age", "60"),
            ("session-cookie-expires", "70"),
            ("session-cookie-samesite", "lax"),
            ("session-cookie-secure", "true"),
            ("session-cookie-change-on-failure", "true"),
        ],
        &[],
    );
    let all = all.expect("a cookie");
    let expected = "; Path=/; Domain=a.example; Max-Age=60; HttpOnly";
    assert_eq!((&*all.name, &*all.attributes), ("route", expected));
    assert_eq!(all.same_site, Some(SameSite::Lax));
    assert_eq!(all.expires.map(|time| time.as_secs()), Some(70));
    assert!(all.is_persistent && all.change_on_failure && all.secure == Some(true));

    for annotations in [
        &[("session-cookie-name", "route")][..],
        &[("affinity", "ip")],
        &[("affinity", "")],
    ] {
        assert!(cookie(annotations, &[]).is_none(), "{annotations:?}");
    }
    // A value that is not valid leaves the rest.
    let rest = cookie(&[affinity, ("session-cookie-path", "/;x")], &[]);
    assert_eq!(
        &*rest.expect("a cookie").attributes,
        "; Path=/shop; HttpOnly"
    );
}

#[test]
fn other_controllers_name_the_cookie_in_their_way() {
    for name in [
        "haproxy-ingress.github.io/affinity",
        "ingress.kubernetes.io/affinity",
    ] {
        assert!(cookie(&[(name, "cookie")], &[]).is_some(), "{name}");
    }
    let named = cookie(&[("haproxy.org/cookie-persistence", "srv")], &[]);
    assert_eq!(&*named.expect("a cookie").name, "srv");

    let traefik =
        |rest: &'static str| ("traefik.ingress.kubernetes.io/service.sticky.cookie", rest);
    let on_service = cookie(
        &[],
        &[
            traefik("true"),
            (
                "traefik.ingress.kubernetes.io/service.sticky.cookie.httponly",
                "false",
            ),
            (
                "traefik.ingress.kubernetes.io/service.sticky.cookie.samesite",
                "none",
            ),
        ],
    );
    let on_service = on_service.expect("a cookie");
    assert_eq!(&*on_service.attributes, "; Path=/shop");
    assert_eq!(on_service.same_site, Some(SameSite::None));
    assert!(on_service.is_persistent);
    assert!(cookie(&[], &[traefik("false")]).is_none());
    assert!(
        cookie(&[traefik("true")], &[]).is_none(),
        "it belongs on the Service"
    );
    // The Ingress precedes its Service.
    let both = cookie(&[("affinity", "cookie")], &[traefik("true")]);
    assert!(!both.expect("a cookie").is_persistent);
}

#[test]
fn an_edit_of_the_service_changes_its_sessions() {
    let name = "traefik.ingress.kubernetes.io/service.sticky.cookie";
    let mut index = with(&[], &[(name, "true")]);
    index.compile();
    assert!(policy(&index).stickiness.is_some());
    index.apply(apply(service("web")));
    index.compile();
    assert!(policy(&index).stickiness.is_none());
    // It restricts no client, so ports of layer 4 stay open.
    let ported = annotated(
        service("web"),
        &[(name, "true"), ("gatelet.dev/tcp-listen", "80")],
    );
    index.apply(apply(ported));
    let output = index.compile();
    assert!(reasons(&output).is_empty(), "{:?}", reasons(&output));
}

#[test]
fn the_cookie_precedes_the_hash_and_each_algorithm_is_named() {
    let hash = ("upstream-hash-by", "$request_uri");
    let mut index = with(&[hash], &[]);
    index.compile();
    assert!(matches!(
        policy(&index).stickiness,
        Some(Stickiness::Hash(_))
    ));
    assert!(cookie(&[hash, ("affinity", "cookie")], &[]).is_some());
    let subset = ("upstream-hash-by-subset", "true");
    let of = |annotations: &[(&str, &str)]| {
        let mut index = with(annotations, &[]);
        index.compile();
        match &policy(&index).stickiness {
            Some(Stickiness::Hash(hash)) => hash.subset.get(),
            other => panic!("{other:?}"),
        }
    };
    let size = ("upstream-hash-by-subset-size", "5");
    assert_eq!((of(&[hash]), of(&[hash, size])), (1, 1));
    assert_eq!((of(&[hash, subset]), of(&[hash, subset, size])), (3, 5));
    for (name, value, expected, findings) in [
        ("load-balance", "round_robin", LoadBalancing::RoundRobin, 0),
        ("load-balance", "ewma", LoadBalancing::LeastRequest, 1),
        (
            "haproxy.org/load-balance",
            "leastconn",
            LoadBalancing::LeastRequest,
            0,
        ),
        (
            "haproxy-ingress.github.io/balance-algorithm",
            "roundrobin",
            LoadBalancing::RoundRobin,
            0,
        ),
    ] {
        let mut index = with(&[(name, value)], &[]);
        let output = index.compile();
        assert_eq!(policy(&index).balancing, Some(expected), "{name}");
        assert_eq!(reasons(&output).len(), findings, "{name}");
    }
}

#[test]
fn a_canary_shares_the_sessions_of_its_main_ingress() {
    let affinity = ("affinity", "cookie");
    let hash = ("upstream-hash-by", "$host");
    let legacy = ("affinity-canary-behavior", "legacy");
    let stickiness = |of_main: &[(&str, &str)], of_canary: &[(&str, &str)]| {
        let mut index = with(of_main, &[]);
        let canary = ingress("next", "a.example", "/shop", "web");
        let own = [&[("canary", "true"), ("load-balance", "ewma")], of_canary].concat();
        index.apply(apply(annotated(canary, &own)));
        index.compile();
        let found = index.table().find(Some("a.example"), "/shop", &GET);
        let route = found.expect("a route").route.clone();
        let Action::Forward(split) = &route.action else {
            panic!("{route:?}")
        };
        let canary: Canary = split.canary().expect("a canary").clone();
        assert_eq!(canary.balancing, Some(LoadBalancing::LeastRequest));
        canary.stickiness
    };
    assert!(stickiness(&[affinity], &[]).is_none());
    assert!(stickiness(&[affinity], &[hash]).is_none());
    for (of_main, of_canary) in [
        (&[affinity, legacy][..], &[][..]),
        (&[affinity], &[legacy]),
        (&[hash], &[]),
        (&[], &[affinity]),
    ] {
        let own = stickiness(of_main, of_canary);
        assert_eq!(own, Some(None), "{of_main:?} {of_canary:?}");
    }
    let own = stickiness(&[affinity], &[affinity, legacy]);
    assert!(matches!(own, Some(Some(Stickiness::Cookie(_)))));
    let own = stickiness(&[hash], &[hash]);
    assert!(matches!(own, Some(Some(Stickiness::Hash(_)))));
}
