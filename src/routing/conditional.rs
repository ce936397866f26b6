//! Responses to requests that meet a condition, instead of the backend's.

use std::fmt;

use http::{HeaderValue, StatusCode};

use super::{Elsewhere, Pattern, Variables};
use crate::util::percent;

/// A response of our own to the requests that meet a condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Conditional {
    /// The annotation that it is made from, for people.
    pub from: Box<str>,
    /// The paths that it is for; `None` for all.
    pub path: Option<PathTest>,
    /// The condition; `None` for every request.
    pub condition: Option<Condition>,
    /// The response.
    pub then: Then,
}

/// The response to a request that meets a condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    /// A refusal with this status, from 400 to 599.
    Refuse(StatusCode),
    /// A redirect.
    Redirect(Box<Elsewhere>),
    /// A response with a text.
    Respond(Box<OwnResponse>),
}

/// A response with a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnResponse {
    /// The status, not of a redirect.
    pub status: StatusCode,
    /// `Content-Type`.
    pub media_type: HeaderValue,
    /// The text.
    pub text: Variables,
}

/// A test of paths, as a `location` of nginx: of the decoded path without empty elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathTest {
    /// The path is this one.
    Exact(Box<str>),
    /// The path begins so.
    Start {
        /// The beginning.
        path: Box<str>,
        /// True if it comes before regular expressions too.
        is_final: bool,
    },
    /// The path matches.
    Matches(Pattern),
}

/// A condition on a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// The text that is looked at.
    pub text: Variables,
    /// The test of it.
    pub test: Test,
    /// True if it must be the opposite.
    pub is_negated: bool,
}

/// A test of a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// It is neither empty nor `0`.
    Filled,
    /// It is this one.
    Is(Box<str>),
    /// It matches as a whole.
    Matches(Pattern),
}

impl fmt::Display for PathTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "= {path}"),
            Self::Start { path, .. } => write!(f, "that begin with {path}"),
            Self::Matches(pattern) => write!(f, "that match {pattern}"),
        }
    }
}

impl Conditional {
    /// Reports whether it is for a normal path.
    pub fn is_for(&self, path: &str) -> bool {
        let Some(test) = &self.path else {
            return true;
        };
        // Escapes are no way around it.
        let path = decoded(path.as_bytes());
        match test {
            PathTest::Exact(other) => path == other.as_bytes(),
            PathTest::Start { path: start, .. } => path.starts_with(start.as_bytes()),
            PathTest::Matches(pattern) => pattern.matches(&path),
        }
    }
}

impl Condition {
    /// Reports whether the text meets it.
    pub fn holds(&self, text: &[u8]) -> bool {
        // nginx has `$uri` decoded. In other texts it stays as it is: they become fields.
        let decoded = self.text.is_path().then(|| decoded(text));
        let text = decoded.as_deref().unwrap_or(text);
        let holds = match &self.test {
            Test::Filled => !matches!(text, b"" | b"0"),
            Test::Is(other) => text == other.as_bytes(),
            Test::Matches(pattern) => pattern.matches(text),
        };
        holds != self.is_negated
    }
}

/// Returns a path as nginx compares it: without escapes, and then without the empty elements and
/// dot segments that escapes may have hidden.
fn decoded(path: &[u8]) -> Vec<u8> {
    let plain = percent::decode(&String::from_utf8_lossy(path));
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut ends_with_slash = false;

    for element in plain.split(|byte| *byte == b'/') {
        ends_with_slash = matches!(element, b"" | b"." | b"..");
        match element {
            b"" | b"." => {}
            b".." => {
                kept.pop();
            }
            element => kept.push(element),
        }
    }
    let mut out = [b"/", &kept.join(&b'/')[..]].concat();
    if ends_with_slash && !kept.is_empty() {
        out.push(b'/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_as_in_nginx() {
        let holds = |test: &Test, is_negated, text: &str| {
            let condition = Condition {
                text: Variables::parse("$http_x").expect("a variable"),
                test: test.clone(),
                is_negated,
            };
            condition.holds(text.as_bytes())
        };

        for (test, yes, no) in [
            (Test::Filled, "a", ["", "0"]),
            (Test::Is("a".into()), "a", ["A", "ab"]),
            (
                Test::Matches(Pattern::parse("(?i).*bot.*").expect("a pattern")),
                "GoogleBot/1",
                ["curl", ""],
            ),
        ] {
            assert!(
                holds(&test, false, yes) && !holds(&test, true, yes),
                "{test:?}"
            );

            for text in no {
                assert!(
                    !holds(&test, false, text) && holds(&test, true, text),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn paths_are_tested_without_escapes_and_empty_elements() {
        let is_for = |test: PathTest, path: &str| {
            let conditional = Conditional {
                from: "a test".into(),
                path: Some(test),
                condition: None,
                then: Then::Refuse(StatusCode::FORBIDDEN),
            };
            conditional.is_for(path)
        };
        let start = |path: &str| PathTest::Start {
            path: path.into(),
            is_final: false,
        };
        let matches = |text| PathTest::Matches(Pattern::parse_within(text, false).expect("one"));
        for (test, yes, no) in [
            (PathTest::Exact("/a:b".into()), "/a%3Ab", "/a:b/"),
            (start("/a b"), "//a%20b/c", "/a%2520b"),
            (start("/admin"), "/%2Fadmin", "/admin%2F..%2Fx"),
            (start("/admin/x"), "/admin%2F/x", "/admin"),
            (
                PathTest::Exact("/admin/".into()),
                "/x%2F..%2Fadmin%2F",
                "/admin",
            ),
            (PathTest::Exact("/".into()), "/", "/x"),
            (matches(r"/\.git"), "/x//.git/config", "/x.git"),
            (matches("^/a,b$"), "/a%2Cb", "/a%2C%2Cb"),
        ] {
            assert!(is_for(test.clone(), yes), "{test} {yes}");
            assert!(!is_for(test.clone(), no), "{test} {no}");
        }

        let uri = Condition {
            text: Variables::parse("$uri").expect("a variable"),
            test: Test::Is("/a,b".into()),
            is_negated: false,
        };
        assert!(uri.holds(b"//a%2Cb"));
    }
}
