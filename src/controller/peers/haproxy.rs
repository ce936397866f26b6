//! Annotations of the two controllers on HAProxy: HAProxy Ingress 0.16 (the community's) and the
//! Kubernetes Ingress Controller 3.2 of HAProxy Technologies.

use super::{
    row::{Peer, Row, canary, detail, guard, guard_when, nothing, unsupported},
    values::When,
};

pub(super) const INGRESS_PEER: Peer = Peer {
    name: "HAProxy Ingress",
    prefixes: &["haproxy-ingress.github.io/", "ingress.kubernetes.io/"],
    services: true,
    rows: INGRESS_ROWS,
};

pub(super) const TECHNOLOGIES_PEER: Peer = Peer {
    name: "HAProxy Technologies",
    prefixes: &["haproxy.org/", "haproxy.com/", "ingress.kubernetes.io/"],
    services: true,
    rows: TECHNOLOGIES_ROWS,
};

/// The address of a client in a field that gatelet does not read.
const BY_FIELD: &str = "clients that come in, or are denied, by an address in a field";
const SOURCE: &str = "the setting proxy.trusted_proxies decides which address is the client's";

/// Returns true for a field in which gatelet does not look for the address of a client.
fn is_other_address(field: &str) -> bool {
    !field.is_empty() && !field.eq_ignore_ascii_case("x-forwarded-for")
}

const INGRESS_ROWS: &[Row] = &[
    // === Who may come in ===
    guard_when(
        &["allowlist-source-header"],
        When::Custom(
            |value, siblings| {
                let lists = [
                    "denylist-source-range",
                    "allowlist-source-range",
                    "whitelist-source-range",
                ];
                let has = |list| siblings.get(list).is_some_and(|list| !list.is_empty());
                is_other_address(value) && lists.into_iter().any(has)
            },
            "a field other than `X-Forwarded-For`, beside a list of addresses",
        ),
        BY_FIELD,
    ),
    unsupported(&["allowlist-source-header"], SOURCE),
    guard_when(
        &["waf"],
        When::Custom(
            |value, siblings| !value.is_empty() && siblings.get("waf-mode") != Some("detect"),
            "any value but an empty one, unless `waf-mode` is detect",
        ),
        "a web application firewall",
    ),
    detail(&["waf-mode"], "waf"),
    guard(
        &[
            "config-backend",
            "config-backend-early",
            "config-backend-late",
            "config-tcp-service",
        ],
        "configuration of HAProxy, which may restrict access",
    ),
    guard(&["http-frontend"], "ports of its own only"),
    detail(
        &[
            "bind-fronting-proxy",
            "bind-http",
            "bind-http-passthrough",
            "bind-https",
            "bind-ip-addr-http",
            "http-passthrough",
            "use-forwarded-proto",
            "use-proxy-protocol",
        ],
        "http-frontend",
    ),
    unsupported(
        &["tcp-service-log-format"],
        "the setting log.access decides what is logged",
    ),
    // === Redirects and paths ===
    unsupported(
        &["ssl-always-add-https", "ssl-always-follow-redirect"],
        "gatelet.dev/ssl-redirect and the setting ssl_redirect decide about redirects",
    ),
    // === Backends ===
    unsupported(&["fcgi-app"], "gatelet does not speak FastCGI"),
    nothing(&["initial-weight"]),
    unsupported(
        &["agent-check-*"],
        "agents are not asked: health-check-* ask the endpoints themselves",
    ),
    unsupported(
        &["maxqueue-server"],
        "no request waits for one endpoint while another one has a place, and those that wait for \
         any are not counted",
    ),
    unsupported(
        &[
            "assign-backend-server-id",
            "backend-server-naming",
            "backend-server-slots-increment",
            "dynamic-scaling",
            "slots-min-free",
            "peers-table",
            "source-address-intf",
            "use-resolver",
            "var-namespace",
        ],
        "it configures HAProxy itself",
    ),
    unsupported(
        &[
            "timeout-http-request",
            "timeout-keep-alive",
            "timeout-server-fin",
        ],
        "the timeouts under [proxy] in the settings apply",
    ),
    // === Bodies, fields, TLS ===
    unsupported(
        &["http-response-*"],
        "responses of gatelet itself are not changed",
    ),
    unsupported(
        &["acme-preferred-chain", "cert-signer"],
        "gatelet.dev/issuer selects the issuer of certificates",
    ),
    unsupported(
        &[
            "ssl-cipher-suites",
            "ssl-cipher-suites-backend",
            "ssl-fingerprint-lower",
            "ssl-fingerprint-sha2-bits",
            "ssl-options-backend",
            "ssl-options-host",
            "tls-alpn",
        ],
        "the tls settings select versions of TLS, and all hosts have the same cipher suites",
    ),
];

const TECHNOLOGIES_ROWS: &[Row] = &[
    // === Who may come in ===
    guard(&["client-ca"], "client certificates"),
    detail(&["client-crt-optional", "client-strict-sni"], "client-ca"),
    guard(
        &["backend-config-snippet", "frontend-config-snippet"],
        "configuration of HAProxy, which may restrict access",
    ),
    canary(&["route-acl"], When::ANY),
    // === Everything else ===
    guard_when(
        &["src-ip-header"],
        When::Custom(
            |value, siblings| {
                let lists = ["deny-list", "blacklist", "allow-list", "whitelist"];
                let has = |list| siblings.get(list).is_some_and(|list| !list.is_empty());
                is_other_address(value) && lists.into_iter().any(has)
            },
            "a field other than `X-Forwarded-For`, beside a list of addresses",
        ),
        BY_FIELD,
    ),
    unsupported(&["src-ip-header"], SOURCE),
    unsupported(
        &["timeout-server-fin"],
        "the timeouts under [proxy] in the settings apply",
    ),
    unsupported(
        &["request-capture", "request-capture-len"],
        "the log settings decide what is logged",
    ),
    unsupported(&["ssl-certificate"], "spec.tls selects the certificate"),
    nothing(&["standalone-backend", "scale-server-slots", "abortonclose"]),
];
