//! Decides at the start what the database has to get from the mirror: what came after the last
//! mark, and what it has lost.
//!
//! - A mirror that is complete is right in everything: it is synced before a write is acknowledged.
//! - If it is not, the database is right up to its mark, and after it what the mirror still has.
//! - Without a mark, each may have what the other lacks: the state of an older release, or a
//!   database that is new because it was lost or damaged.

use std::collections::BTreeMap;

use super::{
    area::Areas,
    mirror::{Condition, Contents, Mark},
};

/// Changes of keys: a value, or `None` if the key is deleted.
pub(super) type Changes = BTreeMap<String, Option<Vec<u8>>>;

/// The result of a comparison.
#[derive(Debug)]
pub(super) struct Reconciled {
    /// The changes that the database does not have.
    pub(super) pending: Changes,
    /// The number of those that it should have had: it has lost them.
    pub(super) restored: usize,
    /// The mirror cannot go on as it is: it has to be written from the database.
    pub(super) is_mirror_lacking: bool,
}

/// Compares the records of the database with the mirror.
pub(super) fn reconcile(
    areas: Areas,
    records: &[(String, Vec<u8>)],
    mark: Option<Mark>,
    contents: Contents,
) -> Reconciled {
    let live = records.iter().filter(|(key, _)| areas.is_mirrored(key));

    match mark {
        _ if contents.is_complete(mark.map(|mark| mark.place)) => follow(live, mark, contents),
        Some(mark) => merge(&by_key(live), mark, contents),
        None => unite(&by_key(live), contents),
    }
}

fn by_key<'a>(
    records: impl Iterator<Item = &'a (String, Vec<u8>)>,
) -> BTreeMap<&'a str, &'a Vec<u8>> {
    records.map(|(key, value)| (&**key, value)).collect()
}

/// Brings the database to the state of a complete mirror. Both are in the order of their keys.
fn follow<'a>(
    live: impl Iterator<Item = &'a (String, Vec<u8>)>,
    mark: Option<Mark>,
    mut contents: Contents,
) -> Reconciled {
    let (mut pending, mut restored) = (Changes::new(), 0);
    let mut live = live.peekable();

    for (key, change) in std::mem::take(&mut contents.changes) {
        // The database has lost the deletion of those that it has by itself.
        while let Some((lost, _)) = live.next_if(|(before, _)| *before < key) {
            restored += 1;
            pending.insert(lost.clone(), None);
        }

        let had = live.next_if(|(same, _)| *same == key);
        let is_new = mark.is_some_and(|mark| contents.is_after(&change, mark.place));
        if had.map(|(_, value)| value) != change.value.as_ref() {
            restored += usize::from(!is_new);
            pending.insert(key, change.value);
        }
    }

    for (lost, _) in live {
        restored += 1;
        pending.insert(lost.clone(), None);
    }

    Reconciled {
        pending,
        restored,
        is_mirror_lacking: false,
    }
}

/// Adds the changes after the mark to the database, from a mirror that has lost some.
fn merge(live: &BTreeMap<&str, &Vec<u8>>, mark: Mark, mut contents: Contents) -> Reconciled {
    let (mut pending, mut restored) = (Changes::new(), 0);
    // A key that the database does not have was deleted, unless the database has lost records too.
    let is_database_lacking =
        live.len() as u64 != mark.records || contents.generation > mark.place.generation;

    for (key, change) in std::mem::take(&mut contents.changes) {
        let had = live.get(&*key).copied();
        if contents.is_after(&change, mark.place) {
            if had != change.value.as_ref() {
                pending.insert(key, change.value);
            }
        } else if is_database_lacking && had.is_none() && change.value.is_some() {
            restored += 1;
            pending.insert(key, change.value);
        }
    }

    Reconciled {
        pending,
        restored,
        is_mirror_lacking: true,
    }
}

/// Adds what the database lacks from a mirror, neither of which is known to be complete.
fn unite(live: &BTreeMap<&str, &Vec<u8>>, contents: Contents) -> Reconciled {
    // A mirror with damaged records may have lost the newest value of a key.
    let is_whole = contents.condition == Condition::Whole;
    let pending: Changes = contents
        .into_live()
        .into_iter()
        .filter(|(key, value)| {
            live.get(&**key)
                .is_none_or(|same| is_whole && *same != value)
        })
        .map(|(key, value)| (key, Some(value)))
        .collect();

    Reconciled {
        restored: pending.len(),
        pending,
        is_mirror_lacking: true,
    }
}

#[cfg(test)]
mod tests;
