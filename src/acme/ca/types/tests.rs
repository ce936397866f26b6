use rustls::pki_types::pem::PemObject;

use super::*;
use crate::acme::ca::identifier::document;

#[test]
fn unknown_words_are_kept() {
    let order = r#"{
       "status": "on-hold",
       "expires": "soon",
       "authorizations": [],
       "finalize": "f",
       "extra": {"a": 1}
    }"#;
    let order: Order = serde_json::from_str(order).expect("an order");
    assert_eq!(order.status, Status::Other("on-hold".to_owned()));
    assert_eq!(order.status.to_string(), "on-hold");

    let named = r#"[
       {"type": "permanent-identifier", "value": "x"},
       {"type": "ip", "value": "2001:db8::1"},
       {"type": "ip", "value": "home"},
       {"value": "a.test", "type": "dns"}
    ]"#;
    let named: Vec<Identifier> = serde_json::from_str(named).expect("identifiers");
    let named: Vec<_> = named.iter().map(ToString::to_string).collect();
    assert_eq!(
        named,
        ["permanent-identifier:x", "2001:db8::1", "ip:home", "a.test"]
    );
}

#[test]
fn every_status_parses_and_prints_the_same() {
    for word in [
        "pending",
        "processing",
        "ready",
        "valid",
        "invalid",
        "deactivated",
        "expired",
        "revoked",
    ] {
        let status: Status = serde_json::from_str(&format!("{word:?}")).expect("a word");
        assert!(!matches!(status, Status::Other(_)), "{word}");
        assert_eq!(status.to_string(), word);
    }
}

#[test]
fn an_authorization_keeps_the_details_of_its_challenges() {
    let text = r#"{
       "status": "pending",
       "expires": "2026-08-01T00:00:00Z",
       "identifier": {"type": "dns", "value": "a.test"},
       "wildcard": true,
       "challenges": [
           {
               "type": "dns-persist-01",
               "url": "c1",
               "status": "pending",
               "accounturi": "https://ca.test/acct/1",
               "issuer-domain-names": ["ca.test", "ca.example"]
           },
           {
               "type": "http-01",
               "url": "c2",
               "token": "t",
               "status": "invalid",
               "validated": "2026-07-31T23:59:59Z",
               "error": {"type": "urn:ietf:params:acme:error:connection", "detail": "refused"}
           }
       ]
    }"#;
    let read: Authorization = serde_json::from_str(text).expect("an authorization");
    assert!(read.wildcard);

    let [persist, http] = &*read.challenges else {
        panic!("two challenges: {read:?}")
    };
    assert_eq!(persist.issuer_domain_names, ["ca.test", "ca.example"]);
    assert_eq!(
        persist.account_uri.as_deref(),
        Some("https://ca.test/acct/1")
    );
    assert_eq!(http.token.as_deref(), Some("t"));
    assert_eq!(
        http.error.as_ref().map(ToString::to_string).as_deref(),
        Some("refused (connection)")
    );
}

#[test]
fn a_renewal_window_must_end_after_it_begins() {
    let window = |start: &str, end: &str| {
        let text = format!(
            r#"{{
               "suggestedWindow": {{"start": "{start}", "end": "{end}"}},
               "explanationURL": "e"
            }}"#
        );
        RenewalInfo::of(serde_json::from_str(&text).ok()?)
    };
    let (early, late) = ("2026-08-01T00:00:00Z", "2026-08-01T02:00:01.5+02:00");
    let read = window(early, late).expect("a window");
    assert_eq!(
        (read.start, read.end, read.explanation_url.as_deref()),
        (
            UnixSeconds(1_785_542_400),
            UnixSeconds(1_785_542_401),
            Some("e")
        )
    );
    assert_eq!(window(late, early), None);
    assert_eq!(window(early, early), None);
    assert_eq!(window(early, "soon"), None);
}

fn null_free<T: DeserializeOwned>(text: &str) -> Option<T> {
    T::deserialize(document(text.as_bytes())?).ok()
}

#[test]
fn null_counts_as_absent() {
    let text = r#"{"newNonce": "n", "newAccount": "a", "newOrder": "o", "keyChange": null,
        "meta": {"caaIdentities": null, "profiles": null, "externalAccountRequired": null}}"#;
    assert_eq!(
        null_free::<Directory>(text).expect("a directory").meta,
        Meta::default()
    );

    let text = r#"{
       "status": "valid",
       "identifier": {"type": "dns", "value": "a.test"},
       "wildcard": null,
       "challenges": null
    }"#;
    assert_eq!(
        null_free::<Authorization>(text)
            .expect("an authorization")
            .challenges,
        []
    );
    assert_eq!(
        null_free::<Account>(r#"{"status": "valid", "contact": null}"#)
            .expect("one")
            .contact,
        [""; 0]
    );
}

/// The certificate of RFC 9773 appendix A.
const EXAMPLE: &str = "-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----";

#[test]
fn the_identifier_matches_rfc_9773() {
    let certificate = CertificateDer::from_pem_slice(EXAMPLE.as_bytes()).expect("PEM");
    assert_eq!(
        ari_id(&certificate).as_deref(),
        Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")
    );
}

#[test]
fn a_certificate_without_its_issuers_key_has_no_identifier() {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("a certificate");
    assert_eq!(ari_id(made.cert.der()), None);
    assert_eq!(ari_id(b"garbage"), None);
}
