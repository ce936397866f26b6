//! New RSA keys, which ring cannot generate. ring signs with them like with all others.

use rcgen::KeyPair;
use ring::rand::{SecureRandom, SystemRandom};
use rsa::{
    PrivateKey,
    pkcs8::EncodePrivateKey,
    rand_core::{TryCryptoRng, TryRng},
};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::error::KeyError;

/// Generates a key. This takes seconds on a small board.
pub(super) fn generate(bits: usize) -> Result<KeyPair, KeyError> {
    let key = PrivateKey::new(&mut RingRandom(SystemRandom::new()), bits)?;
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

/// ring's source of randomness.
struct RingRandom(SystemRandom);

impl TryRng for RingRandom {
    type Error = RandomError;

    fn try_next_u32(&mut self) -> Result<u32, RandomError> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, RandomError> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        self.0.fill(bytes).map_err(|_unspecified| RandomError)
    }
}

impl TryCryptoRng for RingRandom {}

/// The system has no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the system has no randomness")]
struct RandomError;
