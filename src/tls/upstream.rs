//! TLS towards backends.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, OnceLock},
};

use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion, WantsVerifier,
    client::{
        WantsClientCert, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::SingleCertAndKey,
    version,
};

use super::{
    AuthoritiesError, Certificate, CertificateError, VerificationClock,
    backend_authority::BackendAuthority, verification_clock::ByClock,
};
use crate::{
    routing::{TlsTerms, TlsVersions},
    util::sync::lock,
};

/// The TLS settings towards backends: one for each distinct terms, shared by all cores. Those that
/// no backend has any more are dropped.
#[derive(Default)]
pub struct UpstreamConfigs {
    roots: OnceLock<Arc<RootCertStore>>,
    known: Mutex<HashMap<Option<Arc<TlsTerms>>, Variants>>,
    clock: Arc<VerificationClock>,
}

/// The settings of one terms: without and with verification, for HTTP/1.1 and HTTP/2.
type Variants = [[Option<Arc<ClientConfig>>; 2]; 2];

/// The reason why there are no TLS settings for some terms. It follows a colon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamTlsError {
    /// The certificate that backends ask for cannot be used.
    #[error("{0}")]
    Identity(#[from] CertificateError),
    /// The authorities cannot be used.
    #[error("{0}")]
    Authorities(#[from] AuthoritiesError),
    /// The system has no authorities.
    #[error("the system has no authorities (ca-certificates)")]
    NoRoots,
    /// No cipher suite fits the versions.
    #[error("there is no cipher suite for the versions of TLS that are allowed")]
    NoSuite,
}

impl UpstreamConfigs {
    /// Returns the clock by which certificates are verified.
    pub fn clock(&self) -> &VerificationClock {
        &self.clock
    }

    /// Returns the settings for terms. Without `verifies` any certificate is accepted, as
    /// ingress-nginx does by default (`proxy-ssl-verify: off`): pods have self-made ones, and
    /// devices have old ones. With it, the authorities of the terms decide, or else the system's
    /// roots.
    ///
    /// # Errors
    /// If the terms cannot be met.
    pub fn get(
        &self,
        terms: Option<&Arc<TlsTerms>>,
        verifies: bool,
        h2: bool,
    ) -> Result<Arc<ClientConfig>, UpstreamTlsError> {
        let terms = terms.cloned();
        let (v, h) = (usize::from(verifies), usize::from(h2));
        let mut known = lock(&self.known);
        if let Some(config) = known.get(&terms).and_then(|all| all[v][h].clone()) {
            return Ok(config);
        }

        let usual = TlsTerms::default();
        let made = self.make(terms.as_deref().unwrap_or(&usual), verifies, h2)?;
        known.retain(|terms, _| terms.as_ref().is_none_or(|one| Arc::strong_count(one) > 1));
        known.entry(terms).or_default()[v][h] = Some(made.clone());
        Ok(made)
    }

    fn make(
        &self,
        terms: &TlsTerms,
        verifies: bool,
        h2: bool,
    ) -> Result<Arc<ClientConfig>, UpstreamTlsError> {
        let provider = provider_for(terms);
        let versions: &[&SupportedProtocolVersion] = match terms.versions {
            TlsVersions::Both => &[&version::TLS13, &version::TLS12],
            TlsVersions::Only12 => &[&version::TLS12],
            TlsVersions::Only13 => &[&version::TLS13],
        };
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(versions);
        let builder = builder.map_err(|_none| UpstreamTlsError::NoSuite)?;

        let builder = match self.verifier(terms, verifies)? {
            None => accept_any(builder, provider),
            Some(verifier) => {
                let clock = self.clock.clone();
                let verifier = Arc::new(ByClock { verifier, clock });
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(verifier)
            }
        };

        let mut config = match &terms.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let certificate = Certificate::from_pem(identity.chain(), identity.key())?;
                let certified = certificate.certified().clone();
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
        };

        config.enable_sni = !terms.hides_name;
        config.alpn_protocols = match h2 {
            true => vec![b"h2".to_vec()],
            false => vec![b"http/1.1".to_vec()],
        };
        Ok(Arc::new(config))
    }
}

impl UpstreamConfigs {
    /// Returns what verifies certificates; `None` if any is accepted.
    fn verifier(
        &self,
        terms: &TlsTerms,
        verifies: bool,
    ) -> Result<Option<Arc<dyn ServerCertVerifier>>, UpstreamTlsError> {
        Ok(match &terms.authorities {
            _ if !verifies => None,
            Some(authorities) => Some(Arc::new(BackendAuthority::new(authorities, terms)?)),
            None => {
                let roots = self.roots.get_or_init(system_roots).clone();
                let builder = WebPkiServerVerifier::builder_with_provider(roots, super::provider());
                let built = builder.build();
                Some(built.map_err(|_none| UpstreamTlsError::NoRoots)?)
            }
        })
    }
}

