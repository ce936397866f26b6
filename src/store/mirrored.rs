//! The store on the disk: the mirror, which makes a batch durable, and the database, which gets it
//! later. Until then its changes are pending: in memory, and in the mirror for the next start.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    sync::{Mutex, RwLock},
};

use super::{
    Batch, Store, StoreError, area::Areas, mirror::Mirror, opened::Opened, reconcile::Changes,
    sled::Sled,
};
use crate::util::sync::{lock, read, write};

/// The length of the mirror from which pending changes are given to the database. It bounds their
/// memory, and what a start has to read again.
const MAX_PENDING: u64 = 1024 * 1024;

/// The database and its mirror. Their locks are taken in the order of the fields.
#[derive(Debug)]
pub(super) struct Mirrored {
    mirror: Mutex<Mirror>,
    pending: RwLock<Changes>,
    database: RwLock<Database>,
    opened: Opened,
    dir: PathBuf,
    areas: Areas,
    /// Held for as long as the store is open.
    _lock: File,
}

/// The database, as far as it can be used.
#[derive(Debug)]
enum Database {
    Open(Sled),
    /// A write failed: sled refuses further writes until it is reopened.
    Failed(Sled),
    /// Reopening failed so far: reads use the mirror.
    Closed,
}

/// Gives pending changes to the database.
pub(super) fn settle(
    sled: &Sled,
    mirror: &mut Mirror,
    pending: &Changes,
) -> Result<(), StoreError> {
    let ops = pending.iter();
    let ops = ops.map(|(key, value)| (key.clone(), value.clone()));
    sled.commit(Batch { ops: ops.collect() })?;

    // Only now: the mark says that all of it is on the disk.
    sled.set_mark(mirror.end())?;
    mirror.settled(mirror.end());
    Ok(())
}

/// Rewrites the mirror from the database. No changes may be pending.
pub(super) fn compact(sled: &Sled, areas: Areas, mirror: &mut Mirror) -> Result<(), StoreError> {
    mirror.compact(&mirrored_records(sled.scan("")?, areas))?;
    sled.set_mark(mirror.end())
}

/// Returns the records that belong in the mirror.
fn mirrored_records(records: Vec<(String, Vec<u8>)>, areas: Areas) -> Vec<(String, Vec<u8>)> {
    let mut records = records;
    records.retain(|(key, _)| areas.is_mirrored(key));
    records
}

/// Applies changes to records in order of their keys.
fn apply(
    records: Vec<(String, Vec<u8>)>,
    pending: &Changes,
    prefix: &str,
) -> Vec<(String, Vec<u8>)> {
    let changes = pending.range(prefix.to_owned()..);
    let mut changes = changes
        .take_while(|(key, _)| key.starts_with(prefix))
        .peekable();
    if changes.peek().is_none() {
        return records;
    }

    let mut records: BTreeMap<_, _> = records.into_iter().collect();
    for (key, value) in changes {
        match value {
            Some(value) => drop(records.insert(key.clone(), value.clone())),
            None => drop(records.remove(key)),
        }
    }
    records.into_iter().collect()
}

impl Mirrored {
    pub(super) fn new(
        dir: &Path,
        areas: Areas,
        (sled, opened): (Sled, Opened),
        (mirror, pending): (Mirror, Changes),
        lock: File,
    ) -> Self {
        Self {
            mirror: Mutex::new(mirror),
            pending: RwLock::new(pending),
            database: RwLock::new(Database::Open(sled)),
            opened,
            dir: dir.to_owned(),
            areas,
            _lock: lock,
        }
    }

    /// Reads from the database, or from the mirror while the database is closed.
    fn read<T>(
        &self,
        from: impl FnOnce(&Sled, &Changes) -> Result<T, StoreError>,
        otherwise: impl FnOnce(BTreeMap<String, Vec<u8>>) -> T,
    ) -> Result<T, StoreError> {
        // No batch becomes visible meanwhile.
        let pending = read(&self.pending);
        match &*read(&self.database) {
            Database::Open(sled) | Database::Failed(sled) => from(sled, &pending),
            Database::Closed => Ok(otherwise(Mirror::read(&self.dir.join("mirror")))),
        }
    }

