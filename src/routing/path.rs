//! Paths: normal form of a request path, and the three matches of Ingress v1.

use std::borrow::Cow;

/// How a rule matches the normalised path of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathMatch {
    /// The whole path, case-sensitive (`pathType: Exact`).
    Exact(Box<str>),
    /// By elements split at `/`; `/foo` takes `/foo`, `/foo/` and `/foo/bar`, not `/foobar` (`pathType: Prefix`).
    Prefix(Box<str>),
    /// As a plain string prefix (`pathType: ImplementationSpecific`, as ingress-nginx does).
    Start(Box<str>),
}

/// Why a request path is refused (400).
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
    /// Whether the match takes a normalised path.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Start(start) => path.starts_with(&**start),
        }
    }

    /// The path as the rule has it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Prefix(path) | Self::Start(path) => path,
        }
    }

    /// The name of the match in Ingress v1 (`pathType`).
    pub fn path_type(&self) -> &'static str {
        match self {
            Self::Exact(_) => "Exact",
            Self::Prefix(_) => "Prefix",
            Self::Start(_) => "ImplementationSpecific",
        }
    }

    /// Order of precedence: Exact first, then longer before shorter, and of equal length Prefix before plain prefix,
    /// because it takes less.
    pub(super) fn precedence(&self) -> (u8, std::cmp::Reverse<usize>, u8) {
        use std::cmp::Reverse;
        match self {
            Self::Exact(_) => (0, Reverse(0), 0),
            Self::Prefix(path) => (1, Reverse(path.trim_end_matches('/').len()), 0),
            Self::Start(path) => (1, Reverse(path.len()), 1),
        }
    }
}

/// Brings a request path to the form that is matched and sent on: escapes of unreserved characters decoded (RFC 3986
/// section 6.2.2.2), dot segments removed (5.2.4), other escapes and `//` left alone. Allocates only when something
/// changes.
pub fn normalize(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::Relative);
    }
    let bytes = path.as_bytes();
    let suspicious = bytes.iter().any(|b| matches!(b, b'%' | 0)) || path.contains("/.");
    if !suspicious {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode_unreserved(bytes)?;
    remove_dot_segments(&decoded).map(Cow::Owned)
}

fn decode_unreserved(bytes: &[u8]) -> Result<String, PathError> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            0 => return Err(PathError::Nul),
            b'%' => {
                let (Some(high), Some(low)) = (tail.first().and_then(hex), tail.get(1).and_then(hex)) else {
                    return Err(PathError::Encoding);
                };
                rest = &tail[2..];
                match high << 4 | low {
                    0 => return Err(PathError::Nul),
                    plain @ (b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~') => out.push(plain),
                    _ => out.extend_from_slice(&[b'%', tail[0], tail[1]]),
                }
            }
            _ => out.push(byte),
        }
    }
    // Only whole ASCII escapes were replaced by ASCII, so what was UTF-8 still is.
    String::from_utf8(out).map_err(|_cannot_be| PathError::Encoding)
}

fn hex(digit: &u8) -> Option<u8> {
    char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
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
