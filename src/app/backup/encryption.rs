//! Encryption of a backup in the format of age (age-encryption.org/v1): the keys that the operator
//! names, and the recognition of encrypted files. `cipher` encrypts and decrypts.

use std::{io, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The beginning of an encrypted file, before the number of the format.
pub(super) const MAGIC: &[u8] = b"age-encryption.org/";

/// The beginning of an encrypted file that is text.
pub(super) const ARMOR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// The keys that a backup is encrypted with. It is not encrypted if there are none.
///
/// It has no `Debug`: an identity may stand where a recipient is expected.
#[derive(Clone, Default)]
pub struct EncryptionKeys {
    /// Recipients.
    pub recipients: Vec<String>,
    /// Files with a recipient in each line.
    pub recipients_files: Vec<PathBuf>,
    /// The file that holds a passphrase. It excludes recipients.
    pub passphrase_file: Option<PathBuf>,
}

impl EncryptionKeys {
    /// Returns whether there are no keys.
    pub(super) fn is_empty(&self) -> bool {
        self.recipients.is_empty()
            && self.recipients_files.is_empty()
            && self.passphrase_file.is_none()
    }
}

/// The keys that a backup is decrypted with.
#[derive(Clone, Default)]
pub struct DecryptionKeys {
    /// Files with an identity in each line.
    pub identity_files: Vec<PathBuf>,
    /// The file that holds a passphrase. It excludes identities.
    pub passphrase_file: Option<PathBuf>,
}

impl DecryptionKeys {
    /// Returns whether there are no keys.
    pub(super) fn is_empty(&self) -> bool {
        self.identity_files.is_empty() && self.passphrase_file.is_none()
    }
}

/// The reason why a key cannot be used. It shows no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// This build does not encrypt.
    #[error(
        "this gatelet is built without the feature `age`, which encrypts backups; use the tool of \
         that name: gatelet backup - | age -r RECIPIENT > FILE"
    )]
    NoEncryption,
    /// This build does not decrypt.
    #[error(
        "this gatelet is built without the feature `age`, which decrypts backups; use the tool of \
         that name: age -d -i IDENTITY FILE | gatelet restore -"
    )]
    NoDecryption,
    /// The file of a key cannot be read.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A key has the wrong form.
    #[error("{place}: {why}")]
    Form {
        /// The option, or file and line, that has it.
        place: String,
        /// The problem with it.
        why: &'static str,
    },
}

/// The reason why an encrypted backup cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    /// This build does not decrypt.
    #[error(
        "it is encrypted, and this gatelet is built without the feature `age`; use the tool of \
         that name: age -d -i IDENTITY FILE | gatelet restore -"
    )]
    NoDecryption,
    /// It needs an identity.
    #[error("it is encrypted for recipients: name the file of an identity with --identity")]
    NeedsIdentity,
    /// It needs a passphrase.
    #[error(
        "it is encrypted with a passphrase: name the file that holds it with --passphrase-file"
    )]
    NeedsPassphrase,
    /// A file without encryption was not expected: it may come from an attacker.
    #[error(
        "it is not encrypted in the format of age: restore it without --identity and \
         --passphrase-file if it is from you"
    )]
    NotEncrypted,
    /// The identities are not those of its recipients.
    #[error("it is encrypted for other recipients: no identity fits")]
    WrongIdentity,
    /// The passphrase does not fit.
    #[error("the passphrase does not fit")]
    WrongPassphrase,
    /// Its passphrase takes too much time and memory.
    #[error(
        "its passphrase has the work factor {found}, over the limit of {limit}: decrypt it with \
         the tool `age`"
    )]
    WorkFactor {
        /// The logarithm of the factor.
        found: u8,
        /// The largest one that gatelet accepts.
        limit: u8,
    },
    /// The format is a newer one.
    #[error("it has a newer format of age")]
    Version,
    /// The end is missing.
    #[error("it is torn: its end is missing")]
    Torn,
    /// It is not as age wrote it.
    #[error("it was changed or damaged, or its end is missing: it cannot be decrypted")]
    Damaged,
}

/// The kind of key that opens an encrypted file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    Identity,
    Passphrase,
}

impl Lock {
    /// Returns the lock of a file by its header, `None` for a file that is not encrypted.
    pub(super) fn of(file: &[u8]) -> Option<Self> {
        let decoded;
        let header = match file.strip_prefix(ARMOR) {
            None => file.strip_prefix(MAGIC)?,
            // The first line of text has the header as far as it matters here.
            Some(text) => {
                let line = text.trim_ascii_start().split(|byte| *byte == b'\n').next();
                decoded = STANDARD.decode(line.unwrap_or_default().trim_ascii_end());
                decoded.as_deref().unwrap_or_default()
            }
        };

        let mut lines = header.split(|byte| *byte == b'\n').skip(1);
        let stanza = lines.next().unwrap_or_default();
        Some(match stanza.starts_with(b"-> scrypt ") {
            true => Self::Passphrase,
            false => Self::Identity,
        })
    }

    /// Returns the error for a file with this lock that no fitting key is named for.
    pub(super) fn missing_key(self) -> DecryptError {
        match self {
            _ if !cfg!(feature = "age") => DecryptError::NoDecryption,
            Self::Identity => DecryptError::NeedsIdentity,
            Self::Passphrase => DecryptError::NeedsPassphrase,
        }
    }
}
