//! Logins that another server checks: the steps that annotations make, and each way in which they
//! can fail.

use super::*;
use crate::routing::{
    AuthDialect, AuthFailure, AuthTarget, EndpointSet, ExternalAuth, RequestStep, Route, Server,
    Verify,
};

const NGINX: &str = "nginx.ingress.kubernetes.io/";
const HAPROXY: &str = "haproxy-ingress.github.io/";
const URL: (&str, &str) = ("auth-url", "http://auth.other.svc:80/verify");

/// A Service in the namespace `other`.
fn other(name: &str) -> Value {
    let mut service = service(name);
    service["metadata"]["namespace"] = "other".into();
    service
}

/// An Ingress with annotations, by default those of ingress-nginx.
fn annotated(name: &str, host: &str, annotations: &[(&str, &str)]) -> Value {
    super::annotated(ingress(name, host, "/", "web"), annotations)
}

/// An index with these annotations on an Ingress, and two Services.
fn compiled(annotations: &[(&str, &str)]) -> (Index, Output) {
    let mut index = index();
    index.apply(apply(service("web")));
    index.apply(apply(other("auth")));
    index.apply(apply(annotated("web", "a.example", annotations)));
    let output = index.compile();
    (index, output)
}

fn route(index: &Index, host: &str) -> Arc<Route> {
    let found = index.table().find(Some(host), "/", &GET);
    found.expect("a route").route.clone()
}

/// Returns the logins on the route of a host.
fn auths(index: &Index, host: &str) -> Vec<Arc<ExternalAuth>> {
    let route = route(index, host);
    let steps = route.steps.iter().flat_map(|steps| &steps.request);
    let auths = steps.filter_map(|step| match step {
        RequestStep::ExternalAuth(auth) => Some(auth.clone()),
        _ => None,
    });
    auths.collect()
}

/// Returns the only login on the route of `a.example`.
fn auth(annotations: &[(&str, &str)]) -> Arc<ExternalAuth> {
    let (index, output) = compiled(annotations);
    assert!(reasons(&output).is_empty(), "{:?}", reasons(&output));
    let auths = auths(&index, "a.example");
    let [auth] = &auths[..] else {
        panic!("{annotations:?}: {auths:?}")
    };
    auth.clone()
}

/// Returns what is asked: a Service, a name with its protocol, or the host itself.
fn asked(auth: &ExternalAuth) -> String {
    let AuthTarget::Server(Server { backend, authority }) = &auth.to else {
        return "own".to_owned();
    };
    let settings = &backend.0.settings;
    let name = match &**backend.0.endpoints() {
        EndpointSet::Name { host, port } => format!("{host}:{port}"),
        _ => settings.id.to_string(),
    };
    let verify = match settings.tls.verify {
        Verify::Always => " verified",
        _ => "",
    };
    let authority = authority.to_str().expect("text");
    format!("{name} {}{verify} as {authority}", settings.protocol)
}

#[test]
fn a_url_names_a_service_a_host_or_the_host_itself() {
    for (url, expected) in [
        (URL.1, "other/auth:80 HTTP/1.1 as auth.other.svc:80"),
        (
            "https://auth.other.svc.cluster.local:80",
            "other/auth:80 HTTP/1.1 over TLS as auth.other.svc.cluster.local:80",
        ),
        ("svc://web:80/x", "default/web:80 HTTP/1.1 as web:80"),
        (
            "http://login.example/x",
            "login.example:80 HTTP/1.1 verified as login.example",
        ),
        (
            "https://login.example:8443/x",
            "login.example:8443 HTTP/1.1 over TLS verified as login.example:8443",
        ),
        (
            "https://[2001:db8::1]/x",
            "2001:db8::1:443 HTTP/1.1 over TLS verified as [2001:db8::1]",
        ),
        ("https://$host/x", "own"),
        ("https://a.example/x", "own"),
        (
            "https://a.example:8443/x",
            "a.example:8443 HTTP/1.1 over TLS verified as a.example:8443",
        ),
        (
            "https://b.example/x",
            "b.example:443 HTTP/1.1 over TLS verified as b.example",
        ),
    ] {
        assert_eq!(asked(&auth(&[("auth-url", url)])), expected, "{url}");
    }
}

