use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use super::*;

fn part(jws: &Value, name: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD
        .decode(jws[name].as_str().expect("text"))
        .expect("base64url")
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

/// Verifies the signature by the JWK's coordinates, and returns header and payload.
fn opened(jws: &Value, jwk: &Value) -> (Value, Vec<u8>) {
    let mut point = vec![4];
    point.extend(part(jwk, "x"));
    point.extend(part(jwk, "y"));
    let input = format!(
        "{}.{}",
        jws["protected"].as_str().expect("text"),
        jws["payload"].as_str().expect("text")
    );
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(input.as_bytes(), &part(jws, "signature"))
        .expect("a good signature");
    (json(&part(jws, "protected")), part(jws, "payload"))
}

#[test]
fn the_thumbprint_matches_rfc_7638() {
    let canonical = concat!(
        r#"{"e":"AQAB","kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78"#,
        "LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W",
        "-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8K",
        "JZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4",
        "lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-",
        r#"csFCur-kEgU8awapJzKnqDKgw"}"#
    );
    assert_eq!(
        thumbprint(canonical),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
}

#[test]
fn requests_are_signed_by_the_stored_key() {
    let made = AccountKey::generate();
    let key = AccountKey::from_pkcs8(made.pkcs8()).expect("its own form");
    assert_eq!(key.thumbprint(), made.thumbprint());
    assert_eq!(
        thumbprint(&key.jwk().to_string()),
        key.thumbprint(),
        "the JWK is in canonical order"
    );

    let (protected, payload) = opened(
        &json(
            key.request(Signer::Key, "n1", "https://ca.test/new", "{}")
                .as_bytes(),
        ),
        &made.jwk(),
    );
    assert_eq!(
        protected,
        json!({"alg": "ES256", "jwk": made.jwk(), "nonce": "n1", "url": "https://ca.test/new"})
    );
    assert_eq!(payload, b"{}");

    let signer = Signer::Account("https://ca.test/acct/1");
    let (protected, payload) = opened(
        &json(
            key.request(signer, "n2", "https://ca.test/o", "")
                .as_bytes(),
        ),
        &made.jwk(),
    );
    let kid = "https://ca.test/acct/1";
    assert_eq!(
        protected,
        json!({"alg": "ES256", "kid": kid, "nonce": "n2", "url": "https://ca.test/o"})
    );
    assert_eq!(payload, b"");
}

#[test]
fn a_key_change_is_signed_by_the_new_key() {
    let (old, new) = (AccountKey::generate(), AccountKey::generate());
    let inner = json(
        new.takes_over(&old, "https://ca.test/acct/1", "https://ca.test/change")
            .as_bytes(),
    );
    let (protected, payload) = opened(&inner, &new.jwk());
    assert_eq!(
        protected,
        json!({"alg": "ES256", "jwk": new.jwk(), "url": "https://ca.test/change"})
    );
    assert_eq!(
        json(&payload),
        json!({"account": "https://ca.test/acct/1", "oldKey": old.jwk()})
    );
}

#[test]
fn an_external_account_binds_the_account_key() {
    let secret = b"a key of the CA's operator";
    let external =
        ExternalAccount::new("kid-1", &URL_SAFE_NO_PAD.encode(secret)).expect("base64url");
    let key = AccountKey::generate();
    let binding = external.binding(&key, "https://ca.test/new");
    assert_eq!(
        json(&part(&binding, "protected")),
        json!({"alg": "HS256", "kid": "kid-1", "url": "https://ca.test/new"})
    );
    assert_eq!(json(&part(&binding, "payload")), key.jwk());

    let input = format!(
        "{}.{}",
        binding["protected"].as_str().unwrap(),
        binding["payload"].as_str().unwrap()
    );
    let verify = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::verify(&verify, input.as_bytes(), &part(&binding, "signature"))
        .expect("a good signature");
}

#[test]
fn invalid_keys_are_errors_that_do_not_show_the_key() {
    assert_eq!(
        AccountKey::from_pkcs8(b"nothing").expect_err("no key"),
        KeyError::Pkcs8
    );

    for text in ["", "not base64!", "a"] {
        assert_eq!(
            ExternalAccount::new("kid", text).expect_err("no key"),
            KeyError::Hmac,
            "{text}"
        );
    }

    ExternalAccount::new("kid", "YWI=\n").expect("padding and a line's end are as files have them");
    let key = AccountKey::generate();
    let shown = format!(
        "{key:?} {:?}",
        ExternalAccount::new("kid-1", "c2VjcmV0").expect("base64url")
    );
    assert_eq!(
        shown,
        format!("AccountKey({}) ExternalAccount(kid-1)", key.thumbprint())
    );
}
