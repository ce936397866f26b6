//! The one thread that writes: takes the waiting writes, plans them, stores them in one commit,
//! then makes them visible.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{machine::Plan, record, shared::Shared};
use crate::{
    objects::{Change, Committed, Key, Kind, Op, Proposal, ProposeError, Revision},
    store::{Batch, Store},
};

/// The store's key of the ceiling: the revision that the counter may reach without a write.
pub(super) const CEILING: &str = "cluster/meta/ceiling";

/// The distance from the counter to a new ceiling. After a restart the counter continues from the
/// ceiling, so that no revision is used twice although changes of kinds in memory are not stored.
const HEADROOM: u64 = 1000;

/// The most writes, and bytes of objects, in one commit.
const BATCH_WRITES: usize = 256;
const BATCH_BYTES: usize = 1 << 20;

/// The most Events that are kept, and the time for which they are kept after their last change.
const MAX_EVENTS: usize = 1000;
const EVENT_LIFE: Duration = Duration::from_secs(3600);

/// The interval between searches for old Events.
const SWEEP: Duration = Duration::from_secs(60);

/// A waiting write.
pub(super) struct Waiting {
    pub(super) proposal: Proposal,
    /// The channel for its result.
    pub(super) reply: oneshot::Sender<Result<Committed, ProposeError>>,
    /// A place in the bounded queue.
    pub(super) _permit: OwnedSemaphorePermit,
}

/// The state of the thread.
pub(super) struct Committer {
    shared: Arc<Shared>,
    store: Option<Arc<dyn Store>>,
    ceiling: Revision,
    /// Events in the order of their changes. An Event that changed again has several entries, of
    /// which only the newest counts.
    events: VecDeque<(Instant, Key, Revision)>,
}

impl Committer {
    pub(super) fn new(
        shared: Arc<Shared>,
        store: Option<Arc<dyn Store>>,
        ceiling: Revision,
    ) -> Self {
        Self {
            shared,
            store,
            ceiling,
            events: VecDeque::new(),
        }
    }

    /// Runs until the last sender is gone.
    pub(super) fn run(mut self, queue: &Receiver<Waiting>) {
        loop {
            let first = match queue.recv_timeout(SWEEP) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.sweep(Instant::now());
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };

            let mut bytes = size(&first);
            let mut batch = vec![first];
            while batch.len() < BATCH_WRITES && bytes < BATCH_BYTES {
                let Ok(next) = queue.try_recv() else { break };
                bytes = bytes.saturating_add(size(&next));
                batch.push(next);
            }

            let (proposals, replies): (Vec<_>, Vec<_>) = batch
                .into_iter()
                .map(|waiting| (waiting.proposal, (waiting.reply, waiting._permit)))
                .unzip();
            let results = self.commit(proposals);
            for ((reply, _permit), result) in replies.into_iter().zip(results) {
                // The write stands, even if its sender no longer waits.
                let _receiver_gone = reply.send(result);
            }

            self.sweep(Instant::now());
        }
    }

    /// Makes writes in one commit, and returns the result of each. If the commit fails, all of them
    /// fail and nothing changes.
    pub(super) fn commit(
        &mut self,
        proposals: Vec<Proposal>,
    ) -> Vec<Result<Committed, ProposeError>> {
        let shared = self.shared.clone();
        // Only this thread writes, so the state that the plan reads is the state that it changes.
        let (results, changes, reached) = {
            let machine = shared.machine();
            let mut plan = Plan::new(&machine);
            let results: Vec<_> = proposals
                .into_iter()
                .map(|proposal| plan.step(proposal))
                .collect();
            let reached = plan.revision();
            (results, plan.into_changes(), reached)
        };

        if changes.is_empty() {
            return results;
        }

        if let Err(error) = self.save(&changes, reached) {
            let error = ProposeError::Unavailable(error.to_string().into());
            return results
                .into_iter()
                .map(|_made_or_refused| Err(error.clone()))
                .collect();
        }

        let now = Instant::now();
        let written = changes
            .iter()
            .filter(|change| change.object.key.kind == Kind::Event && !change.deleted);
        self.events
            .extend(written.map(|change| (now, change.object.key.clone(), change.revision)));

        shared.publish(changes);
        results
    }

    /// Stores the changes of durable kinds, and a new ceiling if `reached` is above the old one.
    fn save(
        &mut self,
        changes: &[Change],
        reached: Revision,
    ) -> Result<(), crate::store::StoreError> {
        let Some(store) = &self.store else {
            return Ok(());
        };

        let durable = changes
            .iter()
            .filter(|change| !in_memory(change.object.key.kind));
        let mut batch = durable.fold(Batch::new(), |batch, change| {
            let key = record::store_key(&change.object.key);
            if change.deleted {
                batch.delete(key)
            } else {
                batch.put(key, record::store_value(&change.object))
            }
        });

        let ceiling = if reached > self.ceiling {
            Revision(reached.0.saturating_add(HEADROOM))
        } else {
            self.ceiling
        };

        if ceiling != self.ceiling {
            batch = batch.put(CEILING, ceiling.0.to_string());
        } else if changes
            .iter()
            .all(|change| in_memory(change.object.key.kind))
        {
            return Ok(());
        }

        store.commit(batch)?;
        self.ceiling = ceiling;
        Ok(())
    }

    /// Drops Events that are too many or too old.
    pub(super) fn sweep(&mut self, now: Instant) {
        let gone = self.surplus_events(now);
        if gone.is_empty() {
            return;
        }
        let keys: Vec<_> = gone.iter().map(|proposal| proposal.key.clone()).collect();
        for (key, result) in keys.into_iter().zip(self.commit(gone)) {
            // The ceiling could not be stored: a later sweep deletes the Event.
            if let Err(ProposeError::Unavailable(_)) = result {
                let at = self
                    .shared
                    .machine()
                    .object(&key)
                    .and_then(|event| event.meta.resource_version.parse().ok());
                self.events
                    .push_front((now, key, Revision(at.unwrap_or(0))));
            }
        }
    }

    /// Removes the entries of Events that are too many or too old, and returns the writes that
    /// delete them.
    fn surplus_events(&mut self, now: Instant) -> Vec<Proposal> {
        let machine = self.shared.machine();
        let current = |key: &Key, revision: Revision| {
            machine
                .object(key)
                .is_some_and(|event| event.meta.resource_version.parse() == Ok(revision.0))
        };

        // Entries of Events that changed again must not pile up.
        if self.events.len() > 2 * MAX_EVENTS {
            self.events
                .retain(|(_since, key, revision)| current(key, *revision));
        }

        let mut gone = Vec::new();
        while let Some((since, key, revision)) = self.events.front() {
            let live = current(key, *revision);
            let surplus = machine.count(Kind::Event).saturating_sub(gone.len()) > MAX_EVENTS;
            if live && !surplus && now.saturating_duration_since(*since) < EVENT_LIFE {
                break;
            }

            if live {
                gone.push(Proposal {
                    key: key.clone(),
                    op: Op::Delete {
                        expected: Some(*revision),
                    },
                });
            }
            self.events.pop_front();
        }

        gone
    }
}

/// Returns whether a kind is kept in memory only.
fn in_memory(kind: Kind) -> bool {
    matches!(kind, Kind::Event | Kind::Node | Kind::Lease)
}

/// Returns the bytes of the object in a write.
fn size(waiting: &Waiting) -> usize {
    match &waiting.proposal.op {
        Op::Create(body) | Op::Update { body, .. } => body.len(),
        Op::Delete { .. } => 0,
    }
}
