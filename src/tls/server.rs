//! What the HTTPS listeners speak, and with which certificate where the server name does not say.

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
    /// Serves what the resolver finds.
    pub fn new(resolver: Arc<Resolver>, min: MinVersion) -> Self {
        Self {
            config: server_config(resolver.clone(), min),
            resolver,
        }
    }

    /// The configuration for all but the connections that [`Self::config_for`] is about.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Who chooses the certificates.
    pub fn resolver(&self) -> &Arc<Resolver> {
        &self.resolver
    }

    /// The configuration for a client that sent this server name to this local address of ours.
    /// Addresses are no server names (RFC 6066 section 3): the certificate for one is chosen by
    /// where its client connected to.
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
