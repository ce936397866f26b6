//! Middlewares of Traefik that a Service names.

use super::*;
use crate::{objects::EventType, routing::RequestStep};

const ROUTER: &str = "traefik.ingress.kubernetes.io/router.middlewares";
const SERVICE: &str = "traefik.ingress.kubernetes.io/service.middlewares";

fn middleware(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "Middleware",
        "metadata": {"name": name}, "spec": spec,
    })
}

fn strip() -> Value {
    middleware("strip", json!({"stripPrefix": {"prefixes": ["/foo"]}}))
}

fn add() -> Value {
    middleware("add", json!({"addPrefix": {"prefix": "/foo/api"}}))
}

fn login() -> Value {
    middleware("login", json!({"basicAuth": {"secret": "users"}}))
}

fn users() -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "users"}, "type": "Opaque",
        "data": {"any": "YW5uOntTSEF9NWVuNkc2TWV6UnJvVDNYS3FrZFBPbVkvQmZRPQo="}})
}

/// Returns an index with an Ingress with the paths `/` to `web`, which has annotations, and
/// `/plain` to `plain`, which has none.
fn index_with(on_ingress: &[(&str, &str)], on_service: &[(&str, &str)], others: &[Value]) -> Index {
    let mut index = index();
    index.apply(apply(annotated(service("web"), on_service)));
    index.apply(apply(service("plain")));
    for other in others {
        index.apply(apply(other.clone()));
    }
    let mut both = ingress("web", "a.example", "/", "web");
    let path = |path: &str, service: &str| {
        json!({"path": path, "pathType": "Prefix",
            "backend": {"service": {"name": service, "port": {"number": 80}}}})
    };
    both["spec"]["rules"][0]["http"]["paths"] = json!([path("/", "web"), path("/plain", "plain")]);
    index.apply(apply(annotated(both, on_ingress)));
    index
}

/// Compiles, and returns for both paths what the steps make of `/foo/bar`, or the refusal.
fn outcome(index: &mut Index) -> [String; 2] {
    index.compile();
    ["/", "/plain"].map(|path| {
        let found = index.table().find(Some("a.example"), path, &GET);
        let route = found.expect("a rule").route;
        if let Action::Refuse(refusal) = &route.action {
            return refusal.reason().to_owned();
        }
        let mut path = "/foo/bar".to_owned();
        for step in route.steps.iter().flat_map(|steps| &steps.request) {
            match step {
                RequestStep::EditPath(edit) => {
                    let edited = edit.apply(&path).expect("a path");
                    path = edited.map_or(path, |edited| edited.path);
                }
                RequestStep::Access(_) => path += " login",
                RequestStep::Limit(limits) => path += &format!(" {}", limits.object),
                _ => {}
            }
        }
        path
    })
}

/// Returns the findings about the Middlewares of the Service.
fn findings(index: &Index) -> Vec<String> {
    let all = index.findings();
    let own = all
        .iter()
        .filter(|one| one.message.to_string().contains("middlewares"));
    own.map(|one| format!("{} {}: {}", one.reason, one.field, one.message))
        .collect()
}

#[test]
fn those_of_a_service_come_behind_those_of_the_ingress() {
    for (on_ingress, on_service, expected) in [
        ("", "strip", ["/bar", "/foo/bar"]),
        ("strip", "", ["/bar", "/bar"]),
        ("strip", "add", ["/foo/api/bar", "/bar"]),
        ("add", "strip", ["/api/foo/bar", "/foo/api/foo/bar"]),
        ("strip", "strip", ["/bar", "/bar"]),
    ] {
        let named = |name: &str| match name {
            "" => String::new(),
            name => format!("default-{name}@kubernetescrd"),
        };
        let (on_ingress, on_service) = (named(on_ingress), named(on_service));
        let mut index = index_with(
            &[(ROUTER, &on_ingress)],
            &[(SERVICE, &on_service)],
            &[strip(), add()],
        );
        assert_eq!(outcome(&mut index), expected, "{on_ingress} {on_service}");
        assert_eq!(findings(&index), [""; 0]);
    }
}

