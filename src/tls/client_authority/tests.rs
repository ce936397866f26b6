use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    date_time_ymd,
};

use super::*;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2027, 1, 1);
    params.not_after = date_time_ymd(2028, 1, 1);
    params
}

fn of_authority(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params
}

fn root(name: &str) -> Issuer {
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(of_authority(name), key).expect("a root")
}

fn below(name: &str, issuer: &Issuer) -> Issuer {
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::signed_by(of_authority(name), key, issuer).expect("an authority")
}

fn leaf(issuer: &Issuer) -> CertificateDer<'static> {
    let key = KeyPair::generate().expect("a key");
    let signed = params("ann").signed_by(&key, issuer);
    signed.expect("a certificate").der().clone()
}

fn authority(root: &Issuer) -> ClientAuthority {
    let read = read_authorities(root.pem().as_bytes(), None).expect("authorities");
    ClientAuthority::new(&Arc::new(read)).expect("authorities")
}

const IN_2026: Now = at(1_793_500_000);
const IN_2027: Now = at(1_810_000_000);
const IN_2030: Now = at(1_900_000_000);

/// The time by a clock that is right.
const fn at(time: i64) -> Now {
    Now {
        time: UnixSeconds(time),
        is_late: false,
    }
}

#[test]
fn a_clock_that_is_late_refuses_no_valid_certificate() {
    let root = root("root");
    let (authority, leaf) = (authority(&root), [leaf(&root)]);
    let verify = |now| authority.verify(&leaf, 1, now);

    assert_eq!(verify(IN_2027), Ok(()));
    assert_eq!(verify(IN_2026), Err(ClientCertificateError::NotYetValid));
    assert_eq!(verify(IN_2030), Err(ClientCertificateError::Expired));

    let late = |now: Now| Now {
        is_late: true,
        ..now
    };
    assert_eq!(verify(late(IN_2026)), Ok(()));
    // What has certainly passed has passed.
    assert_eq!(verify(late(IN_2030)), Err(ClientCertificateError::Expired));
}

#[test]
fn chains_may_come_in_any_order_and_have_a_depth() {
    let root = root("root");
    let first = below("first", &root);
    let second = below("second", &first);
    let authority = authority(&root);
    let chain = |others: &[&Issuer]| {
        let others = others.iter().map(|one| one.der().clone());
        iter::once(leaf(&second)).chain(others).collect::<Vec<_>>()
    };
    let verify = |chain: &[CertificateDer<'_>], depth| authority.verify(chain, depth, IN_2027);

    for chain in [
        chain(&[&second, &first]),
        chain(&[&first, &second]),
        chain(&[&root, &second, &first]),
    ] {
        assert_eq!(verify(&chain, 2), Ok(()));
        assert_eq!(verify(&chain, 100), Ok(()));
        let short = verify(&chain, 1);
        assert_eq!(short, Err(ClientCertificateError::UnknownChain));
        let shorter = verify(&chain, 0);
        assert_eq!(shorter, Err(ClientCertificateError::UnknownIssuer));
    }
    assert_eq!(verify(&[], 1), Err(ClientCertificateError::Rejected));
    let nonsense = [CertificateDer::from(vec![1, 2, 3])];
    assert_eq!(verify(&nonsense, 1), Err(ClientCertificateError::Rejected));
}

#[test]
fn an_authority_that_has_expired_is_none() {
    let in_2045 = at(2_370_000_000);
    let key = || KeyPair::generate().expect("a key");
    let old = root("old");
    let mut lasting = of_authority("lasting");
    lasting.not_after = date_time_ymd(2060, 1, 1);
    let lasting = CertifiedIssuer::self_signed(lasting, key()).expect("a root");
    let both = read_authorities(format!("{}{}", old.pem(), lasting.pem()).as_bytes(), None);
    let both = ClientAuthority::new(&Arc::new(both.expect("two"))).expect("two");

    for (issuer, expected) in [
        (&old, Err(ClientCertificateError::Expired)),
        (&lasting, Ok(())),
    ] {
        let mut params = params("ann");
        params.not_after = date_time_ymd(2060, 1, 1);
        let leaf = params.signed_by(&key(), issuer).expect("a certificate");
        let chain = [leaf.der().clone()];
        assert_eq!(both.verify(&chain, 1, IN_2027), Ok(()));
        assert_eq!(both.verify(&chain, 1, in_2045), expected);
    }
}

#[test]
fn what_is_no_authority_is_named() {
    let pem = root("root").pem();
    let read = |ca: &str, crl: Option<&str>| {
        let read = read_authorities(ca.as_bytes(), crl.map(str::as_bytes));
        read.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(read(&pem, None), Ok(()));
    for (ca, crl, expected) in [
        ("", None, "ca.crt has no PEM certificate"),
        ("x", None, "ca.crt has no PEM certificate"),
        (&*pem, Some(""), "ca.crl has no list of revoked"),
        (&pem, Some(&*pem), "ca.crl has no list of revoked"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            None,
            "certificate 1 in ca.crt cannot be used",
        ),
        (
            &pem,
            Some("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"),
            "ca.crl cannot be used",
        ),
    ] {
        let error = read(ca, crl).expect_err(expected);
        assert!(error.starts_with(expected), "{error}");
    }
    let many = pem.repeat(MAX_AUTHORITIES + 1);
    assert!(read(&many, None).is_err());
}
