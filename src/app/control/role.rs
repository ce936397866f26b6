//! What this replica does for all of them.

use std::net::IpAddr;

use tokio::sync::watch;

/// Whether this replica leads, and the addresses of all.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    /// Only the leader writes statuses and Events, and talks to a CA.
    pub(crate) leads: watch::Receiver<bool>,
    /// Who holds the Lease, empty where that is nobody or not known; `None` where there is no other
    /// replica.
    pub(crate) holder: Option<watch::Receiver<String>>,
    /// For the status of Ingresses; none while they are not known.
    pub(crate) addresses: watch::Receiver<Vec<IpAddr>>,
}

/// What is different now.
pub(crate) enum Change {
    Leads(bool),
    Addresses(Vec<IpAddr>),
}

impl Role {
    /// Always the leader: there is no other.
    pub(crate) fn alone(addresses: Vec<IpAddr>) -> Self {
        Self {
            leads: watch::channel(true).1,
            holder: None,
            addresses: watch::channel(addresses).1,
        }
    }

    /// Waits for a change; for ever where nothing can change any more.
    pub(crate) async fn changed(&mut self) -> Change {
        tokio::select! {
            Ok(()) = self.leads.changed() => Change::Leads(*self.leads.borrow_and_update()),
            Ok(()) = self.addresses.changed() => Change::Addresses(self.addresses.borrow_and_update().clone()),
            else => std::future::pending().await,
        }
    }

    /// Waits until nothing can change any more: what was held for all replicas is given back.
    pub(crate) async fn ended(mut self) {
        while self.leads.changed().await.is_ok() {}
        while self.addresses.changed().await.is_ok() {}
    }
}
