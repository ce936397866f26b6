//! Annotations of other controllers: each row of their tables is walked, and what it closes is
//! closed.

use super::{
    super::{
        annotations,
        peers::{Meaning, PEERS, Peer, Row},
    },
    *,
};

/// Findings: reason, whether it is a Warning, field.
type Reported = Vec<(&'static str, bool, String)>;

fn annotated(name: &str, annotations: &[(&str, &str)]) -> Value {
    let mut one = ingress(name, "a.example", "/", "web");
    for (key, value) in annotations {
        one["metadata"]["annotations"][*key] = (*value).into();
    }

    one
}

/// Outcome of a request and findings with these annotations on the Ingress.
fn with(annotations: &[(&str, &str)]) -> (String, Reported) {
    let mut index = index();
    index.apply(apply(service("web")));
    index.apply(apply(annotated("web", annotations)));
    let output = index.compile();
    (met(&index, "a.example", "/"), reported(&output))
}

fn reported(output: &Output) -> Reported {
    let findings = output.findings.iter().flatten();
    findings
        .map(|one| {
            (
                one.reason.as_str(),
                one.severity == crate::objects::EventType::Warning,
                one.field.to_string(),
            )
        })
        .collect()
}

fn field(name: &str) -> String {
    format!("metadata.annotations[{name}]")
}

/// Values with which the annotations of a row mean it, and values with which they do not.
fn samples(row: &Row) -> (Vec<&'static str>, Vec<&'static str>) {
    match &*row.values() {
        "any value" => (vec!["x", ""], vec![]),
        "any value but an empty one" => (vec!["x", "false"], vec!["", " "]),
        "true" => (
            vec!["true", "True", "1", "yes"],
            vec!["", "false", "False", "0", "off", "no"],
        ),
        "any value but an empty one and none" => (vec!["oidc"], vec!["none", ""]),
        "any value but an empty one and default" => (vec!["mtls@file"], vec!["default", ""]),
        "any value but an empty one and internet-facing" => {
            (vec!["internal"], vec!["internet-facing", ""])
        }
        "any value but an empty one and off, inactive, simulate" => {
            (vec!["active"], vec!["off", "simulate", ""])
        }
        "a list that does not contain all addresses" => {
            (vec!["10.0.0.0/8", "", "x"], vec!["0.0.0.0/0"])
        }
        "a list that is not empty and does not contain all addresses" => (
            vec![
                "10.0.0.0/8",
                "192.0.2.1, 2001:db8::/32",
                "x",
                "0.0.0.0/0,x",
                "patterns/ips",
                "0.0.0.0/0,!10.0.0.0/8",
            ],
            vec![
                "",
                "0.0.0.0/0",
                "::/0",
                "10.0.0.0/8, 0.0.0.0/0, ::/0",
                "0.0.0.0/1,128.0.0.0/1",
            ],
        ),
        "one that configures more than responses, buffers and timeouts" => (
            vec![
                "deny all;",
                "add_header A b; allow 10.0.0.0/8; deny all;",
                "if ($x) { return 403; }",
                "proxy_set_header X-User $remote_user;",
                "add_header A b; # comment\ndeny all;",
                "auth_request /auth;",
                "return 403;",
                "add_header A \"b; c",
                "add_header A b\"; deny all; #\";",
                "add_header A \"\\\"; \"; deny all;",
                "location / { add_header A b; }",
                "include /etc/nginx/own.conf;",
            ],
            vec![
                "",
                "more_set_headers \"X-Frame-Options: DENY\";",
                "# nothing\nadd_header A b;\n  proxy_set_header Upgrade $http_upgrade;\n",
                "proxy_read_timeout 3600; client_max_body_size 0",
                "more_set_headers \"Content-Security-Policy: default-src 'self'; deny all; #\" 'B: \
                    {}';",
                "add_header A ${host}; add_header B a#b;",
            ],
        ),
        // The list beside it has tests of its own.
        "a field other than `X-Forwarded-For`, beside a list of addresses" => {
            (vec![], vec!["", "x-forwarded-for", "X-Real-IP"])
        }
        "any value but an empty one, unless `waf-mode` is detect" => {
            (vec!["modsecurity"], vec![""])
        }
        "one that does more than setting `X-Forwarded-Host` and `X-Forwarded-Method` to those of \
         the request" => (
            vec![
                "proxy_set_header X-Forwarded-Host other.example;",
                "proxy_set_header X-Forwarded-Host $http_host; deny all;",
                "proxy_set_header X-User $http_x_user;",
                "proxy_set_header X-Forwarded-Proto https;",
                "proxy_set_header \"X-Forwarded-Host $http_host\";",
                "if ($x) { return 403; }",
                "proxy_set_header X-Forwarded-Host \"$http_host",
            ],
            vec![
                "",
                "proxy_set_header X-Forwarded-Host $http_host;\n",
                "# a note\nproxy_set_header x-forwarded-host $host;\n\
                 proxy_set_header X-Forwarded-Method '$request_method';",
            ],
        ),
        "true, without `auth-url`" => (vec!["true", "yes"], vec!["", "false"]),
        "a whole URL" => (
            vec!["https://b.example/", "HTTP://b.example/x"],
            vec!["/", "/$1", ""],
        ),
        "ports without 80 and 443" => (vec!["8080", "8080,8443"], vec!["", "80", "8443, 443"]),
        "a list without web, http, websecure and https" => {
            (vec!["internal", "a,b"], vec!["", "web", "x,websecure"])
        }
        "a list with websecure or https, and without web and http" => (
            vec!["websecure", "websecure,internal", "HTTPS"],
            vec!["", "web", "web,websecure"],
        ),
        "a list with https, and without http" => (vec!["https"], vec!["", "http", "http,https"]),
        "a list without http, https, grpc and grpcs" => {
            (vec!["tls_passthrough", "tcp"], vec!["", "http", "https"])
        }
        "a list with https or grpcs, and without http and grpc" => {
            (vec!["https", "grpcs,https"], vec!["", "http,https"])
        }
        "any value but an empty one, unless every mode is off" => (
            vec![
                "[{\"port\": 443, \"mode\": \"verify\"}]",
                "x",
                "[{\"mode\":\"off\"},{\"mode\":\"passthrough\"}]",
            ],
            vec!["", "[{\"port\": 443, \"mode\": \"off\"}]"],
        ),
        "a list with HTTPS and without HTTP" => (
            vec!["[{\"HTTPS\": 443}]"],
            vec!["", "[{\"HTTP\": 80}, {\"HTTPS\": 443}]", "x"],
        ),
        other => panic!("no samples of {other:?}"),
    }
}

/// Every row with each whole name of its annotations.
fn every_name() -> impl Iterator<Item = (&'static Peer, &'static Row, String)> {
    PEERS.iter().flat_map(|peer| {
        peer.rows.iter().flat_map(move |row| {
            let names = row.names.iter().flat_map(move |name| {
                peer.prefixes
                    .iter()
                    .map(move |prefix| format!("{prefix}{}", name.replace('*', "x")))
            });
            names
                .filter(|name| !is_implemented(name))
                .map(move |name| (*peer, row, name))
        })
    })
}

/// Several controllers had this prefix: some of its names are implemented for all of them.
fn is_implemented(name: &str) -> bool {
    name.starts_with("ingress.kubernetes.io/") && annotations::is_known(name)
}

#[test]
fn each_guard_closes_with_its_values_only() {
    let mut guards = 0;
    for (peer, row, name) in every_name().filter(|(_, row, _)| closes(row.meaning)) {
        guards += 1;
        let (guarded, harmless) = samples(row);
        for value in guarded {
            let (met, reported) = with(&[(&name, value)]);
            assert_eq!(met, "UnsupportedGuard", "{name}: {value:?}");
            assert_eq!(
                reported,
                [("UnsupportedGuard", true, field(&name))],
                "{name}: {value:?}"
            );
        }
        // Under a shared prefix another controller may see a guard in it.
        let is_shared = PEERS
            .iter()
            .filter(|one| one.prefixes.iter().any(|one| name.starts_with(*one)))
            .count()
            > 2;
        for value in harmless
            .iter()
            .filter(|_| !is_shared && !peer.name.is_empty())
        {
            let (met, reported) = with(&[(&name, value)]);
            assert_eq!(met, "empty", "{name}: {value:?}: {reported:?}");
            assert!(
                reported
                    .iter()
                    .all(|(reason, ..)| *reason == "UnsupportedAnnotation"),
                "{name}: {reported:?}"
            );
        }
    }
    assert!(guards > 80, "{guards}");
}

fn closes(meaning: Meaning) -> bool {
    matches!(meaning, Meaning::Guard(..))
}

#[test]
fn each_unsupported_annotation_is_reported_with_its_effect() {
    for (_, row, name) in every_name() {
        let (Meaning::Unsupported(effect) | Meaning::Detail(effect)) = row.meaning else {
            continue;
        };
        assert!(
            effect.len() >= 2 && !effect.ends_with('.'),
            "{name}: {effect:?}"
        );
        let value = if name.contains("snippet") {
            "add_header A b;"
        } else {
            "/x"
        };
        let (met, reported) = with(&[(&name, value)]);
        // Another controller may see a guard in it.
        if name.starts_with("ingress.kubernetes.io/") && met != "empty" {
            continue;
        }
        assert_eq!(met, "empty", "{name}");
        assert_eq!(
            reported,
            [("UnsupportedAnnotation", false, field(&name))],
            "{name}"
        );
    }
}

#[test]
fn annotations_without_effect_are_not_reported() {
    for (_, _, name) in every_name().filter(|(_, row, _)| row.meaning == Meaning::Nothing) {
        assert_eq!(
            with(&[(&name, "true")]),
            ("empty".to_owned(), vec![]),
            "{name}"
        );
    }
}

#[test]
fn no_annotation_is_in_two_tables() {
    for (_, row, name) in every_name() {
        assert!(
            !annotations::is_known(&name),
            "{name} is read in annotations.rs"
        );
        assert_eq!(name, name.to_ascii_lowercase());
        let same = every_name().filter(|(_, other, other_name)| {
            *other_name == name
                && std::mem::discriminant(&other.meaning) == std::mem::discriminant(&row.meaning)
        });
        // One of each kind in each table.
        let tables = PEERS
            .iter()
            .filter(|peer| peer.prefixes.iter().any(|prefix| name.starts_with(*prefix)));
        assert!(same.count() <= tables.count(), "{name}");
    }
}

#[test]
fn a_name_that_is_not_known_closes_if_it_speaks_of_access() {
    for name in [
        "nginx.ingress.kubernetes.io/auth-by-magic",
        "nginx.ingress.kubernetes.io/allowlist",
        "traefik.ingress.kubernetes.io/router.middleware",
        "haproxy.org/client-ca-file",
        "gatelet.dev/basic-auth",
        "konghq.com/plugin",
        "Traefik.Ingress.Kubernetes.io/Router.Middlewares",
    ] {
        assert_eq!(with(&[(name, "x")]).0, "UnsupportedGuard", "{name}");
    }

    for (name, value) in [
        ("nginx.ingress.kubernetes.io/proxy-magic", "x"),
        ("nginx.ingress.kubernetes.io/auth-by-magic", " "),
        ("gatelet.dev/magic", "x"),
        ("haproxy.org/magic", "x"),
    ] {
        assert_eq!(
            with(&[(name, value)]),
            (
                "empty".to_owned(),
                vec![("UnknownAnnotation", false, field(name))]
            )
        );
    }
}

#[test]
fn annotations_of_other_programs_are_left_alone() {
    for name in [
        "example.com/auth-type",
        "auth-type",
        "external-dns.alpha.kubernetes.io/hostname",
        "kubernetes.io/x",
    ] {
        assert_eq!(
            with(&[(name, "basic")]),
            ("empty".to_owned(), vec![]),
            "{name}"
        );
    }
}

#[test]
fn a_detail_of_a_guard_is_reported_only_without_the_guard() {
    let name = |rest: &str| format!("nginx.ingress.kubernetes.io/{rest}");
    let (kind, secret) = (
        name("enable-modsecurity"),
        name("modsecurity-transaction-id"),
    );
    let both = with(&[(&kind, "true"), (&secret, "$request_id")]);
    assert_eq!(
        both,
        (
            "UnsupportedGuard".to_owned(),
            vec![("UnsupportedGuard", true, field(&kind))]
        )
    );
    assert_eq!(
        with(&[(&secret, "users")]).1,
        [("UnsupportedAnnotation", false, field(&secret))]
    );

    let waf = |mode| {
        with(&[
            ("haproxy-ingress.github.io/waf", "modsecurity"),
            ("haproxy-ingress.github.io/waf-mode", mode),
        ])
        .0
    };
    assert_eq!(
        (waf("deny"), waf("detect")),
        ("UnsupportedGuard".to_owned(), "empty".to_owned())
    );
}

#[test]
fn a_decision_to_ignore_a_guard_is_reported() {
    const GUARD: &str = "nginx.ingress.kubernetes.io/modsecurity-snippet";
    const DECISION: &str = "gatelet.dev/unsupported-guards";
    let with = |setting: UnsupportedGuards, decision: Option<&str>| {
        let mut index = index();
        index.objects.settings.unsupported_guards = setting;
        index.apply(apply(service("web")));
        let mut annotations = vec![(GUARD, "basic")];
        annotations.extend(decision.map(|value| (DECISION, value)));
        index.apply(apply(annotated("web", &annotations)));
        let output = index.compile();
        (met(&index, "a.example", "/"), reported(&output))
    };
    let refused = (
        "UnsupportedGuard".to_owned(),
        vec![("UnsupportedGuard", true, field(GUARD))],
    );
    let ignored = (
        "empty".to_owned(),
        vec![("UnsupportedGuard", false, field(GUARD))],
    );
    assert_eq!(with(UnsupportedGuards::Refuse, None), refused);
    assert_eq!(with(UnsupportedGuards::Refuse, Some("ignore")), ignored);
    assert_eq!(with(UnsupportedGuards::Ignore, None), ignored);
    assert_eq!(with(UnsupportedGuards::Ignore, Some("refuse")), refused);

    let (met, reported) = with(UnsupportedGuards::Ignore, Some("yes"));
    assert_eq!(met, "UnsupportedGuard");
    assert_eq!(reported[0], ("InvalidAnnotation", true, field(DECISION)));
}

#[test]
fn all_of_a_guarded_ingress_is_refused_without_a_redirect() {
    let mut index = index();
    index.apply(apply(service("web")));
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let mut one = annotated(
        "web",
        &[(
            "nginx.ingress.kubernetes.io/modsecurity-snippet",
            "http://auth.example/",
        )],
    );
    one["spec"]["defaultBackend"] = backend.clone();
    one["spec"]["tls"] = json!([{"hosts": ["a.example"]}]);
    index.apply(apply(one));
    let mut all = annotated(
        "all",
        &[(
            "traefik.ingress.kubernetes.io/router.middlewares",
            "auth@file",
        )],
    );
    all["spec"] = json!({"defaultBackend": backend});
    index.apply(apply(all));
    let output = index.compile();
    for (host, path) in [
        ("a.example", "/"),
        ("a.example", "/other"),
        ("b.example", "/"),
    ] {
        assert_eq!(met(&index, host, path), "UnsupportedGuard", "{host}{path}");
        let found = index.table().find(Some(host), path, &GET).expect("a route");
        assert!(found.route.redirect(true).is_none() && found.route.hsts(true).is_none());
    }

    // Its certificate is served all the same, so that the answer can be seen.
    assert_eq!(source(&output, "a.example"), "local");
}

#[test]
fn a_guard_on_a_service_closes_the_paths_to_it() {
    let guarded = |annotations: Value, on_ingress: &[(&str, &str)]| {
        let mut index = index();
        index.apply(apply(service("web")));
        let mut safe = service("safe");
        safe["metadata"]["annotations"] = annotations;
        index.apply(apply(safe));
        let mut both = annotated("web", on_ingress);
        let path = |path: &str, service: &str| {
            json!({"path": path, "pathType": "Prefix",
            "backend": {"service": {"name": service, "port": {"number": 80}}}})
        };
        both["spec"]["rules"][0]["http"]["paths"] =
            json!([path("/", "web"), path("/safe", "safe")]);
        index.apply(apply(both));
        let output = index.compile();
        (
            met(&index, "a.example", "/"),
            met(&index, "a.example", "/safe"),
            reported(&output),
        )
    };
    let path = "spec.rules[0].http.paths[1].backend.service".to_owned();
    for (name, value) in [
        ("haproxy-ingress.github.io/waf", "modsecurity"),
        ("haproxy.org/client-ca", "default/ca"),
        ("konghq.com/plugins", "key-auth"),
        ("alb.ingress.kubernetes.io/auth-type", "oidc"),
    ] {
        let (web, safe, reported) = guarded(json!({name: value}), &[]);
        assert_eq!((&*web, &*safe), ("empty", "UnsupportedGuard"), "{name}");
        assert_eq!(
            reported,
            [("UnsupportedGuard", true, path.clone())],
            "{name}"
        );
        // Both the Service and the Ingress may decide.
        let decision = json!({name: value, "gatelet.dev/unsupported-guards": "ignore"});
        let ignored = (
            "empty".to_owned(),
            "empty".to_owned(),
            vec![("UnsupportedGuard", false, path.clone())],
        );
        assert_eq!(guarded(decision, &[]), ignored, "{name}");
        assert_eq!(
            guarded(
                json!({name: value}),
                &[("gatelet.dev/unsupported-guards", "ignore")]
            ),
            ignored,
            "{name}"
        );
    }

    // Not a guard, and not read on Services.
    const OF_INGRESSES: &str = "nginx.ingress.kubernetes.io/auth-type";
    let harmless = json!({"haproxy.org/check": "true", OF_INGRESSES: "basic"});
    let note = ("UnsupportedAnnotation", false, field(OF_INGRESSES));
    assert_eq!(
        guarded(harmless, &[]),
        ("empty".to_owned(), "empty".to_owned(), vec![note])
    );
}

#[test]
fn a_canary_never_takes_the_main_traffic() {
    let canary = |name: &str, on_service: bool| {
        let mut index = index();
        index.apply(apply(slice(
            "s",
            "web",
            json!([{"addresses": ["10.0.0.1"]}]),
        )));
        index.apply(apply(service("web")));
        let mut next = service("next");
        let mut old = ingress("canary", "a.example", "/", "next");
        let annotated = if on_service { &mut next } else { &mut old };
        annotated["metadata"]["annotations"] = json!({name: "true"});
        old["spec"]["tls"] = json!([{"hosts": ["a.example"]}]);
        index.apply(apply(next));
        index.apply(apply(old));
        let mut main = ingress("main", "a.example", "/", "web");
        main["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z".into();
        index.apply(apply(main));
        let output = index.compile();
        live(&output);
        assert_eq!(met(&index, "a.example", "/"), "10.0.0.1:8080", "{name}");
        assert_eq!(
            reasons(&output),
            [("canary".to_owned(), "UnsupportedCanary")],
            "{name}"
        );
        assert_eq!(source(&output, "a.example"), "local", "{name}");
        index.apply(delete(Kind::Ingress, "main"));
        index.compile();
        assert_eq!(met(&index, "a.example", "/"), "404", "{name}");
    };
    canary("konghq.com/headers.x-version", false);
    canary("haproxy.org/route-acl", true);
}

#[test]
fn https_only_annotations_redirect_plain_http() {
    for (name, value) in [
        ("kubernetes.io/ingress.allow-http", "false"),
        (
            "traefik.ingress.kubernetes.io/router.entrypoints",
            "websecure",
        ),
        ("traefik.ingress.kubernetes.io/router.tls", "true"),
        ("konghq.com/protocols", "https"),
        (
            "alb.ingress.kubernetes.io/listen-ports",
            "[{\"HTTPS\": 443}]",
        ),
    ] {
        let mut index = index();
        index.apply(apply(service("web")));
        // No other annotation opens it again.
        let all = [
            (name, value),
            ("gatelet.dev/ssl-redirect", "false"),
            ("gatelet.dev/force-ssl-redirect", "false"),
        ];
        index.apply(apply(annotated("web", &all)));
        let output = index.compile();
        assert!(reported(&output).is_empty(), "{name}: {output:?}");
        let found = index
            .table()
            .find(Some("a.example"), "/", &GET)
            .expect("a route");
        assert!(found.route.redirect(found.tls).is_some(), "{name}");
    }
}

#[test]
fn https_only_rows_hold_for_their_values_only() {
    for (_, row, name) in every_name().filter(|(_, row, _)| row.meaning == Meaning::HttpsOnly) {
        let (held, not) = samples(row);
        let redirects = |value: &str| {
            let mut index = index();
            index.apply(apply(service("web")));
            index.apply(apply(annotated("web", &[(&name, value)])));
            index.compile();
            let found = index
                .table()
                .find(Some("a.example"), "/", &GET)
                .expect("a route");
            found.route.redirect(found.tls).is_some()
        };
        assert!(held.iter().all(|value| redirects(value)), "{name}");
        assert!(!not.iter().any(|value| redirects(value)), "{name}");
    }
}
