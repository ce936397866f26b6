//! Copies of requests: the mirror that annotations make.

use super::*;
use crate::routing::{EndpointSet, Mirror, Verify};

const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// Returns the mirror of an Ingress with annotations, and the reasons of the findings.
fn mirror(annotations: &[(&str, &str)]) -> (Option<Arc<Mirror>>, Vec<(String, &'static str)>) {
    let mut index = index();
    index.apply(apply(service("web")));
    let mut one = ingress("web", "a.example", "/", "web");
    for (name, value) in annotations {
        one["metadata"]["annotations"][format!("{NGINX}{name}")] = (*value).into();
    }
    index.apply(apply(one));
    let output = index.compile();
    let found = index.table().find(Some("a.example"), "/", &GET);
    let route = found.expect("a route").route.clone();
    (route.mirror().cloned(), reasons(&output))
}

#[test]
fn a_url_names_a_service_or_a_host() {
    for (url, expected) in [
        (
            "http://web.default.svc.cluster.local$request_uri",
            "default/web:80 $request_uri as web.default.svc.cluster.local",
        ),
        (
            "https://m.example:8443/x?y=$uri",
            "m.example:8443 /x?y=$uri as m.example",
        ),
        ("http://m.example", "m.example:80 $request_uri as m.example"),
        ("http://m.example/", "m.example:80 / and query as m.example"),
        (
            "http://m.example/a?b",
            "m.example:80 /a?b and query as m.example",
        ),
        ("svc://web:80/x", "default/web:80 /x and query as web"),
    ] {
        let (mirror, reasons) = mirror(&[("mirror-target", url)]);
        let mirror = mirror.expect(url);
        let settings = &mirror.backend.0.settings;
        let server = match &**mirror.backend.0.endpoints() {
            EndpointSet::Name { host, port } => {
                assert_eq!(settings.tls.verify, Verify::Always, "{url}");
                format!("{host}:{port}")
            }
            _ => settings.id.to_string(),
        };
        let query = if mirror.adds_query { " and query" } else { "" };
        let (target, host) = (mirror.target.as_str(), mirror.host.as_str());
        assert_eq!(format!("{server} {target}{query} as {host}"), expected);
        assert_eq!(
            (&*mirror.url, mirror.has_body, reasons),
            (url, true, Vec::new())
        );
    }
}

#[test]
fn details_have_an_effect_with_a_target_alone() {
    let url = ("mirror-target", "http://m.example");
    let (body, host) = (("mirror-request-body", "off"), ("mirror-host", "$host"));
    let found = mirror(&[url, body, host]).0.expect("a mirror");
    assert_eq!((found.has_body, found.host.as_str()), (false, "$host"));
    let names = ["mirror-host", "mirror-request-body", "mirror-target"];
    let names = names.map(|name| format!("{NGINX}{name}"));
    assert_eq!(*found.from, names.join(", "));

    let (none, reasons) = mirror(&[body, host]);
    let note = ("web".to_owned(), "UnsupportedAnnotation");
    assert_eq!((none, reasons), (None, vec![note.clone(), note]));
}

#[test]
fn a_mirror_that_cannot_be_is_a_finding() {
    for (url, reason) in [
        ("http://late.default.svc/", "UnknownService"),
        ("http://web.default.svc:81/", "UnknownPort"),
        ("svc://other/web:80/", "InvalidAnnotation"),
        ("https://$host/x", "InvalidAnnotation"),
        ("http://$arg_x/", "InvalidAnnotation"),
        ("mirror", "InvalidAnnotation"),
    ] {
        let (mirror, reasons) = mirror(&[("mirror-target", url)]);
        assert_eq!(reasons, [("web".to_owned(), reason)], "{url}");
        assert_eq!(mirror, None, "{url}");
    }
}
