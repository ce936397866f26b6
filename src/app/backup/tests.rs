#[cfg(feature = "age")]
mod interop;

use std::os::unix::fs::PermissionsExt;

use base64::{Engine as _, engine::general_purpose::STANDARD as STANDARD_BASE64};
use serde_json::{Value, json};

use super::{encryption::Lock, format::FormatError, *};
use crate::{app::files, store::Batch};

const PLAIN: EncryptionKeys = EncryptionKeys {
    recipients: Vec::new(),
    recipients_files: Vec::new(),
    passphrase_file: None,
};

const UNLOCKED: DecryptionKeys = DecryptionKeys {
    identity_files: Vec::new(),
    passphrase_file: None,
};

/// A folder for a state directory and files beside it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("backup-{}", crate::util::stamp::uid());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn config(&self, state: &str) -> Config {
        Config {
            state: self.0.join(state),
            ..Config::default()
        }
    }

    fn file(&self) -> PathBuf {
        self.0.join("file")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir_all(&self.0);
    }
}

fn records() -> Vec<(String, Vec<u8>)> {
    let of = |key: &str, value: &[u8]| (key.to_owned(), value.to_vec());
    vec![
        of("acme/account/a", b"{\"key\":\"line\\nline\"}"),
        of("binary", &[0, 0xff, b'\n']),
        of("empty", b""),
    ]
}

/// Makes a state of these records, and of one that can be restored otherwise.
fn fill(config: &Config) {
    let (store, _health) = store::open(&config.state, AREAS).unwrap();
    let copy = Batch::new().put("cache/ingresses/a", "copy");
    let batch = records()
        .into_iter()
        .fold(copy, |batch, (key, value)| batch.put(key, value));
    store.commit(batch).unwrap();
}

fn stored(config: &Config) -> Vec<(String, Vec<u8>)> {
    let keys = SealKeys::read(&config.store).unwrap();
    store::read_closed(&config.state, AREAS, &keys).unwrap()
}

#[test]
fn a_stopped_state_is_backed_up_and_restored_elsewhere() {
    let folder = Folder::new();
    let (old, new) = (folder.config("old"), folder.config("new"));
    fill(&old);

    assert_eq!(backup(&old, &folder.file(), &PLAIN).unwrap(), 3);
    let mode = fs::metadata(folder.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(restore(&new, &folder.file(), &UNLOCKED).unwrap(), 3);
    assert_eq!(stored(&new), records());
    assert!(!files::restore_mark_path(&new.state).exists());
}

#[test]
fn neither_a_file_nor_a_state_is_replaced() {
    let folder = Folder::new();
    let config = folder.config("state");
    fill(&config);
    backup(&config, &folder.file(), &PLAIN).unwrap();
    let before = fs::read(folder.file()).unwrap();

    let again = backup(&config, &folder.file(), &PLAIN);
    assert!(matches!(again, Err(BackupError::Exists(_))), "{again:?}");
    let onto = restore(&config, &folder.file(), &UNLOCKED);
    assert!(matches!(onto, Err(RestoreError::Occupied(_))), "{onto:?}");
    assert_eq!(fs::read(folder.file()).unwrap(), before);
    assert_eq!(stored(&config), records());
}

#[test]
fn a_torn_or_changed_backup_is_refused_before_a_write() {
    let folder = Folder::new();
    let config = folder.config("state");
    let whole = Backup::new("n", records()).encode();
    let refused = |bytes: &[u8]| {
        fs::write(folder.file(), bytes).unwrap();
        match restore(&config, &folder.file(), &UNLOCKED) {
            Err(RestoreError::Format { source, .. }) => source,
            other => panic!("{other:?}"),
        }
    };

    for length in 0..whole.len() {
        let error = refused(&whole[..length]);
        let is_expected = match length {
            ..15 => error == FormatError::Foreign,
            15 => matches!(error, FormatError::Version(_)),
            _ => error == FormatError::Torn,
        };
        assert!(is_expected, "{length}: {error:?}");
    }
    for place in 17..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        let error = refused(&changed);
        assert!(
            matches!(error, FormatError::Changed | FormatError::Torn),
            "{place}: {error:?}"
        );
    }
    let other = [b"gatelet backup 2\n", &whole[17..]].concat();
    assert!(matches!(refused(&other), FormatError::Version(_)));
    assert!(!config.state.exists());
}

#[test]
fn an_interrupted_restore_is_finished_by_the_next_one() {
    let folder = Folder::new();
    let config = folder.config("state");
    fs::write(folder.file(), Backup::new("n", records()).encode()).unwrap();
    // The process ended after a part of the records.
    let (store, _health) = store::open(&config.state, AREAS).unwrap();
    store.commit(Batch::new().put("half", "x")).unwrap();
    drop(store);
    fs::write(config.state.join("restore.incomplete"), "").unwrap();
    assert!(files::restore_mark_path(&config.state).exists());

    restore(&config, &folder.file(), &UNLOCKED).unwrap();
    assert_eq!(stored(&config), records());
    assert!(!files::restore_mark_path(&config.state).exists());
}

