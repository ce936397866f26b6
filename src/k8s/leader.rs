//! Elects the replica that leads: it writes statuses and Events, and talks to the CA. The replicas
//! agree by a Lease, with the rules of client-go's leader election.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    client::Client,
    lease::{Leases, micro_time},
    objects::WriteError,
};
use crate::util::{drain::Drain, stamp};

/// The name of the Lease.
const NAME: &str = "gatelet";
/// The time for which a Lease belongs to its holder after its last change (`leaseDurationSeconds`).
const DURATION: Duration = Duration::from_secs(15);
/// The longest duration that is accepted from a Lease of another version of gatelet.
const MAX_DURATION: Duration = Duration::from_secs(60);
/// The time after which a leader that cannot renew stops leading, well before others take over.
const GIVE_UP: Duration = Duration::from_secs(10);
/// The interval between renewals by the leader.
const RENEW: Duration = Duration::from_secs(5);
/// The interval between attempts of the others, and of a leader that failed to renew.
const RETRY: Duration = Duration::from_secs(2);
/// The time limit for one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit for the release at the end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);
/// The number of refusals in a row after which one is believed: a server that is just starting
/// refuses requests that it allows later.
const REFUSALS: u32 = 4;
/// The interval between attempts while Leases are not allowed.
const RETRY_FORBIDDEN: Duration = Duration::from_secs(10);

/// Takes part in the election until draining begins.
///
/// `leader` is true while this replica leads, and also while the cluster does not allow Leases:
/// gatelet then acts as the only replica. `holder` is the `holderIdentity` of the Lease, empty if
/// the Lease has no holder or cannot be read. At the end the Lease is released, so that the next
/// leader need not wait, and `leader` is dropped.
pub async fn elect(
    client: Client,
    namespace: String,
    node: String,
    leader: watch::Sender<bool>,
    holder: watch::Sender<String>,
    mut drain: Drain,
) {
    let identity = format!("{node}_{}", stamp::uid());
    let mut candidate = Candidate {
        leases: Leases::new(client, &namespace),
        election: Election::new(identity),
        written: None,
        leader,
        holder,
        failures: 0,
        alone: false,
    };

    tokio::select! {
        () = candidate.run() => {}
        _grace = drain.draining() => {}
    }

    candidate.leader.send_replace(false);
    if timeout(RELEASE_TIMEOUT, candidate.release()).await.is_err() {
        tracing::info!(
            "the Lease was not released in time: the next leader waits until it expires"
        );
    }
}

struct Candidate {
    leases: Leases,
    election: Election,
    /// The Lease as this replica wrote it last.
    written: Option<Value>,
    leader: watch::Sender<bool>,
    holder: watch::Sender<String>,
    /// The number of failed attempts in a row.
    failures: u32,
    /// True while Leases are not allowed.
    alone: bool,
}

impl Candidate {
    async fn run(&mut self) {
        loop {
            let began = Instant::now();
            let give_up = self.election.give_up().filter(|at| *at > began);
            let limit = began + ATTEMPT_TIMEOUT;
            let limit = give_up.map_or(limit, |at| at.min(limit));
            let result = timeout_at(limit, self.attempt())
                .await
                .unwrap_or(Err(WriteError::Timeout));
            self.note(result);

            let now = Instant::now();
            let leads = self.election.leads(now);
            self.publish(leads || self.alone);

            // A leadership that cannot be renewed must end on time, not with the next attempt.
            let next = match (leads, self.failures) {
                (true, 0) => began + RENEW,
                (false, _) if self.alone => now + RETRY_FORBIDDEN,
                _ => now + RETRY,
            };
            let end = self.election.give_up().filter(|at| *at > now);
            sleep_until(end.map_or(next, |at| at.min(next))).await;
            self.publish(self.election.leads(Instant::now()) || self.alone);
        }
    }

    /// Reads the Lease, and takes or renews it if this replica may.
    async fn attempt(&mut self) -> Result<(), WriteError> {
        // A leader need not read what it wrote itself.
        let found = match self.written.take() {
            Some(written) => Some(written),
            None => self.leases.find(NAME).await?,
        };

        let began = Instant::now();
        let mut lease = found.unwrap_or_else(|| json!({}));
        let Some(spec) = self.election.see(began, &lease["spec"], &micro_time()) else {
            return Ok(());
        };
        lease["spec"] = spec;

        // If another replica wrote first, this fails, and the next attempt reads its Lease.
        let written = self.leases.put(NAME, lease).await?;
        self.election.wrote(began, &written["spec"]);
        self.written = Some(written);
        Ok(())
    }

