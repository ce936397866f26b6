//! The TLS configuration of the HTTPS listeners, and the certificate for clients that connect to an
//! address.

use std::{net::IpAddr, sync::Arc};

use rustls::{ServerConfig, sign::SingleCertAndKey};

use super::{MinVersion, Resolver, server_config};

/// The server side of TLS, one for all HTTPS listeners.
#[derive(Clone, Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
}

impl Server {
    /// Returns a server that serves the certificates of the resolver.
    pub fn new(resolver: Arc<Resolver>, min: MinVersion) -> Self {
        Self {
            config: server_config(resolver.clone(), min),
            resolver,
        }
    }

    /// Returns the configuration that selects by server name; see [`Self::config_for`].
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Returns the resolver, which selects the certificates.
    pub fn resolver(&self) -> &Arc<Resolver> {
        &self.resolver
    }

    /// Returns the configuration for a client that sent this server name to this local address.
    /// Addresses are no server names (RFC 6066 section 3): their certificate is selected by the
    /// address that the client connected to.
    pub fn config_for(&self, name: Option<&str>, local: IpAddr) -> Arc<ServerConfig> {
        let own = if name.is_none() {
            self.resolver.for_address(local)
        } else {
            None
        };
        let Some(own) = own else {
            return self.config.clone();
        };
        let mut config = ServerConfig::clone(&self.config);
        config.cert_resolver = Arc::new(SingleCertAndKey::from(own));
        Arc::new(config)
    }
}
