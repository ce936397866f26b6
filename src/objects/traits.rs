//! The traits that clusters implement: [`Propose`] and [`View`] the mini cluster, which the API
//! server is written against; [`WriteBack`] every cluster that objects come from.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;

use super::{Key, Kind, RawObject, Write};

/// A position in the history of the mini cluster: one counter for all kinds, raised by one for
/// every changed object. It is what clients see as `resourceVersion`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// The expectation and the effect of a write. The state machine alone decides whether the
/// expectation holds.
#[derive(Clone, Debug)]
pub enum Op {
    /// The object must not exist.
    Create(Bytes),
    /// The object must exist, at this revision if one is given.
    Update {
        /// The revision it must be at.
        expected: Option<Revision>,
        /// The new object as JSON, without `metadata.resourceVersion`: the state machine writes
        /// that.
        body: Bytes,
    },
    /// The object must exist, at this revision if one is given.
    Delete {
        /// The revision it must be at.
        expected: Option<Revision>,
    },
}

/// One write.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The object.
    pub key: Key,
    /// The write itself.
    pub op: Op,
}

/// The result of an accepted write.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The revision at which it happened.
    pub revision: Revision,
    /// The object as stored (for a delete, as it last was), `metadata.resourceVersion` filled in.
    pub object: Arc<RawObject>,
}

/// The reason why a write was refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProposeError {
    /// [`Op::Create`] of an object that exists.
    #[error("{0} already exists")]
    Exists(Key),
    /// The object does not exist.
    #[error("{0} not found")]
    NotFound(Key),
    /// The object is at another revision.
    #[error("{key} is at revision {}, not at {}", .at.0, .expected.0)]
    Conflict {
        /// The object.
        key: Key,
        /// The revision that the write expected.
        expected: Revision,
        /// Its revision.
        at: Revision,
    },
    /// The object is not an object, or not the one that its key says.
    #[error("the object cannot be read: {0}")]
    Malformed(Arc<str>),
    /// The write cannot be made durable now (full or failing disk, no quorum). Nothing was changed.
    #[error("the write cannot be stored: {0}")]
    Unavailable(Arc<str>),
}

/// A boxed future, so that the traits can be used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Write access: one object at a time, durable when the future resolves.
pub trait Propose: Send + Sync + 'static {
    /// Makes the write.
    fn propose(&self, proposal: Proposal) -> BoxFuture<'_, Result<Committed, ProposeError>>;
}

/// All objects of a kind at one revision.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The revision that a watch can go on from.
    pub revision: Revision,
    /// The objects, ordered by namespace, then name.
    pub items: Vec<Arc<RawObject>>,
}

/// One change in the history of a kind.
#[derive(Clone, Debug)]
pub struct Change {
    /// The revision it made.
    pub revision: Revision,
    /// The object after the change; for a deletion, as it last was, with the deletion's
    /// `resourceVersion`.
    pub object: Arc<RawObject>,
    /// The object before the change; `None` when it was made. Lets a watch with selectors tell what
    /// left its view.
    pub previous: Option<Arc<RawObject>>,
    /// True if the change deleted the object.
    pub deleted: bool,
}

/// The history asked for is no longer kept: list again (410 Gone).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version")]
pub struct Expired;

/// A running watch: every change after its start, in order, each exactly once.
pub trait Watcher: Send + Sync {
    /// The next change; waits for it. [`Expired`] when the watcher fell too far behind.
    fn next(&mut self) -> BoxFuture<'_, Result<Change, Expired>>;
}

/// Read access.
pub trait View: Send + Sync + 'static {
    /// One object.
    fn get(&self, key: &Key) -> Option<Arc<RawObject>>;

    /// All objects of a kind, or those of one namespace.
    fn list(&self, kind: Kind, namespace: Option<&str>) -> Snapshot;

    /// Every change of the kind after `from`.
    fn watch(&self, kind: Kind, from: Revision) -> Result<Box<dyn Watcher>, Expired>;

    /// The newest revision.
    fn revision(&self) -> Revision;
}

/// The way back to the cluster that objects come from.
pub trait WriteBack: Send + Sync + 'static {
    /// Makes one write. Retries failures that may pass, and logs the others: the caller has nothing
    /// left to do either way. May be dropped at any time.
    fn write(&self, write: Write) -> BoxFuture<'_, ()>;
}
