use std::{slice, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    RevokedCertParams, date_time_ymd,
};

use super::*;
use crate::tls::{
    VerificationClock, read_authorities,
    verification_clock::{ByClock, unix},
};

type Issuer = CertifiedIssuer<'static, KeyPair>;

const NAME: &str = "inside.example";
const IN_2026: u64 = 1_793_500_000;
const IN_2045: u64 = 2_370_000_000;

fn of_authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = date_time_ymd(2040, 1, 1);
    params
}

fn of_backend() -> CertificateParams {
    let mut params = CertificateParams::new([NAME.to_owned()]).expect("a name");
    params.not_after = date_time_ymd(2060, 1, 1);
    params.serial_number = Some(7.into());
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

fn leaf(issuer: &Issuer, params: &CertificateParams) -> CertificateDer<'static> {
    let key = KeyPair::generate().expect("a key");
    let signed = params.signed_by(&key, issuer);
    signed.expect("a certificate").der().clone()
}

fn self_signed(params: &CertificateParams) -> (CertificateDer<'static>, String) {
    let key = KeyPair::generate().expect("a key");
    let made = params.self_signed(&key).expect("a certificate");
    (made.der().clone(), made.pem())
}

fn verify(
    ca: &str,
    crl: Option<&str>,
    terms: &TlsTerms,
    chain: &[CertificateDer<'_>],
    time: u64,
) -> Result<(), String> {
    let read = read_authorities(ca.as_bytes(), crl.map(str::as_bytes)).expect("authorities");
    let authority = BackendAuthority::new(&Arc::new(read), terms).expect("authorities");
    let name = ServerName::try_from(NAME).expect("a name");
    let now = UnixTime::since_unix_epoch(Duration::from_secs(time));
    let verified = authority.verify_server_cert(&chain[0], &chain[1..], &name, &[], now);
    verified.map(|_| ()).map_err(|error| match error {
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "name".to_owned(),
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "expired".to_owned(),
        Error::InvalidCertificate(why) => format!("{why:?}"),
        other => other.to_string(),
    })
}

#[test]
fn only_the_authorities_of_a_backend_are_trusted() {
    let (own, other) = (root("Own"), root("Other"));
    let good = leaf(&own, &of_backend());
    let named = leaf(
        &own,
        &CertificateParams::new(["x.example".to_owned()]).expect("a name"),
    );
    let foreign = leaf(&other, &of_backend());
    let mut of_client = of_backend();
    of_client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let of_client = leaf(&own, &of_client);
    let mut old = of_backend();
    old.not_after = date_time_ymd(2025, 1, 1);
    let old = leaf(&own, &old);

    let usual = TlsTerms::default();
    let any_name = TlsTerms {
        names: CertificateNames::Any,
        ..TlsTerms::default()
    };
    for (what, leaf, checked, any) in [
        ("good", &good, "", ""),
        ("of another name", &named, "name", ""),
        (
            "of another authority",
            &foreign,
            "UnknownIssuer",
            "UnknownIssuer",
        ),
        ("expired", &old, "expired", "expired"),
    ] {
        for (terms, expected) in [(&usual, checked), (&any_name, any)] {
            let chain = [leaf.clone()];
            let verified = verify(&own.pem(), None, terms, &chain, IN_2026);
            assert_eq!(
                verified.err().unwrap_or_default(),
                expected,
                "{what} {terms:?}"
            );
        }
    }
    for terms in [&usual, &any_name] {
        let of_client = [of_client.clone()];
        assert!(verify(&own.pem(), None, terms, &of_client, IN_2026).is_err());
        let ended = verify(&own.pem(), None, terms, slice::from_ref(&good), IN_2045);
        assert_eq!(
            ended,
            Err("expired".to_owned()),
            "the authority has expired"
        );
    }
    let another = TlsTerms {
        names: CertificateNames::Host(Host::parse("x.example").expect("a host")),
        ..TlsTerms::default()
    };
    assert_eq!(
        verify(&own.pem(), None, &another, &[named], IN_2026),
        Ok(())
    );
    let verified = verify(&own.pem(), None, &another, slice::from_ref(&good), IN_2026);
    assert_eq!(verified, Err("name".to_owned()));

    let both = own.pem() + &other.pem();
    assert_eq!(verify(&both, None, &usual, &[foreign], IN_2026), Ok(()));
}

#[test]
fn a_chain_is_as_long_as_the_depth_allows() {
    let own = root("Own");
    let first = below("First", &own);
    let second = below("Second", &first);
    let chain = [
        leaf(&second, &of_backend()),
        second.der().clone(),
        first.der().clone(),
    ];
    for (depth, is_accepted) in [
        (Some(0), false),
        (Some(1), false),
        (Some(2), true),
        (Some(9), true),
        (None, true),
    ] {
        let terms = TlsTerms {
            depth,
            ..TlsTerms::default()
        };
        let verified = verify(&own.pem(), None, &terms, &chain, IN_2026);
        assert_eq!(verified.is_ok(), is_accepted, "{depth:?}: {verified:?}");
    }
}

#[test]
fn a_backend_may_sign_its_own_certificate() {
    let mut of_openssl = of_backend();
    of_openssl.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for params in [of_backend(), of_openssl] {
        let (der, pem) = self_signed(&params);
        let usual = TlsTerms::default();
        assert_eq!(
            verify(&pem, None, &usual, slice::from_ref(&der), IN_2026),
            Ok(())
        );
        let late = verify(&pem, None, &usual, &[der], 4_000_000_000);
        assert_eq!(late, Err("expired".to_owned()));

        let (another, _) = self_signed(&params);
        assert!(verify(&pem, None, &usual, &[another], IN_2026).is_err());

        let mut named = params.clone();
        named.subject_alt_names.clear();
        let (nameless, pem) = self_signed(&named);
        let verified = verify(&pem, None, &usual, &[nameless], IN_2026);
        assert_eq!(verified, Err("name".to_owned()));
    }
}

#[test]
fn a_revoked_certificate_is_refused() {
    let own = root("Own");
    let list = |serial: u64| {
        let revoked = RevokedCertParams {
            serial_number: serial.into(),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2039, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&own).expect("a list");
        list.pem().expect("PEM")
    };
    let chain = [leaf(&own, &of_backend())];
    let usual = TlsTerms::default();
    assert_eq!(
        verify(&own.pem(), Some(&list(8)), &usual, &chain, IN_2026),
        Ok(())
    );
    let revoked = verify(&own.pem(), Some(&list(7)), &usual, &chain, IN_2026);
    assert_eq!(revoked, Err("Revoked".to_owned()));
}

#[test]
fn a_clock_that_is_late_refuses_no_valid_certificate() {
    const IN_2035: i64 = 2_060_000_000;
    let root = root("root");
    let read = read_authorities(root.pem().as_bytes(), None).expect("authorities");
    let authority = BackendAuthority::new(&Arc::new(read), &TlsTerms::default());
    let verifier = Arc::new(authority.expect("an authority"));
    let verify = |params: &CertificateParams, guess: Option<i64>| {
        let clock = Arc::new(VerificationClock::default());
        if let Some(guess) = guess {
            clock.set(move || UnixSeconds(guess));
        }
        let by_clock = ByClock {
            verifier: verifier.clone(),
            clock,
        };
        let name = ServerName::try_from(NAME).expect("a name");
        let leaf = leaf(&root, params);
        // Whatever the system says.
        let verified = by_clock.verify_server_cert(&leaf, &[], &name, &[], unix(UnixSeconds(0)));
        verified
            .map(|_verified| ())
            .map_err(|error| error.to_string())
    };

    let mut new = of_backend();
    new.not_before = date_time_ymd(2036, 1, 1);
    assert_eq!(verify(&new, Some(IN_2035)), Ok(()));
    assert!(verify(&new, None).is_err(), "the clock is right");

    let mut old = of_backend();
    old.not_after = date_time_ymd(2034, 1, 1);
    assert_eq!(verify(&old, None), Ok(()));
    assert!(verify(&old, Some(IN_2035)).is_err(), "it has expired");
}
