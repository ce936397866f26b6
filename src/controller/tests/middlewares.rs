//! Middlewares of Traefik that an Ingress names.

use super::*;
use crate::{
    objects::EventType,
    routing::{HAS_BROTLI, RequestStep, ResponseStep},
};

const ANNOTATION: &str = "traefik.ingress.kubernetes.io/router.middlewares";

fn middleware(namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "Middleware",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

/// Returns an index with an Ingress that names these middlewares.
fn naming(list: &str, middlewares: &[Value]) -> Index {
    let mut index = index();
    index.apply(apply(service("web")));
    for middleware in middlewares {
        index.apply(apply(middleware.clone()));
    }
    let ingress = ingress("web", "a.example", "/", "web");
    index.apply(apply(annotated(ingress, &[(ANNOTATION, list)])));
    index
}

/// Compiles, and returns the steps of the route as paths that they make of `/foo/bar`, or the
/// refusal.
fn outcome(index: &mut Index) -> String {
    index.compile();
    let found = index.table().find(Some("a.example"), "/", &GET);
    let route = found.expect("a rule").route;
    if let Action::Refuse(refusal) = &route.action {
        return refusal.reason().to_owned();
    }

    let mut path = "/foo/bar".to_owned();
    for step in route.steps.iter().flat_map(|steps| &steps.request) {
        if let RequestStep::EditPath(edit) = step
            && let Some(edited) = edit.apply(&path).expect("a path")
        {
            path = edited.path;
        }
    }
    path
}

/// Returns the findings about the Ingress without those about its backend.
fn findings(index: &Index) -> Vec<String> {
    let all = index.findings();
    let own = all.iter().filter(|one| one.field.contains(ANNOTATION));
    own.map(|one| format!("{} {}", one.reason, one.message))
        .collect()
}

#[test]
fn middlewares_take_their_steps_in_their_order() {
    let middlewares = [
        middleware(
            "default",
            "strip",
            json!({"stripPrefix": {"prefixes": ["/foo"]}}),
        ),
        middleware("default", "add", json!({"addPrefix": {"prefix": "/api"}})),
        middleware(
            "apps",
            "both.two",
            json!({"chain": {"middlewares": [
                {"name": "add", "namespace": "default"}, {"name": "strip"},
            ]}}),
        ),
        middleware(
            "apps",
            "strip",
            json!({"stripPrefix": {"prefixes": ["/api/foo"]}}),
        ),
    ];
    for (list, expected) in [
        ("default-strip@kubernetescrd", "/bar"),
        (
            "default-strip@kubernetescrd, default-add@kubernetescrd",
            "/api/bar",
        ),
        (
            "default-add@kubernetescrd,default-strip@kubernetescrd",
            "/api/foo/bar",
        ),
        ("apps-both-two@kubernetescrd", "/bar"),
        ("", "/foo/bar"),
    ] {
        let mut index = naming(list, &middlewares);
        assert_eq!(outcome(&mut index), expected, "{list}");
        assert_eq!(findings(&index), [""; 0], "{list}");
    }
}

#[test]
fn a_middleware_that_cannot_be_done_closes_its_paths() {
    const MISSING: &str = "a middleware of this route does not exist";
    const UNSUPPORTED: &str = "access to this route is restricted in a way that is not supported";
    const INVALID: &str = "access to this route is restricted by a setting that is not valid";
    let chain = |names: &[&str]| {
        let names: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"chain": {"middlewares": names}})
    };
    for (spec, refusal, finding) in [
        (
            json!({"plugin": {"some": {}}}),
            UNSUPPORTED,
            "default/m: spec.plugin: gatelet does not have this kind of middleware",
        ),
        (
            json!({"stripPrefix": {"prefixes": ["/foo"], "prefix": "/x"}}),
            UNSUPPORTED,
            "default/m: spec.stripPrefix.prefix: gatelet does not know this field",
        ),
        (
            json!({"stripPrefix": {"prefixes": "/foo"}}),
            INVALID,
            "default/m: spec.stripPrefix.prefixes: it is not a list of strings",
        ),
        (
            json!({"addPrefix": {}}),
            INVALID,
            "default/m: spec.addPrefix.prefix: it is missing",
        ),
        (
            json!({"addPrefix": {"prefix": "/.."}}),
            INVALID,
            "default/m: spec.addPrefix.prefix: the path leads above the root",
        ),
        (
            json!({"replacePathRegex": {"regex": "(", "replacement": "/"}}),
            INVALID,
            "default/m: spec.replacePathRegex.regex: it is not a regular expression: ",
        ),
        (
            json!({"addPrefix": {"prefix": "/a"}, "replacePath": {"path": "/b"}}),
            INVALID,
            "default/m: spec.replacePath: a Middleware has one kind",
        ),
        (
            json!({}),
            INVALID,
            "default/m: spec: it has no kind of middleware",
        ),
        (
            chain(&["m"]),
            INVALID,
            "default/m: spec.chain.middlewares[0].name: default/m: its chain leads back to it",
        ),
        (
            chain(&["gone"]),
            MISSING,
            "default/m: spec.chain.middlewares[0].name: default-gone: it does not exist",
        ),
    ] {
        let mut index = naming(
            "default-m@kubernetescrd",
            &[middleware("default", "m", spec.clone())],
        );
        assert_eq!(outcome(&mut index), refusal, "{spec}");
        let found = findings(&index);
        assert_eq!(found.len(), 1, "{found:?}");
        let expected = format!("Middleware {finding}");
        assert!(found[0].contains(&expected), "{found:?}");
        assert!(found[0].ends_with(": the paths return 503"), "{found:?}");
    }

    for (list, refusal) in [
        ("default-m@kubernetescrd", MISSING),
        ("auth@file", UNSUPPORTED),
        ("default-m", INVALID),
        ("@kubernetescrd", INVALID),
        (",", INVALID),
    ] {
        assert_eq!(outcome(&mut naming(list, &[])), refusal, "{list}");
    }
}

