use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use super::*;
use crate::app::start::state::AREAS;

mod power;

/// A directory that is removed with the test.
pub(super) struct Dir(pub(super) PathBuf);

impl Dir {
    pub(super) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("gatelet-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn opened(dir: &Dir) -> (std::sync::Arc<dyn Store>, Health) {
    open(&dir.0, AREAS).expect("not in use")
}

#[test]
fn what_is_committed_is_there_after_opening_again() {
    let dir = Dir::new("again");
    let large: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    {
        let (store, health) = opened(&dir);
        assert_eq!(health, Health::Good);
        store
            .commit(
                Batch::new()
                    .put("a/1", "one")
                    .put("a/2", large.clone())
                    .put("b/1", "x"),
            )
            .expect("stored");
        store
            .commit(Batch::new().delete("b/1").put("a/3", ""))
            .expect("stored");
    }

    let (store, health) = opened(&dir);
    assert_eq!(health, Health::Good);
    assert_eq!(
        store.get("a/2").expect("readable").as_deref(),
        Some(&*large)
    );
    let keys: Vec<String> = store
        .scan("a/")
        .expect("readable")
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, ["a/1", "a/2", "a/3"]);
    assert_eq!(store.get("b/1").expect("readable"), None);
    assert_eq!(
        store.scan("").expect("readable").len(),
        3,
        "chunks are not keys"
    );
}

#[test]
fn a_large_value_that_shrinks_leaves_no_chunks_behind() {
    let dir = Dir::new("shrink");
    let (store, _nothing) = sled::Sled::open(&dir.0, AREAS).expect("opens");
    for size in [300_000, 100_000, 10, 70_000, 0] {
        store
            .commit(Batch::new().put("k", vec![7; size]))
            .expect("stored");
        assert_eq!(
            store.get("k").expect("readable").map(|value| value.len()),
            Some(size)
        );
    }
}

#[test]
fn certificates_are_chunked_and_older_forms_are_read() {
    let dir = Dir::new("pieces");
    let (key, long) = ("acme/certificate/a", vec![3; 1_300]);
    let (store, _nothing) = sled::Sled::open(&dir.0, AREAS).expect("opens");
    let mut before = vec![0];
    before.extend_from_slice(&long);
    store.insert_as_it_is(key, record::seal(&before));
    assert_eq!(store.get(key).expect("readable").as_deref(), Some(&*long));
    for value in [&long[..], b"short", &long] {
        store
            .commit(
                Batch::new()
                    .put(key, value)
                    .put(format!("{key}/00000"), "another"),
            )
            .expect("stored");
        assert_eq!(store.get(key).expect("readable").as_deref(), Some(value));
        assert_eq!(store.scan("").expect("readable").len(), 2);
    }
}

#[test]
fn replaceable_records_are_not_mirrored_nor_restored() {
    let dir = Dir::new("replaceable");
    {
        let (store, _) = opened(&dir);
        let batch = Batch::new()
            .put("acme/job/a", "order")
            .put("acme/suggestion/a", "when")
            .put("acme/account/a", "key");
        store.commit(batch).expect("stored");
        store
            .commit(Batch::new().delete("acme/job/a"))
            .expect("stored");
        store
            .commit(Batch::new().put("acme/suggestion/b", "last"))
            .expect("stored");
    }

    let path = dir.0.join("mirror");
    let (mut mirror, kept) = mirror::Mirror::open(&path).expect("opens");
    assert_eq!(
        kept.into_live().into_keys().collect::<Vec<_>>(),
        ["acme/account/a"]
    );
    mirror
        .append(&[("acme/job/a".to_owned(), Some(b"of an older one".to_vec()))])
        .expect("written");

    let (store, health) = opened(&dir);
    assert_eq!(health, Health::Good);
    assert_eq!(store.get("acme/job/a").expect("readable"), None);
    assert_eq!(
        store.get("acme/suggestion/a").expect("readable").as_deref(),
        Some(&b"when"[..])
    );
    assert_eq!(
        store.get("acme/suggestion/b").expect("readable").as_deref(),
        Some(&b"last"[..]),
        "a stop keeps it"
    );
}