impl fmt::Debug for UpstreamConfigs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpstreamConfigs")
    }
}

/// Returns settings for HTTP/1.1 with which any certificate is accepted.
pub fn unverified_config() -> ClientConfig {
    let provider = super::provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring offers suites for both versions");
    let mut config = accept_any(builder, provider).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

fn accept_any(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    provider: Arc<CryptoProvider>,
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
}

/// Returns the provider with the cipher suites of the terms. Those of TLS 1.3 stay: OpenSSL, whose
/// lists annotations have, does not choose them by such a list either.
fn provider_for(terms: &TlsTerms) -> Arc<CryptoProvider> {
    let provider = super::provider();
    let Some(wanted) = &terms.suites else {
        return provider;
    };

    let mut provider = Arc::unwrap_or_clone(provider);
    let place = |suite: &SupportedCipherSuite| {
        let number = u16::from(suite.suite());
        wanted.iter().position(|one| *one == number)
    };
    let is_new = |suite: &SupportedCipherSuite| suite.tls13().is_some();
    provider
        .cipher_suites
        .retain(|suite| is_new(suite) || place(suite).is_some());
    provider.cipher_suites.sort_by_key(|suite| {
        let place = place(suite).unwrap_or_default();
        (!is_new(suite), place)
    });
    Arc::new(provider)
}

fn system_roots() -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    Arc::new(roots)
}

/// Accepts any certificate, whatever its version, its key and its extensions are, as OpenSSL does
/// without verification.
///
/// The signature of the handshake is not verified either. It would prove that the peer has the key
/// of a certificate that anyone can make, and could not be verified for every key that OpenSSL
/// accepts.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

/// Schemes that OpenSSL offers beside the provider's; peers choose the first that they support.
const FURTHER_SCHEMES: [SignatureScheme; 4] = [
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED448,
    SignatureScheme::ECDSA_SHA1_Legacy,
    SignatureScheme::RSA_PKCS1_SHA1,
];

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.0.signature_verification_algorithms.supported_schemes();
        schemes.extend(FURTHER_SCHEMES);
        schemes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{routing::Identity, util::secretive::Secretive};

    fn terms(change: impl FnOnce(&mut TlsTerms)) -> Arc<TlsTerms> {
        let mut terms = TlsTerms::default();
        change(&mut terms);
        Arc::new(terms)
    }

    fn suites(config: &ClientConfig) -> Vec<u16> {
        let all = config.crypto_provider().cipher_suites.iter();
        all.map(|suite| suite.suite().into()).collect()
    }

    #[test]
    fn equal_terms_share_their_settings_while_they_are_in_use() {
        let configs = UpstreamConfigs::default();
        let get = |terms: &Arc<TlsTerms>| configs.get(Some(terms), false, false).expect("settings");
        let one = terms(|one| one.hides_name = true);
        let first = get(&one);
        assert!(Arc::ptr_eq(&first, &get(&one)));
        assert!(Arc::ptr_eq(
            &first,
            &get(&terms(|one| one.hides_name = true))
        ));
        assert!(!first.enable_sni);

        let other = terms(|one| one.versions = TlsVersions::Only13);
        assert!(!Arc::ptr_eq(&first, &get(&other)));
        drop(one);
        get(&terms(|one| one.depth = Some(1)));
        let known = lock(&configs.known).len();
        assert_eq!(known, 2, "the other one, and the newest");
    }

    #[test]
    fn chosen_suites_leave_those_of_tls_1_3() {
        let configs = UpstreamConfigs::default();
        let chosen = terms(|one| one.suites = Some([0xc030, 0xc02b].into()));
        let config = configs.get(Some(&chosen), false, true).expect("settings");
        let old: Vec<u16> = suites(&config).into_iter().skip(3).collect();
        assert_eq!(old, [0xc030, 0xc02b]);
        assert!(suites(&config)[..3].iter().all(|suite| suite >> 8 == 0x13));

        let none = terms(|one| {
            one.suites = Some([].into());
            one.versions = TlsVersions::Only12;
        });
        let refused = configs.get(Some(&none), false, false).map(|_| ());
        assert_eq!(refused, Err(UpstreamTlsError::NoSuite));
    }

    #[test]
    fn an_identity_that_cannot_be_used_is_an_error() {
        let key = Secretive(b"key".as_slice().into());
        let identity = Identity::new(b"chain".as_slice().into(), key);
        let broken = terms(|one| one.identity = Some(Arc::new(identity)));
        let refused = UpstreamConfigs::default().get(Some(&broken), false, false);
        assert!(matches!(refused, Err(UpstreamTlsError::Identity(_))));
    }
}
