//! Paths, redirects and fields.

use super::{Case, compare};

#[test]
fn paths_are_those_of_traefik() {
    compare(&[
        Case {
            middlewares: &[("m", "stripPrefix: {prefixes: [/foo, /bar, '/a b']}")],
            named: &["m"],
            requests: &[
                ("/foo", &[]),
                ("/foo/", &[]),
                ("/foo/x?y=/foo", &[]),
                ("/foobar", &[]),
                ("/bar/foo/x", &[]),
                ("/a%20b/c%20d", &[]),
                ("/%66oo/x", &[]),
                ("/foo/%C3%A4?q=%20", &[]),
                ("//foo//x", &[]),
                ("/foo/./x/../y", &[]),
                ("/foo..", &[]),
                ("/other", &[]),
                ("/", &[]),
                ("/foo/x", &["-H", "X-Forwarded-Prefix: /mine"]),
            ],
        },
        Case {
            middlewares: &[(
                "m",
                "stripPrefixRegex: {regex: ['^/foo/[a-z0-9]+/', '/bar']}",
            )],
            named: &["m"],
            requests: &[
                ("/foo/ab1/x", &[]),
                ("/foo/ab1", &[]),
                ("/bar/x", &[]),
                ("/x/bar", &[]),
                ("/foo/a%20b/x", &[]),
            ],
        },
        Case {
            middlewares: &[("m", "addPrefix: {prefix: /api}")],
            named: &["m"],
            requests: &[("/", &[]), ("/x%20y?z", &[])],
        },
        Case {
            middlewares: &[("m", "replacePath: {path: /new}")],
            named: &["m"],
            requests: &[("/old/%C3%A4?q", &[]), ("/", &[])],
        },
        Case {
            middlewares: &[(
                "m",
                "replacePathRegex: {regex: '^/api/(.*)/(\\d+)', replacement: '/v1/$2/${1}x'}",
            )],
            named: &["m"],
            requests: &[
                ("/api/a/b/12/c?d=e", &[]),
                ("/api/a%20b/1", &[]),
                ("/other", &[]),
            ],
        },
        Case {
            middlewares: &[
                ("strip", "stripPrefix: {prefixes: [/foo]}"),
                ("add", "addPrefix: {prefix: /bar}"),
                (
                    "chain",
                    "chain: {middlewares: [{name: strip}, {name: add}]}",
                ),
                ("again", "stripPrefix: {prefixes: [/bar/x]}"),
            ],
            named: &["chain", "again"],
            requests: &[("/foo/x/y", &[]), ("/foo/z", &[]), ("/y", &[])],
        },
    ]);
}

#[test]
fn redirects_are_those_of_traefik() {
    compare(&[
        Case {
            middlewares: &[("m", "redirectScheme: {scheme: https, permanent: true}")],
            named: &["m"],
            requests: &[
                ("/a?b=c", &[]),
                ("/", &["-X", "POST"]),
                ("/", &["-I"]),
                ("/%C3%A4//x", &[]),
            ],
        },
        Case {
            middlewares: &[("m", "redirectScheme: {scheme: https, port: '8443'}")],
            named: &["m"],
            requests: &[("/a?b=c", &[]), ("/", &["-X", "DELETE"])],
        },
        Case {
            middlewares: &[("m", "redirectScheme: {scheme: http}")],
            named: &["m"],
            requests: &[("/a?b=c", &[])],
        },
        Case {
            middlewares: &[
                ("strip", "stripPrefix: {prefixes: [/foo]}"),
                (
                    "m",
                    "redirectRegex: {regex: '^http://([^/]+)/old/(.*)', replacement: \
                     'https://new.$1/$2'}",
                ),
            ],
            named: &["strip", "m"],
            requests: &[
                ("/old/a?b=c", &[]),
                ("/foo/old/a", &[]),
                ("/new", &[]),
                ("/old/", &["-X", "PUT"]),
            ],
        },
        Case {
            middlewares: &[
                (
                    "m",
                    "redirectRegex: {regex: '/x$', replacement: '/y', permanent: true}",
                ),
                ("strip", "stripPrefix: {prefixes: [/foo]}"),
            ],
            named: &["m", "strip"],
            requests: &[("/foo/x", &[]), ("/foo/z", &[])],
        },
    ]);
}

