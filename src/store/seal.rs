//! Private keys at rest: records that hold them are encrypted with a key that lies outside the
//! state directory (ChaCha20-Poly1305, RFC 8439), so that a disk or a backup of the directory does
//! not reveal them.
//!
//! A sealed value says which key it was sealed with, and is bound to the name of its record: it
//! cannot be moved to another one.

use std::{
    fmt, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest,
    rand::{SecureRandom, SystemRandom},
};

use super::{Batch, Store, StoreError, area::Areas, settings::Settings};
use crate::util::hex;

/// Begins a sealed value. No plain record begins like this: it is text, or a digit and text.
const MAGIC: &[u8] = b"\x02gts1";
/// Length of the part of a key's hash that identifies it.
const ID: usize = 8;
const KEY: usize = 32;
/// Prefix of the hashed bytes, so that the hash identifies a key for this purpose only.
const NAMING: &[u8] = b"gatelet seal key\0";

/// The reason why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The file cannot be read.
    #[error("{setting}: {}: {why}", .path.display())]
    File {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The problem with it.
        why: String,
    },
}

/// Setting of the key that is used.
pub(super) const KEY_SETTING: &str = "store.seal_key_file";
/// Setting of the keys that only unseal.
pub(super) const OLD_SETTING: &str = "store.old_seal_key_files";

/// The keys: one that seals, if one is configured, and those that were used before.
#[derive(Clone, Debug, Default)]
pub struct SealKeys {
    current: Option<SealKey>,
    old: Vec<SealKey>,
}

/// One key.
#[derive(Clone)]
struct SealKey {
    id: [u8; ID],
    key: Arc<LessSafeKey>,
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey")
    }
}

impl SealKey {
    fn new(bytes: &[u8; KEY]) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(NAMING);
        hash.update(bytes);
        let mut id = [0; ID];
        id.copy_from_slice(&hash.finish().as_ref()[..ID]);
        let key = UnboundKey::new(&CHACHA20_POLY1305, bytes)
            .expect("32 bytes are a key of this algorithm");
        Self {
            id,
            key: Arc::new(LessSafeKey::new(key)),
        }
    }

    /// Reads 32 bytes: as they are, or as base64 or hexadecimal text.
    fn read(setting: &'static str, path: &Path) -> Result<Self, SealError> {
        let wrong = |why: String| SealError::File {
            setting,
            path: path.to_owned(),
            why,
        };

        let bytes = fs::read(path).map_err(|error| wrong(error.to_string()))?;
        if fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o077 != 0) {
            tracing::warn!(
                file = %path.display(),
                "others than the owner may read the key that the state is sealed with"
            );
        }

        parse(&bytes).map(|bytes| Self::new(&bytes)).ok_or_else(|| {
            wrong(
                "it has to hold 32 bytes, as they are or in base64; \
                 `openssl rand -base64 32` makes such"
                    .to_owned(),
            )
        })
    }
}

fn parse(bytes: &[u8]) -> Option<[u8; KEY]> {
    if let Ok(raw) = bytes.try_into() {
        return Some(raw);
    }
    let text = std::str::from_utf8(bytes).ok()?.trim();
    // 64 digits are never base64 of 32 bytes, which has 43 or 44 characters.
    hex::decode(text)
        .and_then(|key| key.try_into().ok())
        .or_else(|| STANDARD.decode(text).ok()?.try_into().ok())
}

