//! A rule: its conditions on a request, and its place in the order of precedence.

use std::sync::Arc;

use http::{HeaderName, Method, Request};

use super::{PathMatch, Pattern, Route};
use crate::util::percent;

/// A rule of a host. Its source is the origin of its route.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The condition on the path.
    pub path: PathMatch,
    /// The further conditions, all of which must hold. `None` for none.
    pub conditions: Option<Box<Conditions>>,
    /// The treatment of the requests that match.
    pub route: Arc<Route>,
}

/// The conditions of a rule beside its path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The method.
    pub method: Option<Method>,
    /// The fields, each name once.
    pub headers: Box<[HeaderMatch]>,
    /// The parameters of the query, each name once.
    pub query: Box<[QueryMatch]>,
}

/// The condition on a field. Several fields of one name count as one with their values separated by
/// commas (RFC 9110 section 5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The name.
    pub name: HeaderName,
    /// The condition on the value.
    pub value: TextMatch,
    /// True if one of the values that commas separate is enough, as with HAProxy.
    pub each: bool,
}

/// The condition on a parameter of the query. The first of several with the same name counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryMatch {
    /// The decoded name.
    pub name: Box<str>,
    /// The condition on the decoded value.
    pub value: TextMatch,
}

/// The condition on a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextMatch {
    /// This text.
    Exact(Box<str>),
    /// A text that the expression takes.
    Pattern(Box<Pattern>),
}

/// The parts of a request that conditions are about.
pub trait Head {
    /// Returns the method.
    fn method(&self) -> &Method;
    /// Returns the values of the fields of this name, in their order.
    fn values(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]>;
    /// Returns the query, without `?`.
    fn query(&self) -> Option<&str>;
}

/// A GET without fields: for questions about a URL alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainGet<'a> {
    /// The query, without `?`.
    pub query: Option<&'a str>,
}

impl<B> Head for Request<B> {
    fn method(&self) -> &Method {
        self.method()
    }

    fn values(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        self.headers()
            .get_all(name)
            .iter()
            .map(|value| value.as_bytes())
    }

    fn query(&self) -> Option<&str> {
        self.uri().query()
    }
}

impl Head for PlainGet<'_> {
    fn method(&self) -> &Method {
        &Method::GET
    }

    fn values(&self, _name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        std::iter::empty()
    }

    fn query(&self) -> Option<&str> {
        self.query
    }
}

impl From<(PathMatch, Arc<Route>)> for Rule {
    fn from((path, route): (PathMatch, Arc<Route>)) -> Self {
        Self {
            path,
            conditions: None,
            route,
        }
    }
}

impl Rule {
    /// Reports whether it matches a request with this normalised path.
    pub fn matches(&self, path: &str, head: &impl Head) -> bool {
        self.path.matches(path) && self.conditions_hold(head)
    }

    /// Reports whether the conditions beside the path hold.
    pub(super) fn conditions_hold(&self, head: &impl Head) -> bool {
        let conditions = self.conditions.as_ref();
        conditions.is_none_or(|conditions| conditions.hold(head))
    }

    /// Returns a number that is greater for the rule that comes first: an exact path first, then
    /// the longer path, the match that takes fewer paths, a method, more fields, more parameters of
    /// the query. Equal ones are left in the order in which they are given: the older object
    /// first, then by its name.
    ///
    /// Ingress v1 and Gateway API agree in this. Gateway API leaves the place of regular
    /// expressions open: here the length of one is that of its literal prefix.
    pub(super) fn precedence(&self) -> u64 {
        let (is_exact, length, breadth) = self.path.precedence();
        let length = length.min(LENGTHS - 1) as u64;
        let path = u64::from(is_exact) << 23 | length << 3 | u64::from(7 - breadth);

        let (method, headers, query) = self.conditions.as_ref().map_or((false, 0, 0), |one| {
            (one.method.is_some(), one.headers.len(), one.query.len())
        });
        let count = |number: usize| number.min(0xff) as u64;
        path << 17 | u64::from(method) << 16 | count(headers) << 8 | count(query)
    }

