//! Hashes of passwords, in the forms that files of Apache and nginx have: bcrypt, SHA-crypt,
//! MD5-crypt in both kinds, and the simple ones in braces.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use sha_crypt::{PasswordVerifier, ShaCrypt};

/// The highest cost of bcrypt that is computed: about two seconds on a small device.
const MAX_COST: u32 = 14;
/// The most rounds of SHA-crypt that are computed.
const MAX_ROUNDS: u32 = 500_000;
/// The most bytes of a password: the work of SHA-crypt grows with their square.
const MAX_PASSWORD: usize = 512;
/// The length of a SHA-1.
const SHA1: usize = 20;
/// The rounds of MD5-crypt.
const MD5_ROUNDS: usize = 1000;

/// The hash of a password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PasswordHash {
    form: Form,
    text: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    Bcrypt,
    ShaCrypt,
    /// MD5-crypt, with this mark at the beginning.
    Md5Crypt(&'static str),
    /// `{SHA}`: without a salt.
    Sha1,
    /// `{SSHA}`: with a salt behind it.
    SaltedSha1,
    /// `{PLAIN}`: the password itself.
    Plain,
    /// The digest of name, realm and password (RFC 7616), in hexadecimal.
    Digest,
}

/// The reason why a hash cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// It has none of the known forms.
    #[error("it is not a hash by bcrypt, SHA-crypt, MD5-crypt (apr1) or SHA")]
    Unknown,
    /// It has one of the forms, but is broken.
    #[error("its hash is broken")]
    Broken,
    /// It would take too long.
    #[error("its hash takes too long: bcrypt has a cost of at most 14, SHA-crypt 500000 rounds")]
    Costly,
}

impl PasswordHash {
    /// Parses a hash.
    ///
    /// # Errors
    /// If it has no known form, is broken, or would take too long to compare with.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let form = match text {
            _ if text.starts_with("$2") => bcrypt_form(text)?,
            _ if text.starts_with("$5$") => sha_crypt_form(text, "$5$", 43)?,
            _ if text.starts_with("$6$") => sha_crypt_form(text, "$6$", 86)?,
            _ if text.starts_with("$apr1$") => md5_crypt_form(text, "$apr1$")?,
            _ if text.starts_with("$1$") => md5_crypt_form(text, "$1$")?,
            _ if text.starts_with("{SHA}") => match decoded(text) {
                Some(bytes) if bytes.len() == SHA1 => Form::Sha1,
                _ => return Err(HashError::Broken),
            },
            _ if text.starts_with("{SSHA}") => match decoded(text) {
                Some(bytes) if bytes.len() > SHA1 => Form::SaltedSha1,
                _ => return Err(HashError::Broken),
            },
            _ if text.starts_with("{PLAIN}") => Form::Plain,
            _ => return Err(HashError::Unknown),
        };
        Ok(Self {
            form,
            text: text.into(),
        })
    }

    /// Returns the hash of a password that stands in the clear.
    pub fn plain(password: &str) -> Self {
        Self {
            form: Form::Plain,
            text: format!("{{PLAIN}}{password}").into(),
        }
    }

    /// Returns the digest of a name, a realm and a password.
    ///
    /// # Errors
    /// If it is not the MD5 of a text, in hexadecimal.
    pub fn digest(text: &str) -> Result<Self, HashError> {
        let is_digit = |byte: u8| byte.is_ascii_hexdigit();
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return Err(HashError::Broken);
        }
        Ok(Self {
            form: Form::Digest,
            text: text.to_ascii_lowercase().into(),
        })
    }

    /// Reports whether a response is right, given the function to it from the digest.
    pub fn is_right_digest(&self, expected: impl Fn(&str) -> String, response: &str) -> bool {
        self.form == Form::Digest
            && is_same(
                expected(&self.text).as_bytes(),
                response.to_ascii_lowercase().as_bytes(),
            )
    }

    /// Returns the text that it was parsed from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns true if a comparison takes no time that others would notice.
    pub fn is_cheap(&self) -> bool {
        matches!(
            self.form,
            Form::Sha1 | Form::SaltedSha1 | Form::Plain | Form::Digest
        )
    }

    /// Reports whether this is the hash of the password. May take seconds.
    pub fn verify(&self, password: &[u8]) -> bool {
        if password.len() > MAX_PASSWORD {
            return false;
        }
        match self.form {
            Form::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
            Form::ShaCrypt => ShaCrypt::default()
                .verify_password(password, &*self.text)
                .is_ok(),
            Form::Md5Crypt(mark) => {
                let rest = self.text.strip_prefix(mark).unwrap_or_default();
                let (salt, expected) = rest.split_once('$').unwrap_or_default();
                let computed = md5_crypt(password, salt.as_bytes(), mark);
                is_same(computed.as_bytes(), expected.as_bytes())
            }
            Form::Sha1 | Form::SaltedSha1 => {
                let stored = decoded(&self.text).unwrap_or_default();
                let (expected, salt) = stored.split_at(stored.len().min(SHA1));
                let salted = [password, salt].concat();
                let computed = digest(&SHA1_FOR_LEGACY_USE_ONLY, &salted);
                is_same(computed.as_ref(), expected)
            }
            // It is for logins by digests alone.
            Form::Digest => false,
            Form::Plain => {
                let stored = self.text.strip_prefix("{PLAIN}").unwrap_or_default();
                // Hashes have one length, so that the time of the comparison shows none.
                let hashed = |text: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, text);
                let (computed, expected) = (hashed(password), hashed(stored.as_bytes()));
                is_same(computed.as_ref(), expected.as_ref())
            }
        }
    }
}

