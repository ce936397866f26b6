//! The one thread that writes: takes what waits, plans it, stores it in one commit, then lets it be
//! seen.

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

/// Where the revision is kept up to which the counter may go without a write.
pub(super) const CEILING: &str = "cluster/meta/ceiling";

/// How far ahead of the counter the stored ceiling is set. After a restart the counter goes on from
/// the ceiling, so that no revision is used twice although most changes of kinds in memory are
/// never stored.
const HEADROOM: u64 = 1000;

/// What is committed at once: as many writes, and as many bytes of objects.
const BATCH_WRITES: usize = 256;
const BATCH_BYTES: usize = 1 << 20;

/// Events kept, and for how long after their last change.
const MAX_EVENTS: usize = 1000;
const EVENT_LIFE: Duration = Duration::from_secs(3600);

/// How often old Events are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// A write that waits, and who waits for its answer.
pub(super) struct Waiting {
    pub(super) proposal: Proposal,
    pub(super) answer: oneshot::Sender<Result<Committed, ProposeError>>,
    /// Bounds how many can wait.
    pub(super) _permit: OwnedSemaphorePermit,
}

/// The thread's own state.
pub(super) struct Committer {
    shared: Arc<Shared>,
    store: Option<Arc<dyn Store>>,
    ceiling: Revision,
    /// Events in the order of their changes; entries of Events that changed again since are
    /// skipped.
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

    /// Works until the last sender is gone.
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
            let (proposals, answers): (Vec<_>, Vec<_>) = batch
                .into_iter()
                .map(|waiting| (waiting.proposal, (waiting.answer, waiting._permit)))
                .unzip();
            let results = self.commit(proposals);
            for ((answer, _permit), result) in answers.into_iter().zip(results) {
                // Nobody may be waiting any more: the write is made all the same.
                let _nobody_waits = answer.send(result);
            }
            self.sweep(Instant::now());
        }
    }

    /// Makes these writes in one commit. Each gets its own answer; when the commit fails, none was
    /// made.
    pub(super) fn commit(
        &mut self,
        proposals: Vec<Proposal>,
    ) -> Vec<Result<Committed, ProposeError>> {
        let shared = self.shared.clone();
        // Nobody but this thread writes, so the state that is planned on is the state that is
        // changed.
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
        let mut gone = Vec::new();
        {
            let machine = self.shared.machine();
            let current = |key: &Key, revision: Revision| {
                machine
                    .object(key)
                    .is_some_and(|event| event.meta.resource_version.parse() == Ok(revision.0))
            };
            if self.events.len() > 2 * MAX_EVENTS {
                self.events
                    .retain(|(_since, key, revision)| current(key, *revision));
            }
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
        }
        if gone.is_empty() {
            return;
        }
        let keys: Vec<_> = gone.iter().map(|proposal| proposal.key.clone()).collect();
        for (key, result) in keys.into_iter().zip(self.commit(gone)) {
            // The ceiling could not be stored: they go at a later sweep.
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
}

/// Whether a kind is kept in memory only.
fn in_memory(kind: Kind) -> bool {
    matches!(kind, Kind::Event | Kind::Node)
}

fn size(waiting: &Waiting) -> usize {
    match &waiting.proposal.op {
        Op::Create(body) | Op::Update { body, .. } => body.len(),
        Op::Delete { .. } => 0,
    }
}