#[test]
fn sealed_records_are_sealed_with_the_key_of_their_place() {
    let folder = Folder::new();
    let (mut old, mut new) = (folder.config("old"), folder.config("new"));
    for (name, config) in [("a.key", &mut old), ("b.key", &mut new)] {
        let path = folder.0.join(name);
        fs::write(&path, [name.as_bytes()[0]; 32]).unwrap();
        config.store.seal_key_file = Some(path);
    }
    let keys = SealKeys::read(&old.store).unwrap();
    let (store, _health) = store::open_sealed(&old.state, AREAS, keys).unwrap();
    store.commit(Batch::new().put("ca/key", "secret")).unwrap();
    drop(store);

    backup(&old, &folder.file(), &PLAIN).unwrap();
    restore(&new, &folder.file(), &UNLOCKED).unwrap();
    let mirror = fs::read(new.state.join("mirror")).unwrap();
    assert!(!mirror.windows(6).any(|bytes| bytes == b"secret"));
    assert_eq!(stored(&new), [("ca/key".to_owned(), b"secret".to_vec())]);
}

#[test]
fn a_directory_without_a_state_has_no_backup() {
    let folder = Folder::new();
    let failed = backup(&folder.config("absent"), &folder.file(), &PLAIN);
    assert!(
        matches!(failed, Err(BackupError::State(ClosedError::Absent(_)))),
        "{failed:?}"
    );
    assert!(!folder.file().exists());
}

#[test]
fn the_objects_of_a_backup_fit_any_cluster() {
    let folder = Folder::new();
    let record = |plural: &str, object: Value| {
        let text = |name: &str| object["metadata"][name].as_str().unwrap_or("").to_owned();
        let key = format!(
            "cluster/object/{plural}/{}/{}",
            text("namespace"),
            text("name")
        );
        (key, format!("1{object}").into_bytes())
    };
    let records = vec![
        record(
            "configmaps",
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "c", "namespace": "shop", "uid": "u", "resourceVersion": "7",
            "creationTimestamp": "t", "managedFields": [], "generation": 1,
            "ownerReferences": [], "labels": { "a": "b" },
        }, "data": { "k": "v" } }),
        ),
        record(
            "clusterroles",
            json!({ "kind": "ClusterRole", "metadata": {
            "name": "view", "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" },
        } }),
        ),
        record(
            "endpoints",
            json!({ "kind": "Endpoints", "metadata": { "name": "s", "namespace": "shop" } }),
        ),
        record(
            "services",
            json!({ "kind": "Service", "metadata": { "name": "s", "namespace": "shop" } }),
        ),
        record(
            "namespaces",
            json!({ "kind": "Namespace", "metadata": { "name": "default" } }),
        ),
        record(
            "namespaces",
            json!({ "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": "shop" }, "spec": {}, "status": {} }),
        ),
        ("ca/key".to_owned(), b"secret".to_vec()),
    ];
    fs::write(folder.file(), Backup::new("n", records).encode()).unwrap();

    let items = &objects_of_backup(&folder.file(), &UNLOCKED).unwrap()["items"];
    assert_eq!(
        *items,
        json!([
            { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } },
            { "kind": "Service", "metadata": { "name": "s", "namespace": "shop" } },
            { "apiVersion": "v1", "kind": "ConfigMap", "metadata": {
                "name": "c", "namespace": "shop", "labels": { "a": "b" },
            }, "data": { "k": "v" } },
            { "kind": "Endpoints", "metadata": { "name": "s", "namespace": "shop" } },
        ])
    );
}

#[test]
fn an_encrypted_file_is_recognized_by_its_header() {
    let of = |text: &str| Lock::of(text.as_bytes());
    let keys = "age-encryption.org/v1\n-> X25519 share\nkey\n--- mac\n";
    let passphrase = "age-encryption.org/v1\n-> scrypt salt 18\nkey\n--- mac\n";
    let armored = |text: &str| {
        let begin = "-----BEGIN AGE ENCRYPTED FILE-----";
        format!("{begin}\n{}\n", STANDARD_BASE64.encode(&text[..48]))
    };

    assert_eq!(of(keys), Some(Lock::Identity));
    assert_eq!(of(passphrase), Some(Lock::Passphrase));
    assert_eq!(of(&armored(keys)), Some(Lock::Identity));
    assert_eq!(of(&armored(passphrase)), Some(Lock::Passphrase));
    // Of a later format, and torn: it is encrypted all the same.
    assert_eq!(of("age-encryption.org/v2\n"), Some(Lock::Identity));
    assert_eq!(of("age-encryption.org/"), Some(Lock::Identity));
    assert_eq!(
        of("-----BEGIN AGE ENCRYPTED FILE-----"),
        Some(Lock::Identity)
    );
    for other in [
        "",
        "age",
        "gatelet backup 1\n",
        "-----BEGIN CERTIFICATE-----",
    ] {
        assert_eq!(of(other), None, "{other}");
    }
}

#[cfg(not(feature = "age"))]
#[test]
fn a_build_without_age_says_so_before_it_does_anything() {
    let folder = Folder::new();
    let config = folder.config("state");
    let keys = EncryptionKeys {
        recipients: vec!["age1".to_owned()],
        ..PLAIN
    };
    let refused = backup(&config, &folder.file(), &keys).unwrap_err();
    assert!(refused.to_string().contains("feature `age`"), "{refused}");
    assert!(!folder.file().exists());

    let keys = DecryptionKeys {
        passphrase_file: Some(folder.file()),
        ..UNLOCKED
    };
    for (file, keys) in [
        ("gatelet backup 1\n", &keys),
        ("age-encryption.org/v1\n", &UNLOCKED),
    ] {
        fs::write(folder.file(), file).unwrap();
        let refused = restore(&config, &folder.file(), keys).unwrap_err();
        assert!(refused.to_string().contains("feature `age`"), "{refused}");
    }
    assert!(!config.state.exists());
}
