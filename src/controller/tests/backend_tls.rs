//! TLS to backends: the terms that annotations and Secrets make, and each way in which they can
//! fail.

use super::{
    client_certificates::{index, secret},
    *,
};
use crate::routing::{BackendTls, CertificateNames, Host, RequestName, TlsVersions, Verify};

const PAIR: [(&str, &str); 2] = [("tls.crt", "chain"), ("tls.key", "key")];
const BOTH: [(&str, &str); 3] = [PAIR[0], PAIR[1], ("ca.crt", "first")];
const NAMED: (&str, &str) = ("proxy-ssl-secret", "default/tls");

/// Returns an index with a Secret `tls`, and an Ingress with these annotations.
fn with(data: &[(&str, &str)], annotations: &[(&str, &str)]) -> Index {
    let mut index = index();
    index.apply(apply(secret("tls", data)));
    let object = ingress("web", "a.example", "/", "web");
    index.apply(apply(annotated(object, annotations)));
    index
}

/// Returns the terms of TLS to the backend, as of the last compile.
fn terms(index: &Index) -> Result<BackendTls, Refusal> {
    let found = index.table().find(Some("a.example"), "/", &GET);
    match &found.expect("a route").route.action {
        Action::Refuse(refusal) => Err(*refusal),
        other => {
            let backend = other.backends().next().expect("a backend");
            Ok(backend.settings.tls.clone())
        }
    }
}

fn reasons_of(output: &Output) -> Vec<&'static str> {
    let reasons = reasons(output).into_iter();
    reasons.map(|(_, reason)| reason).collect()
}

#[test]
fn a_secret_has_the_certificate_and_the_authorities() {
    for (data, has_identity, has_authorities) in [
        (&BOTH[..], true, true),
        (&PAIR, true, false),
        (&BOTH[2..], false, true),
    ] {
        let mut index = with(data, &[NAMED]);
        assert!(reasons_of(&index.compile()).is_empty(), "{data:?}");
        let tls = terms(&index).expect("terms");
        let terms = tls.terms.as_ref().expect("terms");
        assert_eq!(terms.identity.is_some(), has_identity);
        assert_eq!(terms.authorities.is_some(), has_authorities);
        assert_eq!(terms.depth, has_authorities.then_some(1));
        // As in ingress-nginx, nothing is verified without another annotation.
        assert_eq!(tls.verify, Verify::Default);
    }

    let mut index = with(
        &BOTH,
        &[
            NAMED,
            ("proxy-ssl-verify", "on"),
            ("proxy-ssl-verify-depth", "3"),
            ("proxy-ssl-name", "inside.example"),
            ("proxy-ssl-server-name", "off"),
            ("proxy-ssl-protocols", "TLSv1.1 TLSv1.3"),
            ("proxy-ssl-ciphers", "ECDHE-RSA-AES128-GCM-SHA256"),
        ],
    );
    assert!(reasons_of(&index.compile()).is_empty());
    let tls = terms(&index).expect("terms");
    let terms = tls.terms.as_ref().expect("terms");
    assert_eq!(tls.verify, Verify::Always);
    assert_eq!(terms.depth, Some(3));
    assert!(terms.hides_name && terms.names == CertificateNames::Endpoint);
    assert_eq!(terms.versions, TlsVersions::Only13);
    assert_eq!(terms.suites.as_deref(), Some(&[0xc02f][..]));
    let identity = terms.identity.as_ref().expect("an identity");
    assert_eq!(
        (identity.chain(), identity.key()),
        (&b"chain"[..], &b"key"[..])
    );
}

#[test]
fn a_secret_that_cannot_be_used_closes_the_paths() {
    for (data, annotation, reason) in [
        (&BOTH[..], ("proxy-ssl-secret", "missing"), "SecretNotFound"),
        (
            &BOTH,
            ("proxy-ssl-secret", "elsewhere/tls"),
            "InvalidAnnotation",
        ),
        (&[("tls.crt", "broken"), PAIR[1]], NAMED, "InvalidSecret"),
        (
            &[PAIR[0], PAIR[1], ("ca.crt", "broken")],
            NAMED,
            "InvalidSecret",
        ),
        (&PAIR[..1], NAMED, "InvalidSecret"),
        (&[PAIR[1], BOTH[2]], NAMED, "InvalidSecret"),
        (&[("other", "x")], NAMED, "InvalidSecret"),
    ] {
        let mut index = with(data, &[annotation]);
        let output = index.compile();
        assert_eq!(terms(&index), Err(Refusal::UnmetBackendTls), "{data:?}");
        assert_eq!(reasons_of(&output), [reason], "{data:?}");
        let findings = output.findings.expect("findings");
        assert!(findings[0].field.ends_with("proxy-ssl-secret]"));
        assert!(
            findings[0]
                .message
                .to_string()
                .ends_with("the paths return 503")
        );
    }
}

