//! Certificates in memory: PEM to key pair, the SNI map, the rustls resolver, tickets, the local CA.

mod certificate;
mod local_ca;
mod resolver;
mod upstream;

use std::sync::Arc;

use rustls::{ServerConfig, crypto::CryptoProvider};

pub use certificate::{Certificate, CertificateError};
pub use local_ca::{Issued, LocalCa, LocalCaError};
pub use resolver::{Resolver, SniMap, UnknownSni};
pub use upstream::upstream_config;

/// The oldest TLS version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246) and 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446) only.
    Tls13,
}

/// The one crypto provider of the process.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Makes [`provider`] the default of libraries that look for one. To be called once, at the start of the process.
pub fn install() {
    // An error says that there is a default already, which can only be this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The configuration of the HTTPS listeners. Session tickets belong to it, not to a certificate, so resumption goes on
/// when certificates are swapped.
pub fn server_config(resolver: Arc<Resolver>, min: MinVersion) -> Arc<ServerConfig> {
    let versions: &[&rustls::SupportedProtocolVersion] = match min {
        MinVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        MinVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("ring offers suites for both versions")
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    // curl and other old-fashioned clients offer nothing but `http/1.0` when they are to speak it.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()];
    match rustls::crypto::ring::Ticketer::new() {
        Ok(ticketer) => config.ticketer = ticketer,
        Err(error) => tracing::warn!(%error, "no session tickets: every TLS connection is a full handshake"),
    }
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(1024);
    // One ticket is enough for a browser that comes back; each more costs a write and 300 bytes.
    config.send_tls13_tickets = 1;
    Arc::new(config)
}

#[cfg(test)]
mod tests;
