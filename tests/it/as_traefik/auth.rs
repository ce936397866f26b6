//! Decisions about who may come in.

use std::fmt::Write as _;

use super::{Case, Traefik, compare, compare_with, is_there, outcome};
use crate::{
    guards::external_auth::server::{AuthServer, Reply, response},
    support::{Backend, Gatelet, backend, backend::field, eventually},
};

#[test]
fn clients_come_in_as_with_traefik() {
    const LOGINS: &[(&str, &[&str])] = &[
        ("/", &[]),
        ("/", &["-u", "bcrypt:secret"]),
        ("/", &["-u", "apr1:secret"]),
        ("/", &["-u", "sha:secret"]),
        ("/", &["-u", "sha:other"]),
        ("/", &["-u", "nobody:secret"]),
        ("/", &["-H", "Authorization: Bearer x"]),
        ("/", &["-u", "sha:secret", "-H", "X-WebAuth-User: eve"]),
    ];
    compare(&[
        Case {
            middlewares: &[(
                "m",
                "ipAllowList: {sourceRange: [127.0.0.1/32, 192.168.1.7]}",
            )],
            named: &["m"],
            requests: &[("/", &[]), ("/", &["-H", "X-Forwarded-For: 192.0.2.1"])],
        },
        Case {
            middlewares: &[("m", "ipAllowList: {sourceRange: [10.0.0.0/8]}")],
            named: &["m"],
            requests: &[("/", &[]), ("/", &["-H", "X-Forwarded-For: 10.0.0.1"])],
        },
        Case {
            middlewares: &[(
                "m",
                "ipAllowList: {sourceRange: [10.0.0.0/8], rejectStatusCode: 418}",
            )],
            named: &["m"],
            requests: &[("/", &[])],
        },
        Case {
            middlewares: &[(
                "m",
                "ipAllowList: {sourceRange: [127.0.0.0/8], ipStrategy: {depth: 1}}",
            )],
            named: &["m"],
            requests: &[("/", &[]), ("/", &["-H", "X-Forwarded-For: 127.0.0.1"])],
        },
        Case {
            middlewares: &[("m", "basicAuth: {secret: users}")],
            named: &["m"],
            requests: LOGINS,
        },
        Case {
            middlewares: &[(
                "m",
                "basicAuth: {secret: users, removeHeader: true, realm: a b, headerField: \
                 X-WebAuth-User}",
            )],
            named: &["m"],
            requests: LOGINS,
        },
        Case {
            middlewares: &[
                ("strip", "stripPrefix: {prefixes: [/foo]}"),
                ("login", "basicAuth: {secret: users, removeHeader: true}"),
                ("https", "redirectScheme: {scheme: https}"),
            ],
            named: &["login", "strip", "https"],
            requests: &[("/foo/x", &[]), ("/foo/x", &["-u", "sha:secret"])],
        },
    ]);
}

/// Behind a trusted proxy the place in `X-Forwarded-For` counts.
#[test]
fn the_client_at_a_depth_is_that_of_traefik() {
    const REQUESTS: &[(&str, &[&str])] = &[
        ("/", &[]),
        ("/", &["-H", "X-Forwarded-For: 10.0.0.1"]),
        ("/", &["-H", "X-Forwarded-For: 10.0.0.1, 192.0.2.1"]),
        ("/", &["-H", "X-Forwarded-For: 192.0.2.1, 10.0.0.1"]),
        (
            "/",
            &["-H", "X-Forwarded-For: 192.0.2.1,10.0.0.1,192.0.2.2"],
        ),
        ("/", &["-H", "X-Forwarded-For: ,"]),
        ("/", &["-H", "X-Forwarded-For: unknown"]),
        (
            "/",
            &[
                "-H",
                "X-Forwarded-Proto: https",
                "-H",
                "X-Forwarded-For: 10.0.0.1",
            ],
        ),
    ];
    let first = Case {
        middlewares: &[(
            "m",
            "ipAllowList: {sourceRange: [10.0.0.0/8], ipStrategy: {depth: 1}}",
        )],
        named: &["m"],
        requests: REQUESTS,
    };
    let second = Case {
        middlewares: &[(
            "m",
            "ipAllowList: {sourceRange: [10.0.0.0/8], ipStrategy: {depth: 2}, \
             rejectStatusCode: 410}",
        )],
        named: &["m"],
        requests: REQUESTS,
    };
    let scheme = Case {
        middlewares: &[("m", "redirectScheme: {scheme: https}")],
        named: &["m"],
        requests: REQUESTS,
    };
    compare_with(
        &[first, second, scheme],
        "[proxy]\ntrusted_proxies = [\"127.0.0.1/32\"]\n",
        &["--entryPoints.web.forwardedHeaders.trustedIPs=127.0.0.1/32"],
    );
}

/// Returns the fields about a request that a server that checks logins looks at.
fn asked(head: &str) -> Vec<Option<String>> {
    let names = [
        "x-forwarded-method",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-uri",
        "x-forwarded-for",
        "x-forwarded-prefix",
        "content-type",
        "cookie",
        "authorization",
        "x-some",
        "x-other",
    ];
    let line = head.lines().next().map(str::to_owned);
    let fields = names.map(|name| field(head, name).map(str::to_owned));
    std::iter::once(line).chain(fields).collect()
}

