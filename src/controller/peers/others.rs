//! Annotations of Kong, of the load balancers of AWS and Google, and those that several
//! controllers share or that are ours.

use serde_json::Value;

use super::{
    row::{Peer, Row, canary, detail, guard, guard_when, https_only, nothing, unsupported},
    values::{When, has_any},
};

pub(super) const KONG_PEER: Peer = Peer {
    name: "Kong",
    prefixes: &["konghq.com/", "configuration.konghq.com/"],
    services: true,
    rows: KONG_ROWS,
};

/// Its names before version 0.8, which have no prefix.
pub(super) const OLD_KONG_PEER: Peer = Peer {
    name: "Kong before 0.8",
    prefixes: &[""],
    services: true,
    rows: OLD_KONG_ROWS,
};

pub(super) const ALB_PEER: Peer = Peer {
    name: "AWS Load Balancer Controller",
    prefixes: &["alb.ingress.kubernetes.io/"],
    services: true,
    rows: ALB_ROWS,
};

pub(super) const GCE_PEER: Peer = Peer {
    name: "ingress-gce",
    prefixes: &["kubernetes.io/ingress."],
    services: false,
    rows: GCE_ROWS,
};

/// Annotations that several controllers read under the oldest prefix, and the status of
/// ingress-gce.
pub(super) const SHARED_PEER: Peer = Peer {
    name: "Several controllers",
    prefixes: &["ingress.kubernetes.io/"],
    services: false,
    rows: SHARED_ROWS,
};

/// Has no rows: the table is in `annotations`. An unknown name that sounds like a guard closes its
/// paths too.
pub(super) const OWN_PEER: Peer = Peer {
    name: "gatelet",
    prefixes: &["gatelet.dev/"],
    services: true,
    rows: &[],
};

const KONG_ROWS: &[Row] = &[
    guard(&["plugins"], "plugins, which may restrict access"),
    guard(
        &["override"],
        "settings of a KongIngress, which may restrict access",
    ),
    guard(&["methods"], "requests of certain methods only"),
    guard(&["snis"], "clients that ask for certain server names only"),
    canary(&["headers.*"], When::ANY),
    detail(&["headers-separator"], "headers.*"),
    guard_when(
        &["protocols"],
        When::Custom(
            |value, _| !value.is_empty() && !has_any(value, &["http", "https", "grpc", "grpcs"]),
            "a list without http, https, grpc and grpcs",
        ),
        "connections that are not HTTP",
    ),
    https_only(
        &["protocols"],
        When::Custom(
            |value, _| has_any(value, &["https", "grpcs"]) && !has_any(value, &["http", "grpc"]),
            "a list with https or grpcs, and without http and grpc",
        ),
    ),
    unsupported(
        &["https-redirect-status-code"],
        "gatelet.dev/ssl-redirect and the setting ssl_redirect decide about redirects",
    ),
    unsupported(
        &[
            "strip-path",
            "path",
            "rewrite",
            "preserve-host",
            "host-header",
            "path-handling",
        ],
        "gatelet.dev/rewrite-target and gatelet.dev/upstream-vhost rewrite paths and Host",
    ),
    unsupported(
        &["regex-prefix", "regex-priority"],
        "gatelet.dev/use-regex makes paths regular expressions; without it such paths return 503",
    ),
    unsupported(
        &["host-aliases"],
        "gatelet.dev/server-alias names further hosts",
    ),
    unsupported(
        &["protocol"],
        "gatelet.dev/backend-protocol selects the protocol of backends",
    ),
    unsupported(
        &[
            "client-cert",
            "ca-certificates-secrets",
            "ca-certificates-configmaps",
            "tls-verify",
            "tls-verify-depth",
        ],
        "the setting proxy.verify_backends decides whether certificates of backends are verified",
    ),
    unsupported(
        &["upstream-policy"],
        "gatelet.dev/load-balance selects how endpoints are chosen",
    ),
    unsupported(
        &["retries"],
        "gatelet.dev/proxy-next-upstream-tries limits how often a request is tried",
    ),
    unsupported(
        &["connect-timeout", "read-timeout", "write-timeout"],
        "gatelet.dev/proxy-read-timeout and the timeouts under [proxy] in the settings apply",
    ),
    unsupported(
        &["request-buffering", "response-buffering"],
        "bodies are streamed, not buffered",
    ),
    nothing(&["tags"]),
];

const OLD_KONG_ROWS: &[Row] = &[
    guard(
        &["plugins.konghq.com", "*.plugin.konghq.com"],
        "plugins, which may restrict access",
    ),
    guard(
        &["configuration.konghq.com"],
        "settings of a KongIngress, which may restrict access",
    ),
];

