//! Configuration of nginx: the directives that become steps, and those that close the paths.

use super::*;
use crate::routing::{Action, Entry, Refusal, RequestStep, ResponseStep, Route, Test, Then};

const SNIPPET: &str = "nginx.ingress.kubernetes.io/configuration-snippet";

fn compiled(snippet: &str) -> (Arc<Route>, Vec<String>) {
    with(&[(SNIPPET, snippet)])
}

/// Returns the route with these annotations, and the messages of the findings.
fn with(annotations: &[(&str, &str)]) -> (Arc<Route>, Vec<String>) {
    let mut index = index();
    index.apply(apply(service("web")));
    let rule = ingress("web", "a.example", "/", "web");
    index.apply(apply(annotated(rule, annotations)));
    let output = index.compile();
    let findings = output.findings.expect("findings");
    let messages = findings.iter().map(|one| one.message.to_string());
    let found = index.table().find(Some("a.example"), "/", &GET);
    (found.expect("a route").route.clone(), messages.collect())
}

/// Returns the steps that snippets make, in words.
fn steps(route: &Route) -> Vec<String> {
    let steps = route.steps.as_deref().expect("steps");
    let request = steps.request.iter().filter_map(|step| match step {
        RequestStep::Conditional(one) => {
            let then = match &one.then {
                Then::Refuse(status) => status.as_u16().to_string(),
                Then::Redirect(to) => format!("{} to {:?}", to.status.as_u16(), to.to),
                Then::Respond(own) => {
                    let (status, media_type) = (own.status.as_u16(), &own.media_type);
                    format!("{status} {media_type:?} {:?}", own.text.as_str())
                }
            };
            let path = one.path.as_ref().map(|path| format!(" for {path}"));
            let then = then + &path.unwrap_or_default();
            let condition = one.condition.as_ref().map(|condition| {
                let not = if condition.is_negated { "not " } else { "" };
                let test = match &condition.test {
                    Test::Filled => "filled".to_owned(),
                    Test::Is(text) => format!("{text:?}"),
                    Test::Matches(pattern) => format!("~ {pattern}"),
                };
                format!(" if {} {not}{test}", condition.text.as_str())
            });
            Some(then + &condition.unwrap_or_default())
        }
        RequestStep::Access(access) => {
            let addresses = ["192.0.2.1", "10.1.2.3", "2001:db8::1", "198.51.100.1"];
            let verdicts = addresses.map(|address| {
                let address = address.parse().expect("an address");
                matches!(access.entry(Some(address)), Entry::Open)
            });
            Some(format!("in: {verdicts:?}"))
        }
        RequestStep::Host(host) => Some(format!("host {:?}", host.value)),
        RequestStep::SetText(text) => Some(format!("{} = {}", text.name, text.value.as_str())),
        RequestStep::RemoveField(field) => Some(format!("no {}", field.name)),
        _ => None,
    });
    let response = steps.response.iter().filter_map(|step| match step {
        ResponseStep::SetField(field) => Some(format!("{}: {:?}", field.name, field.value)),
        ResponseStep::RemoveField(name) => Some(format!("hide {name}")),
        ResponseStep::Compress(terms) => Some(format!("{:?} {}", terms.types, terms.min_length)),
        _ => None,
    });
    request.chain(response).collect()
}

#[test]
fn the_usual_directives_become_steps() {
    for (snippet, expected) in [
        (
            "add_header X-Frame-Options \"DENY\" always;\n# none\nadd_header A b;",
            &["x-frame-options: \"DENY\"", "a: \"b\""][..],
        ),
        (
            "more_set_headers \"X-A: b c\" 'X-B: d' \"X-C:\";\nmore_clear_headers X-D;",
            &["x-a: \"b c\"", "x-b: \"d\"", "hide x-c", "hide x-d"],
        ),
        ("proxy_hide_header X-Powered-By", &["hide x-powered-by"]),
        (
            "proxy_set_header X-User $http_x_some;\nproxy_set_header Authorization \"\";\n\
             proxy_set_header Host b.example;",
            &[
                "host \"b.example\"",
                "x-user = $http_x_some",
                "no authorization",
            ],
        ),
        (
            "proxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection \"upgrade\";\n\
             proxy_set_header Host $host;\nproxy_set_header X-Real-IP $remote_addr;",
            &[],
        ),
        (
            "deny 192.0.2.1;\nallow 10.0.0.0/8;\nallow 2001:db8::/32;\ndeny all;",
            &["in: [false, true, true, false]"],
        ),
        ("deny all;", &["in: [false, false, false, false]"]),
        (
            "deny 192.0.2.1; allow all;",
            &["in: [false, true, true, true]"],
        ),
        ("return 403;", &["403"]),
        (
            "return 200 \"a\\n$host\"; default_type text/plain;",
            &["200 \"text/plain\" \"a\\n$host\""],
        ),
        (
            "gzip on; gzip_types text/css;\ngzip_min_length 9;",
            &["Only([\"text/css\", \"text/html\"]) 9"],
        ),
        ("return 410 gone;", &["410 \"text/html\" \"gone\""]),
        (
            "if ($http_x) { return 204; }",
            &["204 \"text/html\" \"\" if $http_x filled"],
        ),
        (
            "if ($http_user_agent ~* \"(bot|spider)\") { return 403; }",
            &["403 if $http_user_agent ~ (?s:.*)(?i)(?:(bot|spider))(?s:.*)"],
        ),
        (
            "if ($http_x_key != \"a b\") { return 401; }",
            &["401 if $http_x_key not \"a b\""],
        ),
        (
            "if ($cookie_off) {return 503;}",
            &["503 if $cookie_off filled"],
        ),
    ] {
        let (route, messages) = compiled(snippet);
        assert_eq!(steps(&route), expected, "{snippet}: {messages:?}");
        assert!(matches!(route.action, Action::Forward(_)), "{snippet}");
        assert!(messages[0].starts_with("done here: "), "{messages:?}");
    }

    let (route, _) = compiled("return 301 https://b.example$request_uri;");
    assert!(steps(&route)[0].starts_with("301 to "));
    let (route, _) = compiled("proxy_read_timeout 1h;\nclient_max_body_size 0;");
    let policy = route.policy.as_deref().expect("a policy");
    assert_eq!(
        policy.timeouts.idle,
        Some(std::time::Duration::from_secs(3600))
    );
    assert_eq!(policy.max_body_bytes, Some(u64::MAX));
}

