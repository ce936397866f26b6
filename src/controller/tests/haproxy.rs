//! Annotations of the two controllers on HAProxy: redirects, times, CORS, and those on Services.

use std::time::Duration;

use super::*;
use crate::routing::{
    AllowedList, AuthFailure, AuthMethod, AuthTarget, Cors, CorsDialect, Elsewhere, Origins,
    ProxyVersion, RequestStep, Route, Timeouts,
};

const INGRESS: &str = "haproxy-ingress.github.io/";
const TECHNOLOGIES: &str = "haproxy.org/";

/// An index with an Ingress for `/` and its Service. Names without a slash are those of HAProxy
/// Ingress.
fn with(of_ingress: &[(&str, &str)], of_service: &[(&str, &str)]) -> Index {
    let named = |mut object: Value, annotations: &[(&str, &str)]| {
        for (name, value) in annotations {
            let prefix = if name.contains('/') { "" } else { INGRESS };
            object["metadata"]["annotations"][format!("{prefix}{name}")] = (*value).into();
        }
        object
    };
    let mut index = index();
    index.apply(apply(named(service("web"), of_service)));
    let one = ingress("web", "a.example", "/", "web");
    index.apply(apply(named(one, of_ingress)));
    index
}

fn route(of_ingress: &[(&str, &str)], of_service: &[(&str, &str)]) -> Arc<Route> {
    let mut index = with(of_ingress, of_service);
    index.compile();
    let found = index.table().find(Some("a.example"), "/", &GET);
    found.expect("a route").route.clone()
}

fn steps(route: &Route) -> Vec<RequestStep> {
    let steps = route.steps.as_deref().cloned().unwrap_or_default();
    steps.request.into_vec()
}

fn of_technologies(name: &str) -> String {
    format!("{TECHNOLOGIES}{name}")
}

#[test]
fn redirects_to_https_have_a_status_and_a_port() {
    let redirect = |annotations: &[(&str, &str)]| {
        let first = steps(&route(annotations, &[])).into_iter().next();
        match first {
            Some(RequestStep::HttpsRedirect {
                status,
                port,
                always,
            }) => Some((status.as_u16(), port, always)),
            _ => None,
        }
    };
    let name = of_technologies;
    let (on, code, port) = (
        name("ssl-redirect"),
        name("ssl-redirect-code"),
        name("ssl-redirect-port"),
    );
    for (annotations, expected) in [
        (&[][..], Some((308, None, false))),
        (&[("ssl-redirect", "true")], Some((302, None, false))),
        (&[("ssl-redirect", "false")], None),
        (
            &[("ssl-redirect", "true"), ("ssl-redirect-code", "301")],
            Some((301, None, false)),
        ),
        (&[("ssl-redirect-code", "303")], Some((303, None, false))),
        (&[(&*on, "true")], Some((302, None, true))),
        (&[(&*on, "false")], None),
        (
            &[(&*on, "true"), (&*code, "307"), (&*port, "8443")],
            Some((307, Some(8443), true)),
        ),
    ] {
        assert_eq!(redirect(annotations), expected, "{annotations:?}");
    }
    let on_service = route(&[("ssl-redirect", "true")], &[("ssl-redirect", "false")]);
    assert!(on_service.steps.is_none());
}

#[test]
fn every_request_is_redirected_or_refused() {
    let elsewhere = |annotations: &[(&str, &str)]| -> Option<Elsewhere> {
        let found = steps(&route(annotations, &[])).into_iter();
        let mut found = found.filter_map(|step| match step {
            RequestStep::Elsewhere(to) => Some((*to).clone()),
            _ => None,
        });
        found.next()
    };
    let (to, code) = (
        of_technologies("request-redirect"),
        of_technologies("request-redirect-code"),
    );
    for (annotations, status) in [
        (&[("redirect-to", "https://b.example/$host")][..], 302),
        (
            &[("redirect-to", "/login"), ("redirect-to-code", "301")],
            301,
        ),
        (&[(&*to, "b.example:8080")], 302),
        (&[(&*to, "https://b.example"), (&*code, "303")], 303),
    ] {
        let found = elsewhere(annotations).expect("a redirect");
        assert_eq!(found.status.as_u16(), status, "{annotations:?}");
        assert!(!found.of_root);
    }

    for (name, value) in [
        ("redirect-to", "b.example"),
        ("redirect-to", "javascript:alert(1)"),
        (&to, "b.example/x"),
        (&to, "gopher://b.example"),
    ] {
        let closed = route(&[(name, value)], &[]);
        assert!(matches!(closed.action, Action::Refuse(_)), "{name} {value}");
    }
}

