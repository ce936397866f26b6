//! Opens the store in steps: the database; or, if it is damaged, a new one filled from the mirror;
//! or, if the disk cannot be written, a store in memory with the records of the mirror. The process
//! serves in any case.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, RwLock},
};

use super::{
    Batch, Memory, Store, StoreError,
    area::Areas,
    format::{self, FORMAT, Newer},
    mirror::Mirror,
    seal::{KEY_SETTING, OLD_SETTING, SealKeys, Sealed},
    sled::Sled,
};
use crate::util::sync::{lock, read, write};

/// Damaged databases kept for a post-mortem.
const KEPT: usize = 2;
/// Names of a database while it is rewritten, and of the one that it replaces.
const NEXT: &str = "store.next";
const LAST: &str = "store.last";

/// The result of opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing is wrong.
    Good,
    /// The database was damaged and set aside; a new one has what the mirror had.
    Rebuilt {
        /// Path of the damaged database.
        aside: PathBuf,
        /// Number of restored records.
        records: usize,
    },
    /// The database had lost records that the mirror has; they were restored. After a power cut one
    /// lost write is normal; more of them mean that the disk loses data.
    Repaired {
        /// Number of restored records.
        records: usize,
    },
    /// The disk cannot be written: changes are lost when the process ends.
    MemoryOnly {
        /// The directory and the error.
        why: String,
        /// Number of records read from the mirror.
        records: usize,
    },
}

/// The state directory cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A running process has locked it.
    #[error(
        "the state directory {} is in use by another gatelet; \
         stop that one, or choose another directory with --state",
        .0.display()
    )]
    InUse(PathBuf),
    /// Its records are sealed with a key that is not configured.
    #[error(
        "the state directory {} is sealed with a key that is not there: \
         name the file with the key in {KEY_SETTING}, or \
         in {OLD_SETTING} if another one is to be used, or none; nothing was changed",
        .0.display()
    )]
    Sealed(PathBuf),
    /// A newer gatelet has written it.
    #[error("{}", newer(.dir, *.format))]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        format: u32,
    },
}

/// Returns the text about a directory that a newer gatelet has written.
pub(super) fn newer(dir: &Path, format: u32) -> String {
    format!(
        "the state directory {} was written by a newer gatelet (format {format}; this one knows \
         {FORMAT}): install that version again, or restore a backup that an older one has written; \
         nothing was changed",
        dir.display()
    )
}

