//! Certificates of clients: the terms of hosts that annotations and Secrets make, and each way in
//! which they can fail.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;
use crate::routing::{Authorities, CertificateFields, ClientCertificates, Refusal, VerifyClient};

const CA: (&str, &str) = ("auth-tls-secret", "default/ca");

/// A Secret with these keys.
pub(super) fn secret(name: &str, data: &[(&str, &str)]) -> Value {
    let data = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Value::from(STANDARD.encode(value))));
    let data: serde_json::Map<String, Value> = data.collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data})
}

/// An index whose reader takes every text but `broken` for authorities.
pub(super) fn index() -> Index {
    let read = |ca: &[u8], crl: Option<&[u8]>| match ca {
        b"broken" => Err(InvalidAuthorities("ca.crt is broken".to_owned())),
        ca => Ok(Authorities {
            id: [ca[0]; 32],
            certificates: [ca.into()].into(),
            revocation_lists: crl.map(Into::into).into_iter().collect(),
            ..Authorities::default()
        }),
    };
    let mut index = super::index().reading_authorities(Box::new(read));
    index.apply(apply(service("web")));
    index.apply(apply(secret("ca", &[("ca.crt", "first")])));
    index.apply(apply(secret("other", &[("ca.crt", "second")])));
    index
}

/// An Ingress for a path of `a.example` that is as old as its number.
fn asking(number: u32, name: &str, annotations: &[(&str, &str)]) -> Value {
    let path = format!("/{name}");
    let mut object = annotated(ingress(name, "a.example", &path, "web"), annotations);
    object["metadata"]["creationTimestamp"] = format!("2026-01-0{number}T00:00:00Z").into();
    object
}

fn terms(index: &Index, host: &str) -> Option<Arc<ClientCertificates>> {
    let host = index.table().host(Some(host))?;
    host.client_certificates().cloned()
}

/// Returns the terms that annotations of one Ingress make, and the reasons of findings.
fn made(annotations: &[(&str, &str)]) -> (Option<Arc<ClientCertificates>>, Vec<&'static str>) {
    let mut index = index();
    index.apply(apply(asking(1, "web", annotations)));
    let output = index.compile();
    let reasons = reasons(&output).into_iter().map(|(_, reason)| reason);
    (terms(&index, "a.example"), reasons.collect())
}

#[test]
fn annotations_become_the_terms_of_a_host() {
    let (made_terms, reasons) = made(&[
        CA,
        ("auth-tls-verify-client", "optional_no_ca"),
        ("auth-tls-verify-depth", "3"),
        ("auth-tls-error-page", "https://b.example/error"),
        ("auth-tls-pass-certificate-to-upstream", "true"),
        ("auth-tls-match-cn", "CN=ann"),
    ]);
    assert!(reasons.is_empty(), "{reasons:?}");
    let terms = made_terms.expect("terms");
    assert_eq!(terms.verify, VerifyClient::OptionalNoCa);
    assert_eq!((terms.depth, &*terms.from).0, 3);
    assert_eq!(terms.error_page.as_deref(), Some("https://b.example/error"));
    let subject = terms.subject.as_ref().expect("a subject");
    assert!(subject.matches("CN=ann,O=shop") && !subject.matches("CN=bob"));
    let fields = CertificateFields {
        certificate: true,
        ..CertificateFields::default()
    };
    assert_eq!(terms.fields, fields);
    let authorities = terms.authorities.as_ref().expect("authorities");
    assert_eq!(&*authorities.certificates[0], b"first");

    let (defaults, _) = made(&[CA]);
    let defaults = defaults.expect("terms");
    assert_eq!((defaults.verify, defaults.depth), (VerifyClient::On, 1));
}