    /// Counts failures in a row, and decides whether this replica has to act alone.
    fn note(&mut self, result: Result<(), WriteError>) {
        let Err(error) = result else {
            if self.alone {
                tracing::info!("Leases are allowed now: one replica leads");
            }
            (self.failures, self.alone) = (0, false);
            return;
        };

        self.failures = self.failures.saturating_add(1);

        if error.forbids() && self.failures >= REFUSALS && !self.alone {
            self.alone = true;
            tracing::warn!(
                %error,
                "the cluster does not allow Leases: this gatelet acts as the only replica; \
                 grant get, create and update"
            );
        } else if !error.forbids() && self.failures == REFUSALS {
            tracing::warn!(
                %error,
                "the Lease cannot be read or written: statuses, Events and certificates wait"
            );
        }
    }

    /// Publishes the state of the election where it changed.
    fn publish(&self, leads: bool) {
        // If the Lease is unreadable, we only know whether we hold it.
        let holder = if self.alone || !leads && self.failures > 0 {
            ""
        } else {
            self.election.holder()
        };

        self.holder.send_if_modified(|known| {
            let changed = known != holder;
            holder.clone_into(known);
            changed
        });

        let changed = self
            .leader
            .send_if_modified(|known| std::mem::replace(known, leads) != leads);
        match (changed, leads) {
            (false, _) => {}
            (true, true) => tracing::info!("this gatelet leads: it writes statuses and Events"),
            (true, false) => tracing::info!("this gatelet no longer leads"),
        }
    }

    /// Releases the Lease if this replica holds it. Reads it first, because an earlier write may
    /// still have arrived.
    async fn release(&mut self) {
        loop {
            let Ok(Some(mut lease)) = self.leases.find(NAME).await else {
                return;
            };
            let Some(spec) = self.election.release(&lease["spec"], &micro_time()) else {
                return;
            };
            lease["spec"] = spec;
            match self.leases.put(NAME, lease).await {
                Err(error) if error.conflicts() => {}
                _ => return,
            }
        }
    }
}

/// The election as one candidate sees it. It ignores the wall clocks of others: a Lease expires
/// when it has not changed for its duration by our own clock.
#[derive(Debug)]
struct Election {
    identity: String,
    /// The `spec` that was seen last, and the time since which it has not changed.
    seen: Option<(Value, Instant)>,
    /// The time when our last successful write began. No other replica can have seen it earlier.
    renewed: Option<Instant>,
}

impl Election {
    fn new(identity: String) -> Self {
        Self {
            identity,
            seen: None,
            renewed: None,
        }
    }

    /// Observes the `spec` of the Lease (null if it does not exist) and returns the one to write,
    /// with `time` in it, if the Lease is ours or free.
    fn see(&mut self, now: Instant, spec: &Value, time: &str) -> Option<Value> {
        let since = match &self.seen {
            Some((seen, since)) if seen == spec => *since,
            _ => now,
        };
        self.seen = Some((spec.clone(), since));

        let holder = spec["holderIdentity"].as_str().unwrap_or_default();
        if holder == self.identity {
            let mut renewed = spec.clone();
            renewed["renewTime"] = time.into();
            return Some(renewed);
        }

        self.renewed = None;
        let seconds = spec["leaseDurationSeconds"].as_u64().unwrap_or(0);
        let duration = Duration::from_secs(seconds).clamp(DURATION, MAX_DURATION);
        if !holder.is_empty() && now < since + duration {
            return None;
        }

        let transitions = spec["leaseTransitions"]
            .as_u64()
            .map_or(0, |before| before.saturating_add(1));
        Some(json!({
            "holderIdentity": self.identity,
            "leaseDurationSeconds": DURATION.as_secs(),
            "acquireTime": time,
            "renewTime": time,
            "leaseTransitions": transitions,
        }))
    }

    /// Records that a write that began at `began` has succeeded.
    fn wrote(&mut self, began: Instant, spec: &Value) {
        self.seen = Some((spec.clone(), began));
        self.renewed = Some(began);
    }

    /// Returns the time at which a leadership ends that is not renewed; `None` if not leading.
    fn give_up(&self) -> Option<Instant> {
        self.renewed.map(|at| at + GIVE_UP)
    }

    /// Returns the holder of the Lease as seen last; empty if it has no holder.
    fn holder(&self) -> &str {
        self.seen
            .as_ref()
            .and_then(|(spec, _)| spec["holderIdentity"].as_str())
            .unwrap_or_default()
    }

    fn leads(&self, now: Instant) -> bool {
        self.give_up().is_some_and(|end| now < end)
    }

    /// Returns the `spec` that releases the Lease, if it is ours: without a holder, and with the
    /// shortest duration, as client-go does it.
    fn release(&mut self, spec: &Value, time: &str) -> Option<Value> {
        self.renewed = None;
        if spec["holderIdentity"].as_str() != Some(&self.identity) {
            return None;
        }
        Some(json!({
            "holderIdentity": "",
            "leaseDurationSeconds": 1,
            "acquireTime": time,
            "renewTime": time,
            "leaseTransitions": spec["leaseTransitions"],
        }))
    }
}

#[cfg(test)]
mod tests;
