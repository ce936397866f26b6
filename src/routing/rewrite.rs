//! Rewritten paths: the target of a route in place of the path that a client asked for, with groups
//! of the regular expression that matched it.

use std::{borrow::Cow, sync::Arc};

use super::{
    Expression, Location, LocationError, RequestUrl,
    expression::{Groups, Subject},
    location::is_url,
    path,
};

/// The most bytes of a rewritten path with its query: groups may occur many times.
const MAX_RESULT: usize = 16 * 1024;

/// The rewriting of the paths of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rewrite {
    /// The annotation that it is made from, for people.
    pub from: Box<str>,
    /// The expression of the rule, whose groups stand in the target. `None` if none does.
    pub path: Option<Arc<Expression>>,
    /// The target.
    pub to: RewriteTarget,
}

/// The target of a rewriting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RewriteTarget {
    location: Location,
    is_url: bool,
}

/// The result of a rewriting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewritten {
    /// The backend gets this path and query.
    Path {
        /// The path, normalised.
        path: String,
        /// The query, without `?`.
        query: Option<String>,
    },
    /// The client is sent to this URL.
    Url(String),
}

/// The reason why a request cannot be rewritten (400).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// The result is too long.
    #[error("the rewritten path is too long")]
    TooLong,
    /// The result has dot segments, which lead to other paths than the rule has.
    #[error("the rewritten path has dot segments")]
    Dots,
    /// The path can be read in two ways.
    #[error("the path can be read in two ways, or is too long")]
    Unclear,
}

impl RewriteTarget {
    /// Parses a path, or a whole URL. `$1` to `$9` stand for groups.
    ///
    /// # Errors
    /// If it has a character that no URL has, or a variable that is not known.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        Ok(Self {
            location: Location::parse_with_groups(text)?,
            is_url: is_url(text),
        })
    }

    /// Returns true if it is a whole URL, so that clients are redirected.
    pub fn is_url(&self) -> bool {
        self.is_url
    }

    /// Returns true if a group stands in it.
    pub fn has_groups(&self) -> bool {
        self.location.has_groups()
    }
}

impl Rewrite {
    /// Rewrites a request whose normalised path without empty elements is `matched`. The query of
    /// the request is added, unless the target ends with `?`.
    ///
    /// # Errors
    /// If the result is no path that the owner of the rule can have meant.
    pub fn apply(&self, matched: &str, request: RequestUrl<'_>) -> Result<Rewritten, RewriteError> {
        let groups = match &self.path {
            None => Groups::none(),
            Some(expression) => expression.groups(matched),
        };
        if self.path.is_some() && !groups.is_clear() {
            return Err(RewriteError::Unclear);
        }
        let location = &self.to.location;
        let text = location.with_groups(request, &groups, MAX_RESULT);
        let text = text.ok_or(RewriteError::TooLong)?;

        let (target, own) = match text.split_once('?') {
            Some((target, own)) => (target, Some(own)),
            None => (&*text, None),
        };
        // A question mark at the end keeps the query of the request away.
        let (own, theirs) = match own {
            Some(own) => match own.strip_suffix('?') {
                Some(own) => (Some(own), None),
                None if own.is_empty() => (None, None),
                None => (Some(own), request.query),
            },
            None => (None, request.query),
        };
        let own = own.filter(|own| !own.is_empty());
        let query = match (own, theirs) {
            (Some(own), Some(theirs)) => Some(format!("{own}&{theirs}")),
            (own, theirs) => own.or(theirs).map(str::to_owned),
        };

        if self.to.is_url {
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            return Ok(Rewritten::Url(format!("{target}{query}")));
        }
        let path = normal(target)?;
        Ok(Rewritten::Path { path, query })
    }
}

/// Returns the normal form of a path that came out.
pub(super) fn normal(target: &str) -> Result<String, RewriteError> {
    let rooted = match target.starts_with('/') {
        true => target.to_owned(),
        false => format!("/{target}"),
    };
    let has_dots = |path: &str| path.split('/').any(|one| matches!(one, "." | ".."));
    // A path that is normal from the start has no dot segments. In another one an escape may stand
    // for a dot, so both forms are checked.
    let normal = path::normalize(&rooted).map_err(|_error| RewriteError::Dots)?;
    if let Cow::Owned(normal) = &normal
        && (has_dots(&rooted) || normal.split('/').count() != rooted.split('/').count())
    {
        return Err(RewriteError::Dots);
    }

    if Subject::of(&normal).is_none() {
        return Err(RewriteError::Unclear);
    }
    Ok(match normal {
        Cow::Borrowed(_) => rooted,
        Cow::Owned(normal) => normal,
    })
}

#[cfg(test)]
mod tests;
