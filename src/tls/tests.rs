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
fn a_certificate_covers_its_names_and_one_wildcard_label() {
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
    let [one, two] = ["a.example", "b.example"]
        .map(|name| ca.issue_server(&[name], &[]).expect("a certificate"));
    let read = |chain: &str, key: &str| {
        Certificate::from_pem(chain.as_bytes(), key.as_bytes()).map(|_| ())
    };
    assert_eq!(read(&one.chain_pem, &one.key_pem), Ok(()));
    assert_eq!(
        read(&one.chain_pem, &two.key_pem),
        Err(CertificateError::Mismatch)
    );
    assert_eq!(
        read("", &one.key_pem),
        Err(CertificateError::NoCertificate(Found::Nothing))
    );
    assert_eq!(
        read("hello", &one.key_pem),
        Err(CertificateError::NoCertificate(Found::Nothing))
    );
    assert_eq!(
        read(&one.chain_pem, "hello"),
        Err(CertificateError::NoKey(Found::Nothing))
    );
    let cut = &one.chain_pem[..one.chain_pem.len() / 3];
    assert_eq!(
        read(cut, &one.key_pem),
        Err(CertificateError::BadCertificate)
    );
    let cut = &one.key_pem[..one.key_pem.len() / 3];
    assert_eq!(read(&one.chain_pem, cut), Err(CertificateError::BadKey));
    let swapped = read(&one.key_pem, &one.chain_pem)
        .expect_err("swapped")
        .to_string();
    assert_eq!(
        swapped,
        "tls.crt has no PEM certificate, but \"PRIVATE KEY\""
    );
    let chain = format!("{}{}", two.chain_pem, one.chain_pem);
    assert_eq!(
        read(&chain, &one.key_pem),
        Err(CertificateError::WrongOrder(3))
    );
    let twisted = one.key_pem.replacen("MIG", "MIH", 1);
    assert!(
        matches!(
            read(&one.chain_pem, &twisted),
            Err(CertificateError::InvalidKey)
        ),
        "{twisted}"
    );
}

/// Runs openssl in the folder and returns its output.
fn openssl(folder: &std::path::Path, arguments: &str) -> String {
    let made = std::process::Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output();
    let made = made.expect("openssl is there");
    assert!(
        made.status.success(),
        "openssl {arguments}: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    String::from_utf8_lossy(&made.stdout).into_owned()
}

/// A folder that is gone after the test.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gatelet-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.0.join(file)).expect("openssl wrote it")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const NEW_KEYS: &[(&str, &str)] = &[
    (
        "p256",
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key",
    ),
    (
        "p384",
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out key",
    ),
    ("sec1", "ecparam -name prime256v1 -genkey -out key"),
    ("ed25519", "genpkey -algorithm ED25519 -out key"),
    (
        "rsa2048",
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key",
    ),
    ("rsa3072", "genrsa -traditional -out key 3072"),
];

#[test]
fn certificates_of_v1_and_every_supported_key_are_read() {
    let folder = Folder::new("v1");
    for (name, make) in NEW_KEYS {
        openssl(&folder.0, make);
        openssl(
            &folder.0,
            "req -new -key key -subj /CN=a.example -out request",
        );
        openssl(
            &folder.0,
            "x509 -req -in request -signkey key -days 30 -out chain",
        );
        if !openssl(&folder.0, "x509 -in chain -noout -text").contains("Version: 1 ") {
            // OpenSSL 3.2 and later make v3 by default.
            openssl(
                &folder.0,
                "req -x509 -x509v1 -new -key key -subj /CN=a.example -days 30 -out chain",
            );
        }
        let read = Certificate::from_pem(&folder.read("chain"), &folder.read("key"));
        let certificate = read.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            certificate.names().is_empty() && certificate.is_self_signed(),
            "{name}"
        );
    }
}

