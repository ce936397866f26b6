//! The hash of hosts in the routing table: fast, and with a secret, so that no one can choose many
//! hosts that collide.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Odd numbers whose bits look random.
const FACTORS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xe703_7ed1_a0b4_28db];

/// The hash function with its secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostHash {
    secret: u64,
}

/// The state of a hash under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostHasher(u64);

impl HostHash {
    /// Creates a hash function with a secret of its own.
    pub(super) fn new() -> Self {
        Self {
            secret: RandomState::new().hash_one(0),
        }
    }
}

impl BuildHasher for HostHash {
    type Hasher = HostHasher;

    fn build_hasher(&self) -> HostHasher {
        HostHasher(self.secret)
    }
}

impl HostHasher {
    fn add(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(FACTORS[0]);
        self.0 = (product as u64) ^ ((product >> 64) as u64) ^ FACTORS[1];
    }
}

impl Hasher for HostHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words
            .iter()
            .for_each(|word| self.add(u64::from_le_bytes(*word)));

        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        // The length makes "a" and "a\0" differ.
        self.add(u64::from_le_bytes(last) ^ (bytes.len() as u64).rotate_right(8));
    }

    fn write_u8(&mut self, _end_of_text: u8) {}

    fn finish(&self) -> u64 {
        let product = u128::from(self.0) * u128::from(FACTORS[1]);
        (product as u64) ^ ((product >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn hosts_spread_over_all_bits_of_the_hash() {
        let hash = HostHash::new();
        let hashes: Vec<u64> = (0..10_000)
            .map(|number| hash.hash_one(format!("h{number}.example").as_str()))
            .collect();
        for shift in [0, 20, 40, 56] {
            let buckets: HashSet<u64> = hashes.iter().map(|hash| hash >> shift & 0xff).collect();
            assert_eq!(buckets.len(), 256, "{shift}");
        }
        let different: HashSet<u64> = hashes.iter().copied().collect();
        assert_eq!(different.len(), hashes.len());
        assert_ne!(HostHash::new().hash_one("a"), HostHash::new().hash_one("a"));
    }
}