#[test]
fn a_directory_in_use_is_refused_by_name() {
    let dir = Dir::new("busy");
    let (_store, _) = opened(&dir);
    let error = open(&dir.0, AREAS).expect_err("in use").to_string();
    assert!(
        error.contains(&dir.0.display().to_string()) && error.contains("--state"),
        "{error}"
    );
}

#[test]
fn a_damaged_database_is_set_aside_and_filled_from_the_mirror() {
    let dir = Dir::new("damaged");
    {
        let (store, _) = opened(&dir);
        store
            .commit(Batch::new().put("ca/key", "secret").put("cache/x", "again"))
            .expect("stored");
    }

    let file = dir.0.join("store/db");
    let mut bytes = fs::read(&file).expect("sled's file");
    let length = bytes.len();
    for byte in &mut bytes[length / 8..] {
        *byte ^= 0x5a;
    }
    fs::write(&file, &bytes).expect("damaged");
    for entry in fs::read_dir(dir.0.join("store"))
        .expect("readable")
        .flatten()
    {
        if entry.file_name().to_string_lossy().starts_with("snap") {
            fs::write(entry.path(), b"no snapshot").expect("damaged");
        }
    }

    let (store, health) = opened(&dir);
    match health {
        Health::Rebuilt { aside, records: 1 } => {
            assert!(aside.ends_with("store.damaged-1") && aside.is_dir());
        }
        Health::Repaired { records: 1 } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(
        store.get("ca/key").expect("readable").as_deref(),
        Some(&b"secret"[..])
    );
    assert_eq!(store.get("cache/x").expect("readable"), None);
}

#[test]
fn a_database_that_sled_refuses_is_set_aside() {
    let dir = Dir::new("refused");
    {
        let (store, _) = opened(&dir);
        store
            .commit(Batch::new().put("ca/key", "secret"))
            .expect("stored");
    }

    for (round, damage) in [
        &b"segment_size: nonsense"[..],
        &[0xff; 900],
        b"segment_size: x",
        &[0xff; 80],
    ]
    .iter()
    .enumerate()
    {
        fs::write(dir.0.join("store/conf"), damage).expect("damaged");
        let (store, health) = opened(&dir);
        assert!(
            matches!(&health, Health::Rebuilt { records: 1, .. }),
            "{round}: {health:?}"
        );
        assert_eq!(
            store.get("ca/key").expect("readable").as_deref(),
            Some(&b"secret"[..])
        );
    }

    let kept = fs::read_dir(&dir.0).expect("there").flatten();
    let kept = kept
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("store.damaged-")
        })
        .count();
    assert_eq!(kept, 2);
}

#[test]
fn the_mirror_loses_the_damaged_record_and_no_other() {
    let dir = Dir::new("mirror");
    fs::create_dir_all(&dir.0).expect("made");
    let path = dir.0.join("mirror");
    let (mut mirror, _) = mirror::Mirror::open(&path).expect("opens");
    for number in 0..10 {
        mirror
            .append(&[(format!("k/{number}"), Some(vec![b'v'; 100]))])
            .expect("written");
    }
    mirror.append(&[("k/3".to_owned(), None)]).expect("written");

    let whole = fs::read(&path).expect("there");
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).expect("damaged");
        let (_, contents) = mirror::Mirror::open(&path).expect("opens");
        let live = contents.into_live();
        assert!(live.len() >= 8 && live.len() <= 10, "{at}: {}", live.len());
        assert!(live.values().all(|value| *value == vec![b'v'; 100]));
    }
    fs::write(&path, &whole[..whole.len() - 40]).expect("torn");
    assert!(mirror::Mirror::read(&path).len() >= 9);
}

#[test]
fn a_disk_that_cannot_be_written_leads_to_a_store_in_memory() {
    let dir = Dir::new("file");
    fs::write(&dir.0, b"not a directory").expect("written");
    let (store, health) = opened(&dir);
    assert!(matches!(health, Health::MemoryOnly { .. }), "{health:?}");
    store.commit(Batch::new().put("a", "b")).expect("in memory");
    assert_eq!(
        store.get("a").expect("readable").as_deref(),
        Some(&b"b"[..])
    );
    fs::remove_file(&dir.0).expect("removed");
}

