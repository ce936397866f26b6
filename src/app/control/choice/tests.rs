use std::{collections::BTreeMap, time::SystemTime};

use rcgen::{CertificateParams, DnType, Issuer, KeyPair};

use super::*;
use crate::{
    acme::plan::record::StoredCertificate,
    controller::CertificateSource,
    objects::{Kind, ObjectRef},
};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const DAY: i64 = 86_400;

fn key(kind: Kind, namespace: &str, name: &str) -> Key {
    Key {
        kind,
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// Makes a pair of a CA for names that ends some days after now: chain and key, PEM.
fn pair(names: &[&str], days: i64) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.not_before = SystemTime::from(NOW - 100 * DAY).into();
    params.not_after = SystemTime::from(NOW + days * DAY).into();
    let key = KeyPair::generate().expect("a key");

    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "lab");
    let ca = Issuer::new(ca, KeyPair::generate().expect("a key"));
    let certificate = params.signed_by(&key, &ca).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

fn stored(names: &[&str], days: i64) -> StoredCertificate {
    let (chain, key) = pair(names, days);
    StoredCertificate {
        chain,
        key,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        issuer: "lab".to_owned(),
        directory: "https://ca.example.net".to_owned(),
        not_before: NOW - 100 * DAY,
        not_after: NOW + days * DAY,
        stored: NOW,
        print: 0,
        ari: String::new(),
        revoked: false,
        adopted: false,
        unwanted: None,
        previous: None,
    }
}

fn secret(name: &str, names: &[&str], days: i64) -> (Key, Arc<Certificate>) {
    let (chain, private_key) = pair(names, days);
    let read = Certificate::from_pem(chain.as_bytes(), private_key.as_bytes());
    let (namespace, name) = name.split_once('/').expect("namespace/name");
    let key = key(Kind::Secret, namespace, name);
    (key, Arc::new(read.expect("a pair")))
}

/// Chooses for `a.example` of an Ingress in `web`, whose certificate is `web/new`.
fn choose(
    stored: &[(&str, StoredCertificate)],
    own: Option<&(Key, Arc<Certificate>)>,
    secrets: &[(Key, Arc<Certificate>)],
) -> String {
    let stored: BTreeMap<String, StoredCertificate> = stored
        .iter()
        .map(|(id, stored)| ((*id).to_owned(), stored.clone()))
        .collect();
    let active = ActiveCertificates::of(&stored, &BTreeMap::new());
    let host = TlsHost {
        pattern: HostPattern::parse("a.example").expect("a host"),
        source: CertificateSource::Local,
        ingress: ObjectRef {
            key: key(Kind::Ingress, "web", "app"),
            uid: "1".into(),
        },
        secret_name: None,
        certificate: Some("web/new".into()),
    };
    let choice = Choices::new(&active, secrets, Some(NOW)).choose(&host, own);
    match choice {
        None => "local CA".to_owned(),
        Some(choice) if choice.is_revoked => format!("{} revoked", choice.describe()),
        Some(choice) => choice.describe(),
    }
}

fn revoked(stored: StoredCertificate) -> StoredCertificate {
    StoredCertificate {
        revoked: true,
        ..stored
    }
}

#[test]
fn a_stored_certificate_serves_until_the_new_one_is_there() {
    let (good, other) = (stored(&["a.example"], 60), stored(&["b.example"], 60));
    // A renamed Secret; an Ingress from another namespace; a wildcard; a host more.
    for (id, one) in [
        ("web/old", good.clone()),
        ("elsewhere/old", good.clone()),
        ("web/~*.example", stored(&["*.example"], 60)),
        ("web/~b.example", stored(&["b.example", "a.example"], 60)),
    ] {
        let expected = format!("lab (certificate {id})");
        assert_eq!(choose(&[(id, one.clone())], None, &[]), expected);

        let new = [("web/new", good.clone()), (id, one)];
        assert_eq!(choose(&new, None, &[]), "lab");
    }

    for one in [other, stored(&["a.example"], -1), revoked(good)] {
        assert_eq!(choose(&[("web/old", one)], None, &[]), "local CA");
    }
}

#[test]
fn secrets_of_another_namespace_serve_nothing_here() {
    let adopted = StoredCertificate {
        adopted: true,
        ..stored(&["a.example"], 60)
    };
    let of = |id| choose(&[(id, adopted.clone())], None, &[]);
    assert_eq!(of("web/old"), "lab (certificate web/old)");
    assert_eq!(of("elsewhere/old"), "local CA");

    let wild = &["*.example"];
    let (near, far) = (secret("web/wild", wild, 60), secret("far/wild", wild, 60));
    assert_eq!(choose(&[], None, std::slice::from_ref(&near)), "web/wild");
    assert_eq!(choose(&[], None, std::slice::from_ref(&far)), "local CA");

    // No client can trust a self-signed one for hosts that its Ingress does not name.
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["*.example".to_owned()]).expect("names");
    let chain = params.self_signed(&key).expect("a certificate").pem();
    let read = Certificate::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes());
    let own = (near.0, Arc::new(read.expect("a pair")));
    assert_eq!(choose(&[], None, &[own]), "local CA");
}

