//! The audit log: a line for each write, in a file whose size is bounded. A thread of its own
//! writes it, so that a slow disk delays no request.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver, SyncSender},
    },
    thread::{self, JoinHandle},
};

/// The size in bytes at which a file is complete: it becomes the older one, and a new one begins.
const MAX_FILE: u64 = 10 << 20;

/// The capacity of the queue, in lines.
const QUEUE: usize = 1024;

/// The open audit log. Dropping it waits until its lines are written.
pub struct AuditLog {
    queue: Option<SyncSender<String>>,
    lost: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog").finish_non_exhaustive()
    }
}

impl AuditLog {
    /// Opens the log at `path`, readable by its owner alone. The older half is beside it, with the
    /// extension `.1`.
    ///
    /// # Errors
    /// The file cannot be opened, or the system cannot start a thread.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, MAX_FILE)
    }

    fn with_limit(path: &Path, limit: u64) -> io::Result<Self> {
        let mut pages = Pages::open(path, limit)?;
        let (queue, waiting) = mpsc::sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        let thread = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || pages.run(&waiting, &counted))?;

        Ok(Self {
            queue: Some(queue),
            lost,
            thread: Some(thread),
        })
    }

    /// Appends a line. One that comes faster than the disk writes is counted and lost.
    pub fn append(&self, line: String) {
        let sent = self.queue.as_ref().map(|queue| queue.try_send(line));
        if !matches!(sent, Some(Ok(()))) {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _it_panicked = thread.join();
        }
    }
}

/// The file that is written, and its size.
struct Pages {
    path: PathBuf,
    limit: u64,
    file: File,
    size: u64,
    /// True after a failure, until a line is written again: a full disk is reported once.
    failing: bool,
}

impl Pages {
    fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            limit,
            file,
            size,
            failing: false,
        })
    }

    fn run(&mut self, waiting: &Receiver<String>, lost: &AtomicU64) {
        while let Ok(line) = waiting.recv() {
            let missing = lost.swap(0, Relaxed);
            let note = match missing {
                0 => String::new(),
                _ => format!("{{\"lost\":{missing}}}\n"),
            };

            match self.write(&format!("{note}{line}\n")) {
                Ok(()) => self.failing = false,
                Err(error) => {
                    lost.fetch_add(missing + 1, Relaxed);
                    if !self.failing {
                        let path = self.path.display();
                        tracing::error!(%path, %error, "the audit log cannot be written");
                    }
                    self.failing = true;
                }
            }
        }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let length = text.len() as u64;
        if self.size > 0 && self.size.saturating_add(length) > self.limit {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            fs::rename(&self.path, older)?;
            *self = Self {
                failing: self.failing,
                ..Self::open(&self.path, self.limit)?
            };
        }

        self.file.write_all(text.as_bytes())?;
        self.size = self.size.saturating_add(length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder that is removed with its test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn two_files_hold_the_newest_lines() {
        let folder = Folder::new("audit-pages");
        let path = folder.0.join("audit.log");
        for round in 0..2 {
            let log = AuditLog::with_limit(&path, 100).expect("it opens");
            for number in 0..20 {
                log.append(format!("round {round} line {number:02}"));
            }
        }

        let text = |path: &Path| fs::read_to_string(path).expect("the file");
        let (newer, older) = (text(&path), text(&folder.0.join("audit.log.1")));
        assert!(newer.len() <= 100 && older.len() <= 100);
        assert!(newer.ends_with("round 1 line 19\n"), "{newer}");
        let next = |line: &str| line[13..].parse::<u32>().expect("a number");
        let numbers: Vec<u32> = older.lines().chain(newer.lines()).map(next).collect();
        assert!(
            numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "{numbers:?}"
        );
        let mode = fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn lines_that_are_lost_are_counted() {
        let folder = Folder::new("audit-lost");
        let path = folder.0.join("audit.log");
        let lost = AtomicU64::new(3);
        let (queue, waiting) = mpsc::sync_channel(1);
        queue.send("line".to_owned()).expect("a place");
        drop(queue);
        Pages::open(&path, 100)
            .expect("it opens")
            .run(&waiting, &lost);
        let text = fs::read_to_string(&path).expect("the file");
        assert_eq!(text, "{\"lost\":3}\nline\n");
    }
}
