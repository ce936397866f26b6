//! The way back to the objects: statuses and Events, queued, written by one task, never in the way
//! of a compile.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Arc, Mutex},
};

use tokio::sync::{mpsc, watch};

use crate::{
    controller::Finding,
    objects::{Key, SecretPatch, StatusPatch, Write, WriteBack},
    util::sync::lock,
};

/// Events that may wait to be written. Statuses need no bound: one waits for each object.
const NOTES: usize = 4096;
/// What waits to be written.
#[derive(Debug, Default)]
struct Waiting {
    /// The newest of each object.
    statuses: BTreeMap<Key, StatusPatch>,
    /// The newest of each.
    secrets: BTreeMap<Key, SecretPatch>,
    notes: VecDeque<Write>,
}

impl Waiting {
    /// Statuses first: people wait for them.
    fn take(&mut self) -> Option<Write> {
        let status = self
            .statuses
            .pop_first()
            .map(|(_, status)| Write::Status(status));
        let secret = || {
            self.secrets
                .pop_first()
                .map(|(_, secret)| Write::Secret(secret))
        };
        status.or_else(secret).or_else(|| self.notes.pop_front())
    }
}

/// The sending side.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    waiting: Arc<Mutex<Waiting>>,
    more: mpsc::Sender<()>,
}

impl Queue {
    /// Queues a write without waiting.
    pub(crate) fn push(&self, write: Write) {
        let mut waiting = lock(&self.waiting);
        match write {
            Write::Status(patch @ StatusPatch::IngressAddresses { .. }) => {
                let StatusPatch::IngressAddresses { about, .. } = &patch;
                waiting.statuses.insert(about.key.clone(), patch);
            }
            Write::Secret(secret) => drop(waiting.secrets.insert(secret.secret(), secret)),
            Write::Note(..) if waiting.notes.len() < NOTES => waiting.notes.push_back(write),
            Write::Note(note, _) => {
                tracing::warn!(object = %note.about.key, reason = note.reason, "too many Events wait: one is dropped");
            }
        }
        // Full: the task is told already.
        let _ = self.more.try_send(());
    }
}

/// The queue and the task that empties it. What waits while this replica does not lead is dropped,
/// and has to be asked for again when it does.
pub(crate) fn start(
    writer: Box<dyn WriteBack>,
    mut leads: watch::Receiver<bool>,
) -> (Queue, impl Future<Output = Result<(), String>> + Send) {
    let (more, mut told) = mpsc::channel(1);
    let waiting = Arc::new(Mutex::new(Waiting::default()));
    let queue = Queue {
        waiting: waiting.clone(),
        more,
    };
    let task = async move {
        while told.recv().await.is_some() {
            loop {
                if !*leads.borrow_and_update() {
                    *lock(&waiting) = Waiting::default();
                    break;
                }
                let Some(write) = lock(&waiting).take() else {
                    break;
                };
                tokio::select! {
                    () = writer.write(write) => {}
                    Ok(()) = leads.changed() => {}
                }
            }
        }
        Ok(())
    };
    (queue, task)
}

/// Turns findings into Events, each once as long as it holds.
#[derive(Debug, Default)]
pub(crate) struct Announced(Option<HashSet<Finding>>);

impl Announced {
    /// Whether nothing was announced so far: what is fresh now may hold for long, and have been
    /// announced by another.
    pub(crate) fn begins(&self) -> bool {
        self.0.is_none()
    }

    /// The findings that are new since the last call.
    pub(crate) fn fresh(&mut self, findings: &[Finding]) -> Vec<Finding> {
        let now: HashSet<Finding> = findings.iter().cloned().collect();
        let before = self.0.take().unwrap_or_default();
        let mut fresh: Vec<Finding> = now.difference(&before).cloned().collect();
        fresh.sort_by(|a, b| (&a.about, &a.field, a.reason).cmp(&(&b.about, &b.field, b.reason)));
        self.0 = Some(now);
        fresh
    }
}