#[test]
fn haproxy_has_fields_of_its_own() {
    let (terms, reasons) = made(&[
        ("haproxy-ingress.github.io/auth-tls-secret", "ca"),
        ("haproxy-ingress.github.io/auth-tls-cert-header", "true"),
        ("haproxy-ingress.github.io/auth-tls-strict", "false"),
    ]);
    assert!(reasons.is_empty(), "{reasons:?}");
    let fields = CertificateFields {
        certificate: false,
        haproxy: true,
        haproxy_certificate: true,
    };
    assert_eq!(terms.expect("terms").fields, fields);
}

#[test]
fn terms_that_cannot_be_made_close_the_host() {
    for (annotations, refusal, reason) in [
        (
            &[("auth-tls-secret", "default/missing")][..],
            Refusal::UnknownAuthorities,
            "SecretNotFound",
        ),
        (
            &[("auth-tls-secret", "elsewhere/ca")],
            Refusal::InvalidGuard,
            "InvalidAnnotation",
        ),
        (
            &[("auth-tls-secret", "broken")],
            Refusal::UnknownAuthorities,
            "InvalidSecret",
        ),
        (
            &[("auth-tls-secret", "empty")],
            Refusal::UnknownAuthorities,
            "InvalidSecret",
        ),
        (
            &[CA, ("auth-tls-verify-client", "yes")],
            Refusal::InvalidGuard,
            "InvalidAnnotation",
        ),
        (
            &[CA, ("auth-tls-match-cn", "ann")],
            Refusal::InvalidGuard,
            "InvalidAnnotation",
        ),
        (
            &[CA, ("gatelet.dev/auth-tls-secret", "other")],
            Refusal::InvalidGuard,
            "InvalidAnnotation",
        ),
    ] {
        let mut index = index();
        index.apply(apply(secret("broken", &[("ca.crt", "broken")])));
        index.apply(apply(secret("empty", &[("tls.crt", "x")])));
        index.apply(apply(asking(1, "web", &[])));
        index.apply(apply(asking(2, "guarded", annotations)));
        let output = index.compile();
        let terms = terms(&index, "a.example").expect("terms");
        assert_eq!(terms.authorities, Err(refusal), "{annotations:?}");
        assert_eq!(reasons(&output), [("guarded".to_owned(), reason)]);
    }
}

#[test]
fn a_secret_that_changes_changes_the_terms() {
    let mut index = index();
    index.apply(apply(asking(1, "web", &[CA])));
    index.compile();
    let known = |index: &Index| {
        let terms = terms(index, "a.example").expect("terms");
        terms
            .authorities
            .clone()
            .map(|one| one.certificates[0].clone())
    };
    assert_eq!(known(&index), Ok(b"first"[..].into()));

    index.apply(apply(secret("ca", &[("ca.crt", "next")])));
    assert!(index.compile().table.is_some());
    assert_eq!(known(&index), Ok(b"next"[..].into()));

    index.apply(delete(Kind::Secret, "ca"));
    index.compile();
    assert_eq!(known(&index), Err(Refusal::UnknownAuthorities));

    index.apply(delete(Kind::Ingress, "web"));
    index.compile();
    assert!(!index.table().has_client_certificates());
}

#[test]
fn the_oldest_ingress_decides_for_the_host() {
    let other = [("auth-tls-secret", "other")];
    let mut index = index();
    index.apply(apply(asking(1, "plain", &[])));
    index.apply(apply(asking(2, "first", &[CA])));
    index.apply(apply(asking(3, "second", &other)));
    let page = ("auth-tls-error-page", "https://b.example/");
    index.apply(apply(asking(4, "same", &[CA, page])));
    let output = index.compile();

    let terms = terms(&index, "a.example").expect("terms");
    let authorities = terms.authorities.as_ref().expect("authorities");
    assert_eq!(&*authorities.certificates[0], b"first");
    assert_eq!(terms.error_page, None);
    let met = ["/plain", "/first", "/second", "/same"].map(|path| met(&index, "a.example", path));
    assert_eq!(met, ["empty", "empty", "InvalidGuard", "empty"]);
    let expected = [("same", "HostTaken"), ("second", "HostTaken")];
    assert_eq!(
        reasons(&output),
        expected.map(|(name, reason)| (name.to_owned(), reason))
    );
}

