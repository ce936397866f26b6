//! Annotations of Traefik 2 and 3, and those of Traefik 1.

use super::{
    row::{Meaning, Peer, Row, Scope, detail, guard, guard_when, https_only, nothing, unsupported},
    values::{When, has_any},
};

pub(super) const PEER: Peer = Peer {
    name: "Traefik 2 and 3",
    prefixes: &["traefik.ingress.kubernetes.io/"],
    services: true,
    rows: ROWS,
};

/// It took each name with its own word before the prefix and without.
pub(super) const FIRST_PEER: Peer = Peer {
    name: "Traefik 1",
    prefixes: &["traefik.ingress.kubernetes.io/", "ingress.kubernetes.io/"],
    services: false,
    rows: FIRST_ROWS,
};

/// The entry points that everybody has: names of the port for plain HTTP and the one for HTTPS.
const PLAIN: &[&str] = &["web", "http"];
const SECURE: &[&str] = &["websecure", "https"];

/// Entry points with HTTPS, and none for plain HTTP.
const SECURE_ONLY: When = When::Custom(
    |value, _| has_any(value, SECURE) && !has_any(value, PLAIN),
    "a list with websecure or https, and without web and http",
);

/// Entry points that are neither.
const OWN_ENTRY_POINTS: When = When::Custom(
    |value, _| !value.is_empty() && !has_any(value, SECURE) && !has_any(value, PLAIN),
    "a list without web, http, websecure and https",
);

const ROWS: &[Row] = &[
    guard(
        &["service.middlewares"],
        "the middlewares of a Service, which an annotation on the Service names",
    ),
    Row {
        names: &["router.tls.options"],
        when: When::Unless(&["default"]),
        meaning: Meaning::Guard(
            "TLS options, which may ask for client certificates",
            Scope::Hosts,
        ),
    },
    guard_when(
        &["router.entrypoints"],
        OWN_ENTRY_POINTS,
        "entry points of its own only",
    ),
    https_only(&["router.entrypoints"], SECURE_ONLY),
    https_only(&["router.tls"], When::TRUE),
    https_only(&["router.tls.certresolver"], When::ANY),
    unsupported(
        &["router.tls.certresolver", "router.tls.domains*"],
        "gatelet.dev/issuer selects the issuer, and spec.tls the names",
    ),
    unsupported(
        &["router.rulesyntax"],
        "a path is a path in every syntax of Traefik",
    ),
    unsupported(
        &["router.observability.*"],
        "the settings decide what is logged and measured",
    ),
    unsupported(
        &["service.sticky*"],
        "annotations of sticky sessions belong on the Service",
    ),
    unsupported(
        &[
            "service.serversscheme",
            "service.serverstransport",
            "service.passhostheader",
            "service.nativelb",
        ],
        "annotations of backends belong on the Service",
    ),
    unsupported(
        &["service.nodeportlb"],
        "requests go to the endpoints, not to ports of nodes",
    ),
];

const FIRST_ROWS: &[Row] = &[
    guard(&["auth-type"], "a login"),
    guard(&["auth-url"], "a login that another server checks"),
    detail(
        &[
            "auth-secret",
            "auth-realm",
            "auth-header-field",
            "auth-remove-header",
            "auth-response-headers",
            "auth-trust-headers",
            "auth-tls-insecure",
        ],
        "auth-type",
    ),
    guard_when(
        &["whitelist-source-range"],
        When::Addresses { empty: false },
        "clients from certain addresses only",
    ),
    detail(
        &[
            "whitelist-ipstrategy",
            "whitelist-ipstrategy-depth",
            "whitelist-ipstrategy-excluded-ips",
            "whitelist-x-forwarded-for",
        ],
        "whitelist-source-range",
    ),
    guard_when(
        &["pass-tls-cert", "pass-client-tls-cert"],
        When::TRUE,
        "client certificates, which the proxy reports to the backend",
    ),
    https_only(
        &["frontend-entry-points"],
        When::Custom(
            |value, _| has_any(value, SECURE) && !has_any(value, PLAIN),
            "a list with https, and without http",
        ),
    ),
    guard_when(
        &["frontend-entry-points"],
        OWN_ENTRY_POINTS,
        "entry points of its own only",
    ),
    detail(&["auth-tls-secret"], "auth-url"),
    unsupported(
        &["rewrite-target", "request-modifier", "rule-type"],
        "gatelet.dev/rewrite-target rewrites paths",
    ),
    unsupported(&["app-root"], "gatelet.dev/app-root redirects the path /"),
    unsupported(
        &[
            "redirect-entry-point",
            "redirect-permanent",
            "redirect-regex",
            "redirect-replacement",
            "ssl-redirect",
            "ssl-force-host",
            "ssl-host",
            "ssl-temporary-redirect",
            "ssl-proxy-headers",
        ],
        "gatelet.dev/force-ssl-redirect and the setting ssl_redirect decide about redirects",
    ),
    unsupported(
        &[
            "custom-request-headers",
            "custom-response-headers",
            "proxy-headers",
            "frame-deny",
            "custom-frame-options-value",
            "content-type-nosniff",
            "browser-xss-filter",
            "custom-browser-xss-value",
            "content-security-policy",
            "referrer-policy",
            "public-key",
            "is-development",
        ],
        "no fields are added to requests and responses",
    ),
    unsupported(
        &["hsts-*", "force-hsts"],
        "gatelet.dev/hsts and the setting hsts decide",
    ),
    // The hosts of the rules are the ones that are allowed.
    nothing(&["allowed-hosts"]),
    unsupported(
        &["preserve-host"],
        "backends get the Host that the client sent",
    ),
    unsupported(&["priority"], "the longest path wins"),
    unsupported(
        &["circuit-breaker-expression", "max-conn-*", "rate-limit"],
        "gatelet.dev/limit-rps and gatelet.dev/limit-connections limit requests",
    ),
    unsupported(
        &["load-balancer-method"],
        "gatelet.dev/load-balance selects how endpoints are chosen",
    ),
    unsupported(
        &["affinity", "session-cookie-name"],
        "gatelet.dev/affinity keeps clients at an endpoint",
    ),
    unsupported(
        &["error-pages"],
        "gatelet.dev/custom-http-errors replaces errors of backends",
    ),
    unsupported(&["buffering"], "bodies are streamed, not buffered"),
    unsupported(
        &["service-weights"],
        "gatelet.dev/canary splits requests by weight",
    ),
    unsupported(
        &["protocol"],
        "gatelet.dev/backend-protocol selects the protocol of backends",
    ),
];