#[test]
fn a_secret_that_changes_makes_other_terms() {
    let mut index = with(&BOTH, &[NAMED]);
    index.compile();
    let first = terms(&index).expect("terms");

    let next = [("tls.crt", "chain"), ("tls.key", "next"), BOTH[2]];
    index.apply(apply(secret("tls", &next)));
    assert!(index.compile().table.is_some());
    let second = terms(&index).expect("terms");
    assert_ne!(first, second, "connections are pooled by it");

    index.apply(apply(secret("tls", &BOTH)));
    index.compile();
    assert_eq!(terms(&index), Ok(first));

    index.apply(delete(Kind::Secret, "tls"));
    index.compile();
    assert_eq!(terms(&index), Err(Refusal::UnmetBackendTls));
}

#[test]
fn equal_terms_of_two_ingresses_are_one() {
    let mut index = with(&BOTH, &[NAMED]);
    let other = ingress("other", "b.example", "/", "web");
    index.apply(apply(annotated(other, &[NAMED])));
    index.compile();
    let of = |host| {
        let found = index.table().find(Some(host), "/", &GET).expect("a route");
        let backend = found.route.action.backends().next().expect("a backend");
        backend.settings.tls.terms.clone().expect("terms")
    };
    assert!(Arc::ptr_eq(&of("a.example"), &of("b.example")));
}

#[test]
fn suites_that_gatelet_lacks_leave_newer_versions() {
    let old = ("proxy-ssl-ciphers", "AES128-SHA:RC4");
    let mut index = with(&PAIR, &[old]);
    assert_eq!(reasons_of(&index.compile()), ["UnsupportedAnnotation"]);
    let tls = terms(&index).expect("terms");
    let versions = tls.terms.map(|terms| terms.versions);
    assert_eq!(versions, Some(TlsVersions::Only13));

    let mut index = with(&PAIR, &[old, ("proxy-ssl-protocols", "TLSv1.2")]);
    let reasons = reasons_of(&index.compile());
    assert_eq!(reasons, ["InvalidAnnotation", "UnsupportedAnnotation"]);
    assert_eq!(terms(&index), Err(Refusal::UnmetBackendTls));
}

#[test]
fn a_depth_without_authorities_is_reported() {
    for (data, annotations) in [
        (&PAIR[..], &[("proxy-ssl-verify-depth", "2")][..]),
        (&PAIR, &[NAMED, ("proxy-ssl-verify-depth", "2")]),
    ] {
        let mut index = with(data, annotations);
        assert_eq!(reasons_of(&index.compile()), ["UnsupportedAnnotation"]);
    }
}

#[test]
fn a_canary_has_the_tls_of_its_main_ingress() {
    let mut index = with(&BOTH, &[NAMED]);
    index.apply(apply(service("next")));
    let canary = ingress("canary", "a.example", "/", "next");
    let annotations = [
        ("canary", "true"),
        ("canary-weight", "50"),
        ("proxy-ssl-secret", "missing"),
    ];
    index.apply(apply(annotated(canary, &annotations)));
    assert!(reasons_of(&index.compile()).is_empty());

    let found = index.table().find(Some("a.example"), "/", &GET);
    let backends = found.expect("a route").route.action.backends();
    let all: Vec<BackendTls> = backends.map(|one| one.settings.tls.clone()).collect();
    assert_eq!((all.len(), &all[0]), (2, &all[1]));
    assert!(all[0].terms.is_some());
}

/// Returns the protocol and the terms of TLS with annotations on the Ingress and on the Service,
/// and the reasons of findings.
fn haproxy(
    on_ingress: &[(&str, &str)],
    on_service: &[(&str, &str)],
) -> (Result<(Protocol, BackendTls), Refusal>, Vec<&'static str>) {
    let full = |annotations: &[(&str, &str)]| -> Vec<(String, String)> {
        let name = |name: &str| match name.split_once('/') {
            Some(_) => name.to_owned(),
            None if name.starts_with("server-") => format!("haproxy.org/{name}"),
            None => format!("haproxy-ingress.github.io/{name}"),
        };
        let pairs = annotations.iter();
        pairs
            .map(|(key, value)| (name(key), (*value).to_owned()))
            .collect()
    };
    let with = |object: Value, annotations: Vec<(String, String)>| {
        let pairs: Vec<(&str, &str)> = annotations
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        annotated(object, &pairs)
    };

    let mut index = index();
    index.apply(apply(secret("pair", &PAIR)));
    index.apply(apply(secret("tech", &[("tls.crt", "second")])));
    index.apply(apply(with(service("web"), full(on_service))));
    let object = ingress("web", "a.example", "/", "web");
    index.apply(apply(with(object, full(on_ingress))));
    let reasons = reasons_of(&index.compile());

    let found = index.table().find(Some("a.example"), "/", &GET);
    let found = match &found.expect("a route").route.action {
        Action::Refuse(refusal) => Err(*refusal),
        other => {
            let settings = &other.backends().next().expect("a backend").settings;
            Ok((settings.protocol, settings.tls.clone()))
        }
    };
    (found, reasons)
}

