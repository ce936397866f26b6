//! Pages in place of errors.

use super::{Case, compare};

const REQUESTS: &[(&str, &[&str])] = &[
    ("/", &[]),
    ("/status/404", &[]),
    (
        "/status/404?a=b%20c&d",
        &["-H", "X-Some: thing", "-H", "Cookie: a=b"],
    ),
    ("/status/418", &["-H", "If-None-Match: x"]),
    ("/status/500", &["-X", "POST", "-d", "body"]),
    ("/status/503", &["-X", "DELETE"]),
    ("/status/599", &["-X", "PUT", "-d", ""]),
    ("/status/204", &[]),
    ("/status/304", &[]),
];

#[test]
fn pages_are_those_of_traefik() {
    compare(&[
        Case {
            middlewares: &[(
                "m",
                "errors: {status: ['404', '500-503'], service: {port: 80, name: pages}, query: \
                 '/page/{status}?of={url}&was={originalStatus}'}",
            )],
            named: &["m"],
            requests: REQUESTS,
        },
        Case {
            middlewares: &[(
                "m",
                "errors: {status: ['400-599'], service: {port: 80, name: pages}, query: \
                 '{status}.html', statusRewrites: {'418': 404, '500-503': 500}}",
            )],
            named: &["m"],
            requests: REQUESTS,
        },
        // The page has no body, is an error itself, or is `/`.
        Case {
            middlewares: &[(
                "m",
                "errors: {status: ['404'], service: {port: 80, name: pages}, query: /status/204}",
            )],
            named: &["m"],
            requests: &[("/status/404", &[])],
        },
        Case {
            middlewares: &[(
                "m",
                "errors: {status: ['404'], service: {port: 80, name: pages}, query: /status/500}",
            )],
            named: &["m"],
            requests: &[("/status/404", &[])],
        },
        Case {
            middlewares: &[(
                "m",
                "errors: {status: ['404'], service: {port: 80, name: pages}}",
            )],
            named: &["m"],
            requests: &[("/status/404?a=b", &[])],
        },
    ]);
}

#[test]
fn pages_among_other_middlewares_are_those_of_traefik() {
    const PAGES: &str = "errors: {status: ['401', '404'], service: {port: 80, name: pages}, query: \
                         '/page/{status}?of={url}'}";
    const OTHER: &str = "errors: {status: ['404', '500'], service: {port: 80, name: pages}, query: \
                         '/other/{status}?of={url}'}";
    const STRIP: (&str, &str) = ("strip", "stripPrefix: {prefixes: [/foo]}");
    const SET: (&str, &str) = (
        "set",
        "headers: {customRequestHeaders: {X-Set: there, Host: other.example}}",
    );
    const LOGIN: (&str, &str) = ("login", "basicAuth: {secret: users}");
    compare(&[
        Case {
            middlewares: &[("m", PAGES), STRIP, SET],
            named: &["strip", "set", "m"],
            requests: &[("/foo/status/404?x", &[]), ("/foo/status/500", &[])],
        },
        // Errors of those behind it are replaced, and not those of others.
        Case {
            middlewares: &[("m", PAGES), LOGIN],
            named: &["m", "login"],
            requests: &[
                ("/", &[]),
                ("/status/404", &["-u", "sha:secret"]),
                ("/", &["-u", "sha:wrong", "-X", "POST", "-d", "body"]),
            ],
        },
        Case {
            middlewares: &[("m", PAGES), LOGIN],
            named: &["login", "m"],
            requests: &[("/", &[]), ("/status/404", &["-u", "sha:secret"])],
        },
        // The inner ones look at a response first.
        Case {
            middlewares: &[("m", PAGES), ("other", OTHER)],
            named: &["m", "other"],
            requests: &[("/status/404", &[]), ("/status/500", &[])],
        },
        Case {
            middlewares: &[
                (
                    "outer",
                    "errors: {status: ['500'], service: {port: 80, name: pages}, query: /outer}",
                ),
                (
                    "inner",
                    "errors: {status: ['404'], service: {port: 80, name: pages}, query: /inner, \
                     statusRewrites: {'404': 500}}",
                ),
            ],
            named: &["outer", "inner"],
            requests: &[("/status/404", &[]), ("/status/500", &[])],
        },
    ]);
}
