//! Hosts whose TLS is passed through.

use super::*;
use crate::routing::{RequestStep, Route};

const NGINX: &str = "nginx.ingress.kubernetes.io/ssl-passthrough";

/// An Ingress with annotations, for the path `/` of a host, in a namespace.
fn with(name: &str, namespace: &str, host: &str, annotations: Value) -> Value {
    let mut one = ingress(name, host, "/", "web");
    one["metadata"]["namespace"] = namespace.into();
    one["metadata"]["annotations"] = annotations;
    one
}

/// An index where both namespaces have the Service `web`.
fn prepared() -> Index {
    let mut index = index();
    for namespace in ["default", "other"] {
        let mut web = service("web");
        web["metadata"]["namespace"] = namespace.into();
        web["spec"]["ports"] = json!([{"name": "web", "port": 80}, {"name": "plain", "port": 81}]);
        index.apply(apply(web));
    }
    index
}

/// Returns the destination of TLS connections with a name.
fn passed(index: &Index, name: &str) -> String {
    match index.table().passthrough(name) {
        None => "ends here".to_owned(),
        Some(one) => match &one.target {
            Ok(route) => format!("{} {}", route.backend.id(), route.backend.protocol()),
            Err(refusal) => format!("{refusal:?}"),
        },
    }
}

/// Returns the treatment of plain HTTP: the steps, and the backend.
fn plain(index: &Index, host: &str, path: &str) -> String {
    let found = index.table().find(Some(host), path, &GET).expect("a route");
    let route: &Route = found.route;
    let backend = route.action.backends().next();
    let backend = backend.map(|one| format!("{} {}", one.id(), one.protocol()));
    let has_step = route
        .steps
        .iter()
        .any(|steps| steps.request.contains(&RequestStep::OnlyPlain));
    format!(
        "{}{}{}",
        if has_step { "plain only, " } else { "" },
        if route.redirect(found.tls).is_some() {
            "redirect, "
        } else {
            ""
        },
        backend.unwrap_or_else(|| format!("{:?}", route.action))
    )
}

#[test]
fn tls_goes_to_the_backend_of_the_root() {
    for (annotation, redirect) in [
        (NGINX, ""),
        ("gatelet.dev/ssl-passthrough", ""),
        ("haproxy-ingress.github.io/ssl-passthrough", "redirect, "),
        ("haproxy.org/ssl-passthrough", "redirect, "),
        ("ingress.kubernetes.io/ssl-passthrough", "redirect, "),
    ] {
        let mut index = prepared();
        assert!(!index.table().has_passthrough());
        let annotations = json!({annotation: "true"});
        index.apply(apply(with(
            "web",
            "default",
            "a.example",
            annotations.clone(),
        )));
        index.apply(apply(with("wild", "default", "*.b.example", annotations)));
        index.apply(apply(with("ours", "default", "x.b.example", json!({}))));
        let output = index.compile();
        assert!(
            reasons(&output).is_empty(),
            "{annotation}: {:?}",
            reasons(&output)
        );
        assert!(index.table().has_passthrough());
        assert_eq!(passed(&index, "a.example"), "default/web:80 TCP");
        assert_eq!(passed(&index, "y.b.example"), "default/web:80 TCP");
        assert_eq!(passed(&index, "x.b.example"), "ends here");
        assert_eq!(passed(&index, "c.example"), "ends here");

        // ingress-nginx encrypts plain HTTP again.
        let expected = format!("plain only, {redirect}default/web:80 HTTP/1.1 over TLS");
        assert_eq!(plain(&index, "a.example", "/x"), expected);
        assert_eq!(plain(&index, "x.b.example", "/"), "default/web:80 HTTP/1.1");

        for name in ["web", "wild"] {
            index.apply(delete(Kind::Ingress, name));
        }
        index.compile();
        assert!(!index.table().has_passthrough());
    }
}

