//! Hashes whose output is the same in every release and on every machine, for names and values that
//! are stored or shown. `std`'s `DefaultHasher` promises neither.

use ring::digest;

use super::hex;

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// Returns the 64-bit FNV-1a hash of the bytes. It is not resistant to chosen collisions.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    extend(OFFSET, bytes)
}

/// Returns the FNV-1a hash of several texts, each followed by the byte `0xff`, which UTF-8 does not
/// contain: `["ab", "c"]` and `["a", "bc"]` differ.
pub fn fnv1a_fields(fields: &[&str]) -> u64 {
    fields.iter().fold(OFFSET, |hash, field| {
        extend(extend(hash, field.as_bytes()), &[0xff])
    })
}

fn extend(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    })
}

/// Returns the SHA-256 of the bytes in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Returns the SHA-256 of several byte strings, each behind its length: `["ab", "c"]` and
/// `["a", "bc"]` differ.
pub fn sha256_fields<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut all = digest::Context::new(&digest::SHA256);
    for field in fields {
        all.update(&(field.len() as u64).to_le_bytes());
        all.update(field);
    }
    all.finish().as_ref().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_matches_the_published_vectors() {
        // draft-eastlake-fnv, appendix C.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_border_between_fields_counts() {
        assert_ne!(fnv1a_fields(&["ab", "c"]), fnv1a_fields(&["a", "bc"]));
        assert_ne!(fnv1a_fields(&["a", ""]), fnv1a_fields(&["a"]));
        assert_eq!(fnv1a_fields(&["a"]), fnv1a(b"a\xff"));
    }
}
