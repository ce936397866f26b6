//! A canary: a second backend for a part of the requests of a rule.

use std::sync::Arc;

use http::{HeaderName, header::COOKIE};

use super::{Backend, EndpointSet, Head, LoadBalancing, Origin, Pattern, Stickiness};
use crate::util::random::below;

/// The backend for a part of the requests of a rule.
#[derive(Clone, Debug)]
pub struct Canary {
    /// The rule that it came from.
    pub origin: Origin,
    /// The backend.
    pub backend: Arc<Backend>,
    /// The requests that it takes.
    pub terms: Arc<CanaryTerms>,
    /// The property by which its clients stay at one endpoint; `None` for that of the rule, which
    /// keeps them at the canary too.
    pub stickiness: Option<Option<Stickiness>>,
    /// The choice of an endpoint, in place of that of the rule; `None` for the settings.
    pub balancing: Option<LoadBalancing>,
}

/// The requests that a canary takes: the field decides first, then the cookie, then the weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryTerms {
    /// The field that decides.
    pub header: Option<CanaryHeader>,
    /// The name of the cookie that decides by its value: `always` or `never`.
    pub cookie: Option<Box<str>>,
    /// The requests that it takes of each `total` others.
    pub weight: u32,
    /// Not 0.
    pub total: u32,
    /// True if they decide about each request, and not a session about its next ones.
    pub ignores_sessions: bool,
}

/// A field that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryHeader {
    /// Its name.
    pub name: HeaderName,
    /// The values with which it decides.
    pub values: CanaryValues,
}

/// The values with which a field decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanaryValues {
    /// `always` for the canary, `never` against it.
    AlwaysOrNever,
    /// This value for the canary.
    Exact(Box<str>),
    /// A value that the expression takes for the canary.
    Pattern(Box<Pattern>),
    /// Any value against it: its expression is not valid.
    Invalid,
}

/// The decision about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryDecision {
    /// The field says whether the canary takes it.
    Header(bool),
    /// The cookie says whether the canary takes it.
    Cookie(bool),
    /// Chance.
    Weight,
}

impl Canary {
    /// Returns true if the canary takes a request. One without endpoints takes none.
    pub fn takes(&self, head: &impl Head, random: impl FnOnce() -> u64) -> bool {
        let is_chosen = match self.terms.decide(head) {
            CanaryDecision::Header(takes) | CanaryDecision::Cookie(takes) => takes,
            CanaryDecision::Weight => self.terms.wins(random),
        };
        is_chosen && self.has_endpoints()
    }

    /// Returns true if it has endpoints.
    pub fn has_endpoints(&self) -> bool {
        !matches!(**self.backend.endpoints(), EndpointSet::Empty)
    }
}

impl CanaryTerms {
    /// Decides about a request by its field and its cookie.
    pub fn decide(&self, head: &impl Head) -> CanaryDecision {
        let by_header = self.header.as_ref().and_then(|one| one.decide(head));
        if let Some(takes) = by_header {
            return CanaryDecision::Header(takes);
        }

        let cookie = self.cookie.as_ref();
        let value = cookie.and_then(|name| cookie_value(head, name));
        match value.and_then(always_or_never) {
            Some(takes) => CanaryDecision::Cookie(takes),
            None => CanaryDecision::Weight,
        }
    }

    /// Decides by chance.
    fn wins(&self, random: impl FnOnce() -> u64) -> bool {
        if self.weight == 0 || self.weight >= self.total {
            return self.weight > 0;
        }
        below(random(), self.total.into()) < self.weight.into()
    }
}

impl CanaryHeader {
    fn decide(&self, head: &impl Head) -> Option<bool> {
        let mut values = head.values(&self.name);
        let first = values.next()?;
        let rest: Vec<&[u8]> = values.collect();
        let joined;
        let value = if rest.is_empty() {
            first
        } else {
            // Several fields are one list (RFC 9110 section 5.3).
            joined = [&[first], &rest[..]].concat().join(&b", "[..]);
            &joined
        };

        match &self.values {
            CanaryValues::AlwaysOrNever => always_or_never(value),
            CanaryValues::Exact(exact) => (exact.as_bytes() == value).then_some(true),
            CanaryValues::Pattern(pattern) => pattern.matches(value).then_some(true),
            CanaryValues::Invalid => Some(false),
        }
    }
}

fn always_or_never(value: &[u8]) -> Option<bool> {
    match value {
        b"always" => Some(true),
        b"never" => Some(false),
        _ => None,
    }
}

/// Returns the value of the first cookie of a name.
pub fn cookie_value<'h>(head: &'h impl Head, name: &str) -> Option<&'h [u8]> {
    cookie_values(head, name).next()
}

/// Returns the values of all cookies of a name.
pub(super) fn cookie_values<'h>(head: &'h impl Head, name: &str) -> impl Iterator<Item = &'h [u8]> {
    let pairs = head
        .values(&COOKIE)
        .flat_map(|field| field.split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let equals = memchr::memchr(b'=', pair)?;
        let (own, value) = (pair[..equals].trim_ascii(), &pair[equals + 1..]);
        (own == name.as_bytes()).then(|| value.trim_ascii())
    })
}

#[cfg(test)]
mod tests;