/// Specs that can be done, and those that close their paths, with the field and the reason.
const SPECS: &[(&str, &str)] = &[
    (
        r#"{"ipAllowList": {"sourceRange": ["10.0.0.0/8", "::1"]}}"#,
        "",
    ),
    (
        r#"{"ipWhiteList": {"sourceRange": ["10.0.0.1"], "ipStrategy": {"depth": 2}}}"#,
        "",
    ),
    (
        r#"{"ipAllowList": {"sourceRange": []}}"#,
        "ipAllowList.sourceRange: it is empty",
    ),
    (
        r#"{"ipAllowList": {"sourceRange": ["a"]}}"#,
        "ipAllowList.sourceRange: \"a\" is neither an address nor a network",
    ),
    (
        r#"{"ipAllowList": {"sourceRange": ["::1"], "ipStrategy": {"excludedIPs": ["::2"]}}}"#,
        "ipAllowList.ipStrategy.excludedIPs: addresses are those of the client, or at a depth",
    ),
    (
        r#"{"ipAllowList": {"sourceRange": ["::1"], "rejectStatusCode": 200}}"#,
        "ipAllowList.rejectStatusCode: it is not from 400 to 599",
    ),
    (
        r#"{"redirectScheme": {"scheme": "https", "port": "443", "permanent": true}}"#,
        "",
    ),
    (
        r#"{"redirectScheme": {"scheme": "wss"}}"#,
        "redirectScheme.scheme: it is neither http nor https",
    ),
    (
        r#"{"redirectScheme": {"scheme": "https", "port": "a"}}"#,
        "redirectScheme.port: it is no port",
    ),
    (
        r#"{"redirectRegex": {"replacement": "/"}}"#,
        "redirectRegex.regex: it is missing",
    ),
    (
        r#"{"rateLimit": {"average": 10, "period": "1m", "burst": 5}}"#,
        "",
    ),
    (
        r#"{"rateLimit": {"average": 10, "sourceCriterion": {"requestHost": true}}}"#,
        "",
    ),
    (
        r#"{"rateLimit": {"average": -1}}"#,
        "rateLimit.average: it is negative",
    ),
    (
        r#"{"rateLimit": {"average": 1, "period": "a"}}"#,
        "rateLimit.period: it is not a time",
    ),
    (
        r#"{"rateLimit": {"average": 1, "sourceCriterion": {"requestHeaderName": "X-A"}}}"#,
        "rateLimit.sourceCriterion.requestHeaderName: requests are counted by client or by host",
    ),
    (
        r#"{"rateLimit": {"average": 1, "redis": {"endpoints": ["a:1"]}}}"#,
        "rateLimit.redis: requests are counted by each gatelet for itself",
    ),
    (r#"{"inFlightReq": {"amount": 10}}"#, ""),
    (
        r#"{"inFlightReq": {"amount": 1, "sourceCriterion": {"ipStrategy": {"depth": 1}}}}"#,
        "inFlightReq.sourceCriterion.ipStrategy.depth: clients are those that the setting \
         trusted_proxies names",
    ),
    (r#"{"buffering": {"maxRequestBodyBytes": 100}}"#, ""),
    (
        r#"{"buffering": {"maxResponseBodyBytes": 100}}"#,
        "buffering.maxResponseBodyBytes: responses have no limit",
    ),
    (r#"{"retry": {"attempts": 3}}"#, ""),
    (r#"{"retry": {}}"#, "retry.attempts: it is not above 0"),
    (
        r#"{"retry": {"attempts": 3, "status": ["500-599"]}}"#,
        "retry.status: a request is sent again only where that is safe, and at once",
    ),
    (r#"{"encodedCharacters": {"allowEncodedSlash": true}}"#, ""),
    (
        r#"{"encodedCharacters": {"allowEncodedSlash": "true"}}"#,
        "encodedCharacters.allowEncodedSlash: it is not true or false",
    ),
    (
        r#"{"encodedCharacters": {"allowEncodedSpace": true}}"#,
        "encodedCharacters.allowEncodedSpace: gatelet does not know this field",
    ),
    (r#"{"grpcWeb": {}}"#, ""),
    (r#"{"grpcWeb": {"allowOrigins": ["*"]}}"#, ""),
    (
        r#"{"grpcWeb": {"allowOrigins": "*"}}"#,
        "grpcWeb.allowOrigins: it is not a list of strings",
    ),
    (r#"{"compress": {"encodings": ["gzip"]}}"#, ""),
    (
        r#"{"compress": {"minResponseBodyBytes": -1}}"#,
        "compress.minResponseBodyBytes: it is not a number from 0 on",
    ),
    (
        r#"{"compress": {"includedContentTypes": ["a/b"], "excludedContentTypes": ["a/c"]}}"#,
        "compress.includedContentTypes: excludedContentTypes is there too",
    ),
    (r#"{"contentType": {}}"#, ""),
    (
        r#"{"headers": {"customRequestHeaders": {"X-A": "b"}, "frameDeny": true}}"#,
        "",
    ),
    (
        r#"{"headers": {"customRequestHeaders": {"Connection": "close"}}}"#,
        "headers.customRequestHeaders: Connection is not a field that can be set",
    ),
    (
        r#"{"headers": {"customResponseHeaders": {"X A": "b"}}}"#,
        "headers.customResponseHeaders: \"X A\" is no name of a field",
    ),
    (
        r#"{"headers": {"allowedHosts": ["a.example"]}}"#,
        "headers.allowedHosts: gatelet does not check hosts beside those of the rules",
    ),
    (
        r#"{"headers": {"sslRedirect": true}}"#,
        "headers.sslRedirect: a Middleware with redirectScheme redirects",
    ),
    (
        r#"{"headers": {"contentSecurityPolicy": "script-src '$NONCE'"}}"#,
        "headers.contentSecurityPolicy: gatelet makes no nonces",
    ),
    (
        r#"{"basicAuth": {"secret": "gone"}}"#,
        "basicAuth.secret: Secret default/gone does not exist, or has no users",
    ),
    (
        r#"{"basicAuth": {"secret": "two"}}"#,
        "basicAuth.secret: Secret default/two has no usable user in its only key (name:hash in \
         each line)",
    ),
    (
        r#"{"basicAuth": {"secret": "users", "headerField": "X-User"}}"#,
        "",
    ),
    (r#"{"basicAuth": {"secret": "account"}}"#, ""),
    (r#"{"basicAuth": {}}"#, "basicAuth.secret: it is missing"),
    (
        r#"{"forwardAuth": {"address": "http://web.default.svc/verify"}}"#,
        "",
    ),
    (
        r#"{"forwardAuth": {"address": "https://auth.example/verify"}}"#,
        "",
    ),
    (
        r#"{"forwardAuth": {"address": "http://gone.default.svc/verify"}}"#,
        "forwardAuth.address: Service default/gone does not exist",
    ),
    (
        r#"{"forwardAuth": {"address": "http://$host/verify"}}"#,
        "forwardAuth.address: it has a variable",
    ),
    (
        r#"{"forwardAuth": {"address": "https://auth.example", "forwardBody": true}}"#,
        "forwardAuth.forwardBody: the server gets no body",
    ),
    (
        r#"{"forwardAuth": {"address": "https://auth.example", "authResponseHeadersRegex": "X"}}"#,
        "forwardAuth.authResponseHeadersRegex: only ^Name and ^Name$ are supported, with the \
         name as it is sent",
    ),
    (
        r#"{"circuitBreaker": {"expression": "NetworkErrorRatio() > 0.3", "checkPeriod": "1s",
            "fallbackDuration": 5, "recoveryDuration": "1m", "responseCode": 429}}"#,
        "",
    ),
    (
        r#"{"circuitBreaker": {"expression": "Other() > 0.3"}}"#,
        "circuitBreaker.expression: something else is expected at \"Other() > 0.3\"",
    ),
    (
        r#"{"circuitBreaker": {"expression": "NetworkErrorRatio() > 1", "responseCode": 99}}"#,
        "circuitBreaker.responseCode: it is not from 200 to 599",
    ),
    (
        r#"{"circuitBreaker": {"expression": "NetworkErrorRatio() > 1", "checkPeriod": "25h"}}"#,
        "circuitBreaker.checkPeriod: it is more than a day",
    ),
    (
        r#"{"passTLSClientCert": {"pem": true,
            "info": {"sans": true, "subject": {"country": true}}}}"#,
        "",
    ),
    (
        r#"{"passTLSClientCert": {"info": {"issuer": {"title": true}}}}"#,
        "passTLSClientCert.info.issuer.title: gatelet does not know this field",
    ),
    (
        r#"{"errors": {"status": ["404", "500-599"], "query": "/{status}.html?of={url}",
            "service": {"name": "web", "port": 80, "sticky": {}}}}"#,
        "",
    ),
    (
        r#"{"errors": {"status": ["500"], "service": {"name": "web", "port": "80", "weight": 1},
            "statusRewrites": {"500-599": 500}}}"#,
        "",
    ),
    (
        r#"{"errors": {"status": ["500"]}}"#,
        "errors.service: it is missing",
    ),
    (
        r#"{"errors": {"status": ["5xx"], "service": {"name": "web", "port": 80}}}"#,
        "errors.status: it is not a list of statuses like 404 and 500-599",
    ),
    (
        r#"{"errors": {"status": ["500"], "service": {"name": "web"},
            "statusRewrites": {"1": 2}}}"#,
        "errors.statusRewrites: it is not a list of statuses like 404 and 500-599",
    ),
    (
        r#"{"errors": {"status": ["500"], "service": {"name": "web"}, "query": "/../x"}}"#,
        "errors.query: it is not a path, with or without a query",
    ),
    (
        r#"{"errors": {"status": ["500"], "service": {"name": "gone", "port": 80}}}"#,
        "errors.service.name: Service gone does not exist",
    ),
    (
        r#"{"errors": {"status": ["500"], "service": {"name": "web", "port": 81}}}"#,
        "errors.service.name: Service web has no port 81",
    ),
    (
        r#"{"errors": {"status": ["500"], "service": {"name": "web", "namespace": "other"}}}"#,
        "errors.service.namespace: it is not the namespace of the Middleware",
    ),
    (
        r#"{"errors": {"status": ["500"], "service": {"name": "web", "kind": "TraefikService"}}}"#,
        "errors.service.kind: it is not Service",
    ),
    (
        r#"{"errors": {"status": ["500"], "service": {"name": "web", "serversTransport": "x"}}}"#,
        "errors.service.serversTransport: the settings have its terms",
    ),
];

/// Returns the Secrets that some of these name.
fn secrets() -> Vec<Value> {
    let secret = |name: &str, kind: &str, values: &[(&str, &str)]| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let values = values.iter().map(|(key, value)| {
            let value: Value = STANDARD.encode(value).into();
            ((*key).to_owned(), value)
        });
        let data: serde_json::Map<String, Value> = values.collect();
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind,
            "data": data})
    };
    let line = "# users\nann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n";
    vec![
        secret("users", "Opaque", &[("any", line)]),
        secret("two", "Opaque", &[("one", line), ("other", line)]),
        secret(
            "account",
            "kubernetes.io/basic-auth",
            &[("username", "ann"), ("password", "secret")],
        ),
    ]
}