impl SealKeys {
    /// Reads the key that seals, and those that values may still be sealed with.
    ///
    /// # Errors
    /// A file cannot be read, or holds no key.
    pub fn read(settings: &Settings) -> Result<Self, SealError> {
        let (current, old) = (&settings.seal_key_file, &settings.old_seal_key_files);
        Ok(Self {
            current: current
                .as_deref()
                .map(|path| SealKey::read(KEY_SETTING, path))
                .transpose()?,
            old: old
                .iter()
                .map(|path| SealKey::read(OLD_SETTING, path))
                .collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.current.is_none() && self.old.is_empty()
    }

    /// Reports whether the value of a record has the configured form, sealed or plain; `None` if it
    /// is sealed with an unknown key.
    pub(super) fn is_as_configured(&self, areas: Areas, name: &str, value: &[u8]) -> Option<bool> {
        match sealed(value) {
            None => Some(self.current.is_none() || !areas.holds_keys(name)),
            Some((id, _)) if self.current.as_ref().is_some_and(|key| key.id == id) => {
                Some(areas.holds_keys(name))
            }
            Some((id, _)) => self.old.iter().any(|key| key.id == id).then_some(false),
        }
    }

    /// Returns the value in the configured form: sealed or plain.
    pub(super) fn convert(
        &self,
        areas: Areas,
        name: &str,
        value: Vec<u8>,
    ) -> Result<Vec<u8>, StoreError> {
        if self.is_as_configured(areas, name, &value) == Some(true) {
            return Ok(value);
        }
        self.seal(areas, name, self.unseal(name, value)?)
    }

    fn seal(&self, areas: Areas, name: &str, mut value: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let Some(key) = self.current.as_ref().filter(|_| areas.holds_keys(name)) else {
            return Ok(value);
        };
        let failed = |_unspecified| {
            StoreError::Io("a record cannot be sealed: there is no randomness".to_owned())
        };

        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(failed)?;

        // The name of the record binds the value to it.
        let aad = Aad::from(name.as_bytes());
        key.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut value)
            .map_err(failed)?;
        Ok([MAGIC, &key.id, &nonce, &value].concat())
    }

    /// Returns records with their values unsealed.
    pub(super) fn unseal_all(
        &self,
        mut records: Vec<(String, Vec<u8>)>,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        for (name, value) in &mut records {
            if sealed(value).is_some() {
                *value = self.unseal(name, std::mem::take(value))?;
            }
        }
        Ok(records)
    }

    fn unseal(&self, name: &str, value: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let Some((id, rest)) = sealed(&value) else {
            return Ok(value);
        };
        let damaged = || StoreError::Damaged(format!("record {name} cannot be unsealed"));

        let key = self
            .current
            .iter()
            .chain(&self.old)
            .find(|key| key.id == id)
            .ok_or_else(damaged)?;
        let (nonce, content) = rest.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_short| damaged())?;

        let mut content = content.to_vec();
        let plain = key
            .key
            .open_in_place(nonce, Aad::from(name.as_bytes()), &mut content)
            .map_err(|_bad| damaged())?;
        Ok(plain.to_vec())
    }
}

/// Splits a sealed value into the id of its key and the rest; `None` if it is not sealed.
fn sealed(value: &[u8]) -> Option<(&[u8], &[u8])> {
    value.strip_prefix(MAGIC)?.split_at_checked(ID)
}

/// A store whose records with private keys are sealed.
#[derive(Debug)]
pub(super) struct Sealed {
    inner: Arc<dyn Store>,
    keys: SealKeys,
    areas: Areas,
}

impl Sealed {
    pub(super) fn new(inner: Arc<dyn Store>, keys: SealKeys, areas: Areas) -> Self {
        Self { inner, keys, areas }
    }
}

impl Store for Sealed {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner
            .get(key)?
            .map(|value| self.keys.unseal(key, value))
            .transpose()
    }

    fn scan(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.keys.unseal_all(self.inner.scan(prefix)?)
    }

    fn snapshot(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.keys.unseal_all(self.inner.snapshot()?)
    }

    fn commit(&self, mut batch: Batch) -> Result<(), StoreError> {
        super::check(&batch)?;
        for (key, value) in &mut batch.ops {
            if let Some(plain) = value.take() {
                *value = Some(self.keys.seal(self.areas, key, plain)?);
            }
        }
        self.inner.commit(batch)
    }

    fn settle(&self) -> Result<(), StoreError> {
        self.inner.settle()
    }

    fn trim_memory(&self) {
        self.inner.trim_memory();
    }
}

#[cfg(test)]
mod tests;
