//! The table of annotations: every row is walked, and is what the page says.

use std::{fmt::Write, time::Duration};

use super::{
    super::{
        annotations,
        peers::{GUARD_WORDS, Meaning, PEERS, Peer, Scope},
    },
    *,
};

/// Returns the settings that a value of an annotation makes, and the reasons of its findings.
fn read(name: &str, value: &str) -> (String, Vec<&'static str>) {
    let mut annotated = annotations::read(&[(name.into(), value.into())]);
    let reasons = std::mem::take(&mut annotated.findings)
        .iter()
        .map(|one| one.reason.as_str())
        .collect();
    (format!("{annotated:?}"), reasons)
}

/// For each row: values that set something, that are taken without an effect, and that make no
/// sense.
const VALUES: &[(&str, &[&str], &[&str], &[&str])] = &[
    (
        "router.middlewares",
        &["default-auth@kubernetescrd"],
        &[""],
        &[],
    ),
    (
        "ssl-redirect",
        &[
            "true", "True", "TRUE", "t", "T", "1", "false", "False", "FALSE", "f", "F", "0",
        ],
        &[],
        &["", "maybe", "tRue", "yes", "on", "01"],
    ),
    (
        "force-ssl-redirect",
        &["true", " true ", "1"],
        &["false", "0"],
        &["", "2"],
    ),
    (
        "backend-protocol",
        &[
            "HTTP",
            "https",
            "GRPC",
            "GRPCS",
            "AUTO_HTTP",
            "h1",
            "h1-ssl",
            "h2",
            "h2-ssl",
        ],
        &[],
        &["", "FCGI"],
    ),
    ("ingress.allow-http", &["false"], &["true"], &["", "maybe"]),
    ("issuer", &["lab", "lab,letsencrypt"], &[], &[""]),
    ("cluster-issuer", &["lab"], &[], &["", " "]),
    ("tls-acme", &["true", "T"], &["false", "F"], &["", "yes"]),
    (
        "common-name",
        &["a.example", "*.a.example"],
        &[],
        &["", "a b", "a.example/"],
    ),
    (
        "ip-sans",
        &["192.0.2.1", "192.0.2.1, 2001:db8::1"],
        &[],
        &["", "192.0.2", "192.0.2.1,", "a.example"],
    ),
    (
        "duration",
        &["2160h", "1h30m", "1.5h", "90m0.5s", "10ms", "5us", "5µs"],
        &[],
        &[
            "",
            "0s",
            "90",
            "90d",
            "h",
            "-1h",
            "1h 30m",
            ".h",
            "1..5h",
            "9999999999h",
            "1e3h",
            "NaNs",
        ],
    ),
    ("renew-before", &["720h"], &[], &["", "33%", "0"]),
    ("ssl-passthrough", &["true"], &["false"], &["", "yes", "on"]),
    (
        "ssl-passthrough-http-port",
        &["80", "65535"],
        &[],
        &["", "0", "65536", "http"],
    ),
    (
        "renew-before-percentage",
        &["1", "33", "99"],
        &[],
        &["", "0", "100", "33%", "-1", "1.5"],
    ),
    (
        "key-type",
        &["p256", "P384", "rsa2048", "RSA3072", "rsa4096"],
        &[],
        &["", "rsa", "rsa1024", "rsa8192"],
    ),
    (
        "private-key-size",
        &["256", "384", "2048", "3072", "4096"],
        &[],
        &["", "0", "255", "P256", "1024"],
    ),
    (
        "private-key-algorithm",
        &["ECDSA", "RSA"],
        &[],
        &["", "DSA"],
    ),
    (
        "private-key-rotation-policy",
        &["Never"],
        &["Always"],
        &["", "never"],
    ),
    (
        "private-key-encoding",
        &[],
        &["PKCS1", "PKCS8"],
        &["", "DER"],
    ),
    ("issuer-kind", &[], &["ClusterIssuer", ""], &[]),
    ("issuer-group", &[], &["cert-manager.io"], &[]),
    ("usages", &[], &["server auth"], &[]),
    ("subject-*", &[], &["Example"], &[]),
    ("revision-history-limit", &[], &["1"], &[]),
    ("secret-template", &[], &["{\"labels\": {}}"], &[]),
    ("issue-temporary-certificate", &[], &["true"], &[]),
    ("*", &[], &["true"], &[]),
    ("affinity", &["cookie"], &[], &["", "ip"]),
    (
        "affinity-mode",
        &["persistent"],
        &["balanced"],
        &["", "other"],
    ),
    ("affinity-canary-behavior", &["legacy"], &["sticky"], &[""]),
    (
        "session-cookie-name",
        &["route"],
        &[],
        &["", "a b", "a=b", "a;b"],
    ),
    (
        "session-cookie-path",
        &["/", "/a"],
        &[],
        &["", "a", "/a;b", "/é"],
    ),
    (
        "session-cookie-domain",
        &["a.example", ".a.example"],
        &[],
        &["", "a b"],
    ),
    (
        "session-cookie-max-age",
        &["0", "3600"],
        &[],
        &["", "-1", "1h"],
    ),
    (
        "session-cookie-expires",
        &["3600"],
        &[],
        &["", "99999999999"],
    ),
    (
        "session-cookie-samesite",
        &["None", "lax", "Strict"],
        &[],
        &["", "x"],
    ),
    ("session-cookie-secure", &["true", "false"], &[], &["", "x"]),
    (
        "session-cookie-change-on-failure",
        &["true"],
        &["false"],
        &["", "x"],
    ),
    ("cookie-persistence", &["route"], &[], &["", "a;b"]),
    ("service.sticky.cookie", &["true", "false"], &[], &["", "x"]),
    ("service.sticky.cookie.name", &["route"], &[], &["", "a;b"]),
    (
        "service.sticky.cookie.secure",
        &["true", "false"],
        &[],
        &["", "x"],
    ),
    (
        "service.sticky.cookie.httponly",
        &["false"],
        &["true"],
        &["", "x"],
    ),
    (
        "service.sticky.cookie.samesite",
        &["none", "lax"],
        &[],
        &["", "x"],
    ),
    (
        "service.sticky.cookie.domain",
        &["a.example"],
        &[],
        &["", "a b"],
    ),
    ("service.sticky.cookie.path", &["/a"], &[], &["", "a"]),
    ("service.sticky.cookie.maxage", &["3600"], &[], &["", "-1"]),
    (
        "upstream-hash-by",
        &["$request_uri", "$http_a-$cookie_b"],
        &[""],
        &["$unknown", "$"],
    ),
    ("upstream-hash-by-subset", &["true"], &["false"], &["", "x"]),
    (
        "upstream-hash-by-subset-size",
        &["1", "5"],
        &[],
        &["", "0", "x"],
    ),
    ("load-balance", &[], &[], &["", "x"]),
    (
        "balance-algorithm",
        &["leastconn", "roundrobin"],
        &[],
        &["", "uri"],
    ),
    ("limit-rps", &["10"], &[], &["", "-1", "ten"]),
    ("limit-rpm", &["10"], &[], &["", "-1", "1.5"]),
    ("limit-burst-multiplier", &["3"], &[], &["", "0", "-1"]),
    ("limit-connections", &["3"], &[], &["", "-1"]),
    ("limit-allowlist", ADDRESSES, &[], NO_ADDRESSES),
    ("limit-whitelist", ADDRESSES, &[], NO_ADDRESSES),
    ("limit-rate", &["10"], &["0"], &["", "10k"]),
    ("limit-rate-after", &["10"], &["0"], &["", "10k"]),
    ("rate-limit-requests", &["10"], &[], &["", "-1", "ten"]),
    ("rate-limit-period", &["10s", "500"], &[], &["", "x", "5ms"]),
    ("rate-limit-status-code", &["429"], &[], &["", "200", "x"]),
    ("rate-limit-whitelist", ADDRESSES, &[], NO_ADDRESSES),
    ("rate-limit-size", &[], &["100k"], &[]),
    ("canary", &["true", "1"], &["false"], &[]),
    ("canary-by-header", &["X-Canary"], &[""], &["x y", "é"]),
    ("canary-by-header-value", &["eu"], &[""], &[]),
    ("canary-by-header-pattern", &["^a|b"], &[""], &[]),
    ("canary-by-cookie", &["c"], &[""], &["a b", "a=b", "a;b"]),
    (
        "canary-weight",
        &["10", "0"],
        &[],
        &["", "-1", "ten", "1.5"],
    ),
    ("canary-weight-total", &["1000"], &[], &["", "-1"]),
    ("allowlist-source-range", ADDRESSES, &[], NO_ADDRESSES),
    ("whitelist-source-range", ADDRESSES, &[], NO_ADDRESSES),
    ("denylist-source-range", ADDRESSES, &[], NO_ADDRESSES),
    ("allow-list", ADDRESSES, &[""], NO_ADDRESSES),
    ("whitelist", ADDRESSES, &[""], NO_ADDRESSES),
    ("deny-list", ADDRESSES, &[""], NO_ADDRESSES),
    ("blacklist", ADDRESSES, &[""], NO_ADDRESSES),
    ("auth-type", &["basic"], &[], &[]),
    ("auth-secret", &["users"], &[], &[]),
    ("auth-secret-type", &["auth-file", "auth-map"], &[], &["x"]),
    ("auth-realm", &["Members \"only\"", "off"], &[], &["a\nb"]),
    (
        "proxy-connect-timeout",
        &["1", "5"],
        &[],
        &["", "0", "5s", "-1", "1.5", "99999999999"],
    ),
    (
        "proxy-read-timeout",
        &["60", "3600"],
        &[],
        &["", "0", "60s"],
    ),
    ("proxy-send-timeout", &["60"], &[], &["", "0"]),
    (
        "proxy-body-size",
        &["8m", "0", "1024", "512K", "1g", "5b"],
        &[],
        &["", "m", "8mb", "1.5m", "-1", "99999999999g", "+5m"],
    ),
    (
        "proxy-next-upstream",
        &["off"],
        &["error timeout"],
        &["", "always", "off,error"],
    ),
    (
        "proxy-next-upstream-tries",
        &["0", "1", "16"],
        &[],
        &["", "17", "x"],
    ),
    ("proxy-next-upstream-timeout", &["5"], &["0"], &["", "x"]),
    ("enable-access-log", &["false"], &["true"], &["", "yes"]),
    ("permanent-redirect", LOCATIONS, &[""], NO_LOCATIONS),
    ("temporal-redirect", LOCATIONS, &[""], NO_LOCATIONS),
    (
        "permanent-redirect-code",
        &["300", "308"],
        &[],
        &["", "200", "309"],
    ),
    (
        "temporal-redirect-code",
        &["300", "307"],
        &[],
        &["", "200", "308"],
    ),
    (
        "server-alias",
        &["b.example", "b.example, *.c.example"],
        &[""],
        &["b.example/", "~^b$"],
    ),
    ("from-to-www-redirect", &["true"], &["false"], &["", "yes"]),
    ("relative-redirects", &["true"], &["false"], &["", "yes"]),
    ("preserve-trailing-slash", &[], &["true"], &["", "yes"]),
    ("use-port-in-redirects", &[], &["true"], &["", "yes"]),
    (
        "request-set-header",
        &["X-A one", "X-A \"one two\"\nX-B three"],
        &["", "\n"],
        &[
            "X-A",
            "Host b.example",
            "X-A %[src]",
            "X:A one",
            "Te trailers",
        ],
    ),
    ("service-upstream", &["true"], &["false"], &["", "yes"]),
    ("enable-global-auth", &["true"], &["false"], &["", "yes"]),
    ("custom-headers", &["fields", "a/fields"], &[""], &[]),
    (
        "response-set-header",
        &["X-A one"],
        &[""],
        &["X-A", "Content-Length 1", "X-A one\\"],
    ),
    (
        "headers",
        &["X-A: one"],
        &[""],
        &["X-A one", "Connection: close"],
    ),
    ("set-host", &["inside.example"], &[], &["", "a b"]),
    (
        "proxy-cookie-domain",
        &["a.example b.example"],
        &["off"],
        &["", "a.example", "~a b", "a b c"],
    ),
    (
        "proxy-cookie-path",
        &["/a/ /"],
        &["off"],
        &["", "/a", "/a $b"],
    ),
    (
        "proxy-redirect-from",
        &["/a", "http://a.example/"],
        &["off", "default"],
        &["", "~^a", "/a b", "$uri"],
    ),
    (
        "proxy-redirect-to",
        &["/b", "$scheme://$host/"],
        &["off"],
        &["", "~a"],
    ),
    ("hsts", &["true", "false"], &[], &["", "yes"]),
    ("hsts-max-age", &["300"], &[], &["", "-1"]),
    (
        "hsts-include-subdomains",
        &["true"],
        &["false"],
        &["", "yes"],
    ),
    ("hsts-preload", &["true"], &["false"], &["", "yes"]),
    ("use-regex", &["true", "1"], &["false"], &["", "maybe"]),
    (
        "rewrite-target",
        &["/", "/$2", "/$1?a=b", "https://b.example/$1", "app", "$1"],
        &[""],
        &["/$0", "/$uri", "/a b", "/\u{e4}"],
    ),
    (
        "haproxy-ingress.github.io/rewrite-target",
        &["/", "/y/z"],
        &[""],
        &["y", "/y?a", "/../y", "/\u{e4}", "https://b.example/"],
    ),
    ("x-forwarded-prefix", &["/app", "true"], &[""], &["\u{7}"]),
    (
        "app-root",
        &["/app", "/app?a"],
        &[],
        &["", "/", "app", "//b.example/", "https://b.example/"],
    ),
    (
        "upstream-vhost",
        &["inside.example", "inside.example:8080"],
        &[],
        &["", "a b", "$host", "a/b"],
    ),
    ("proxy-ssl-secret", &["tls", "default/tls"], &[""], &[]),
    ("ssl-ciphers", &[], &["DEFAULT", "HIGH:!aNULL"], &["", "$x"]),
    ("ssl-prefer-server-ciphers", &[], &["true"], &["", "on"]),
    (
        "ssl-ciphers-backend",
        &["DEFAULT", "AES128"],
        &[],
        &["", "$x"],
    ),
    ("secure-backends", &["true", "false"], &[], &["", "yes"]),
    ("grpc-backend", &["true"], &["false"], &["", "yes"]),
    ("secure-crt-secret", &["tls", "default/tls"], &[""], &[]),
    ("secure-verify-ca-secret", &["ca", "default/ca"], &[""], &[]),
    (
        "secure-sni",
        &["a.example", "host", "sni"],
        &[],
        &["", "a b"],
    ),
    ("secure-verify-hostname", &["a.example"], &[], &["", "a b"]),
    ("server-ssl", &["true", "false"], &[], &["", "yes"]),
    ("server-proto", &["h2"], &[], &["", "fcgi"]),
    ("server-ca", &["default/ca"], &[""], &[]),
    ("server-crt", &["default/tls"], &[""], &[]),
    (
        "service.serversscheme",
        &["http", "https", "h2c"],
        &[],
        &["", "grpc"],
    ),
    ("service.nativelb", &["true"], &["false"], &["", "yes"]),
    (
        "router.observability.accesslogs",
        &["false"],
        &["true"],
        &["", "no"],
    ),
    ("proxy-ssl-verify", &["on"], &["off"], &[]),
    (
        "proxy-ssl-verify-depth",
        &["1", "9"],
        &[],
        &["", "x", "101", "-1"],
    ),
    ("proxy-ssl-server-name", &["off"], &["on"], &["", "yes"]),
    (
        "proxy-ssl-protocols",
        &["TLSv1.2", "TLSv1.3", "TLSv1 TLSv1.1 TLSv1.2"],
        &["TLSv1.2 TLSv1.3"],
        &["", "TLSv1.1", "SSLv3 TLSv1", "TLSv1.4", "TLSv1.2,TLSv1.3"],
    ),
    (
        "proxy-ssl-ciphers",
        &["DEFAULT", "ECDHE-RSA-AES128-GCM-SHA256", "AES128:!aNULL"],
        &[],
        &["", "$x"],
    ),
    (
        "proxy-ssl-name",
        &["a.example"],
        &[],
        &["", "a b", "*.a.example"],
    ),
    ("enable-cors", &["true"], &["false"], &["", "on"]),
    (
        "cors-allow-origin",
        &["*", "https://a.example, https://*.b.example"],
        &[],
        &[],
    ),
    (
        "cors-allow-methods",
        &["GET, PUT", "*"],
        &[],
        &["", "GET,", "a b"],
    ),
    ("cors-allow-headers", &["X-A,X_B"], &[], &["", "a:b"]),
    ("cors-expose-headers", &["*, X-A"], &[], &["", "a\nb"]),
    ("cors-allow-credentials", &["true", "false"], &[], &[]),
    ("cors-max-age", &["0", "600"], &[], &["", "-1", "1h"]),
    ("satisfy", &["any"], &[], &["", "Any", "none"]),
    (
        "custom-http-errors",
        &["404, 503"],
        &[""],
        &["200", "x", ","],
    ),
    (
        "path-rewrite",
        &["/x", "/a/(.*) /b/\\1", "/a /b\n^/c /d"],
        &[""],
        &[
            "x",
            "a b c",
            "( /x",
            "(?=a) /x",
            "/a /%[src]",
            "/a /\\x",
            "/a /b?c",
        ],
    ),
    ("default-backend", &["pages"], &[""], &[]),
    (
        "mirror-target",
        &["http://m.example$request_uri", "svc://a:80"],
        &[""],
        &["m.example", "https://$host/x", "http://m.example/$unknown"],
    ),
    ("mirror-request-body", &["off"], &["on"], &["", "false"]),
    ("mirror-host", &["m.example", "$host"], &[""], &["$unknown"]),
    (
        "disable-proxy-intercept-errors",
        &["true"],
        &["false"],
        &["", "x"],
    ),
    (
        "auth-url",
        &[
            "http://auth.example/x?y=$host",
            "svc://a:80",
            "https://$host/x",
        ],
        &[""],
        &["basic", "http://$arg_x/", "http://auth.example/$unknown"],
    ),
    ("auth-tls-secret", &["ca", "default/ca"], &[], &[]),
    (
        "auth-tls-verify-client",
        &["on", "off", "optional", "optional_no_ca"],
        &[],
        &["true", "ON", "optional,on"],
    ),
    (
        "auth-tls-verify-depth",
        &["0", "1", "100"],
        &[],
        &["-1", "101", "x"],
    ),
    (
        "auth-tls-error-page",
        &["https://a.example/error?x=y"],
        &[],
        &["/error", "@named", "https://a b/", "javascript:x"],
    ),
    (
        "auth-tls-pass-certificate-to-upstream",
        &["true", "false"],
        &[],
        &["on", ""],
    ),
    (
        "auth-tls-match-cn",
        &["CN=ann", "CN=(ann|bob),O=shop"],
        &[],
        &["ann", "CN=(", "CN=(?=a)", "cn=ann"],
    ),
    ("auth-tls-cert-header", &["true", "false"], &[], &["on", ""]),
    ("auth-tls-strict", &[], &["true", "x"], &[]),
    (
        "auth-signin",
        &["/x?y=$host", "https://a/"],
        &[],
        &["x", "//x"],
    ),
    ("auth-signin-redirect-param", &["to"], &[], &["a b", "a=b"]),
    (
        "auth-method",
        &["POST", "*"],
        &[],
        &["post", "CONNECT", "x"],
    ),
    ("auth-response-headers", &["X-A,X_B", "X-*"], &[], NO_NAMES),
    (
        "auth-request-redirect",
        &["$request_uri"],
        &[],
        &["$x", "a\nb"],
    ),
    (
        "auth-proxy-set-headers",
        &["fields", "a/fields"],
        &[""],
        &[],
    ),
    ("auth-cache-key", &["$cookie_a$host"], &[], &["$x"]),
    (
        "auth-cache-duration",
        &["200 202 10m, 401 5m"],
        &[],
        &["5", ","],
    ),
    ("auth-always-set-cookie", &["true"], &[], &["", "on"]),
    ("auth-keepalive", &[], &["", "8"], &[]),
    ("auth-keepalive-requests", &[], &["8"], &[]),
    ("auth-keepalive-timeout", &[], &["8"], &[]),
    ("auth-keepalive-share-vars", &[], &["true"], &[]),
    ("auth-headers-request", &["*", "-", "Cookie"], &[], &["a b"]),
    ("auth-headers-succeed", &["*", "X-User-*"], &[], NO_NAMES),
    ("auth-headers-fail", &["*", "Location"], &[], &["a b"]),
    ("auth-external-placement", &[], &["frontend"], &[]),
    ("proxy-request-buffering", &[], &["on", "off"], &[]),
    ("proxy-buffering", &[], &["on", "off"], &[]),
    ("proxy-buffer-size", &[], &["16k"], &[]),
    ("proxy-buffers-number", &[], &["8"], &[]),
    ("proxy-busy-buffers-size", &[], &["32k"], &[]),
    ("proxy-max-temp-file-size", &[], &["0"], &[]),
    ("client-body-buffer-size", &[], &["16k"], &[]),
    ("proxy-http-version", &[], &["1.1"], &["2"]),
];