#[test]
fn what_cannot_restrict_access_has_no_effect() {
    let (route, messages) = compiled("etag on; add_header X-A b; add_header X-B $host;");
    assert_eq!(steps(&route), ["x-a: \"b\""]);
    assert_eq!(
        messages,
        ["done here: add_header X-A b. without effect here: etag on; add_header X-B $host"]
    );
}

#[test]
fn any_other_directive_closes_the_paths() {
    for snippet in [
        "auth_request /auth;",
        "rewrite ^/a /b last;",
        "set $x y;",
        "location /a { deny all; }",
        "if ($http_x = y) { add_header A b; }",
        "if ($http_x = y) { return 100; }",
        "if ($http_x = y) { return 403; return 404; }",
        "if ($unknown) { return 403; }",
        "if ($http_x ~ \"(\") { return 403; }",
        "if (-f $request_filename) { return 403; }",
        "return 200 $unknown;",
        "return 444;x",
        "return 444 text;",
        "allow 10.0.0.0/8; deny 10.1.0.0/16; deny all;",
        "deny unix:;",
        "proxy_set_header X-User $ssl_client_s_dn;",
        "proxy_set_header Content-Length 1;",
        "proxy_pass http://b.example;",
        "add_header X-A \"b",
        "} deny all; {",
        "access_by_lua_block { x }",
    ] {
        let (route, messages) = compiled(&format!("add_header X-Good yes;\n{snippet}"));
        let closed = matches!(route.action, Action::Refuse(Refusal::UnsupportedGuard));
        assert!(closed, "{snippet}: {messages:?}");
        assert!(messages[0].contains("has no equivalent"), "{messages:?}");
    }
}

