//! One replica leads: it writes statuses and Events, and talks to the CA. Which one is agreed on by
//! a Lease, with the rules of client-go's leader election.

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

/// Its name.
const NAME: &str = "gatelet";
/// For this long after its last change a Lease is its holder's (`leaseDurationSeconds`).
const DURATION: Duration = Duration::from_secs(15);
/// A Lease of another version of this program may ask for more, up to this.
const LONGEST: Duration = Duration::from_secs(60);
/// A leader that could not renew for this long leads no more. Well before others may take over.
const GIVE_UP: Duration = Duration::from_secs(10);
/// A leader renews this often.
const RENEW: Duration = Duration::from_secs(5);
/// Between two looks at the Lease, and two attempts.
const RETRY: Duration = Duration::from_secs(2);
/// For one attempt.
const PATIENCE: Duration = Duration::from_secs(5);
/// For the release at the end.
const RELEASE: Duration = Duration::from_secs(2);
/// A server that is just starting refuses at first what it will allow: only after so many refusals
/// is it meant.
const REFUSALS: u32 = 4;
/// Whether Leases are allowed by now is looked at this often.
const FORBIDDEN: Duration = Duration::from_secs(10);

/// Takes part in the election until draining begins. `leader` says whether this replica leads. It
/// leads too if the cluster does not let it have a Lease: it is then taken for the only one.
/// `holder` is who has the Lease (`holderIdentity`), empty where that is nobody or not known. At
/// the end the Lease is released, so that the next one need not wait, and `leader` is dropped.
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
        kept: None,
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
    if timeout(RELEASE, candidate.release()).await.is_err() {
        tracing::info!(
            "the Lease was not released in time: the next leader waits until it runs out"
        );
    }
}

struct Candidate {
    leases: Leases,
    election: Election,
    /// The Lease as it was written last.
    kept: Option<Value>,
    leader: watch::Sender<bool>,
    holder: watch::Sender<String>,
    /// Attempts that failed, in a row.
    failures: u32,
    /// Leases are not allowed.
    alone: bool,
}

impl Candidate {
    async fn run(&mut self) {
        loop {
            let began = Instant::now();
            let give_up = self.election.give_up().filter(|at| *at > began);
            let limit = give_up.map_or(began + PATIENCE, |at| at.min(began + PATIENCE));
            let done = timeout_at(limit, self.attempt())
                .await
                .unwrap_or(Err(WriteError::Timeout));
            self.judge(done);
            let now = Instant::now();
            let leads = self.election.leads(now);
            self.tell(leads || self.alone);
            // The next attempt begins in time for the end of a leadership that cannot be renewed.
            let next = match (leads, self.failures) {
                (true, 0) => began + RENEW,
                (false, _) if self.alone => now + FORBIDDEN,
                _ => now + RETRY,
            };
            let end = self.election.give_up().filter(|at| *at > now);
            sleep_until(end.map_or(next, |at| at.min(next))).await;
            self.tell(self.election.leads(Instant::now()) || self.alone);
        }
    }

    /// Looks at the Lease, and takes or renews it if it may.
    async fn attempt(&mut self) -> Result<(), WriteError> {
        // A leader knows what it wrote.
        let found = match self.kept.take() {
            Some(kept) => Some(kept),
            None => self.leases.find(NAME).await?,
        };
        let began = Instant::now();
        let mut lease = found.unwrap_or_else(|| json!({}));
        let Some(spec) = self.election.see(began, &lease["spec"], &micro_time()) else {
            return Ok(());
        };
        lease["spec"] = spec;
        // Where somebody else was quicker, what is there now is looked at next time.
        let written = self.leases.put(NAME, lease).await?;
        self.election.wrote(began, &written["spec"]);
        self.kept = Some(written);
        Ok(())
    }

    fn judge(&mut self, done: Result<(), WriteError>) {
        let Err(error) = done else {
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
                "the cluster does not give a Lease: this gatelet acts as the only one; grant get, create and update"
            );
        } else if !error.forbids() && self.failures == REFUSALS {
            tracing::warn!(%error, "the Lease cannot be had: statuses, Events and certificates wait");
        }
    }

    fn tell(&self, leads: bool) {
        // Of a Lease that cannot be read nothing is known but our own part in it.
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
            (true, false) => tracing::info!("this gatelet leads no more"),
        }
    }

    /// Gives a Lease that is ours back. A write of before may still be under way, so it is looked
    /// at again.
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

/// What one candidate knows. The wall clocks of others are never looked at: a Lease runs out when
/// it has not changed for its duration by our own clock.
#[derive(Debug)]
struct Election {
    identity: String,
    /// The `spec` seen last, and when it was first seen so.
    seen: Option<(Value, Instant)>,
    /// When the last write of ours that succeeded was begun. Nobody can have seen it earlier.
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

    /// Takes in the `spec` of the Lease (null if there is none) and returns the one to write, if
    /// the Lease is ours or free. `time` is what is written into it.
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
        let asked = Duration::from_secs(spec["leaseDurationSeconds"].as_u64().unwrap_or(0));
        if !holder.is_empty() && now < since + asked.clamp(DURATION, LONGEST) {
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

    /// A write that was begun then has succeeded.
    fn wrote(&mut self, began: Instant, spec: &Value) {
        self.seen = Some((spec.clone(), began));
        self.renewed = Some(began);
    }

    /// When a leadership that is not renewed ends.
    fn give_up(&self) -> Option<Instant> {
        self.renewed.map(|at| at + GIVE_UP)
    }

    /// Who had the Lease when it was looked at last; empty for nobody.
    fn holder(&self) -> &str {
        self.seen
            .as_ref()
            .and_then(|(spec, _)| spec["holderIdentity"].as_str())
            .unwrap_or_default()
    }

    fn leads(&self, now: Instant) -> bool {
        self.give_up().is_some_and(|end| now < end)
    }

    /// The `spec` to write at the end, if the Lease is ours: without a holder, and of the shortest
    /// duration, as others that follow the same rules expect it.
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
