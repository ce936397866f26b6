//! Percent-encoding (RFC 3986 section 2.1) and the form encoding of query strings, where `+` is a
//! space.

use super::hex;

/// Reports whether RFC 3986 (section 2.3) lets this byte stand in any part of a URI as it is.
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Encodes every byte that is not unreserved, so that the result fits into a path segment or a
/// query value.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_unreserved(byte) {
            out.push(char::from(byte));
        } else {
            escape(byte, &mut out);
        }
    }
    out
}

/// Appends the escape of a byte.
pub fn escape(byte: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 0x0f)]));
}

/// Decodes every well-formed escape and keeps a malformed one as it is.
pub fn decode(text: &str) -> Vec<u8> {
    decode_octets(text, false).0
}

/// Decodes a query name or value: like [`decode`], and `+` is a space.
pub fn decode_form(text: &str) -> Vec<u8> {
    decode_octets(text, true).0
}

/// Decodes a query name or value; `None` if an escape is malformed or the result is not UTF-8.
pub fn decode_form_strict(text: &str) -> Option<String> {
    let (octets, well_formed) = decode_octets(text, true);
    String::from_utf8(octets).ok().filter(|_| well_formed)
}

/// Returns the byte of an escape, given the text behind its `%`; `None` if it is malformed.
pub fn escaped_octet(after_percent: &[u8]) -> Option<u8> {
    match after_percent {
        [high, low, ..] => hex::octet(*high, *low),
        _ => None,
    }
}

/// Returns the decoded bytes, and false if an escape was malformed.
fn decode_octets(text: &str, plus_is_space: bool) -> (Vec<u8>, bool) {
    let mut out = Vec::with_capacity(text.len());
    let mut well_formed = true;
    let mut rest = text.as_bytes();

    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, escaped_octet(after)) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                rest = &after[2..];
            }
            (b'%', None) => {
                well_formed = false;
                out.push(byte);
            }
            (b'+', _) if plus_is_space => out.push(b' '),
            _ => out.push(byte),
        }
    }

    (out, well_formed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_unreserved_bytes_stay() {
        assert_eq!(encode("aZ09-._~"), "aZ09-._~");
        assert_eq!(encode("a b/c+d=é%"), "a%20b%2Fc%2Bd%3D%C3%A9%25");
    }

    #[test]
    fn malformed_escapes_stay() {
        assert_eq!(decode("%41%zz%4%+f+"), b"A%zz%4%+f+");
    }

    #[test]
    fn a_plus_is_a_space_only_in_forms() {
        assert_eq!(decode("a+b%2B"), b"a+b+");
        assert_eq!(decode_form("a+b%2B"), b"a b+");
    }

    #[test]
    fn strict_decoding_refuses_what_it_cannot_read() {
        assert_eq!(decode_form_strict("a+%C3%A9").as_deref(), Some("a é"));
        for text in ["%", "%4", "%zz", "%+f", "%ff"] {
            assert_eq!(decode_form_strict(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn decoding_reverses_encoding(text in ".*") {
            let encoded = encode(&text);
            prop_assert_eq!(decode(&encoded), text.as_bytes());
            prop_assert_eq!(decode_form_strict(&encoded), Some(text));
        }
    }
}
