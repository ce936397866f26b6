//! The authorities of certificates of clients that hosts trust now, each with the TLS settings that
//! ask for those certificates.

use std::{collections::HashMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use super::{
    ClientAuthority, MinVersion, Resolver, VerificationClock, asking::Asking, provider,
    server_config_with,
};
use crate::routing::Authorities;

/// The authorities, swapped while connections continue.
#[derive(Default)]
pub struct TrustedAuthorities {
    all: ArcSwap<HashMap<[u8; 32], Arc<Trusted>>>,
    clock: VerificationClock,
}

/// Authorities of hosts.
#[derive(Debug)]
struct Trusted {
    authority: Arc<ClientAuthority>,
    /// Their certificates.
    certificates: Box<[Box<[u8]>]>,
    /// Asks for certificates of these authorities. Its session tickets are its own: a session that
    /// began without a certificate, or with other authorities, is not resumed.
    config: Arc<ServerConfig>,
}

impl TrustedAuthorities {
    /// Returns the authorities with this id; `None` if no host trusts them.
    pub fn authority(&self, id: &[u8; 32]) -> Option<Arc<ClientAuthority>> {
        self.all.load().get(id).map(|one| one.authority.clone())
    }

    /// Returns the clock by which certificates are verified.
    pub fn clock(&self) -> &VerificationClock {
        &self.clock
    }

    /// Returns the TLS settings that ask for certificates of these authorities.
    pub(super) fn config(&self, id: &[u8; 32]) -> Option<Arc<ServerConfig>> {
        self.all.load().get(id).map(|one| one.config.clone())
    }

    /// Replaces the authorities.
    pub(super) fn swap<'a>(
        &self,
        all: impl Iterator<Item = &'a Arc<Authorities>>,
        resolver: &Arc<Resolver>,
        min: MinVersion,
    ) {
        let before = self.all.load();
        let mut after: HashMap<[u8; 32], Arc<Trusted>> = HashMap::new();
        for authorities in all {
            if after.contains_key(&authorities.id) {
                continue;
            }
            if let Some(known) = before.get(&authorities.id) {
                after.insert(authorities.id, known.clone());
                continue;
            }

            // They were tried when they were read.
            let Ok(authority) = ClientAuthority::new(authorities) else {
                continue;
            };
            // New lists of revoked certificates do not end sessions.
            let mut known = before.values().chain(after.values());
            let known = known.find(|one| one.certificates == authorities.certificates);
            let config = known.map(|one| one.config.clone());
            let config = config.unwrap_or_else(|| config_for(&authority, resolver, min));
            let trusted = Trusted {
                authority: Arc::new(authority),
                certificates: authorities.certificates.clone(),
                config,
            };
            after.insert(authorities.id, Arc::new(trusted));
        }
        self.all.store(Arc::new(after));
    }
}

impl fmt::Debug for TrustedAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrustedAuthorities")
    }
}

/// Returns TLS settings that ask for certificates of authorities.
fn config_for(
    authority: &ClientAuthority,
    resolver: &Arc<Resolver>,
    min: MinVersion,
) -> Arc<ServerConfig> {
    let asking = Asking {
        hints: authority.hints(),
        algorithms: provider().signature_verification_algorithms,
    };
    let mut config = server_config_with(resolver.clone(), min, Some(Arc::new(asking)));
    // Tickets keep the certificates of clients with the clients.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Arc::new(config)
}
