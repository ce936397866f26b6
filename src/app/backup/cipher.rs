//! Encrypts and decrypts backups in the format of age, in builds with the feature `age`.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use age::{
    Identity, Recipient,
    armor::ArmoredReader,
    scrypt,
    secrecy::{ExposeSecret, SecretString},
    x25519,
};
use memchr::memmem;

use super::encryption::{
    ARMOR, DecryptError, DecryptionKeys, EncryptionKeys, KeyError, Lock, MAGIC,
};

/// The beginning of a file in the format that the library knows.
const VERSION: &[u8] = b"age-encryption.org/v1\n";

/// The largest file of keys in bytes that is read.
const MAX_KEY_FILE: u64 = 1 << 20;

/// The most recipients of a backup. With them its header is half of `MAX_HEADER`.
const MAX_RECIPIENTS: usize = 256;

/// The largest header in bytes that is read: the time to parse it grows with its square.
const MAX_HEADER: usize = 64 << 10;

/// The logarithm of the work factor for new passphrases. It takes 128 MiB for a moment. The tool
/// takes 18, and 256 MiB, which a small device may not have beside the process that it backs up.
const WORK_FACTOR: u8 = 17;

/// The largest logarithm of a work factor that is accepted. It takes 1 GiB.
const MAX_WORK_FACTOR: u8 = 20;

/// Encrypts a backup.
pub(super) struct Encryptor(Vec<Box<dyn Recipient>>);

impl Encryptor {
    /// Reads the keys. Returns `None` if there are none.
    pub(super) fn new(keys: &EncryptionKeys) -> Result<Option<Self>, KeyError> {
        if keys.is_empty() {
            return Ok(None);
        }
        if let Some(path) = &keys.passphrase_file {
            let mut recipient = scrypt::Recipient::new(passphrase(path)?);
            recipient.set_work_factor(WORK_FACTOR);
            return Ok(Some(Self(vec![Box::new(recipient)])));
        }

        let mut recipients: Vec<Box<dyn Recipient>> = Vec::new();
        for (number, text) in (1..).zip(&keys.recipients) {
            let place = || format!("--recipient, number {number}");
            recipients.push(Box::new(recipient(text, place)?));
        }
        for path in &keys.recipients_files {
            for_each_key(path, "it has no recipient", |text, place| {
                recipients.push(Box::new(recipient(text, place)?));
                Ok(())
            })?;
        }

        if recipients.len() > MAX_RECIPIENTS {
            return Err(KeyError::Form {
                place: "--recipient and --recipients-file".to_owned(),
                why: "there are over 256 recipients",
            });
        }
        Ok(Some(Self(recipients)))
    }

    /// Returns the encrypted file.
    pub(super) fn encrypt(&self, plain: &[u8]) -> Vec<u8> {
        let recipients = self.0.iter().map(|one| &**one as &dyn Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients)
            .expect("a passphrase, or recipients of one kind");
        let mut file = Vec::new();
        let written = encryptor.wrap_output(&mut file).and_then(|mut output| {
            output.write_all(plain)?;
            output.finish()
        });
        written.expect("a vector takes every byte");
        file
    }
}

/// Decrypts a backup.
pub(super) struct Decryptor {
    identities: Vec<Box<dyn Identity>>,
    lock: Lock,
}

impl Decryptor {
    /// Reads the keys. Returns `None` if there are none.
    pub(super) fn new(keys: &DecryptionKeys) -> Result<Option<Self>, KeyError> {
        if keys.is_empty() {
            return Ok(None);
        }
        if let Some(path) = &keys.passphrase_file {
            let mut identity = scrypt::Identity::new(passphrase(path)?);
            identity.set_max_work_factor(MAX_WORK_FACTOR);
            return Ok(Some(Self {
                identities: vec![Box::new(identity)],
                lock: Lock::Passphrase,
            }));
        }

        let mut identities: Vec<Box<dyn Identity>> = Vec::new();
        for path in &keys.identity_files {
            for_each_key(path, "it has no identity", |text, place| {
                let identity = text.parse::<x25519::Identity>();
                let identity = identity.map_err(|_shows_no_more| KeyError::Form {
                    place: place(),
                    why: "it is not an identity of age (AGE-SECRET-KEY-1...); for keys of SSH and \
                          plugins use the tool: age -d -i IDENTITY FILE | gatelet restore -",
                })?;
                identities.push(Box::new(identity));
                Ok(())
            })?;
        }
        Ok(Some(Self {
            identities,
            lock: Lock::Identity,
        }))
    }

