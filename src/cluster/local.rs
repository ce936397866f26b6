//! The mini cluster of one device, as the rest of gatelet uses it.

use std::{
    fmt,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};

use super::{
    bootstrap,
    commit::{CEILING, Committer, Waiting},
    machine::Machine,
    record,
    ring::MAX_CHANGES,
    shared::Shared,
    watch::RingWatcher,
};
use crate::{
    objects::{
        Committed, Expired, Key, Kind, Proposal, Propose, ProposeError, RawObject, Revision,
        Snapshot, View, Watcher, traits::BoxFuture,
    },
    store::{Store, StoreError},
    util::parallel,
};

/// The most writes that wait for the committer. Further writers wait for a place.
const QUEUE: usize = 1024;

/// The reason why the cluster cannot be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// The store cannot be read, or the first objects cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The first objects cannot be written.
    #[error("first start: {0}")]
    Bootstrap(#[from] ProposeError),
    /// The committer's thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(Arc<str>),
}

/// The mini cluster of one device: [`Propose`] and [`View`] over a store. Dropping it waits for all
/// writes that were submitted.
pub struct Local {
    shared: Arc<Shared>,
    queue: Option<mpsc::SyncSender<Waiting>>,
    permits: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local")
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}

impl Local {
    /// Loads all objects of the store. Creates the namespaces that every cluster has if they are
    /// missing, and at the very first start the IngressClass `gatelet`. Blocks on the disk.
    pub fn open(store: Arc<dyn Store>) -> Result<Self, OpenError> {
        let ceiling = store.get(CEILING)?;

        let stored: Vec<(String, Bytes)> = store
            .scan(record::OBJECTS)?
            .into_iter()
            .map(|(key, value)| (key, value.into()))
            .collect();
        let loaded = parallel::map(&stored, |(key, value)| record::load(key, value));

        let mut objects = Vec::with_capacity(stored.len());
        for ((key, _value), object) in stored.iter().zip(loaded) {
            match object {
                Some(object) => objects.push(object),
                // Keep it in the store: another version may be able to read it.
                None => tracing::warn!(key, "a stored object cannot be read and is not served"),
            }
        }

        let newest = objects
            .iter()
            .filter_map(|object| object.meta.resource_version.parse::<u64>().ok())
            .max();
        let stored = ceiling
            .as_deref()
            .and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
        let start = Revision(newest.max(stored).unwrap_or(0));
        let begin = bootstrap::objects(ceiling.is_none());
        Self::start(Some(store), begin, start, MAX_CHANGES, objects)
    }

    /// Makes a cluster without a store, as at the first start; for tests.
    pub fn in_memory() -> Result<Self, OpenError> {
        let begin = bootstrap::objects(true);
        Self::start(None, begin, Revision(0), MAX_CHANGES, Vec::new())
    }

    /// Starts the committer over `objects`, which makes the writes of `begin` first. `ring` is the
    /// number of changes kept for each kind.
    pub(super) fn start(
        store: Option<Arc<dyn Store>>,
        begin: Vec<Proposal>,
        start: Revision,
        ring: usize,
        objects: Vec<RawObject>,
    ) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared::new(Machine::new(start, ring, objects)));
        let mut committer = Committer::new(shared.clone(), store, start);

        for result in committer.commit(begin) {
            match result {
                Ok(_) | Err(ProposeError::Exists(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }

        let (queue, waiting) = mpsc::sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("cluster-commit".to_owned())
            .spawn(move || committer.run(&waiting))
            .map_err(|error| OpenError::Thread(error.to_string().into()))?;

        Ok(Self {
            shared,
            queue: Some(queue),
            permits: Arc::new(Semaphore::new(QUEUE)),
            thread: Some(thread),
        })
    }

    /// Queues a write and waits for its result.
    async fn submit(&self, proposal: Proposal) -> Result<Committed, ProposeError> {
        let stopped = || ProposeError::Unavailable("the committer has stopped".into());
        let permit = self
            .permits
            .clone()
            .acquire_owned()
            .await
            .map_err(|_closed| stopped())?;

        let (reply, result) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue
            .send(Waiting {
                proposal,
                reply,
                _permit: permit,
            })
            .map_err(|_gone| stopped())?;

        result.await.map_err(|_gone| stopped())?
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _it_panicked = thread.join();
        }
    }
}

impl Propose for Local {
    fn propose(&self, proposal: Proposal) -> BoxFuture<'_, Result<Committed, ProposeError>> {
        Box::pin(self.submit(proposal))
    }
}

impl View for Local {
    fn get(&self, key: &Key) -> Option<Arc<RawObject>> {
        self.shared.machine().object(key).cloned()
    }

    fn list(&self, kind: Kind, namespace: Option<&str>) -> Snapshot {
        self.shared.machine().snapshot(kind, namespace)
    }

    fn watch(&self, kind: Kind, from: Revision) -> Result<Box<dyn Watcher>, Expired> {
        Ok(Box::new(RingWatcher::new(self.shared.clone(), kind, from)?))
    }

    fn revision(&self) -> Revision {
        self.shared.machine().revision()
    }
}
