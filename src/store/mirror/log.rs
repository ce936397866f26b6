//! The bytes of the mirror: records in batches, and how they are read although some are damaged.
//!
//! A record says to which file and to which batch it belongs. So a batch of which the end was not
//! written is told from one that was written whole and then damaged: nothing follows the former.

use std::collections::BTreeMap;

/// Begins each record, so that reading can resume after a damaged one.
const MAGIC: [u8; 4] = *b"gtm2";
/// Begins the records of older releases, which have neither generation nor batch.
const OLD_MAGIC: [u8; 4] = *b"gtm1";
/// Magic, checksum, flags, length of key, length of value; then generation and distance from the
/// begin of the batch.
const OLD_HEAD: usize = 4 + 4 + 1 + 2 + 4;
const HEAD: usize = OLD_HEAD + 4 + 4;

/// Flags of a record: it sets the key, its batch goes on, it was written by a compaction.
const PUT: u8 = 1;
const MORE: u8 = 2;
const BASE: u8 = 4;

/// The key of the record that begins a file. Its value is the length of the part that the
/// compaction wrote.
const HEADER: &str = "\u{1}base";

/// A place in the mirrors that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Place {
    /// The number of the file. Each compaction begins another one.
    pub(in crate::store) generation: u32,
    /// The number of bytes before the place.
    pub(in crate::store) offset: u64,
}

/// The state of the database as of the last time that it got all that the mirror had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Mark {
    /// The end of the mirror at that time.
    pub(in crate::store) place: Place,
    /// The number of mirrored records in the database.
    pub(in crate::store) records: u64,
}

/// The last change of a key.
#[derive(Debug)]
pub(in crate::store) struct Change {
    /// The value, or `None` if the key was deleted.
    pub(in crate::store) value: Option<Vec<u8>>,
    at: u64,
    is_base: bool,
}

/// The condition of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Condition {
    /// Every byte could be read.
    Whole,
    /// The last batch is not complete, as after a power cut. Everything before it is.
    Torn,
    /// Something before the last batch cannot be read.
    Damaged,
}

/// The readable part of a file.
#[derive(Debug)]
pub(in crate::store) struct Contents {
    pub(in crate::store) changes: BTreeMap<String, Change>,
    /// The number of the file; 0 for those of older releases, or if no record is readable.
    pub(in crate::store) generation: u32,
    /// The length of the part that the compaction wrote.
    pub(in crate::store) base: u64,
    /// The end of the last batch that is complete.
    pub(in crate::store) end: u64,
    pub(in crate::store) condition: Condition,
}

impl Contents {
    /// Reports whether the file has every change up to its end, at least to `mark`.
    pub(in crate::store) fn is_complete(&self, mark: Option<Place>) -> bool {
        let reaches = match mark {
            Some(mark) if self.generation == mark.generation => self.end >= mark.offset,
            Some(mark) => self.generation > mark.generation,
            None => true,
        };
        self.condition != Condition::Damaged
            && self.generation > 0
            && self.end >= self.base
            && reaches
    }

    /// Reports whether a change was made after `mark`.
    pub(in crate::store) fn is_after(&self, change: &Change, mark: Place) -> bool {
        match self.generation.cmp(&mark.generation) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => change.at >= mark.offset,
            // The database had everything before the compaction began.
            std::cmp::Ordering::Greater => !change.is_base,
        }
    }

    /// Returns the keys that exist, and their values.
    pub(in crate::store) fn live(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        let changes = self.changes.iter();
        changes.filter_map(|(key, change)| Some((key, change.value.as_ref()?)))
    }

    /// Returns the values of the keys that exist.
    pub(in crate::store) fn into_live(self) -> BTreeMap<String, Vec<u8>> {
        self.changes
            .into_iter()
            .filter_map(|(key, change)| Some((key, change.value?)))
            .collect()
    }
}

/// Appends the records of one batch.
pub(in crate::store) fn encode(
    out: &mut Vec<u8>,
    generation: u32,
    ops: &[(String, Option<Vec<u8>>)],
) {
    let start = out.len();
    for (number, (key, value)) in ops.iter().enumerate() {
        let more = if number + 1 < ops.len() { MORE } else { 0 };
        let back = out.len() - start;
        write(out, generation, more, back, (key, value.as_deref()));
    }
}

/// Returns the bytes of a file that holds these records.
pub(in crate::store) fn encode_base(generation: u32, live: &[(String, Vec<u8>)]) -> Vec<u8> {
    let lengths = live.iter().map(|(key, value)| length(key, value));
    let base = (HEAD + HEADER.len() + size_of::<u64>()) as u64 + lengths.sum::<u64>();

    let mut out = Vec::with_capacity(usize::try_from(base).unwrap_or_default());
    let header = (HEADER, Some(&base.to_le_bytes()[..]));
    write(&mut out, generation, BASE, 0, header);
    for (key, value) in live {
        write(&mut out, generation, BASE, 0, (key, Some(value)));
    }
    out
}

