//! Errors of requests to a CA.

use std::{fmt, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use super::identifier::{Identifier, document};
use crate::{
    http_client::{HttpError, Reply},
    util::{text::one_line, time::UnixSeconds},
};

/// The largest number of bytes kept of a CA's text.
const WORDS: usize = 2000;
/// The largest number of bytes kept of an unexpected body.
const HEAD: usize = 200;
/// The largest number of subproblems kept.
const SUBPROBLEMS: usize = 100;

/// A failed request to a CA, with the information from the response's headers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct ClientError {
    /// The kind of error.
    pub kind: ErrorKind,
    /// The CA's `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The CA's time.
    pub date: Option<UnixSeconds>,
}

/// The kinds of [`ClientError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// The CA refused, in its own words.
    #[error("{0}")]
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
    /// The identifier that it is about, where the CA names one.
    pub identifier: Option<Identifier>,
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
    pub subproblems: Vec<Self>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(identifier) = &self.identifier {
            write!(f, "{identifier}: ")?;
        }
        f.write_str(&self.detail)?;
        if !self.kind.is_empty() {
            write!(f, " ({})", self.kind)?;
        }

        let mut subproblems = self.subproblems.iter();
        subproblems.try_for_each(|problem| write!(f, "; {problem}"))
    }
}

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
        let head = one_line(String::from_utf8_lossy(&reply.body), HEAD);
        let status = reply.status.as_u16();
        Self::with(reply, ErrorKind::Nonsense { status, why, head })
    }

    /// Converts a response that is not a success.
    pub(super) fn refused(reply: &Reply) -> Self {
        if reply.status.as_u16() < 400 {
            return Self::nonsense(reply, "neither a success nor an error");
        }
        Self::with(reply, ErrorKind::Problem(Box::new(Problem::of(reply))))
    }

    fn with(reply: &Reply, kind: ErrorKind) -> Self {
        Self {
            kind,
            retry_after: reply.retry_after(),
            date: reply.date(),
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
    subproblems: Vec<Problem>,
}

impl From<Raw> for Problem {
    fn from(raw: Raw) -> Self {
        let detail = if raw.detail.is_empty() {
            &raw.title
        } else {
            &raw.detail
        };
        // Some CAs put the number in quotes.
        let status = raw.status.to_string();

        Self {
            identifier: raw.identifier,
            kind: short(&raw.kind),
            detail: one_line(detail, WORDS),
            status: status.trim_matches('"').parse().unwrap_or(0),
            instance: raw.instance.map(|instance| one_line(instance, WORDS)),
            subproblems: raw.subproblems.into_iter().take(SUBPROBLEMS).collect(),
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
        one_line(own, HEAD)
    }
}

#[cfg(test)]
mod tests;
