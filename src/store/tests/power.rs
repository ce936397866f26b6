//! Power cuts: what a disk may hold if it lost everything that was not synced.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{super::*, Dir};
use crate::app::start::state::AREAS;

type Model = BTreeMap<String, Vec<u8>>;

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// The state after an acknowledged batch.
struct Moment {
    model: Model,
    /// The file of the mirror, and its length.
    file: usize,
    length: usize,
}

/// A busy run, with copies of what was on the disk.
struct Run {
    moments: Vec<Moment>,
    /// The mirrors that followed each other, each with all that was ever written to it.
    files: Vec<Vec<u8>>,
    /// Copies of the database, and the number of batches before each.
    copies: Vec<(usize, PathBuf)>,
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

fn random_batch(random: &mut Random, number: usize) -> Batch {
    let mut batch = Batch::new();
    for part in 0..=random.below(3) {
        let key = format!("n/{}", random.below(40));
        batch = match random.below(4) {
            0 => batch.delete(key),
            _ => {
                let length = random.below(20_000);
                batch.put(key, vec![(number + part) as u8; length])
            }
        };
    }
    // Such a batch writes to the database at once.
    if random.below(8) == 0 {
        batch = batch.put("acme/job/a", "order");
    }
    batch
}

/// Commits batches until the mirror was written anew several times.
fn busy_run(dir: &Path, random: &mut Random) -> Run {
    let state = dir.join("state");
    let (store, health) = open(&state, AREAS).unwrap();
    assert_eq!(health, Health::Good);

    let (mut moments, mut files, mut copies) = (Vec::new(), Vec::new(), Vec::new());
    let (mut model, mut inode) = (Model::new(), 0);
    for number in 0..700 {
        if number > 0 {
            let batch = random_batch(random, number);
            store.commit(batch.clone()).unwrap();
            for (key, value) in batch.ops {
                match value {
                    _ if !AREAS.is_mirrored(&key) => {}
                    Some(value) => drop(model.insert(key, value)),
                    None => drop(model.remove(&key)),
                }
            }
        }

        let mirror = state.join("mirror");
        let bytes = fs::read(&mirror).unwrap();
        let current = fs::metadata(&mirror).unwrap().ino();
        if std::mem::replace(&mut inode, current) != current {
            files.push(Vec::new());
        }
        moments.push(Moment {
            model: model.clone(),
            file: files.len() - 1,
            length: bytes.len(),
        });
        *files.last_mut().unwrap() = bytes;

        if number % 20 == 0 {
            let to = dir.join(format!("copy-{number}"));
            copy(&state.join("store"), &to);
            copies.push((number, to));
        }
    }

    assert!(files.len() > 4, "{} mirrors", files.len());
    Run {
        moments,
        files,
        copies,
    }
}

/// Lays the blocks of another copy of the database over this one, or leaves them, as a disk does
/// whose cache is lost.
fn mix(random: &mut Random, store: &Path, other: &Path) {
    const BLOCK: usize = 4096;
    let path = store.join("db");
    let mut bytes = fs::read(&path).unwrap();
    for (number, block) in fs::read(other.join("db"))
        .unwrap()
        .chunks(BLOCK)
        .enumerate()
    {
        let at = number * BLOCK;
        if random.below(2) == 0 && bytes.len() >= at + block.len() {
            bytes[at..at + block.len()].copy_from_slice(block);
        }
    }
    fs::write(path, bytes).unwrap();
}

fn mirrored(store: &dyn Store) -> Model {
    store.snapshot().unwrap().into_iter().collect()
}

#[test]
fn a_power_cut_loses_no_acknowledged_batch() {
    let dir = Dir::new("power");
    fs::create_dir_all(&dir.0).unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let run = busy_run(&dir.0, &mut random);

    let state = dir.0.join("cut");
    for (number, moment) in run.moments.iter().enumerate() {
        let next = run.moments.get(number + 1);
        // Each batch that begins a mirror, the one before it, and some of the others.
        let is_edge = next.is_none_or(|next| next.file != moment.file)
            || number == 0
            || run.moments[number - 1].file != moment.file;
        if !is_edge && random.below(16) > 0 {
            continue;
        }

        // Any database from before: nothing of it has to be on the disk but what was synced.
        let _ = fs::remove_dir_all(&state);
        fs::create_dir_all(&state).unwrap();
        let older: Vec<_> = run.copies.iter().filter(|(at, _)| *at <= number).collect();
        let at = random.below(older.len());
        copy(&older[at].1, &state.join("store"));
        if at > 0 && random.below(3) == 0 {
            mix(&mut random, &state.join("store"), &older[at - 1].1);
        }

        // The mirror as it was synced, and perhaps a part of what was written next.
        let file = &run.files[moment.file];
        let mut mirror = file[..moment.length].to_vec();
        let mut possible = vec![&moment.model];
        if let Some(next) = next.filter(|next| next.file == moment.file) {
            let mut rest = file[moment.length..next.length].to_vec();
            match random.below(4) {
                0 => rest.clear(),
                1 => rest.truncate(random.below(rest.len() + 1)),
                2 => {
                    let from = random.below(rest.len() + 1);
                    rest[from..].fill(0);
                }
                _ => {
                    let from = random.below(rest.len() + 1);
                    rest[..from].fill(0);
                }
            }
            mirror.extend(rest);
            possible.push(&next.model);
        }
        fs::write(state.join("mirror"), &mirror).unwrap();
        if let Some(next) = run.files.get(moment.file + 1) {
            let length = random.below(next.len());
            fs::write(state.join("mirror.next"), &next[..length]).unwrap();
        }

        let (store, _) = open(&state, AREAS).unwrap();
        let mut found = mirrored(&*store);
        assert!(possible.contains(&&found), "batch {number}");

        // It goes on from there.
        found.insert("more".to_owned(), b"more".to_vec());
        store.commit(Batch::new().put("more", "more")).unwrap();
        drop(store);
        let (store, health) = open(&state, AREAS).unwrap();
        assert_eq!(health, Health::Good, "batch {number}");
        assert_eq!(mirrored(&*store), found, "batch {number}");
    }
}

#[test]
fn either_file_alone_has_what_both_had_at_a_stop() {
    let dir = Dir::new("either");
    let mut random = Random(7);
    fs::create_dir_all(&dir.0).unwrap();
    let run = busy_run(&dir.0, &mut random);
    let expected = &run.moments.last().unwrap().model;
    let whole = fs::read(dir.0.join("state/mirror")).unwrap();

    let state = dir.0.join("damaged");
    for round in 0..20 {
        copy(&dir.0.join("state"), &state);
        match round {
            0 => fs::remove_dir_all(state.join("store")).unwrap(),
            1 => fs::remove_file(state.join("mirror")).unwrap(),
            2 => fs::write(state.join("mirror"), "").unwrap(),
            3 => fs::write(state.join("mirror"), &run.files[0]).unwrap(),
            _ => {
                let mut bytes = whole.clone();
                let from = random.below(bytes.len());
                let length = random.below(bytes.len() - from).min(5000);
                match random.below(3) {
                    0 => bytes[from] ^= 1,
                    1 => bytes[from..from + length].fill(0),
                    _ => bytes.truncate(from),
                }
                fs::write(state.join("mirror"), bytes).unwrap();
            }
        }

        for _ in 0..2 {
            let (store, _) = open(&state, AREAS).unwrap();
            assert!(mirrored(&*store) == *expected, "round {round}");
        }
    }
}

#[test]
fn damage_after_the_mark_loses_what_is_damaged_alone() {
    let dir = Dir::new("after-mark");
    let (store, _) = open(&dir.0, AREAS).unwrap();
    for number in 0..5 {
        let key = format!("settled/{number}");
        store.commit(Batch::new().put(key, "x")).unwrap();
    }
    store.settle().unwrap();
    let settled = fs::metadata(dir.0.join("mirror")).unwrap().len();

    let batch = Batch::new().put("settled/0", "new").delete("settled/1");
    store.commit(batch).unwrap();
    for number in 0..5 {
        let key = format!("later/{number}");
        store.commit(Batch::new().put(key, "y")).unwrap();
    }

    // As it is after a kill: the copies are made while it is open.
    let state = dir.0.join("copy");
    fs::create_dir_all(&state).unwrap();
    let whole = fs::read(dir.0.join("mirror")).unwrap();
    for at in (0..whole.len()).step_by(5) {
        copy(&dir.0.join("store"), &state.join("store"));
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(state.join("mirror"), bytes).unwrap();

        let (store, _) = open(&state, AREAS).unwrap();
        let found = mirrored(&*store);
        let is_there = |key: &str| found.contains_key(key);
        let lost = (0..5)
            .filter(|number| !is_there(&format!("later/{number}")))
            .count()
            + usize::from(found["settled/0"] != b"new")
            + usize::from(is_there("settled/1"));
        assert_eq!(lost, usize::from(at as u64 >= settled), "{at}");
        for number in [2, 3, 4] {
            assert!(is_there(&format!("settled/{number}")), "{at}");
        }
        drop(store);
        fs::remove_dir_all(state.join("store")).unwrap();
    }
}

/// Not a test of its own: the child of the next one, which is traced.
#[test]
fn child_that_writes_some_megabytes() {
    let Ok(dir) = std::env::var("GATELET_TEST_TRACED") else {
        return;
    };
    let (store, _) = open(Path::new(&dir), AREAS).unwrap();
    for number in 0..400 {
        let key = format!("n/{}", number % 20);
        store
            .commit(Batch::new().put(key, vec![7; 10_000]))
            .unwrap();
        println!("stored {number}");
    }
}

/// Reads the system calls of a writer: what is acknowledged was synced, and a mirror is replaced by
/// one that was synced.
#[test]
fn a_write_is_synced_before_it_is_acknowledged() {
    let dir = Dir::new("traced");
    fs::create_dir_all(&dir.0).unwrap();
    let (state, trace) = (dir.0.join("state"), dir.0.join("trace"));
    let child = "store::tests::power::child_that_writes_some_megabytes";
    let traced = Command::new("strace")
        .args(["-f", "-y", "-s", "12", "-o"])
        .arg(&trace)
        .arg("-e")
        .arg("trace=write,pwrite64,fsync,fdatasync,rename,ftruncate")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", child, "--nocapture"])
        .env("GATELET_TEST_TRACED", &state)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !traced.is_ok_and(|status| status.success()) {
        eprintln!("left out: strace does not run here");
        return;
    }

    let trace = fs::read_to_string(trace).unwrap();
    let (mut unsynced, mut syncs, mut settled) = (0, 0, 0);
    let (mut is_next_synced, mut is_renamed, mut renames) = (false, false, 0);
    for line in trace.lines().filter(|line| !line.contains("unfinished")) {
        let call = line.split_whitespace().nth(1).unwrap_or_default();
        let names = |name: &str| call.contains(name) || line.contains(&format!("/{name}>"));
        if line.contains("stored ") {
            assert!(unsynced == 0 && !is_renamed, "{line}");
        } else if call.starts_with("write(") && names("mirror") {
            unsynced += 1;
        } else if call.starts_with("fdatasync(") && names("mirror") {
            (unsynced, syncs) = (0, syncs + 1);
        } else if call.starts_with("fsync(") && names("mirror.next") {
            is_next_synced = true;
        } else if call.starts_with("write(") && names("mirror.next") {
            is_next_synced = false;
        } else if call.starts_with("rename(") && line.contains("mirror.next") {
            assert!(is_next_synced, "{line}");
            (is_renamed, renames) = (true, renames + 1);
        } else if call.starts_with("fsync(") && names("state") {
            is_renamed = false;
        } else if call.starts_with("fdatasync(") && names("db") {
            settled += 1;
        }
    }
    assert!(syncs >= 400 && renames >= 3, "{syncs} {renames}");
    assert!(settled < 40, "the database was synced {settled} times");
}
