//! sled behind the trait; the only file that names it.
//!
//! sled's `flush` ends in `sync_file_range`, which leaves data in the disk's cache: after it we
//! call `fdatasync` on sled's own file. Large values are cut into small chunks, because sled
//! rewrites whole pages of up to 16 entries, and puts large pages into files that it never syncs.

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    Batch, Store, StoreError,
    area::Areas,
    mirror::{Mark, Place, length},
    record,
};
use crate::util::sync::{read, write};

/// Length of a chunk. Those of older databases are longer.
const CHUNK: usize = 512;
/// Begins the keys of this file, which lie outside those that callers can name.
const OWN: char = '\u{1}';
const CHUNKS: &str = "\u{1}chunk/";
const MARK: &str = "\u{1}mark";
/// First byte of an entry: the value itself, or the number of its chunks.
const WHOLE: u8 = 0;
const CHUNKED: u8 = 1;

/// An open database.
#[derive(Debug)]
pub(super) struct Sled {
    db: ::sled::Db,
    /// The number of mirrored records, and about their length in a mirror.
    mirrored: AtomicU64,
    mirrored_length: AtomicU64,
    areas: Areas,
    file: File,
    /// Orders commits, and keeps readers from chunks that are being replaced.
    writing: RwLock<()>,
}

impl Sled {
    /// Opens or makes the database in `dir`; returns all that is in it, which shows that it can be
    /// read.
    pub(super) fn open(
        dir: &Path,
        areas: Areas,
    ) -> Result<(Self, Vec<(String, Vec<u8>)>), StoreError> {
        super::private_dir(dir).map_err(|error| from_io(&error))?;

        // sled panics on some damaged files.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let config = ::sled::Config::new()
                .path(dir)
                .cache_capacity(1024 * 1024)
                .flush_every_ms(None)
                .mode(::sled::Mode::LowSpace);

            // We hold the lock of the directory: a process that still has the database open is
            // about to close it.
            let db = super::retry(|| match config.open() {
                Err(::sled::Error::Io(error)) if is_locked(&error) => None,
                opened => Some(opened.map_err(from_sled)),
            })
            .unwrap_or_else(|| Err(StoreError::Io("the database is in use".to_owned())))?;

            let file = File::open(dir.join("db")).map_err(|error| from_io(&error))?;
            let mut store = Self {
                db,
                mirrored: AtomicU64::new(0),
                mirrored_length: AtomicU64::new(0),
                areas,
                file,
                writing: RwLock::new(()),
            };

            let records = store.scan("")?;
            let mirrored = records.iter().filter(|(key, _)| areas.is_mirrored(key));
            let (count, lengths) = mirrored.fold((0, 0), |(count, lengths), (key, value)| {
                (count + 1, lengths + length(key, value))
            });
            store.mirrored = AtomicU64::new(count);
            store.mirrored_length = AtomicU64::new(lengths);
            Ok((store, records))
        }));

        opened.unwrap_or_else(|_panic| {
            Err(StoreError::Damaged(
                "the database cannot be opened".to_owned(),
            ))
        })
    }

    /// Returns the mark, if the database has one that is readable.
    pub(super) fn mark(&self) -> Result<Option<Mark>, StoreError> {
        let entry = self.db.get(MARK).map_err(from_sled)?;
        Ok(entry.and_then(|entry| parse_mark(record::open(MARK, &entry).ok()?)))
    }

    /// Notes, on the disk, that the database has everything up to a place of the mirror. It must
    /// be on the disk already: sled keeps no order of what it writes.
    pub(super) fn set_mark(&self, place: Place) -> Result<(), StoreError> {
        let mut entry = Vec::new();
        entry.extend_from_slice(&place.generation.to_le_bytes());
        entry.extend_from_slice(&place.offset.to_le_bytes());
        entry.extend_from_slice(&self.mirrored.load(Relaxed).to_le_bytes());
        self.caught(|| {
            let marked = self.db.insert(MARK, record::seal(&entry));
            marked.map_err(from_sled)?;
            self.sync()
        })
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(from_sled)?;
        self.file.sync_data().map_err(|error| from_io(&error))
    }

    /// sled panics after some errors of the disk.
    fn caught(&self, write: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
        catch_unwind(AssertUnwindSafe(write))
            .unwrap_or_else(|_panic| Err(StoreError::Io("the database broke off".to_owned())))
    }

    fn read(&self, key: &str, entry: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match record::open(key, entry)?.split_first() {
            Some((&WHOLE, value)) => Ok(Some(value.to_vec())),
            Some((&CHUNKED, _)) => {
                let _still = read(&self.writing);

                // It may have been replaced since the entry was read.
                let Some(entry) = self.db.get(key).map_err(from_sled)? else {
                    return Ok(None);
                };

                match record::open(key, &entry)? {
                    [WHOLE, value @ ..] => Ok(Some(value.to_vec())),
                    [CHUNKED, low, high] => {
                        self.join(key, u16::from_le_bytes([*low, *high])).map(Some)
                    }
                    _ => Err(StoreError::Damaged(format!("record {key}"))),
                }
            }
            _ => Err(StoreError::Damaged(format!("record {key}"))),
        }
    }

    fn join(&self, key: &str, count: u16) -> Result<Vec<u8>, StoreError> {
        let mut value = Vec::new();
        let mut found = 0;
        let length = chunk(key, 0).len();
        for pair in self.db.range(chunk(key, 0)..chunk(key, count)) {
            let (name, part) = pair.map_err(from_sled)?;
            // The range also contains chunks of longer keys that begin with this one.
            if name.len() == length {
                value.extend_from_slice(record::open(key, &part)?);
                found += 1;
            }
        }
        if found != count {
            return Err(StoreError::Damaged(format!("record {key}")));
        }
        Ok(value)
    }

    /// Returns about the length of the mirrored records in a mirror.
    pub(super) fn mirrored_length(&self) -> u64 {
        self.mirrored_length.load(Relaxed)
    }

    /// Returns the number of chunks of a value, and about its length; `None` if the key does not
    /// exist.
    fn chunks_of(&self, key: &str) -> Result<Option<(u16, usize)>, StoreError> {
        let Some(entry) = self.db.get(key).map_err(from_sled)? else {
            return Ok(None);
        };
        Ok(Some(match record::open(key, &entry) {
            Ok([CHUNKED, low, high]) => {
                let count = u16::from_le_bytes([*low, *high]);
                (count, usize::from(count) * CHUNK)
            }
            _ => (0, entry.len()),
        }))
    }

    fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        let _one = write(&self.writing);
        let can_wait = batch.ops.iter().all(|(key, _)| self.areas.is_lazy(key));
        let mut ops = Vec::with_capacity(batch.ops.len());
        let (mut added, mut removed) = (0, 0);
        let (mut longer, mut shorter) = (0, 0);
        for (key, value) in batch.ops {
            let had = self.chunks_of(&key)?;
            let mut has = 0;

            if self.areas.is_mirrored(&key) {
                added += u64::from(had.is_none() && value.is_some());
                removed += u64::from(had.is_some() && value.is_none());
                let sum = |value: usize| (key.len() + value) as u64;
                longer += value.as_ref().map_or(0, |value| sum(value.len()));
                shorter += had.map_or(0, |(_chunks, value)| sum(value));
            }

            match value {
                // The key does not exist: nothing has to be removed.
                None if had.is_none() => {}
                None => ops.push((key.clone(), None)),
                Some(value) if !self.areas.is_chunked(&key, &value) => {
                    let mut entry = Vec::with_capacity(1 + value.len());
                    entry.push(WHOLE);
                    entry.extend_from_slice(&value);
                    ops.push((key.clone(), Some(record::seal(&entry))));
                }
                Some(value) => {
                    for part in value.chunks(CHUNK) {
                        ops.push((chunk(&key, has), Some(record::seal(part))));
                        has += 1;
                    }
                    let [low, high] = has.to_le_bytes();
                    ops.push((key.clone(), Some(record::seal(&[CHUNKED, low, high]))));
                }
            }

            // Chunks that a longer value left.
            for number in has..had.map_or(0, |(chunks, _length)| chunks) {
                ops.push((chunk(&key, number), None));
            }
        }

        if ops.is_empty() {
            return Ok(());
        }
        self.put(ops).map_err(from_sled)?;
        self.mirrored.fetch_add(added, Relaxed);
        self.mirrored.fetch_sub(removed, Relaxed);
        let length = (self.mirrored_length() + longer).saturating_sub(shorter);
        self.mirrored_length.store(length, Relaxed);
        if can_wait { Ok(()) } else { self.sync() }
    }

    #[cfg(test)]
    pub(super) fn insert_as_it_is(&self, key: &str, entry: Vec<u8>) {
        self.db.insert(key, entry).expect("inserted");
    }

    /// Writes all changes or none. A batch costs one more block on the disk, for its mark; a single
    /// change needs no mark.
    fn put(&self, mut ops: Vec<(String, Option<Vec<u8>>)>) -> ::sled::Result<()> {
        if ops.len() == 1
            && let Some((key, value)) = ops.pop()
        {
            return match value {
                Some(value) => self.db.insert(key, value).map(drop),
                None => self.db.remove(key).map(drop),
            };
        }

        let mut batch = ::sled::Batch::default();
        for (key, value) in ops {
            match value {
                Some(value) => batch.insert(key.as_bytes(), value),
                None => batch.remove(key.as_bytes()),
            }
        }
        self.db.apply_batch(batch)
    }
}

