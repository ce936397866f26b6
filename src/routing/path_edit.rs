//! Changes of the path for the backend, as the middlewares of Traefik make them: each works on the
//! path as the one before it left it.

use http::{HeaderName, HeaderValue};

use super::{GoPattern, RewriteError, rewrite::normal};
use crate::util::percent;

/// A change of the path for the backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathEdit {
    /// The object that it is made from, for people.
    pub from: Box<str>,
    /// The change.
    pub change: Edit,
}

/// The kinds of changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Edit {
    /// Put this in front, normalised.
    AddPrefix(Box<str>),
    /// Remove the first of these that the path begins with. They are not encoded.
    StripPrefix(Box<[Box<str>]>),
    /// Remove what the first of these finds at the beginning of the path.
    StripPattern(Box<[GoPattern]>),
    /// Put this in place of the path.
    Replace(Box<str>),
    /// Replace all places of an expression by a text with its groups.
    ReplacePattern(GoPattern, Box<str>),
    /// The same without a field that tells the backend.
    Rewrite(GoPattern, Box<str>),
    /// Put the second path in place of the first one at the beginning.
    Swap(Box<str>, Box<str>),
}

/// A path that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The path, normalised.
    pub path: String,
    /// A field that tells the backend about the change.
    pub field: Option<(HeaderName, HeaderValue)>,
}

/// The field with the part that was removed.
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
/// The field with the path that was replaced.
const REPLACED: HeaderName = HeaderName::from_static("x-replaced-path");

impl PathEdit {
    /// Changes a normalised path without empty elements. Returns `None` if it stays as it is.
    ///
    /// # Errors
    /// If the result is no path that the owner of the rule can have meant.
    pub fn apply(&self, path: &str) -> Result<Option<Edited>, RewriteError> {
        let (result, field) = match &self.change {
            Edit::AddPrefix(prefix) => (format!("{prefix}{path}"), None),
            Edit::StripPrefix(prefixes) => {
                let mut found = prefixes.iter().filter_map(|prefix| {
                    let rest = without(path, prefix.as_bytes())?;
                    Some((rest, prefix.as_bytes()))
                });
                let Some((rest, prefix)) = found.next() else {
                    return Ok(None);
                };
                (rooted(rest), Some(field(&PREFIX, prefix)?))
            }
            Edit::StripPattern(patterns) => {
                let decoded = percent::decode(path);
                let mut found = patterns.iter().filter_map(|pattern| {
                    let found = &decoded[pattern.find(&decoded)?];
                    let rest = without(path, found).filter(|_| !found.is_empty())?;
                    Some((rest, found))
                });
                let Some((rest, prefix)) = found.next() else {
                    return Ok(None);
                };
                (rooted(rest), Some(field(&PREFIX, prefix)?))
            }
            Edit::Replace(by) => (by.to_string(), Some(field(&REPLACED, path.as_bytes())?)),
            Edit::ReplacePattern(pattern, by) => match replaced(pattern, path, by)? {
                Some(result) => (result, Some(field(&REPLACED, path.as_bytes())?)),
                None => return Ok(None),
            },
            Edit::Rewrite(pattern, by) => match replaced(pattern, path, by)? {
                Some(result) => (result, None),
                None => return Ok(None),
            },
            Edit::Swap(own, by) => {
                let Some(rest) = path.strip_prefix(own.trim_end_matches('/')) else {
                    return Ok(None);
                };
                let by = by.trim_end_matches('/');
                (rooted(&format!("{by}{rest}")), None)
            }
        };

        Ok(Some(Edited {
            path: normal(&result)?,
            field,
        }))
    }
}

/// Returns a path with all places of an expression replaced; `None` if it is nowhere.
fn replaced(pattern: &GoPattern, path: &str, by: &str) -> Result<Option<String>, RewriteError> {
    if !pattern.is_in(path.as_bytes()) {
        return Ok(None);
    }
    let replaced = pattern.replace(path.as_bytes(), by);
    let replaced = replaced.ok_or(RewriteError::TooLong)?;
    Ok(Some(encoded(&replaced)))
}

/// Returns what is behind a decoded beginning of a path.
fn without<'p>(path: &'p str, prefix: &[u8]) -> Option<&'p str> {
    let mut rest = path;
    for expected in prefix {
        let escaped = rest.strip_prefix('%');
        let octet = escaped.and_then(|behind| percent::escaped_octet(behind.as_bytes()));
        let (found, length) = match octet {
            Some(octet) => (octet, 3),
            None => (*rest.as_bytes().first()?, 1),
        };
        if found != *expected {
            return None;
        }
        rest = rest.get(length..)?;
    }
    Some(rest)
}

/// Returns a path with a slash at its beginning.
fn rooted(path: &str) -> String {
    match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    }
}