/// Hides the hash: it can be guessed from.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash")
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

// === Forms ===

fn bcrypt_form(text: &str) -> Result<Form, HashError> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_bad| HashError::Broken)?;
    if parts.get_cost() > MAX_COST {
        return Err(HashError::Costly);
    }
    Ok(Form::Bcrypt)
}

fn sha_crypt_form(text: &str, mark: &str, length: usize) -> Result<Form, HashError> {
    let mut rest = text.strip_prefix(mark).unwrap_or_default();
    if let Some(rounds) = rest.strip_prefix("rounds=") {
        let (rounds, after) = rounds.split_once('$').ok_or(HashError::Broken)?;
        match rounds.parse::<u32>() {
            Ok(rounds) if rounds > MAX_ROUNDS => return Err(HashError::Costly),
            // Others than these are not read as rounds.
            Ok(1000..) => rest = after,
            _ => return Err(HashError::Broken),
        }
    }

    let (salt, hash) = rest.split_once('$').ok_or(HashError::Broken)?;
    if salt.len() > 16 || hash.len() != length || !is_crypt64(salt) || !is_crypt64(hash) {
        return Err(HashError::Broken);
    }
    Ok(Form::ShaCrypt)
}

fn md5_crypt_form(text: &str, mark: &'static str) -> Result<Form, HashError> {
    let rest = text.strip_prefix(mark).unwrap_or_default();
    let (salt, hash) = rest.split_once('$').ok_or(HashError::Broken)?;
    if salt.len() > 8 || hash.len() != 22 || !is_crypt64(hash) {
        return Err(HashError::Broken);
    }
    Ok(Form::Md5Crypt(mark))
}

/// Returns true if all characters are of the alphabet of crypt.
fn is_crypt64(text: &str) -> bool {
    text.bytes().all(|byte| ALPHABET.contains(&byte))
}

/// Returns the bytes behind the braces.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let (_, encoded) = text.split_once('}')?;
    STANDARD.decode(encoded).ok()
}

/// Compares two hashes in a time that does not show where they differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differs = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && differs == 0
}

// === MD5-crypt ===

/// The alphabet in which crypt writes six bits.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Computes the MD5-crypt of a password, without mark and salt. The mark of Apache (`$apr1$`) and
/// that of BSD (`$1$`) are the only difference between the two.
fn md5_crypt(password: &[u8], salt: &[u8], mark: &str) -> String {
    let inner = Md5::new_with_prefix(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize();

    let mut first = Md5::new_with_prefix(password)
        .chain_update(mark)
        .chain_update(salt);
    for start in (0..password.len()).step_by(inner.len()) {
        let length = inner.len().min(password.len() - start);
        first.update(&inner[..length]);
    }
    let mut bits = password.len();
    while bits > 0 {
        let byte = if bits & 1 == 1 {
            Some(&0)
        } else {
            password.first()
        };
        first.update([*byte.unwrap_or(&0)]);
        bits >>= 1;
    }

    let mut hash = first.finalize();
    for round in 0..MD5_ROUNDS {
        let mut next = Md5::new();
        if round % 2 == 1 {
            next.update(password);
        } else {
            next.update(hash);
        }
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        if round % 2 == 1 {
            next.update(hash);
        } else {
            next.update(password);
        }
        hash = next.finalize();
    }

    // The bytes in the order in which they are written, three at a time.
    let mut out = String::with_capacity(22);
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        let bits = u32::from(hash[a]) << 16 | u32::from(hash[b]) << 8 | u32::from(hash[c]);
        push_bits(&mut out, bits, 4);
    }
    push_bits(&mut out, u32::from(hash[11]), 2);
    out
}

/// Appends bits as characters, the lowest six first.
fn push_bits(out: &mut String, mut bits: u32, characters: usize) {
    for _ in 0..characters {
        out.push(char::from(ALPHABET[(bits & 0x3f) as usize]));
        bits >>= 6;
    }
}

#[cfg(test)]
mod tests;
