//! Paths: normal form of a request path, and the three matches of Ingress v1.

use std::{borrow::Cow, sync::Arc};

use super::{Expression, GoPattern, Pattern, expression::Subject};
use crate::util::percent;

/// The condition of a rule on the normalised path of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathMatch {
    /// The whole path, case-sensitive (`pathType: Exact`).
    Exact(Box<str>),
    /// By elements split at `/`; `/foo` takes `/foo`, `/foo/` and `/foo/bar`, not `/foobar`
    /// (`pathType: Prefix`).
    Prefix(Box<str>),
    /// The paths below an element without the element itself: a Prefix with a trailing slash, if
    /// its object also has the Prefix without it.
    Below(Box<str>),
    /// As a plain string prefix (`pathType: ImplementationSpecific`, as ingress-nginx does).
    Start(Box<str>),
    /// Every path that a regular expression could match. Its route refuses the request.
    Closed(Box<Closed>),
    /// Every path that a regular expression takes.
    Pattern(Box<Pattern>),
    /// Every path that an expression of ingress-nginx takes. All rules of its host are such ones.
    Expression(Arc<Expression>),
    /// Every path in which an expression of Traefik is found (`PathRegexp`).
    Regexp(Box<GoPattern>),
}

/// The paths that a regular expression could match: those that begin with its literal prefix. Upper
/// and lower case are the same, as in the expressions of ingress-nginx.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Closed {
    /// The regular expression.
    pub text: Box<str>,
    /// The literal prefix of every path that it matches.
    pub prefix: Box<str>,
    /// True if the prefix ends at the end of an element of the path (`/foo(/|$)`).
    pub elements: bool,
}

/// The reason why a request path is refused (400).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with a slash.
    #[error("the path does not begin with a slash")]
    Relative,
    /// `%` without two hexadecimal digits.
    #[error("the path has a broken percent-encoding")]
    Encoding,
    /// A NUL, also as `%00`.
    #[error("the path has a NUL")]
    Nul,
    /// More `..` than segments.
    #[error("the path leads above the root")]
    AboveRoot,
}

// === PathMatch ===

impl PathMatch {
    /// Reports whether it matches a normalised path.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                path.strip_prefix(prefix)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Below(prefix) => path
                .strip_prefix(prefix.trim_end_matches('/'))
                .is_some_and(|rest| rest.starts_with('/')),
            Self::Start(start) => path.starts_with(&**start),
            Self::Closed(closed) => closed.matches(path),
            Self::Pattern(pattern) => pattern.matches(path.as_bytes()),
            Self::Expression(expression) => {
                Subject::of(path).is_some_and(|subject| expression.takes(&subject))
            }
            Self::Regexp(pattern) => pattern.is_in(&legible(path)),
        }
    }

    /// Returns the path as it stands in the rule.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Prefix(path) | Self::Below(path) | Self::Start(path) => path,
            Self::Closed(closed) => &closed.text,
            Self::Pattern(pattern) => pattern.as_str(),
            Self::Expression(expression) => expression.as_str(),
            Self::Regexp(pattern) => pattern.as_str(),
        }
    }

    /// Returns the name of the match in Ingress v1 (`pathType`).
    pub fn path_type(&self) -> &'static str {
        match self {
            Self::Exact(_) => "Exact",
            Self::Prefix(_) | Self::Below(_) => "Prefix",
            Self::Start(_) => "ImplementationSpecific",
            Self::Closed(_) | Self::Pattern(_) | Self::Expression(_) | Self::Regexp(_) => {
                "regular expression"
            }
        }
    }

    /// Returns its part of the order of precedence: true for an exact path; otherwise the length,
    /// where longer comes first, and a rank, where the match that takes fewer paths is lower. Every
    /// path begins with `/`, so ImplementationSpecific `/` equals Prefix `/`.
    pub(super) fn precedence(&self) -> (bool, usize, u8) {
        let length = self.literal().len();
        match self {
            Self::Exact(_) => (true, 0, 0),
            Self::Pattern(_) => (false, length, 0),
            Self::Below(_) => (false, length, 1),
            Self::Prefix(_) => (false, length, 2),
            Self::Start(path) if **path == *"/" => (false, length, 2),
            Self::Start(_) => (false, length, 3),
            Self::Closed(_) => (false, length, 4),
            Self::Expression(_) => (false, length, 5),
            Self::Regexp(_) => (false, length, 6),
        }
    }

    /// Returns true if the other one takes the same paths: `/foo/` and `/foo` are the same Prefix.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Closed(one), Self::Closed(other)) if one.elements != other.elements => false,
            (Self::Pattern(one), Self::Pattern(other)) => one == other,
            (Self::Expression(one), Self::Expression(other)) => one == other,
            (Self::Regexp(one), Self::Regexp(other)) => one == other,
            _ => self.precedence() == other.precedence() && self.literal() == other.literal(),
        }
    }

    /// Reports whether it matches a path that is known to begin with its literal, which has this
    /// length.
    pub(super) fn takes_after(&self, path: &str, length: usize) -> bool {
        let next = path.as_bytes().get(length);
        match self {
            Self::Exact(_) => next.is_none(),
            Self::Prefix(_) => matches!(next, None | Some(b'/')),
            Self::Below(_) => next == Some(&b'/'),
            Self::Start(_) => true,
            Self::Closed(closed) => !closed.elements || matches!(next, None | Some(b'/')),
            Self::Pattern(pattern) => pattern.matches(path.as_bytes()),
            Self::Expression(_) | Self::Regexp(_) => self.matches(path),
        }
    }

    /// Returns the beginning of every path that it matches, which decides a tie: `/foo/` and
    /// `/foo` are the same Prefix.
    pub(super) fn literal(&self) -> &str {
        match self {
            Self::Prefix(path) | Self::Below(path) => path.trim_end_matches('/'),
            Self::Exact(path) => path,
            Self::Start(path) if **path != *"/" => path,
            Self::Closed(closed) if *closed.prefix != *"/" => &closed.prefix,
            Self::Start(_) | Self::Closed(_) | Self::Expression(_) | Self::Regexp(_) => "",
            Self::Pattern(pattern) => pattern.prefix(),
        }
    }

    /// Returns whether a literal path is the literal prefix of a regular expression, so that
    /// precedence does not decide between the two.
    pub fn is_as_long_as(&self, closed: &Closed) -> bool {
        let prefix = if *closed.prefix == *"/" {
            ""
        } else {
            &*closed.prefix
        };
        let is_literal = matches!(self, Self::Prefix(_) | Self::Below(_) | Self::Start(_));
        is_literal && self.literal() == prefix
    }
}

