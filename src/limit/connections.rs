//! Counts client connections, in all and per client address, over all cores.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::util::sync::lock;

/// Locks that share the addresses out; more than cores, so that two rarely meet.
const SHARDS: usize = 16;

/// The counters. The map of addresses holds only addresses with a connection, so it is bounded by
/// the total.
#[derive(Debug)]
pub struct Connections {
    max: usize,
    max_per_client: usize,
    total: AtomicUsize,
    clients: [Mutex<HashMap<IpAddr, usize>>; SHARDS],
}

/// One counted connection; dropping it gives its place back.
#[derive(Debug)]
pub struct Permit {
    of: Arc<Connections>,
    client: Option<IpAddr>,
}

/// Why a connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many connections as allowed in all.
    #[error("too many connections")]
    Total,
    /// As many as allowed from this client address.
    #[error("too many connections from one client")]
    Client,
}

impl Connections {
    /// Counters that admit `max` connections in all, and `max_per_client` of one address (0 for no
    /// limit).
    pub fn new(max: usize, max_per_client: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_client,
            total: AtomicUsize::new(0),
            clients: Default::default(),
        })
    }

    /// Connections now.
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Counts one more connection, unless there are as many as allowed. Its client is not known
    /// yet.
    pub fn admit(self: &Arc<Self>) -> Result<Permit, Refused> {
        let counted = self
            .total
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |total| {
                (total < self.max).then_some(total + 1)
            });
        match counted {
            Ok(_) => Ok(Permit {
                of: Arc::clone(self),
                client: None,
            }),
            Err(_) => Err(Refused::Total),
        }
    }

    fn shard(&self, client: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        let low = match client {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[7],
        };
        lock(&self.clients[usize::from(low) % SHARDS])
    }
}

impl Permit {
    /// Counts this connection for its client too. An IPv6 client is its /64, which one subscriber
    /// owns whole.
    pub fn count_client(&mut self, client: IpAddr) -> Result<(), Refused> {
        let max = self.of.max_per_client;
        if max == 0 || self.client.is_some() {
            return Ok(());
        }
        let client = network(client);
        let mut clients = self.of.shard(client);
        let count = clients.entry(client).or_default();
        if *count >= max {
            return Err(Refused::Client);
        }
        *count += 1;
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.of.total.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        let mut clients = self.of.shard(client);
        if let Some(count) = clients.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&client);
                // A burst of many addresses must not leave its table behind.
                if clients.capacity() > 64 && clients.len() < clients.capacity() / 8 {
                    clients.shrink_to_fit();
                }
            }
        }
    }
}

/// Returns the network that one client is likely to own whole: the /64 of an IPv6 address, and an
/// IPv4 address itself.
pub fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests;
