//! Metadata of new Kubernetes objects: the time, a uid, a random name suffix.

use ring::rand::{SecureRandom, SystemRandom};

use super::{hex, time::UnixSeconds};

/// Returns the wall clock's time for `metadata.creationTimestamp`: RFC 3339, whole seconds, UTC.
pub fn now() -> String {
    UnixSeconds::now().to_string()
}

/// Returns a random UUID (RFC 9562 version 4).
pub fn uid() -> String {
    let mut bytes = random::<16>();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex::encode(&bytes);
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

/// Returns five characters for `metadata.generateName`, of the alphabet that Kubernetes uses (no
/// vowels, so no words).
fn name_suffix() -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    random::<5>()
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}

/// Returns a name that begins with `metadata.generateName`. Cuts a long prefix, so that the name
/// fits into a label (k8s.io/apiserver/pkg/storage/names).
pub fn generate_name(prefix: &str) -> String {
    const LONGEST_PREFIX: usize = 63 - 5;
    let prefix: String = prefix.chars().take(LONGEST_PREFIX).collect();
    format!("{prefix}{}", name_suffix())
}

/// Returns random bytes of the operating system.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the operating system has random numbers");
    bytes
}
