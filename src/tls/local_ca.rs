//! The local CA: HTTPS always answers, also for hosts that have no certificate yet. One key serves
//! all leaves, and a leaf is signed at the first handshake for it, so hosts without clients cost
//! nothing.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::{
    RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::distinguished;
use crate::util::{sync::lock, time::UnixSeconds};

/// Validity begins here: a board without a clock boots in the past.
const NOT_BEFORE: (i32, u8, u8) = (2020, 1, 1);
/// Leaves live at most this long: what clients accept (398 days from 2020 on, from private CAs too
/// on some).
const LEAF_LIFE: Duration = Duration::from_secs(397 * 86_400);
/// A leaf with less life than this left is replaced.
const LEAF_RENEW: Duration = Duration::from_secs(30 * 86_400);
/// Leaves kept; beyond it all are forgotten and signed again when asked for.
const KEPT: usize = 1024;
/// The name in leaves for clients that name no host.
const FALLBACK: &str = "gatelet.local";

/// A CA with its key.
pub struct LocalCa {
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
    key_pem: String,
    root_der: CertificateDer<'static>,
    name: Box<str>,
    leaf_key: KeyPair,
    leaves: Mutex<HashMap<Box<str>, (Arc<CertifiedKey>, SystemTime)>>,
}

/// A certificate with its key, as PEM.
#[derive(Clone)]
pub struct Issued {
    /// Certificate, then the root.
    pub chain_pem: String,
    /// PKCS#8 key.
    pub key_pem: String,
}

