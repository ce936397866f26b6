//! Foreign text for messages.

use std::fmt::Display;

/// Formats foreign text on one line of at most `most` bytes (at least 3), without control
/// characters. A text that is cut ends in `…`.
pub fn one_line(text: impl Display, most: usize) -> String {
    let text = text.to_string();
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let mut line = words.join(" ");

    if line.len() > most {
        line.truncate(line.floor_char_boundary(most - '…'.len_utf8()));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_becomes_one_bounded_line() {
        assert_eq!(one_line(" a\n\tb\u{1b}[31m ", 100), "a b [31m");
        assert_eq!(one_line("abcdef", 6), "abcdef");
        assert_eq!(one_line("abcdefg", 6), "abc…");
        assert_eq!(one_line("ééé", 5), "é…");
        assert_eq!(one_line("", 3), "");
    }
}
