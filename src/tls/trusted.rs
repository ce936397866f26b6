//! The authorities of certificates of clients that hosts trust now, each with the TLS settings that
//! ask for those certificates.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use super::{ClientAuthority, MinVersion, Resolver, asking::Asking, provider, server_config_with};
use crate::{
    routing::Authorities,
    util::{clock::RELEASED, time::UnixSeconds},
};

/// The authorities, swapped while connections continue.
#[derive(Default)]
pub struct TrustedAuthorities {
    all: ArcSwap<HashMap<[u8; 32], Arc<Trusted>>>,
    clock: OnceLock<Clock>,
}

/// Returns the best guess of the time.
type Clock = Box<dyn Fn() -> UnixSeconds + Send + Sync>;

/// The time at which a certificate is verified.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The best guess.
    pub time: UnixSeconds,
    /// True if the clock of this device shows an earlier time, so that it is wrong, and the guess
    /// may be too early.
    pub is_late: bool,
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

    /// Sets the clock. The wall clock is used until then.
    pub fn set_clock(&self, clock: impl Fn() -> UnixSeconds + Send + Sync + 'static) {
        // The first one counts, and there is only one.
        let _ = self.clock.set(Box::new(clock));
    }

    /// Returns the time at which certificates are verified.
    pub fn now(&self) -> Now {
        let time = match self.clock.get() {
            Some(clock) => clock(),
            None => UnixSeconds::now().max(RELEASED),
        };
        // Read after it: a clock that is right does not count as late at the end of a second.
        let wall = UnixSeconds::now();
        Now {
            time,
            is_late: wall < time,
        }
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
