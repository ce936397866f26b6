//! `gatelet backup` and `gatelet restore`: the whole state in one file.

#[cfg(feature = "age")]
mod cipher;
mod encryption;
mod format;
mod objects;
mod restore;
mod socket;
#[cfg(test)]
mod tests;
#[cfg(not(feature = "age"))]
mod without_age;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::{
    app::start::state::AREAS,
    config::Config,
    store::{self, ClosedError, SealError, SealKeys},
};

use self::{
    cipher::Encryptor,
    format::{Backup, FormatError},
};
pub use encryption::{DecryptError, DecryptionKeys, EncryptionKeys, KeyError};
pub use objects::objects_of_backup;
pub use restore::{RestoreError, restore};
pub(super) use socket::{listen, serve};
#[cfg(not(feature = "age"))]
use without_age as cipher;

/// The file name that stands for standard input and output.
const STANDARD: &str = "-";

/// The reason why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file exists.
    #[error("{} exists; a backup never replaces a file", .0.display())]
    Exists(PathBuf),
    /// The file cannot be written.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// gatelet runs, and its socket does not respond.
    #[error("gatelet runs, but {} cannot be used: {why}", .path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The state of a stopped gatelet cannot be read.
    #[error(transparent)]
    State(#[from] ClosedError),
    /// The key that seals private keys cannot be read.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A key to encrypt with cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The running process sent no whole backup.
    #[error("the running gatelet sent no backup: {0}")]
    Format(#[from] FormatError),
}

/// Writes the state of the gatelet with this configuration to a new file, or to standard output for
/// `-`, encrypted if there are keys. Returns the number of records.
///
/// # Errors
/// The file exists or cannot be written, a key cannot be used, or the state cannot be read.
pub fn backup(config: &Config, file: &Path, keys: &EncryptionKeys) -> Result<usize, BackupError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists(file.to_owned()),
        _ => BackupError::File {
            path: file.to_owned(),
            source,
        },
    };
    // Before the state is read: a name or key that cannot be used costs nothing.
    if file.exists() {
        return Err(BackupError::Exists(file.to_owned()));
    }
    let encryptor = Encryptor::new(keys)?;

    let (mut bytes, count) = read(config)?;
    if let Some(encryptor) = encryptor {
        bytes = encryptor.encrypt(&bytes);
    }
    if file.as_os_str() == STANDARD {
        let mut output = io::stdout().lock();
        let written = output.write_all(&bytes).and_then(|()| output.flush());
        return written.map(|()| count).map_err(failed);
    }

    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut output = options.open(file).map_err(failed)?;
    let written = output.write_all(&bytes).and_then(|()| output.sync_all());
    written.map(|()| count).map_err(|error| {
        // A torn backup is worse than none.
        let _left_behind = fs::remove_file(file);
        failed(error)
    })
}

/// Returns a backup and the number of its records: from the running process, or from the directory
/// of one that has stopped.
fn read(config: &Config) -> Result<(Vec<u8>, usize), BackupError> {
    let path = socket::path(&config.state);
    let no_socket = |why: String| BackupError::Socket {
        path: path.clone(),
        why,
    };
    match socket::fetch(&path) {
        Ok(bytes) => {
            let backup = Backup::decode(&bytes)?;
            return Ok((bytes, backup.records.len()));
        }
        Err(socket::FetchError::Refused(why)) => return Err(no_socket(why)),
        Err(socket::FetchError::NoProcess(error)) => {
            tracing::debug!(%error, "no gatelet runs");
        }
    }

    let keys = SealKeys::read(&config.store)?;
    let records = match store::read_closed(&config.state, AREAS, &keys) {
        Err(ClosedError::InUse(_)) => {
            return Err(no_socket("stop gatelet, and try again".to_owned()));
        }
        other => other?,
    };
    let backup = Backup::new(&config.node, records);
    Ok((backup.encode(), backup.records.len()))
}