/// The database and its mirror.
#[derive(Debug)]
struct Mirrored {
    database: RwLock<Database>,
    mirror: Mutex<Mirror>,
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

/// Opens the store in `dir`, and creates the directory if needed (mode 0700). Private keys are not
/// sealed.
pub fn open(dir: &Path, areas: Areas) -> Result<(Arc<dyn Store>, Health), OpenError> {
    open_sealed(dir, areas, SealKeys::default())
}

/// Opens the store in `dir` with private keys sealed. Rewrites records that are not sealed, or that
/// are sealed with an older key.
pub fn open_sealed(
    dir: &Path,
    areas: Areas,
    keys: SealKeys,
) -> Result<(Arc<dyn Store>, Health), OpenError> {
    let (store, health) = open_raw(dir, areas, &keys)?;
    Ok((
        if keys.is_empty() {
            store
        } else {
            Arc::new(Sealed::new(store, keys, areas))
        },
        health,
    ))
}

fn open_raw(
    dir: &Path,
    areas: Areas,
    keys: &SealKeys,
) -> Result<(Arc<dyn Store>, Health), OpenError> {
    match on_disk(dir, areas, keys) {
        Ok((store, health)) => Ok((Arc::new(store), health)),
        Err(Failure::InUse) => Err(OpenError::InUse(dir.to_owned())),
        Err(Failure::Sealed) => Err(OpenError::Sealed(dir.to_owned())),
        Err(Failure::Newer(Newer(format))) => Err(OpenError::Newer {
            dir: dir.to_owned(),
            format,
        }),
        Err(Failure::Store(error)) => {
            // A disk that is full or has become read-only still holds the records.
            let kept = Mirror::read(&dir.join("mirror"));

            if kept
                .iter()
                .any(|(name, value)| keys.is_as_configured(areas, name, value).is_none())
            {
                return Err(OpenError::Sealed(dir.to_owned()));
            }

            let health = Health::MemoryOnly {
                why: format!("{}: {error}", dir.display()),
                records: kept.len(),
            };
            Ok((Arc::new(Memory::from(kept)), health))
        }
    }
}

enum Failure {
    InUse,
    Sealed,
    Newer(Newer),
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn on_disk(dir: &Path, areas: Areas, keys: &SealKeys) -> Result<(Mirrored, Health), Failure> {
    let io = |error: std::io::Error| Failure::Store(super::from_io(&error));
    super::private_dir(dir).map_err(io)?;
    let lock = lock_directory(dir).map_err(io)?.ok_or(Failure::InUse)?;

    format::check(dir).map_err(Failure::Newer)?;
    format::note(dir);

    let path = dir.join("store");
    let is_half_sealed = finish_reseal(dir).map_err(io)?;

    let (mut mirror, mut kept) = open_mirror(&dir.join("mirror"))?;

    // Older releases mirrored more areas.
    kept.retain(|key, _| areas.is_mirrored(key));
    let mut is_as_configured = !is_half_sealed & as_configured(areas, keys, &kept)?;

    let (sled, health) = match Sled::open(&path, areas) {
        Ok((sled, records)) => {
            let pairs = records.iter().map(|(name, value)| (name, value));
            is_as_configured &= as_configured(areas, keys, pairs)?;
            let health = match reconcile(&sled, areas, records, &mut mirror, kept)? {
                0 => Health::Good,
                records => Health::Repaired { records },
            };
            (sled, health)
        }
        Err(StoreError::Damaged(_)) => {
            let aside = set_aside(dir, &path).map_err(io)?;
            let (sled, _nothing) = Sled::open(&path, areas)?;
            let records = kept.len();
            for (key, value) in kept {
                sled.commit(Batch::new().put(key, value))?;
            }
            (sled, Health::Rebuilt { aside, records })
        }
        Err(error) => return Err(error.into()),
    };

    let sled = if is_as_configured {
        sled
    } else {
        reseal(dir, areas, sled, &mut mirror, keys)?
    };

    let mirrored = Mirrored {
        database: RwLock::new(Database::Open(sled)),
        mirror: Mutex::new(mirror),
        dir: dir.to_owned(),
        areas,
        _lock: lock,
    };

    Ok((mirrored, health))
}

/// Locks the directory for this process, for as long as the file is open. Returns `None` if another
/// process has locked it.
pub(super) fn lock_directory(dir: &Path) -> std::io::Result<Option<File>> {
    let lock = super::private(&dir.join("lock"))?;
    let locked = super::retry(|| match lock.try_lock() {
        Ok(()) => Some(Ok(())),
        Err(fs::TryLockError::WouldBlock) => None,
        Err(fs::TryLockError::Error(error)) => Some(Err(error)),
    });
    match locked {
        Some(locked) => locked.map(|()| Some(lock)),
        None => Ok(None),
    }
}

/// Restores records that the database has lost from the mirror, and completes the mirror. Returns
/// the number of restored records.
fn reconcile(
    sled: &Sled,
    areas: Areas,
    records: Vec<(String, Vec<u8>)>,
    mirror: &mut Mirror,
    kept: BTreeMap<String, Vec<u8>>,
) -> Result<usize, StoreError> {
    let whole = mirror.is_whole();
    let mut live: BTreeMap<_, _> = records
        .into_iter()
        .filter(|(key, _)| areas.is_mirrored(key))
        .collect();
    let missing = live.keys().filter(|key| !kept.contains_key(*key)).count();

    // sled takes a damaged segment for a torn write and opens without it: only the mirror can tell.
    // A mirror with damaged records may have lost the newest value of a key.
    let mut lost = Batch::new();
    for (key, value) in kept {
        match live.get(&key) {
            Some(same) if *same == value || !whole => {}
            _ => {
                live.insert(key.clone(), value.clone());
                lost = lost.put(key, value);
            }
        }
    }

    let restored = lost.len();
    if restored > 0 {
        sled.commit(lost)?;
    }

    if !whole || missing > 0 {
        tracing::warn!(missing, "the mirror of the state is damaged: rewriting it");
        mirror.compact(&live.into_iter().collect::<Vec<_>>())?;
    }

    Ok(restored)
}

/// Reports whether every record has the configured form: sealed or plain.
fn as_configured<'a>(
    areas: Areas,
    keys: &SealKeys,
    records: impl IntoIterator<Item = (&'a String, &'a Vec<u8>)>,
) -> Result<bool, Failure> {
    let mut all = true;
    for (name, value) in records {
        all &= keys
            .is_as_configured(areas, name, value)
            .ok_or(Failure::Sealed)?;
    }
    Ok(all)
}

/// Cleans up after an interrupted [`reseal`]; returns whether it has to start over.
fn finish_reseal(dir: &Path) -> std::io::Result<bool> {
    let (path, next, last) = (dir.join("store"), dir.join(NEXT), dir.join(LAST));
    let starts_over = next.exists() && path.exists();
    if starts_over {
        fs::remove_dir_all(next)?;
    } else if next.exists() {
        fs::rename(next, path)?;
    }
    if last.exists() {
        fs::remove_dir_all(last)?;
    }
    Ok(starts_over)
}

/// Rewrites all records as configured. Overwriting them in place would leave the old values in free
/// parts of the files for a long time.
fn reseal(
    dir: &Path,
    areas: Areas,
    sled: Sled,
    mirror: &mut Mirror,
    keys: &SealKeys,
) -> Result<Sled, Failure> {
    let io = |error: std::io::Error| Failure::Store(super::from_io(&error));
    let (path, next, last) = (dir.join("store"), dir.join(NEXT), dir.join(LAST));

    let mut batch = Batch::new();
    for (name, value) in sled.scan("")? {
        let value = keys.convert(areas, &name, value)?;
        batch = batch.put(name, value);
    }

    // The new database and the mirror are complete before the old database goes.
    let (made, _nothing) = Sled::open(&next, areas)?;
    made.commit(batch.clone())?;
    drop(made);

    let mirrored = batch
        .ops
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    mirror.compact(
        &mirrored
            .filter(|(name, _)| areas.is_mirrored(name))
            .collect::<Vec<_>>(),
    )?;

    drop(sled);
    fs::rename(&path, &last).map_err(io)?;
    fs::rename(next, &path).map_err(io)?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
    fs::remove_dir_all(last).map_err(io)?;
    tracing::info!("the private keys in the state were sealed, or unsealed, as is set");

    Ok(Sled::open(&path, areas)?.0)
}

/// Opens the mirror, or a new one if it cannot be read: the database has the same records.
fn open_mirror(path: &Path) -> Result<(Mirror, BTreeMap<String, Vec<u8>>), StoreError> {
    Mirror::open(path).or_else(|error| {
        let aside = path.with_extension("damaged");
        tracing::warn!(
            %error,
            aside = %aside.display(),
            "the mirror of the state cannot be read: it is set aside"
        );
        fs::rename(path, &aside).map_err(|_stuck| error)?;
        Mirror::open(path)
    })
}

/// Returns the records that belong in the mirror.
fn mirrored_records(sled: &Sled, areas: Areas) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    Ok(sled
        .scan("")?
        .into_iter()
        .filter(|(key, _)| areas.is_mirrored(key))
        .collect())
}

