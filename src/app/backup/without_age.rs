//! Stands for `cipher` in builds that neither encrypt nor decrypt.

use super::encryption::{DecryptError, DecryptionKeys, EncryptionKeys, KeyError, Lock};

/// Encrypts a backup. There is none in this build.
pub(super) enum Encryptor {}

impl Encryptor {
    pub(super) fn new(keys: &EncryptionKeys) -> Result<Option<Self>, KeyError> {
        match keys.is_empty() {
            true => Ok(None),
            false => Err(KeyError::NoEncryption),
        }
    }

    pub(super) fn encrypt(&self, _plain: &[u8]) -> Vec<u8> {
        match *self {}
    }
}

/// Decrypts a backup. There is none in this build.
pub(super) enum Decryptor {}

impl Decryptor {
    pub(super) fn new(keys: &DecryptionKeys) -> Result<Option<Self>, KeyError> {
        match keys.is_empty() {
            true => Ok(None),
            false => Err(KeyError::NoDecryption),
        }
    }

    pub(super) fn decrypt(&self, _lock: Lock, _file: &[u8]) -> Result<Vec<u8>, DecryptError> {
        match *self {}
    }
}