#[test]
fn a_namespace_decides_for_its_own_hosts_alone() {
    let mut index = index();
    index.apply(apply(asking(1, "plain", &[])));
    let mut guest = asking(2, "guest", &[("auth-tls-secret", "ca")]);
    guest["metadata"]["namespace"] = "other".into();
    for mut object in [service("web"), secret("ca", &[("ca.crt", "first")])] {
        object["metadata"]["namespace"] = "other".into();
        index.apply(apply(object));
    }
    index.apply(apply(guest.clone()));
    index.compile();
    assert!(terms(&index, "a.example").is_none());
    assert_eq!(met(&index, "a.example", "/plain"), "empty");
    assert_eq!(met(&index, "a.example", "/guest"), "InvalidGuard");

    // With the same terms as the owner's it is served.
    index.apply(apply(asking(1, "plain", &[CA])));
    index.compile();
    assert_eq!(met(&index, "a.example", "/guest"), "empty");
}

#[test]
fn other_names_of_a_host_have_its_terms() {
    let mut index = index();
    let alias = ("server-alias", "c.example");
    index.apply(apply(asking(1, "web", &[CA, alias])));
    index.compile();
    assert_eq!(terms(&index, "c.example"), terms(&index, "a.example"));
    assert!(terms(&index, "c.example").is_some());
}

#[test]
fn every_request_cannot_be_asked_for_a_certificate() {
    let mut index = index();
    let mut all = annotated(ingress("all", "", "/", "web"), &[CA]);
    all["spec"] = json!({"defaultBackend":
        {"service": {"name": "web", "port": {"number": 80}}}});
    index.apply(apply(all));
    let output = index.compile();
    assert_eq!(met(&index, "a.example", "/"), "InvalidGuard");
    assert_eq!(reasons(&output), [("all".to_owned(), "InvalidAnnotation")]);

    // A rule without a host has terms.
    index.apply(apply(annotated(ingress("all", "", "/", "web"), &[CA])));
    index.compile();
    assert!(terms(&index, "a.example").is_some());
    assert_eq!(met(&index, "a.example", "/"), "empty");
}

#[test]
fn tls_that_is_passed_through_is_closed() {
    let mut index = index();
    let annotations = [CA, ("ssl-passthrough", "true")];
    let passed = annotated(ingress("web", "a.example", "/", "web"), &annotations);
    index.apply(apply(passed));
    let output = index.compile();
    let passthrough = index.table().passthrough("a.example").expect("one");
    assert!(passthrough.target.is_err());
    assert_eq!(reasons(&output), [("web".to_owned(), "UnsupportedGuard")]);
}

#[test]
fn a_service_cannot_ask_for_certificates() {
    let mut index = index();
    let names = [
        "haproxy-ingress.github.io/auth-tls-secret",
        "gatelet.dev/auth-tls-secret",
    ];
    for name in names {
        let mut web = service("web");
        web["metadata"]["annotations"] = json!({name: "ca"});
        index.apply(apply(web));
        index.apply(apply(asking(1, "web", &[])));
        let output = index.compile();
        assert_eq!(met(&index, "a.example", "/web"), "InvalidGuard", "{name}");
        assert_eq!(reasons(&output), [("web".to_owned(), "UnsupportedGuard")]);
    }
}

#[test]
fn details_without_authorities_are_reported() {
    let (terms, reasons) = made(&[("auth-tls-verify-client", "on")]);
    assert!(terms.is_none());
    assert_eq!(reasons, ["UnsupportedAnnotation"]);
    let (terms, reasons) = made(&[CA, ("auth-tls-verify-client", "off")]);
    assert!(reasons.is_empty() && terms.is_some_and(|terms| !terms.asks()));
}