const NO_NAMES: &[&str] = &["a b", "X-*-Y", "Host", "t*"];

const LOCATIONS: &[&str] = &["https://b.example/x", "https://b.example$request_uri"];
const NO_LOCATIONS: &[&str] = &[
    "b.example",
    "/x",
    "https://b.example/$1",
    "https://b.example/ x",
];
const ADDRESSES: &[&str] = &[
    "192.0.2.1",
    "10.0.0.0/8,2001:db8::/32, 192.0.2.1 ",
    "10.1.2.3/8",
];
const NO_ADDRESSES: &[&str] = &[
    "x",
    ",",
    "10.0.0.0/8,x",
    "10.0.0.0/33",
    "10.0.0",
    "patterns/ips",
    "0.0.0.0/0,!10.0.0.0/8",
];

#[test]
fn every_row_reads_its_values_and_reports_invalid_ones() {
    let nothing = format!("{:?}", annotations::AnnotationValues::default());
    for row in ANNOTATIONS.iter().flat_map(|table| table.rows) {
        let names = row
            .prefixes
            .iter()
            .map(|prefix| format!("{prefix}{}", row.name.replace('*', "countries")));
        for name in names {
            // A name with its prefix has values of its own.
            let of = |name: &str| VALUES.iter().find(|(named, ..)| *named == name);
            let values = of(&name).or_else(|| of(row.name));
            let Some((_, setting, idle, nonsense)) = values else {
                // Values with a finding come below.
                assert!(
                    [
                        "auth-snippet",
                        "configuration-snippet",
                        "email-sans",
                        "service.serverstransport",
                        "uri-sans",
                        "unsupported-guards"
                    ]
                    .contains(&row.name),
                    "{name}"
                );
                continue;
            };
            for value in *setting {
                let (annotated, reasons) = read(&name, value);
                assert!(
                    annotated != nothing && reasons.is_empty(),
                    "{name}: {value:?}: {reasons:?}"
                );
            }
            for value in *idle {
                assert_eq!(
                    read(&name, value),
                    (nothing.clone(), vec![]),
                    "{name}: {value:?}"
                );
            }
            for value in *nonsense {
                let (annotated, reasons) = read(&name, value);
                assert_eq!(reasons, ["InvalidAnnotation"], "{name}: {value:?}");
                let is_closed = annotated.contains("is_closed: true");
                assert_eq!(is_closed, row.is_guard, "{name}: {value:?}");
                assert!(row.is_guard || annotated == nothing, "{name}: {value:?}");
            }
        }
    }

    for (name, value) in [
        ("cert-manager.io/email-sans", "a@example"),
        ("cert-manager.io/uri-sans", "spiffe://a"),
        ("nginx.ingress.kubernetes.io/ssl-ciphers", "AES128"),
        (
            "nginx.ingress.kubernetes.io/ssl-prefer-server-ciphers",
            "false",
        ),
        ("cert-manager.io/private-key-algorithm", "Ed25519"),
        ("cert-manager.io/private-key-size", "521"),
        ("cert-manager.io/private-key-size", "8192"),
    ] {
        assert_eq!(read(name, value).1, ["UnsupportedAnnotation"], "{name}");
    }
    assert_eq!(
        read("cert-manager.io/alt-names", "x"),
        (nothing, vec!["UnknownAnnotation"])
    );
}