impl Closed {
    fn matches(&self, path: &str) -> bool {
        let length = self.prefix.len();
        let begins = path
            .as_bytes()
            .get(..length)
            .is_some_and(|start| start.eq_ignore_ascii_case(self.prefix.as_bytes()));
        begins && (!self.elements || matches!(path.as_bytes().get(length), None | Some(b'/')))
    }
}

/// Brings the path of a request or a rule to the form that is matched and sent on: escapes of
/// unreserved characters decoded (RFC 3986 section 6.2.2.2), characters that a path cannot have
/// escaped, dot segments removed (5.2.4), `//` left alone (see
/// [`matched`]). Other escapes stay, in upper case
/// (6.2.2.1): otherwise `/a%2fb` would be a way around the rule of `/a%2Fb`. Allocates only when
/// something changes.
pub fn normalize(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::Relative);
    }

    let is_normal = path.bytes().all(|byte| PLAIN[usize::from(byte)]) && !has_pair(path, *b"/.");
    if is_normal {
        return Ok(Cow::Borrowed(path));
    }

    let escaped = normalize_escapes(path.as_bytes())?;
    remove_dot_segments(&escaped).map(Cow::Owned)
}

/// Returns the form of a normal path that rules are compared with: without empty elements, so that
/// `//admin` is no way around the rule of `/admin`. Allocates only when something changes.
pub fn matched(path: &str) -> Cow<'_, str> {
    if !has_pair(path, *b"//") {
        return Cow::Borrowed(path);
    }
    let mut merged = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
    }
    Cow::Owned(merged)
}

/// The characters whose escapes Traefik leaves in the paths that rules are compared with.
const RESERVED: &[u8] = b":/?#[]@!$&'()*+,;=%";

/// Returns a normal path as the expressions of Traefik see it: only reserved characters are
/// escaped.
fn legible(path: &str) -> Cow<'_, [u8]> {
    if !path.contains('%') {
        return Cow::Borrowed(path.as_bytes());
    }

    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let octet = (byte == b'%').then(|| percent::escaped_octet(&bytes[at + 1..]));
        match octet.flatten().filter(|octet| !RESERVED.contains(octet)) {
            Some(octet) => {
                out.push(octet);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

/// Reports whether two bytes follow each other. Paths are short: a search for a text would prepare
/// for longer than this takes.
fn has_pair(path: &str, pair: [u8; 2]) -> bool {
    path.as_bytes().windows(2).any(|two| two == pair)
}

/// The bytes that stand for themselves in a normal path: those that RFC 3986 lets it have, and `[`
/// and `]`, which clients send as they are and backends read so.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        let never = matches!(
            byte,
            b'"' | b'#' | b'%' | b'<' | b'>' | b'?' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
        );
        plain[byte as usize] = !never;
        byte += 1;
    }
    plain
};

fn normalize_escapes(bytes: &[u8]) -> Result<String, PathError> {
    let mut out = String::with_capacity(bytes.len());
    let mut rest = bytes;

    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            0 => return Err(PathError::Nul),
            b'%' => {
                let octet = percent::escaped_octet(tail).ok_or(PathError::Encoding)?;
                rest = &tail[2..];
                match octet {
                    0 => return Err(PathError::Nul),
                    plain if percent::is_unreserved(plain) => out.push(char::from(plain)),
                    other => percent::escape(other, &mut out),
                }
            }
            plain if PLAIN[usize::from(plain)] => out.push(char::from(plain)),
            other => percent::escape(other, &mut out),
        }
    }

    Ok(out)
}

fn remove_dot_segments(path: &str) -> Result<String, PathError> {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path[1..].split('/').peekable();

    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop().ok_or(PathError::AboveRoot)?;
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }

    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() {
        out.push('/');
    }

    Ok(out)
}

#[cfg(test)]
mod tests;
