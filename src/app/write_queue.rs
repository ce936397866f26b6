//! Queues what is written back to the objects: statuses, Secrets and Events. One task empties the
//! queue, so that a compile never waits for a write.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use tokio::sync::{mpsc, watch};

use crate::{
    objects::{Key, SecretPatch, StatusPatch, Write, WriteBack},
    util::sync::lock,
};

/// Number of Events that can wait. Statuses and Secrets need no limit: at most one waits for each
/// object.
const MAX_EVENTS: usize = 4096;

/// The writes that wait.
#[derive(Debug, Default)]
struct Waiting {
    /// The newest status of each object.
    statuses: BTreeMap<Key, StatusPatch>,
    /// The newest content of each Secret.
    secrets: BTreeMap<Key, SecretPatch>,
    events: VecDeque<Write>,
}

impl Waiting {
    /// Takes the next write. Statuses come first, because people wait for them.
    fn take(&mut self) -> Option<Write> {
        if let Some((_, status)) = self.statuses.pop_first() {
            return Some(Write::Status(status));
        }
        if let Some((_, secret)) = self.secrets.pop_first() {
            return Some(Write::Secret(secret));
        }
        self.events.pop_front()
    }
}

/// The sending side.
#[derive(Clone, Debug)]
pub(crate) struct WriteQueue {
    waiting: Arc<Mutex<Waiting>>,
    wake: mpsc::Sender<()>,
}

impl WriteQueue {
    /// Queues a write without waiting.
    pub(crate) fn push(&self, write: Write) {
        let mut waiting = lock(&self.waiting);
        match write {
            Write::Status(patch @ StatusPatch::IngressAddresses { .. }) => {
                let StatusPatch::IngressAddresses { about, .. } = &patch;
                waiting.statuses.insert(about.key.clone(), patch);
            }
            Write::Secret(secret) => drop(waiting.secrets.insert(secret.secret(), secret)),
            Write::Note(..) if waiting.events.len() < MAX_EVENTS => {
                waiting.events.push_back(write);
            }
            Write::Note(note, _) => tracing::warn!(
                object = %note.about.key,
                reason = note.reason,
                "too many Events wait: one is dropped"
            ),
        }

        // If the channel is full, the task is about to wake up.
        let _ = self.wake.try_send(());
    }
}

/// Returns the queue and the task that empties it. While this replica does not lead, writes are
/// dropped; they have to be pushed again when it does.
pub(crate) fn start(
    writer: Box<dyn WriteBack>,
    mut leads: watch::Receiver<bool>,
) -> (WriteQueue, impl Future<Output = ()> + Send) {
    let (wake, mut woken) = mpsc::channel(1);
    let waiting = Arc::new(Mutex::new(Waiting::default()));
    let queue = WriteQueue {
        waiting: waiting.clone(),
        wake,
    };

    let task = async move {
        while woken.recv().await.is_some() {
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
    };

    (queue, task)
}
