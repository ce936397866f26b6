use super::*;
use crate::{
    app::start::state::AREAS,
    store::{Health, OpenError, open, open_sealed, tests::Dir},
};

const SECRET: &str = "-----BEGIN PRIVATE KEY-----MIGHAgEAMBMGByqGSM49AgEG";
const RECORDS: [&str; 7] = [
    "acme/account/a",
    "acme/certificate/a",
    "acme/job/a",
    "api/identity",
    "ca/key",
    "cache/secrets/a/b",
    "cluster/object/secrets/a/b",
];

fn keys(current: Option<u8>, old: &[u8]) -> SealKeys {
    let key = |byte: u8| SealKey::new(&[byte; KEY]);
    SealKeys {
        current: current.map(key),
        old: old.iter().copied().map(key).collect(),
    }
}

/// Reports whether the secret is in any file of the directory.
fn shows(dir: &Path) -> bool {
    fs::read_dir(dir)
        .expect("readable")
        .flatten()
        .any(|entry| match entry.path() {
            path if path.is_dir() => shows(&path),
            path => fs::read(path)
                .expect("readable")
                .windows(SECRET.len())
                .any(|bytes| bytes == SECRET.as_bytes()),
        })
}

fn fill(store: &dyn Store) {
    for record in RECORDS {
        store
            .commit(
                Batch::new()
                    .put(record, format!("{record}: {SECRET}"))
                    .put("other", "plain"),
            )
            .expect("stored");
    }
}

fn assert_filled(dir: &Dir, keys: SealKeys) {
    let (store, health) = open_sealed(&dir.0, AREAS, keys).expect("opens");
    assert!(
        matches!(health, Health::Good | Health::Repaired { .. }),
        "{health:?}"
    );
    for record in RECORDS {
        let value = store.get(record).expect("readable");
        assert_eq!(
            value.as_deref(),
            Some(format!("{record}: {SECRET}").as_bytes()),
            "{record}"
        );
        assert_eq!(store.scan(record).expect("readable").len(), 1);
    }
    assert_eq!(
        store.get("other").expect("readable").as_deref(),
        Some(&b"plain"[..])
    );
}

#[test]
fn sealed_keys_are_not_on_the_disk_even_if_sealed_later() {
    for from_the_start in [true, false] {
        let dir = Dir::new("sealed");
        {
            let begin = if from_the_start {
                keys(Some(1), &[])
            } else {
                SealKeys::default()
            };
            fill(&*open_sealed(&dir.0, AREAS, begin).expect("opens").0);
        }
        assert_eq!(shows(&dir.0), !from_the_start, "the test would see it");
        assert_filled(&dir, keys(Some(1), &[]));
        assert!(!shows(&dir.0));
        assert_filled(&dir, keys(Some(1), &[]));
        fs::remove_dir_all(dir.0.join("store")).expect("there");
        let (store, _) = open_sealed(&dir.0, AREAS, keys(Some(1), &[])).expect("opens");
        assert!(
            store.get("ca/key").expect("readable").is_some(),
            "the mirror has it sealed too"
        );
        assert!(!shows(&dir.0));
    }
}

#[test]
fn without_the_key_nothing_starts_and_nothing_changes() {
    let dir = Dir::new("unsealed");
    fill(
        &*open_sealed(&dir.0, AREAS, keys(Some(1), &[]))
            .expect("opens")
            .0,
    );
    for wrong in [
        SealKeys::default(),
        keys(Some(2), &[]),
        keys(None, &[2]),
        keys(Some(2), &[3]),
    ] {
        let error = open_sealed(&dir.0, AREAS, wrong).expect_err("another key");
        assert!(matches!(error, OpenError::Sealed(_)), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(KEY_SETTING) && text.contains(OLD_SETTING),
            "{text}"
        );
    }
    assert!(matches!(open(&dir.0, AREAS), Err(OpenError::Sealed(_))));
    assert_filled(&dir, keys(Some(1), &[]));
}