#[test]
fn a_revoked_certificate_serves_only_if_no_other_can() {
    let (fresh, old) = (stored(&["a.example"], 60), stored(&["a.example"], -1));
    let gone = revoked(fresh);
    let new = |one: &StoredCertificate| ("web/new", one.clone());
    let other = ("far/other", stored(&["a.example"], 60));
    assert_eq!(choose(&[new(&gone)], None, &[]), "lab revoked");
    assert_eq!(
        choose(&[new(&gone), other.clone()], None, &[]),
        "lab (certificate far/other)"
    );

    // A Secret with another certificate is better, even an expired one is not.
    let mine = secret("web/new", &["a.example"], 60);
    assert_eq!(choose(&[new(&gone)], Some(&mine), &[]), "web/new");
    let expired = secret("web/new", &["a.example"], -1);
    assert_eq!(choose(&[new(&gone)], Some(&expired), &[]), "lab revoked");

    // The Secret has the same certificate as the engine.
    let read = Certificate::from_pem(gone.chain.as_bytes(), gone.key.as_bytes());
    let same = (mine.0, Arc::new(read.expect("a pair")));
    assert_eq!(choose(&[new(&gone)], Some(&same), &[]), "lab revoked");

    // An expired one is served if there is nothing else.
    assert_eq!(choose(&[new(&old)], None, &[]), "lab");
    assert_eq!(
        choose(&[new(&old), other], None, &[]),
        "lab (certificate far/other)"
    );
}

#[test]
fn a_certificate_for_other_hosts_serves_before_the_local_ca() {
    let wrong = secret("web/new", &["b.example"], 60);
    assert_eq!(choose(&[], Some(&wrong), &[]), "web/new");
    let good = ("far/other", stored(&["a.example"], 60));
    assert_eq!(
        choose(&[good], Some(&wrong), &[]),
        "lab (certificate far/other)"
    );
    // The engine's own is never served for other hosts.
    let other = ("web/new", stored(&["b.example"], 60));
    assert_eq!(choose(&[other], None, &[]), "local CA");
}

#[test]
fn candidates_are_all_certificates_that_cover_a_host() {
    let certificates: Vec<_> = [
        &["a.example"][..],
        &["*.example"],
        &["*.a.example", "b.example", "*.example"],
        &["c.example", "a.example"],
        &["example"],
    ]
    .iter()
    .map(|names| secret("web/any", names, 60).1)
    .collect();
    let numbered = || certificates.iter().map(|one| &**one).zip(0..);
    let by_name = ByName::new(numbered());

    let mut found = 0;
    for host in [
        "a.example",
        "b.example",
        "x.example",
        "x.a.example",
        "y.x.a.example",
        "example",
        "*.example",
        "*.a.example",
        "*.b.example",
    ] {
        let pattern = HostPattern::parse(host).expect("a pattern");
        let covering = numbered().filter(|(one, _)| one.covers(&pattern));
        let expected: Vec<i32> = covering.map(|(_, number)| number).collect();
        let candidates: Vec<i32> = by_name.candidates(&pattern).collect();
        assert_eq!(candidates, expected, "{host}");
        found += candidates.len();
    }
    assert_eq!(found, 13);
}
