//! Redirects, `Host` and limits: what annotations lead to.

use std::time::Duration;

use http::{HeaderValue, StatusCode};

use super::*;
use crate::routing::{
    AllowedList, BackendTls, Elsewhere, Origins, Refusal, RequestStep, Route, Verify,
};

const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// The route of an Ingress with annotations of ingress-nginx.
fn route(annotations: &[(&str, &str)]) -> Arc<Route> {
    let mut index = index();
    index.apply(apply(service("web")));
    let mut one = ingress("web", "a.example", "/", "web");
    for (name, value) in annotations {
        one["metadata"]["annotations"][format!("{NGINX}{name}")] = (*value).into();
    }
    index.apply(apply(one));
    index.compile();
    let found = index.table().find(Some("a.example"), "/", &GET);
    found.expect("a route").route.clone()
}

fn elsewhere(route: &Route) -> Option<Arc<Elsewhere>> {
    let steps = route.steps.iter().flat_map(|steps| &steps.request);
    let mut found = steps.filter_map(|step| match step {
        RequestStep::Elsewhere(to) => Some(to.clone()),
        _ => None,
    });
    found.next()
}

#[test]
fn the_redirect_of_everything_precedes_that_of_the_root() {
    let (permanent, temporal, root) = (
        ("permanent-redirect", "https://b.example/p"),
        ("temporal-redirect", "https://b.example/t"),
        ("app-root", "/app"),
    );
    for (annotations, from, status, of_root) in [
        (&[permanent][..], "permanent-redirect", 301, false),
        (&[permanent, temporal], "temporal-redirect", 302, false),
        (
            &[permanent, ("permanent-redirect-code", "308")],
            "permanent-redirect",
            308,
            false,
        ),
        (
            &[temporal, ("temporal-redirect-code", "307")],
            "temporal-redirect",
            307,
            false,
        ),
        (
            &[permanent, ("permanent-redirect-code", "200")],
            "permanent-redirect",
            301,
            false,
        ),
        (&[root], "app-root", 302, true),
        (&[root, permanent], "permanent-redirect", 301, false),
    ] {
        let found = elsewhere(&route(annotations)).expect("a redirect");
        assert_eq!(&*found.from, format!("{NGINX}{from}"), "{annotations:?}");
        assert_eq!(
            (found.status.as_u16(), found.of_root),
            (status, of_root),
            "{annotations:?}"
        );
    }

    let steps = route(&[root, ("allowlist-source-range", "10.0.0.0/8")]);
    let steps = &steps.steps.as_ref().expect("steps").request;
    let entry = steps
        .iter()
        .position(|step| matches!(step, RequestStep::Access(_)));
    let last = steps
        .iter()
        .position(|step| matches!(step, RequestStep::Elsewhere(_)));
    assert!(entry < last, "who may not come in is not redirected");
}

#[test]
fn a_redirect_that_is_not_valid_lets_nothing_through() {
    for value in ["b.example", "https://b.example/$1", "https://$http_host/"] {
        let route = route(&[("permanent-redirect", value)]);
        let refused = matches!(route.action, Action::Refuse(Refusal::InvalidGuard));
        assert!(refused, "{value}");
    }
    assert!(elsewhere(&route(&[("permanent-redirect", "")])).is_none());
    // A redirect needs no backend.
    let mut index = index();
    let mut one = ingress("web", "a.example", "/", "missing");
    one["metadata"]["annotations"] = json!({
        format!("{NGINX}permanent-redirect"): "https://b.example/",
    });
    index.apply(apply(one));
    index.compile();
    let found = index
        .table()
        .find(Some("a.example"), "/", &GET)
        .expect("a route");
    assert_eq!(
        elsewhere(found.route).expect("a redirect").status,
        StatusCode::MOVED_PERMANENTLY
    );
}

#[test]
fn limits_become_the_policy_of_a_route() {
    let route = route(&[
        ("proxy-connect-timeout", "2"),
        ("proxy-read-timeout", "3600"),
        ("proxy-send-timeout", "30"),
        ("proxy-body-size", "8m"),
        ("proxy-next-upstream-tries", "2"),
    ]);
    let policy = route.policy.as_ref().expect("a policy");
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(policy.timeouts.connect, seconds(2));
    assert_eq!(policy.timeouts.response_header, seconds(3600));
    assert_eq!(policy.timeouts.idle, seconds(3600));
    assert_eq!(policy.max_body_bytes, Some(8 << 20));
    assert_eq!(policy.attempts, Some(2));

    for (name, value, attempts, bytes) in [
        ("proxy-next-upstream", "off", Some(1), None),
        ("proxy-next-upstream-tries", "0", Some(16), None),
        ("proxy-body-size", "0", None, Some(u64::MAX)),
    ] {
        let route = self::route(&[(name, value)]);
        let policy = route.policy.as_ref().expect("a policy");
        assert_eq!(
            (policy.attempts, policy.max_body_bytes),
            (attempts, bytes),
            "{name}"
        );
    }
    assert!(
        self::route(&[("proxy-next-upstream", "error timeout")])
            .policy
            .is_none()
    );
    let off = self::route(&[
        ("proxy-next-upstream", "off"),
        ("proxy-next-upstream-tries", "5"),
    ]);
    assert_eq!(off.policy.as_ref().expect("a policy").attempts, Some(1));
}

#[test]
fn what_cors_does_not_say_is_as_in_nginx() {
    let terms = |annotations: &[(&str, &str)]| {
        let route = route(annotations);
        let steps = route.steps.as_ref()?.request.clone();
        steps.iter().find_map(|step| match step {
            RequestStep::Preflight(cors) => Some(cors.clone()),
            _ => None,
        })
    };
    let enabled = ("enable-cors", "true");
    let cors = terms(&[enabled]).expect("terms");
    assert!(cors.credentials && cors.origins == Origins::Any && cors.expose.is_none());
    let methods = HeaderValue::from_static("GET, PUT, POST, DELETE, PATCH, OPTIONS");
    assert_eq!(cors.methods, AllowedList::Listed(methods));
    assert_eq!(cors.max_age, "1728000");
    assert!(terms(&[("cors-allow-origin", "*")]).is_none());

    // In doubt no page of another origin gets more than its owner meant.
    let cors = terms(&[
        enabled,
        ("cors-allow-origin", "~https://a"),
        ("cors-allow-credentials", "maybe"),
    ]);
    let cors = cors.expect("terms");
    assert!(!cors.credentials && !cors.origins.has(b"https://a"));
}

#[test]
fn verification_of_backends_is_on_in_doubt() {
    let tls = |annotations: &[(&str, &str)]| {
        let route = route(annotations);
        let backend = route.action.backends().next().expect("a backend").clone();
        backend.settings.tls.clone()
    };
    for (value, expected) in [
        ("on", Verify::Always),
        ("off", Verify::Default),
        ("true", Verify::Always),
        ("", Verify::Always),
    ] {
        assert_eq!(
            tls(&[("proxy-ssl-verify", value)]).verify,
            expected,
            "{value:?}"
        );
    }
    let named = tls(&[("proxy-ssl-name", "inside.example")]);
    assert_eq!(
        named.server_name.expect("a name").as_str(),
        "inside.example"
    );
    assert_eq!(tls(&[]), BackendTls::default());
}

#[test]
fn connections_have_one_request_if_they_close() {
    for (value, expected) in [("close", Some(0)), ("keep-alive", None), ("upgrade", None)] {
        let route = route(&[("connection-proxy-header", value)]);
        let backend = route.backends().next().expect("a backend");
        assert_eq!(backend.settings.limits.idle, expected, "{value}");
    }
}
