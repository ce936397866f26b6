use super::*;
use crate::{
    app::start::state::AREAS,
    store::mirror::{Place, encode, encode_base, read},
};

type Op<'a> = (&'a str, Option<&'a str>);

/// Returns the bytes of a second mirror: a compaction, then batches.
fn mirror(base: &[(&str, &str)], batches: &[&[Op<'_>]]) -> Vec<u8> {
    let base: Vec<_> = base
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
        .collect();
    let mut bytes = encode_base(2, &base);
    for batch in batches {
        let batch: Vec<_> = batch
            .iter()
            .map(|(key, value)| {
                (
                    (*key).to_owned(),
                    value.map(|value| value.as_bytes().to_vec()),
                )
            })
            .collect();
        encode(&mut bytes, 2, &batch);
    }
    bytes
}

fn records(of: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    of.iter()
        .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
        .collect()
}

fn mark(generation: u32, offset: usize, records: u64) -> Option<Mark> {
    let place = Place {
        generation,
        offset: offset as u64,
    };
    Some(Mark { place, records })
}

fn pending(found: &Reconciled) -> Vec<Op<'_>> {
    let pending = found.pending.iter();
    let text = |value: &'_ Option<Vec<u8>>| {
        let value = value.as_deref()?;
        Some(str::from_utf8(value).unwrap().to_owned().leak() as &str)
    };
    pending.map(|(key, value)| (&**key, text(value))).collect()
}

#[test]
fn what_came_after_the_mark_is_pending_and_not_restored() {
    let before = mirror(&[("a", "1"), ("b", "1"), ("c", "1")], &[]).len();
    let bytes = mirror(
        &[("a", "1"), ("b", "1"), ("c", "1")],
        &[&[("a", Some("2")), ("b", None)], &[("d", Some("1"))]],
    );
    // The second is as after a power cut between a compaction and its mark.
    for mark in [mark(2, before, 3), mark(1, 99, 3)] {
        let had = records(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let found = reconcile(AREAS, &had, mark, read(&bytes));
        let expected = [("a", Some("2")), ("b", None), ("d", Some("1"))];
        assert_eq!(pending(&found), expected);
        assert_eq!((found.restored, found.is_mirror_lacking), (0, false));
    }
}

#[test]
fn what_the_database_has_lost_is_restored() {
    let bytes = mirror(&[("a", "1"), ("b", "1")], &[&[("a", Some("2"))]]);
    let had = records(&[("a", "1"), ("old", "1"), ("acme/job/a", "not mirrored")]);
    let found = reconcile(AREAS, &had, mark(2, bytes.len(), 2), read(&bytes));
    assert_eq!(
        pending(&found),
        [("a", Some("2")), ("b", Some("1")), ("old", None)]
    );
    assert_eq!((found.restored, found.is_mirror_lacking), (3, false));
}

#[test]
fn of_a_damaged_mirror_only_the_end_wins() {
    let base = [("a", "1"), ("b", "1"), ("gone", "1")];
    let first: &[Op<'_>] = &[("gone", None), ("b", Some("2"))];
    let second: &[Op<'_>] = &[("a", Some("3"))];
    let after_first = mirror(&base, &[first]).len();
    let whole = mirror(&base, &[first, second, &[("z", Some("1"))]]);

    // The deletion is not readable.
    let mut bytes = whole.clone();
    bytes[mirror(&base, &[]).len() + 10] ^= 1;
    let had = [("a", "1"), ("b", "2")];
    let found = reconcile(AREAS, &records(&had), mark(2, after_first, 2), read(&bytes));
    assert_eq!(pending(&found), [("a", Some("3")), ("z", Some("1"))]);
    assert!(found.is_mirror_lacking);

    // A database that has lost a record, too, gets what there is.
    let found = reconcile(
        AREAS,
        &records(&had[1..]),
        mark(2, after_first, 2),
        read(&bytes),
    );
    assert!(pending(&found).contains(&("gone", Some("1"))));

    // Between a compaction and its mark: the database is not older than the compaction.
    let mut bytes = whole;
    bytes[mirror(&base, &[first]).len() + 10] ^= 1;
    let had = records(&[("a", "2"), ("b", "1"), ("gone", "1")]);
    let found = reconcile(AREAS, &had, mark(1, 99, 3), read(&bytes));
    assert_eq!(
        pending(&found),
        [("b", Some("2")), ("gone", None), ("z", Some("1"))]
    );
}

#[test]
fn an_older_mirror_changes_nothing() {
    let bytes = mirror(&[("a", "old"), ("gone", "1")], &[&[("x", Some("old"))]]);
    let had = records(&[("a", "new"), ("b", "1")]);
    for bytes in [&bytes[..], &[]] {
        let found = reconcile(AREAS, &had, mark(3, 0, 2), read(bytes));
        assert_eq!(pending(&found), []);
        assert_eq!((found.restored, found.is_mirror_lacking), (0, true));
    }
}

#[test]
fn a_batch_that_was_not_written_whole_is_left_out() {
    let base = [("a", "1")];
    let batch: &[Op<'_>] = &[("a", Some("2")), ("b", Some("2")), ("c", Some("2"))];
    let (start, whole) = (mirror(&base, &[]).len(), mirror(&base, &[batch]));
    assert_eq!(read(&whole).into_live().len(), 3);

    let is_left_out = |bytes: &[u8]| {
        let contents = read(bytes);
        assert_eq!(contents.end, start as u64);
        assert_eq!(contents.condition, Condition::Torn);
        assert!(contents.is_complete(mark(2, start, 1).map(|mark| mark.place)));
        assert_eq!(contents.into_live()["a"], b"1");
    };
    for at in start + 1..whole.len() {
        is_left_out(&whole[..at]);
        let mut bytes = whole.clone();
        bytes[at..].fill(0);
        is_left_out(&bytes);
        let mut bytes = whole.clone();
        bytes[start..=at].fill(0);
        let contents = read(&bytes);
        assert_eq!(contents.into_live().len(), 1, "{at}");
    }

    // What an older file left in the same place on the disk.
    let mut bytes = whole[..start].to_vec();
    encode(&mut bytes, 1, &[("a".to_owned(), Some(b"stale".to_vec()))]);
    is_left_out(&bytes);
}
