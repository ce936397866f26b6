//! What a CA says instead of doing as asked.

use std::{fmt, time::Duration};

use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::{
    header::{date, retry_after},
    http::{HttpError, Reply},
    types::{Identifier, document},
};

/// Characters kept of what a CA says in words.
const WORDS: usize = 2000;
/// Characters kept of a body that is not what it should be.
const HEAD: usize = 200;
/// Problems within a problem that are kept.
const SUBPROBLEMS: usize = 100;

/// Why a request to a CA did not do what it should, with what the answer's headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// How long to wait before the next request, as the CA says it.
    pub retry_after: Option<Duration>,
    /// The CA's time, in seconds since 1970.
    pub date: Option<i64>,
}

/// The kinds of [`ClientError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// The CA refuses, in its own words.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// There is no answer.
    #[error(transparent)]
    Transport(HttpError),
    /// There is an answer, but not one that ACME knows.
    #[error("{why} (HTTP {status}): {head}")]
    Nonsense {
        /// Status.
        status: u16,
        /// What is wrong with it.
        why: &'static str,
        /// How the body begins.
        head: String,
    },
    /// The CA's directory does not have the resource.
    #[error("CA does not offer {0}")]
    NotOffered(&'static str),
}

/// A problem document (RFC 9457) with the subproblems of ACME (RFC 8555 section 6.7). Made of the
/// status alone when the body is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Raw")]
pub struct Problem {
    /// The error type without `urn:ietf:params:acme:error:`, such as `rateLimited`. Empty when the
    /// CA names none.
    pub kind: String,
    /// What the CA says, on one line.
    pub detail: String,
    /// HTTP status; 0 in problems of challenges and orders that have none.
    pub status: u16,
    /// A page on this case, such as the one that ends a pause.
    pub instance: Option<String>,
    /// Which identifiers have which problem.
    pub subproblems: Vec<Subproblem>,
}

/// What is wrong with one identifier.
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
    /// The problem, if the CA refused.
    pub fn problem(&self) -> Option<&Problem> {
        match &self.kind {
            ErrorKind::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether the CA refused with this error type, such as `rateLimited`.
    pub fn is(&self, kind: &str) -> bool {
        self.problem().is_some_and(|problem| problem.kind == kind)
    }

    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match &self.kind {
            ErrorKind::Problem(problem) => Some(problem.status),
            ErrorKind::Nonsense { status, .. } => Some(*status),
            ErrorKind::Transport(_) | ErrorKind::NotOffered(_) => None,
        }
    }

    pub(super) fn not_offered(what: &'static str) -> Self {
        Self {
            kind: ErrorKind::NotOffered(what),
            retry_after: None,
            date: None,
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

    /// Of an answer that is no success.
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

impl From<HttpError> for ClientError {
    fn from(error: HttpError) -> Self {
        Self {
            kind: ErrorKind::Transport(error),
            retry_after: None,
            date: None,
        }
    }
}

impl Problem {
    /// Of an answer that is no success, whatever its body.
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

/// A problem, or one within a problem.
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
            // A number, or one in quotes.
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

/// The error type without what all have in common. `about:blank` says nothing (RFC 9457 section
/// 4.2.1).
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

/// At most `limit` characters, printable and on one line.
fn line(text: &str, limit: usize) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let words: String = printable.take(limit).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
