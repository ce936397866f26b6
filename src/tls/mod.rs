//! Certificates in memory: PEM to key pair, the SNI map, the rustls resolver, tickets, the local
//! CA; and the answers to a CA's challenges.

mod asking;
mod backend_authority;
mod certificate;
mod certificate_info;
mod challenge;
mod client_authority;
mod client_certificate;
mod client_error;
mod failure;
mod local_ca;
mod old_certificate;
mod own_certificates;
mod pem;
mod resolver;
mod server;
mod settings;
mod trusted;
mod upstream;
mod verification_clock;

use std::sync::Arc;

use rcgen::{DistinguishedName, DnType};
use rustls::{
    CipherSuite, ConfigBuilder, ServerConfig, SupportedProtocolVersion,
    crypto::CryptoProvider,
    server::{WantsServerCert, danger::ClientCertVerifier},
};

pub use certificate::{Certificate, CertificateError, chain_has_issuer};
pub use certificate_info::certificate_info;
pub use challenge::{
    ChallengeError, ChallengeKind, ChallengeMap, Challenges, Hits, challenge_certificate,
};
pub use client_authority::{AuthoritiesError, ClientAuthority, read_authorities};
pub use client_certificate::ClientCertificate;
pub use client_error::ClientCertificateError;
pub use failure::{handshake_failure, refused_later};
pub use local_ca::{Issued, LocalCa, LocalCaError};
use own_certificates::OwnCertificates;
pub use pem::{Found, KeyKind};
pub use resolver::{Resolver, SniMap, UnknownSni};
pub use server::Server;
pub use settings::{MinVersion, Settings};
pub use trusted::TrustedAuthorities;
pub use upstream::{UpstreamConfigs, UpstreamTlsError, unverified_config};
pub use verification_clock::{Now, VerificationClock};

/// The one crypto provider of the process, with the cipher suites in the order of what they cost
/// here.
pub fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    let aes = has_aes();
    provider
        .cipher_suites
        .sort_by_key(|suite| cost(suite.suite(), aes));
    Arc::new(provider)
}

/// AES-256 brings SHA-384, which no processor of a small board helps with, and guards nothing that
/// AES-128 does not. Without AES in the processor (a Raspberry Pi 4 has none) ChaCha20 is several
/// times cheaper than either.
fn cost(suite: CipherSuite, aes: bool) -> u8 {
    match suite {
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => {
            if aes {
                3
            } else {
                0
            }
        }
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 1,
        _ => 2,
    }
}

/// Reports whether the processor has instructions for AES.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// Makes [`provider`] the default of libraries that look for one. To be called once, at the start
/// of the process.
pub fn install() {
    // An error says that there is a default already, which can only be this one.
    let _ = CryptoProvider::install_default(Arc::unwrap_or_clone(provider()));
}

/// The configuration of the HTTPS listeners. Session tickets belong to it, not to a certificate, so
/// resumption goes on when certificates are swapped.
pub fn server_config(resolver: Arc<Resolver>, min: MinVersion) -> Arc<ServerConfig> {
    Arc::new(server_config_with(resolver, min, None))
}

/// The same, with an optional verifier, which asks clients for their certificates.
fn server_config_with(
    resolver: Arc<Resolver>,
    min: MinVersion,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> ServerConfig {
    let versions: &[&SupportedProtocolVersion] = match min {
        MinVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        MinVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let mut config = base_config(versions, verifier).with_cert_resolver(resolver);

    // The client's order says what is cheap for it; most say what OpenSSL was built with.
    config.ignore_client_order = true;
    // curl and other old-fashioned clients offer nothing but `http/1.0` when they are to speak it.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()];

    match rustls::crypto::ring::Ticketer::new() {
        Ok(ticketer) => config.ticketer = ticketer,
        Err(error) => {
            tracing::warn!(%error, "no session tickets: every TLS connection is a full handshake");
        }
    }

    config.session_storage = rustls::server::ServerSessionMemoryCache::new(1024);
    // One ticket is enough for a browser that comes back; each more costs a write and 300 bytes.
    config.send_tls13_tickets = 1;
    config
}

fn base_config(
    versions: &[&'static SupportedProtocolVersion],
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> ConfigBuilder<ServerConfig, WantsServerCert> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("ring offers suites for both versions");
    match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    }
}

fn distinguished(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

#[cfg(test)]
mod tests;