#[test]
fn a_login_follows_its_service() {
    let (mut index, output) = compiled(&[("auth-url", "http://late.other.svc/")]);
    assert_eq!(met(&index, "a.example", "/"), "InvalidGuard");
    assert_eq!(reasons(&output), [("web".to_owned(), "UnknownService")]);

    index.apply(apply(other("late")));
    let output = index.compile();
    assert_eq!(met(&index, "a.example", "/"), "empty");
    assert!(reasons(&output).is_empty());
    assert_eq!(auths(&index, "a.example").len(), 1);

    let mut service = other("late");
    service["spec"]["ports"] = json!([{"port": 81}]);
    index.apply(apply(service));
    let output = index.compile();
    assert_eq!(met(&index, "a.example", "/"), "InvalidGuard");
    assert_eq!(reasons(&output), [("web".to_owned(), "UnknownPort")]);
}

#[test]
fn the_endpoints_of_its_service_are_published() {
    let (mut index, _) = compiled(&[URL]);
    let mut endpoints = slice("auth", "auth", json!([{"addresses": ["10.0.0.7"]}]));
    endpoints["metadata"]["namespace"] = "other".into();
    index.apply(apply(endpoints));
    live(&index.compile());
    let auths = auths(&index, "a.example");
    let backend = auths[0].to.backend().expect("a backend");
    let EndpointSet::Addresses(list) = &**backend.endpoints() else {
        panic!("no addresses")
    };
    assert_eq!(list[0].addr.to_string(), "10.0.0.7:8080");

    // An edit of the Ingress keeps the backend, and with it its connections.
    let edited = annotated("web", "a.example", &[URL, ("auth-method", "POST")]);
    index.apply(apply(edited));
    index.compile();
    let after = auths_of_edit(&index);
    assert!(Arc::ptr_eq(&after, backend));
}

fn auths_of_edit(index: &Index) -> Arc<crate::routing::Backend> {
    let auths = auths(index, "a.example");
    auths[0].to.backend().expect("a backend").clone()
}

#[test]
fn a_decision_to_ignore_guards_does_not_open_it() {
    for ignoring in [false, true] {
        let mut annotations = vec![URL];
        if ignoring {
            annotations.push(("gatelet.dev/unsupported-guards", "ignore"));
        }
        assert_eq!(auths(&compiled(&annotations).0, "a.example").len(), 1);

        let invalid = annotations.iter().copied().skip(1);
        let invalid: Vec<_> = invalid.chain([("auth-url", "http://$x/")]).collect();
        let (index, output) = compiled(&invalid);
        assert_eq!(met(&index, "a.example", "/"), "InvalidGuard");
        assert_eq!(reasons(&output), [("web".to_owned(), "InvalidAnnotation")]);
    }
}

#[test]
fn details_without_a_url_are_reported() {
    for (name, value) in [
        ("auth-signin", "/start"),
        ("auth-response-headers", "X-User"),
        ("auth-cache-key", "$host"),
    ] {
        for url in [None, Some(("auth-url", ""))] {
            let annotations: Vec<_> = url.into_iter().chain([(name, value)]).collect();
            let (index, output) = compiled(&annotations);
            assert_eq!(met(&index, "a.example", "/"), "empty", "{name}");
            let expected = [("web".to_owned(), "UnsupportedAnnotation")];
            assert_eq!(reasons(&output), expected, "{name}");
        }
    }

    // The server of the whole controller would be asked in place of none.
    let (index, _) = compiled(&[("enable-global-auth", "true")]);
    assert_eq!(met(&index, "a.example", "/"), "UnsupportedGuard");
    auth(&[URL, ("enable-global-auth", "true")]);
    let (index, _) = compiled(&[("enable-global-auth", "false")]);
    assert_eq!(met(&index, "a.example", "/"), "empty");
}

#[test]
fn each_prefix_makes_a_login_of_its_own() {
    let ours = ("gatelet.dev/auth-url", URL.1);
    assert_eq!(auths(&compiled(&[URL, ours]).0, "a.example").len(), 1);
    let other = ("gatelet.dev/auth-url", "http://login.example/");
    assert_eq!(auths(&compiled(&[URL, other]).0, "a.example").len(), 2);

    // Details are those of the same prefix.
    let detail = ("gatelet.dev/auth-signin", "/start");
    let (index, _) = compiled(&[URL, detail]);
    let auths = auths(&index, "a.example");
    assert_eq!(auths[0].failure, AuthFailure::Own { sign_in: None });

    let url = format!("{HAPROXY}auth-url");
    let of_haproxy = auth(&[(&url, "svc://web:80/")]);
    assert!(of_haproxy.copies.is_all() && of_haproxy.dialect == AuthDialect::HaProxy);
    assert!(matches!(of_haproxy.failure, AuthFailure::PassOn(_)));
}

