//! Characters that may not be encoded in paths, as the middlewares of Traefik refuse them.

use crate::util::percent;

/// The characters that a route refuses where a path has them encoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EncodedCharacters {
    /// The object that it is made from, for people.
    pub from: Box<str>,
    /// The characters, all of them ASCII.
    pub denied: Box<[u8]>,
}

impl EncodedCharacters {
    /// Returns the first of the characters that a normal path has encoded.
    pub fn find(&self, path: &str) -> Option<char> {
        let bytes = path.as_bytes();
        let escapes = memchr::memchr_iter(b'%', bytes);
        let mut octets = escapes.filter_map(|at| percent::escaped_octet(&bytes[at + 1..]));
        let found = octets.find(|octet| self.denied.contains(octet));
        found.map(char::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_characters_are_found_and_plain_ones_are_not() {
        let terms = EncodedCharacters {
            from: Box::default(),
            denied: Box::new(*b"/;%"),
        };
        for (path, expected) in [
            ("/a/b;c", None),
            ("/a%2Fb", Some('/')),
            ("/a%20b%3Bc", Some(';')),
            ("/a%252F", Some('%')),
            ("/a%3F", None),
            ("/%C3%A4", None),
        ] {
            assert_eq!(terms.find(path), expected, "{path}");
        }
    }
}