/// Returns the length of a record.
pub(in crate::store) fn length(key: &str, value: &[u8]) -> u64 {
    (HEAD + key.len() + value.len()) as u64
}

fn write(
    out: &mut Vec<u8>,
    generation: u32,
    flags: u8,
    back: usize,
    (key, value): (&str, Option<&[u8]>),
) {
    let bytes = value.unwrap_or_default();
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.push(flags | if value.is_some() { PUT } else { 0 });
    out.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&generation.to_le_bytes());
    out.extend_from_slice(&u32::try_from(back).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(bytes);

    let sum = crc32fast::hash(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
}

/// A record as it was read.
struct Record {
    key: String,
    value: Option<Vec<u8>>,
    flags: u8,
    generation: u32,
    back: u64,
    length: usize,
}

fn parse(rest: &[u8]) -> Option<Record> {
    let head = match rest.get(..4)? {
        magic if magic == MAGIC => HEAD,
        magic if magic == OLD_MAGIC => OLD_HEAD,
        _ => return None,
    };
    let number = |at: usize| Some(u32::from_le_bytes(rest.get(at..at + 4)?.try_into().ok()?));
    let sum = number(4)?;
    let flags = *rest.get(8)?;
    let key_length = usize::from(u16::from_le_bytes(rest.get(9..11)?.try_into().ok()?));
    let value_length = number(11)? as usize;
    let length = head.checked_add(key_length)?.checked_add(value_length)?;

    if crc32fast::hash(rest.get(8..length)?) != sum {
        return None;
    }

    let (generation, back) = match head {
        HEAD => (number(15)?, number(19)?),
        _ => (0, 0),
    };
    let key = std::str::from_utf8(&rest[head..head + key_length]).ok()?;
    let value = (flags & PUT != 0).then(|| rest[head + key_length..length].to_vec());
    Some(Record {
        key: key.to_owned(),
        value,
        flags,
        generation,
        back: back.into(),
        length,
    })
}

/// The records of one batch, as far as they are readable.
#[derive(Default)]
struct Batch {
    start: u64,
    end: u64,
    has_end: bool,
    records: Vec<(String, Change)>,
}

/// Reads a file: the last change of every key, without damaged records and without a batch at the
/// end that is not complete.
pub(in crate::store) fn read(bytes: &[u8]) -> Contents {
    let mut found = Contents {
        changes: BTreeMap::new(),
        generation: 0,
        base: 0,
        end: 0,
        condition: Condition::Whole,
    };
    let mut batch = Batch::default();
    // The first and the last unreadable byte, and the first one within or after the last batch.
    let (mut damage, mut last_damage, mut damage_of_last) = (None::<u64>, None::<u64>, None);
    let (mut at, mut is_first) = (0, true);

    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let here = at as u64;
        let record = parse(rest).filter(|record| {
            let start = here.saturating_sub(record.back);
            // A record of another file is what was on the disk before.
            (is_first || record.generation == found.generation)
                && (start == batch.start || start >= batch.end)
        });
        let Some(record) = record else {
            damage.get_or_insert(here);
            damage_of_last.get_or_insert(here);
            last_damage = Some(here);
            at += 1;
            continue;
        };

        (is_first, found.generation) = (false, record.generation);
        at += record.length;

        let start = here.saturating_sub(record.back);
        if start != batch.start {
            // Another batch follows only one that was written whole: if its end is missing, it was
            // lost since then.
            if !batch.has_end {
                damage.get_or_insert(batch.start);
            }
            found.changes.extend(std::mem::take(&mut batch.records));
            batch.start = start;
            damage_of_last = last_damage.filter(|damage| *damage >= start);
        }

        let is_base = record.flags & BASE != 0;
        if is_base && record.key == HEADER {
            let base = record.value.and_then(|value| value.try_into().ok());
            found.base = base.map_or(u64::MAX, u64::from_le_bytes);
        } else {
            let value = record.value;
            let change = Change {
                value,
                at: here,
                is_base,
            };
            batch.records.push((record.key, change));
        }
        (batch.end, batch.has_end) = (at as u64, record.flags & MORE == 0);
    }

    let is_complete = batch.has_end && damage_of_last.is_none_or(|damage| damage >= batch.end);
    found.end = if is_complete { batch.end } else { batch.start };
    if is_complete {
        found.changes.extend(batch.records);
    }
    found.condition = match damage {
        Some(damage) if damage < batch.start => Condition::Damaged,
        None if is_complete || bytes.is_empty() => Condition::Whole,
        _ => Condition::Torn,
    };
    found
}