impl Store for Sled {
    /// sled frees replaced entries only while it is used: every 128th operation frees some of them.
    /// If it is idle after many commits, it keeps them all.
    fn trim_memory(&self) {
        const USES: usize = 32 * 1024;
        for _ in 0..USES {
            if self.db.contains_key("").is_err() {
                return;
            }
        }
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let entry = self.db.get(key).map_err(from_sled)?;
        entry.map_or(Ok(None), |entry| self.read(key, &entry))
    }

    fn scan(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let mut found = Vec::new();
        for pair in self.db.scan_prefix(prefix) {
            let (key, entry) = pair.map_err(from_sled)?;
            let key = std::str::from_utf8(&key)
                .map_err(|_bad| StoreError::Damaged("a key".to_owned()))?;
            if !key.starts_with(OWN)
                && let Some(value) = self.read(key, &entry)?
            {
                found.push((key.to_owned(), value));
            }
        }
        Ok(found)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        super::check(&batch)?;
        self.caught(|| self.apply(batch))
    }
}

fn parse_mark(bytes: &[u8]) -> Option<Mark> {
    let (generation, rest) = bytes.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let place = Place {
        generation: u32::from_le_bytes(*generation),
        offset: u64::from_le_bytes(*offset),
    };
    Some(Mark {
        place,
        records: u64::from_le_bytes(rest.try_into().ok()?),
    })
}

fn chunk(key: &str, number: u16) -> String {
    format!("{CHUNKS}{key}/{number:05}")
}

/// sled reports the error of its lock as text inside an error of another kind.
fn is_locked(error: &std::io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

fn from_sled(error: ::sled::Error) -> StoreError {
    match error {
        ::sled::Error::Io(error) => from_io(&error),
        ::sled::Error::Corruption { .. } => StoreError::Damaged("the database".to_owned()),
        // sled reports "unsupported" for files that it no longer recognises as its own.
        other => StoreError::Damaged(other.to_string()),
    }
}

fn from_io(error: &std::io::Error) -> StoreError {
    super::from_io(error)
}
