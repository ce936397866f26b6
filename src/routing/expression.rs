//! Paths that are regular expressions as ingress-nginx has them: without case, and anchored at the
//! start alone. They are compared with the decoded path, so that an encoded slash is no way around.

use std::{
    borrow::Cow,
    hash::{Hash, Hasher},
};

use regex::bytes::{CaptureLocations, Regex};

use super::{
    PatternError,
    pattern::{MAX_TEXT, compile},
};
use crate::util::percent;

/// The most bytes of a path that is compared with expressions, as in the buffers of nginx.
const MAX_PATH: usize = 8 * 1024;

/// Repetitions that give nothing back, and operators between classes: PCRE reads them in another
/// way. An expression with one is refused.
const OTHER_REPETITIONS: &[&str] = &["*+", "++", "?+", "}+"];
pub(super) const OTHER_CLASSES: &[&str] = &["&&", "~~", "--"];

/// The condition on a path of a host whose paths are regular expressions.
#[derive(Clone, Debug)]
pub struct Expression {
    text: Box<str>,
    /// The beginning of all that it matches, decoded and in lower case.
    literal: Box<[u8]>,
    /// `None` if it takes every path with that beginning.
    regex: Option<Regex>,
    /// True if a path must end behind that beginning, or go on with a slash.
    elements: bool,
}

/// A path in the form that expressions are compared with: decoded and without empty elements.
#[derive(Debug)]
pub struct Subject<'a> {
    path: &'a str,
    text: Cow<'a, [u8]>,
    /// The place of each byte in the path; empty if they are the same.
    places: Vec<u32>,
}

/// The groups of an expression in a path.
#[derive(Debug)]
pub struct Groups<'a> {
    subject: Option<Subject<'a>>,
    found: Option<CaptureLocations>,
}

impl Expression {
    /// Compiles the path of a rule. Escapes in it stand for their characters.
    ///
    /// # Errors
    /// If it is no regular expression, needs more than one can do without going back, or is above a
    /// bound.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_TEXT {
            return Err(PatternError::TooLong);
        }
        if let Some(operator) = other_dialect(text) {
            return Err(PatternError::Syntax(
                format!("{operator:?} is not supported").into(),
            ));
        }

        let source = decoded_source(text);
        let (literal, is_whole) = literal(&source);
        let regex = match is_whole {
            true => None,
            // As in nginx, an alternative at the top is not anchored.
            false => Some(compile(&format!("(?i)^{source}"))?),
        };
        Ok(Self {
            text: text.into(),
            literal: literal.to_ascii_lowercase().into(),
            regex,
            elements: false,
        })
    }

    /// Takes every path that begins with a literal one, which is normalised. `text` is for people.
    pub fn starting(text: &str, literal: &str) -> Self {
        Self {
            text: text.into(),
            literal: percent::decode(literal).to_ascii_lowercase().into(),
            regex: None,
            elements: false,
        }
    }

    /// Takes a literal path and what is below it. `text` is for people.
    pub fn elements(text: &str, literal: &str) -> Self {
        Self {
            elements: true,
            ..Self::starting(text, literal)
        }
    }

    /// Returns the path as it stands in the rule.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Reports whether it takes a path.
    pub fn takes(&self, subject: &Subject<'_>) -> bool {
        let length = self.literal.len();
        let text = &*subject.text;
        let begins = text
            .get(..length)
            .is_some_and(|start| start.eq_ignore_ascii_case(&self.literal));
        let ends = || !self.elements || matches!(text.get(length), None | Some(b'/'));
        begins && ends() && self.regex.as_ref().is_none_or(|regex| regex.is_match(text))
    }

    /// Finds its groups in a normalised path without empty elements.
    pub fn groups<'a>(&self, path: &'a str) -> Groups<'a> {
        let subject = Subject::of(path);
        let found = self.regex.as_ref().zip(subject.as_ref());
        let found = found.and_then(|(regex, subject)| {
            let mut places = regex.capture_locations();
            regex.captures_read(&mut places, &subject.text)?;
            Some(places)
        });
        Groups { subject, found }
    }
}

impl<'a> Subject<'a> {
    /// Reads a normalised path without empty elements. `None` if two readers could take it for
    /// different paths: with a dot segment or a line feed behind an escape, or if it is too long.
    pub fn of(path: &'a str) -> Option<Self> {
        if path.len() > MAX_PATH {
            return None;
        }
        if !path.contains('%') {
            let text = Cow::Borrowed(path.as_bytes());
            let places = Vec::new();
            return Some(Self { path, text, places });
        }

        let bytes = path.as_bytes();
        let (mut text, mut places) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let octet = (byte == b'%').then(|| percent::escaped_octet(&bytes[at + 1..]));
            let (octet, length) = match octet.flatten() {
                Some(octet) => (octet, 3),
                None => (byte, 1),
            };
            if octet != b'/' || text.last() != Some(&b'/') {
                text.push(octet);
                places.push(u32::try_from(at).ok()?);
            }
            at += length;
        }