#[test]
fn a_host_under_tls_redirects_and_needs_no_certificate() {
    let mut index = prepared();
    let mut web = with(
        "web",
        "default",
        "a.example",
        json!({NGINX: "true",
        "gatelet.dev/issuer": "lab"}),
    );
    web["spec"]["tls"] = json!([{"hosts": ["a.example"], "secretName": "missing"}]);
    index.apply(apply(web));
    let output = index.compile();
    assert!(reasons(&output).is_empty(), "{:?}", reasons(&output));
    assert_eq!(output.desired.map(|all| all.len()), Some(0));
    assert_eq!(output.certificates.map(|hosts| hosts.len()), Some(0));
    let expected = "plain only, redirect, default/web:80 HTTP/1.1 over TLS";
    assert_eq!(plain(&index, "a.example", "/"), expected);
}

#[test]
fn plain_http_can_have_a_port_of_its_own() {
    let mut index = prepared();
    let port = "haproxy-ingress.github.io/ssl-passthrough-http-port";
    let on = "haproxy-ingress.github.io/ssl-passthrough";
    index.apply(apply(with(
        "web",
        "default",
        "a.example",
        json!({on: "true", port: "81"}),
    )));
    index.apply(apply(with(
        "off",
        "default",
        "b.example",
        json!({port: "81"}),
    )));
    let output = index.compile();
    assert_eq!(passed(&index, "a.example"), "default/web:80 TCP");
    assert_eq!(
        plain(&index, "a.example", "/"),
        "plain only, default/web:81 HTTP/1.1"
    );
    assert_eq!(plain(&index, "b.example", "/"), "default/web:80 HTTP/1.1");
    assert_eq!(
        reasons(&output),
        [("off".to_owned(), "UnsupportedAnnotation")]
    );
}

#[test]
fn lists_of_addresses_apply_and_other_guards_close() {
    let list = "nginx.ingress.kubernetes.io/whitelist-source-range";
    for (guard, value, expected, met) in [
        (list, "10.0.0.0/8", "default/web:80 TCP", ""),
        (list, "x", "InvalidGuard", "InvalidGuard"),
        (
            "nginx.ingress.kubernetes.io/auth-url",
            "http://auth.example/",
            "UnsupportedGuard",
            "UnsupportedGuard",
        ),
        (
            "nginx.ingress.kubernetes.io/auth-secret",
            "users",
            "UnknownUsers",
            "UnknownUsers",
        ),
    ] {
        let mut index = prepared();
        let annotations = json!({NGINX: "true", guard: value,
            "nginx.ingress.kubernetes.io/auth-type": null});
        let mut web = with("web", "default", "a.example", annotations);
        let all = web["metadata"]["annotations"]
            .as_object_mut()
            .expect("annotations");
        all.retain(|_, value| !value.is_null());
        if guard.ends_with("auth-secret") {
            all.insert(
                "nginx.ingress.kubernetes.io/auth-type".to_owned(),
                "basic".into(),
            );
        }
        index.apply(apply(web));
        index.compile();
        assert_eq!(passed(&index, "a.example"), expected, "{guard}");
        if met.is_empty() {
            let to = index
                .table()
                .passthrough("a.example")
                .expect("a passthrough");
            let lets_in = |address: &str| to.lets_in(address.parse().expect("an address"));
            assert!(lets_in("10.1.2.3") && !lets_in("192.0.2.1"));
        } else {
            assert!(plain(&index, "a.example", "/").contains(met), "{guard}");
        }
    }
}