    /// Returns the content of an encrypted file that has this lock.
    pub(super) fn decrypt(&self, lock: Lock, file: &[u8]) -> Result<Vec<u8>, DecryptError> {
        if lock != self.lock {
            return Err(lock.missing_key());
        }

        let mut binary = Vec::new();
        let file = match file.starts_with(ARMOR) {
            false => file,
            true => {
                let read = ArmoredReader::new(file).read_to_end(&mut binary);
                read.map_err(of_io)?;
                &binary
            }
        };
        if !VERSION.starts_with(file) && !file.starts_with(VERSION) {
            return Err(match file.starts_with(MAGIC) {
                true => DecryptError::Version,
                false => DecryptError::Damaged,
            });
        }
        let header = &file[..file.len().min(MAX_HEADER)];
        if memmem::find(header, b"\n--- ").is_none() {
            return Err(match header.len() < MAX_HEADER {
                true => DecryptError::Torn,
                false => DecryptError::Damaged,
            });
        }

        let decryptor = age::Decryptor::new_buffered(file).map_err(|error| self.of_age(error))?;
        let mut identities = self.identities.iter().map(|one| &**one as &dyn Identity);
        let decrypted = decryptor.decrypt(&mut identities);
        let mut reader = decrypted.map_err(|error| self.of_age(error))?;
        let mut plain = Vec::new();
        reader.read_to_end(&mut plain).map_err(of_io)?;
        Ok(plain)
    }

    /// Returns an error of the library in our words. Its own text for a work factor overflows.
    fn of_age(&self, error: age::DecryptError) -> DecryptError {
        match error {
            age::DecryptError::NoMatchingKeys => DecryptError::WrongIdentity,
            age::DecryptError::DecryptionFailed if self.lock == Lock::Passphrase => {
                DecryptError::WrongPassphrase
            }
            age::DecryptError::ExcessiveWork { required, .. } => DecryptError::WorkFactor {
                found: required,
                limit: MAX_WORK_FACTOR,
            },
            age::DecryptError::Io(error) => of_io(error),
            _ => DecryptError::Damaged,
        }
    }
}

fn of_io(error: io::Error) -> DecryptError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => DecryptError::Torn,
        _ => DecryptError::Damaged,
    }
}

/// Parses a recipient.
fn recipient(text: &str, place: impl Fn() -> String) -> Result<x25519::Recipient, KeyError> {
    text.parse().map_err(|_shows_no_more| KeyError::Form {
        place: place(),
        why: match text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            true => "it is an identity, which is secret; `age-keygen -y` prints its recipient",
            false => {
                "it is not a recipient of age (age1...); for keys of SSH and plugins use the \
                 tool: gatelet backup - | age -r RECIPIENT > FILE"
            }
        },
    })
}

/// Calls a function with each line of a file that holds a key, and with a function that names its
/// place. A file without such a line is an error.
fn for_each_key(
    path: &Path,
    empty: &'static str,
    mut take: impl FnMut(&str, &dyn Fn() -> String) -> Result<(), KeyError>,
) -> Result<(), KeyError> {
    let text = read(path)?;
    let lines = (1..).zip(text.expose_secret().lines().map(str::trim));
    let mut keys = lines
        .filter(|(_number, line)| !line.is_empty() && !line.starts_with('#'))
        .peekable();
    if keys.peek().is_none() {
        return Err(form(path, empty));
    }
    for (number, line) in keys {
        take(line, &|| format!("{}, line {number}", path.display()))?;
    }
    Ok(())
}

/// Reads a passphrase: the file without the end of its line.
fn passphrase(path: &Path) -> Result<SecretString, KeyError> {
    let text = read(path)?;
    let text = text.expose_secret();
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line {
        "" => Err(form(path, "it has no passphrase")),
        _ if line.contains('\n') => Err(form(path, "a passphrase is one line, and it has several")),
        _ => Ok(SecretString::from(line)),
    }
}

/// Reads a file of keys.
fn read(path: &Path) -> Result<SecretString, KeyError> {
    let failed = |source| KeyError::File {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let read = file.take(MAX_KEY_FILE + 1).read_to_end(&mut bytes);
    read.map_err(failed)?;
    if bytes.len() as u64 > MAX_KEY_FILE {
        return Err(form(path, "it is over 1 MiB"));
    }
    if bytes.starts_with(MAGIC) || bytes.starts_with(ARMOR) {
        return Err(form(
            path,
            "it is encrypted itself: decrypt it with `age -d`",
        ));
    }
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_shows_no_more| form(path, "it is not text"))?;
    Ok(SecretString::from(text))
}

fn form(path: &Path, why: &'static str) -> KeyError {
    KeyError::Form {
        place: path.display().to_string(),
        why,
    }
}
