//! The treatment of requests that matched: forwarded to one of several backends, redirected, or
//! refused.

use std::sync::Arc;

use http::StatusCode;

use super::{Backend, Canary, Head, Host};
use crate::util::random::below;

/// The treatment of a request that matched.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send it to an endpoint of one of these backends.
    Forward(Split),
    /// Respond with a redirect.
    Redirect(Box<Redirect>),
    /// Refuse it, with the reason in the log.
    Refuse(Refusal),
}

/// The reason why a route refuses its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The Service of the backend does not exist: 503.
    UnknownService,
    /// The Service has no such port: 503.
    UnknownPort,
    /// The kind of backend (`resource`) is not supported: 503.
    UnsupportedBackend,
    /// It asks for a guard that is not supported: 503.
    UnsupportedGuard,
    /// The setting of a guard is not valid: 503.
    InvalidGuard,
    /// A middleware that it names does not exist: 503.
    UnknownMiddleware,
    /// It asks for a login, and its users are not known: 503.
    UnknownUsers,
    /// It asks for certificates of clients, and their authorities are not known: 503.
    UnknownAuthorities,
    /// The terms of TLS with its backend cannot be met: 503.
    UnmetBackendTls,
    /// It asks for TLS passthrough where that is not possible: 503.
    UnsupportedPassthrough,
    /// The path is a regular expression, and those are not matched: 503.
    UnsupportedPath,
    /// It has no backend with a weight: 500, as Gateway API requires.
    NoBackend,
    /// The backend is not valid: 500, as Gateway API requires.
    InvalidBackend,
}

impl Refusal {
    /// Returns the status of the response.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoBackend | Self::InvalidBackend => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the reason in the response, in `explain` and in the access log.
    pub fn reason(self) -> &'static str {
        match self {
            Self::UnknownService => "the service of this route does not exist",
            Self::UnknownPort => "the service of this route has no such port",
            Self::UnsupportedBackend => "the backend of this route is of an unsupported kind",
            Self::UnsupportedGuard => {
                "access to this route is restricted in a way that is not supported"
            }
            Self::InvalidGuard => {
                "access to this route is restricted by a setting that is not valid"
            }
            Self::UnknownMiddleware => "a middleware of this route does not exist",
            Self::UnknownUsers => "the users who may come in on this route are not known",
            Self::UnknownAuthorities => {
                "the authorities of client certificates for this host are not known"
            }
            Self::UnmetBackendTls => {
                "the terms of TLS with the backend of this route cannot be met"
            }
            Self::UnsupportedPassthrough => {
                "TLS passthrough, which this route asks for, is not possible"
            }
            Self::UnsupportedPath => {
                "the path of this route is a regular expression, which is not supported"
            }
            Self::NoBackend => "this route has no backend",
            Self::InvalidBackend => "the backend of this route is not valid",
        }
    }
}

impl Action {
    /// Returns the backends that it may send requests to.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        let split = match self {
            Self::Forward(split) => Some(split),
            Self::Redirect(_) | Self::Refuse(_) => None,
        };
        split.into_iter().flat_map(Split::backends)
    }
}

// === Split ===

/// Backends, each with its part of the requests.
#[derive(Clone, Debug)]
pub struct Split {
    parts: Parts,
    /// It takes its part first.
    canary: Option<Box<Canary>>,
}

#[derive(Clone, Debug)]
enum Parts {
    /// All requests go to one backend, as most routes have it.
    All(Arc<Backend>),
    Weighted(Box<[Part]>),
}

#[derive(Clone, Debug)]
struct Part {
    /// The sum of the weights up to this one.
    end: u64,
    target: Result<Arc<Backend>, Refusal>,
}

impl Split {
    /// Sends all requests to one backend.
    pub fn to(backend: Arc<Backend>) -> Self {
        Self {
            parts: Parts::All(backend),
            canary: None,
        }
    }

    /// Divides the requests by weights. A part without a valid backend is refused; one with weight
    /// 0 has no requests. If there is no other, all requests are refused.
    pub fn weighted(parts: impl IntoIterator<Item = (u32, Result<Arc<Backend>, Refusal>)>) -> Self {
        let mut end = 0;
        let parts = parts.into_iter().filter(|(weight, _)| *weight > 0);
        let parts = parts.map(|(weight, target)| {
            end += u64::from(weight);
            Part { end, target }
        });
        Self {
            parts: Parts::Weighted(parts.collect()),
            canary: None,
        }
    }

    /// Gives a part of the requests to a canary, in place of one that it has.
    #[must_use]
    pub fn with_canary(&self, canary: Canary) -> Self {
        Self {
            parts: self.parts.clone(),
            canary: Some(Box::new(canary)),
        }
    }

    /// Returns its canary.
    pub fn canary(&self) -> Option<&Canary> {
        self.canary.as_deref()
    }

