//! The steps of a route: prepared when the table is compiled, and taken in their order. Where one
//! is not `always` to be taken, it is for hosts that have TLS
//! ([`HostRoutes::has_tls`](super::HostRoutes::has_tls)).

use http::{HeaderValue, StatusCode};

/// The steps of a route. Routes without any have no list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steps {
    /// Steps before the action. Any may respond to the request.
    pub request: Box<[RequestStep]>,
    /// Steps on the response that the action leads to.
    pub response: Box<[ResponseStep]>,
}

/// A step on a request.
#[derive(Clone, Debug, PartialEq)]
pub enum RequestStep {
    /// Respond to a plain-HTTP request with a redirect to `https://` of the same host, path and
    /// query.
    HttpsRedirect {
        /// The redirect status (308 as ingress-nginx does).
        status: StatusCode,
        /// Whatever the host.
        always: bool,
    },
}

/// A step on a response.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseStep {
    /// Add `Strict-Transport-Security` to responses over TLS (RFC 6797 section 7.2).
    Hsts {
        /// The field.
        value: HeaderValue,
        /// Whatever the host.
        always: bool,
    },
}

impl Steps {
    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty()
    }
}