#[test]
fn each_kind_is_done_as_it_is_meant_or_closes() {
    for (spec, problem) in SPECS {
        let value: Value = serde_json::from_str(spec).expect("JSON");
        let mut all = secrets();
        all.push(middleware("default", "m", value));
        let mut index = naming("default-m@kubernetescrd", &all);
        let found = outcome(&mut index);
        let findings = findings(&index);
        if problem.is_empty() {
            assert_eq!(found, "/foo/bar", "{spec}: {findings:?}");
            continue;
        }
        assert_ne!(found, "/foo/bar", "{spec}");
        let expected = format!("Middleware default/m: spec.{problem}: the paths return 503");
        let has = findings.iter().any(|one| one.ends_with(&expected));
        assert!(has, "{spec}: {findings:?}");
    }
}

#[test]
fn a_field_that_decides_nothing_is_a_note() {
    for (spec, note) in [
        (
            json!({"compress": {"encodings": ["zstd"]}}),
            match HAS_BROTLI {
                true => "spec.compress: responses are compressed with gzip and br alone",
                false => "spec.compress: responses are compressed with gzip alone",
            },
        ),
        (
            json!({"headers": {"forceSTSHeader": true, "frameDeny": true}}),
            "spec.headers.forceSTSHeader: over plain HTTP browsers pass over \
             Strict-Transport-Security",
        ),
        (
            json!({"stripPrefix": {"prefixes": ["/x"], "forceSlash": true}}),
            "spec.stripPrefix.forceSlash: a path begins with a slash without it",
        ),
        (
            json!({"retry": {"attempts": 2, "initialInterval": "1s"}}),
            "spec.retry.initialInterval: a request is sent again only where that is safe, and at \
             once",
        ),
    ] {
        let middlewares = [middleware("default", "m", spec)];
        let mut index = naming("default-m@kubernetescrd", &middlewares);
        assert_eq!(outcome(&mut index), "/foo/bar");
        let expected = format!("UnsupportedMiddleware Middleware default/m: {note}");
        assert_eq!(findings(&index), [expected]);
    }
}