#[test]
fn another_key_takes_over_and_sealing_can_be_ended() {
    let dir = Dir::new("changed");
    fill(
        &*open_sealed(&dir.0, AREAS, keys(Some(1), &[]))
            .expect("opens")
            .0,
    );
    assert_filled(&dir, keys(Some(2), &[1]));
    assert!(matches!(
        open_sealed(&dir.0, AREAS, keys(Some(1), &[])),
        Err(OpenError::Sealed(_))
    ));
    assert_filled(&dir, keys(Some(2), &[]));
    assert!(!shows(&dir.0));
    assert_filled(&dir, keys(None, &[2]));
    assert_filled(&dir, SealKeys::default());
    assert!(shows(&dir.0));
}

#[test]
fn sealing_that_broke_off_is_finished_by_the_next_start() {
    // Before and between the two renames, and after them.
    let breaks: [fn(&Path); 3] = [
        |dir| fs::create_dir(dir.join("store.next")).expect("made"),
        |dir| fs::rename(dir.join("store"), dir.join("store.next")).expect("renamed"),
        |dir| {
            fs::create_dir(dir.join("store.last")).expect("made");
            fs::write(dir.join("store.last/db"), SECRET).expect("written");
        },
    ];
    for (round, broken) in breaks.iter().enumerate() {
        let dir = Dir::new("broken-off");
        {
            let begin = if round == 0 {
                SealKeys::default()
            } else {
                keys(Some(1), &[])
            };
            fill(&*open_sealed(&dir.0, AREAS, begin).expect("opens").0);
        }
        broken(&dir.0);
        assert_filled(&dir, keys(Some(1), &[]));
        assert!(!shows(&dir.0), "{round}");
        let left = fs::read_dir(&dir.0)
            .expect("there")
            .flatten()
            .map(|entry| entry.file_name());
        assert!(
            left.into_iter()
                .all(|name| !["store.next", "store.last"].contains(&&*name.to_string_lossy()))
        );
    }
}

#[test]
fn a_value_cannot_be_moved_to_another_record_and_damage_is_seen() {
    let keys = keys(Some(1), &[]);
    let sealed = keys
        .seal(AREAS, "ca/key", b"secret".to_vec())
        .expect("sealed");
    assert_ne!(
        sealed,
        keys.seal(AREAS, "ca/key", b"secret".to_vec())
            .expect("sealed"),
        "each has a nonce of its own"
    );
    assert_eq!(
        keys.unseal("ca/key", sealed.clone()).expect("unsealed"),
        b"secret"
    );
    assert!(keys.unseal("api/identity", sealed.clone()).is_err());
    for at in MAGIC.len()..sealed.len() {
        let mut damaged = sealed.clone();
        damaged[at] ^= 1;
        assert!(keys.unseal("ca/key", damaged).is_err(), "{at}");
    }
    assert!(
        keys.unseal("ca/key", sealed[..sealed.len() - 20].to_vec())
            .is_err()
    );
}

#[test]
fn a_key_file_holds_bytes_base64_or_hexadecimal_digits() {
    let hex = "07".repeat(KEY);
    let base64 = format!("{}\n", STANDARD.encode([7; KEY]));
    for text in [&[7; KEY][..], hex.as_bytes(), base64.as_bytes()] {
        assert_eq!(parse(text), Some([7; KEY]));
    }
    for text in [
        "",
        "short",
        "not base64 at all, and not of 32 bytes either",
        &hex[2..],
    ] {
        assert_eq!(parse(text.as_bytes()), None, "{text}");
    }
    let settings = Settings {
        seal_key_file: Some("/nowhere/key".into()),
        ..Settings::default()
    };
    let error = SealKeys::read(&settings)
        .expect_err("not there")
        .to_string();
    assert!(
        error.contains(KEY_SETTING) && error.contains("/nowhere/key"),
        "{error}"
    );
}