/// An index with Ingress `web` for `/` and `/a/b`, and `other` for `Exact /own`, of a host. `web`
/// has this `server-snippet`.
fn of_host(snippet: &str, other_namespace: &str) -> (Index, Output) {
    let mut index = index();
    for namespace in ["default", "other"] {
        let mut web = service("web");
        web["metadata"]["namespace"] = namespace.into();
        index.apply(apply(web));
    }
    let mut web = ingress("web", "a.example", "/", "web");
    let mut longer = web["spec"]["rules"][0]["http"]["paths"][0].clone();
    longer["path"] = "/a/b".into();
    let paths = web["spec"]["rules"][0]["http"]["paths"].as_array_mut();
    paths.expect("paths").push(longer);
    let name = "nginx.ingress.kubernetes.io/server-snippet";
    index.apply(apply(annotated(web, &[(name, snippet)])));

    let mut other = ingress("other", "a.example", "/own", "web");
    other["metadata"]["namespace"] = other_namespace.into();
    // It is the older one, so its namespace has the host.
    other["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z".into();
    other["spec"]["rules"][0]["http"]["paths"][0]["pathType"] = "Exact".into();
    index.apply(apply(other));
    let output = index.compile();
    (index, output)
}

/// Returns the steps of the route that takes a path.
fn steps_of(index: &Index, path: &str) -> Vec<String> {
    let table = index.table();
    let found = table.find(Some("a.example"), path, &GET);
    let route = found.expect("a route").route.clone();
    route
        .steps
        .as_ref()
        .map_or_else(Vec::new, |_| steps(&route))
}

#[test]
fn snippets_of_servers_apply_to_all_paths_of_the_host() {
    for (snippet, expected) in [
        ("if ($http_x) { return 403; }", "403 if $http_x filled"),
        ("deny 192.0.2.1;", "in: [false, true, true, true]"),
        ("add_header X-A b;", "x-a: \"b\""),
        ("proxy_hide_header X-A;", "hide x-a"),
        ("location = /x { return 404; }", "404 for = /x"),
    ] {
        let (index, _) = of_host(snippet, "default");
        for path in ["/", "/a/b", "/own"] {
            assert_eq!(steps_of(&index, path), [expected], "{path}");
        }
    }

    let (index, output) = of_host("proxy_set_header X-A b;\nproxy_read_timeout 1;", "default");
    assert!(steps_of(&index, "/").is_empty());
    let findings = output.findings.expect("findings");
    let message = "without effect here: proxy_set_header X-A b; proxy_read_timeout 1";
    assert_eq!(findings[0].message.to_string(), message);
}

#[test]
fn locations_of_snippets_come_before_rules_as_in_nginx() {
    for (location, root, longer, exact) in [
        ("location /a { deny all; }", true, false, false),
        ("location /a/b { deny all; }", true, false, false),
        ("location /a/b/c { deny all; }", true, true, false),
        ("location ^~ /a/b { return 403; }", true, false, false),
        ("location ~ ^/a { return 403; }", true, true, false),
        ("location = /own { return 403; }", true, true, true),
    ] {
        let (index, _) = of_host(location, "default");
        for (path, is_there) in [("/", root), ("/a/b", longer), ("/own", exact)] {
            let steps = steps_of(&index, path);
            assert_eq!(steps.len(), usize::from(is_there), "{location} {path}");
        }
    }
}

#[test]
fn snippets_of_another_namespace_are_for_its_own_paths() {
    let (index, _) = of_host("return 403;", "other");
    assert_eq!(steps_of(&index, "/a/b"), ["403"]);
    assert!(steps_of(&index, "/own").is_empty());
}

#[test]
fn a_location_that_does_more_closes_the_host() {
    for snippet in [
        "location /a { proxy_pass http://b.example; }",
        "location /a { }",
        "location /a { if ($http_x) { return 403; } }",
        "location /a { deny 192.0.2.1; return 403; }",
        "location ~ ( { return 403; }",
        "location @name { return 403; }",
        "location /a { location /a/b { return 403; } }",
        "ssl_verify_client on;",
        "auth_basic x;",
        "rewrite ^ /x;",
    ] {
        let (index, output) = of_host(snippet, "default");
        for path in ["/", "/own"] {
            assert_eq!(
                met(&index, "a.example", path),
                "UnsupportedGuard",
                "{snippet}"
            );
        }
        let findings = output.findings.expect("findings");
        let messages: Vec<String> = findings.iter().map(|one| one.message.to_string()).collect();
        assert!(
            messages.iter().any(|one| one.contains("of the hosts")),
            "{messages:?}"
        );
    }
}

#[test]
fn fields_for_the_server_of_a_login_are_set() {
    let url = ("auth-url", "http://192.0.2.1/");
    let snippet = |text| with(&[url, ("nginx.ingress.kubernetes.io/auth-snippet", text)]);
    let sets = |text| {
        let (route, messages) = snippet(text);
        let steps = route.steps.as_deref().expect("steps");
        let auth = steps.request.iter().find_map(|step| match step {
            RequestStep::ExternalAuth(auth) => Some(auth.clone()),
            _ => None,
        });
        let auth = auth.unwrap_or_else(|| panic!("{messages:?}"));
        auth.adds.as_ref().map_or_else(Vec::new, |adds| {
            let values = adds.values.iter();
            values
                .map(|(name, value)| format!("{name}: {}", value.as_str()))
                .collect()
        })
    };

    let as_it_is = "proxy_set_header X-Forwarded-Method $request_method;\n\
                    proxy_set_header X-Forwarded-Host $http_host;";
    assert!(sets(as_it_is).is_empty());
    assert_eq!(
        sets("proxy_set_header X-Key \"a b\";\nproxy_set_header Cookie \"\";"),
        ["x-key: a b", "cookie: "]
    );
    for text in [
        "proxy_set_header X-User $ssl_client_s_dn;",
        "proxy_set_header Host a.example;",
        "proxy_pass http://b.example;",
        "if ($http_x) { return 403; }",
        "proxy_set_header X-A 'b",
    ] {
        let (route, messages) = snippet(text);
        let closed = matches!(route.action, Action::Refuse(Refusal::UnsupportedGuard));
        assert!(closed, "{text}: {messages:?}");
    }
}

#[test]
fn who_ignores_guards_has_none_of_a_snippet_that_is_not_known() {
    let ignore = ("gatelet.dev/unsupported-guards", "ignore");
    let (route, messages) = with(&[(SNIPPET, "deny 192.0.2.1; auth_request /x;"), ignore]);
    assert!(matches!(route.action, Action::Forward(_)), "{messages:?}");
    assert!(steps(&route).is_empty());
    assert!(messages[0].contains("auth_request /x"), "{messages:?}");
}
