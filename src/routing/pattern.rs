//! Regular expressions of rules. They are bounded in text and memory, and take time in proportion
//! to what they are compared with.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use regex::bytes::{Regex, RegexBuilder};

/// The most bytes of an expression, as in Gateway API.
pub(super) const MAX_TEXT: usize = 1024;
/// The most memory of a compiled expression, in bytes.
const MAX_PROGRAM: usize = 64 * 1024;
/// The most memory of the states that are kept while an expression is evaluated, in bytes.
const MAX_STATES: usize = 128 * 1024;

/// A regular expression that takes whole texts, or those that begin with a match. `.` is a byte,
/// and classes are those of ASCII.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Box<str>,
    /// True if a match may end before the text does.
    is_open: bool,
    /// The literal beginning of all that it matches.
    prefix: Box<str>,
    regex: Regex,
}

/// The reason why a regular expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is longer than 1024 bytes.
    #[error("the expression is longer than {MAX_TEXT} bytes")]
    TooLong,
    /// It needs more memory than one may have.
    #[error("the expression needs too much memory")]
    TooLarge,
    /// It is no regular expression, for this reason.
    #[error("it is not a regular expression: {0}")]
    Syntax(Box<str>),
}

impl Pattern {
    /// Compiles a regular expression.
    ///
    /// # Errors
    /// If it is no regular expression, or above a bound.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_TEXT {
            return Err(PatternError::TooLong);
        }

        // By itself first: the parentheses around it would complete some that are no expressions.
        compile(text)?;
        let regex = compile(&format!("^(?:{text})$"))?;
        Ok(Self::of(text, false, regex))
    }

    /// Compiles a regular expression for the beginning of texts.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_start(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_TEXT {
            return Err(PatternError::TooLong);
        }
        compile(text)?;
        let regex = compile(&format!("^(?:{text})"))?;
        Ok(Self::of(text, true, regex))
    }

    fn of(text: &str, is_open: bool, regex: Regex) -> Self {
        Self {
            text: text.into(),
            is_open,
            prefix: literal_prefix(text).into(),
            regex,
        }
    }

    /// Compiles a regular expression that may match any part of a text.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_within(text: &str, ignores_case: bool) -> Result<Self, PatternError> {
        // By itself first: the parentheses around it would complete some that are no expressions.
        Self::parse(text)?;
        let case = if ignores_case { "(?i)" } else { "" };
        Self::parse(&format!("(?s:.*){case}(?:{text})(?s:.*)"))
    }

    /// Returns the expression.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the literal beginning of all that it matches.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Reports whether it takes the text.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }
}

pub(super) fn compile(text: &str) -> Result<Regex, PatternError> {
    let compiled = RegexBuilder::new(text)
        .unicode(false)
        .size_limit(MAX_PROGRAM)
        .dfa_size_limit(MAX_STATES)
        .build();
    compiled.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
        other => {
            // The message shows the expression; its last line has the reason.
            let message = other.to_string();
            let reason = message.lines().last().unwrap_or_default();
            PatternError::Syntax(reason.trim_start_matches("error: ").into())
        }
    })
}

/// Returns characters that every match begins with. Stops at the first special one.
fn literal_prefix(text: &str) -> &str {
    if text.contains('|') {
        return "";
    }
    let text = text.strip_prefix('^').unwrap_or(text);
    let special = |c: char| "\\.+*?()[]{}^$".contains(c);
    let end = text.find(special).unwrap_or(text.len());
    let (literal, rest) = text.split_at(end);

    // The last character may occur never. A plus can be repeated itself: `a+*`.
    if rest.starts_with(['*', '+', '?', '{']) {
        let last = literal.chars().next_back().map_or(0, char::len_utf8);
        return &literal[..literal.len() - last];
    }
    literal
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.is_open) == (&other.text, other.is_open)
    }
}

impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&self.text, self.is_open).cmp(&(&other.text, other.is_open))
    }
}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.text, self.is_open).hash(state);
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_whole_texts() {
        for (pattern, text, expected) in [
            ("/v[0-9]+/x", "/v12/x", true),
            ("/v[0-9]+/x", "/v12/xy", false),
            ("/a|/b", "/b", true),
            ("/a|/b", "/bc", false),
            ("(?i)/a", "/A", true),
            ("/a", "/A", false),
            ("/.*", "/%C3%A4", true),
        ] {
            let matched = Pattern::parse(pattern)
                .expect("a pattern")
                .matches(text.as_bytes());
            assert_eq!(matched, expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn an_open_pattern_takes_what_begins_with_a_match() {
        for (pattern, text, expected) in [
            ("/app[0-9]+", "/app15/sub", true),
            ("/app[0-9]+", "/App1", false),
            ("/app[0-9]+$", "/app1", true),
            ("/app[0-9]+$", "/app1/x", false),
            ("/app", "/x/app", false),
            ("/a|/b", "/bc", true),
            ("/a|/b", "/x/b", false),
        ] {
            let open = Pattern::parse_start(pattern).expect("a pattern");
            assert_eq!(open.matches(text.as_bytes()), expected, "{pattern} {text}");
        }
        assert_ne!(Pattern::parse("/a"), Pattern::parse_start("/a"));
    }

    #[test]
    fn every_match_begins_with_the_literal_prefix() {
        for (pattern, prefix) in [
            ("/api/v[0-9]+", "/api/v"),
            ("/apis?/x", "/api"),
            ("/a*", "/"),
            ("/a+b", "/"),
            ("/a+*b", "/"),
            ("/a{0}b", "/"),
            ("/a|/b", ""),
            ("^/a.b", "/a"),
            ("(?i)/a", ""),
            ("/plain", "/plain"),
            ("/\u{e4}?", "/"),
        ] {
            assert_eq!(
                Pattern::parse(pattern).expect("a pattern").prefix(),
                prefix,
                "{pattern}"
            );
        }
    }

    #[test]
    fn expressions_above_a_bound_are_refused() {
        let long = "a".repeat(MAX_TEXT + 1);
        assert_eq!(Pattern::parse(&long), Err(PatternError::TooLong));
        let large = Pattern::parse("/(a{1,100}){1,100}");
        assert_eq!(large, Err(PatternError::TooLarge));
        assert!(matches!(
            Pattern::parse("/a)|(/b"),
            Err(PatternError::Syntax(_))
        ));
        let broken = Pattern::parse("/(").expect_err("no expression");
        assert_eq!(
            broken.to_string(),
            "it is not a regular expression: unclosed group"
        );
    }

    proptest::proptest! {
        /// Rules are looked up by the prefix: nothing that is taken may be without it.
        #[test]
        fn what_is_taken_has_the_prefix(
            text in "\\^?/[a-c/.()|\\\\$^*+?{}\\[\\]2]{0,12}",
            path in "/[a-c/.2]{0,12}",
        ) {
            for pattern in [Pattern::parse(&text), Pattern::parse_start(&text)] {
                let Ok(pattern) = pattern else { return Ok(()) };
                if pattern.matches(path.as_bytes()) {
                    proptest::prop_assert!(path.starts_with(pattern.prefix()), "{} {}", text, path);
                }
            }
        }
    }
}
