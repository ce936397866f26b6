//! Annotations of ingress-nginx 1.15, and those of older versions that manifests still have. The
//! few that are read here are in the table of `annotations`.

use super::{
    row::{Peer, Row, detail, guard, guard_when, nothing, unsupported},
    values::When,
};

pub(super) const PEER: Peer = Peer {
    name: "ingress-nginx",
    prefixes: &["nginx.ingress.kubernetes.io/", "ingress.kubernetes.io/"],
    services: false,
    rows: ROWS,
};

const ROWS: &[Row] = &[
    // === Who may come in ===
    guard_when(
        &["enable-modsecurity", "enable-owasp-core-rules"],
        When::TRUE,
        "a web application firewall",
    ),
    guard(
        &["modsecurity-snippet"],
        "rules of a web application firewall",
    ),
    detail(&["modsecurity-transaction-id"], "enable-modsecurity"),
    guard_when(
        &["lua-resty-waf"],
        When::Unless(&["off", "inactive", "simulate"]),
        "a web application firewall",
    ),
    detail(&["lua-resty-waf-*"], "lua-resty-waf"),
    guard(
        &["stream-snippet"],
        "configuration of nginx, which may restrict access",
    ),
    // === Redirects and paths ===
    unsupported(
        &["add-base-url", "base-url-scheme"],
        "pages are not changed",
    ),
    // === Backends ===
    unsupported(
        &["upstream-max-fails", "upstream-fail-timeout"],
        "the setting proxy.eject_after decides when an endpoint is ejected",
    ),
    unsupported(
        &["secure-verify-ca-secret"],
        "proxy-ssl-secret has the authorities of backends",
    ),
    unsupported(
        &["fastcgi-index", "fastcgi-params-configmap"],
        "gatelet does not speak FastCGI",
    ),
    unsupported(
        &["session-cookie-*"],
        "the other annotations of sticky sessions apply",
    ),
    // === Bodies, fields and errors ===
    unsupported(
        &["large-client-header-buffers", "client-header-buffer-size"],
        "the setting proxy.max_header_bytes limits heads",
    ),
    unsupported(&["proxy-set-headers"], "no fields are added to requests"),
    unsupported(
        &["http2-push-preload"],
        "HTTP/2 server push is not used, as in nginx since 1.25",
    ),
    // === Limits, logs, TLS ===
    unsupported(
        &["global-rate-limit*"],
        "limit-rps and limit-rpm limit the requests to this gatelet",
    ),
    unsupported(
        &["enable-rewrite-log"],
        "the log settings decide what is logged",
    ),
    unsupported(
        &[
            "enable-opentelemetry",
            "opentelemetry-trust-incoming-span",
            "opentelemetry-operation-name",
            "enable-opentracing",
            "opentracing-trust-incoming-span",
            "enable-influxdb",
            "influxdb-*",
        ],
        "requests are not traced",
    ),
    unsupported(
        &["hsts", "hsts-*"],
        "gatelet.dev/hsts and the setting hsts decide",
    ),
    // WebSocket is always passed on.
    nothing(&[
        "enable-websocket",
        "enable-websockets",
        "websocket-services",
    ]),
];
