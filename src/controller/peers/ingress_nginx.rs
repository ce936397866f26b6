//! Annotations of ingress-nginx 1.15, and those of older versions that manifests still have. The
//! few that are read here are in the table of `annotations`.

use super::{
    row::{Peer, Row, detail, guard, guard_when, host_guard, nothing, unsupported},
    values::{CLIENT_CERTIFICATES, When},
};

pub(super) const PEER: Peer = Peer {
    name: "ingress-nginx",
    prefixes: &["nginx.ingress.kubernetes.io/", "ingress.kubernetes.io/"],
    services: false,
    rows: ROWS,
};

const ROWS: &[Row] = &[
    // === Who may come in ===
    guard(&["auth-url"], "a login that another server checks"),
    detail(
        &[
            "auth-signin",
            "auth-signin-redirect-param",
            "auth-method",
            "auth-response-headers",
            "auth-request-redirect",
            "auth-proxy-set-headers",
            "auth-cache-key",
            "auth-cache-duration",
            "auth-always-set-cookie",
            "auth-keepalive",
            "auth-keepalive-requests",
            "auth-keepalive-timeout",
            "auth-keepalive-share-vars",
        ],
        "auth-url",
    ),
    guard_when(
        &["enable-global-auth"],
        When::TRUE,
        "the login of the whole controller",
    ),
    host_guard(
        &["auth-tls-secret"],
        CLIENT_CERTIFICATES,
        "client certificates",
    ),
    detail(
        &[
            "auth-tls-verify-client",
            "auth-tls-verify-depth",
            "auth-tls-error-page",
            "auth-tls-pass-certificate-to-upstream",
            "auth-tls-match-cn",
        ],
        "auth-tls-secret",
    ),
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
    guard_when(
        &["configuration-snippet"],
        When::Snippet,
        "configuration of nginx, which may restrict access",
    ),
    host_guard(
        &["server-snippet"],
        When::Snippet,
        "configuration of nginx, which may restrict access",
    ),
    guard(
        &["auth-snippet", "stream-snippet"],
        "configuration of nginx, which may restrict access",
    ),
    unsupported(
        &["configuration-snippet", "server-snippet"],
        "configuration of nginx is not applied",
    ),
    // === Redirects and paths ===
    unsupported(
        &["add-base-url", "base-url-scheme"],
        "pages are not changed",
    ),
    // === Backends ===
    unsupported(
        &["service-upstream"],
        "requests go to the endpoints, not to the address of the Service",
    ),
    unsupported(
        &["secure-backends", "grpc-backend"],
        "backend-protocol selects the protocol of backends",
    ),
    unsupported(
        &["proxy-next-upstream-timeout"],
        "the time for all attempts together is not limited",
    ),
    unsupported(
        &["upstream-max-fails", "upstream-fail-timeout"],
        "the setting proxy.eject_after decides when an endpoint is ejected",
    ),
    unsupported(
        &["proxy-http-version", "connection-proxy-header"],
        "backends get HTTP/1.1 over persistent connections",
    ),
    unsupported(
        &[
            "proxy-ssl-verify-depth",
            "proxy-ssl-server-name",
            "secure-verify-ca-secret",
        ],
        "proxy-ssl-verify decides whether certificates of backends are verified",
    ),
    unsupported(
        &["proxy-ssl-secret"],
        "gatelet sends no client certificate to backends and verifies them with no CA of their own",
    ),
    unsupported(
        &["proxy-ssl-protocols", "proxy-ssl-ciphers"],
        "gatelet speaks TLS 1.2 and 1.3 to backends",
    ),
    unsupported(
        &["fastcgi-index", "fastcgi-params-configmap"],
        "gatelet does not speak FastCGI",
    ),
    unsupported(
        &["upstream-hash-by-subset", "upstream-hash-by-subset-size"],
        "requests are spread over all endpoints",
    ),
    unsupported(
        &["session-cookie-*"],
        "the other annotations of sticky sessions apply",
    ),
    // === Bodies, fields and errors ===
    unsupported(
        &[
            "proxy-request-buffering",
            "proxy-buffering",
            "proxy-buffers-number",
            "proxy-buffer-size",
            "proxy-busy-buffers-size",
            "proxy-max-temp-file-size",
            "client-body-buffer-size",
        ],
        "bodies are streamed, not buffered",
    ),
    unsupported(
        &["large-client-header-buffers", "client-header-buffer-size"],
        "the setting proxy.max_header_bytes limits heads",
    ),
    unsupported(&["custom-headers"], "no fields are added to responses"),
    unsupported(&["proxy-set-headers"], "no fields are added to requests"),
    unsupported(
        &[
            "custom-http-errors",
            "default-backend",
            "disable-proxy-intercept-errors",
        ],
        "errors of backends are passed on as they are",
    ),
    unsupported(&["http2-push-preload"], "HTTP/2 server push is not used"),
    // === Limits, logs, TLS ===
    unsupported(
        &["global-rate-limit*"],
        "limit-rps and limit-rpm limit the requests to this gatelet",
    ),
    unsupported(
        &["enable-access-log", "enable-rewrite-log"],
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
        &["mirror-target", "mirror-request-body", "mirror-host"],
        "requests are not mirrored",
    ),
    unsupported(
        &["ssl-ciphers", "ssl-prefer-server-ciphers"],
        "the tls settings select protocol versions and ciphers",
    ),
    unsupported(&["hsts", "hsts-*"], "the setting hsts decides"),
    // WebSocket is always passed on.
    nothing(&[
        "enable-websocket",
        "enable-websockets",
        "websocket-services",
    ]),
];
