//! Opens the store in steps: the database; or, if it is damaged, a new one filled from the mirror;
//! or, if the disk cannot be written, a store in memory with the records of the mirror. The process
//! serves in any case.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Batch, Memory, Store, StoreError,
    area::Areas,
    format::{self, FORMAT, Newer},
    mirror::{Contents, Mirror},
    mirrored::{Mirrored, compact, settle},
    opened::Opened,
    reconcile::reconcile,
    seal::{KEY_SETTING, OLD_SETTING, SealKeys, Sealed},
    sled::Sled,
};
use crate::util::parallel;

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
    /// The database had lost changes that it had on the disk, and that the mirror still has; they
    /// were restored. The disk loses data, or a file was replaced.
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

    // Neither needs the other, and each takes some time.
    let (sled, opened) = parallel::both(
        || Sled::open(&path, areas),
        || open_mirror(&dir.join("mirror")),
    );
    let (mut mirror, mut contents) = opened?;

    // Older releases mirrored more areas.
    contents.changes.retain(|key, _| areas.is_mirrored(key));
    let mut is_as_configured = !is_half_sealed & as_configured(areas, keys, contents.live())?;

    let (sled, records, aside) = match sled {
        Ok((sled, records)) => (sled, records, None),
        Err(StoreError::Damaged(_)) => {
            let aside = set_aside(dir, &path).map_err(io)?;
            let (sled, nothing) = Sled::open(&path, areas)?;
            (sled, nothing, Some(aside))
        }
        Err(error) => return Err(error.into()),
    };
    let pairs = records.iter().map(|(name, value)| (name, value));
    is_as_configured &= as_configured(areas, keys, pairs)?;

    let mark = sled.mark()?;
    let found = reconcile(areas, &records, mark, contents);
    let health = match (aside, found.restored) {
        (Some(aside), records) => Health::Rebuilt { aside, records },
        (None, 0) => Health::Good,
        (None, records) => Health::Repaired { records },
    };

    // What came after the mark may stay pending. Other differences must not be found again.
    if let Some(mark) = mark {
        mirror.settled(mark.place);
    }
    let mut pending = found.pending;
    let mut is_unchanged = true;
    if found.restored > 0 || found.is_mirror_lacking || mark.is_none() || !is_as_configured {
        settle(&sled, &mut mirror, &pending)?;
        pending.clear();
        is_unchanged = false;
    }

    if found.is_mirror_lacking {
        if mark.is_some() {
            tracing::warn!("the mirror of the state is damaged: rewriting it");
        }
        compact(&sled, areas, &mut mirror)?;
    } else {
        mirror.mend()?;
    }

    let sled = if is_as_configured {
        sled
    } else {
        reseal(dir, areas, sled, &mut mirror, keys)?
    };

    let opened = Opened::new(if is_unchanged { records } else { Vec::new() });
    let mirrored = Mirrored::new(dir, areas, (sled, opened), (mirror, pending), lock);
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

    let mirrored: Vec<_> = batch
        .ops
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .filter(|(name, _)| areas.is_mirrored(name))
        .collect();
    mirror.compact(&mirrored)?;

    drop(sled);
    fs::rename(&path, &last).map_err(io)?;
    fs::rename(next, &path).map_err(io)?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
    fs::remove_dir_all(last).map_err(io)?;
    tracing::info!("the private keys in the state were sealed, or unsealed, as is set");

    let (sled, _records) = Sled::open(&path, areas)?;
    sled.set_mark(mirror.end())?;
    Ok(sled)
}

/// Opens the mirror, or a new one if it cannot be read: the database has the same records.
fn open_mirror(path: &Path) -> Result<(Mirror, Contents), StoreError> {
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