fn set_aside(dir: &Path, path: &Path) -> std::io::Result<PathBuf> {
    let name = |number: usize| dir.join(format!("store.damaged-{number}"));
    let mut number = 1;
    while name(number).exists() {
        number += 1;
    }

    // The oldest goes, and the others move up.
    if number > KEPT {
        fs::remove_dir_all(name(1))?;
        for old in 2..number {
            fs::rename(name(old), name(old - 1))?;
        }
        number = KEPT;
    }
    fs::rename(path, name(number))?;
    Ok(name(number))
}

impl Mirrored {
    /// Reads from the database, or from the mirror while the database is closed.
    fn read<T>(
        &self,
        from: impl FnOnce(&Sled) -> Result<T, StoreError>,
        otherwise: impl FnOnce(BTreeMap<String, Vec<u8>>) -> T,
    ) -> Result<T, StoreError> {
        match &*read(&self.database) {
            Database::Open(sled) | Database::Failed(sled) => from(sled),
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

    /// Marks the database as failed after a write error.
    fn fail(&self) {
        let mut database = write(&self.database);
        if let Database::Open(sled) = std::mem::replace(&mut *database, Database::Closed) {
            *database = Database::Failed(sled);
        }
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
}

impl Store for Mirrored {
    fn trim_memory(&self) {
        let _ = self.with_open(|sled| {
            sled.trim_memory();
            Ok(())
        });
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|sled| sled.get(key), |mut kept| kept.remove(key))
    }

    fn scan(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.read(
            |sled| sled.scan(prefix),
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
        let areas = self.areas;
        self.read(
            |sled| mirrored_records(sled, areas),
            |kept| kept.into_iter().collect(),
        )
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        super::check(&batch)?;
        let wanted: Vec<_> = batch
            .ops
            .iter()
            .filter(|(key, _)| self.areas.is_mirrored(key))
            .cloned()
            .collect();

        let mut mirror = lock(&self.mirror);
        self.reopen()?;
        // The mirror comes first, so that it never lacks a record of the database.
        mirror.append(&wanted)?;
        let stored = self
            .with_open(|sled| sled.commit(batch))
            .inspect_err(|_failed| self.fail());

        if stored.is_ok()
            && mirror.is_stale()
            && let Err(error) = self
                .with_open(|sled| mirrored_records(sled, self.areas))
                .and_then(|live| mirror.compact(&live))
        {
            tracing::warn!(%error, "the mirror of the state was not made smaller");
        }
        stored
    }
}
