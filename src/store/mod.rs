//! Durable state: `trait Store` with its guarantees in prose, sled behind it, and an in-memory twin
//! for tests.

mod area;
#[cfg(fuzzing)]
pub mod fuzz;
mod memory;
mod mirror;
mod record;
mod recovery;
mod seal;
mod sled;

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

pub use memory::Memory;
pub use recovery::{Health, OpenError, open, open_sealed};
pub use seal::{SealError, SealKeys};

/// Where bytes live between two starts.
///
/// Keys are paths of the form `area/...`, at most 1 KiB; values are at most 2 MiB.
///
/// - **Atomic**: a [`Batch`] is applied whole or not at all, also across a power cut.
/// - **Durable**: when [`Store::commit`] returns `Ok`, the batch survives a power cut (the data
///   reached the disk, not only the kernel). One that only says when CAs suggest to renew
///   (`acme/suggestion/`) does with the next one that says more: it can be asked again, and is not
///   worth a write of its own.
/// - **Ordered**: batches become durable in the order in which their commits returned;
///   [`Store::scan`] yields keys in byte order.
/// - **Isolated**: a reader sees a batch whole or not at all.
/// - An error of `commit` says that the batch may or may not be there after a restart; until then
///   readers do not see it.
///
/// Calls may block on the disk: call `commit` from a thread that may.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// The value under `key`.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// All pairs whose key begins with `prefix`, in order of the keys.
    fn scan(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// Applies a batch; see the guarantees above.
    fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    /// Frees the memory that past commits hold on to. Changes nothing; takes some milliseconds.
    fn tidy(&self) {}
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
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.ops.push((key.into(), Some(value.into())));
        self
    }

    /// Whether `key` is in it.
    pub fn has(&self, key: &str) -> bool {
        self.ops.iter().any(|(one, _)| one == key)
    }

    /// How many keys it changes.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether it changes none.
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

/// Why the store could not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error("no space left on the disk of the state directory")]
    Full,
    /// The disk or the file system fails, or is read-only.
    #[error("state directory: {0}")]
    Io(String),
    /// What is there cannot be read back.
    #[error("state is damaged: {0}")]
    Damaged(String),
    /// A key or value is over the limit.
    #[error("{0}")]
    TooLarge(String),
}

/// Longest key and value.
const MAX_KEY: usize = 1024;
const MAX_VALUE: usize = 2 * 1024 * 1024;
/// How often and at what distance a lock is tried that somebody else has.
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

/// Tries until there is an answer, for at most a second: a lock outlives its owner for as long as a
/// process that the owner just forked has not become another program yet.
fn patiently<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..LOCK_ATTEMPTS {
        if let Some(answer) = attempt() {
            return Some(answer);
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    attempt()
}

/// A new file that only we may read.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// A directory that only we may read.
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
