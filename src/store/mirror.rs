//! The mirror: a plain append-only file with every record that cannot be restored otherwise.
//! sled can become unopenable by one flipped byte; this file loses the record with the flipped byte
//! and no other.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{StoreError, from_io};

/// Begins each record, so that reading can resume after a damaged one.
const MAGIC: [u8; 4] = *b"gtm1";
/// Magic, checksum, kind, length of key, length of value.
const HEAD: usize = 4 + 4 + 1 + 2 + 4;
/// The file is compacted when it is larger than this and than four times its live records.
const SMALL: u64 = 1024 * 1024;

/// The open file.
#[derive(Debug)]
pub(super) struct Mirror {
    path: PathBuf,
    file: File,
    size: u64,
    live: u64,
    whole: bool,
}

impl Mirror {
    /// Opens or creates the mirror and returns its records.
    pub(super) fn open(path: &Path) -> Result<(Self, BTreeMap<String, Vec<u8>>), StoreError> {
        let mut bytes = Vec::new();

        match File::open(path) {
            Ok(mut file) => drop(
                file.read_to_end(&mut bytes)
                    .map_err(|error| from_io(&error))?,
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(from_io(&error)),
        }

        let (live, whole) = read(&bytes);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path);
        let file = file.map_err(|error| from_io(&error))?;

        let sum = live
            .iter()
            .map(|(key, value)| (HEAD + key.len() + value.len()) as u64)
            .sum();

        Ok((
            Self {
                path: path.to_owned(),
                file,
                size: bytes.len() as u64,
                live: sum,
                whole,
            },
            live,
        ))
    }

    /// Returns the readable records of a mirror, for a directory that cannot be written.
    pub(super) fn read(path: &Path) -> BTreeMap<String, Vec<u8>> {
        fs::read(path)
            .map(|bytes| read(&bytes).0)
            .unwrap_or_default()
    }

    /// Reports whether every record was readable. If not, a value in it may be out of date.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Appends changes and waits until they are on the disk.
    pub(super) fn append(&mut self, ops: &[(String, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        for (key, value) in ops {
            write(&mut bytes, key, value.as_deref());
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let written = self
            .file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data());
        self.size += bytes.len() as u64;
        written.map_err(|error| from_io(&error))
    }

    /// Reports whether so much of the file is out of date that it should be compacted.
    pub(super) fn is_stale(&self) -> bool {
        self.size > SMALL && self.size > self.live.saturating_mul(4)
    }

    /// Replaces the file with one that holds only the live records.
    pub(super) fn compact(&mut self, live: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        for (key, value) in live {
            write(&mut bytes, key, Some(value));
        }

        let next = self.path.with_extension("next");
        replace(&next, &self.path, &bytes).map_err(|error| from_io(&error))?;
        self.file = OpenOptions::new()
            .append(true)
            .open(&self.path)
            .map_err(|error| from_io(&error))?;

        (self.size, self.live) = (bytes.len() as u64, bytes.len() as u64);
        self.whole = true;
        Ok(())
    }
}

fn replace(next: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = super::private(next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(next, path)?;
    path.parent()
        .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

pub(super) fn write(out: &mut Vec<u8>, key: &str, value: Option<&[u8]>) {
    let bytes = value.unwrap_or_default();
    let mut rest = vec![u8::from(value.is_some())];
    rest.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
    rest.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    rest.extend_from_slice(key.as_bytes());
    rest.extend_from_slice(bytes);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&crc32fast::hash(&rest).to_le_bytes());
    out.extend_from_slice(&rest);
}

/// Returns the newest value of every key and skips damaged records; false if there were any.
pub(super) fn read(bytes: &[u8]) -> (BTreeMap<String, Vec<u8>>, bool) {
    let mut live = BTreeMap::new();
    let mut at = 0;
    let mut whole = true;

    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= HEAD) {
        match parse(rest) {
            Some((key, value, length)) => {
                match value {
                    Some(value) => drop(live.insert(key, value)),
                    None => drop(live.remove(&key)),
                }
                at += length;
            }
            None => {
                whole = false;
                at += 1;
            }
        }
    }

    // A torn record at the end may be shorter than its head.
    (live, whole && at == bytes.len())
}

fn parse(rest: &[u8]) -> Option<(String, Option<Vec<u8>>, usize)> {
    if rest[..4] != MAGIC {
        return None;
    }
    let sum = u32::from_le_bytes(rest[4..8].try_into().ok()?);
    let key_length = usize::from(u16::from_le_bytes(rest[9..11].try_into().ok()?));
    let value_length = u32::from_le_bytes(rest[11..15].try_into().ok()?) as usize;
    let length = HEAD.checked_add(key_length)?.checked_add(value_length)?;

    let whole = rest.get(8..length)?;
    if crc32fast::hash(whole) != sum {
        return None;
    }

    let key = std::str::from_utf8(&rest[HEAD..HEAD + key_length])
        .ok()?
        .to_owned();
    let value = (rest[8] == 1).then(|| rest[HEAD + key_length..length].to_vec());
    Some((key, value, length))
}