#[test]
fn annotations_of_haproxy_make_the_same_terms() {
    let host = Host::parse("inside.example").expect("a host");
    let secured = ("secure-backends", "true");
    let ca = ("secure-verify-ca-secret", "ca");
    let named = ("secure-verify-hostname", "inside.example");
    for (annotations, protocol, verify, names) in [
        (&[secured][..], Protocol::Https, Verify::Default, None),
        (
            &[("secure-backends", "false")],
            Protocol::Http1,
            Verify::Default,
            None,
        ),
        (
            &[("backend-protocol", "h1-ssl")],
            Protocol::Https,
            Verify::Default,
            None,
        ),
        (
            &[secured, ("backend-protocol", "h2")],
            Protocol::H2,
            Verify::Default,
            None,
        ),
        (
            &[secured, ca],
            Protocol::Https,
            Verify::Always,
            Some(CertificateNames::Any),
        ),
        (
            &[secured, ca, named],
            Protocol::Https,
            Verify::Always,
            Some(CertificateNames::Host(host.clone())),
        ),
        (
            &[secured, ca, ("secure-sni", "inside.example")],
            Protocol::Https,
            Verify::Always,
            Some(CertificateNames::Endpoint),
        ),
        (
            &[("server-ssl", "true")],
            Protocol::Https,
            Verify::Default,
            None,
        ),
        (
            &[("server-proto", "h2")],
            Protocol::H2c,
            Verify::Default,
            None,
        ),
        (
            &[("server-ca", "default/tech")],
            Protocol::Https,
            Verify::Always,
            Some(CertificateNames::Any),
        ),
        (
            &[("server-crt", "pair"), ("server-proto", "h2")],
            Protocol::H2,
            Verify::Default,
            Some(CertificateNames::Endpoint),
        ),
    ] {
        // Both read them on Ingresses and on Services.
        for (on_ingress, on_service) in [(annotations, &[][..]), (&[], annotations)] {
            let (found, reasons) = haproxy(on_ingress, on_service);
            let (own, tls) = found.expect("terms");
            assert_eq!((own, tls.verify), (protocol, verify), "{annotations:?}");
            let terms = tls.terms.as_ref();
            assert_eq!(terms.map(|terms| terms.names.clone()), names);
            let is_verified = terms.is_some_and(|terms| terms.authorities.is_some());
            assert_eq!(is_verified, verify == Verify::Always, "{annotations:?}");
            let is_named = annotations.iter().any(|(name, _)| *name == "secure-sni");
            assert_eq!(tls.server_name, is_named.then(|| host.clone()));
            assert!(reasons.is_empty(), "{annotations:?}: {reasons:?}");
        }
    }
}

#[test]
fn annotations_of_haproxy_that_cannot_be_met_close_the_paths() {
    for (annotations, reason) in [
        (&[("secure-crt-secret", "ca")][..], "InvalidSecret"),
        (&[("secure-crt-secret", "missing")], "SecretNotFound"),
        (
            &[("secure-crt-secret", "file:///dir/crt.pem")],
            "InvalidAnnotation",
        ),
        (&[("secure-verify-ca-secret", "pair")], "InvalidSecret"),
        (&[("secure-verify-ca-secret", "missing")], "SecretNotFound"),
        (&[("server-ca", "ca")], "InvalidSecret"),
        (&[("server-ca", "missing")], "SecretNotFound"),
        (
            &[
                ("secure-crt-secret", "pair"),
                ("nginx.ingress.kubernetes.io/proxy-ssl-secret", "other-pair"),
            ],
            "SecretNotFound",
        ),
    ] {
        for (on_ingress, on_service) in [(annotations, &[][..]), (&[], annotations)] {
            if on_service.len() > 1 {
                continue;
            }
            let (found, reasons) = haproxy(on_ingress, on_service);
            assert_eq!(found, Err(Refusal::UnmetBackendTls), "{annotations:?}");
            assert_eq!(reasons, [reason], "{annotations:?}");
        }
    }

    let two = [
        ("secure-verify-ca-secret", "ca"),
        ("nginx.ingress.kubernetes.io/proxy-ssl-secret", "other"),
    ];
    let (found, reasons) = haproxy(&two, &[]);
    assert_eq!(
        (found, reasons),
        (Err(Refusal::UnmetBackendTls), vec!["InvalidAnnotation"])
    );
    let (_, reasons) = haproxy(&[("secure-verify-hostname", "a.example")], &[]);
    assert_eq!(reasons, ["UnsupportedAnnotation"]);
}