#[test]
fn an_order_that_would_mean_something_else_closes() {
    let headers = |name: &str| json!({"headers": {"customRequestHeaders": {name: "x"}}});
    let allowed = json!({"ipAllowList": {"sourceRange": ["::1"], "ipStrategy": {"depth": 1}}});
    for (name, behind, closes) in [
        (
            "Authorization",
            json!({"basicAuth": {"secret": "users"}}),
            true,
        ),
        ("X-Other", json!({"basicAuth": {"secret": "users"}}), false),
        ("Host", json!({"redirectScheme": {"scheme": "https"}}), true),
        (
            "X-Forwarded-Proto",
            json!({"redirectScheme": {"scheme": "https"}}),
            true,
        ),
        ("X-Forwarded-For", allowed.clone(), true),
        ("Host", allowed, false),
        (
            "X-Forwarded-Uri",
            json!({"forwardAuth": {"address": "http://web.default.svc"}}),
            true,
        ),
        (
            "X-Forwarded-Proto",
            json!({"forwardAuth": {"address": "http://web.default.svc",
                "trustForwardHeader": true}}),
            false,
        ),
    ] {
        let mut all = secrets();
        all.push(middleware("default", "a", headers(name)));
        all.push(middleware("default", "b", behind));
        let (a, b) = ("default-a@kubernetescrd", "default-b@kubernetescrd");
        let mut index = naming(&format!("{a},{b}"), &all);
        assert_eq!(outcome(&mut index) != "/foo/bar", closes, "{name}");
        let found = findings(&index);
        let has = found
            .iter()
            .any(|one| one.contains("a Middleware before it changes"));
        assert_eq!(has, closes, "{name}: {found:?}");
        assert_eq!(
            outcome(&mut naming(&format!("{b},{a}"), &all)),
            "/foo/bar",
            "{name}"
        );
    }
}

