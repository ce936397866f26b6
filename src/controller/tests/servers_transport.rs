//! ServersTransports of Traefik that a Service names: their terms, and each way in which they can
//! fail.

use std::time::Duration;

use super::{
    client_certificates::{index, secret},
    *,
};
use crate::{
    objects::EventType,
    routing::{BackendTls, Host, Timeouts, TlsVersions, Verify},
};

const ANNOTATION: &str = "traefik.ingress.kubernetes.io/service.serverstransport";
const SCHEME: (&str, &str) = (
    "traefik.ingress.kubernetes.io/service.serversscheme",
    "https",
);
const PAIR: [(&str, &str); 2] = [("tls.crt", "chain"), ("tls.key", "key")];

fn transport(spec: Value) -> Value {
    json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "ServersTransport",
        "metadata": {"name": "own"}, "spec": spec,
    })
}

/// Returns an index with the objects that a ServersTransport may name, and an Ingress whose Service
/// names one. `ca` and `other` are Secrets of [`index`].
fn naming(name: &str, on_ingress: &[(&str, &str)], on_service: &[(&str, &str)]) -> Index {
    let mut index = index();
    for (name, data) in [
        ("pair", &PAIR[..]),
        ("traefik", &[("tls.ca", "third")]),
        ("empty", &[("other", "x")]),
        ("broken", &[("ca.crt", "broken")]),
        ("half", &PAIR[..1]),
        ("revoked", &[("ca.crt", "fourth"), ("ca.crl", "list")]),
    ] {
        index.apply(apply(secret(name, data)));
    }
    index.apply(apply(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "roots"},
        "data": {"ca.crt": "map"},
    })));
    let web = annotated(service("web"), &[SCHEME, (ANNOTATION, name)]);
    index.apply(apply(annotated(web, on_service)));
    let object = ingress("web", "a.example", "/", "web");
    index.apply(apply(annotated(object, on_ingress)));
    index
}

fn with(spec: Value) -> Index {
    let mut index = naming("default-own@kubernetescrd", &[], &[]);
    index.apply(apply(transport(spec)));
    index
}

/// Compiles, and returns the protocol and the terms of TLS to the backend, and the times.
fn made(index: &mut Index) -> Result<(Protocol, BackendTls, Timeouts), Refusal> {
    index.compile();
    let found = index.table().find(Some("a.example"), "/", &GET);
    let route = found.expect("a route").route;
    match &route.action {
        Action::Refuse(refusal) => Err(*refusal),
        other => {
            let backend = other.backends().next().expect("a backend");
            let times = route.policy.as_ref().map(|policy| policy.timeouts.clone());
            let tls = backend.settings.tls.clone();
            Ok((backend.protocol(), tls, times.unwrap_or_default()))
        }
    }
}

/// Returns the findings about the annotation.
fn findings(index: &Index) -> Vec<(EventType, String)> {
    let all = index.findings().into_iter();
    let own = all.map(|one| (one.severity, one.message.to_string()));
    own.filter(|(_, message)| message.contains(ANNOTATION))
        .collect()
}

#[test]
fn the_terms_of_tls_are_those_of_the_object() {
    let host = |name: &str| Host::parse(name).expect("a host");
    for (spec, verify, name, authorities, has_identity) in [
        (json!({}), Verify::Always, None, "", false),
        (
            json!({"insecureSkipVerify": true, "serverName": "inside.example"}),
            Verify::Never,
            Some(host("inside.example")),
            "",
            false,
        ),
        (
            json!({"rootCAs": [{"secret": "ca"}], "certificatesSecrets": ["pair"]}),
            Verify::Always,
            None,
            "first",
            true,
        ),
        (
            json!({"rootCAsSecrets": ["traefik"], "rootCAs": [
                {"configMap": "roots"}, {"secret": "other"}]}),
            Verify::Always,
            None,
            "third\nmap\nsecond",
            false,
        ),
    ] {
        let mut index = with(spec.clone());
        // ConfigMaps are followed once they are named.
        let (protocol, tls, times) = made(&mut index).expect("terms");
        assert_eq!(findings(&index), [], "{spec}");
        assert_eq!(protocol, Protocol::Https);
        assert_eq!((tls.verify, tls.server_name), (verify, name), "{spec}");
        let terms = tls.terms.as_deref().cloned().unwrap_or_default();
        let certificates = terms.authorities.map(|one| one.certificates[0].to_vec());
        let certificates = String::from_utf8(certificates.unwrap_or_default()).expect("text");
        assert_eq!(certificates, authorities, "{spec}");
        assert_eq!(terms.identity.is_some(), has_identity, "{spec}");
        assert_eq!(times, Timeouts::default());
    }

    let mut index = with(json!({"rootCAs": [{"secret": "revoked"}]}));
    let (_, tls, _) = made(&mut index).expect("terms");
    let authorities = tls.terms.expect("terms").authorities.clone();
    let lists = authorities.expect("authorities").revocation_lists.len();
    assert_eq!(lists, 1);
}

