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
    "gatelet.dev/proxy-read-timeout and the timeouts under [proxy] in the settings apply",
);

/// The retries.
const NEXT_UPSTREAM: Row = unsupported(
    &[
        "proxy-next-upstream",
        "proxy-next-upstream-timeout",
        "proxy-next-upstream-tries",
    ],
    "gatelet.dev/proxy-next-upstream-tries limits how often a request is tried",
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
    unsupported(
        &["rewrites", "rewrite-target"],
        "gatelet.dev/rewrite-target rewrites paths",
    ),
    unsupported(
        &["path-regex"],
        "gatelet.dev/use-regex makes paths regular expressions; without it such paths return 503",
    ),
    unsupported(&["app-root"], "gatelet.dev/app-root redirects the path /"),
    unsupported(
        &["redirect-to-https", "ssl-redirect", "http-redirect-code"],
        "gatelet.dev/ssl-redirect and the setting ssl_redirect decide about redirects",
    ),
    unsupported(
        &["proxy-redirect-from", "proxy-redirect-to"],
        "gatelet.dev/proxy-redirect-from and gatelet.dev/proxy-redirect-to rewrite Location",
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
        "gatelet.dev/custom-headers sets fields of responses",
    ),
    unsupported(
        &["hsts", "hsts-*"],
        "gatelet.dev/hsts and the setting hsts decide",
    ),
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
        "gatelet.dev/proxy-body-size and the setting proxy.max_body_bytes limit bodies",
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
        "gatelet.dev/custom-http-errors replaces errors of backends",
    ),
    unsupported(
        &["limit-req-*", "max-conns"],
        "gatelet.dev/limit-rps and gatelet.dev/limit-connections limit requests",
    ),
    unsupported(
        &["lb-method", "slow-start"],
        "gatelet.dev/load-balance selects how endpoints are chosen",
    ),
    unsupported(
        &["sticky-cookie-services"],
        "gatelet.dev/affinity keeps clients at an endpoint",
    ),
    unsupported(
        &[
            "health-checks",
            "health-checks-mandatory",
            "health-checks-mandatory-queue",
        ],
        "gatelet.dev/health-check-uri asks for health checks",
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
        "gatelet.dev/service-upstream sends requests to the address of the Service",
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
        "gatelet.dev/limit-rps and gatelet.dev/limit-connections limit requests",
    ),
];

const fn mergeable(names: &'static [&'static str], when: When, what: &'static str) -> Row {
    Row {
        names,
        when,
        meaning: Meaning::Guard(what, Scope::Mergeable),
    }
}
