use std::sync::Arc;

use rustls::pki_types::UnixTime;

use super::*;

fn key(algorithm: &str, secret: &str) -> TsigKey {
    TsigKey {
        name: "acme".to_owned(),
        algorithm: algorithm.to_owned(),
        secret: Secret::new(secret),
    }
}

fn make(key: TsigKey) -> Result<Rfc2136, String> {
    let server = SocketAddr::from(([127, 0, 0, 1], 53));
    let settings = Rfc2136Settings {
        server,
        zone: None,
        key: Some(key),
    };
    Rfc2136::new(&settings, Arc::new(UnixTime::now)).map_err(|failure| format!("{failure:?}"))
}

#[test]
fn weak_algorithms_and_damaged_secrets_are_refused() {
    for good in ["hmac-sha256", "HMAC-SHA512.", "hmac-sha384"] {
        assert!(make(key(good, "c2VjcmV0\n")).is_ok(), "{good}");
    }

    for (algorithm, secret, said) in [
        ("hmac-sha1", "c2VjcmV0", "hmac-sha1 is too weak"),
        ("hmac-md5.sig-alg.reg.int", "c2VjcmV0", "is too weak"),
        ("sha256", "c2VjcmV0", "unknown TSIG algorithm"),
        ("hmac-sha256", "secret!", "key acme. is not base64"),
        ("hmac-sha256", "", "is empty"),
    ] {
        let error = make(key(algorithm, secret)).err().expect(said);
        assert!(
            error.contains(said) && !error.contains("secret!"),
            "{error}"
        );
    }
    assert!(!format!("{:?}", key("hmac-sha256", "c2VjcmV0")).contains("c2VjcmV0"));
}

#[test]
fn a_wrong_clock_is_reported_with_both_times() {
    let signer = signer(&key("hmac-sha256", "c2VjcmV0")).expect("a key");
    let mut answer = TSIG::new(
        TsigAlgorithm::HmacSha256,
        0,
        FUDGE,
        Vec::new(),
        1,
        Some(TsigError::BadTime),
        Vec::new(),
    );
    // 2026-09-23 00:00:00 UTC.
    answer.other = 1_790_121_600u64.to_be_bytes()[2..].to_vec();
    let failure = format!("{:?}", refused(&answer, &signer, 0));
    assert!(
        failure.contains("2026-09-23T00:00:00Z at the server, 1970-01-01T00:00:00Z here"),
        "{failure}"
    );
}
