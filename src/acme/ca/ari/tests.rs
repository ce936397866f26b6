use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::*;

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
fn the_identifier_is_that_of_rfc_9773() {
    let certificate = CertificateDer::from_pem_slice(EXAMPLE.as_bytes()).expect("PEM");
    assert_eq!(ari_id(&certificate).as_deref(), Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"));
}

#[test]
fn a_certificate_that_does_not_name_its_issuers_key_has_none() {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("a certificate");
    assert_eq!(ari_id(made.cert.der()), None);
    assert_eq!(ari_id(b"garbage"), None);
}
