//! The addresses of all replicas: each says its own in a Lease of its own, and the leader reads
//! them.

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

/// The label of these Leases.
const LABEL: &str = "gatelet.dev/replica";
/// The annotation with the addresses, separated by commas.
const ADDRESS: &str = "gatelet.dev/address";
/// Each says this often that it lives, and the leader looks.
const EVERY: Duration = Duration::from_secs(15);
/// One that has not said so for this long is gone (`leaseDurationSeconds`).
const STALE: Duration = Duration::from_secs(60);
/// After a failure.
const RETRY: Duration = Duration::from_secs(2);
/// For taking leave.
const LEAVE: Duration = Duration::from_secs(2);
/// How often a write is tried again when somebody else changed the Lease in between.
const CONFLICT_RETRIES: usize = 3;

/// Says until draining begins that this node is there, under these addresses. While it leads,
/// `addresses` has those of all nodes, sorted; before they are known, and while it does not lead,
/// none.
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
                Ok(()) => EVERY,
                Err(error) => {
                    tracing::debug!(%error, "the addresses of the other replicas are not known");
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
    // Whether or not this comes through in time: it is stale soon.
    let _ = timeout(LEAVE, replica.leave()).await;
}

struct Replica {
    leases: Leases,
    name: String,
    node: String,
    own: Vec<IpAddr>,
    others: Others,
}

impl Replica {
    async fn round(
        &mut self,
        leading: bool,
        addresses: &watch::Sender<Vec<IpAddr>>,
    ) -> Result<(), WriteError> {
        if !leading {
            tell(addresses, BTreeSet::new());
        }
        let renewed = self.renew().await;
        if leading {
            let listed = self.leases.list(LABEL).await;
            let found = match listed {
                Ok(leases) => self.others.see(Instant::now(), leases),
                Err(error) if error.forbids() => Found::default(),
                Err(error) => return Err(error),
            };
            tell(
                addresses,
                found
                    .live
                    .into_iter()
                    .chain(self.own.iter().copied())
                    .collect(),
            );
            for gone in &found.stale {
                self.leases.delete(gone).await?;
            }
        }
        match renewed {
            // The leader's log says so already.
            Err(error) if !error.forbids() => Err(error),
            _ => Ok(()),
        }
    }

    async fn renew(&self) -> Result<(), WriteError> {
        let mut last = Ok(());
        for _attempt in 0..CONFLICT_RETRIES {
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

fn tell(addresses: &watch::Sender<Vec<IpAddr>>, found: BTreeSet<IpAddr>) {
    let found: Vec<IpAddr> = found.into_iter().collect();
    addresses.send_if_modified(|known| {
        let changed = *known != found;
        *known = found;
        changed
    });
}

/// The Leases of all nodes, and since when each has not changed by our own clock.
#[derive(Debug, Default)]
struct Others(HashMap<String, (Value, Instant)>);

/// What a look at them found.
#[derive(Debug, Default)]
struct Found {
    live: BTreeSet<IpAddr>,
    /// The Leases of nodes that are gone.
    stale: Vec<Value>,
}

impl Others {
    fn see(&mut self, now: Instant, leases: Vec<Value>) -> Found {
        let mut found = Found::default();
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
            let said = lease["metadata"]["annotations"][ADDRESS]
                .as_str()
                .unwrap_or_default();
            found.live.extend(
                said.split(',')
                    .filter_map(|address| address.parse::<IpAddr>().ok()),
            );
        }
        self.0 = seen;
        found
    }
}

#[cfg(test)]
mod tests;