        let is_dots = |segment: &[u8]| matches!(segment, b"." | b"..");
        // Some backends take a backslash for a slash.
        let mut segments = text.split(|byte| matches!(byte, b'/' | b'\\'));
        if text.contains(&b'\n') || segments.any(is_dots) {
            return None;
        }
        let text = Cow::Owned(text);
        Some(Self { path, text, places })
    }

    /// Returns a part of the path as it came, encoded.
    fn part(&self, from: usize, to: usize) -> &'a str {
        let place = |at: usize| {
            if self.places.is_empty() {
                return at;
            }
            let place = self.places.get(at);
            place.map_or(self.path.len(), |place| *place as usize)
        };
        self.path.get(place(from)..place(to)).unwrap_or_default()
    }
}

impl<'a> Groups<'a> {
    /// Returns no groups.
    pub fn none() -> Self {
        Self {
            subject: None,
            found: None,
        }
    }

    /// Returns false if the path could be read in two ways.
    pub fn is_clear(&self) -> bool {
        self.subject.is_some()
    }

    /// Returns the text of a group, encoded as in the path; empty if there is none.
    pub fn get(&self, number: usize) -> &'a str {
        let place = self.found.as_ref().and_then(|found| found.get(number));
        let part = |(from, to): (usize, usize)| Some(self.subject.as_ref()?.part(from, to));
        place.and_then(part).unwrap_or_default()
    }
}

/// Puts the bytes that escapes stand for in their place.
fn decoded_source(text: &str) -> String {
    let mut source = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let (before, after) = rest.split_at(at);
        source.push_str(before);
        match percent::escaped_octet(&after.as_bytes()[1..]) {
            Some(octet) => {
                source.push_str(&format!("\\x{octet:02X}"));
                rest = &after[3..];
            }
            None => {
                source.push('%');
                rest = &after[1..];
            }
        }
    }
    source.push_str(rest);
    source
}

/// Finds an operator that PCRE reads in another way.
pub(super) fn other_dialect(text: &str) -> Option<&'static str> {
    let (mut escaped, mut class) = (false, false);

    for (at, character) in text.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }

        let operators = match class {
            true => OTHER_CLASSES,
            false => OTHER_REPETITIONS,
        };
        let found = operators.iter().find(|one| text[at..].starts_with(**one));
        if let Some(operator) = found {
            return Some(operator);
        }

        match character {
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            _ => {}
        }
    }
    None
}

/// Returns bytes that every match begins with, and true if they are the whole expression.
fn literal(source: &str) -> (Vec<u8>, bool) {
    let mut bytes: Vec<u8> = Vec::new();
    if alternatives(source).len() > 1 {
        return (bytes, false);
    }

    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let (atom, length) = match first {
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' | '|' => {
                return (bytes, false);
            }
            '\\' => match escaped(&rest[1..]) {
                Some(escaped) => escaped,
                None => return (bytes, false),
            },
            plain => {
                let length = plain.len_utf8();
                (rest.as_bytes()[..length].to_vec(), length)
            }
        };

        rest = &rest[length..];
        // It may occur never. A plus can be repeated itself: `a+*`.
        if rest.starts_with(['*', '+', '?', '{']) {
            return (bytes, false);
        }
        bytes.extend_from_slice(&atom);
    }
    (bytes, true)
}

/// Reads what stands behind a backslash, if it is one character: the bytes, and the length with
/// the backslash.
fn escaped(rest: &str) -> Option<(Vec<u8>, usize)> {
    let first = rest.bytes().next()?;
    if first == b'x' {
        let octet = percent::escaped_octet(&rest.as_bytes()[1..])?;
        return Some((vec![octet], 4));
    }
    first
        .is_ascii_punctuation()
        .then(|| (vec![first], 2))
        // These two are borders of words.
        .filter(|_| !matches!(first, b'<' | b'>'))
}

/// Splits an expression at its alternatives that are in no group.
pub fn alternatives(source: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start, mut escaped, mut class) = (0_usize, 0, false, false);

    for (at, byte) in source.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b']' => class = false,
            _ if class => {}
            b'[' => class = true,
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'|' if depth == 0 => {
                parts.push(&source[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }

    parts.push(&source[start..]);
    parts
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        let key = |one: &Self| (one.elements, one.regex.is_some());
        key(self) == key(other) && self.literal == other.literal && self.text == other.text
    }
}

impl Eq for Expression {}

impl PartialOrd for Expression {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The order in which they are tried: the longer text first, and of the same length the greater.
impl Ord for Expression {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |one: &Self| (one.elements, one.regex.is_some());
        let by_text = (other.text.len(), &other.text).cmp(&(self.text.len(), &self.text));
        by_text
            .then_with(|| self.literal.cmp(&other.literal))
            .then_with(|| key(self).cmp(&key(other)))
    }
}

impl Hash for Expression {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
        self.literal.hash(state);
    }
}

#[cfg(test)]
mod tests;
