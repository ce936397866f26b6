//! The annotations of Services that check logins, get copies of requests or have pages of errors:
//! what a Service asks for is never left out.

use std::time::Duration;

use super::{
    client_certificates::{index, secret},
    *,
};
use crate::routing::{
    AuthTarget, Backend, BackendTimes, Host, Protocol, RequestStep, Route, Verify,
};

const HAPROXY: &str = "haproxy-ingress.github.io/";
const CA: (&str, &str) = ("ca.crt", "first");
const PAIR: [(&str, &str); 2] = [("tls.crt", "chain"), ("tls.key", "key")];

/// Returns a compiled index with a Service `side` and a Secret `tls`, and an Ingress with one
/// annotation.
fn with(side: &[(&str, &str)], data: &[(&str, &str)], of_ingress: (&str, &str)) -> Index {
    let mut index = index();
    index.apply(apply(secret("tls", data)));
    let mut service = service("side");
    for (name, value) in side {
        let prefix = if name.contains('/') { "" } else { HAPROXY };
        service["metadata"]["annotations"][format!("{prefix}{name}")] = (*value).into();
    }
    index.apply(apply(service));
    let object = ingress("web", "a.example", "/", "web");
    index.apply(apply(annotated(object, &[of_ingress])));
    index.compile();
    index
}

fn route(index: &Index) -> Arc<Route> {
    let found = index.table().find(Some("a.example"), "/", &GET);
    found.expect("a route").route.clone()
}

/// Returns the Service that is asked beside the backend; `None` if it is not asked.
fn asked(index: &Index) -> Option<Arc<Backend>> {
    let route = route(index);
    let steps = route.steps.as_deref()?;
    let of_auth = steps.request.iter().find_map(|step| match step {
        RequestStep::ExternalAuth(auth) => match &auth.to {
            AuthTarget::Server(server) => Some(server.backend.0.clone()),
            AuthTarget::OwnHost => None,
        },
        _ => None,
    });
    let mirror = steps.mirror.as_ref().map(|mirror| mirror.backend.0.clone());
    let errors = steps.errors.as_ref().map(|pages| pages.backend.0.clone());
    of_auth.or(mirror).or(errors)
}

const LOGIN: (&str, &str) = ("auth-url", "http://side.default.svc:80/");
const SIDES: [(&str, &str); 4] = [
    LOGIN,
    ("haproxy-ingress.github.io/auth-url", "svc://side:80/"),
    ("mirror-target", "http://side.default.svc:80/"),
    ("default-backend", "side"),
];

#[test]
fn tls_that_a_service_asks_for_is_spoken_and_verified() {
    for side in SIDES {
        let plain = with(&[], &[CA], side);
        assert_eq!(asked(&plain).expect("asked").protocol(), Protocol::Http1);

        let secure = with(&[("secure-backends", "true")], &[CA], side);
        let backend = asked(&secure).expect("asked");
        assert_eq!(backend.protocol(), Protocol::Https, "{side:?}");

        let verified = [
            ("secure-backends", "true"),
            ("secure-verify-ca-secret", "tls"),
            ("secure-sni", "inside.example"),
        ];
        let index = with(&verified, &[CA], side);
        let settings = asked(&index).expect("asked").settings.clone();
        assert_eq!(settings.protocol, Protocol::Https, "{side:?}");
        assert_eq!(settings.tls.verify, Verify::Always, "{side:?}");
        let name = Host::parse("inside.example").expect("a host");
        assert_eq!(settings.tls.server_name, Some(name), "{side:?}");
        let terms = settings.tls.terms.clone().expect("terms");
        assert!(terms.authorities.is_some(), "{side:?}");
    }
}

#[test]
fn terms_that_cannot_be_met_ask_nobody() {
    let verified = [
        ("secure-backends", "true"),
        ("secure-verify-ca-secret", "tls"),
    ];
    let transport = (
        "traefik.ingress.kubernetes.io/service.serverstransport",
        "default-missing@kubernetescrd",
    );
    for side in SIDES {
        for (terms, data) in [
            (&verified[..], &PAIR[..]),
            (&[("haproxy.org/server-ca", "missing")], &[CA]),
            (&[("backend-protocol", "AUTO_HTTP")], &[CA]),
            (
                &[("secure-backends", "true"), ("secure-sni", "host")],
                &[CA],
            ),
            (&[transport], &[CA]),
        ] {
            // Under the prefix of both, which HAProxy Ingress has on Services.
            let terms: Vec<(String, &str)> = terms
                .iter()
                .map(|(name, value)| match *name {
                    "backend-protocol" => (format!("ingress.kubernetes.io/{name}"), *value),
                    name => (name.to_owned(), *value),
                })
                .collect();
            let terms: Vec<(&str, &str)> =
                terms.iter().map(|(name, one)| (&**name, *one)).collect();
            let index = with(&terms, data, side);
            assert!(asked(&index).is_none(), "{side:?} {terms:?}");
            let is_login = side.0.ends_with("auth-url");
            let is_closed = matches!(route(&index).action, Action::Refuse(_));
            assert_eq!(is_closed, is_login, "{side:?} {terms:?}");
        }
    }
}

#[test]
fn times_of_a_transport_hold_at_every_server() {
    let named = (
        "traefik.ingress.kubernetes.io/service.serverstransport",
        "default-own@kubernetescrd",
    );
    let transport = json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "ServersTransport",
        "metadata": {"name": "own"},
        "spec": {"forwardingTimeouts": {"dialTimeout": "2s", "responseHeaderTimeout": "3s"}},
    });
    for side in SIDES {
        let mut index = with(&[named], &[CA], side);
        assert!(asked(&index).is_none(), "{side:?}");
        index.apply(apply(transport.clone()));
        index.compile();
        let backend = asked(&index).expect("asked");
        let expected = BackendTimes {
            connect: Some(Duration::from_secs(2)),
            response_header: Some(Duration::from_secs(3)),
        };
        let times = backend.settings.times.as_deref();
        assert_eq!(times, Some(&expected), "{side:?}");
    }
}

#[test]
fn a_secret_of_a_server_that_comes_and_goes_is_followed() {
    let terms = [("haproxy.org/server-ca", "tls")];
    let mut index = with(&terms, &[("tls.crt", "first")], LOGIN);
    assert!(asked(&index).is_some());
    index.apply(delete(Kind::Secret, "tls"));
    index.compile();
    assert!(asked(&index).is_none());
    assert!(matches!(route(&index).action, Action::Refuse(_)));
    index.apply(apply(secret("tls", &[("tls.crt", "first")])));
    index.compile();
    assert_eq!(asked(&index).expect("asked").protocol(), Protocol::Https);
}

#[test]
fn a_certificate_is_not_shown_for_ingresses_of_other_namespaces() {
    let terms = [("haproxy.org/server-crt", "tls")];
    let mut index = with(&terms, &PAIR, LOGIN);
    assert!(asked(&index).is_some());

    let mut other = secret("tls", &PAIR);
    other["metadata"]["namespace"] = "other".into();
    index.apply(apply(other));
    let mut side = service("side");
    side["metadata"]["namespace"] = "other".into();
    side["metadata"]["annotations"] = json!({terms[0].0: terms[0].1});
    index.apply(apply(side));
    let object = ingress("web", "a.example", "/", "web");
    let url = ("auth-url", "https://side.other.svc:80/");
    index.apply(apply(annotated(object, &[url])));
    index.compile();
    assert!(matches!(route(&index).action, Action::Refuse(_)));
}
