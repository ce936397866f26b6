//! The form of a value in the store: a version, a checksum, the bytes. The checksum shows damage.

use super::StoreError;

const VERSION: u8 = 1;
const HEAD: usize = 5;

/// Returns the bytes behind a version and a checksum.
pub(super) fn seal(value: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEAD + value.len());
    record.push(VERSION);
    record.extend_from_slice(&crc32fast::hash(value).to_le_bytes());
    record.extend_from_slice(value);
    record
}

/// Returns the bytes of a record, or an error if it is damaged.
pub(super) fn open<'a>(key: &str, record: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let damaged = || StoreError::Damaged(format!("record {key}"));
    let (head, value) = record.split_at_checked(HEAD).ok_or_else(damaged)?;
    let sum = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    if head[0] != VERSION || sum != crc32fast::hash(value) {
        return Err(damaged());
    }
    Ok(value)
}