#[test]
fn a_guard_elsewhere_on_the_host_is_not_bypassed() {
    let list = json!({"nginx.ingress.kubernetes.io/whitelist-source-range": "10.0.0.0/8"});
    for (namespace, expected) in [
        ("default", "UnsupportedGuard"),
        ("other", "default/web:80 TCP"),
    ] {
        let mut index = prepared();
        index.apply(apply(with(
            "web",
            "default",
            "a.example",
            json!({NGINX: "true"}),
        )));
        let mut admin = ingress("admin", "a.example", "/admin", "web");
        admin["metadata"]["namespace"] = namespace.into();
        admin["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z".into();
        admin["metadata"]["annotations"] = list.clone();
        index.apply(apply(admin));
        let output = index.compile();
        assert_eq!(passed(&index, "a.example"), expected, "{namespace}");
        assert!(plain(&index, "a.example", "/admin").starts_with("plain only, "));
        let reasons = reasons(&output);
        assert!(
            reasons.contains(&("admin".to_owned(), "HostTaken")),
            "{reasons:?}"
        );
        let is_reported = reasons.contains(&("web".to_owned(), "UnsupportedGuard"));
        assert_eq!(is_reported, namespace == "default", "{reasons:?}");
    }
}

#[test]
fn only_the_owner_of_a_host_passes_its_tls_through() {
    let mut index = prepared();
    index.apply(apply(with("old", "default", "a.example", json!({}))));
    let mut young = with("young", "other", "a.example", json!({NGINX: "true"}));
    young["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z".into();
    young["spec"]["rules"][0]["http"]["paths"][0]["path"] = "/young".into();
    index.apply(apply(young));
    let output = index.compile();
    assert_eq!(passed(&index, "a.example"), "ends here");
    assert_eq!(plain(&index, "a.example", "/"), "default/web:80 HTTP/1.1");
    assert!(plain(&index, "a.example", "/young").starts_with("plain only, "));
    assert!(reasons(&output).contains(&("young".to_owned(), "HostTaken")));
}

#[test]
fn what_cannot_be_passed_through_is_closed() {
    let path = |path: &str| {
        let mut one = with("web", "default", "a.example", json!({NGINX: "true"}));
        one["spec"]["rules"][0]["http"]["paths"][0]["path"] = path.into();
        one
    };
    let with_default = |mut one: Value| {
        one["spec"]["defaultBackend"] = json!({"service": {"name": "web", "port": {"number": 81}}});
        one
    };
    let service = |name: &str| {
        let mut one = path("/");
        let backend = &mut one["spec"]["rules"][0]["http"]["paths"][0]["backend"];
        backend["service"]["name"] = name.into();
        one
    };
    for (object, expected, reason) in [
        (
            path("/x"),
            "UnsupportedPassthrough",
            Some("InvalidAnnotation"),
        ),
        (with_default(path("/x")), "default/web:81 TCP", None),
        (service("none"), "UnknownService", Some("UnknownService")),
    ] {
        let mut index = prepared();
        index.apply(apply(object));
        let output = index.compile();
        assert_eq!(passed(&index, "a.example"), expected);
        let expected: Vec<_> = reason
            .map(|reason| ("web".to_owned(), reason))
            .into_iter()
            .collect();
        assert_eq!(reasons(&output), expected);
    }

    // Rules without a host keep to plain HTTP.
    let mut index = prepared();
    let mut bare = with("bare", "default", "", json!({NGINX: "true"}));
    bare["spec"]["rules"][0]
        .as_object_mut()
        .expect("a rule")
        .remove("host");
    index.apply(apply(bare));
    let output = index.compile();
    assert_eq!(passed(&index, "a.example"), "ends here");
    assert!(plain(&index, "a.example", "/").starts_with("plain only, "));
    assert_eq!(reasons(&output), [("bare".to_owned(), "InvalidAnnotation")]);

    // A value that is not valid closes the paths.
    let mut index = prepared();
    index.apply(apply(with(
        "web",
        "default",
        "a.example",
        json!({NGINX: "yes"}),
    )));
    index.compile();
    assert_eq!(met(&index, "a.example", "/"), "InvalidGuard");
    assert_eq!(passed(&index, "a.example"), "ends here");
}

#[test]
fn passthrough_on_a_service_closes_its_paths() {
    let mut index = prepared();
    let mut web = service("web");
    web["metadata"]["annotations"] = json!({"haproxy.org/ssl-passthrough": "true"});
    index.apply(apply(web));
    index.apply(apply(with("web", "default", "a.example", json!({}))));
    let output = index.compile();
    assert_eq!(met(&index, "a.example", "/"), "UnsupportedPassthrough");
    assert_eq!(reasons(&output), [("web".to_owned(), "UnsupportedGuard")]);
}
