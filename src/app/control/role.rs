//! The role of this replica among the replicas of a cluster.

use std::net::IpAddr;

use tokio::sync::watch;

/// The leadership of this replica, and the addresses of all replicas.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    /// Only the leader writes statuses and Events, and talks to CAs.
    pub(crate) leads: watch::Receiver<bool>,
    /// The holder of the Lease, empty if it has none or cannot be read; `None` if there are no
    /// replicas.
    pub(crate) holder: Option<watch::Receiver<String>>,
    /// The addresses for the status of Ingresses; empty while they are unknown.
    pub(crate) addresses: watch::Receiver<Vec<IpAddr>>,
}

/// A change of the role.
pub(crate) enum Change {
    Leads(bool),
    Addresses(Vec<IpAddr>),
}

impl Role {
    /// Returns the role of a process without replicas: it always leads.
    pub(crate) fn alone(addresses: Vec<IpAddr>) -> Self {
        Self {
            leads: watch::channel(true).1,
            holder: None,
            addresses: watch::channel(addresses).1,
        }
    }

    /// Waits for a change. Never returns if none is possible any more.
    pub(crate) async fn changed(&mut self) -> Change {
        tokio::select! {
            Ok(()) = self.leads.changed() => Change::Leads(*self.leads.borrow_and_update()),
            Ok(()) = self.addresses.changed() => {
                Change::Addresses(self.addresses.borrow_and_update().clone())
            }
            else => std::future::pending().await,
        }
    }

    /// Waits until no change is possible any more: the Lease has been released.
    pub(crate) async fn ended(mut self) {
        while self.leads.changed().await.is_ok() {}
        while self.addresses.changed().await.is_ok() {}
    }
}
