//! Hexadecimal text (RFC 4648 section 8).

/// Returns two lower-case digits per byte.
pub fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 0x0f)]));
    }
    text
}

/// Parses pairs of digits in either case; `None` for anything else.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| octet(pair[0], pair[1]))
        .collect()
}

/// Returns the byte that two digits stand for; `None` if one of them is no digit.
pub fn octet(high: u8, low: u8) -> Option<u8> {
    Some(digit(high)? << 4 | digit(low)?)
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_lower_case_digits() {
        assert_eq!(encode(&[0x00, 0x0f, 0xa0, 0xff]), "000fa0ff");
        assert_eq!(encode(&[]), "");
    }

    #[test]
    fn digits_of_either_case_are_read() {
        assert_eq!(decode("00fFA9"), Some(vec![0x00, 0xff, 0xa9]));
        assert_eq!(decode(""), Some(Vec::new()));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["0", "0g", "+f", "é", " 0", "0x00"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