const ALB_ROWS: &[Row] = &[
    guard_when(
        &["auth-type"],
        When::Unless(&["none"]),
        "a login with OpenID Connect",
    ),
    detail(
        &[
            "auth-idp-cognito",
            "auth-idp-oidc",
            "auth-on-unauthenticated-request",
            "auth-scope",
            "auth-session-cookie",
            "auth-session-timeout",
        ],
        "auth-type",
    ),
    guard(&["jwt-validation"], "a JSON Web Token"),
    guard_when(
        &["mutual-authentication"],
        When::Custom(
            |value, _| !value.is_empty() && !is_off(value),
            "any value but an empty one, unless every mode is off",
        ),
        "client certificates",
    ),
    guard_when(
        &["inbound-cidrs"],
        When::Addresses { empty: false },
        "clients from certain addresses only",
    ),
    guard(
        &["security-groups", "security-group-prefix-lists"],
        "clients from certain addresses only",
    ),
    guard_when(
        &["scheme"],
        When::Unless(&["internet-facing"]),
        "clients of the internal network only",
    ),
    guard_when(
        &[
            "wafv2-acl-arn",
            "wafv2-acl-name",
            "waf-acl-id",
            "web-acl-id",
        ],
        When::Unless(&["none"]),
        "a web application firewall",
    ),
    guard(&["conditions.*"], "requests under further conditions only"),
    https_only(
        &["listen-ports"],
        When::Custom(
            |value, _| listens_to_https_only(value),
            "a list with HTTPS and without HTTP",
        ),
    ),
    unsupported(
        &["actions.*"],
        "the action is not taken: 503 for the paths that name it",
    ),
    unsupported(
        &["transforms.*"],
        "gatelet.dev/rewrite-target and gatelet.dev/upstream-vhost rewrite paths and Host",
    ),
    unsupported(
        &["ssl-redirect"],
        "gatelet.dev/ssl-redirect and the setting ssl_redirect decide about redirects",
    ),
    unsupported(
        &["use-regex-path-match"],
        "gatelet.dev/use-regex makes paths regular expressions; without it such paths return 503",
    ),
    unsupported(
        &["backend-protocol", "backend-protocol-version"],
        "gatelet.dev/backend-protocol selects the protocol of backends",
    ),
    unsupported(
        &["certificate-arn", "create-acm-cert", "acm-*"],
        "spec.tls selects the certificate",
    ),
    unsupported(
        &["ssl-policy"],
        "the tls settings select protocol versions and ciphers",
    ),
    unsupported(
        &[
            "healthcheck-*",
            "healthy-threshold-count",
            "unhealthy-threshold-count",
            "success-codes",
        ],
        "gatelet.dev/health-check-uri asks for health checks",
    ),
    unsupported(
        &["target-group-attributes"],
        "gatelet.dev/load-balance selects how endpoints are chosen",
    ),
    unsupported(
        &["shield-advanced-protection"],
        "gatelet.dev/limit-rps and gatelet.dev/limit-connections limit requests",
    ),
    unsupported(
        &[
            "load-balancer-name",
            "load-balancer-attributes",
            "listener-attributes.*",
            "group.name",
            "group.order",
            "tags",
            "ip-address-type",
            "subnets",
            "manage-backend-security-group-rules",
            "customer-owned-ipv4-pool",
            "target-type",
            "target-node-labels",
            "target-control-port.*",
            "multi-cluster-target-group",
            "minimum-load-balancer-capacity",
            "ipam-ipv4-pool-id",
            "enable-frontend-nlb",
            "frontend-nlb-*",
            "dry-run-plan",
        ],
        "there is no load balancer of AWS",
    ),
];

const GCE_ROWS: &[Row] = &[unsupported(
    &["global-static-ip-name", "regional-static-ip-name"],
    "the addresses are those of the nodes, or of publish in the settings",
)];

const SHARED_ROWS: &[Row] = &[
    unsupported(
        &["force-ssl-redirect", "ssl-redirect"],
        "gatelet.dev/force-ssl-redirect and gatelet.dev/ssl-redirect decide about redirects",
    ),
    nothing(&[
        "backends",
        "forwarding-rule",
        "https-forwarding-rule",
        "target-proxy",
        "https-target-proxy",
        "url-map",
        "redirect-url-map",
        "ssl-cert",
        "static-ip",
        "rule-mix",
    ]),
];

/// True if no listener asks for client certificates: a list of objects, each with the mode `off`.
fn is_off(value: &str) -> bool {
    let Ok(Value::Array(listeners)) = serde_json::from_str(value) else {
        return false;
    };
    listeners.iter().all(|listener| {
        listener.get("mode").is_some_and(|mode| {
            mode.as_str()
                .is_some_and(|mode| mode.eq_ignore_ascii_case("off"))
        })
    })
}

/// True if a list of objects from protocol to port has HTTPS and no HTTP.
fn listens_to_https_only(value: &str) -> bool {
    let Ok(Value::Array(listeners)) = serde_json::from_str::<Value>(value) else {
        return false;
    };
    let has = |protocol: &str| {
        listeners
            .iter()
            .any(|listener| listener.get(protocol).is_some())
    };
    has("HTTPS") && !has("HTTP")
}
