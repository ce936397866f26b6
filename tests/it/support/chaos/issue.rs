//! Keys and certificates of the CA: two roots, an intermediate that both have signed, and the
//! certificate of its web server.

use std::time::SystemTime;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CustomExtension,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use ring::rand::SecureRandom as _;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer},
};

use super::{Profile, faults::WrongChain, problem::Problem, state::Identifier};

/// A root of the certificates issued.
struct Root {
    pem: String,
    /// The intermediate as this root has signed it.
    intermediate: String,
}

/// The signing authority: its key and its roots.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    roots: [Root; 2],
}

/// A certificate, its chains, and what identifies it.
pub(super) struct Signed {
    pub(super) chains: Vec<String>,
    pub(super) der: CertificateDer<'static>,
    /// RFC 9773 section 4.1.
    pub(super) id: String,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = ca("Chaos Intermediate", BasicConstraints::Constrained(0));
        params.custom_extensions = vec![as_large_as_a_public_one(800)];
        let roots = ["Chaos Root X1", "Chaos Root X2"].map(|name| {
            let root_key = KeyPair::generate().expect("a key");
            let root = ca(name, BasicConstraints::Unconstrained);
            let pem = root.self_signed(&root_key).expect("a root").pem();
            let signed = params
                .signed_by(&key, &Issuer::new(root, root_key))
                .expect("an intermediate");
            Root {
                pem,
                intermediate: signed.pem(),
            }
        });
        Self {
            issuer: Issuer::new(params, key),
            roots,
        }
    }

    pub(super) fn roots(&self) -> Vec<String> {
        self.roots.iter().map(|root| root.pem.clone()).collect()
    }

    /// Signs the certificate of an order, or a wrong one.
    pub(super) fn sign(
        &self,
        csr: &CertificateSigningRequestParams,
        names: &[Identifier],
        profile: &Profile,
        wrong: Option<WrongChain>,
        now: Timestamp,
    ) -> Signed {
        let hours = SignedDuration::from_hours;
        // Let's Encrypt backdates certificates by an hour, for slow clocks.
        let mut not_before = now - hours(1);
        let mut not_after = not_before + profile.life;
        let mut names: Vec<SanType> = names.iter().map(san).collect();
        match wrong {
            Some(WrongChain::Expired) => {
                (not_before, not_after) = (now - hours(30 * 24), now - hours(24));
            }
            Some(WrongChain::NotYetValid) => not_before = now + hours(7 * 24),
            Some(WrongChain::OneDayLife) => not_after = not_before + hours(24),
            Some(WrongChain::ExtraName) => names.push(san(&Identifier::of("www.extra.test"))),
            Some(WrongChain::OtherNames) => {
                names = vec![san(&Identifier::of("somebody-else.test"))];
            }
            Some(WrongChain::OtherKey | WrongChain::MissingIntermediate) | None => {}
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.custom_extensions = vec![as_large_as_a_public_one(600)];
        params.not_before = SystemTime::from(not_before).into();
        params.not_after = SystemTime::from(not_after).into();
        let signed = if wrong == Some(WrongChain::OtherKey) {
            params.signed_by(&KeyPair::generate().expect("a key"), &self.issuer)
        } else {
            params.signed_by(&csr.public_key, &self.issuer)
        };
        let signed = signed.expect("a certificate");
        let chain = |root: &Root| match wrong {
            Some(WrongChain::MissingIntermediate) => signed.pem(),
            _ => signed.pem() + &root.intermediate,
        };
        Signed {
            chains: self.roots.iter().map(chain).collect(),
            id: ari_id(signed.der()),
            der: signed.der().clone(),
            not_before,
            not_after,
        }
    }
}

/// Reads a CSR whose signature holds and which is for exactly these names, with a key that is not
/// the account's.
pub(super) fn read_csr(
    der: Vec<u8>,
    names: &[Identifier],
    account_key: &[u8],
) -> Result<CertificateSigningRequestParams, Problem> {
    let bad = |why: String| Problem::new("badCSR", why);
    let csr = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der))
        .map_err(|error| bad(error.to_string()))?;
    let mut asked = Vec::new();
    for name in &csr.params.subject_alt_names {
        asked.push(match name {
            SanType::DnsName(name) => Identifier::Dns(name.as_str().to_ascii_lowercase()),
            SanType::IpAddress(address) => Identifier::Ip(*address),
            other => return Err(bad(format!("a name of another kind: {other:?}"))),
        });
    }
    asked.sort();
    asked.dedup();
    if asked != names {
        return Err(bad(format!(
            "its names are {asked:?}, the order's {names:?}"
        )));
    }
    let common = csr.params.distinguished_name.get(&DnType::CommonName);
    if let Some(rcgen::DnValue::Utf8String(name)) = common
        && !names.contains(&Identifier::of(name))
    {
        return Err(bad(format!(
            "the common name {name} is not one of the order's names"
        )));
    }
    if csr.public_key.der_bytes() == account_key {
        return Err(Problem::new(
            "badPublicKey",
            "the account's key in a certificate",
        ));
    }
    Ok(csr)
}

/// The configuration of the CA's web server and the root to trust for it. `expired` is for a
/// certificate of the past.
pub(super) fn web_server(
    expired: bool,
    root: &CertificateParams,
    root_key: &KeyPair,
) -> ServerConfig {
    let key = KeyPair::generate().expect("a key");
    let names = [
        "localhost".to_owned(),
        "ca.test".to_owned(),
        "127.0.0.1".to_owned(),
    ];
    let mut params = CertificateParams::new(names).expect("names");
    if expired {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
    }
    let signed = params
        .signed_by(&key, &Issuer::from_params(root, root_key))
        .expect("a certificate");
    let mut config =
        ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("ring knows them")
            .with_no_client_auth()
            .with_single_cert(
                vec![signed.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .expect("the key fits");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// Returns the content of a CA certificate.
pub(super) fn ca(name: &str, constraints: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Public CAs put more into their certificates, which matters where bytes are counted.
fn as_large_as_a_public_one(missing: usize) -> CustomExtension {
    let mut content = vec![0; missing];
    ring::rand::SystemRandom::new()
        .fill(&mut content)
        .expect("random");
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], content)
}

fn ari_id(der: &CertificateDer<'_>) -> String {
    let (_, parsed) = x509_parser::parse_x509_certificate(der).expect("we made it");
    let authority =
        parsed
            .iter_extensions()
            .find_map(|extension| match extension.parsed_extension() {
                x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id) => {
                    id.key_identifier.as_ref()
                }
                _ => None,
            });
    let key = URL_SAFE_NO_PAD.encode(authority.expect("we put it there").0);
    format!(
        "{key}.{}",
        URL_SAFE_NO_PAD.encode(parsed.tbs_certificate.raw_serial())
    )
}

fn san(name: &Identifier) -> SanType {
    match name {
        Identifier::Dns(name) => SanType::DnsName(
            name.as_str()
                .try_into()
                .expect("checked when it was ordered"),
        ),
        Identifier::Ip(address) => SanType::IpAddress(*address),
    }
}
