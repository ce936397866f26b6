//! Annotations of F5's NGINX Ingress Controller 5, with those of its App Protect.

use super::{
    row::{Meaning, Peer, Row, Scope, detail, guard_when, nothing, unsupported},
    values::{OTHER_PORTS, When},
};

pub(super) const PEER: Peer = Peer {
    name: "NGINX Ingress Controller of F5",
    prefixes: &["nginx.org/", "nginx.com/"],
    services: false,
    rows: ROWS,
};

pub(super) const APP_PROTECT_PEER: Peer = Peer {
    name: "App Protect of F5",
    prefixes: &["appprotect.f5.com/", "appprotectdos.f5.com/"],
    services: false,
    rows: APP_PROTECT_ROWS,
};

/// The timeouts.
const TIMEOUTS: Row = unsupported(
    &[
        "proxy-connect-timeout",
        "proxy-read-timeout",
        "proxy-send-timeout",
    ],
    "the timeouts under [proxy] in the settings apply",
);

/// The retries.
const NEXT_UPSTREAM: Row = unsupported(
    &[
        "proxy-next-upstream",
        "proxy-next-upstream-timeout",
        "proxy-next-upstream-tries",
    ],
    "the setting proxy.max_attempts limits how often a request is tried",
);

const ROWS: &[Row] = &[
    // === Who may come in. What the master of a mergeable Ingress says is for its minions too. ===
    mergeable(
        &["basic-auth-secret"],
        When::ANY,
        "a login by name and password",
    ),
    detail(&["basic-auth-realm"], "basic-auth-secret"),
    mergeable(&["jwt-key"], When::ANY, "a JSON Web Token"),
    detail(&["jwt-realm", "jwt-token", "jwt-login-url"], "jwt-key"),
    mergeable(
        &["policies"],
        When::ANY,
        "policies, which may restrict access",
    ),
    mergeable(
        &["server-snippets", "location-snippets"],
        When::Snippet,
        "configuration of nginx, which may restrict access",
    ),
    unsupported(
        &["server-snippets", "location-snippets"],
        "configuration of nginx is not applied",
    ),
    mergeable(
        &["listen-ports", "listen-ports-ssl"],
        OTHER_PORTS,
        "ports of its own only",
    ),
    // === Everything else ===
    // The Ingresses of a host are put together anyway.
    nothing(&["mergeable-ingress-type"]),
    unsupported(&["rewrites", "rewrite-target"], "paths are not rewritten"),
    unsupported(
        &["path-regex"],
        "regular expressions are not evaluated: such paths return 503",
    ),
    unsupported(&["app-root"], "the path / is not redirected"),
    unsupported(
        &["redirect-to-https", "ssl-redirect", "http-redirect-code"],
        "gatelet.dev/ssl-redirect and the setting ssl_redirect decide about redirects",
    ),
    unsupported(
        &["proxy-redirect-from", "proxy-redirect-to"],
        "Location in responses is not rewritten",
    ),
    unsupported(
        &[
            "add-header",
            "add-header-inherit",
            "proxy-hide-headers",
            "proxy-pass-headers",
            "proxy-set-headers",
            "server-tokens",
        ],
        "the fields of requests and responses are not changed",
    ),
    unsupported(&["hsts", "hsts-*"], "the setting hsts decides"),
    unsupported(
        &["ssl-ciphers", "ssl-prefer-server-ciphers"],
        "the tls settings select versions of TLS, and all hosts have the same cipher suites",
    ),
    unsupported(
        &["ssl-services", "grpc-services"],
        "gatelet.dev/backend-protocol selects the protocol of backends",
    ),
    // WebSocket is always passed on.
    nothing(&["websocket-services"]),
    unsupported(
        &["client-max-body-size"],
        "the setting proxy.max_body_bytes limits bodies",
    ),
    unsupported(
        &[
            "client-body-buffer-size",
            "proxy-buffering",
            "proxy-buffers",
            "proxy-buffer-size",
            "proxy-busy-buffers-size",
            "proxy-max-temp-file-size",
        ],
        "bodies are streamed, not buffered",
    ),
    TIMEOUTS,
    NEXT_UPSTREAM,
    unsupported(
        &["custom-http-errors"],
        "errors of backends are passed on as they are",
    ),
    unsupported(&["limit-req-*", "max-conns"], "requests are not limited"),
    unsupported(
        &["lb-method", "slow-start"],
        "the setting proxy.balance selects how endpoints are chosen",
    ),
    unsupported(
        &["sticky-cookie-services"],
        "clients do not stick to an endpoint",
    ),
    unsupported(
        &[
            "health-checks",
            "health-checks-mandatory",
            "health-checks-mandatory-queue",
        ],
        "gatelet has no health checks: an endpoint that refuses connections is ejected for a time",
    ),
    unsupported(
        &["max-fails", "fail-timeout"],
        "the setting proxy.eject_after decides when an endpoint is ejected",
    ),
    unsupported(
        &["keepalive"],
        "the setting proxy.max_idle_per_endpoint limits idle connections",
    ),
    unsupported(
        &["use-cluster-ip"],
        "requests go to the endpoints, not to the address of the Service",
    ),
    nothing(&["upstream-zone-size"]),
];

const APP_PROTECT_ROWS: &[Row] = &[
    guard_when(
        &["app-protect-enable"],
        When::TRUE,
        "a web application firewall",
    ),
    detail(
        &[
            "app-protect-policy",
            "app-protect-security-log",
            "app-protect-security-log-destination",
            "app-protect-security-log-enable",
        ],
        "app-protect-enable",
    ),
    unsupported(
        &["app-protect-dos-resource", "app-protect-dos-enable"],
        "requests are not limited",
    ),
];

const fn mergeable(names: &'static [&'static str], when: When, what: &'static str) -> Row {
    Row {
        names,
        when,
        meaning: Meaning::Guard(what, Scope::Mergeable),
    }
}