#[test]
fn a_damaged_mirror_is_rewritten_from_the_database() {
    let damages: [fn(&Path); 4] = [
        |path| fs::write(path, b"").expect("emptied"),
        |path| fs::write(path, [7; 5000]).expect("garbage"),
        |path| {
            let mut bytes = fs::read(path).expect("there");
            bytes.extend_from_slice(b"gtm1torn");
            fs::write(path, bytes).expect("torn");
        },
        |path| {
            fs::remove_file(path).expect("there");
            fs::create_dir(path).expect("unreadable");
        },
    ];

    for (round, damage) in damages.iter().enumerate() {
        let dir = Dir::new("mended");
        {
            let (store, _) = opened(&dir);
            store
                .commit(
                    Batch::new()
                        .put("ca/key", "secret")
                        .put("ca/certificate", "public"),
                )
                .expect("stored");
        }

        let path = dir.0.join("mirror");
        damage(&path);
        let (store, health) = opened(&dir);
        assert_eq!(health, Health::Good, "{round}");
        store.commit(Batch::new().put("more", "m")).expect("stored");
        let (_, kept) = mirror::Mirror::open(&path).expect("readable");
        assert_eq!(kept.condition, mirror::Condition::Whole);
        assert_eq!(kept.into_live().len(), 3, "{round}");
    }
}

#[test]
fn a_batch_that_lost_its_end_is_damage_and_not_a_power_cut() {
    let op = |key: &str| (key.to_owned(), Some(b"value".to_vec()));
    let (mut whole, mut lost) = (Vec::new(), Vec::new());
    mirror::encode(&mut whole, 1, &[op("a"), op("b")]);
    lost.extend_from_slice(&whole[..whole.len() / 2]);
    mirror::encode(&mut lost, 1, &[op("c")]);

    let half = mirror::read(&whole[..whole.len() / 2]);
    assert_eq!(half.condition, mirror::Condition::Torn);

    // The batch after it shows that it had an end.
    assert_eq!(mirror::read(&lost).condition, mirror::Condition::Damaged);
    lost.extend_from_slice(b"gtm2torn");
    let contents = mirror::read(&lost);
    assert_eq!(contents.condition, mirror::Condition::Damaged);
    assert_eq!(
        contents.into_live().into_keys().collect::<Vec<_>>(),
        ["a", "c"]
    );
}

#[test]
fn a_start_removes_a_batch_that_was_not_written_whole() {
    let dir = Dir::new("torn");
    {
        let (store, _) = opened(&dir);
        store.commit(Batch::new().put("a", "1")).expect("stored");
        store.commit(Batch::new().put("a", "2")).expect("stored");
    }
    // The database is that of the start, as after a power cut.
    fs::remove_dir_all(dir.0.join("store")).expect("there");
    let path = dir.0.join("mirror");
    let bytes = fs::read(&path).expect("there");
    fs::write(&path, &bytes[..bytes.len() - 1]).expect("torn");

    let read = || read_closed(&dir.0, AREAS, &SealKeys::default());
    assert!(matches!(read(), Err(ClosedError::Damaged(_))));
    drop(opened(&dir));
    let expected = [("a".to_owned(), b"1".to_vec())];
    assert_eq!(read().expect("repaired"), expected);
}

#[test]
fn a_mirror_that_only_grows_is_not_compacted() {
    let dir = Dir::new("growing");
    let (store, _) = opened(&dir);
    let generation = || {
        let bytes = fs::read(dir.0.join("mirror")).expect("there");
        mirror::read(&bytes).generation
    };
    let write = |key: String| {
        store
            .commit(Batch::new().put(key, vec![7; 100_000]))
            .expect("stored");
    };

    let first = generation();
    for number in 0..40 {
        write(format!("n/{number}"));
    }
    assert_eq!(generation(), first);
    for _ in 0..160 {
        write("n/0".to_owned());
    }
    assert_eq!(generation(), first + 1);
    assert_eq!(store.scan("n/").expect("readable").len(), 40);
}

#[test]
fn the_mirror_is_read_while_the_database_is_unusable() {
    let dir = Dir::new("unusable");
    {
        let (store, _) = opened(&dir);
        store
            .commit(Batch::new().put("ca/key", "secret").put("cache/x", "y"))
            .expect("stored");
    }
    fs::remove_file(dir.0.join("lock")).expect("there");
    fs::create_dir(dir.0.join("lock")).expect("in the way");
    let (store, health) = opened(&dir);
    assert!(
        matches!(health, Health::MemoryOnly { records: 1, .. }),
        "{health:?}"
    );
    assert_eq!(
        store.get("ca/key").expect("readable").as_deref(),
        Some(&b"secret"[..])
    );
}

