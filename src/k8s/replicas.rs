//! The addresses of all replicas: each publishes its own in a Lease of its own, and the leader
//! reads all of these.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    client::Client,
    lease::{Leases, micro_time},
    objects::WriteError,
};
use crate::util::drain::Drain;

/// The label that marks these Leases.
const LABEL: &str = "gatelet.dev/replica";
/// The annotation with the addresses of a replica, separated by commas.
const ADDRESS: &str = "gatelet.dev/address";
/// The interval between renewals, and between the leader's readings of all Leases.
const INTERVAL: Duration = Duration::from_secs(15);
/// The time after which a Lease that was not renewed counts as gone (`leaseDurationSeconds`).
const STALE: Duration = Duration::from_secs(60);
/// The wait after a failure.
const RETRY: Duration = Duration::from_secs(2);
/// The time limit for the deletion of our own Lease at the end.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// The number of attempts to write a Lease that other writers change at the same time.
const CONFLICT_TRIES: usize = 3;

/// Publishes the addresses `own` of this node until draining begins. While this replica leads,
/// `addresses` holds those of all nodes, sorted. It is empty until they are known, and while this
/// replica does not lead.
pub async fn announce(
    client: Client,
    namespace: String,
    node: String,
    own: Vec<IpAddr>,
    mut leads: watch::Receiver<bool>,
    addresses: watch::Sender<Vec<IpAddr>>,
    mut drain: Drain,
) {
    let mut replica = Replica {
        leases: Leases::new(client, &namespace),
        name: format!("gatelet-node-{node}"),
        node,
        own,
        others: Others::default(),
    };

    let running = async {
        let mut elected = true;
        loop {
            let leading = *leads.borrow_and_update();
            let wait = match replica.round(leading, &addresses).await {
                Ok(()) => INTERVAL,
                Err(error) => {
                    tracing::debug!(%error, "the addresses of the other replicas are unknown");
                    RETRY
                }
            };

            tokio::select! {
                changed = leads.changed(), if elected => elected = changed.is_ok(),
                () = sleep(wait) => {}
            }
        }
    };

    tokio::select! {
        () = running => {}
        _grace = drain.draining() => {}
    }

    // If this fails, the Lease is stale within a minute.
    let _ = timeout(LEAVE_TIMEOUT, replica.leave()).await;
}

struct Replica {
    leases: Leases,
    name: String,
    node: String,
    own: Vec<IpAddr>,
    others: Others,
}

impl Replica {
    /// Renews our own Lease and, as the leader, reads all others and deletes the stale ones.
    async fn round(
        &mut self,
        leading: bool,
        addresses: &watch::Sender<Vec<IpAddr>>,
    ) -> Result<(), WriteError> {
        if !leading {
            publish(addresses, BTreeSet::new());
        }

        // A failed renewal does not keep this replica from learning of the others.
        let renewed = self.renew().await;

        if leading {
            let found = match self.leases.list(LABEL).await {
                Ok(leases) => self.others.see(Instant::now(), leases),
                Err(error) if error.forbids() => Replicas::default(),
                Err(error) => return Err(error),
            };

            let own = self.own.iter().copied();
            publish(addresses, found.live.into_iter().chain(own).collect());
            for gone in &found.stale {
                self.leases.delete(gone).await?;
            }
        }

        match renewed {
            // The election logs missing rights already.
            Err(error) if !error.forbids() => Err(error),
            _ => Ok(()),
        }
    }

    async fn renew(&self) -> Result<(), WriteError> {
        let mut last = Ok(());
        for _attempt in 0..CONFLICT_TRIES {
            let mut lease = self
                .leases
                .find(&self.name)
                .await?
                .unwrap_or_else(|| json!({}));

            let own: Vec<String> = self.own.iter().map(IpAddr::to_string).collect();
            lease["metadata"]["labels"] = json!({ LABEL: "" });
            lease["metadata"]["annotations"] = json!({ ADDRESS: own.join(",") });
            lease["spec"] = json!({
                "holderIdentity": self.node,
                "leaseDurationSeconds": STALE.as_secs(),
                "renewTime": micro_time(),
            });

            last = self.leases.put(&self.name, lease).await.map(drop);
            if !last.as_ref().is_err_and(WriteError::conflicts) {
                break;
            }
        }
        last
    }

    async fn leave(&self) -> Result<(), WriteError> {
        match self.leases.find(&self.name).await? {
            Some(lease) => self.leases.delete(&lease).await,
            None => Ok(()),
        }
    }
}

fn publish(addresses: &watch::Sender<Vec<IpAddr>>, found: BTreeSet<IpAddr>) {
    let found: Vec<IpAddr> = found.into_iter().collect();
    addresses.send_if_modified(|known| {
        let changed = *known != found;
        *known = found;
        changed
    });
}

/// The Leases of all nodes: the `spec` of each, and the time since which it has not changed by our
/// own clock.
#[derive(Debug, Default)]
struct Others(HashMap<String, (Value, Instant)>);

/// The replicas that have Leases.
#[derive(Debug, Default)]
struct Replicas {
    /// The addresses of all live replicas.
    live: BTreeSet<IpAddr>,
    /// The Leases of replicas that are gone.
    stale: Vec<Value>,
}

impl Others {
    /// Observes all Leases as listed at `now`.
    fn see(&mut self, now: Instant, leases: Vec<Value>) -> Replicas {
        let mut found = Replicas::default();
        let mut seen = HashMap::with_capacity(leases.len());

        for lease in leases {
            let Some(name) = lease["metadata"]["name"].as_str() else {
                continue;
            };
            let spec = lease["spec"].clone();
            let since = match self.0.get(name) {
                Some((before, since)) if *before == spec => *since,
                _ => now,
            };
            seen.insert(name.to_owned(), (spec, since));

            if now.duration_since(since) >= STALE {
                found.stale.push(lease);
                continue;
            }

            let list = lease["metadata"]["annotations"][ADDRESS]
                .as_str()
                .unwrap_or_default();
            let addresses = list
                .split(',')
                .filter_map(|text| text.parse::<IpAddr>().ok());
            found.live.extend(addresses);
        }

        self.0 = seen;
        found
    }
}

#[cfg(test)]
mod tests;