#[test]
fn a_key_that_cannot_be_used_is_named_for_what_it_is() {
    let folder = Folder::new("keys");
    let supported =
        "which is not supported: use ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits";
    for (make, expected) in [
        (
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out key",
            "tls.key is a key on the curve P-521, ",
        ),
        (
            "ecparam -name secp521r1 -genkey -noout -out key",
            "tls.key is a key on the curve P-521, ",
        ),
        (
            "ecparam -name secp256k1 -genkey -noout -out key",
            "tls.key is a key on the curve secp256k1, ",
        ),
        (
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out key",
            "tls.key is an RSA key of 1024 bits, ",
        ),
        (
            "genrsa -traditional -out key 1024",
            "tls.key is an RSA key of 1024 bits, ",
        ),
        (
            "genpkey -algorithm ED448 -out key",
            "tls.key is a key for Ed448, ",
        ),
        (
            "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out key",
            "tls.key is an RSA key for RSASSA-PSS only, ",
        ),
    ] {
        openssl(&folder.0, make);
        openssl(
            &folder.0,
            "req -x509 -new -key key -subj /CN=a.example -days 30 -out chain",
        );
        let error =
            Certificate::from_pem(&folder.read("chain"), &folder.read("key")).expect_err(make);
        assert_eq!(
            error.to_string(),
            format!("{expected}{supported}"),
            "{make}"
        );
    }

    openssl(
        &folder.0,
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key",
    );
    openssl(
        &folder.0,
        "req -x509 -new -key key -subj /CN=a.example -days 30 -out chain",
    );
    openssl(
        &folder.0,
        "pkey -in key -aes256 -passout pass:secret -out pkcs8",
    );
    openssl(
        &folder.0,
        "ec -in key -aes256 -passout pass:secret -out old",
    );
    openssl(&folder.0, "pkey -in key -pubout -out public");
    openssl(&folder.0, "pkey -in key -outform DER -out der");
    openssl(
        &folder.0,
        "req -new -key key -subj /CN=a.example -out request",
    );
    openssl(&folder.0, "x509 -in chain -outform DER -out chain.der");
    openssl(&folder.0, "x509 -in chain -trustout -out trusted");
    let encrypted =
        "tls.key is encrypted: store it without a passphrase (openssl pkey -in FILE -out FILE)";
    for (chain, key, expected) in [
        ("chain", "pkcs8", encrypted),
        ("chain", "old", encrypted),
        (
            "chain",
            "public",
            "tls.key has no PEM private key, but \"PUBLIC KEY\"",
        ),
        (
            "chain",
            "der",
            "tls.key has no PEM private key, but binary DER: convert it with openssl",
        ),
        (
            "chain",
            "chain",
            "tls.key has no PEM private key, but \"CERTIFICATE\"",
        ),
        (
            "request",
            "key",
            "tls.crt has no PEM certificate, but \"CERTIFICATE REQUEST\"",
        ),
        (
            "trusted",
            "key",
            "tls.crt has no PEM certificate, but \"TRUSTED CERTIFICATE\"",
        ),
        (
            "chain.der",
            "key",
            "tls.crt has no PEM certificate, but binary DER: convert it with openssl",
        ),
    ] {
        let error =
            Certificate::from_pem(&folder.read(chain), &folder.read(key)).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn keys_never_show_in_debug_output() {
    let ca = LocalCa::generate("test").expect("a CA");
    let issued = ca
        .issue_client("admin", "system:masters")
        .expect("a certificate");
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
    assert!(Arc::ptr_eq(
        &served(Some("b.example")),
        wildcard.certified()
    ));
    let local = served(Some("c.example"));
    assert!(
        Arc::ptr_eq(&local, &served(Some("c.example"))),
        "signed once"
    );
    assert!(Arc::ptr_eq(
        &served(None),
        &ca.fallback().expect("a certificate")
    ));
    assert!(Arc::ptr_eq(&served(Some("x.y.example")), &served(None)));
    let refusing = Resolver::new(ca, UnknownSni::Refuse);
    assert!(refusing.certificate(Some("a.example")).is_none());
}

#[test]
fn a_ca_reads_back_what_it_wrote() {
    let ca = LocalCa::generate("test").expect("a CA");
    let again = LocalCa::from_pem(ca.root_pem(), ca.key_pem()).expect("readable");
    let issued = again
        .issue_server(&["a.example"], &["127.0.0.1".parse().expect("an address")])
        .expect("a certificate");
    let certificate = Certificate::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes())
        .expect("readable");
    assert_eq!(
        certificate.names(),
        ["a.example".into(), "127.0.0.1".into()] as [Box<str>; 2]
    );
    assert!(certificate.issuer().contains("CN=test"));
}

#[test]
fn the_cheapest_cipher_suite_of_this_processor_comes_first() {
    let order = |aes: bool| {
        let mut suites: Vec<_> = provider()
            .cipher_suites
            .iter()
            .map(rustls::SupportedCipherSuite::suite)
            .collect();
        suites.sort_by_key(|suite| cost(*suite, aes));
        suites
    };
    assert_eq!(order(true)[0], CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert_eq!(order(false)[0], CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    let here: Vec<_> = provider()
        .cipher_suites
        .iter()
        .map(rustls::SupportedCipherSuite::suite)
        .collect();
    assert_eq!(here, order(has_aes()));
    assert_eq!(
        here.len(),
        rustls::crypto::ring::default_provider().cipher_suites.len()
    );
}

/// Its key is an ordinary RSA key, but no client accepts an ordinary RSA signature for it.
#[test]
fn a_certificate_for_rsassa_pss_only_is_refused_for_that() {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let folder = Folder::new("pss");
    openssl(
        &folder.0,
        "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -outform DER -out key",
    );
    openssl(
        &folder.0,
        "req -x509 -new -keyform DER -key key -subj /CN=a.example -days 30 -out chain",
    );
    // The octet string of PKCS#8 holds the key in the form of PKCS#1.
    let (pkcs8, chain) = (folder.read("key"), folder.read("chain"));
    let inner = pkcs8
        .windows(2)
        .position(|bytes| bytes == [0x04, 0x82])
        .expect("an octet string")
        + 4;
    let key = PrivateKeyDer::Pkcs1(pkcs8[inner..].to_vec().into());
    let chain = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<Vec<_>, _>>()
        .expect("PEM");
    assert_eq!(
        Certificate::from_der(chain, key).map(|_| ()),
        Err(CertificateError::PssOnly)
    );
}