#[test]
fn a_route_follows_what_its_middlewares_name() {
    let all = [
        middleware(
            "default",
            "login",
            json!({"basicAuth": {"secret": "users"}}),
        ),
        middleware(
            "default",
            "auth",
            json!({"forwardAuth": {"address": "http://auth.x.svc"}}),
        ),
    ];
    let list = "default-login@kubernetescrd,default-auth@kubernetescrd";
    let mut index = naming(list, &all);
    assert!(outcome(&mut index).contains("not"));
    assert_eq!(findings(&index).len(), 2);

    for secret in secrets() {
        index.apply(apply(secret));
    }
    outcome(&mut index);
    assert_eq!(findings(&index).len(), 1);
    let mut auth = service("auth");
    auth["metadata"]["namespace"] = "x".into();
    index.apply(apply(auth));
    assert_eq!(outcome(&mut index), "/foo/bar");
    assert_eq!(findings(&index), [""; 0]);

    index.apply(delete(Kind::Secret, "users"));
    assert_eq!(
        outcome(&mut index),
        "the users who may come in on this route are not known"
    );
}

#[test]
fn a_redirect_to_https_takes_the_place_of_ours_if_it_is_first() {
    let all = [
        middleware(
            "default",
            "https",
            json!({"redirectScheme": {"scheme": "https"}}),
        ),
        middleware(
            "default",
            "strip",
            json!({"stripPrefix": {"prefixes": ["/foo"]}}),
        ),
    ];
    for (list, has_ours) in [
        ("default-https@kubernetescrd", false),
        (
            "default-https@kubernetescrd,default-strip@kubernetescrd",
            false,
        ),
        (
            "default-strip@kubernetescrd,default-https@kubernetescrd",
            true,
        ),
    ] {
        let mut index = naming(list, &all);
        index.compile();
        let found = index.table().find(Some("a.example"), "/", &GET);
        let route = found.expect("a rule").route;
        assert_eq!(route.redirect(true).is_some(), has_ours, "{list}");
    }
}

