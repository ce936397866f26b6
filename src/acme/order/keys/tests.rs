use std::sync::Arc;

use super::*;
use crate::{acme::issuer::Issuer, pki::CertificateTerms, tls::LocalCa};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn spec(names: &[&str]) -> CertificateSpec {
    CertificateSpec {
        id: "default/web".into(),
        names: names
            .iter()
            .map(|name| CertificateName::parse(name).expect("a name"))
            .collect(),
        issuers: [Arc::new(Issuer::preset("local-ca").expect("built in"))].into(),
        terms: CertificateTerms::default(),
    }
}

fn issued(names: &[&str], not_before: UnixSeconds, days: u64) -> (String, String) {
    let ca = LocalCa::generate("test").expect("a CA");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let issued = ca
        .issue_for(&names, not_before, Duration::from_secs(days * 86_400))
        .expect("issued");
    (issued.chain_pem, issued.key_pem)
}

#[test]
fn a_mismatching_certificate_is_refused_with_its_defect() {
    let spec = spec(&["a.example", "*.b.example", "192.0.2.1", "2001:db8::1"]);
    let names = ["a.example", "*.b.example", "192.0.2.1", "2001:db8::1"];
    let (chain, key) = issued(&names, NOW - 100, 90);
    let certificate = check(&spec, &chain, &key, NOW).expect("right");
    assert_eq!(certificate.names().len(), 4);

    let wrong =
        |chain: &str, key: &str, now| check(&spec, chain, key, now).expect_err("wrong").problem;
    let (_, other) = issued(&names, NOW - 100, 90);
    assert!(wrong(&chain, &other, NOW).contains("the key of the request is not the key"));
    assert!(wrong(&chain, &key, NOW + 91 * 86_400).contains("expired"));
    assert!(wrong(&chain, &key, NOW - 3 * 86_400).contains("not valid yet"));

    let leaf =
        &chain[..chain.find("-----END").expect("an end") + "-----END CERTIFICATE-----\n".len()];
    check(&spec, leaf, &key, NOW).expect("a root may have issued it");

    let (fewer, key) = issued(&["a.example"], NOW - 100, 90);
    assert!(wrong(&fewer, &key, NOW).contains("covers a.example instead of"));

    let (more, key) = issued(&[&names[..], &["www.a.example"]].concat(), NOW - 100, 90);
    check(&spec, &more, &key, NOW).expect("a name more does no harm");
    assert!(wrong("nonsense", &key, NOW).contains("the chain has no PEM certificate"));
}

/// Returns the key and the signing request.
async fn made(spec: &CertificateSpec, key_type: KeyType, keep: Option<&str>) -> (String, String) {
    request(spec, key_type, keep).await.expect("a request")
}

#[tokio::test]
async fn a_request_contains_exactly_the_names() {
    let spec = spec(&["a.example", "*.b.example", "192.0.2.1"]);
    let (key, csr) = made(&spec, KeyType::P256, None).await;
    let der = STANDARD.decode(csr).expect("base64");
    let parsed = rcgen::CertificateSigningRequestParams::from_der(&der.into()).expect("a request");
    assert_eq!(parsed.params.subject_alt_names.len(), 3);
    assert_eq!(parsed.params.distinguished_name.iter().count(), 0);
    assert!(key.contains("PRIVATE KEY"));
}

async fn names_in_request(spec: &CertificateSpec) -> usize {
    let (_, csr) = made(spec, KeyType::P256, None).await;
    let der = STANDARD.decode(csr).expect("base64");
    let parsed = rcgen::CertificateSigningRequestParams::from_der(&der.into());
    parsed.expect("a request").params.subject_alt_names.len()
}

#[tokio::test]
async fn a_name_below_a_wildcard_is_left_out_unless_it_is_common() {
    let names = ["*.a.example", "a.example", "b.a.example", "c.b.a.example"];
    let mut below = spec(&names);
    assert_eq!(names_in_request(&below).await, 3);

    // Certificates from before, with every name, and without those left out.
    for issued_names in [&names[..], &["*.a.example", "a.example", "c.b.a.example"]] {
        let (chain, key) = issued(issued_names, NOW - 100, 90);
        check(&below, &chain, &key, NOW).expect("it covers all names");
    }

    below.terms.common_name = Some("b.a.example".into());
    assert_eq!(names_in_request(&below).await, 4);
}

#[tokio::test]
async fn keys_are_new_unless_the_spec_keeps_them() {
    let mut spec = spec(&["a.example"]);
    let (first, _) = made(&spec, KeyType::P256, None).await;
    assert_ne!(made(&spec, KeyType::P256, Some(&first)).await.0, first);

    spec.terms.keep_key = true;
    assert_eq!(made(&spec, KeyType::P256, Some(&first)).await.0, first);
    // Another type or a damaged key makes a new one.
    assert_ne!(made(&spec, KeyType::P384, Some(&first)).await.0, first);
    assert_ne!(made(&spec, KeyType::P256, Some("damaged")).await.0, first);
}

#[tokio::test]
async fn rsa_keys_have_their_size_and_are_kept_like_others() {
    let mut spec = spec(&["a.example"]);
    spec.terms.keep_key = true;
    for (key_type, bits) in [
        (KeyType::Rsa2048, 2048),
        (KeyType::Rsa3072, 3072),
        (KeyType::Rsa4096, 4096),
    ] {
        let (key, csr) = made(&spec, key_type, None).await;
        let parsed = KeyPair::from_pem(&key).expect("a key");
        assert_eq!(rsa_key::bits(&parsed), Some(bits));

        let der = STANDARD.decode(csr).expect("base64");
        let csr = rcgen::CertificateSigningRequestParams::from_der(&der.into()).expect("signed");
        assert_eq!(csr.public_key.algorithm(), &rcgen::PKCS_RSA_SHA256);

        assert_eq!(made(&spec, key_type, Some(&key)).await.0, key);
        let (other, _) = made(&spec, KeyType::P256, Some(&key)).await;
        assert_ne!(other, key);
        if key_type != KeyType::Rsa2048 {
            let (smaller, _) = made(&spec, KeyType::Rsa2048, Some(&key)).await;
            assert_ne!(smaller, key, "the size differs");
        }
    }
}

#[tokio::test]
async fn a_self_signed_certificate_has_its_names_and_validity() {
    let spec = spec(&["a.example", "192.0.2.1"]);
    let life = Duration::from_secs(30 * 86_400);
    for key_type in [KeyType::P384, KeyType::Rsa2048] {
        let made = self_signed(&spec, key_type, NOW, life).await;
        let (chain, key) = made.expect("made");
        let certificate = check(&spec, &chain, &key, NOW).expect("right");
        assert_eq!(
            (certificate.not_before(), certificate.not_after()),
            (NOW, NOW + 30 * 86_400)
        );
    }
}

#[tokio::test]
async fn a_wrong_clock_does_not_end_certificates_after_9999() {
    let (names, last) = (&["a.example"], UnixSeconds(i64::MAX));
    let life = Duration::from_secs(90 * 86_400);
    let own = self_signed(&spec(names), KeyType::P256, last, life).await;
    for (chain, key) in [own.expect("issued"), issued(names, last, 90)] {
        let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes());
        let end = certificate.expect("a pair").not_after();
        assert_eq!(end, UnixSeconds(253_402_300_799));
    }
}