#[test]
fn one_that_cannot_be_done_closes_the_paths_to_the_service() {
    const MISSING: &str = "a middleware of this route does not exist";
    const UNSUPPORTED: &str = "access to this route is restricted in a way that is not supported";
    const INVALID: &str = "access to this route is restricted by a setting that is not valid";
    let broken = middleware("broken", json!({"addPrefix": {"prefix": 1}}));
    let plugin = middleware("plugin", json!({"plugin": {"waf": {}}}));
    for (list, refusal) in [
        ("default-gone@kubernetescrd", MISSING),
        (
            "default-strip@kubernetescrd,default-gone@kubernetescrd",
            MISSING,
        ),
        ("auth@file", UNSUPPORTED),
        ("default-plugin@kubernetescrd", UNSUPPORTED),
        ("default-broken@kubernetescrd", INVALID),
        ("default-strip", INVALID),
        (",", INVALID),
    ] {
        let others = [strip(), broken.clone(), plugin.clone()];
        let mut index = index_with(&[], &[(SERVICE, list)], &others);
        assert_eq!(outcome(&mut index), [refusal, "/foo/bar"], "{list}");
        let found = findings(&index);
        let field = "spec.rules[0].http.paths[0].backend.service: ";
        let of = "traefik.ingress.kubernetes.io/service.middlewares of Service web: Middleware ";
        assert!(found[0].contains(&format!("{field}{of}")), "{found:?}");
        assert!(found[0].ends_with(": the paths return 503"), "{found:?}");

        // Both the Service and the Ingress may decide.
        let ignore = ("gatelet.dev/unsupported-guards", "ignore");
        let mut ignoring = [
            index_with(&[ignore], &[(SERVICE, list)], &others),
            index_with(&[], &[(SERVICE, list), ignore], &others),
        ];
        for index in &mut ignoring {
            assert_ne!(outcome(index)[0], refusal, "{list}");
            let all = index.findings();
            let notes = all
                .iter()
                .filter(|one| one.message.to_string().contains("are served without it"));
            assert!(notes.clone().count() > 0, "{all:?}");
            assert!(
                notes
                    .into_iter()
                    .all(|one| one.severity == EventType::Normal)
            );
        }
    }
}

#[test]
fn a_route_follows_the_middlewares_of_its_service() {
    let list = "default-login@kubernetescrd";
    let mut index = index_with(&[], &[(SERVICE, list)], &[login(), users()]);
    assert_eq!(outcome(&mut index), ["/foo/bar login", "/foo/bar"]);

    index.apply(delete(Kind::Secret, "users"));
    let closed = "the users who may come in on this route are not known";
    assert_eq!(outcome(&mut index), [closed, "/foo/bar"]);
    index.apply(apply(users()));
    assert_eq!(outcome(&mut index), ["/foo/bar login", "/foo/bar"]);

    index.apply(delete(Kind::Middleware, "login"));
    let gone = "a middleware of this route does not exist";
    assert_eq!(outcome(&mut index), [gone, "/foo/bar"]);
    index.apply(apply(login()));
    assert_eq!(outcome(&mut index), ["/foo/bar login", "/foo/bar"]);
    index.apply(Event::Refused(Kind::Middleware));
    index.apply(delete(Kind::Middleware, "login"));
    assert_eq!(outcome(&mut index), [gone, "/foo/bar"]);

    // An annotation that comes and goes while requests are served.
    index.apply(apply(service("web")));
    assert_eq!(outcome(&mut index), ["/foo/bar", "/foo/bar"]);
    index.apply(apply(annotated(service("plain"), &[(SERVICE, list)])));
    assert_eq!(outcome(&mut index), ["/foo/bar", gone]);
}