#[test]
fn the_first_middleware_is_the_last_to_change_a_response() {
    let fields = |value: &str, seconds: u32| {
        let spec = json!({"headers": {"customResponseHeaders": {"X-A": value, "X-B": ""},
            "frameDeny": true, "stsSeconds": seconds, "stsPreload": true}});
        middleware("default", value, spec)
    };
    let all = [fields("one", 1), fields("two", 2)];
    let mut index = naming("default-one@kubernetescrd,default-two@kubernetescrd", &all);
    index.compile();
    let found = index.table().find(Some("a.example"), "/", &GET);
    let steps = found.expect("a rule").route.steps.clone().expect("steps");
    let shown = steps.response.iter().map(|step| match step {
        ResponseStep::SetField(field) => format!("{}: {:?}", field.name, field.value),
        ResponseStep::RemoveField(name) => format!("no {name}"),
        ResponseStep::Hsts { value, .. } => format!("{value:?}"),
        other => format!("{other:?}"),
    });
    let expected = [
        "\"max-age=1; preload\"",
        "x-frame-options: \"DENY\"",
        "x-a: \"two\"",
        "no x-b",
        "x-frame-options: \"DENY\"",
        "x-a: \"one\"",
        "no x-b",
    ];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
}

#[test]
fn chains_are_bounded() {
    let link = |name: &str, to: &[String]| {
        let names: Vec<Value> = to.iter().map(|name| json!({"name": name})).collect();
        middleware("default", name, json!({"chain": {"middlewares": names}}))
    };
    // Each level names the next one four times.
    let levels: Vec<Value> = (0..12)
        .map(|level| link(&format!("m{level}"), &vec![format!("m{}", level + 1); 4]))
        .collect();
    let mut index = naming("default-m0@kubernetescrd", &levels);
    assert!(outcome(&mut index).contains("not valid"));
    let found = findings(&index);
    assert!(found.len() < 1000, "{}", found.len());
    assert!(
        found[0].contains("there are too many chains around it"),
        "{}",
        found[0]
    );
}