#[test]
fn fields_are_those_of_traefik() {
    const PREFLIGHT: &[&str] = &[
        "-X",
        "OPTIONS",
        "-H",
        "Origin: https://a.example",
        "-H",
        "Access-Control-Request-Method: PUT",
        "-H",
        "Access-Control-Request-Headers: x-a,x-b",
    ];
    const ORIGIN: &[&str] = &["-H", "Origin: https://a.example"];
    const OTHER: &[&str] = &["-H", "Origin: https://b.example"];
    const CORS: &[(&str, &[&str])] = &[
        ("/", PREFLIGHT),
        ("/", ORIGIN),
        ("/", OTHER),
        ("/", &[]),
        ("/", &["-X", "OPTIONS"]),
        ("/", &["-X", "OPTIONS", "-H", "Origin: https://a.example"]),
    ];
    compare(&[
        Case {
            middlewares: &[(
                "m",
                "headers: {customRequestHeaders: {X-Script-Name: test, X-Gone: '', Accept: \
                 text/x, Host: inside.example}, customResponseHeaders: {X-Custom: value, \
                 X-Gone: ''}}",
            )],
            named: &["m"],
            requests: &[
                ("/", &[]),
                (
                    "/",
                    &[
                        "-H",
                        "x-script-name: a",
                        "-H",
                        "X-Gone: b",
                        "-H",
                        "X_Other: c",
                    ],
                ),
            ],
        },
        Case {
            middlewares: &[(
                "m",
                "headers: {frameDeny: true, contentTypeNosniff: true, browserXssFilter: true, \
                 contentSecurityPolicy: \"default-src 'self'\", referrerPolicy: no-referrer, \
                 permissionsPolicy: 'camera=()', contentSecurityPolicyReportOnly: 'a b', \
                 stsSeconds: 600}",
            )],
            named: &["m"],
            requests: &[("/", &[]), ("/status/404", &[])],
        },
        Case {
            middlewares: &[
                (
                    "outer",
                    "headers: {customFrameOptionsValue: SAMEORIGIN, customResponseHeaders: \
                     {X-A: outer}, customRequestHeaders: {X-R: outer}}",
                ),
                (
                    "inner",
                    "headers: {frameDeny: true, customBrowserXSSValue: '0', \
                     customResponseHeaders: {X-A: inner, X-B: inner}, customRequestHeaders: \
                     {X-R: inner}}",
                ),
                ("gone", "headers: {customRequestHeaders: {X-R: ''}}"),
                ("back", "headers: {customRequestHeaders: {X-R: back}}"),
            ],
            named: &["outer", "inner"],
            requests: &[("/", &[])],
        },
        Case {
            middlewares: &[
                ("set", "headers: {customRequestHeaders: {X-R: a}}"),
                ("gone", "headers: {customRequestHeaders: {X-R: ''}}"),
            ],
            named: &["set", "gone"],
            requests: &[("/", &[]), ("/", &["-H", "X-R: mine"])],
        },
        Case {
            middlewares: &[
                ("gone", "headers: {customRequestHeaders: {X-R: ''}}"),
                ("set", "headers: {customRequestHeaders: {X-R: a}}"),
            ],
            named: &["gone", "set"],
            requests: &[("/", &[]), ("/", &["-H", "X-R: mine"])],
        },
        Case {
            middlewares: &[(
                "m",
                "headers: {accessControlAllowMethods: [GET, PUT], accessControlAllowHeaders: \
                 ['X-A', 'X-B'], accessControlAllowOriginList: ['https://a.example'], \
                 accessControlMaxAge: 100, addVaryHeader: true}",
            )],
            named: &["m"],
            requests: CORS,
        },
        Case {
            middlewares: &[(
                "m",
                "headers: {accessControlAllowMethods: ['*'], accessControlAllowHeaders: ['*'], \
                 accessControlAllowOriginList: ['*'], accessControlAllowCredentials: true, \
                 accessControlExposeHeaders: [X-C]}",
            )],
            named: &["m"],
            requests: CORS,
        },
        Case {
            middlewares: &[(
                "m",
                "headers: {accessControlAllowOriginListRegex: ['^https://[ac].example$'], \
                 accessControlExposeHeaders: ['*']}",
            )],
            named: &["m"],
            requests: CORS,
        },
    ]);
}

#[test]
fn encoded_characters_are_refused_as_by_traefik() {
    const ALL: &[(&str, &[&str])] = &[
        ("/plain;x/y", &[]),
        ("/a%2Fb", &[]),
        ("/a%5Cb", &[]),
        ("/a%3Bb", &[]),
        ("/a%25b", &[]),
        ("/a%3Fb?c%2Fd", &[]),
        ("/a%23b", &[]),
        ("/a%00b", &[]),
        ("/%C3%A4%20b", &[]),
        ("/foo/x%2Fy", &[]),
    ];
    compare(&[
        Case {
            middlewares: &[("m", "encodedCharacters: {allowEncodedSlash: false}")],
            named: &["m"],
            requests: ALL,
        },
        Case {
            middlewares: &[("m", "encodedCharacters: {allowEncodedSlash: false}")],
            named: &["m"],
            requests: &[("/a%2fb", &[]), ("/a%5cb", &[]), ("/a%3bb", &[])],
        },
        Case {
            middlewares: &[(
                "m",
                "encodedCharacters: {allowEncodedSlash: true, allowEncodedPercent: true, \
                 allowEncodedHash: true}",
            )],
            named: &["m"],
            requests: ALL,
        },
        Case {
            middlewares: &[(
                "m",
                "encodedCharacters: {allowEncodedBackSlash: true, allowEncodedSemicolon: true, \
                 allowEncodedQuestionMark: true}",
            )],
            named: &["m"],
            requests: ALL,
        },
        // The path is as those before it have left it.
        Case {
            middlewares: &[
                ("strip", "stripPrefixRegex: {regex: ['^/foo/x%2F']}"),
                ("m", "encodedCharacters: {allowEncodedSlash: false}"),
            ],
            named: &["strip", "m"],
            requests: &[("/other%2Fx", &[]), ("/other", &[])],
        },
    ]);
}
