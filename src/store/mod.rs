//! Durable state: `trait Store` with its guarantees in prose, sled behind it, and an in-memory twin
//! for tests.

mod area;
mod closed;
mod format;
#[cfg(fuzzing)]
pub mod fuzz;
mod memory;
mod mirror;
mod mirrored;
mod opened;
mod reconcile;
mod record;
mod recovery;
mod seal;
mod settings;
mod sled;

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

pub use area::{Area, Areas};
pub use closed::{ClosedError, read_closed};
pub use memory::Memory;
pub use recovery::{Health, OpenError, open, open_sealed};
pub use seal::{SealError, SealKeys};
pub use settings::Settings;

/// Bytes that survive a restart, by keys.
///
/// Keys are paths of the form `area/...`, at most 1 KiB; values are at most 2 MiB.
///
/// - **Atomic**: a [`Batch`] is applied whole or not at all, also across a power cut. Only the keys
///   that the mirror has and those that it does not have may be parted by one: the former come
///   first.
/// - **Durable**: when [`Store::commit`] returns `Ok`, the batch survives a power cut (the data
///   reached the disk, not only the kernel). A batch with keys in lazy [areas](Area) only survives
///   it once the database is synced for another reason: the CA can be asked again, which is cheaper
///   than a sync of the disk.
/// - **Ordered**: batches become durable in the order in which their commits returned;
///   [`Store::scan`] yields keys in byte order.
/// - **Isolated**: a reader sees a batch whole or not at all.
/// - After an error of `commit`, the batch may or may not be there after a restart; until then
///   readers do not see it.
///
/// Calls may block on the disk: call `commit` from a thread that may.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Returns the value of `key`.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Returns all pairs whose key begins with `prefix`, in order of the keys.
    fn scan(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// Returns all records that cannot be restored otherwise, as of one moment, in order of the
    /// keys.
    fn snapshot(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.scan("")
    }

    /// Applies a batch; see the guarantees above.
    fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    /// Stores a second time what is on the disk once, so that it survives damage to either copy.
    /// Writes nothing if there is nothing such.
    fn settle(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Frees memory that past commits still occupy. Takes some milliseconds.
    fn trim_memory(&self) {}
}

/// Writes that belong together.
#[derive(Clone, Default)]
pub struct Batch {
    pub(crate) ops: Vec<(String, Option<Vec<u8>>)>,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be private keys: never printed.
        f.debug_list()
            .entries(
                self.ops
                    .iter()
                    .map(|(key, value)| (key, value.as_ref().map(Vec::len))),
            )
            .finish()
    }
}

impl Batch {
    /// Returns an empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.ops.push((key.into(), Some(value.into())));
        self
    }

    /// Reports whether it changes `key`.
    pub fn has(&self, key: &str) -> bool {
        self.ops.iter().any(|(one, _)| one == key)
    }

    /// Returns the number of its changes.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Reports whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Removes `key`; no error when it is not there.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.ops.push((key.into(), None));
        self
    }
}

/// The reason why an operation of the store failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error("no space left on the disk of the state directory")]
    Full,
    /// The disk or the file system fails, or is read-only.
    #[error("state directory: {0}")]
    Io(String),
    /// A record cannot be read back.
    #[error("state is damaged: {0}")]
    Damaged(String),
    /// A key or value is over the limit.
    #[error("{0}")]
    TooLarge(String),
}

/// Longest key and value.
const MAX_KEY: usize = 1024;
const MAX_VALUE: usize = 2 * 1024 * 1024;
/// Attempts to take a lock that another process holds, and the pause between them.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

fn check(batch: &Batch) -> Result<(), StoreError> {
    for (key, value) in &batch.ops {
        if key.is_empty() || key.len() > MAX_KEY || key.starts_with('\u{1}') {
            return Err(StoreError::TooLarge(format!(
                "the key {key:.40} is not one of 1 to {MAX_KEY} bytes"
            )));
        }
        if value.as_ref().is_some_and(|value| value.len() > MAX_VALUE) {
            return Err(StoreError::TooLarge(format!(
                "the value of {key} is over {MAX_VALUE} bytes"
            )));
        }
    }
    Ok(())
}

fn from_io(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StoreError::Full
        }
        _ => StoreError::Io(error.to_string()),
    }
}

/// Retries for at most a second: a lock outlives its owner while a process that the owner forked
/// has not executed its program yet.
fn retry<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..LOCK_ATTEMPTS {
        if let Some(result) = attempt() {
            return Some(result);
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "a file lock of another process gives no event"
        )]
        std::thread::sleep(LOCK_PAUSE);
    }
    attempt()
}

/// Creates or empties a file that only our user may read.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Creates a directory that only our user may read, if it does not exist.
fn private_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

#[cfg(test)]
mod tests;