#[test]
fn versions_and_suites_are_those_that_gatelet_has() {
    const SUITE: &str = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    let old = "TLS_RSA_WITH_AES_128_CBC_SHA";
    for (spec, versions, suites, notes) in [
        (
            json!({"minVersion": "VersionTLS10"}),
            TlsVersions::Both,
            None,
            0,
        ),
        (
            json!({"minVersion": "VersionTLS13", "maxVersion": "VersionTLS13"}),
            TlsVersions::Only13,
            None,
            0,
        ),
        (
            json!({"maxVersion": "VersionTLS12", "cipherSuites": [SUITE, old]}),
            TlsVersions::Only12,
            Some(&[0xc02f][..]),
            1,
        ),
        (json!({"cipherSuites": [old]}), TlsVersions::Only13, None, 1),
    ] {
        let mut index = with(spec.clone());
        let (_, tls, _) = made(&mut index).expect("terms");
        let terms = tls.terms.as_deref().cloned().unwrap_or_default();
        let found = (terms.versions, terms.suites.as_deref());
        assert_eq!(found, (versions, suites), "{spec}");
        assert_eq!(findings(&index).len(), notes, "{spec}");
    }
}

#[test]
fn times_and_http1_are_those_of_the_object() {
    let times = json!({"forwardingTimeouts": {"dialTimeout": "2s", "responseHeaderTimeout": 30}});
    let (_, _, found) = made(&mut with(times)).expect("terms");
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(
        (found.connect, found.response_header),
        (seconds(2), seconds(30))
    );
    let none = json!({"forwardingTimeouts": {"dialTimeout": 0, "idleConnTimeout": "1s"}});
    let mut index = with(none);
    let (_, _, found) = made(&mut index).expect("terms");
    assert_eq!(
        (found.connect, found.response_header),
        (Some(Duration::MAX), None)
    );
    let [(EventType::Normal, note)] = &findings(&index)[..] else {
        panic!("{:?}", findings(&index));
    };
    assert!(
        note.contains("spec.forwardingTimeouts.idleConnTimeout: the timeouts"),
        "{note}"
    );

    // The annotations of the Service come before those of the Ingress.
    let own = [("proxy-connect-timeout", "7"), ("proxy-read-timeout", "8")];
    let mut index = naming("default-own@kubernetescrd", &own, &[]);
    index.apply(apply(transport(
        json!({"forwardingTimeouts": {"dialTimeout": "2s"}}),
    )));
    let (_, _, found) = made(&mut index).expect("terms");
    assert_eq!(
        (found.connect, found.response_header),
        (seconds(2), seconds(8))
    );

    for (disabled, expected) in [(false, Protocol::H2), (true, Protocol::Https)] {
        let mut index = with(json!({"disableHTTP2": disabled}));
        let mut web = annotated(service("web"), &[(ANNOTATION, "default-own@kubernetescrd")]);
        web["spec"]["ports"][0]["appProtocol"] = "grpcs".into();
        index.apply(apply(web));
        assert_eq!(made(&mut index).expect("terms").0, expected);
    }
}