    /// Chooses the backend for a request, by its head and by 64 random bits for each choice.
    ///
    /// # Errors
    /// If the request is in a part without a valid backend.
    pub fn choose(
        &self,
        head: &impl Head,
        random: impl Fn() -> u64,
    ) -> Result<&Arc<Backend>, Refusal> {
        if let Some(canary) = &self.canary
            && canary.takes(head, &random)
        {
            return Ok(&canary.backend);
        }

        let parts = match &self.parts {
            Parts::All(backend) => return Ok(backend),
            Parts::Weighted(parts) => parts,
        };

        let total = parts.last().map_or(0, |last| last.end);
        let at = below(random(), total);
        let index = parts.partition_point(|part| part.end <= at);
        let part = parts.get(index).ok_or(Refusal::NoBackend)?;
        part.target.as_ref().map_err(|refusal| *refusal)
    }

    /// Returns the valid backends that have connections, the canary's last.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        let canary = self.canary().map(|canary| &canary.backend);
        let all = self.main_backends().chain(canary);
        all.flat_map(Backend::connected)
    }

    /// Returns the valid backends without the canary's.
    pub fn main_backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        let (all, parts) = match &self.parts {
            Parts::All(backend) => (Some(backend), &[][..]),
            Parts::Weighted(parts) => (None, &parts[..]),
        };
        let weighted = parts.iter().filter_map(|part| part.target.as_ref().ok());
        all.into_iter().chain(weighted)
    }

    /// Reports whether the other one sends all requests to the same backend.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.parts, &other.parts) {
            (Parts::All(one), Parts::All(two)) => {
                Arc::ptr_eq(one, two) && self.canary.is_none() && other.canary.is_none()
            }
            _ => false,
        }
    }
}

// === Responses ===

/// A redirect. What is not set stays as the client asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The status.
    pub status: StatusCode,
    /// True for `https`, false for `http`.
    pub https: Option<bool>,
    /// The host.
    pub host: Option<Host>,
    /// The port. Without one, a redirect that names a scheme has the port of that scheme.
    pub port: Option<u16>,
    /// The change of the path.
    pub path: Option<PathChange>,
    /// True if the target has a path and query alone.
    pub is_relative: bool,
}

/// A change of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// This path in place of the whole one.
    Whole(Box<str>),
    /// A beginning in place of another, by elements.
    Prefix {
        /// The beginning that the rule matched, without a slash at the end.
        old: Box<str>,
        /// The beginning in place of it.
        new: Box<str>,
    },
}

/// The URL of a request as its client sees it.
#[derive(Clone, Copy, Debug)]
pub struct RequestUrl<'a> {
    /// True for `https`.
    pub https: bool,
    /// The host.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// The port on which the client reaches HTTPS.
    pub https_port: u16,
    /// The path.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: Option<&'a str>,
}

impl RequestUrl<'_> {
    /// Returns the scheme, the host, and the port unless it is that of the scheme (RFC 6454).
    pub fn origin(&self) -> String {
        origin(self.https, self.host, self.port)
    }

    /// Appends the path and the query, as the client sent them, to a text.
    pub fn push_target(&self, out: &mut String) {
        out.push_str(self.path);
        push_query(self.query, out);
    }
}

/// Appends a query with its `?`, if there is one.
fn push_query(query: Option<&str>, out: &mut String) {
    if let Some(query) = query {
        out.push('?');
        out.push_str(query);
    }
}

/// Returns the text of an origin (RFC 6454 section 6.2).
fn origin(https: bool, host: &str, port: u16) -> String {
    match (https, port) {
        (false, 80) => format!("http://{host}"),
        (true, 443) => format!("https://{host}"),
        (false, port) => format!("http://{host}:{port}"),
        (true, port) => format!("https://{host}:{port}"),
    }
}

impl Redirect {
    /// Returns the `Location` for a request.
    pub fn location(&self, from: RequestUrl<'_>) -> String {
        let https = self.https.unwrap_or(from.https);
        let port = match self.port {
            Some(port) => port,
            None if https == from.https && self.https.is_none() => from.port,
            None if https => from.https_port,
            None => 80,
        };

        let host = self.host.as_ref().map_or(from.host, Host::as_str);
        let mut location = match self.is_relative {
            true => String::new(),
            false => origin(https, host, port),
        };
        match &self.path {
            None => location.push_str(from.path),
            Some(change) => change.append(from.path, &mut location),
        }
        push_query(from.query, &mut location);
        location
    }
}

impl PathChange {
    /// Appends the changed path to a text.
    fn append(&self, path: &str, out: &mut String) {
        match self {
            Self::Whole(whole) => out.push_str(whole),
            Self::Prefix { old, new } => {
                let rest = path.strip_prefix(&**old).unwrap_or(path);
                let rest = rest.trim_start_matches('/');
                let new = new.trim_end_matches('/');
                out.push_str(new);
                if !rest.is_empty() || new.is_empty() || path.len() > old.len() {
                    out.push('/');
                }
                out.push_str(rest);
            }
        }
    }
}

#[cfg(test)]
mod tests;