    /// Uses the database, which has to be open.
    fn with_open<T>(
        &self,
        using: impl FnOnce(&Sled) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &*read(&self.database) {
            Database::Open(sled) => using(sled),
            Database::Failed(_) | Database::Closed => {
                Err(StoreError::Io("the database is not open".to_owned()))
            }
        }
    }

    /// Writes to the database, which is marked as failed after an error.
    fn change(
        &self,
        writing: impl FnOnce(&Sled) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.opened.forget();
        self.with_open(writing).inspect_err(|_error| {
            let mut database = write(&self.database);
            if let Database::Open(sled) = std::mem::replace(&mut *database, Database::Closed) {
                *database = Database::Failed(sled);
            }
        })
    }

    /// Reopens the database after a failed write; fails if the disk still does.
    fn reopen(&self) -> Result<(), StoreError> {
        if matches!(*read(&self.database), Database::Open(_)) {
            return Ok(());
        }
        let mut database = write(&self.database);
        // Close first: sled locks its files.
        *database = Database::Closed;
        let (sled, _records) = Sled::open(&self.dir.join("store"), self.areas)?;
        *database = Database::Open(sled);
        tracing::info!("the store takes writes again");
        Ok(())
    }

    /// Gives the pending changes to the database. Readers see no difference.
    fn settle(&self, mirror: &mut Mirror) -> Result<(), StoreError> {
        {
            let pending = read(&self.pending);
            self.change(|sled| settle(sled, mirror, &pending))?;
        }
        write(&self.pending).clear();
        Ok(())
    }

    /// Keeps the mirror from growing without end.
    fn compact(&self, mirror: &mut Mirror) -> Result<(), StoreError> {
        self.settle(mirror)?;
        self.with_open(|sled| compact(sled, self.areas, mirror))
    }
}

impl Store for Mirrored {
    fn trim_memory(&self) {
        self.opened.forget();
        let _ = self.with_open(|sled| {
            sled.trim_memory();
            Ok(())
        });
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(
            |sled, pending| match pending.get(key) {
                Some(value) => Ok(value.clone()),
                None => sled.get(key),
            },
            |mut kept| kept.remove(key),
        )
    }

    fn scan(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.read(
            |sled, pending| {
                let records = match self.opened.take(prefix) {
                    Some(records) => records,
                    None => sled.scan(prefix)?,
                };
                Ok(apply(records, pending, prefix))
            },
            |kept| {
                kept.into_iter()
                    .filter(|(key, _)| key.starts_with(prefix))
                    .collect()
            },
        )
    }

    fn snapshot(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        // No commit is under way while the mirror is locked.
        let _no_commit = lock(&self.mirror);
        Ok(mirrored_records(self.scan("")?, self.areas))
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        super::check(&batch)?;
        let (mirrored, rest): (Vec<_>, Vec<_>) = batch
            .ops
            .into_iter()
            .partition(|(key, _)| self.areas.is_mirrored(key));

        let mut mirror = lock(&self.mirror);
        self.reopen()?;

        // Before the batch is written, so that an error is that of a batch that is not there.
        if mirror.unsettled() > MAX_PENDING {
            self.settle(&mut mirror)?;
        }
        let live = self.with_open(|sled| Ok(sled.mirrored_length()))?;
        if mirror.is_stale(live)
            && let Err(error) = self.compact(&mut mirror)
        {
            tracing::warn!(%error, "the mirror of the state was not made smaller");
        }

        // The mirror comes first: it never lacks a record of the database.
        let before = mirror.end().offset;
        mirror.append(&mirrored)?;

        let mut pending = write(&self.pending);
        if !rest.is_empty() {
            self.change(|sled| sled.commit(Batch { ops: rest }))
                .inspect_err(|_failed| mirror.take_back(before))?;
        }
        pending.extend(mirrored);
        Ok(())
    }

    fn settle(&self) -> Result<(), StoreError> {
        let mut mirror = lock(&self.mirror);
        if read(&self.pending).is_empty() {
            return Ok(());
        }
        self.reopen()?;
        self.settle(&mut mirror)
    }
}

impl Drop for Mirrored {
    fn drop(&mut self) {
        if let Err(error) = Store::settle(self) {
            tracing::debug!(%error, "the next start reads the last changes from the mirror");
        }
    }
}
