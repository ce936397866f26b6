//! The TLS configuration of the HTTPS listeners, and the certificate for clients that connect to an
//! address.

use std::{net::IpAddr, sync::Arc};

use rustls::{ServerConfig, sign::SingleCertAndKey};

use super::{MinVersion, Resolver, TrustedAuthorities, server_config};
use crate::routing::Authorities;

/// The server side of TLS, one for all HTTPS listeners.
#[derive(Clone, Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    /// The same for protocols other than HTTP.
    any_protocol: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
    min: MinVersion,
    trusted: Arc<TrustedAuthorities>,
}

impl Server {
    /// Returns a server that serves the certificates of the resolver.
    pub fn new(resolver: Arc<Resolver>, min: MinVersion) -> Self {
        let config = server_config(resolver.clone(), min);
        let mut any_protocol = ServerConfig::clone(&config);
        any_protocol.alpn_protocols.clear();
        Self {
            config,
            any_protocol: Arc::new(any_protocol),
            resolver,
            min,
            trusted: Arc::default(),
        }
    }

    /// Returns the configuration that selects by server name; see [`Self::config_for`].
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Returns the configuration for ports of layer 4: whatever protocol a client asks for (ALPN),
    /// none is chosen.
    pub fn any_protocol(&self) -> &Arc<ServerConfig> {
        &self.any_protocol
    }

    /// Returns the resolver, which selects the certificates.
    pub fn resolver(&self) -> &Arc<Resolver> {
        &self.resolver
    }

    /// Returns the authorities that verify certificates of clients.
    pub fn trusted(&self) -> &Arc<TrustedAuthorities> {
        &self.trusted
    }

    /// Replaces the authorities of all hosts. To be called before the hosts are served with them.
    pub fn trust<'a>(&self, all: impl Iterator<Item = &'a Arc<Authorities>>) {
        self.trusted.swap(all, &self.resolver, self.min);
    }

    /// Returns the configuration that asks for certificates of these authorities; `None` if no host
    /// trusts them.
    pub fn asking(&self, authorities: &Authorities) -> Option<Arc<ServerConfig>> {
        self.trusted.config(&authorities.id)
    }

    /// Returns the configuration for a client that sent this server name to this local address;
    /// `asking` takes the place of the common one.
    /// Addresses are no server names (RFC 6066 section 3): their certificate is selected by the
    /// address that the client connected to.
    pub fn config_for(
        &self,
        name: Option<&str>,
        local: IpAddr,
        asking: Option<Arc<ServerConfig>>,
    ) -> Arc<ServerConfig> {
        let config = asking.unwrap_or_else(|| self.config.clone());
        let own = if name.is_none() {
            self.resolver.for_address(local)
        } else {
            None
        };
        let Some(own) = own else {
            return config;
        };
        let mut config = ServerConfig::clone(&config);
        config.cert_resolver = Arc::new(SingleCertAndKey::from(own));
        Arc::new(config)
    }
}