    /// Returns true if [`Self::rank`] decides about its place, and with it about that of all rules
    /// of its host.
    pub(super) fn is_ranked(&self) -> bool {
        self.route.origin.priority.is_some() || matches!(self.path, PathMatch::Regexp(_))
    }

    /// Returns its place among the rules of a host, as in Traefik: the greater one comes first. It
    /// is what its object says, or else the length of the rule as Traefik writes it; `host` is the
    /// length of its part about the host. An exact path counts as a prefix, so that it comes first.
    pub fn rank(&self, host: usize) -> i64 {
        if let Some(priority) = self.route.origin.priority {
            return priority.into();
        }
        let path = self.path.as_str();
        let escaped = path.bytes().filter(|byte| matches!(byte, b'\\' | b'"'));
        let length = host + PATH_RULE.len() + path.len() + escaped.count();
        length.try_into().unwrap_or(i64::MAX)
    }

    /// Returns true if its path is an expression of ingress-nginx.
    pub(super) fn is_expression(&self) -> bool {
        matches!(self.path, PathMatch::Expression(_))
    }

    /// Returns true if the other rule has the same conditions, so that it never has a request.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.path.is_same(&other.path) && self.conditions == other.conditions
    }
}

/// The rule about a path in Traefik, around the path.
const PATH_RULE: &str = "PathPrefix(\"\")";

/// The lengths of paths that the order of precedence distinguishes.
const LENGTHS: usize = 1 << 20;

impl Conditions {
    fn hold(&self, head: &impl Head) -> bool {
        self.method
            .as_ref()
            .is_none_or(|method| method == head.method())
            && self.headers.iter().all(|one| one.holds(head))
            && self.query.iter().all(|one| one.holds(head.query()))
    }
}

impl HeaderMatch {
    fn holds(&self, head: &impl Head) -> bool {
        let mut values = head.values(&self.name);
        if self.each {
            return values.any(|value| elements(value).any(|one| self.value.takes(one)));
        }
        let Some(first) = values.next() else {
            return false;
        };
        let Some(second) = values.next() else {
            return self.value.takes(first);
        };

        let mut joined = first.to_vec();
        for value in std::iter::once(second).chain(values) {
            joined.push(b',');
            joined.extend_from_slice(value);
        }
        self.value.takes(&joined)
    }
}

/// Returns the values that commas separate, outside of quoted strings.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    let elements = value.split(move |byte| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match byte {
            b'\\' if is_quoted && !was_escaped => is_escaped = true,
            b'"' if !was_escaped => is_quoted = !is_quoted,
            b',' => return !is_quoted,
            _ => {}
        }
        false
    });
    elements.map(<[u8]>::trim_ascii)
}

impl QueryMatch {
    fn holds(&self, query: Option<&str>) -> bool {
        let pairs = query.into_iter().flat_map(|query| query.split('&'));
        let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let is_ours = |name: &str| is_decoded(name, self.name.as_bytes());
        let Some((_, value)) = pairs.find(|(name, _)| is_ours(name)) else {
            return false;
        };

        match &self.value {
            TextMatch::Exact(text) => is_decoded(value, text.as_bytes()),
            TextMatch::Pattern(_) if value.contains(['%', '+']) => {
                self.value.takes(&percent::decode_form(value))
            }
            TextMatch::Pattern(_) => self.value.takes(value.as_bytes()),
        }
    }
}

/// Returns true if this is the decoded form of a name or value of a query.
fn is_decoded(encoded: &str, text: &[u8]) -> bool {
    encoded.as_bytes() == text && !encoded.contains(['%', '+'])
        || encoded.contains(['%', '+']) && percent::decode_form(encoded) == text
}

impl TextMatch {
    fn takes(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_bytes() == text,
            Self::Pattern(pattern) => pattern.matches(text),
        }
    }
}

#[cfg(test)]
mod tests;