#[test]
fn one_that_cannot_be_met_closes_the_paths() {
    for (spec, problem) in [
        (
            json!({"serverName": "a b"}),
            "serverName: the host has a character",
        ),
        (json!({"serverName": 1}), "serverName: it is not a string"),
        (
            json!({"insecureSkipVerify": "true"}),
            "insecureSkipVerify: it is not true or false",
        ),
        (
            json!({"rootCAs": [{"secret": "gone"}]}),
            "rootCAs[0].secret: Secret gone does not exist",
        ),
        (
            json!({"rootCAs": [{"secret": "empty"}]}),
            "rootCAs[0].secret: Secret empty has neither",
        ),
        (
            json!({"rootCAs": [{"secret": "pair"}]}),
            "rootCAs[0].secret: Secret pair has neither",
        ),
        (
            json!({"rootCAs": [{"secret": "broken"}]}),
            "rootCAs: it cannot be used: ca.crt is broken",
        ),
        (
            json!({"rootCAs": [{"configMap": "gone"}]}),
            "rootCAs[0].configMap: ConfigMap gone does",
        ),
        (
            json!({"rootCAs": [{}]}),
            "rootCAs[0].secret: it is not one Secret or ConfigMap",
        ),
        (
            json!({"rootCAs": [{"secret": "ca", "configMap": "roots"}]}),
            "rootCAs[0].secret: it is not one Secret or ConfigMap",
        ),
        (
            json!({"rootCAs": vec![json!({"secret": "ca"}); 33]}),
            "rootCAs: there are too many",
        ),
        (
            json!({"rootCAsSecrets": ["gone"]}),
            "rootCAsSecrets: Secret gone does not exist",
        ),
        (
            json!({"certificatesSecrets": ["gone"]}),
            "certificatesSecrets: Secret gone does not",
        ),
        (
            json!({"certificatesSecrets": ["ca"]}),
            "certificatesSecrets: Secret ca has no tls.crt",
        ),
        (
            json!({"certificatesSecrets": ["half"]}),
            "certificatesSecrets: Secret half cannot be",
        ),
        (
            json!({"certificatesSecrets": ["pair", "pair"]}),
            "certificatesSecrets: backends get one certificate",
        ),
        (
            json!({"maxVersion": "VersionTLS11"}),
            "maxVersion: gatelet has TLS 1.2 and 1.3",
        ),
        (
            json!({"minVersion": "1.2"}),
            "minVersion: it is not VersionTLS10 to VersionTLS13",
        ),
        (
            json!({"minVersion": "VersionTLS13", "maxVersion": "VersionTLS12"}),
            "maxVersion: it is below minVersion",
        ),
        (
            json!({"maxVersion": "VersionTLS12", "cipherSuites": ["nonsense"]}),
            "cipherSuites: gatelet has none of them",
        ),
        (
            json!({"forwardingTimeouts": {"dialTimeout": "soon"}}),
            "forwardingTimeouts.dialTimeout: it is not a time",
        ),
        (
            json!({"peerCertURI": "spiffe://a"}),
            "peerCertURI: the names of URIs are not verified",
        ),
        (
            json!({"peerCertSANs": [{"type": "URI"}]}),
            "peerCertSANs: the names of a list are not",
        ),
        (
            json!({"spiffe": {"ids": ["a"]}}),
            "spiffe: gatelet has no identity of SPIFFE",
        ),
        (
            json!({"other": 1}),
            "other: gatelet does not know this field",
        ),
    ] {
        let mut index = with(spec.clone());
        assert_eq!(made(&mut index), Err(Refusal::UnmetBackendTls), "{spec}");
        let found = findings(&index);
        let expected = format!("ServersTransport default/own: spec.{problem}");
        let has = |(severity, message): &(EventType, String)| {
            *severity == EventType::Warning
                && message.contains(&expected)
                && message.ends_with(": the paths return 503")
        };
        assert!(found.iter().any(has), "{spec}: {found:?}");
    }

    for name in [
        "default-gone@kubernetescrd",
        "own@file",
        "default-own",
        "@kubernetescrd",
    ] {
        let mut index = naming(name, &[], &[]);
        index.apply(apply(transport(json!({}))));
        assert_eq!(made(&mut index), Err(Refusal::UnmetBackendTls), "{name}");
        // Nothing else of the Ingress decides about it.
        let ignore = [("gatelet.dev/unsupported-guards", "ignore")];
        let mut index = naming(name, &ignore, &ignore);
        assert_eq!(made(&mut index), Err(Refusal::UnmetBackendTls), "{name}");
    }
    assert!(made(&mut naming("", &[], &[])).is_ok());
}

#[test]
fn a_route_opens_and_closes_with_its_transport() {
    let spec = json!({"rootCAs": [{"secret": "ca"}, {"configMap": "roots"}]});
    let closed = Err(Refusal::UnmetBackendTls);
    let mut index = naming("default-own@kubernetescrd", &[], &[]);
    assert_eq!(made(&mut index), closed);
    index.apply(apply(transport(spec)));
    assert!(made(&mut index).is_ok());
    assert_eq!(findings(&index), []);

    index.apply(delete(Kind::Secret, "ca"));
    assert_eq!(made(&mut index), closed);
    index.apply(apply(secret("ca", &[("ca.crt", "first")])));
    assert!(made(&mut index).is_ok());
    index.apply(delete(Kind::ConfigMap, "roots"));
    assert_eq!(made(&mut index), closed);
    index.apply(apply(transport(json!({}))));
    assert!(made(&mut index).is_ok());

    index.apply(Event::Reset(Kind::ServersTransport, Vec::new()));
    assert_eq!(made(&mut index), closed);
    index.apply(Event::Refused(Kind::ServersTransport));
    assert_eq!(made(&mut index), closed);
    let (_, message) = &findings(&index)[0];
    let what = "the cluster does not show ServersTransports: grant list and watch of \
                serverstransports.traefik.io";
    assert!(message.contains(what), "{message}");
    index.apply(Event::Reset(
        Kind::ServersTransport,
        vec![object(transport(json!({})))],
    ));
    assert!(made(&mut index).is_ok());
    index.apply(delete(Kind::ServersTransport, "own"));
    assert_eq!(made(&mut index), closed);
}

#[test]
fn a_middleware_with_the_same_name_is_another_object() {
    let mut index = naming("default-own@kubernetescrd", &[], &[]);
    index.apply(apply(json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "Middleware",
        "metadata": {"name": "own"}, "spec": {"stripPrefix": {"prefixes": ["/a"]}},
    })));
    assert_eq!(made(&mut index), Err(Refusal::UnmetBackendTls));
}
