//! Regular expressions as Traefik has them (those of Go): found anywhere in a text, and replaced.

use std::{
    cmp::Ordering,
    hash::{Hash, Hasher},
    ops::Range,
};

use regex::bytes::Regex;

use super::{
    PatternError,
    expression::OTHER_CLASSES,
    pattern::{MAX_TEXT, compile},
};

/// The most places that are replaced in one text. Each is looked for from the end of the last one,
/// which can take as long as the text is.
const MAX_PLACES: usize = 256;

/// The most bytes of a text with replaced places.
pub(super) const MAX_RESULT: usize = 16 * 1024;

/// A regular expression that is found anywhere in a text, and is replaced there.
#[derive(Clone, Debug)]
pub struct GoPattern {
    text: Box<str>,
    regex: Regex,
}

impl GoPattern {
    /// Compiles a regular expression.
    ///
    /// # Errors
    /// If it is no regular expression, means something else in Go, or is above a bound.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_TEXT {
            return Err(PatternError::TooLong);
        }
        if let Some(operator) = OTHER_CLASSES.iter().find(|one| text.contains(**one)) {
            return Err(PatternError::Syntax(
                format!("{operator:?} is not supported").into(),
            ));
        }
        Ok(Self {
            text: text.into(),
            regex: compile(text)?,
        })
    }

    /// Returns the expression.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Reports whether it is in a text.
    pub fn is_in(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// Finds its first place in a text.
    pub fn find(&self, text: &[u8]) -> Option<Range<usize>> {
        self.regex.find(text).map(|found| found.range())
    }

    /// Replaces all its places in a text. `$1` and `${name}` stand for its groups. Returns `None`
    /// if there are too many places, or the result is too long.
    pub fn replace(&self, text: &[u8], by: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut end = 0;
        for (count, groups) in self.regex.captures_iter(text).enumerate() {
            let place = groups.get(0)?;
            out.extend_from_slice(&text[end..place.start()]);
            groups.expand(by.as_bytes(), &mut out);
            end = place.end();
            if count >= MAX_PLACES || out.len() > MAX_RESULT {
                return None;
            }
        }

        out.extend_from_slice(&text[end..]);
        (out.len() <= MAX_RESULT).then_some(out)
    }
}

impl PartialEq for GoPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for GoPattern {}

impl PartialOrd for GoPattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for GoPattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for GoPattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(pattern: &str, by: &str, text: &str) -> Option<String> {
        let pattern = GoPattern::parse(pattern).expect("a pattern");
        let out = pattern.replace(text.as_bytes(), by)?;
        Some(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn groups_stand_for_what_they_found() {
        for (pattern, by, text, expected) in [
            ("^/api/(.*)", "/$1", "/api/x", "/x"),
            ("^/api/(.*)", "/${1}y", "/api/x", "/xy"),
            // As in Go, the longest name counts, and an unknown one is empty.
            ("^/api/(.*)", "/$1y", "/api/x", "/"),
            ("(?P<rest>b+)", "[$rest]", "abbcb", "a[bb]c[b]"),
            ("b", "$$", "abc", "a$c"),
            ("x*", "-", "abc", "-a-b-c-"),
            ("nothing", "-", "abc", "abc"),
        ] {
            assert_eq!(replaced(pattern, by, text).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_result_has_a_bound() {
        assert_eq!(replaced("a", "b", &"a".repeat(MAX_PLACES + 1)), None);
        assert_eq!(replaced(".*", &"$0".repeat(100), &"a".repeat(1000)), None);
        assert!(GoPattern::parse(&"a".repeat(MAX_TEXT + 1)).is_err());
        assert!(GoPattern::parse("[a--b]").is_err());
        assert!(GoPattern::parse("(?=a)").is_err());
    }
}
