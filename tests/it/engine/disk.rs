//! Real folders: the disk writes of a renewal, and disks that are full or damaged.

use std::{
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use gatelet::store;

use super::harness::{AREAS, End, Harness, TIMING, Time, spec};
use crate::support::{
    Folder,
    chaos::{ChaosCa, Options},
    run,
};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// The variable that passes the folder to the process that a test starts from its own program.
const ALONE: &str = "GATELET_TEST_FOLDER";

/// Returns the folder if this process was started by a test.
pub fn folder_of_this_process() -> Option<PathBuf> {
    env::var_os(ALONE).map(PathBuf::from)
}

/// Runs the same test in its own process.
pub fn alone(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", &format!("engine::{test}"), "--nocapture"])
        .env(ALONE, folder);
    command
}

fn on(folder: &Path, ca: &Arc<ChaosCa>, time: &Arc<Time>) -> Harness {
    Harness::on(
        ca.clone(),
        store::open(folder, AREAS).unwrap().0,
        time.clone(),
        TIMING,
    )
}

/// Returns the number of bytes that this process has caused to be written to disks.
fn written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    io.lines()
        .find_map(|line| line.strip_prefix("write_bytes: "))
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn one_renewal_writes_little_and_an_idle_day_nothing() {
    const MOST: u64 = 60 * 1024;
    let Some(folder) = folder_of_this_process() else {
        let folder = Folder::new();
        println!(
            "{}",
            run(&mut alone(
                "disk::one_renewal_writes_little_and_an_idle_day_nothing",
                folder.path()
            ))
        );
        return;
    };
    let (ca, time) = (Arc::new(ChaosCa::start(Options::default())), Time::new());
    let harness = on(&folder, &ca, &time);
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    assert!(written() > 0, "{} is on a disk", folder.display());
    assert!(
        harness
            .engine
            .stored("default/a.example")
            .unwrap()
            .chain
            .len()
            > 2_800,
        "as long as a public CA's"
    );
    let renew_when_due = || {
        let (before, issued) = (written(), harness.issued());
        harness.pass(DAY * 70);
        assert_eq!(harness.settle(HOUR), End::Live);
        assert_eq!(harness.issued(), issued + 1);
        harness.until("a suggestion", || harness.report().suggestion);
        harness.store.settle().unwrap();
        written() - before
    };
    let alone: Vec<u64> = (0..30).map(|_| renew_when_due()).collect();
    // With many records, more of a database page has to be rewritten.
    let names: Vec<String> = (0..12)
        .map(|number| format!("shop-{number}.example"))
        .collect();
    harness.engine.set_specs(
        names
            .iter()
            .map(|name| spec(&[name], &[harness.issuer(|_| {})]))
            .collect(),
    );
    assert_eq!(harness.settle(HOUR), End::Live);
    let suggested = |name: &str| {
        let reports = harness.reports();
        reports
            .iter()
            .find(|report| *report.name == *format!("default/{name}"))
            .unwrap()
            .suggestion
            .is_some()
    };
    let renew = |name: &str| {
        harness.pass(DAY * 2);
        assert_eq!(harness.settle(HOUR), End::Live);
        harness.until("a suggestion", || suggested(name).then_some(()));
        let (before, issued) = (written(), harness.issued());
        harness.block_on(harness.engine.renew(name)).unwrap();
        harness.until("another one", || (harness.issued() > issued).then_some(()));
        assert_eq!(harness.settle(HOUR), End::Live);
        harness.until("a suggestion", || suggested(name).then_some(()));
        assert_eq!(harness.issued(), issued + 1);
        harness.store.settle().unwrap();
        written() - before
    };
    harness.store.settle().unwrap();
    let among_others: Vec<u64> = names
        .iter()
        .cycle()
        .take(36)
        .map(|name| renew(name))
        .collect();
    println!("bytes for each renewal: {alone:?}, among others {among_others:?}");
    let all: Vec<u64> = alone.iter().chain(&among_others).copied().collect();
    let average = all.iter().sum::<u64>() / all.len() as u64;
    assert!(average <= MOST, "{average}: {all:?}");
    // A block counts twice if the system happened to write it before it was full.
    let most = MOST + 16 * 1024;
    assert!(all.iter().all(|cost| *cost <= most), "{all:?}");
    std::thread::sleep(Duration::from_secs(1));
    let before = written();
    for _hour in 0..24 {
        harness.pass(HOUR);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(written(), before, "an idle day");
}

#[test]
fn a_full_disk_keeps_serving_and_renews_once_it_has_space() {
    const NAME: &str = "disk::a_full_disk_keeps_serving_and_renews_once_it_has_space";
    let Some(folder) = folder_of_this_process() else {
        if !fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
            || !Command::new("unshare")
                .args(["--mount", "true"])
                .status()
                .is_ok_and(|status| status.success())
        {
            eprintln!("LEFT OUT: mounts need root");
            return;
        }
        let folder = Folder::new();
        let test = alone(NAME, folder.path());
        let mut command = Command::new("unshare");
        let script = r#"mount -t tmpfs -o size=4m none "$0" && exec "$@""#;
        command
            .args(["--mount", "sh", "-c", script])
            .arg(folder.path());
        command
            .arg(test.get_program())
            .args(test.get_args())
            .env(ALONE, folder.path());
        println!("{}", run(&mut command));
        return;
    };
    let (ca, time) = (Arc::new(ChaosCa::start(Options::default())), Time::new());
    let harness = on(&folder, &ca, &time);
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    let filler = folder.join("filler");
    run(Command::new("sh")
        .args(["-c", r#"dd if=/dev/zero of="$0" bs=4k 2>/dev/null || true"#])
        .arg(&filler));
    harness.pass(DAY * 70);
    let end = harness.settle(HOUR * 4);
    assert!(
        matches!(&end, End::Waiting(why) if why.contains("no space left")),
        "{end:?}"
    );
    assert_eq!(harness.engine.active().borrow().certificates.len(), 1);
    fs::remove_file(filler).unwrap();
    // Once there is space it continues without a restart.
    assert_eq!(harness.settle(HOUR * 3), End::Live);
    assert_eq!(harness.issued(), 2);
    harness.assert_good();
}

#[test]
fn a_damaged_database_is_repaired_without_a_new_certificate() {
    for from in [0, 100, 700] {
        let folder = Folder::new();
        let (ca, time) = (Arc::new(ChaosCa::start(Options::default())), Time::new());
        let harness = on(folder.path(), &ca, &time);
        harness.request(&["a.example"]);
        assert_eq!(harness.settle(HOUR), End::Live);
        drop(harness);
        let database = folder.path().join("store/db");
        let mut bytes = fs::read(&database).unwrap();
        bytes[from..from + 512].fill(0);
        fs::write(&database, bytes).unwrap();
        let harness = on(folder.path(), &ca, &time);
        assert_eq!(
            harness.engine.active().borrow().certificates.len(),
            1,
            "damaged from {from}"
        );
        harness.request(&["a.example"]);
        assert_eq!(harness.settle(HOUR), End::Live);
        assert_eq!(harness.issued(), 1, "damaged from {from}");
        harness.assert_good();
    }
}