#[test]
fn one_of_a_service_that_others_change_before_it_closes() {
    let fields = json!({"headers": {"customRequestHeaders": {"Authorization": "x"}}});
    let all = [middleware("fields", fields), login(), users()];
    let (fields, login) = (
        "default-fields@kubernetescrd",
        "default-login@kubernetescrd",
    );
    let mut index = index_with(&[(ROUTER, fields)], &[(SERVICE, login)], &all);
    let [web, plain] = outcome(&mut index);
    assert!(web.contains("not supported"), "{web}");
    assert_eq!(plain, "/foo/bar");
    let mut index = index_with(&[(ROUTER, login)], &[(SERVICE, fields)], &all);
    assert_eq!(outcome(&mut index)[0], "/foo/bar login");
}

#[test]
fn limits_of_a_service_count_for_all_paths_to_it() {
    let rate = middleware("rate", json!({"rateLimit": {"average": 1}}));
    let flight = middleware("flight", json!({"inFlightReq": {"amount": 1}}));
    let all = [rate, flight];
    let list = "default-rate@kubernetescrd";
    let mut index = index_with(&[(ROUTER, list)], &[(SERVICE, list)], &all);
    assert_eq!(
        outcome(&mut index),
        [
            "/foo/bar default/web spec.rules[0].http.paths[0] a.example default/rate \
             Service default/web default/rate",
            "/foo/bar default/web spec.rules[0].http.paths[1] a.example default/rate",
        ]
    );

    // A request has one place among those in flight.
    let list = "default-flight@kubernetescrd";
    for on_ingress in [(ROUTER, list), ("limit-connections", "1")] {
        let mut index = index_with(&[on_ingress], &[(SERVICE, list)], &all);
        let [web, plain] = outcome(&mut index);
        assert!(web.contains("not"), "{web}");
        assert!(plain.starts_with("/foo/bar"), "{plain}");
        let found = findings(&index);
        assert!(
            found[0].contains("in flight") || found[0].contains("requests"),
            "{found:?}"
        );
    }
}

#[test]
fn two_limits_in_flight_close_the_paths_of_a_service() {
    let flight = middleware("flight", json!({"inFlightReq": {"amount": 1}}));
    let list = "default-flight@kubernetescrd";
    let limit = ("haproxy-ingress.github.io/limit-connections", "1");
    for (of_ingress, of_service) in [
        (&[(ROUTER, list)][..], &[limit][..]),
        (&[], &[(SERVICE, list), limit]),
    ] {
        let all = [flight.clone()];
        let mut index = index_with(of_ingress, of_service, &all);
        let [web, plain] = outcome(&mut index);
        assert!(web.contains("not"), "{web}");
        assert!(plain.starts_with("/foo/bar"), "{plain}");
    }
}

#[test]
fn a_service_of_the_settings_has_no_middlewares() {
    for (decision, expected) in [(None, true), (Some("ignore"), false)] {
        let mut index = index();
        index.objects.settings.default_backend = Some("default/web:80".into());
        let mut web = annotated(service("web"), &[(SERVICE, "default-strip@kubernetescrd")]);
        if let Some(decision) = decision {
            web = annotated(web, &[("gatelet.dev/unsupported-guards", decision)]);
        }
        index.apply(apply(web));
        index.apply(apply(strip()));
        index.compile();
        let found = index.table().find(Some("b.example"), "/", &GET);
        let action = &found.expect("the default").route.action;
        assert_eq!(
            matches!(action, Action::Refuse(_)),
            expected,
            "{decision:?}"
        );
    }
}

#[test]
fn a_canary_whose_service_has_middlewares_takes_no_requests() {
    let list = "default-strip@kubernetescrd";
    let mut index = index_with(&[], &[], &[strip()]);
    index.apply(apply(annotated(service("new"), &[(SERVICE, list)])));
    let canary = ingress("canary", "a.example", "/", "new");
    let terms = [("canary", "true"), ("canary-weight", "50")];
    index.apply(apply(annotated(canary, &terms)));
    index.compile();
    let found = index.table().find(Some("a.example"), "/", &GET);
    let Action::Forward(split) = &found.expect("a rule").route.action else {
        panic!("not forwarded");
    };
    assert!(split.canary().is_none());
    let found = findings(&index);
    assert!(
        found[0].contains("the Middlewares of a canary"),
        "{found:?}"
    );
}
