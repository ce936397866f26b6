//! Finds and reads the files of the folder, within limits.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, DirEntry, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::finding::{Finding, Reason};

/// The most files that are followed, in the order of their names.
const MAX_FILES: usize = 2000;

/// The most folders within the folder, and their depth.
const MAX_FOLDERS: usize = 64;
const MAX_DEPTH: usize = 8;

/// The size limit of a file in bytes.
pub(super) const MAX_FILE: u64 = 8 << 20;

/// The identity of a state of a file. It changes with every write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The content of the folder.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The files with manifests, by their names relative to the folder, in order.
    pub(super) files: BTreeMap<String, Fingerprint>,
    /// The folder and the folders in it.
    pub(super) folders: Vec<PathBuf>,
    /// Entries that cannot be followed.
    pub(super) findings: Vec<Finding>,
}

/// Lists the files with manifests: `*.yaml`, `*.yml` and `*.json`, without hidden ones, and without
/// those that have a file with the further extension `.skip` beside them.
pub(super) fn scan(root: &Path) -> Scan {
    let mut scan = Scan::default();
    scan.folder(root, "", 0);
    while scan.files.len() > MAX_FILES {
        let Some((first_ignored, _)) = scan.files.pop_last() else {
            break;
        };
        if scan.files.len() == MAX_FILES {
            let message =
                format!("over {MAX_FILES} files: this one and those after it are ignored");
            let finding = Finding::of_file(&first_ignored, Reason::Unreadable, message);
            scan.findings.push(finding);
        }
    }
    scan
}

impl Scan {
    /// Adds the entries of a folder. `prefix` is its name within the root, empty or with `/`.
    fn folder(&mut self, path: &Path, prefix: &str, depth: usize) {
        let failed = |scan: &mut Self, message: String| {
            let name = if prefix.is_empty() { "." } else { prefix };
            let finding = Finding::of_file(name, Reason::Unreadable, message);
            scan.findings.push(finding);
        };
        if depth > MAX_DEPTH || self.folders.len() >= MAX_FOLDERS {
            let message = format!("over {MAX_FOLDERS} folders, or {MAX_DEPTH} within each other");
            return failed(self, message);
        }

        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            // The owner may delete the folder.
            Err(error) if depth == 0 && error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return failed(self, error.to_string()),
        };
        self.folders.push(path.to_owned());

        let entries: Vec<DirEntry> = entries.flatten().collect();
        let names: HashSet<Vec<u8>> = entries
            .iter()
            .map(|entry| entry.file_name().into_encoded_bytes())
            .collect();

        for entry in &entries {
            let name = entry.file_name();
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            let is_skipped = names.contains(&[name.as_encoded_bytes(), b".skip"].concat());
            if !is_hidden && !is_skipped {
                let name = format!("{prefix}{}", name.to_string_lossy());
                self.entry(&entry.path(), &name, depth);
            }
        }
    }

    fn entry(&mut self, path: &Path, name: &str, depth: usize) {
        let failed =
            |error: &io::Error| Finding::of_file(name, Reason::Unreadable, error.to_string());
        let is_manifest = path
            .extension()
            .is_some_and(|ext| ext == "yaml" || ext == "yml" || ext == "json");
        let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());

        match fs::metadata(path) {
            Ok(found) if found.is_dir() && is_link => {
                let message = "a link to a folder is not followed";
                let finding = Finding::of_file(name, Reason::Skipped, message);
                self.findings.push(finding);
            }
            Ok(found) if found.is_dir() => self.folder(path, &format!("{name}/"), depth + 1),
            Ok(found) if is_manifest && found.is_file() => {
                self.files.insert(name.to_owned(), Fingerprint::of(&found));
            }
            Ok(_device) if is_manifest => {
                let message = "it is not a regular file";
                let finding = Finding::of_file(name, Reason::Unreadable, message);
                self.findings.push(finding);
            }
            // It was deleted since the folder was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_link => {}
            Err(error) if is_manifest => self.findings.push(failed(&error)),
            Ok(_) | Err(_) => {}
        }
    }
}

/// The reason why a file is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is a device, a pipe or a socket.
    #[error("it is not a regular file")]
    NotAFile,
    /// It is over the limit.
    #[error("it is over {MAX_FILE} bytes")]
    TooLarge,
    /// It is not text.
    #[error("it is not text in UTF-8")]
    NotText,
}

/// Reads a file whole.
pub(super) fn read(path: &Path) -> Result<String, ReadError> {
    // It may have become a pipe, which would wait for a writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(ReadError::NotAFile);
    }

    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(ReadError::TooLarge);
    }
    String::from_utf8(bytes).map_err(|_binary| ReadError::NotText)
}
