//! Reads the records of a state directory that no process uses, and changes nothing in it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    StoreError,
    area::Areas,
    format::{self, Newer},
    mirror::{self, Condition},
    recovery::{lock_directory, newer},
    seal::SealKeys,
};

/// The reason why a state directory cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ClosedError {
    /// It has no state.
    #[error("there is no state in {}", .0.display())]
    Absent(PathBuf),
    /// A running process uses it.
    #[error("the state directory {} is in use", .0.display())]
    InUse(PathBuf),
    /// A newer gatelet has written it.
    #[error("{}", newer(.dir, *.format))]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        format: u32,
    },
    /// Some records cannot be read.
    #[error(
        "records of the state in {} are torn or damaged; start gatelet once, which repairs it",
        .0.display()
    )]
    Damaged(PathBuf),
    /// The system refuses.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A record cannot be unsealed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns the records that cannot be restored otherwise, unsealed, in order of their keys.
///
/// # Errors
/// The directory has no state, is in use, or not all records can be read.
pub fn read_closed(
    dir: &Path,
    areas: Areas,
    keys: &SealKeys,
) -> Result<Vec<(String, Vec<u8>)>, ClosedError> {
    let path = dir.join("mirror");
    if !path.exists() {
        return Err(ClosedError::Absent(dir.to_owned()));
    }
    let failed = |source| ClosedError::Io {
        path: path.clone(),
        source,
    };
    let locked = lock_directory(dir).map_err(failed)?;
    let _lock = locked.ok_or_else(|| ClosedError::InUse(dir.to_owned()))?;
    format::check(dir).map_err(|Newer(format)| ClosedError::Newer {
        dir: dir.to_owned(),
        format,
    })?;

    let bytes = fs::read(&path).map_err(failed)?;
    let contents = mirror::read(&bytes);
    // That of an older release does not say how long it has to be.
    let is_old = contents.generation == 0;
    if contents.condition != Condition::Whole || !(is_old || contents.is_complete(None)) {
        return Err(ClosedError::Damaged(dir.to_owned()));
    }
    let kept = contents
        .into_live()
        .into_iter()
        .filter(|(name, _value)| areas.is_mirrored(name));
    Ok(keys.unseal_all(kept.collect())?)
}