/// Returns a path in which characters that no path has are encoded. Escapes stay as they are.
fn encoded(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path {
        match byte {
            b'?' | b'#' => percent::escape(*byte, &mut out),
            byte if byte.is_ascii_graphic() => out.push(char::from(*byte)),
            byte => percent::escape(*byte, &mut out),
        }
    }
    out
}

fn field(name: &HeaderName, value: &[u8]) -> Result<(HeaderName, HeaderValue), RewriteError> {
    let value = HeaderValue::from_bytes(value).map_err(|_control| RewriteError::Unclear)?;
    Ok((name.clone(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the path and the value of the field.
    fn edited(change: Edit, path: &str) -> String {
        let edit = PathEdit {
            from: "m".into(),
            change,
        };
        match edit.apply(path) {
            Ok(None) => "as it is".to_owned(),
            Ok(Some(Edited { path, field })) => {
                let value = field.map(|(_, value)| value);
                let value = value.iter().map(|value| value.to_str().expect("text"));
                let all: Vec<&str> = std::iter::once(&*path).chain(value).collect();
                all.join(" ")
            }
            Err(error) => error.to_string(),
        }
    }

    fn strip(prefixes: &[&str]) -> Edit {
        Edit::StripPrefix(prefixes.iter().map(|one| (*one).into()).collect())
    }

    fn pattern(text: &str) -> GoPattern {
        GoPattern::parse(text).expect("a pattern")
    }

    #[test]
    fn a_prefix_is_removed_by_characters() {
        let dots = "the rewritten path has dot segments";
        for (prefixes, path, expected) in [
            (&["/foo", "/bar"][..], "/bar/x", "/x /bar"),
            (&["/foo"], "/foobar", "/bar /foo"),
            (&["/foo"], "/foo", "/ /foo"),
            (&["/foo/"], "/foo", "as it is"),
            (&["/foo/"], "/foo/x", "/x /foo/"),
            (&["/a b"], "/a%20b/c%20d", "/c%20d /a b"),
            (&["/foo"], "/foo../x", dots),
            (&["/foo"], "/", "as it is"),
            (&[], "/x", "as it is"),
        ] {
            assert_eq!(edited(strip(prefixes), path), expected, "{path}");
        }
    }

    #[test]
    fn an_expression_is_removed_at_the_beginning_alone() {
        for (text, path, expected) in [
            ("/foo/[a-z0-9]+/", "/foo/ab1/x", "/x /foo/ab1/"),
            ("/x", "/foo/x", "as it is"),
            ("a*", "/foo", "as it is"),
            ("^/[^/]+", "/a%20b/c", "/c /a b"),
        ] {
            let change = Edit::StripPattern([pattern(text)].into());
            assert_eq!(edited(change, path), expected, "{text} {path}");
        }
    }

    #[test]
    fn paths_are_extended_and_replaced() {
        let add = |prefix: &str| Edit::AddPrefix(prefix.into());
        assert_eq!(edited(add("/api"), "/x%20y"), "/api/x%20y");
        assert_eq!(edited(add("/api"), "/"), "/api/");
        assert_eq!(edited(Edit::Replace("/y".into()), "/a%20b"), "/y /a%20b");

        let replace = |text: &str, by: &str| Edit::ReplacePattern(pattern(text), by.into());
        for (text, by, path, expected) in [
            ("^/api/(.*)", "/v1/$1", "/api/x", "/v1/x /api/x"),
            ("^/api/(.*)", "/v1/$1", "/x", "as it is"),
            ("^/api/(.*)", "v1?q=$1", "/api/x", "/v1%3Fq=x /api/x"),
            ("o", "0", "/foo", "/f00 /foo"),
        ] {
            assert_eq!(edited(replace(text, by), path), expected, "{text} {path}");
        }
        let dots = "the rewritten path has dot segments";
        assert_eq!(edited(replace("b", ".."), "/a/b/c"), dots);

        let rewrite = Edit::Rewrite(pattern("^/api/(.*)"), "/v1/$1".into());
        assert_eq!(edited(rewrite, "/api/x"), "/v1/x");
    }

    /// The table of HAProxy Ingress.
    #[test]
    fn the_beginning_of_a_path_is_swapped() {
        for (own, path, by, expected) in [
            ("/abc", "/abc", "/", "/"),
            ("/abc", "/abc/", "/", "/"),
            ("/abc", "/abc/x", "/", "/x"),
            ("/abc", "/abc", "/y", "/y"),
            ("/abc", "/abc/", "/y", "/y/"),
            ("/abc", "/abc/x", "/y", "/y/x"),
            ("/abc/", "/abc/", "/", "/"),
            ("/abc/", "/abc/x", "/", "/x"),
            ("/abc", "/abcd", "/", "/d"),
            ("/", "/x", "/y", "/y/x"),
            ("/abc", "/x", "/y", "as it is"),
        ] {
            let change = Edit::Swap(own.into(), by.into());
            assert_eq!(edited(change, path), expected, "{own} {path} {by}");
        }
    }
}
