//! Middlewares of a Service, alone and behind those of the Ingress.

use super::{Case, compare_placed};

const CASES: &[Case] = &[
    Case {
        middlewares: &[
            ("strip", "stripPrefix: {prefixes: [/foo]}"),
            ("add", "addPrefix: {prefix: /foo/api}"),
            ("again", "stripPrefix: {prefixes: [/foo/api/x]}"),
        ],
        named: &["strip", "add", "again"],
        requests: &[
            ("/foo/x/y", &[]),
            ("/foo/z?q", &[]),
            ("/x", &[]),
            ("/", &[]),
        ],
    },
    Case {
        middlewares: &[
            (
                "one",
                "headers: {customRequestHeaders: {X-A: one, X-B: one, X-C: ''}, \
                 customResponseHeaders: {X-R: one, X-S: one}}",
            ),
            (
                "two",
                "headers: {customRequestHeaders: {X-B: two, X-C: two}, customResponseHeaders: \
                 {X-R: two, X-T: two}, frameDeny: true}",
            ),
        ],
        named: &["one", "two"],
        requests: &[("/", &["-H", "X-C: client"]), ("/status/404", &[])],
    },
    Case {
        middlewares: &[
            ("strip", "stripPrefix: {prefixes: [/foo]}"),
            ("login", "basicAuth: {secret: users, headerField: X-User}"),
        ],
        named: &["strip", "login"],
        requests: &[
            ("/foo/x", &[]),
            ("/foo/x", &["-u", "bcrypt:secret"]),
            ("/foo/x", &["-u", "bcrypt:wrong"]),
        ],
    },
    Case {
        middlewares: &[
            ("open", "ipAllowList: {sourceRange: [127.0.0.0/8]}"),
            ("closed", "ipAllowList: {sourceRange: [192.0.2.0/24]}"),
        ],
        named: &["open", "closed"],
        requests: &[("/", &[])],
    },
    Case {
        middlewares: &[
            ("one", "addPrefix: {prefix: /foo}"),
            (
                "two",
                "redirectRegex: {regex: '^(.*)/foo/old(.*)', replacement: '$1/new$2'}",
            ),
        ],
        named: &["one", "two"],
        requests: &[("/old?x", &[]), ("/foo/old", &[]), ("/", &[])],
    },
    Case {
        middlewares: &[
            ("large", "buffering: {maxRequestBodyBytes: 6}"),
            ("small", "buffering: {maxRequestBodyBytes: 3}"),
        ],
        named: &["large", "small"],
        requests: &[
            ("/", &["-d", "123"]),
            ("/", &["-d", "1234"]),
            ("/", &["-d", "1234567"]),
        ],
    },
    Case {
        middlewares: &[
            (
                "pages",
                "errors: {status: ['401', '500'], service: {port: 80, name: pages}, query: /page}",
            ),
            ("login", "basicAuth: {secret: users}"),
        ],
        named: &["pages", "login"],
        requests: &[
            ("/", &[]),
            ("/", &["-u", "sha:secret"]),
            ("/status/500", &["-u", "sha:secret"]),
        ],
    },
    Case {
        // The request that looks whether the host is there is the first one.
        middlewares: &[
            ("strip", "stripPrefix: {prefixes: [/foo]}"),
            ("rate", "rateLimit: {average: 1, period: 1h, burst: 3}"),
        ],
        named: &["strip", "rate"],
        requests: &[("/foo/a", &[]), ("/b", &[]), ("/foo/c", &[]), ("/", &[])],
    },
];

#[test]
fn services_have_middlewares_as_in_traefik() {
    compare_placed(CASES, 0, "", &[]);
}

#[test]
fn those_of_the_service_come_behind_as_in_traefik() {
    compare_placed(CASES, 1, "", &[]);
}
