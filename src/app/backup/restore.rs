//! Restores a backup into a state directory that has no state.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
};

use super::{
    STANDARD,
    cipher::Decryptor,
    encryption::{DecryptError, DecryptionKeys, KeyError, Lock},
    format::{Backup, FormatError},
};
use crate::{
    app::{files, start::state::AREAS},
    config::Config,
    store::{self, Batch, Health, OpenError, SealError, SealKeys, StoreError},
};

/// The largest file in bytes that is read.
const MAX_FILE: u64 = 1 << 30;

/// The reason why a backup is not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file cannot be read, or the state directory cannot be written.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The file is not a whole backup.
    #[error("{}: {source}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The problem with it.
        source: FormatError,
    },
    /// The file cannot be decrypted.
    #[error("{}: {source}", .path.display())]
    Decrypt {
        /// The file.
        path: PathBuf,
        /// The problem with it.
        source: DecryptError,
    },
    /// A key to decrypt with cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is a state already.
    #[error(
        "the state directory {} has a state, which a restore never replaces; move it away, or name \
         another directory with --state",
        .0.display()
    )]
    Occupied(PathBuf),
    /// The state directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The state directory cannot be written.
    #[error("the state directory cannot be written: {0}")]
    Unwritable(String),
    /// The records cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key that seals private keys cannot be read.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Reads a backup from a file, or from standard input for `-`.
pub(super) fn read(file: &Path, keys: &DecryptionKeys) -> Result<Backup, RestoreError> {
    let decryptor = Decryptor::new(keys)?;
    let failed = |source| RestoreError::File {
        path: file.to_owned(),
        source,
    };
    let input: Box<dyn Read> = match file.as_os_str() == STANDARD {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(file).map_err(failed)?),
    };

    let mut bytes = Vec::new();
    let read = input.take(MAX_FILE + 1).read_to_end(&mut bytes);
    read.map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(failed(io::Error::other(format!(
            "it is over {MAX_FILE} bytes"
        ))));
    }

    let decrypted = match (Lock::of(&bytes), decryptor) {
        (None, None) => Ok(bytes),
        (None, Some(_)) => Err(DecryptError::NotEncrypted),
        (Some(lock), None) => Err(lock.missing_key()),
        (Some(lock), Some(decryptor)) => decryptor.decrypt(lock, &bytes),
    };
    let bytes = decrypted.map_err(|source| RestoreError::Decrypt {
        path: file.to_owned(),
        source,
    })?;
    Backup::decode(&bytes).map_err(|source| RestoreError::Format {
        path: file.to_owned(),
        source,
    })
}

/// Restores a backup into the state directory of this configuration. Returns the number of records.
///
/// # Errors
/// The backup is not whole or cannot be decrypted, a key cannot be used, the directory has a state,
/// or it cannot be written.
pub fn restore(config: &Config, file: &Path, keys: &DecryptionKeys) -> Result<usize, RestoreError> {
    let state = &*config.state;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RestoreError::File { path, source }
    };
    let backup = read(file, keys)?;
    let seal_keys = SealKeys::read(&config.store)?;

    let (mark, parts) = (
        files::restore_mark_path(state),
        [state.join("store"), state.join("mirror")],
    );
    if mark.exists() {
        for part in parts.iter().filter(|part| part.exists()) {
            remove(part).map_err(failed(part))?;
        }
    } else if parts.iter().any(|part| part.exists()) {
        return Err(RestoreError::Occupied(state.to_owned()));
    }

    files::private_folder(state).map_err(failed(state))?;
    let marked = File::create(&mark).and_then(|mark| mark.sync_all());
    marked.map_err(failed(&mark))?;
    sync(state).map_err(failed(state))?;

    let count = backup.records.len();
    {
        let (store, health) = store::open_sealed(state, AREAS, seal_keys)?;
        if let Health::MemoryOnly { why, .. } = health {
            return Err(RestoreError::Unwritable(why));
        }
        let records = backup.records.into_iter();
        let batch = records.fold(Batch::new(), |batch, (key, value)| batch.put(key, value));
        store.commit(batch)?;
    }

    give_to_owner(state).map_err(failed(state))?;
    fs::remove_file(&mark).map_err(failed(&mark))?;
    sync(state).map_err(failed(state))?;
    Ok(count)
}

fn remove(part: &Path) -> io::Result<()> {
    match part.is_dir() {
        true => fs::remove_dir_all(part),
        false => fs::remove_file(part),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Gives the files to the owner of the state directory: root may restore for another user.
fn give_to_owner(state: &Path) -> io::Result<()> {
    let about = fs::metadata(state)?;
    let owner = (about.uid(), about.gid());
    let mut folders = vec![state.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let found = entry.metadata()?;
            if (found.uid(), found.gid()) != owner && !found.is_symlink() {
                chown(entry.path(), Some(owner.0), Some(owner.1))?;
            }
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}
