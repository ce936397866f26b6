//! The steps of a route: prepared when the table is compiled, and taken in their order, which is
//! that of the kinds in [`RequestStep`]. Where one is not `always` to be taken, it is for hosts
//! that have TLS ([`HostRoutes::has_tls`](super::HostRoutes::has_tls)).

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};

use super::{Access, ClientLimits, CookieChange, Cors, Elsewhere, LocationChange, Rewrite};

/// The steps of a route. Routes without any have no list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Steps {
    /// Steps before the action. Any may respond to the request.
    pub request: Box<[RequestStep]>,
    /// Steps on the response that the action leads to.
    pub response: Box<[ResponseStep]>,
}

/// A step on a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RequestStep {
    /// Refuse a request that came over TLS to us: the TLS of its host is for the backend alone.
    OnlyPlain,
    /// Respond to a plain-HTTP request with a redirect to `https://` of the same host, path and
    /// query.
    HttpsRedirect {
        /// The redirect status (308 as ingress-nginx does).
        status: StatusCode,
        /// Whatever the host.
        always: bool,
    },
    /// Respond to the preflight requests of pages of other origins.
    Preflight(Arc<Cors>),
    /// Count the requests of each client: 503, or another status, for too many.
    Limit(Arc<ClientLimits>),
    /// Let in those who may come in: 403 or 401 for others.
    Access(Arc<Access>),
    /// Respond with a redirect to another URL.
    Elsewhere(Arc<Elsewhere>),
    /// Send another `Host` to the backend.
    Host {
        /// The annotation that it is made from, for people.
        from: Box<str>,
        /// The value.
        value: HeaderValue,
    },
    /// Send another path to the backend, or respond with a redirect to another URL.
    Rewrite(Arc<Rewrite>),
    /// Send a field to the backend, in place of those of the client with its name.
    SetField(Arc<SetField>),
}

/// A field that is set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetField {
    /// The annotation that it is made from, for people.
    pub from: Box<str>,
    /// The name.
    pub name: HeaderName,
    /// The value.
    pub value: HeaderValue,
}

/// A step on a response.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ResponseStep {
    /// Add `Strict-Transport-Security` to responses over TLS (RFC 6797 section 7.2).
    Hsts {
        /// The field.
        value: HeaderValue,
        /// Whatever the host.
        always: bool,
    },
    /// Add the fields of CORS.
    Cors(Arc<Cors>),
    /// Change the attributes of cookies.
    Cookies(Arc<CookieChange>),
    /// Change the targets of redirects.
    Location(Arc<LocationChange>),
    /// Send a field to the client, in place of those of the backend with its name.
    SetField(Arc<SetField>),
}

impl Steps {
    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty()
    }
}