/// The server of logins in specs.
const AUTH: &str = "http://AUTH";

#[test]
fn a_server_checks_logins_as_with_traefik() {
    const CASES: &[(&str, &[&str])] = &[
        ("forwardAuth: {address: 'http://AUTH/verify?a=b'}", &[]),
        (
            "forwardAuth: {address: 'http://AUTH', authResponseHeaders: [X-User, X-Group], \
             authRequestHeaders: [X-Some, Cookie]}",
            &[],
        ),
        (
            "forwardAuth: {address: 'http://AUTH/v', authResponseHeadersRegex: '^X-', \
             addAuthCookiesToResponse: [session], preserveRequestMethod: true, \
             trustForwardHeader: false}",
            &[
                "stripPrefix: {prefixes: [/foo]}",
                "headers: {customRequestHeaders: {X-Some: set}}",
            ],
        ),
        (
            "forwardAuth: {address: 'http://AUTH/v', authResponseHeaders: [X-Some]}",
            &["headers: {customRequestHeaders: {X-Some: set, X-Other: set}}"],
        ),
    ];
    let app = Backend::start("app");
    let ours = AuthServer::start(response(200, &[]));
    let theirs = AuthServer::start(response(200, &[]));

    let mut objects = backend::service("app", "") + &backend::slice("app", &[app.port]);
    objects += &ours.manifests();
    let (mut routers, mut middlewares) = (String::new(), String::new());
    for (number, (auth, before)) in CASES.iter().enumerate() {
        let (mut named, mut names) = (Vec::new(), Vec::new());
        for (at, spec) in before.iter().chain([auth]).enumerate() {
            let name = format!("m{number}-{at}");
            let spec_here = spec.replace(AUTH, "http://auth.default.svc.cluster.local");
            let _ = write!(
                objects,
                "apiVersion: traefik.io/v1alpha1\nkind: Middleware\nmetadata: {{name: {name}}}\n\
                 spec: {{{spec_here}}}\n---\n"
            );
            let there = spec.replace(AUTH, &format!("http://127.0.0.1:{}", theirs.port));
            let _ = writeln!(middlewares, "    {name}: {{{there}}}");
            named.push(format!("default-{name}@kubernetescrd"));
            names.push(name);
        }
        let _ = writeln!(
            routers,
            "    r{number}: {{rule: 'Host(`auth{number}.example`)', service: app, middlewares: \
             [{}]}}",
            names.join(", ")
        );
        let annotation = format!(
            "metadata:\n  name: r{number}\n  annotations:\n    \
             traefik.ingress.kubernetes.io/router.middlewares: {}",
            named.join(",")
        );
        let ingress = backend::ingress("app", &format!("auth{number}.example"), "");
        objects += &ingress.replace("metadata: {name: app}", &annotation);
    }
    let gatelet = Gatelet::start();
    gatelet.apply(&objects);
    let traefik = Traefik::start(
        &format!(
            "http:
  services:
    app: {{loadBalancer: {{servers: [{{url: 'http://127.0.0.1:{}'}}]}}}}
  routers:
{routers}  middlewares:
{middlewares}",
            app.port
        ),
        &[],
    );

    let fields = [
        ("WWW-Authenticate", "Bearer realm=\"told\""),
        ("Set-Cookie", "session=1; Path=/"),
        ("Set-Cookie", "other=2"),
        ("X-User", "ann"),
    ];
    let mut replies: Vec<Reply> = [200, 201, 204, 226, 400, 401, 403, 404, 429, 500, 503]
        .iter()
        .map(|status| response(*status, &fields))
        .collect();
    let there = [
        ("Location", "https://login.example/?rd=x"),
        ("X-User", "ann"),
    ];
    replies.push(response(302, &there));
    replies.push(response(200, &[("X-User", ""), ("X-Group", "a")]));

    let requests: &[(&str, &[&str])] = &[
        ("/", &[]),
        (
            "/foo/a?b=c",
            &[
                "-H",
                "X-User: eve",
                "-H",
                "X-Some: mine",
                "-H",
                "Cookie: a=b",
                "-u",
                "a:b",
            ],
        ),
        ("/foo/%C3%A4", &["-d", "body"]),
    ];
    for (number, case) in CASES.iter().enumerate() {
        ours.reply(response(200, &[]));
        theirs.reply(response(200, &[]));
        let host = format!("auth{number}.example");
        for port in [gatelet.http, traefik.port] {
            eventually("the host is there", || is_there(port, &host).then_some(()));
        }
        for reply in &replies {
            ours.reply(reply.clone());
            theirs.reply(reply.clone());
            for (path, arguments) in requests {
                let what = format!("{case:?}: {reply:?}: {path} {arguments:?}");
                let found = outcome(gatelet.http, &host, path, arguments);
                assert_eq!(
                    found,
                    outcome(traefik.port, &host, path, arguments),
                    "{what}"
                );
                assert_eq!(asked(&ours.last()), asked(&theirs.last()), "{what}");
            }
        }
    }
}
