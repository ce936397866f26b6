//! Health checks of endpoints, by annotations of Ingresses and Services.

use std::time::Duration;

use super::*;
use crate::routing::{CheckRequest, HealthCheck};

const INGRESS: &str = "haproxy-ingress.github.io/";

/// The health check of the backend behind `/`.
fn check(of_ingress: &[(&str, &str)], of_service: &[(&str, &str)]) -> Option<Arc<HealthCheck>> {
    let mut index = index();
    let named = |mut object: Value, annotations: &[(&str, &str)]| {
        for (name, value) in annotations {
            let prefix = if name.contains('/') { "" } else { INGRESS };
            object["metadata"]["annotations"][format!("{prefix}{name}")] = (*value).into();
        }
        object
    };
    index.apply(apply(named(service("web"), of_service)));
    let one = ingress("web", "a.example", "/", "web");
    index.apply(apply(named(one, of_ingress)));
    let output = index.compile();
    let found = index.table().find(Some("a.example"), "/", &GET);
    let route = found.expect("a route").route.clone();
    let backend = route.backends().next().expect("a backend");

    let check = backend.settings.check.clone();
    let listed = output.checked.unwrap_or_default();
    assert_eq!(listed.len(), usize::from(check.is_some()));
    check
}

#[test]
fn checks_have_the_terms_of_haproxy_ingress() {
    assert!(check(&[], &[]).is_none());
    let plain = HealthCheck {
        request: None,
        addr: None,
        port: None,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(2),
        rise: 2,
        fall: 3,
    };
    let of = |method: &str| CheckRequest {
        method: method.into(),
        target: "/x".into(),
    };
    for (annotations, expected) in [
        (
            &[("health-check-uri", "/x")][..],
            HealthCheck {
                request: Some(of("OPTIONS")),
                ..plain.clone()
            },
        ),
        (
            &[("gatelet.dev/health-check-uri", "/x")],
            HealthCheck {
                request: Some(of("GET")),
                ..plain.clone()
            },
        ),
        (
            &[
                ("haproxy.org/check-http", "HEAD /x"),
                ("haproxy.org/timeout-check", "1s"),
            ],
            HealthCheck {
                request: Some(of("HEAD")),
                timeout: Duration::from_secs(1),
                ..plain.clone()
            },
        ),
        (&[("haproxy.org/check", "true")], plain.clone()),
        (
            &[
                ("health-check-interval", "1ms"),
                ("health-check-port", "81"),
                ("health-check-addr", "192.0.2.9"),
                ("health-check-rise-count", "1"),
                ("health-check-fall-count", "1"),
            ],
            HealthCheck {
                addr: "192.0.2.9".parse().ok(),
                port: Some(81),
                interval: Duration::from_millis(500),
                timeout: Duration::from_millis(500),
                rise: 1,
                fall: 1,
                ..plain
            },
        ),
    ] {
        let found = check(annotations, &[]);
        assert_eq!(found.as_deref(), Some(&expected), "{annotations:?}");
        // On Services those of HAProxy are read.
        let is_read = !annotations[0].0.starts_with("gatelet.dev/");
        assert_eq!(
            check(&[], annotations).is_some(),
            is_read,
            "{annotations:?}"
        );
    }
}

#[test]
fn checks_of_a_service_come_first() {
    let both = check(
        &[("health-check-uri", "/x"), ("health-check-interval", "1h")],
        &[("health-check-fall-count", "7")],
    );
    let both = both.expect("a check");
    assert_eq!((both.fall, both.timeout.as_secs()), (7, 60));
    assert!(both.request.is_some());
    let off = ("haproxy.org/check", "false");
    assert!(check(&[off, ("haproxy.org/check-http", "/")], &[]).is_none());
    assert!(check(&[("health-check-uri", "/x")], &[off]).is_none());
}
