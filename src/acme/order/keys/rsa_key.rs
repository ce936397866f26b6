//! New RSA keys, which ring cannot generate. ring signs with them like with all others.

use getrandom::SysRng;
use rcgen::KeyPair;
use rsa::{PrivateKey, pkcs8::EncodePrivateKey};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::error::KeyError;

/// Generates a key. This takes seconds on a small board.
pub(super) fn generate(bits: usize) -> Result<KeyPair, KeyError> {
    let key = PrivateKey::new(&mut SysRng, bits)?;
    let der = key.to_pkcs8_der()?;
    Ok(KeyPair::try_from(&PrivatePkcs8KeyDer::from(
        der.as_bytes(),
    ))?)
}

/// Returns the number of bits of a key; `None` if it is not an RSA key.
pub(super) fn bits(key: &KeyPair) -> Option<usize> {
    let key = ring::rsa::KeyPair::from_pkcs8(&key.serialize_der()).ok()?;
    Some(key.public().modulus_len() * 8)
}