/// Why the CA cannot be made or read.
#[derive(Debug, thiserror::Error)]
#[error("local CA: {0}")]
pub struct LocalCaError(#[from] rcgen::Error);

impl LocalCa {
    /// Generates a CA whose subject is `name`.
    pub fn generate(name: &str) -> Result<Self, LocalCaError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params.not_before = rcgen::date_time_ymd(NOT_BEFORE.0, NOT_BEFORE.1, NOT_BEFORE.2);
        params.not_after = rcgen::date_time_ymd(2050, 1, 1);

        let root = params.self_signed(&key)?;
        Self::from_pem(&root.pem(), &key.serialize_pem())
    }

    /// Reads a CA back.
    pub fn from_pem(root_pem: &str, key_pem: &str) -> Result<Self, LocalCaError> {
        let key = KeyPair::from_pem(key_pem)?;
        let issuer = Issuer::from_ca_cert_pem(root_pem, key)?;

        let root_der: CertificateDer<'static> =
            rustls::pki_types::pem::PemObject::from_pem_slice(root_pem.as_bytes())
                .map_err(|_bad| rcgen::Error::CouldNotParseCertificate)?;

        let name = {
            let (_, root) = X509Certificate::from_der(&root_der)
                .map_err(|_bad| rcgen::Error::CouldNotParseCertificate)?;
            root.subject().to_string().into()
        };

        Ok(Self {
            name,
            issuer,
            root_pem: root_pem.to_owned(),
            key_pem: key_pem.to_owned(),
            root_der,
            leaf_key: KeyPair::generate()?,
            leaves: Mutex::default(),
        })
    }

    /// Returns the CA's name as [`Certificate::issuer`](super::Certificate::issuer) has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the root certificate, for people to trust.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// Returns the CA's key, for the store only.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Returns true if this CA has issued a server's certificate that is valid at a time.
    pub fn has_issued(&self, leaf: &CertificateDer<'_>, at: UnixTime) -> bool {
        let mut roots = RootCertStore::empty();
        let added = roots.add(self.root_der.clone());
        let Ok(leaf) = ParsedCertificate::try_from(leaf) else {
            return false;
        };
        let algorithms = super::provider().signature_verification_algorithms.all;
        let verified =
            verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &[], at, algorithms);
        added.is_ok() && verified.is_ok()
    }

    /// Issues a certificate for a server of these names and addresses.
    pub fn issue_server(
        &self,
        names: &[&str],
        addresses: &[IpAddr],
    ) -> Result<Issued, LocalCaError> {
        let mut params = CertificateParams::new(
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>(),
        )?;
        params
            .subject_alt_names
            .extend(addresses.iter().copied().map(SanType::IpAddress));
        params.distinguished_name = distinguished(names.first().copied().unwrap_or(FALLBACK));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params)
    }

    /// Issues a certificate for servers of these names, wildcards and addresses, valid for `life`
    /// from `not_before` on.
    pub fn issue_for(
        &self,
        names: &[String],
        not_before: UnixSeconds,
        life: Duration,
    ) -> Result<Issued, LocalCaError> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = distinguished(names.first().map_or(FALLBACK, String::as_str));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let not_after = SystemTime::from(not_before + life);
        params.not_before = SystemTime::from(not_before).into();
        params.not_after = not_after.into();
        self.sign(&params)
    }

    /// Issues a client certificate: `user` is the common name, `group` the organisation, as
    /// Kubernetes reads them.
    pub fn issue_client(&self, user: &str, group: &str) -> Result<Issued, LocalCaError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished(user);
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    /// Certifies the key of a signing request (PEM) for a client: `user` is the common name.
    /// Nothing else of the request counts. Returns the certificate and the root as PEM.
    ///
    /// # Errors
    ///
    /// The request cannot be read, or was not signed with its key.
    pub fn sign_client(
        &self,
        request: &str,
        user: &str,
        life: Duration,
    ) -> Result<String, LocalCaError> {
        let key = CertificateSigningRequestParams::from_pem(request)?.public_key;
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished(user);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(NOT_BEFORE.0, NOT_BEFORE.1, NOT_BEFORE.2);
        params.not_after = (SystemTime::now() + life).into();
        let signed = params.signed_by(&key, &self.issuer)?;
        Ok(format!("{}{}", signed.pem(), self.root_pem))
    }

    /// Returns the certificate for a host that has no other; signs it at the first call.
    pub fn for_host(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        let now = SystemTime::now();
        let mut leaves = lock(&self.leaves);

        if let Some((leaf, until)) = leaves.get(host)
            && until
                .duration_since(now)
                .is_ok_and(|left| left > LEAF_RENEW)
        {
            return Some(leaf.clone());
        }

        let until = now.max(UNIX_EPOCH + Duration::from_secs(1_577_836_800)) + LEAF_LIFE;
        let leaf = self
            .leaf(host, until)
            .inspect_err(|error| tracing::warn!(host, %error, "no local certificate"))
            .ok()?;

        if leaves.len() >= KEPT {
            leaves.clear();
        }
        leaves.insert(host.into(), (leaf.clone(), until));
        Some(leaf)
    }

    /// Returns the certificate for clients that name no host.
    pub fn fallback(&self) -> Option<Arc<CertifiedKey>> {
        self.for_host(FALLBACK)
    }

    fn leaf(&self, host: &str, until: SystemTime) -> Result<Arc<CertifiedKey>, LocalCaError> {
        // An address is named without the brackets of a host.
        let mut params = CertificateParams::new(vec![host.trim_matches(['[', ']']).to_owned()])?;
        params.distinguished_name = distinguished(host);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_after = until.into();

        let begin = rcgen::date_time_ymd(NOT_BEFORE.0, NOT_BEFORE.1, NOT_BEFORE.2);
        params.not_before = begin.max((until - LEAF_LIFE - Duration::from_secs(86_400)).into());
        let signed = params.signed_by(&self.leaf_key, &self.issuer)?;

        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        let key = super::provider()
            .key_provider
            .load_private_key(key)
            .map_err(|_never| rcgen::Error::CouldNotParseKeyPair)?;

        Ok(Arc::new(CertifiedKey::new(
            vec![signed.der().clone(), self.root_der.clone()],
            key,
        )))
    }

    fn issue(&self, mut params: CertificateParams) -> Result<Issued, LocalCaError> {
        params.not_before = rcgen::date_time_ymd(NOT_BEFORE.0, NOT_BEFORE.1, NOT_BEFORE.2);
        params.not_after = rcgen::date_time_ymd(2050, 1, 1);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Result<Issued, LocalCaError> {
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            chain_pem: format!("{}{}", signed.pem(), self.root_pem),
            key_pem: key.serialize_pem(),
        })
    }
}

impl fmt::Debug for LocalCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalCa")
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Issued")
    }
}
