//! Encrypted backups, with the tool `age` as the other side.

use std::{
    ffi::OsStr,
    process::{Command, Stdio},
};

use super::*;
use crate::app::backup::{
    cipher::Decryptor,
    encryption::{ARMOR, MAGIC},
};

const PASSPHRASE: &str = "correct horse battery staple";

impl Folder {
    /// Runs a tool in this folder. Returns its output, or its complaint.
    fn run<A: AsRef<OsStr>>(&self, tool: &str, arguments: &[A]) -> Result<Vec<u8>, String> {
        let mut command = Command::new(tool);
        command.args(arguments).current_dir(&self.0);
        let output = command.output().expect("Debian's package `age` has it");
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn age(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        self.run("age", arguments)
    }

    /// Runs `age` on a terminal, from which alone it reads a passphrase. Returns its success.
    fn age_on_terminal(&self, arguments: &str) -> bool {
        let mut script = Command::new("script")
            .args(["-qec", &format!("age {arguments}"), "/dev/null"])
            .current_dir(&self.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // The terminal keeps the second line for the confirmation. Open until the end: `script`
        // passes the end of its input on.
        let mut input = script.stdin.take().unwrap();
        let lines = format!("{PASSPHRASE}\n{PASSPHRASE}\n");
        input.write_all(lines.as_bytes()).unwrap();
        script.wait().unwrap().success()
    }

    /// Creates an identity in a file. Returns its recipient.
    fn identity(&self, name: &str) -> String {
        self.run("age-keygen", &["-o", name]).unwrap();
        let recipient = self.run("age-keygen", &["-y", name]).unwrap();
        String::from_utf8(recipient).unwrap().trim().to_owned()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn identities(&self, names: &[&str]) -> DecryptionKeys {
        DecryptionKeys {
            identity_files: names.iter().map(|name| self.0.join(name)).collect(),
            passphrase_file: None,
        }
    }

    /// Restores a file, which must fail before there is a state. Returns the reason.
    fn refused(&self, file: &[u8], keys: &DecryptionKeys) -> DecryptError {
        let config = self.config("refused");
        let path = self.write("refused.age", file);
        let result = restore(&config, &path, keys);
        assert!(!config.state.exists());
        match result {
            Err(RestoreError::Decrypt { source, .. }) => source,
            other => panic!("{other:?}"),
        }
    }
}

fn recipients(recipients: &[&str]) -> EncryptionKeys {
    EncryptionKeys {
        recipients: recipients.iter().map(|&one| one.to_owned()).collect(),
        ..PLAIN
    }
}

fn encrypt(plain: &[u8], keys: &EncryptionKeys) -> Vec<u8> {
    Encryptor::new(keys).unwrap().unwrap().encrypt(plain)
}

#[test]
fn age_decrypts_what_gatelet_encrypts() {
    let folder = Folder::new();
    let config = folder.config("state");
    fill(&config);
    let names = ["a", "b", "c", "d"];
    let [a, b, c, d] = names.map(|name| folder.identity(name));
    let list = folder.write("list", format!("# Two.\n{c}\n\n  {d}\r\n"));
    let keys = EncryptionKeys {
        recipients_files: vec![list],
        ..recipients(&[&a, &b])
    };

    assert_eq!(backup(&config, &folder.file(), &keys).unwrap(), 3);
    let mode = fs::metadata(folder.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let file = fs::read(folder.file()).unwrap();
    assert!(file.starts_with(b"age-encryption.org/v1\n"));
    for name in names {
        let plain = folder.age(&["-d", "-i", name, "file"]).unwrap();
        assert!(Backup::decode(&plain).unwrap().records == records());
    }

    let again = backup(&config, &folder.file(), &keys);
    assert!(matches!(again, Err(BackupError::Exists(_))), "{again:?}");
}

#[test]
fn every_length_is_encrypted_to_the_last_byte() {
    // The format has chunks of 64 KiB.
    const CHUNK: usize = 64 << 10;
    let folder = Folder::new();
    let keys = recipients(&[&folder.identity("a")]);
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 1_000_000] {
        let plain: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
        let file = encrypt(&plain, &keys);
        folder.write("file", &file);
        let by_age = folder.age(&["-d", "-i", "a", "file"]).unwrap();
        assert!(by_age == plain, "{length}");
        let own = Decryptor::new(&folder.identities(&["a"])).unwrap().unwrap();
        assert!(own.decrypt(Lock::Identity, &file).unwrap() == plain);
    }
}

#[test]
fn gatelet_restores_what_age_encrypts() {
    let folder = Folder::new();
    let [a, b] = ["a", "b"].map(|name| folder.identity(name));
    folder.write("plain", Backup::new("n", records()).encode());
    folder
        .age(&["-r", &a, "-r", &b, "-o", "binary", "plain"])
        .unwrap();
    folder
        .age(&["-a", "-r", &b, "-o", "text", "plain"])
        .unwrap();

    // Identities that do not fit may be beside one that does.
    folder.identity("other");
    let keys = folder.identities(&["other", "b"]);
    for name in ["binary", "text"] {
        let config = folder.config(&format!("state-{name}"));
        let count = restore(&config, &folder.0.join(name), &keys).unwrap();
        assert_eq!(count, 3);
        assert_eq!(stored(&config), records());
        let list = objects_of_backup(&folder.0.join(name), &keys).unwrap();
        assert_eq!(list["kind"], "List");
    }
}

#[test]
fn passphrases_work_in_both_directions() {
    let folder = Folder::new();
    let path = folder.write("passphrase", format!("{PASSPHRASE}\r\n"));
    let plain = Backup::new("n", records()).encode();
    folder.write("plain", &plain);

    let keys = EncryptionKeys {
        passphrase_file: Some(path.clone()),
        ..PLAIN
    };
    folder.write("by-gatelet", encrypt(&plain, &keys));
    assert!(folder.age_on_terminal("-d -o decrypted by-gatelet"));
    assert!(fs::read(folder.0.join("decrypted")).unwrap() == plain);

    let keys = DecryptionKeys {
        passphrase_file: Some(path),
        ..UNLOCKED
    };
    assert!(folder.age_on_terminal("-p -o by-age plain"));
    for name in ["by-gatelet", "by-age"] {
        let config = folder.config(&format!("state-{name}"));
        assert_eq!(restore(&config, &folder.0.join(name), &keys).unwrap(), 3);
        assert_eq!(stored(&config), records());
    }

    let wrong = DecryptionKeys {
        passphrase_file: Some(folder.write("wrong", "Correct horse battery staple\n")),
        ..UNLOCKED
    };
    let file = fs::read(folder.0.join("by-gatelet")).unwrap();
    assert_eq!(folder.refused(&file, &wrong), DecryptError::WrongPassphrase);

    // The work is refused before it is done.
    let text = b" 17\n";
    let at = file.windows(4).position(|bytes| bytes == text).unwrap();
    for factor in [21, 63, 99, 255] {
        let mut costly = file[..at].to_vec();
        costly.extend(format!(" {factor}\n").as_bytes());
        costly.extend(&file[at + 4..]);
        let expected = DecryptError::WorkFactor {
            found: factor,
            limit: 20,
        };
        assert_eq!(folder.refused(&costly, &keys), expected);
    }
}

#[test]
fn a_missing_or_wrong_key_is_named() {
    let folder = Folder::new();
    let a = folder.identity("a");
    folder.identity("other");
    let plain = Backup::new("n", records()).encode();
    let identity = folder.identities(&["a"]);
    let passphrase = DecryptionKeys {
        passphrase_file: Some(folder.write("passphrase", PASSPHRASE)),
        ..UNLOCKED
    };

    let file = encrypt(&plain, &recipients(&[&a]));
    for keys in [&UNLOCKED, &passphrase] {
        assert_eq!(folder.refused(&file, keys), DecryptError::NeedsIdentity);
    }
    let other = folder.identities(&["other"]);
    assert_eq!(folder.refused(&file, &other), DecryptError::WrongIdentity);

    let by_passphrase = EncryptionKeys {
        passphrase_file: passphrase.passphrase_file.clone(),
        ..PLAIN
    };
    let file = encrypt(&plain, &by_passphrase);
    for keys in [&UNLOCKED, &identity] {
        assert_eq!(folder.refused(&file, keys), DecryptError::NeedsPassphrase);
    }

    for keys in [&identity, &passphrase] {
        assert_eq!(folder.refused(&plain, keys), DecryptError::NotEncrypted);
    }
    let later = b"age-encryption.org/v2\n-> X25519 x\nx\n--- x\n";
    assert_eq!(folder.refused(later, &identity), DecryptError::Version);
}

#[test]
fn a_torn_or_changed_encrypted_backup_is_refused() {
    let folder = Folder::new();
    let a = folder.identity("a");
    let keys = folder.identities(&["a"]);
    let plain = Backup::new("n", vec![("key".to_owned(), b"value".to_vec())]).encode();
    folder.write("plain", &plain);
    let binary = encrypt(&plain, &recipients(&[&a]));
    let text = folder.age(&["-a", "-r", &a, "plain"]).unwrap();

    let refused = |file: &[u8]| {
        matches!(
            folder.refused(file, &keys),
            DecryptError::Torn | DecryptError::Damaged | DecryptError::WrongIdentity
        )
    };
    for length in MAGIC.len()..binary.len() {
        assert!(refused(&binary[..length]), "{length}");
    }
    for place in 22..binary.len() {
        let mut changed = binary.clone();
        changed[place] ^= 1;
        assert!(refused(&changed), "{place}");
    }
    // Without the last newline it is whole.
    for length in ARMOR.len()..text.len() - 1 {
        assert!(refused(&text[..length]), "{length}");
    }
    assert_eq!(folder.refused(&binary[..60], &keys), DecryptError::Torn);
    assert!(refused(&[&binary[..], b"more"].concat()));
    assert!(refused(&[&text[..], b"more"].concat()));

    let foreign = [ARMOR, b"\naGVsbG8=\n-----END AGE ENCRYPTED FILE-----\n"].concat();
    assert_eq!(folder.refused(&foreign, &keys), DecryptError::Damaged);

    // Whole chunks are missing, so each of the others is sound.
    let long = encrypt(&vec![0; 3 << 16], &recipients(&[&a]));
    let chunk = (1 << 16) + 16;
    assert!(refused(&long[..long.len() - chunk]));

    // A header without an end costs no more than its limit.
    let mut endless = b"age-encryption.org/v1\n".to_vec();
    endless.resize(1 << 20, b'\n');
    assert_eq!(folder.refused(&endless, &keys), DecryptError::Damaged);
}

#[test]
fn keys_that_cannot_be_used_are_named_and_not_shown() {
    let folder = Folder::new();
    let recipient = folder.identity("a");
    let identity = fs::read_to_string(folder.0.join("a")).unwrap();
    let secret = identity.lines().last().unwrap();

    let encryption = |keys: EncryptionKeys| {
        let config = folder.config("absent");
        let error = backup(&config, &folder.file(), &keys).unwrap_err();
        assert!(matches!(error, BackupError::Key(_)), "{error:?}");
        error.to_string()
    };
    let of_file = |text: &str| EncryptionKeys {
        recipients_files: vec![folder.write("recipients", text)],
        ..PLAIN
    };
    let by_passphrase = |text: &str| EncryptionKeys {
        passphrase_file: Some(folder.write("passphrase", text)),
        ..PLAIN
    };
    let many = vec![&*recipient; 257];
    let cases = [
        (
            recipients(&[&recipient, secret]),
            "number 2: it is an identity",
        ),
        (
            recipients(&["ssh-ed25519 AAAA"]),
            "number 1: it is not a recipient",
        ),
        (recipients(&many), "over 256"),
        (
            of_file(&format!("# x\n\n{secret}\n")),
            "recipients, line 3: it is an identity",
        ),
    ];
    for (keys, expected) in cases {
        let error = encryption(keys);
        assert!(error.contains(expected), "{error}");
        assert!(
            !error.contains(secret) && !error.contains("AAAA"),
            "{error}"
        );
    }
    assert!(encryption(of_file("# x\n")).contains("no recipient"));
    assert!(encryption(by_passphrase("\n")).contains("no passphrase"));
    let several = encryption(by_passphrase("hunter2\nhunter3\n"));
    assert!(
        several.contains("several") && !several.contains("hunter"),
        "{several}"
    );
    let absent = EncryptionKeys {
        passphrase_file: Some(folder.0.join("nowhere")),
        ..PLAIN
    };
    assert!(encryption(absent).contains("nowhere: No such file"));
    assert!(!folder.file().exists());

    folder.write("plain", &identity);
    folder
        .age(&["-a", "-r", &recipient, "-o", "locked", "plain"])
        .unwrap();
    folder.write("ssh", "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n");
    folder.write("torn", &secret[..secret.len() - 1]);
    folder.write("binary", [0xff; 40]);
    folder.write("large", vec![b'\n'; (1 << 20) + 1]);
    folder.write("empty", "");
    for (name, expected) in [
        ("locked", "locked: it is encrypted itself"),
        ("ssh", "ssh, line 1: it is not an identity"),
        ("torn", "torn, line 1: it is not an identity"),
        ("binary", "binary: it is not text"),
        ("large", "large: it is over 1 MiB"),
        ("empty", "empty: it has no identity"),
        ("nowhere", "nowhere: No such file"),
    ] {
        let keys = folder.identities(&["a", name]);
        let error = restore(&folder.config("absent"), &folder.file(), &keys).unwrap_err();
        assert!(matches!(error, RestoreError::Key(_)), "{error:?}");
        let error = error.to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains(&secret[..secret.len() - 1]) && !error.contains("hunter"));
    }
}
