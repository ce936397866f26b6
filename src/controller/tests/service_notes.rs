//! Annotations of Services that have no effect there: the Service has a finding, if something leads
//! to it.

use super::*;
use crate::objects::EventType;

/// Returns the findings about Services: field, reason and message.
fn notes(index: &Index) -> Vec<String> {
    let all = index.findings();
    let own = all.iter().filter(|one| one.about.key.kind == Kind::Service);
    own.map(|one| {
        assert_eq!(one.severity, EventType::Normal, "{one:?}");
        format!("{} {}: {}", one.field, one.reason, one.message)
    })
    .collect()
}

/// Returns the notes about a Service that an Ingress leads to.
fn with(annotations: &[(&str, &str)]) -> Vec<String> {
    let mut index = index();
    index.apply(apply(annotated(service("web"), annotations)));
    index.apply(apply(ingress("web", "a.example", "/", "web")));
    index.compile();
    assert_eq!(met(&index, "a.example", "/"), "empty", "{annotations:?}");
    notes(&index)
}

#[test]
fn annotations_of_ingresses_are_reported_on_services() {
    const ONLY: &str = "it has no effect on a Service: gatelet reads it on an Ingress alone";
    for (name, value, message) in [
        ("nginx.ingress.kubernetes.io/rewrite-target", "/x", ONLY),
        (
            "nginx.ingress.kubernetes.io/auth-url",
            "http://a.example",
            ONLY,
        ),
        (
            "nginx.ingress.kubernetes.io/enable-modsecurity",
            "true",
            ONLY,
        ),
        ("gatelet.dev/rewrite-target", "/x", ONLY),
        ("gatelet.dev/issuer", "local-ca", ONLY),
        ("haproxy-ingress.github.io/path-type", "regex", ONLY),
        ("ingress.kubernetes.io/server-alias", "b.example", ONLY),
        ("haproxy.org/ssl-redirect", "true", ONLY),
        ("traefik.ingress.kubernetes.io/router.priority", "5", ONLY),
        ("traefik.ingress.kubernetes.io/router.tls", "true", ONLY),
        ("kubernetes.io/ingress.allow-http", "false", ONLY),
        (
            "haproxy-ingress.github.io/agent-check-port",
            "80",
            "it has no effect here: agents are not asked: health-check-* ask the endpoints \
             themselves",
        ),
        (
            "traefik.ingress.kubernetes.io/service.nodeportlb",
            "true",
            "it has no effect here: requests go to the endpoints, not to ports of nodes",
        ),
        (
            "haproxy-ingress.github.io/waf-mode",
            "detect",
            "it has no effect without waf",
        ),
        (
            "gatelet.dev/limit-connections",
            "5",
            "it has no effect without gatelet.dev/tcp-listen or gatelet.dev/udp-listen",
        ),
    ] {
        let expected = format!("metadata.annotations[{name}] UnsupportedAnnotation: {message}");
        assert_eq!(with(&[(name, value)]), [expected], "{name}");
    }

    for name in [
        "haproxy.org/magic",
        "nginx.ingress.kubernetes.io/magic",
        "gatelet.dev/magic",
        "traefik.ingress.kubernetes.io/service.magic",
    ] {
        let found = with(&[(name, "x")]);
        assert!(found[0].contains("UnknownAnnotation"), "{name}: {found:?}");
    }
}

#[test]
fn annotations_of_other_programs_on_services_are_left_alone() {
    for (name, value) in [
        ("metallb.io/address-pool", "first"),
        ("metallb.universe.tf/allow-shared-ip", "a"),
        ("kube-vip.io/loadbalancerIPs", "192.0.2.1"),
        ("prometheus.io/scrape", "true"),
        ("external-dns.alpha.kubernetes.io/hostname", "a.example"),
        (
            "service.beta.kubernetes.io/aws-load-balancer-type",
            "external",
        ),
        ("service.kubernetes.io/topology-mode", "Auto"),
        ("cloud.google.com/neg", "{\"ingress\": true}"),
        ("kubernetes.io/ingress.class", "nginx"),
        ("cert-manager.io/issuer", "a"),
        ("acme.cert-manager.io/http01-solver", "true"),
        ("auth.istio.io/8089", "NONE"),
        ("kubectl.kubernetes.io/last-applied-configuration", "{}"),
        ("meta.helm.sh/release-name", "a"),
        // These are read there, or miss nothing.
        ("haproxy-ingress.github.io/initial-weight", "50"),
        ("haproxy-ingress.github.io/ssl-ciphers-backend", "ECDHE"),
        ("haproxy-ingress.github.io/rewrite-target", "/x"),
        ("ingress.kubernetes.io/rewrite-target", "/x"),
        ("haproxy.org/pod-maxconn", "5"),
        ("haproxy-ingress.github.io/service-upstream", "true"),
        (
            "traefik.ingress.kubernetes.io/service.sticky.cookie",
            "true",
        ),
        ("gatelet.dev/unsupported-guards", "refuse"),
    ] {
        assert_eq!(with(&[(name, value)]), [""; 0], "{name}");
    }
}

#[test]
fn ports_have_the_terms_of_their_service_without_notes() {
    let ports = [
        ("gatelet.dev/tcp-listen", "8022:80"),
        ("gatelet.dev/limit-connections", "5"),
        ("gatelet.dev/tcp-idle-timeout", "5m"),
    ];
    assert_eq!(with(&ports), [""; 0]);
}

#[test]
fn a_service_that_nothing_leads_to_has_no_notes() {
    let mut index = index();
    let annotation = ("nginx.ingress.kubernetes.io/proxy-body-size", "8m");
    for name in ["web", "other"] {
        index.apply(apply(annotated(service(name), &[annotation])));
    }
    index.compile();
    assert_eq!(notes(&index), [""; 0]);

    // The notes come and go with its Ingress, also where its path is closed.
    let object = ingress("web", "a.example", "/", "web");
    let closed = ("nginx.ingress.kubernetes.io/enable-modsecurity", "true");
    for object in [object.clone(), annotated(object, &[closed])] {
        index.apply(apply(object));
        index.compile();
        assert_eq!(notes(&index).len(), 1);
        assert!(index.leads_to("default", "web") && !index.leads_to("default", "other"));

        index.apply(delete(Kind::Ingress, "web"));
        index.compile();
        assert_eq!(notes(&index), [""; 0]);
    }

    index.apply(apply(ingress("web", "a.example", "/", "web")));
    index.compile();
    index.apply(apply(service("web")));
    index.compile();
    assert_eq!(notes(&index), [""; 0]);
}