#[test]
fn values_never_show_in_debug_output() {
    let batch = Batch::new().put("ca/key", "secret");
    assert!(!format!("{batch:?}").contains("secret"));
}

/// Not a test of its own: the child of the next one, which is killed while it writes.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Ok(dir) = std::env::var("GATELET_TEST_WRITER") else {
        return;
    };
    let (store, _) = open(Path::new(&dir), AREAS).expect("not in use");
    for number in 0..1_000_000_u32 {
        store
            .commit(Batch::new().put(format!("n/{number:07}"), vec![b'x'; 2000]))
            .expect("stored");
        println!("stored {number}");
    }
}

#[test]
fn every_acknowledged_write_survives_sigkill() {
    let dir = Dir::new("kill");
    let exe = std::env::current_exe().expect("this test");
    let mut acknowledged = 0;
    for round in 0..3 {
        let mut child = Command::new(&exe)
            .args([
                "--exact",
                "store::tests::child_that_writes_until_it_is_killed",
                "--nocapture",
            ])
            .env("GATELET_TEST_WRITER", &dir.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child");

        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut last = None;
        for line in lines.map_while(Result::ok) {
            if let Some(number) = line.split("stored ").nth(1) {
                last = number.trim().parse::<u32>().ok();
            }
            if last >= Some(40 + round * 10) {
                break;
            }
        }

        child.kill().expect("SIGKILL");
        child.wait().expect("gone");
        acknowledged = acknowledged.max(last.expect("it wrote"));

        let (store, health) = opened(&dir);
        assert_eq!(health, Health::Good);
        for number in 0..=acknowledged {
            let value = store.get(&format!("n/{number:07}")).expect("readable");
            assert_eq!(
                value.map(|value| value.len()),
                Some(2000),
                "write {number} is lost"
            );
        }
    }
}

#[test]
fn a_scan_has_the_changes_since_the_opening() {
    let dir = Dir::new("since");
    let keys = |store: &dyn Store, prefix: &str| -> Vec<String> {
        let found = store.scan(prefix).expect("readable");
        found.into_iter().map(|(key, _value)| key).collect()
    };
    {
        let (store, _) = opened(&dir);
        let batch = Batch::new().put("a/1", "1").put("a/2", "2").put("b/1", "1");
        store.commit(batch).expect("stored");
        store.settle().expect("settled");
        // This one is still pending at the next start.
        store.commit(Batch::new().put("a/3", "3")).expect("stored");
    }

    let (store, health) = opened(&dir);
    assert_eq!(health, Health::Good);
    for _again in 0..2 {
        assert_eq!(keys(&*store, "a/"), ["a/1", "a/2", "a/3"]);
    }
    store.commit(Batch::new().delete("b/1")).expect("stored");
    assert_eq!(keys(&*store, "b/"), [""; 0]);

    // The database itself changes now.
    let (store, _) = {
        drop(store);
        opened(&dir)
    };
    let batch = Batch::new().put("a/4", "4").delete("a/1");
    store.commit(batch).expect("stored");
    store.settle().expect("settled");
    assert_eq!(keys(&*store, "a/"), ["a/2", "a/3", "a/4"]);
}

#[test]
fn opening_reads_each_record_once() {
    let dir = Dir::new("once");
    for count in [0, 1, 63, 64, 65, 2_000] {
        // Every tenth is stored in chunks.
        let value = |n: usize| match n % 10 {
            0 => vec![1; 5_000],
            _ => n.to_string().into_bytes(),
        };
        let all: Vec<(String, Vec<u8>)> = (0..count)
            .map(|n| (format!("a/{n:04}"), value(n)))
            .collect();
        let batch = all.iter().fold(Batch::new(), |batch, (key, value)| {
            batch.put(key.clone(), value.clone())
        });
        {
            let (made, _) = sled::Sled::open(&dir.0, AREAS).expect("opens");
            made.commit(batch).expect("stored");
        }

        let (store, records) = sled::Sled::open(&dir.0, AREAS).expect("opens");
        assert!(records == all, "{count}");
        assert!(store.scan("").expect("readable") == all, "{count}");
    }
}
