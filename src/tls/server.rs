//! The TLS configuration of the HTTPS listeners, and the certificate for clients that connect to an
//! address.

use std::{net::IpAddr, sync::Arc};

use rustls::{ServerConfig, sign::SingleCertAndKey};

use super::{
    CertificateError, MinVersion, OwnCertificates, Resolver, TrustedAuthorities, server_config,
};
use crate::routing::{Authorities, Identity};

/// The server side of TLS, one for all HTTPS listeners.
#[derive(Clone, Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    /// The same for protocols other than HTTP.
    any_protocol: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
    min: MinVersion,
    trusted: Arc<TrustedAuthorities>,
    /// The certificates that ports of layer 4 have for themselves.
    own: Arc<OwnCertificates>,
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
            own: Arc::default(),
        }
    }

    /// Returns the configuration that selects by server name; see [`Self::config_for`].
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Returns the configuration for a client of a port of layer 4: with the certificate `own`, or
    /// else that of the name that it sent or of the local address. `protocol` is the one that is
    /// chosen (ALPN).
    ///
    /// # Errors
    /// If the certificate cannot be used.
    pub fn for_port(
        &self,
        own: Option<&Arc<Identity>>,
        (name, local): (Option<&str>, IpAddr),
        protocol: Option<&[u8]>,
    ) -> Result<Arc<ServerConfig>, CertificateError> {
        let mut config = self.config_for(name, local, Some(self.any_protocol.clone()));
        if let Some(own) = own {
            let certified = self.own.get(own)?;
            Arc::make_mut(&mut config).cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        }
        if let Some(protocol) = protocol {
            Arc::make_mut(&mut config).alpn_protocols = vec![protocol.to_vec()];
        }
        Ok(config)
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