#[test]
fn a_decision_about_guards_that_makes_no_sense_refuses() {
    for (value, guards, complaints) in [
        ("refuse", UnsupportedGuards::Refuse, 0),
        ("ignore", UnsupportedGuards::Ignore, 0),
        ("Ignore", UnsupportedGuards::Refuse, 1),
        ("", UnsupportedGuards::Refuse, 1),
    ] {
        let annotated =
            annotations::read(&[("gatelet.dev/unsupported-guards".into(), value.into())]);
        assert_eq!(
            (annotated.guards, annotated.findings.len()),
            (Some(guards), complaints),
            "{value:?}"
        );
    }
}

#[test]
fn durations_are_read_as_go_writes_them() {
    for (value, seconds) in [
        ("2160h", 7_776_000.0),
        ("2160h0m0s", 7_776_000.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("1m0.5s", 60.5),
    ] {
        let annotated = annotations::read(&[("gatelet.dev/duration".into(), value.into())]);
        assert_eq!(
            annotated.duration,
            Some(Duration::from_secs_f64(seconds)),
            "{value}"
        );
    }
}

#[test]
fn the_upper_valid_annotation_applies() {
    let annotated = |all: &[(&str, &str)]| {
        annotations::read(
            &all.iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect::<Vec<_>>(),
        )
    };
    let both = |ours: &str| {
        annotated(&[
            ("gatelet.dev/ssl-redirect", ours),
            ("nginx.ingress.kubernetes.io/ssl-redirect", "true"),
        ])
        .redirect
    };
    assert_eq!((both("false"), both("maybe")), (Some(false), Some(true)));

    let key = annotated(&[
        ("cert-manager.io/private-key-algorithm", "RSA"),
        ("cert-manager.io/private-key-size", "4096"),
        ("gatelet.dev/key-type", "p256"),
    ]);
    assert_eq!(key.key_type, Some(KeyType::P256));

    let mut renewal = vec![
        ("cert-manager.io/renew-before-percentage", "20"),
        ("gatelet.dev/renew-before", "30h"),
    ];
    assert_eq!(
        annotated(&renewal).renew_before.map(|(_, is)| is),
        Some(RenewBefore::Time(Duration::from_secs(108_000)))
    );

    renewal.push(("cert-manager.io/duration", "30h"));
    let annotated = annotated(&renewal);
    assert_eq!(
        (annotated.renew_before.is_none(), annotated.findings.len()),
        (true, 1),
        "it would be renewed without end"
    );
}

#[test]
fn algorithm_and_size_of_cert_manager_make_a_key_type() {
    for (algorithm, size, expected) in [
        ("RSA", None, KeyType::Rsa2048),
        ("RSA", Some("3072"), KeyType::Rsa3072),
        ("rsa", Some("4096"), KeyType::Rsa4096),
        ("RSA", Some("8192"), KeyType::Rsa4096),
        ("ECDSA", None, KeyType::P256),
        ("ECDSA", Some("384"), KeyType::P384),
        ("Ed25519", None, KeyType::P256),
    ] {
        let mut both = vec![(
            "cert-manager.io/private-key-algorithm".into(),
            algorithm.into(),
        )];
        both.extend(size.map(|size| ("cert-manager.io/private-key-size".into(), size.into())));
        let key_type = annotations::read(&both).key_type;
        assert_eq!(key_type, Some(expected), "{algorithm} {size:?}");
    }

    // A size of the other algorithm has no effect.
    for (algorithm, size, expected) in [
        ("RSA", "384", KeyType::Rsa2048),
        ("ECDSA", "4096", KeyType::P256),
    ] {
        let values = annotations::read(&[
            (
                "cert-manager.io/private-key-algorithm".into(),
                algorithm.into(),
            ),
            ("cert-manager.io/private-key-size".into(), size.into()),
        ]);
        let reasons: Vec<_> = values.findings.iter().map(|one| one.reason).collect();
        let found = (values.key_type, reasons);
        assert_eq!(found, (Some(expected), vec![Reason::InvalidAnnotation]));
    }
}

/// The page, from the tables.
fn page() -> String {
    let mut page = String::new();
    for table in ANNOTATIONS {
        let differs = table.rows.iter().any(|row| !row.difference.is_empty());
        write!(page, "### {}\n\n", table.title).expect("memory");
        page += if differs {
            "| annotation | values | effect | difference |\n|---|---|---|---|\n"
        } else {
            "| annotation | values | effect |\n|---|---|---|\n"
        };
        for row in table.rows {
            let names: Vec<String> = row
                .prefixes
                .iter()
                .map(|prefix| format!("`{prefix}{}`", row.name))
                .collect();
            let names = names.join(" ");
            write!(page, "| {names} | {} | {} |", row.values, row.effect).expect("memory");
            if differs {
                write!(page, " {} |", row.difference).expect("memory");
            }
            page.push('\n');
        }
        page.push('\n');
    }

    page
}

/// The cell for the effect of an annotation.
fn effect(meaning: Meaning) -> String {
    match meaning {
        Meaning::Guard(what, Scope::Paths) => format!("**503**: it asks for {what}"),
        Meaning::Guard(what, Scope::Hosts) => {
            format!("**503 on the whole host**: it asks for {what}")
        }
        Meaning::Guard(what, Scope::Mergeable) => {
            format!("**503**, of a master on the whole host: it asks for {what}")
        }
        Meaning::Canary => "**not served**: it asks for a part of the requests".to_owned(),
        Meaning::HttpsOnly => "plain HTTP is redirected to HTTPS".to_owned(),
        Meaning::Detail(of) => format!("none without {of}"),
        Meaning::Unsupported(effect) => format!("none: {effect}"),
        Meaning::Nothing => "none needed".to_owned(),
        Meaning::Unknown => panic!("no row says that"),
    }
}

/// The part of the page about a controller.
fn section(peer: &Peer) -> String {
    let quoted = |names: &[&str]| {
        names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let prefixes = match peer.prefixes {
        [""] => "Without a prefix".to_owned(),
        prefixes => format!("Under {}", quoted(prefixes)),
    };
    let services = if peer.services {
        ", on Services too"
    } else {
        ""
    };
    let mut section = format!("### {}\n\n{prefixes}{services}:\n\n", peer.name);
    section += "| annotation | with | effect here |\n|---|---|---|\n";
    for row in peer.rows {
        writeln!(
            section,
            "| {} | {} | {} |",
            quoted(row.names),
            row.values(),
            effect(row.meaning)
        )
        .expect("memory");
    }

    section
}

#[test]
fn the_page_of_annotations_is_the_tables() {
    let text = include_str!("../../../docs/annotations.md");
    let peers = PEERS.iter().filter(|peer| !peer.rows.is_empty());
    let sections: Vec<String> = peers.map(|peer| section(peer)).collect();
    for part in [page(), sections.join("\n")] {
        assert!(
            text.contains(&part),
            "docs/annotations.md lacks this:\n{part}"
        );
    }

    for word in GUARD_WORDS {
        assert!(
            text.contains(&format!("`{word}`")),
            "docs/annotations.md does not name {word}"
        );
    }
}
