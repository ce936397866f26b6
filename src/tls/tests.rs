use super::*;
use crate::routing::HostPattern;

fn pattern(text: &str) -> HostPattern {
    HostPattern::parse(text).expect("a pattern")
}

fn issued(names: &[&str]) -> Certificate {
    let ca = LocalCa::generate("test").expect("a CA");
    let issued = ca.issue_server(names, &[]).expect("a certificate");
    Certificate::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).expect("readable")
}

#[test]
fn a_certificate_covers_its_names_and_one_label_of_its_wildcards() {
    let certificate = issued(&["a.example", "*.b.example"]);
    for (host, covered) in [
        ("a.example", true),
        ("x.a.example", false),
        ("x.b.example", true),
        ("y.x.b.example", false),
        ("b.example", false),
        ("*.b.example", true),
        ("*.a.example", false),
    ] {
        assert_eq!(certificate.covers(&pattern(host)), covered, "{host}");
    }
}

#[test]
fn broken_certificates_say_which_part_is_wrong() {
    let ca = LocalCa::generate("test").expect("a CA");
    let [one, two] = ["a.example", "b.example"].map(|name| ca.issue_server(&[name], &[]).expect("a certificate"));
    let read = |chain: &str, key: &str| Certificate::from_pem(chain.as_bytes(), key.as_bytes()).map(|_| ());
    assert_eq!(read(&one.chain_pem, &one.key_pem), Ok(()));
    assert_eq!(read(&one.chain_pem, &two.key_pem), Err(CertificateError::Mismatch));
    assert_eq!(read("", &one.key_pem), Err(CertificateError::NoCertificate));
    assert_eq!(read("hello", &one.key_pem), Err(CertificateError::NoCertificate));
    assert_eq!(read(&one.chain_pem, "hello"), Err(CertificateError::NoKey));
    assert_eq!(read(&one.chain_pem, &one.chain_pem), Err(CertificateError::NoKey));
    let cut = &one.chain_pem[..one.chain_pem.len() / 3];
    assert!(read(cut, &one.key_pem).is_err());
}

#[test]
fn keys_never_show_in_debug_output() {
    let ca = LocalCa::generate("test").expect("a CA");
    let issued = ca.issue_client("admin", "system:masters").expect("a certificate");
    assert_eq!(format!("{ca:?} {issued:?}"), "LocalCa Issued");
}

#[test]
fn the_resolver_goes_from_exact_to_wildcard_to_local_to_default() {
    let ca = Arc::new(LocalCa::generate("test").expect("a CA"));
    let resolver = Resolver::new(ca.clone(), UnknownSni::DefaultCertificate);
    let (exact, wildcard) = (issued(&["a.example"]), issued(&["*.example"]));
    let mut map = SniMap::default();
    map.insert(&pattern("a.example"), &exact);
    map.insert(&pattern("*.example"), &wildcard);
    map.insert_local(&pattern("c.example"));
    resolver.swap(map);
    let served = |name| resolver.certificate(name).expect("a certificate");
    assert!(Arc::ptr_eq(&served(Some("a.example")), exact.certified()));
    assert!(Arc::ptr_eq(&served(Some("b.example")), wildcard.certified()));
    let local = served(Some("c.example"));
    assert!(Arc::ptr_eq(&local, &served(Some("c.example"))), "signed once");
    assert!(Arc::ptr_eq(&served(None), &ca.fallback().expect("a certificate")));
    assert!(Arc::ptr_eq(&served(Some("x.y.example")), &served(None)));
    let refusing = Resolver::new(ca, UnknownSni::Refuse);
    assert!(refusing.certificate(Some("a.example")).is_none());
}

#[test]
fn a_ca_reads_back_what_it_wrote() {
    let ca = LocalCa::generate("test").expect("a CA");
    let again = LocalCa::from_pem(ca.root_pem(), ca.key_pem()).expect("readable");
    let issued =
        again.issue_server(&["a.example"], &["127.0.0.1".parse().expect("an address")]).expect("a certificate");
    let certificate = Certificate::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).expect("readable");
    assert_eq!(certificate.names(), ["a.example".into(), "127.0.0.1".into()] as [Box<str>; 2]);
    assert!(certificate.issuer().contains("CN=test"));
}

#[test]
fn the_cheapest_cipher_suite_of_this_processor_comes_first() {
    let order = |aes: bool| {
        let mut suites: Vec<_> = provider().cipher_suites.iter().map(rustls::SupportedCipherSuite::suite).collect();
        suites.sort_by_key(|suite| cost(*suite, aes));
        suites
    };
    assert_eq!(order(true)[0], CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert_eq!(order(false)[0], CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    let here: Vec<_> = provider().cipher_suites.iter().map(rustls::SupportedCipherSuite::suite).collect();
    assert_eq!(here, order(has_aes()));
    assert_eq!(here.len(), rustls::crypto::ring::default_provider().cipher_suites.len());
}