#[test]
fn a_service_decides_before_its_ingress() {
    let on_ingress = [
        ("secure-backends", "true"),
        ("secure-verify-ca-secret", "ca"),
    ];
    let (found, _) = haproxy(&on_ingress, &[("secure-verify-ca-secret", "other")]);
    let (protocol, tls) = found.expect("terms");
    let terms = tls.terms.expect("terms");
    let authorities = terms.authorities.as_ref().expect("authorities");
    assert_eq!(
        (protocol, &*authorities.certificates[0]),
        (Protocol::Https, &b"second"[..])
    );

    let both = [
        ("secure-backends", "true"),
        ("ssl-ciphers-backend", "ECDHE-RSA-AES256-GCM-SHA384"),
    ];
    let own = [("ssl-ciphers-backend", "ECDHE-RSA-AES128-GCM-SHA256")];
    for (on_ingress, on_service) in [
        (&both[..], &own[..]),
        (&both[..1], &own),
        (&own, &both[..1]),
    ] {
        let (found, reasons) = haproxy(on_ingress, on_service);
        let suites = found.expect("terms").1.terms.expect("terms").suites.clone();
        assert_eq!((suites.as_deref(), reasons), (Some(&[0xc02f][..]), vec![]));
    }

    let traefik = "traefik.ingress.kubernetes.io/service.";
    let scheme = format!("{traefik}serversscheme");
    for (value, expected) in [("https", Protocol::Https), ("h2c", Protocol::H2c)] {
        let (found, reasons) = haproxy(&[], &[(&scheme, value)]);
        assert_eq!((found.expect("terms").0, reasons), (expected, vec![]));
    }
}

#[test]
fn the_scheme_of_the_client_chooses_between_two_backends() {
    let mut index = with(&BOTH, &[NAMED, ("backend-protocol", "AUTO_HTTP")]);
    let endpoints = json!([{"addresses": ["10.0.0.1"]}]);
    index.apply(apply(slice("web-1", "web", endpoints)));
    live(&index.compile());

    let found = index.table().find(Some("a.example"), "/", &GET);
    let Action::Forward(split) = found.expect("a route").route.action.clone() else {
        panic!("a backend");
    };
    let backend = split.choose(&GET, || 0).expect("a backend");
    for (is_https, protocol) in [(false, Protocol::Http1), (true, Protocol::Https)] {
        let chosen = backend.for_scheme(is_https);
        assert_eq!(chosen.protocol(), protocol);
        assert!(chosen.settings.tls.terms.is_some());
        assert!(matches!(**chosen.endpoints(), EndpointSet::Addresses(_)));
    }
    let protocols = split.backends().map(|one| one.protocol());
    let protocols: Vec<Protocol> = protocols.collect();
    assert_eq!(protocols, [Protocol::Http1, Protocol::Https]);

    // They stay the same as long as the route does.
    index.apply(apply(service("other")));
    index.compile();
    let again = index.table().find(Some("a.example"), "/", &GET);
    let again = again.expect("a route").route.action.backends();
    assert!(
        again
            .zip(split.backends())
            .all(|(one, other)| Arc::ptr_eq(one, other))
    );
}

#[test]
fn names_of_requests_are_sent_and_verified() {
    let (secured, ca) = (
        ("secure-backends", "true"),
        ("secure-verify-ca-secret", "ca"),
    );
    let host = Host::parse("inside.example").expect("a host");
    for (sni, name) in [("host", RequestName::Host), ("sni", RequestName::Sni)] {
        let sni = ("secure-sni", sni);
        for (on_ingress, on_service) in [
            (&[secured, ca, sni][..], &[][..]),
            (&[], &[secured, ca, sni]),
            (&[secured, ca], &[sni]),
            (&[secured, ca, ("secure-sni", "inside.example")], &[sni]),
        ] {
            let (found, reasons) = haproxy(on_ingress, on_service);
            let (_, tls) = found.expect("terms");
            assert_eq!((tls.request_name, &tls.server_name), (Some(name), &None));
            let names = tls.terms.map(|terms| terms.names.clone());
            assert_eq!(names, Some(CertificateNames::Endpoint));
            assert!(reasons.is_empty(), "{reasons:?}");
        }

        let own = ("secure-verify-hostname", "inside.example");
        let (found, _) = haproxy(&[secured, ca, sni, own], &[]);
        let names = found.expect("terms").1.terms.expect("terms").names.clone();
        assert_eq!(names, CertificateNames::Host(host.clone()));
    }
}
