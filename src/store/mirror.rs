//! The mirror: a plain append-only file with every record that cannot be restored otherwise. A
//! batch is durable once it is synced here; the database gets it later.
//!
//! sled can become unopenable by one flipped byte; this file loses the record with the flipped byte
//! and no other.

mod log;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

pub(super) use log::{Condition, Contents, Mark, Place, encode, encode_base, length, read};

use super::{StoreError, from_io};

/// The file is compacted when it is larger than this and than four times its live records.
const SMALL: u64 = 1024 * 1024;

/// The open file.
#[derive(Debug)]
pub(super) struct Mirror {
    path: PathBuf,
    file: File,
    generation: u32,
    /// The length of the part with acknowledged batches.
    size: u64,
    /// The part of it that the database has, too.
    settled: u64,
    /// More than `size` is in the file: a batch that failed.
    is_torn: bool,
    /// The directory may still name the file before the compaction.
    is_renaming: bool,
}

impl Mirror {
    /// Opens or creates the mirror and returns what is in it.
    pub(super) fn open(path: &Path) -> Result<(Self, Contents), StoreError> {
        let mut bytes = Vec::new();

        match File::open(path) {
            Ok(mut file) => drop(
                file.read_to_end(&mut bytes)
                    .map_err(|error| from_io(&error))?,
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(from_io(&error)),
        }

        let contents = read(&bytes);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path);
        let file = file.map_err(|error| from_io(&error))?;

        let is_torn = contents.condition == Condition::Torn;
        let mirror = Self {
            path: path.to_owned(),
            file,
            generation: contents.generation,
            size: if is_torn {
                contents.end
            } else {
                bytes.len() as u64
            },
            settled: contents.base,
            is_torn,
            is_renaming: false,
        };
        Ok((mirror, contents))
    }

    /// Returns the readable records of a mirror, for a directory that cannot be written.
    pub(super) fn read(path: &Path) -> BTreeMap<String, Vec<u8>> {
        fs::read(path)
            .map(|bytes| read(&bytes).into_live())
            .unwrap_or_default()
    }

    /// Returns the end of what was acknowledged.
    pub(super) fn end(&self) -> Place {
        Place {
            generation: self.generation,
            offset: self.size,
        }
    }

    /// Appends a batch and waits until it is on the disk.
    pub(super) fn append(&mut self, ops: &[(String, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        if ops.is_empty() {
            return Ok(());
        }
        self.mend()?;

        let mut bytes = Vec::new();
        encode(&mut bytes, self.generation, ops);
        let written = self
            .file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.take_back(self.size);
            return Err(from_io(&error));
        }

        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Removes the batches after `size`, which were not acknowledged. If the disk refuses, the next
    /// append tries again before it writes.
    pub(super) fn take_back(&mut self, size: u64) {
        (self.size, self.is_torn) = (size, true);
        let _next_time = self.mend();
    }

    /// Removes a batch that is not complete, and makes sure that the file is that of the path: only
    /// then may another batch follow.
    pub(super) fn mend(&mut self) -> Result<(), StoreError> {
        let mend = || {
            if self.is_torn {
                self.file.set_len(self.size)?;
                self.file.sync_all()?;
            }
            if self.is_renaming {
                sync_directory(&self.path)?;
            }
            Ok(())
        };
        mend().map_err(|error| from_io(&error))?;
        (self.is_torn, self.is_renaming) = (false, false);
        Ok(())
    }

    /// Notes that the database has everything up to a place, if it is in this file. The next file
    /// is newer than that of the place in any case.
    pub(super) fn settled(&mut self, place: Place) {
        self.generation = self.generation.max(place.generation);
        if self.generation == place.generation {
            self.settled = place.offset;
        }
    }

    /// Returns the number of bytes that the database does not have yet.
    pub(super) fn unsettled(&self) -> u64 {
        self.size.saturating_sub(self.settled)
    }

    /// Reports whether so much of the file is out of date that it should be compacted. `live` is
    /// the length of the records that would be left.
    pub(super) fn is_stale(&self, live: u64) -> bool {
        self.size > SMALL && self.size > live.saturating_mul(4)
    }

    /// Replaces the file with one that holds only the live records. The database must have them on
    /// the disk: a reader takes that as given.
    pub(super) fn compact(&mut self, live: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        let generation = self.generation.saturating_add(1);
        let bytes = encode_base(generation, live);

        let next = self.path.with_extension("next");
        let file = replace(&next, &self.path, &bytes).map_err(|error| from_io(&error))?;

        // From here on the old file is not that of the path any more.
        let length = bytes.len() as u64;
        (self.file, self.generation) = (file, generation);
        (self.size, self.settled) = (length, length);
        (self.is_torn, self.is_renaming) = (false, true);
        self.mend()
    }
}

/// Writes a file and renames it; returns it for appending.
fn replace(next: &Path, path: &Path, bytes: &[u8]) -> io::Result<File> {
    drop(super::private(next)?);
    let mut file = OpenOptions::new().append(true).open(next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(next, path)?;
    Ok(file)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