#[test]
fn another_host_leads_to_the_first_one() {
    let mut index = with(
        &[
            ("redirect-from", "*.old.example"),
            ("redirect-from-code", "301"),
        ],
        &[],
    );
    let output = index.compile();
    assert!(reasons(&output).is_empty(), "{:?}", reasons(&output));
    let table = index.table();
    let found = table.find(Some("x.old.example"), "/y", &GET);
    let route = found.expect("a redirect").route.clone();
    let Action::Redirect(to) = &route.action else {
        panic!("{route:?}");
    };
    assert_eq!(to.status.as_u16(), 301);
    assert_eq!(to.host.as_ref().expect("a host").as_str(), "a.example");
    assert!(table.find(Some("old.example"), "/", &GET).is_none());

    // A rule with the host takes its requests.
    index.apply(apply(ingress("own", "x.old.example", "/", "web")));
    index.compile();
    let table = index.table();
    let found = table.find(Some("x.old.example"), "/y", &GET);
    assert!(matches!(
        found.expect("a rule").route.action,
        Action::Forward(_)
    ));
}

#[test]
fn times_of_a_service_precede_those_of_its_ingress() {
    let times = |of_ingress: &[(&str, &str)], of_service: &[(&str, &str)]| -> Timeouts {
        let policy = route(of_ingress, of_service).policy.clone();
        policy.as_deref().cloned().unwrap_or_default().timeouts
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let all = times(
        &[
            ("timeout-connect", "500"),
            ("timeout-server", "1m"),
            ("timeout-tunnel", "2h"),
        ],
        &[],
    );
    assert_eq!(all.connect, Some(Duration::from_millis(500)));
    assert_eq!((all.response_header, all.idle), (seconds(60), seconds(60)));
    assert_eq!(all.tunnel, seconds(7200));

    // WebSockets have a time of their own, but not with the annotations of ingress-nginx.
    let server = times(&[("timeout-server", "5s")], &[]);
    assert_eq!((server.idle, server.tunnel), (seconds(5), None));
    let read = ("nginx.ingress.kubernetes.io/proxy-read-timeout", "5");
    let read = times(&[read], &[]);
    assert_eq!((read.idle, read.tunnel), (seconds(5), seconds(5)));

    let of_ingress = [("timeout-connect", "1s"), ("timeout-server", "60s")];
    let both = times(&of_ingress, &[("haproxy.org/timeout-server", "10s")]);
    assert_eq!((both.connect, both.idle), (seconds(1), seconds(10)));
    // An invalid one has no effect, and a finding.
    let mut index = with(&[], &[("timeout-server", "soon")]);
    let found = reasons(&index.compile());
    assert_eq!(found, [("web".to_owned(), "InvalidAnnotation")]);
}

#[test]
fn an_edit_of_the_service_changes_its_routes_alone() {
    let mut index = with(&[], &[("response-set-headers", "X-A: b")]);
    index.apply(apply(service("other")));
    index.apply(apply(ingress("other", "b.example", "/", "other")));
    index.compile();
    let has_step = |index: &Index, host: &str| {
        let found = index.table().find(Some(host), "/", &GET);
        let steps = found.expect("a route").route.steps.clone();
        steps.is_some_and(|steps| format!("{steps:?}").contains("x-a"))
    };
    assert!(has_step(&index, "a.example") && !has_step(&index, "b.example"));
    index.apply(apply(service("web")));
    index.compile();
    assert!(!has_step(&index, "a.example"));
}

#[test]
fn cors_has_the_defaults_of_each_controller() {
    let cors = |annotations: &[(&str, &str)]| -> Cors {
        let found = steps(&route(annotations, &[])).into_iter();
        let mut found = found.filter_map(|step| match step {
            RequestStep::Preflight(cors) => Some((*cors).clone()),
            _ => None,
        });
        found.next().expect("terms")
    };
    let on = ("cors-enable", "true");
    let plain = cors(&[on]);
    assert_eq!(plain.dialect, CorsDialect::HaproxyIngress);
    assert_eq!(
        (plain.max_age.as_bytes(), plain.credentials),
        (&b"86400"[..], true)
    );
    assert!(plain.allows(Some(b"https://x.example")) && !plain.allows(None));
    assert!(plain.responds(None) && plain.names_origin());

    let asked = cors(&[on, ("cors-allow-methods", "*")]);
    assert_eq!(asked.methods, AllowedList::AsAsked);
    let listed = cors(&[
        on,
        ("cors-allow-origin", "*,https://a.example"),
        ("cors-allow-origin-regex", "^https://.+\\.b\\.example$"),
    ]);
    assert!(listed.allows(Some(b"https://a.example")));
    assert!(listed.allows(Some(b"https://x.b.example")));
    assert!(!listed.allows(Some(b"https://c.example")));
    for narrow in [
        ("cors-allow-origin-regex", "(?=a)"),
        ("cors-allow-origin", "~a"),
    ] {
        assert!(!cors(&[on, narrow]).allows(Some(b"https://a.example")));
    }

    let name = of_technologies;
    let (on, origin, respond) = (
        name("cors-enable"),
        name("cors-allow-origin"),
        name("cors-respond-to-options"),
    );
    let plain = cors(&[(&on, "true")]);
    let all = AllowedList::Listed(http::HeaderValue::from_static("*"));
    assert_eq!((&plain.methods, &plain.headers), (&all, &all));
    assert_eq!(
        (plain.max_age.as_bytes(), plain.credentials),
        (&b"5"[..], false)
    );
    assert!(plain.origins == Origins::Any && !plain.allows(None));
    assert!(!plain.responds(Some(b"https://a.example")) && !plain.names_origin());
    let own = cors(&[(&on, "true"), (&origin, "a\\.example"), (&respond, "true")]);
    assert!(own.allows(Some(b"https://xa.example:1")) && !own.allows(Some(b"https://b.example")));
    assert!(own.responds(None) && own.names_origin());
    let invalid = cors(&[(&on, "true"), (&origin, "(")]);
    assert!(!invalid.allows(Some(b"https://a.example")));
}

#[test]
fn clients_of_lists_are_not_looked_for_in_a_field() {
    let name = of_technologies;
    let (source, denied, allowed) = (name("src-ip-header"), name("deny-list"), name("allow-list"));
    for (annotations, is_closed) in [
        (&[(&*source, "True-Client-IP")][..], false),
        (
            &[(&*source, "True-Client-IP"), (&*denied, "192.0.2.1")],
            true,
        ),
        (
            &[(&*source, "X-Forwarded-For"), (&*denied, "192.0.2.1")],
            false,
        ),
        (
            // The proxy itself may be allowed, and with it all of its clients.
            &[(&*source, "True-Client-IP"), (&*allowed, "192.0.2.1")],
            true,
        ),
        (
            &[(&*source, "X-Forwarded-For"), (&*allowed, "192.0.2.1")],
            false,
        ),
        (
            &[
                ("allowlist-source-header", "X-Real-IP"),
                ("allowlist-source-range", "192.0.2.1"),
            ],
            true,
        ),
        (
            &[
                ("allowlist-source-header", "X-Real-IP"),
                ("denylist-source-range", "192.0.2.1"),
            ],
            true,
        ),
    ] {
        let route = route(annotations, &[]);
        let closed = matches!(route.action, Action::Refuse(_));
        assert_eq!(closed, is_closed, "{annotations:?}");
    }
}

#[test]
fn the_service_decides_about_the_proxy_header_first() {
    let sent = |of_ingress: &[(&str, &str)], of_service: &[(&str, &str)]| {
        let route = route(of_ingress, of_service);
        let backend = route.action.backends().next().expect("a backend").clone();
        backend.settings.sends_proxy
    };
    let name = of_technologies("send-proxy-protocol");
    let (v1, v2) = (Some(ProxyVersion::V1), Some(ProxyVersion::V2));
    let own = ("proxy-protocol", "v2");
    assert_eq!(sent(&[], &[]), None);
    assert_eq!(sent(&[own], &[]), v2);
    assert_eq!(sent(&[], &[own]), v2);
    assert_eq!(sent(&[own], &[("proxy-protocol", "no")]), None);
    assert_eq!(sent(&[own], &[(&name, "proxy")]), v1);
    let tls = Some(ProxyVersion::V2Tls);
    assert_eq!(sent(&[(&name, "proxy-v2-ssl")], &[]), tls);
    assert_eq!(sent(&[("proxy-protocol", "v3")], &[]), None);
}

/// Ingresses with one path each, and the endpoints of their Services: name, path, its type, and
/// annotations.
fn several(all: &[(&str, &str, &str, &[(&str, &str)])]) -> Index {
    let mut index = index();
    for (number, (name, path, path_type, annotations)) in (1..).zip(all) {
        index.apply(apply(service(name)));
        let address = format!("10.0.0.{number}");
        index.apply(apply(slice(name, name, json!([{"addresses": [address]}]))));
        let mut one = ingress(name, "a.example", path, name);
        one["metadata"]["creationTimestamp"] = format!("2026-01-0{number}T00:00:00Z").into();
        one["spec"]["rules"][0]["http"]["paths"][0]["pathType"] = (*path_type).into();
        for (annotation, value) in *annotations {
            one["metadata"]["annotations"][format!("{INGRESS}{annotation}")] = (*value).into();
        }
        index.apply(apply(one));
    }
    index
}

/// Returns the name of the Service that a request with these fields goes to.
fn taken(index: &Index, path: &str, fields: &[(&str, &str)]) -> String {
    let mut request = http::Request::get(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(()).expect("a request");
    let table = index.table();
    let Some(found) = table.find(Some("a.example"), path, &request) else {
        return "404".to_owned();
    };
    match found.route.action.backends().next() {
        Some(backend) => backend.id().service.to_string(),
        None => format!("{:?}", found.route.action),
    }
}

#[test]
fn conditions_on_fields_take_their_part_of_a_path() {
    let staging = ("http-header-match", "X-Env: staging");
    let both = ("http-header-match", "X-Env: staging\nX-User admin");
    let regex = ("http-header-match-regex", "x-env: ^(test|dev)$");
    let mut index = several(&[
        ("main", "/", "Prefix", &[]),
        ("staging", "/", "Prefix", &[staging]),
        ("admin", "/", "Prefix", &[both]),
        ("test", "/", "Prefix", &[regex]),
        ("deep", "/deep", "Prefix", &[]),
    ]);
    let output = index.compile();
    assert!(reasons(&output).is_empty(), "{:?}", reasons(&output));
    let env = |value| ("X-Env", value);
    for (path, fields, expected) in [
        ("/", &[][..], "main"),
        ("/", &[env("staging")], "staging"),
        ("/", &[env("Staging")], "main"),
        ("/x", &[env("other, staging")], "staging"),
        ("/", &[env("staging"), ("x-user", "admin")], "admin"),
        ("/", &[("x-user", "admin")], "main"),
        ("/", &[env("dev")], "test"),
        ("/", &[env("devel")], "main"),
        ("/deep/x", &[env("staging")], "deep"),
    ] {
        assert_eq!(taken(&index, path, fields), expected, "{path} {fields:?}");
    }

    // Without the main Ingress they still have their part alone.
    index.apply(delete(Kind::Ingress, "main"));
    index.compile();
    assert_eq!(taken(&index, "/", &[]), "404");
    assert_eq!(taken(&index, "/", &[env("staging")]), "staging");
}

#[test]
fn conditions_that_cannot_be_read_take_no_requests() {
    for (name, value) in [
        ("http-header-match", "true"),
        ("http-header-match", "X-Env:"),
        ("http-header-match", "X-A: b\nX-Env"),
        ("http-header-match", "X-A: \u{7}"),
        ("http-header-match-regex", "X-Env: ("),
        ("http-header-match-regex", "X-Env: (?=a)"),
    ] {
        let mut index = several(&[
            ("part", "/", "Prefix", &[(name, value)]),
            ("main", "/", "Prefix", &[]),
        ]);
        let output = index.compile();
        let expected = [("part", "InvalidAnnotation"), ("part", "UnsupportedCanary")];
        let found = reasons(&output);
        let found: Vec<_> = found.iter().map(|(name, why)| (&**name, *why)).collect();
        assert_eq!(found, expected, "{value:?}");
        assert_eq!(taken(&index, "/", &[("X-Env", "a")]), "main", "{value:?}");
    }

    // Nor does what no condition can be for.
    let staging = ("http-header-match", "X-Env: staging");
    let mut index = several(&[("web", "/x", "Prefix", &[staging])]);
    let mut one = ingress("web", "a.example", "/x", "web");
    one["metadata"]["annotations"][format!("{INGRESS}{}", staging.0)] = staging.1.into();
    one["spec"]["defaultBackend"] = json!({"service": {"name": "web", "port": {"number": 80}}});
    index.apply(apply(one));
    let output = index.compile();
    assert_eq!(reasons(&output), [("web".to_owned(), "UnsupportedCanary")]);
    assert_eq!(taken(&index, "/y", &[("X-Env", "staging")]), "404");
    assert_eq!(taken(&index, "/x", &[("X-Env", "staging")]), "web");
}

#[test]
fn a_service_with_conditions_has_no_paths() {
    let mut index = with(&[], &[("http-header-match", "X-Env: staging")]);
    let output = index.compile();
    let expected = [("web".to_owned(), "UnsupportedCanary")];
    assert_eq!(reasons(&output), expected);
    assert!(index.table().find(Some("a.example"), "/", &GET).is_none());
}

#[test]
fn a_closed_part_of_a_path_closes_no_other() {
    let staging = ("http-header-match", "X-Env: staging");
    let mut index = several(&[
        ("main", "/", "Prefix", &[]),
        ("part", "/", "Prefix", &[staging, ("auth-url", "nonsense")]),
    ]);
    index.compile();
    assert_eq!(taken(&index, "/", &[]), "main");
    let closed = taken(&index, "/", &[("X-Env", "staging")]);
    assert!(closed.contains("InvalidGuard"), "{closed}");
}

#[test]
fn path_type_gives_open_paths_their_meaning() {
    const OPEN: &str = "ImplementationSpecific";
    let kind = |kind: &'static str| ("path-type", kind);
    for (path, path_type, value, yes, no) in [
        ("/app", OPEN, "begin", &["/app", "/app1"][..], &["/ap"][..]),
        ("/app", OPEN, "Exact", &["/app"], &["/app/", "/app1"]),
        ("/app", OPEN, "prefix", &["/app", "/app/x"], &["/app1"]),
        (
            "/app[0-9]+/?",
            OPEN,
            "regex",
            &["/app15/", "/app25/sub", "/app25xx/sub"],
            &["/App15", "/app/25sub", "/x/app1"],
        ),
        ("/app[0-9]+$", OPEN, "regex", &["/app1"], &["/app15/"]),
        ("/a*b", OPEN, "exact", &["/a*b"], &["/aab", "/a*b/"]),
        ("/app", "Prefix", "exact", &["/app/x"], &["/app1"]),
        ("/app", "Exact", "prefix", &["/app"], &["/app/x"]),
    ] {
        let mut index = several(&[("web", path, path_type, &[kind(value)])]);
        let output = index.compile();
        assert!(
            reasons(&output).is_empty(),
            "{path}: {:?}",
            reasons(&output)
        );
        for one in yes {
            assert_eq!(taken(&index, one, &[]), "web", "{path} {value}: {one}");
        }
        for one in no {
            assert_eq!(taken(&index, one, &[]), "404", "{path} {value}: {one}");
        }
    }

    let mut index = several(&[
        ("main", "/", "Prefix", &[]),
        ("broken", "/app(?=x)", OPEN, &[kind("regex")]),
        (
            "rewritten",
            "/old/[a-z]+",
            OPEN,
            &[kind("regex"), ("rewrite-target", "/$new")],
        ),
    ]);
    let output = index.compile();
    assert_eq!(reasons(&output), [("broken".to_owned(), "UnsupportedPath")]);
    assert!(taken(&index, "/appx", &[]).contains("UnsupportedPath"));
    let found = index
        .table()
        .find(Some("a.example"), "/old/a/b", &GET)
        .map(|one| one.route.clone());
    let edit = steps(&found.expect("a route"))
        .into_iter()
        .find_map(|step| match step {
            RequestStep::EditPath(edit) => edit.apply("/old/a/b").expect("a path"),
            _ => None,
        });
    assert_eq!(edit.expect("a change").path, "/$new");
}

#[test]
fn the_login_of_oauth2_proxy_is_asked_on_the_same_host() {
    let auths = |annotations: &[(&str, &str)], path: &str| {
        let mut index = with(annotations, &[]);
        let mut one = ingress("web", "a.example", "/", "web");
        for (name, value) in annotations {
            one["metadata"]["annotations"][format!("{INGRESS}{name}")] = (*value).into();
        }
        let mut own = one["spec"]["rules"][0]["http"]["paths"][0].clone();
        own["path"] = "/oauth2".into();
        let paths = one["spec"]["rules"][0]["http"]["paths"].as_array_mut();
        paths.expect("paths").push(own);
        index.apply(apply(one));
        index.compile();
        let found = index
            .table()
            .find(Some("a.example"), path, &GET)
            .map(|one| one.route.clone());
        let route = found.expect("a route");
        let auths = steps(&route).into_iter().filter_map(|step| match step {
            RequestStep::ExternalAuth(auth) => Some((*auth).clone()),
            _ => None,
        });
        (
            auths.collect::<Vec<_>>(),
            matches!(route.action, Action::Refuse(_)),
        )
    };
    let on = ("oauth", "oauth2_proxy");
    let (found, is_closed) = auths(&[on], "/x");
    let [auth] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(!is_closed);
    assert_eq!(auth.to, AuthTarget::OwnHost);
    assert_eq!(&*auth.url, "http://$host/oauth2/auth");
    assert_eq!(auth.method, AuthMethod::Fixed(http::Method::HEAD));
    assert!(auth.copies.has(b"x-auth-request-email") && !auth.copies.has(b"cookie"));
    let AuthFailure::SignIn(to) = &auth.failure else {
        panic!("{auth:?}");
    };
    assert_eq!(to.as_str(), "/oauth2/start?rd=$escaped_request_uri");

    // The server itself needs no login, but everything else does.
    assert!(auths(&[on], "/oauth2/start").0.is_empty());
    assert_eq!(auths(&[on], "/oauth2x").0.len(), 1);
    let prefix = ("oauth-uri-prefix", "/login");
    assert_eq!(auths(&[on, prefix], "/oauth2/start").0.len(), 1);
    let url = ("auth-url", "http://auth.example/");
    let (found, _) = auths(&[on, url], "/oauth2/start");
    assert_eq!(&*found[0].url, url.1);

    for closed in [
        &[("oauth", "")][..],
        &[("oauth", "other")],
        &[on, ("oauth-uri-prefix", "/")],
        &[on, ("oauth-headers", "X-User:X-Other")],
    ] {
        assert!(auths(closed, "/x").1, "{closed:?}");
    }
    let (found, is_closed) = auths(&[prefix], "/x");
    assert!(found.is_empty() && !is_closed);
}

#[test]
fn the_limit_of_a_service_precedes_that_of_its_ingress() {
    let limit = |of_ingress: &[(&str, &str)], of_service: &[(&str, &str)]| {
        let route = route(of_ingress, of_service);
        let backend = route.action.backends().next().expect("a backend").clone();
        backend.settings.limits.requests
    };
    let name = of_technologies("pod-maxconn");
    let own = ("maxconn-server", "30");
    assert_eq!(limit(&[], &[]), None);
    assert_eq!(limit(&[own], &[]), Some(30));
    assert_eq!(limit(&[own], &[(&name, "7")]), Some(7));
    assert_eq!(limit(&[own], &[("maxconn-server", "0")]), None);
    let queue = route(&[own, ("timeout-queue", "2s")], &[]).policy.clone();
    let queue = queue.expect("a policy").timeouts.queue;
    assert_eq!(queue, Some(Duration::from_secs(2)));
}

#[test]
fn paths_are_rewritten_as_the_service_says() {
    let rewritten = |of_ingress: &[(&str, &str)], of_service: &[(&str, &str)]| {
        let route = route(of_ingress, of_service);
        if matches!(route.action, Action::Refuse(_)) {
            return "closed".to_owned();
        }
        let mut path = "/a/b".to_owned();
        for step in steps(&route) {
            if let RequestStep::EditPath(edit) = step
                && let Some(edited) = edit.apply(&path).expect("a path")
            {
                path = edited.path.to_string();
            }
        }
        path
    };
    let rewrite = of_technologies("path-rewrite");
    let (swap, on_ingress) = (("rewrite-target", "/in"), ("rewrite-target", "/out"));
    assert_eq!(rewritten(&[on_ingress], &[]), "/out/a/b");
    assert_eq!(rewritten(&[], &[swap]), "/in/a/b");
    assert_eq!(rewritten(&[on_ingress], &[swap]), "/in/a/b");
    assert_eq!(rewritten(&[], &[(&rewrite, "/x")]), "/x");
    let other = [(&*rewrite, "/a/(.*) /y/\\1")];
    assert_eq!(rewritten(&[(&rewrite, "/x")], &other), "/y/b");
    for invalid in [("rewrite-target", "in"), (&rewrite, "(?=a) /x")] {
        assert_eq!(rewritten(&[], &[invalid]), "closed", "{invalid:?}");
        assert_eq!(rewritten(&[on_ingress], &[invalid]), "closed");
    }
}