#[test]
fn any_of_both_is_enough_where_both_decide() {
    let list = ("allowlist-source-range", "10.0.0.0/8");
    let all = auth(&[URL, list]);
    assert!(all.or.is_none());
    let any = auth(&[URL, list, ("satisfy", "any")]);
    let or = any.or.as_ref().expect("the list");
    assert!(or.lets_in("10.0.0.1".parse().expect("an address")));

    // The list is not enforced a second time.
    let (index, _) = compiled(&[URL, list, ("satisfy", "any")]);
    let route = route(&index, "a.example");
    let steps = route.steps.iter().flat_map(|steps| &steps.request);
    let accesses = steps.filter(|step| matches!(step, RequestStep::Access(_)));
    assert_eq!(accesses.count(), 0);
}

#[test]
fn only_rules_with_a_whole_host_ask_it() {
    for host in ["*.example.com", ""] {
        let mut index = index();
        index.apply(apply(service("web")));
        let own = annotated("web", host, &[("auth-url", "https://$host/x")]);
        index.apply(apply(own));
        let output = index.compile();
        assert_eq!(met(&index, "a.example.com", "/"), "InvalidGuard", "{host}");
        assert_eq!(reasons(&output), [("web".to_owned(), "InvalidAnnotation")]);
    }
}

#[test]
fn a_canary_has_the_login_of_its_main_ingress() {
    for (main, canary, is_used) in [
        (&[URL][..], &[][..], true),
        (&[URL], &[URL], true),
        (&[], &[URL], false),
        (&[URL], &[("auth-url", "http://login.example/")], false),
        (&[URL], &[URL, ("auth-response-headers", "X-A")], false),
    ] {
        let (mut index, _) = compiled(main);
        let all = [canary, &[("canary", "true"), ("canary-weight", "9")]].concat();
        index.apply(apply(annotated("next", "a.example", &all)));
        let output = index.compile();
        let route = route(&index, "a.example");
        let Action::Forward(split) = &route.action else {
            panic!("{main:?}")
        };
        assert_eq!(split.canary().is_some(), is_used, "{main:?} {canary:?}");
        let unused = reasons(&output);
        let is_reported = unused.contains(&("next".to_owned(), "UnusedCanary"));
        assert_eq!(is_reported, !is_used, "{unused:?}");
    }
}

#[test]
fn the_default_backend_cannot_have_a_login() {
    let mut settings = settings();
    settings.default_backend = Some("default/web:80".into());
    let inspect = |_: &[u8], _: &[u8], _: &HostPattern| Ok(());
    let mut index = Index::new(settings, Box::new(inspect));
    let mut guarded = service("web");
    guarded["metadata"]["annotations"]["gatelet.dev/auth-url"] = "svc://web:80/".into();
    index.apply(apply(guarded));
    index.compile();
    assert_eq!(met(&index, "b.example", "/"), "InvalidGuard");
}

#[test]
fn a_service_brings_the_login_of_its_paths() {
    let (mut index, _) = compiled(&[]);
    let mut guarded = service("web");
    guarded["metadata"]["annotations"][format!("{HAPROXY}auth-url")] = "svc://web:80/".into();
    index.apply(apply(guarded.clone()));
    index.compile();
    assert_eq!(auths(&index, "a.example").len(), 1);

    guarded["metadata"]["annotations"][format!("{HAPROXY}auth-url")] = "svc://none:80/".into();
    index.apply(apply(guarded.clone()));
    let output = index.compile();
    assert_eq!(met(&index, "a.example", "/"), "InvalidGuard");
    assert_eq!(reasons(&output), [("web".to_owned(), "UnknownService")]);

    // ingress-nginx does not read Services.
    let mut nginx = service("web");
    nginx["metadata"]["annotations"][format!("{NGINX}auth-url")] = "svc://web:80/".into();
    index.apply(apply(nginx));
    index.compile();
    assert!(auths(&index, "a.example").is_empty());
}
