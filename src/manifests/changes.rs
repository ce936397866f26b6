//! Waits for changes of the folder: by inotify, or forever where the system does not offer it.

use std::{
    collections::{HashMap, HashSet},
    future, io,
    path::{Path, PathBuf},
    time::Duration,
};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, timeout, timeout_at},
};

/// The pause without changes after which files are read. Copying a folder causes many changes.
const QUIET: Duration = Duration::from_millis(100);

/// The time after the first change at which files are read, however many changes follow.
const LONGEST: Duration = Duration::from_secs(2);

/// Size of the buffer for events.
const BUFFER: usize = 16 << 10;

/// Registers the descriptor with the runtime.
fn register(inotify: Inotify) -> io::Result<AsyncFd<Inotify>> {
    #[allow(unsafe_code, reason = "tokio offers no safe way")]
    // SAFETY: an `Inotify` has one descriptor for as long as it lives.
    let registered = unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

/// The watches on the folders.
pub(super) struct Changes {
    /// `None` if the system does not offer it.
    inotify: Option<AsyncFd<Inotify>>,
    folders: HashMap<WatchDescriptor, PathBuf>,
    /// The files that were written to since they were last closed.
    busy: HashSet<PathBuf>,
    /// Space for events.
    buffer: Box<[u8]>,
}

impl Changes {
    /// Begins without folders.
    pub(super) fn new() -> Self {
        let inotify = Inotify::init().and_then(register).inspect_err(|error| {
            tracing::warn!(%error, "the system reports no changes of the manifests folder");
        });
        Self {
            inotify: inotify.ok(),
            folders: HashMap::new(),
            busy: HashSet::new(),
            buffer: vec![0; BUFFER].into(),
        }
    }

    /// Returns the files that are being written.
    pub(super) fn busy(&self) -> HashSet<PathBuf> {
        self.busy.clone()
    }

    /// Watches these folders. Returns false if not all of them can be watched.
    pub(super) fn watch(&mut self, folders: &[PathBuf]) -> bool {
        let Some(inotify) = &self.inotify else {
            return false;
        };
        let mask = WatchMask::CREATE
            | WatchMask::MODIFY
            | WatchMask::ATTRIB
            | WatchMask::CLOSE_WRITE
            | WatchMask::MOVE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let mut watches = inotify.get_ref().watches();

        // A folder that is watched already keeps its watch.
        self.folders.clear();
        for folder in folders {
            match watches.add(folder, mask) {
                Ok(watch) => drop(self.folders.insert(watch, folder.clone())),
                Err(error) => {
                    tracing::debug!(folder = %folder.display(), %error, "not watched");
                }
            }
        }
        !folders.is_empty() && self.folders.len() == folders.len()
    }

    /// Waits for a change, and then until changes pause.
    pub(super) async fn next(&mut self) {
        self.batch().await;
        let latest = Instant::now() + LONGEST;
        while let Ok(Ok(())) = timeout_at(latest, timeout(QUIET, self.batch())).await {}
    }

    /// Waits for events, and notes which files are being written.
    async fn batch(&mut self) {
        let Some(inotify) = &mut self.inotify else {
            return future::pending().await;
        };
        let buffer = &mut self.buffer;

        loop {
            let Ok(mut ready) = inotify.readable_mut().await else {
                return future::pending().await;
            };

            let read = ready.try_io(|inotify| {
                let events = inotify.get_mut().read_events(buffer)?;
                let owned = events.map(|event| (event.wd.clone(), event.mask, event.name));
                let owned = owned.map(|(watch, mask, name)| (watch, mask, name.map(Into::into)));
                Ok(owned.collect::<Vec<(_, _, Option<PathBuf>)>>())
            });

            match read {
                Ok(Ok(events)) => {
                    for (watch, mask, name) in events {
                        self.note(&watch, mask, name.as_deref());
                    }
                    return;
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "changes of the manifests folder are not reported");
                    self.inotify = None;
                    return;
                }
                Err(_not_ready) => {}
            }
        }
    }

    fn note(&mut self, watch: &WatchDescriptor, mask: EventMask, name: Option<&Path>) {
        // Events were lost: any file may have been closed.
        if mask.contains(EventMask::Q_OVERFLOW) {
            self.busy.clear();
        }
        let (Some(folder), Some(name)) = (self.folders.get(watch), name) else {
            return;
        };
        let file = folder.join(name);
        if mask.contains(EventMask::MODIFY) {
            self.busy.insert(file);
        } else if !mask.intersects(EventMask::ATTRIB | EventMask::CREATE) {
            self.busy.remove(&file);
        }
    }
}
