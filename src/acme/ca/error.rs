//! Errors of requests to a CA.

use std::{fmt, time::Duration};

use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::{
    header::{date, retry_after},
    http::{HttpError, Reply},
    identifier::{Identifier, document},
};

/// The largest number of characters kept of a CA's text.
const WORDS: usize = 2000;
/// The largest number of characters kept of an unexpected body.
const HEAD: usize = 200;
/// The largest number of subproblems kept.
const SUBPROBLEMS: usize = 100;

/// A failed request to a CA, with the information from the response's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientError {
    /// The kind of error.
    pub kind: ErrorKind,
    /// The CA's `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The CA's time, in seconds since 1970.
    pub date: Option<i64>,
}

/// The kinds of [`ClientError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// The CA refused, in its own words.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// There is no response.
    #[error(transparent)]
    Transport(HttpError),
    /// The response does not follow ACME.
    #[error("{why} (HTTP {status}): {head}")]
    Nonsense {
        /// The HTTP status.
        status: u16,
        /// The difference from ACME.
        why: &'static str,
        /// The beginning of the body.
        head: String,
    },
    /// The CA's directory does not have the resource.
    #[error("the CA does not offer {0}")]
    NotOffered(&'static str),
}

/// A problem document (RFC 9457) with the subproblems of ACME (RFC 8555 section 6.7). For other
/// bodies it is made from the status alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Raw")]
pub struct Problem {
    /// The error type without `urn:ietf:params:acme:error:`, such as `rateLimited`. Empty if the CA
    /// sends no type.
    pub kind: String,
    /// The CA's description, on one line.
    pub detail: String,
    /// The HTTP status; 0 if the problem of a challenge or order has none.
    pub status: u16,
    /// The URL of a page about this occurrence, such as the one that ends a pause.
    pub instance: Option<String>,
    /// The problems of single identifiers.
    pub subproblems: Vec<Subproblem>,
}

/// The problem of one identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subproblem {
    /// The identifier, where the CA names one.
    pub identifier: Option<Identifier>,
    /// As in [`Problem`].
    pub kind: String,
    /// As in [`Problem`].
    pub detail: String,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl std::error::Error for ClientError {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        if !self.kind.is_empty() {
            write!(f, " ({})", self.kind)?;
        }

        for Subproblem {
            identifier,
            kind,
            detail,
        } in &self.subproblems
        {
            f.write_str("; ")?;
            if let Some(identifier) = identifier {
                write!(f, "{identifier}: ")?;
            }
            f.write_str(detail)?;
            if !kind.is_empty() {
                write!(f, " ({kind})")?;
            }
        }

        Ok(())
    }
}

impl std::error::Error for Problem {}

impl ClientError {
    /// Returns the problem, if the CA refused.
    pub fn problem(&self) -> Option<&Problem> {
        match &self.kind {
            ErrorKind::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Returns true if the CA refused with this error type, such as `rateLimited`.
    pub fn is(&self, kind: &str) -> bool {
        self.problem().is_some_and(|problem| problem.kind == kind)
    }

    /// Returns the HTTP status, if there was a response.
    pub fn status(&self) -> Option<u16> {
        match &self.kind {
            ErrorKind::Problem(problem) => Some(problem.status),
            ErrorKind::Nonsense { status, .. } => Some(*status),
            ErrorKind::Transport(_) | ErrorKind::NotOffered(_) => None,
        }
    }

    pub(super) fn nonsense(reply: &Reply, why: &'static str) -> Self {
        let head = line(&String::from_utf8_lossy(&reply.body), HEAD);
        Self::with(
            &reply.headers,
            ErrorKind::Nonsense {
                status: reply.status.as_u16(),
                why,
                head,
            },
        )
    }

    /// Converts a response that is not a success.
    pub(super) fn refused(reply: &Reply) -> Self {
        if reply.status.as_u16() < 400 {
            return Self::nonsense(reply, "neither a success nor an error");
        }
        Self::with(
            &reply.headers,
            ErrorKind::Problem(Box::new(Problem::of(reply))),
        )
    }

    fn with(headers: &HeaderMap, kind: ErrorKind) -> Self {
        Self {
            kind,
            retry_after: retry_after(headers),
            date: date(headers),
        }
    }
}

/// An error without a response.
impl From<ErrorKind> for ClientError {
    fn from(kind: ErrorKind) -> Self {
        Self {
            kind,
            retry_after: None,
            date: None,
        }
    }
}

impl From<HttpError> for ClientError {
    fn from(error: HttpError) -> Self {
        ErrorKind::Transport(error).into()
    }
}

impl Problem {
    /// Converts a response that is not a success, whatever its body.
    pub(super) fn of(reply: &Reply) -> Self {
        let document = document(&reply.body).and_then(|body| Self::deserialize(body).ok());
        let mut problem = document.unwrap_or_default();
        if problem.detail.is_empty() {
            problem.detail = format!("HTTP {}", reply.status);
        }
        problem.status = reply.status.as_u16();
        problem
    }
}

/// A problem or subproblem.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    identifier: Option<Identifier>,
    #[serde(rename = "type")]
    kind: String,
    title: String,
    detail: String,
    status: Value,
    instance: Option<String>,
    subproblems: Vec<Self>,
}

impl From<Raw> for Problem {
    fn from(raw: Raw) -> Self {
        let subproblem = |Raw {
                              identifier,
                              kind,
                              detail,
                              ..
                          }| Subproblem {
            identifier,
            kind: short(&kind),
            detail: line(&detail, WORDS),
        };

        Self {
            kind: short(&raw.kind),
            detail: line(
                if raw.detail.is_empty() {
                    &raw.title
                } else {
                    &raw.detail
                },
                WORDS,
            ),
            // Some CAs put the number in quotes.
            status: raw
                .status
                .to_string()
                .trim_matches('"')
                .parse()
                .unwrap_or(0),
            instance: raw.instance.map(|instance| line(&instance, WORDS)),
            subproblems: raw
                .subproblems
                .into_iter()
                .take(SUBPROBLEMS)
                .map(subproblem)
                .collect(),
        }
    }
}

/// Returns the error type without the common prefix, or an empty text for `about:blank` (RFC 9457
/// section 4.2.1).
fn short(kind: &str) -> String {
    let own = kind
        .strip_prefix("urn:ietf:params:acme:error:")
        .unwrap_or(kind);
    if own == "about:blank" {
        String::new()
    } else {
        line(own, HEAD)
    }
}

/// Returns at most `limit` characters, printable and on one line.
fn line(text: &str, limit: usize) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let words: String = printable.take(limit).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
