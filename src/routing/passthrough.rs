//! TLS that is passed through: the backend of a host ends it, and gatelet sees the name alone.

use std::{net::IpAddr, sync::Arc};

use super::{Access, PortRoute, Refusal};

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
    /// Closes all connections.
    pub fn closed(refusal: Refusal) -> Self {
        Self {
            target: Err(refusal),
            accesses: Box::default(),
        }
    }

    /// Returns true if a client with this address may come in.
    pub fn lets_in(&self, address: IpAddr) -> bool {
        self.accesses.iter().all(|access| access.lets_in(address))
    }
}
