//! TLS that is passed through: the backend of a host ends it, and gatelet sees the name alone.

use std::{net::IpAddr, sync::Arc};

use super::{Access, Entry, PortRoute, Refusal};

/// The treatment of TLS connections to a host whose backend ends TLS itself.
#[derive(Debug)]
pub struct Passthrough {
    /// The destination of its connections, or the reason why they are closed.
    pub target: Result<Arc<PortRoute>, Refusal>,
    /// The decisions about who may come in: all of them must let a client in. They are about
    /// addresses alone.
    pub accesses: Box<[Arc<Access>]>,
}

impl Passthrough {
    /// Returns true if a client with this address may come in.
    pub fn lets_in(&self, address: IpAddr) -> bool {
        let mut entries = self.accesses.iter().map(|one| one.entry(Some(address)));
        entries.all(|entry| matches!(entry, Entry::Open))
    }
}