#[test]
fn a_route_opens_and_closes_with_its_middleware() {
    let m = || {
        middleware(
            "default",
            "m",
            json!({"stripPrefix": {"prefixes": ["/foo"]}}),
        )
    };
    let mut index = naming("default-m@kubernetescrd", &[]);
    assert!(outcome(&mut index).contains("does not exist"));
    let missing = findings(&index);
    assert!(missing[0].starts_with("UnknownMiddleware"), "{missing:?}");

    index.apply(apply(m()));
    assert_eq!(outcome(&mut index), "/bar");
    assert_eq!(findings(&index), [""; 0]);

    let mut changed = m();
    changed["spec"] = json!({"addPrefix": {"prefix": "/x"}});
    index.apply(apply(changed));
    assert_eq!(outcome(&mut index), "/x/foo/bar");

    index.apply(Event::Reset(Kind::Middleware, Vec::new()));
    assert!(outcome(&mut index).contains("does not exist"));

    index.apply(Event::Refused(Kind::Middleware));
    outcome(&mut index);
    assert!(findings(&index)[0].contains("grant list and watch of"));
    index.apply(Event::Reset(Kind::Middleware, vec![object(m())]));
    assert_eq!(outcome(&mut index), "/bar");

    let mut other = m();
    other["metadata"]["name"] = "b".into();
    other["metadata"]["namespace"] = "default-m".into();
    index.apply(apply(other));
    assert_eq!(outcome(&mut index), "/bar");

    // `a-b` in `c` and `b` in `c-a` have the same name in annotations.
    let both = [("c", "a-b"), ("c-a", "b")];
    let both = both.map(|(namespace, name)| middleware(namespace, name, m()["spec"].clone()));
    let mut index = naming("c-a-b@kubernetescrd", &both);
    assert!(outcome(&mut index).contains("not valid"));
    let found = findings(&index);
    assert!(
        found[0].contains("it stands for c/a-b and for c-a/b"),
        "{found:?}"
    );
}

#[test]
fn the_owner_can_decide_to_serve_without_a_middleware() {
    let mut index = index();
    index.apply(apply(service("web")));
    let ingress = ingress("web", "a.example", "/", "web");
    let annotations = [
        (ANNOTATION, "default-gone@kubernetescrd"),
        ("gatelet.dev/unsupported-guards", "ignore"),
    ];
    index.apply(apply(annotated(ingress, &annotations)));
    assert_eq!(outcome(&mut index), "/foo/bar");
    let all = index.findings();
    let found = all
        .iter()
        .find(|one| one.reason == Reason::UnknownMiddleware);
    let found = found.expect("a finding");
    assert_eq!(found.severity, EventType::Normal);
    assert!(found.message.to_string().contains("are served without it"));
}
