//! The records that opening has read, for those that scan them next: reading them from the database
//! once more takes as long as opening did.

use std::sync::Mutex;

use crate::util::sync::lock;

/// The records of the database in order of their keys, as of the opening, until it changes.
#[derive(Debug)]
pub(super) struct Opened(Mutex<Option<Records>>);

struct Records {
    records: Vec<(String, Vec<u8>)>,
    /// The prefixes of those that were taken.
    taken: Vec<Box<str>>,
}

impl Opened {
    /// Holds these records, which are in order of their keys. None of them stand for nothing known.
    pub(super) fn new(records: Vec<(String, Vec<u8>)>) -> Self {
        let records = (!records.is_empty()).then_some(Records {
            records,
            taken: Vec::new(),
        });
        Self(Mutex::new(records))
    }

    /// Returns all records whose keys begin with a prefix, and keeps them no longer. `None` if they
    /// are not known.
    pub(super) fn take(&self, prefix: &str) -> Option<Vec<(String, Vec<u8>)>> {
        let mut opened = lock(&self.0);
        let Records { records, taken } = opened.as_mut()?;
        let overlaps = |one: &str| one.starts_with(prefix) || prefix.starts_with(one);
        if taken.iter().any(|one| overlaps(one)) {
            return None;
        }

        taken.push(prefix.into());
        let start = records.partition_point(|(key, _)| **key < *prefix);
        let rest = &records[start..];
        let length = rest.partition_point(|(key, _)| key.starts_with(prefix));
        Some(records.drain(start..start + length).collect())
    }

    /// Forgets the records: the database changes.
    pub(super) fn forget(&self) {
        *lock(&self.0) = None;
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be private keys: never printed.
        f.debug_struct("Records")
            .field("count", &self.records.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> Opened {
        let keys = ["a", "b/", "b/1", "b/2", "b0", "c"];
        Opened::new(keys.map(|key| (key.to_owned(), Vec::new())).into())
    }

    fn keys(records: Option<Vec<(String, Vec<u8>)>>) -> Option<Vec<String>> {
        Some(records?.into_iter().map(|(key, _value)| key).collect())
    }

    #[test]
    fn records_are_taken_once_by_prefix() {
        let opened = opened();
        let taken = keys(opened.take("b/"));
        assert_eq!(taken, Some(["b/", "b/1", "b/2"].map(str::to_owned).into()));
        assert_eq!(keys(opened.take("c")), Some(vec!["c".to_owned()]));
        assert_eq!(keys(opened.take("d")), Some(Vec::new()));
        for overlapping in ["b/", "b/1", "b", ""] {
            assert_eq!(keys(opened.take(overlapping)), None, "{overlapping:?}");
        }
    }

    #[test]
    fn records_of_a_changed_database_are_not_known() {
        let opened = opened();
        opened.forget();
        assert_eq!(keys(opened.take("a")), None);
        assert_eq!(keys(Opened::new(Vec::new()).take("a")), None);
    }
}
