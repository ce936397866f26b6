//! The spool: request bodies that are read whole before an endpoint is asked, and do not fit into
//! memory. Each is in a file without a name, which vanishes with the process.
//!
//! Files are made, written, read and closed by threads beside the core: a slow disk delays the
//! request alone.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    task::{JoinHandle, spawn_blocking},
};

use super::settings::Settings;
use crate::util::stamp::random;

/// The bytes that are written or read at once.
pub(super) const PIECE: usize = 64 * 1024;

/// The reason why the directory of the spool cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("proxy.spool_directory: {}: {why}", .directory.display())]
pub struct SpoolError {
    directory: PathBuf,
    why: io::Error,
}

/// Checks that files can be made in the directory of a spool.
///
/// # Errors
/// If they cannot.
pub fn check(directory: &Path) -> Result<(), SpoolError> {
    let made = nameless(directory).and_then(|file| file.write_all_at(b"x", 0));
    made.map_err(|why| SpoolError {
        directory: directory.to_owned(),
        why,
    })
}

/// The files of all cores.
#[derive(Debug)]
pub(super) struct Spool {
    directory: PathBuf,
    most: u64,
    /// The bytes in all files, and those that are being written.
    used: AtomicU64,
}

impl Spool {
    /// Returns the spool of the settings; `None` if they have none.
    pub(super) fn of(settings: &Settings) -> Option<Arc<Self>> {
        let directory = settings.spool_directory.clone()?;
        Some(Arc::new(Self {
            directory,
            most: settings.max_spool_bytes as u64,
            used: AtomicU64::new(0),
        }))
    }

    /// Returns the bytes in all files.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Makes a file.
    ///
    /// # Errors
    /// If the bound is reached, or the directory cannot be used.
    pub(super) async fn begin(self: &Arc<Self>) -> io::Result<Spooled> {
        if self.used() >= self.most {
            return Err(full());
        }
        let spool = self.clone();
        let file = run(move || nameless(&spool.directory)).await?;
        let stored = Stored {
            file,
            bytes: AtomicU64::new(0),
            spool: self.clone(),
        };
        Ok(Spooled {
            stored: Some(Arc::new(stored)),
            written: 0,
            read: 0,
            reading: None,
        })
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let reserved = self.used.fetch_update(Relaxed, Relaxed, |used| {
            used.checked_add(bytes).filter(|used| *used <= self.most)
        });
        reserved.map(drop).map_err(|_used| full())
    }
}

/// A file with its part of the bound, until the last reader has closed it.
#[derive(Debug)]
struct Stored {
    file: File,
    bytes: AtomicU64,
    spool: Arc<Spool>,
}

impl Drop for Stored {
    fn drop(&mut self) {
        let bytes = self.bytes.load(Relaxed);
        self.spool.used.fetch_sub(bytes, Relaxed);
    }
}

/// The beginning of a body, in a file.
#[derive(Debug)]
pub(super) struct Spooled {
    /// `None` only while it is dropped.
    stored: Option<Arc<Stored>>,
    written: u64,
    read: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Spooled {
    /// Adds a piece at the end.
    ///
    /// # Errors
    /// If it does not fit. The pieces before it stay.
    pub(super) async fn write(&mut self, piece: Bytes) -> io::Result<()> {
        let (at, length) = (self.written, piece.len() as u64);
        let stored = self.stored.clone().ok_or_else(full)?;
        stored.spool.reserve(length)?;
        stored.bytes.fetch_add(length, Relaxed);

        run(move || stored.file.write_all_at(&piece, at)).await?;
        self.written += length;
        Ok(())
    }

    /// Returns the bytes that are not read yet.
    pub(super) fn left(&self) -> u64 {
        self.written - self.read
    }

    /// Reads the next piece, while some are left.
    ///
    /// # Errors
    /// If the disk has lost it.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if self.reading.is_none() {
            let Some(stored) = self.stored.clone() else {
                return Poll::Ready(Err(full()));
            };
            let at = self.read;
            let length = usize::try_from(self.left()).map_or(PIECE, |left| left.min(PIECE));
            self.reading = Some(spawn_blocking(move || {
                let mut piece = vec![0; length];
                stored.file.read_exact_at(&mut piece, at)?;
                Ok(piece.into())
            }));
        }

        let Some(reading) = &mut self.reading else {
            return Poll::Pending;
        };
        let piece = ready!(Pin::new(reading).poll(cx)).map_err(io::Error::other);
        self.reading = None;
        let piece: Bytes = piece.flatten()?;
        self.read += piece.len() as u64;
        Poll::Ready(Ok(piece))
    }
}

/// The end of a long file takes the disk a while.
impl Drop for Spooled {
    fn drop(&mut self) {
        let stored = self.stored.take();
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(stored))),
            Err(_stopped) => drop(stored),
        }
    }
}

/// Runs work of the disk beside the core.
async fn run<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

fn full() -> io::Error {
    io::Error::new(
        io::ErrorKind::StorageFull,
        "the spool has as many bytes as proxy.max_spool_bytes",
    )
}

/// Makes a file without a name, or removes the name at once where the file system has none such.
fn nameless(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    let made = options
        .clone()
        .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC)
        .open(directory);
    match made {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)
            ) => {}
        other => return other,
    }

    let number = u64::from_ne_bytes(random());
    let path = directory.join(format!(".gatelet-{number:016x}"));
    let file = options.create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests;
