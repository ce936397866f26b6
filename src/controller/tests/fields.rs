//! Fields of requests and responses by annotations.

use super::*;
use crate::routing::{RequestStep, ResponseStep};

/// Returns the steps about fields of an Ingress with these annotations, and the reasons of its
/// findings.
fn steps(annotations: &[(&str, &str)]) -> (Vec<String>, Vec<&'static str>) {
    let mut index = index();
    index.apply(apply(service("web")));
    let mut one = ingress("web", "a.example", "/", "web");
    let annotations: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    one["metadata"]["annotations"] = annotations.into();
    index.apply(apply(one));
    let output = index.compile();

    let found = index.table().find(Some("a.example"), "/", &GET);
    let route = found.expect("a rule").route;
    let steps = route.steps.as_deref().cloned().unwrap_or_default();
    let requests = steps.request.iter().filter_map(|step| match step {
        RequestStep::SetField(field) => Some(format!("> {}: {:?}", field.name, field.value)),
        RequestStep::AddField(field) => Some(format!("> {} + {:?}", field.name, field.value)),
        RequestStep::RemoveField(field) => Some(format!("> {} removed", field.name)),
        RequestStep::Host(host) => Some(format!("> host: {:?}", host.value)),
        _ => None,
    });
    let responses = steps.response.iter().map(|step| match step {
        ResponseStep::SetField(field) => format!("< {}: {:?}", field.name, field.value),
        ResponseStep::AddField(field) => format!("< {} + {:?}", field.name, field.value),
        ResponseStep::Cookies(change) => format!("{:?} {:?}", change.domain, change.path),
        ResponseStep::Location(_) => "location".to_owned(),
        ResponseStep::Hsts { value, .. } => format!("hsts {value:?}"),
        ResponseStep::Cors(_) | ResponseStep::Origin(_) => "cors".to_owned(),
        ResponseStep::RemoveField(name) => format!("< {name} removed"),
        ResponseStep::Compress(_) => "compressed".to_owned(),
    });
    let findings = output.findings.into_iter().flatten();
    let reasons = findings.map(|one| one.reason.as_str());
    let reasons = reasons.filter(|reason| reason.ends_with("Annotation"));
    (requests.chain(responses).collect(), reasons.collect())
}

#[test]
fn each_line_sets_a_field_and_the_first_prefix_decides() {
    let (found, reasons) = steps(&[
        (
            "haproxy.org/request-set-header",
            "X-A \"one two\"\n\nX-B three\n",
        ),
        ("haproxy-ingress.github.io/headers", "X-B: four\nx-c:five"),
        ("haproxy.org/response-set-header", "X-D six"),
    ]);
    assert!(reasons.is_empty(), "{reasons:?}");
    let expected = [
        "> x-c: \"five\"",
        "> x-a: \"one two\"",
        "> x-b: \"three\"",
        "< x-d: \"six\"",
    ];
    assert_eq!(found, expected);
}

#[test]
fn haproxy_ingress_sets_adds_and_removes_in_this_order() {
    let name = |name: &str| format!("haproxy-ingress.github.io/{name}");
    let (found, reasons) = steps(&[
        (&name("headers"), "X-A: old\nhost: old.example"),
        (
            &name("request-set-headers"),
            "X-A: one\nHost: b.example:8080",
        ),
        (&name("request-add-headers"), "X-A two\nx-a: three"),
        (&name("request-del-headers"), "X-B, cookie"),
        (&name("response-set-headers"), "X-C: \"four\""),
        (&name("response-add-headers"), "Set-Cookie: a=b"),
        (&name("response-del-headers"), "server"),
    ]);
    assert!(reasons.is_empty(), "{reasons:?}");
    let expected = [
        "> host: \"b.example:8080\"",
        "> x-a: \"one\"",
        "> x-a + \"two\"",
        "> x-a + \"three\"",
        "> x-b removed",
        "> cookie removed",
        "< x-c: \"four\"",
        "< set-cookie + \"a=b\"",
        "< server removed",
    ];
    assert_eq!(found, expected);

    let off = ("haproxy.org/forwarded-for", "false");
    assert_eq!(steps(&[off]).0, ["> x-forwarded-for removed"]);
}

#[test]
fn a_line_that_is_no_field_sets_none() {
    for (name, value) in [
        ("haproxy.org/request-set-header", "X-A"),
        ("haproxy.org/request-set-header", "X-A one\nHost b.example"),
        ("haproxy.org/request-set-header", "Connection close"),
        ("haproxy.org/request-set-header", "X-A %[src]"),
        ("haproxy.org/request-set-header", "X:A one"),
        ("haproxy.org/response-set-header", "Content-Length 1"),
        ("haproxy-ingress.github.io/headers", "X-A"),
        ("haproxy-ingress.github.io/hsts-max-age", "-1"),
        ("nginx.ingress.kubernetes.io/proxy-cookie-domain", "one"),
        ("nginx.ingress.kubernetes.io/proxy-cookie-domain", "~a b"),
        ("nginx.ingress.kubernetes.io/proxy-cookie-path", "/a $b"),
        ("nginx.ingress.kubernetes.io/proxy-redirect-from", "~^a"),
    ] {
        let (found, reasons) = steps(&[(name, value)]);
        assert_eq!(
            (found.len(), &*reasons),
            (0, &["InvalidAnnotation"][..]),
            "{name} {value}"
        );
    }
    let many: String = (0..65).map(|number| format!("X-{number} a\n")).collect();
    let (_, reasons) = steps(&[("haproxy.org/request-set-header", &many)]);
    assert_eq!(reasons, ["InvalidAnnotation"]);
}

#[test]
fn responses_are_changed_only_where_both_parts_are_known() {
    const NGINX: &str = "nginx.ingress.kubernetes.io/";
    let name = |name: &str| format!("{NGINX}{name}");
    let (from, to) = (name("proxy-redirect-from"), name("proxy-redirect-to"));
    assert_eq!(steps(&[(&from, "/a"), (&to, "/b")]).0, ["location"]);
    for values in [
        &[(&*from, "off"), (&*to, "/b")][..],
        &[(&from, "default"), (&to, "/b")],
        &[(&from, "/a"), (&to, "off")],
        &[(&from, "/a")],
        &[(&to, "/b")],
    ] {
        assert!(steps(values).0.is_empty(), "{values:?}");
    }
    let cookies = (name("proxy-cookie-domain"), name("proxy-cookie-path"));
    assert!(
        steps(&[(&cookies.0, "off"), (&cookies.1, "off")])
            .0
            .is_empty()
    );
    let (found, _) = steps(&[(&cookies.0, ".a.example b.example"), (&cookies.1, "/a/ /")]);
    assert_eq!(
        found,
        ["Some((\"a.example\", \"b.example\")) Some((\"/a/\", \"/\"))"]
    );
}

#[test]
fn hsts_is_off_on_or_left_to_the_settings() {
    let name = |name: &str| format!("haproxy-ingress.github.io/{name}");
    let (hsts, age) = (name("hsts"), name("hsts-max-age"));
    assert!(steps(&[]).0.is_empty());
    assert_eq!(steps(&[(&hsts, "true")]).0, ["hsts \"max-age=15768000\""]);
    assert_eq!(
        steps(&[(&hsts, "true"), (&age, "0")]).0,
        ["hsts \"max-age=0\""]
    );
    assert!(steps(&[(&hsts, "false"), (&age, "5")]).0.is_empty());
}
