//! A route: what is done with a request that matched, and where the rule came from.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::Backend;

/// The object and field of a rule, shown in `explain`, logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Namespace of the object.
    pub namespace: Arc<str>,
    /// Name of the object.
    pub name: Arc<str>,
    /// Field of the object (`spec.rules[0].http.paths[1]`).
    pub field: Box<str>,
}

impl Origin {
    /// Reports whether both rules came from the same object.
    pub fn is_of_same_object(&self, other: &Self) -> bool {
        (&self.namespace, &self.name) == (&other.namespace, &other.name)
    }
}

/// Why a matched route answers by itself instead of forwarding.
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
    /// It asks for TLS passthrough, which is not supported: 503.
    UnsupportedPassthrough,
    /// The path is a regular expression, and those are not matched: 503.
    UnsupportedPath,
}

impl Refusal {
    /// The reason in the response, in `explain` and in the access log.
    pub fn reason(self) -> &'static str {
        match self {
            Self::UnknownService => "the service of this route does not exist",
            Self::UnknownPort => "the service of this route has no such port",
            Self::UnsupportedBackend => "the backend of this route is of an unsupported kind",
            Self::UnsupportedGuard => {
                "access to this route is restricted in a way that is not supported"
            }
            Self::UnsupportedPassthrough => {
                "TLS passthrough, which this route asks for, is not supported"
            }
            Self::UnsupportedPath => {
                "the path of this route is a regular expression, which is not supported"
            }
        }
    }
}

/// The treatment of a request that matched.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send it to an endpoint of this backend.
    Forward(Arc<Backend>),
    /// Answer 503 with the reason in the log.
    Refuse(Refusal),
}

/// A step between match and forward, prepared when the table was compiled. Any may answer the
/// request. Where one is not `always` to be taken, it is for hosts that have TLS
/// ([`HostRoutes::has_tls`](super::HostRoutes::has_tls)).
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Answer a plain-HTTP request with a redirect to `https://` of the same host, path and query.
    HttpsRedirect {
        /// The redirect status (308 as ingress-nginx does).
        status: StatusCode,
        /// Whatever the host.
        always: bool,
    },
    /// Add `Strict-Transport-Security` to answers given over TLS (RFC 6797 section 7.2).
    Hsts {
        /// The field.
        value: HeaderValue,
        /// Whatever the host.
        always: bool,
    },
}

/// A matched rule. Immutable, shared between generations of the table.
#[derive(Debug)]
pub struct Route {
    /// The rule it came from.
    pub origin: Origin,
    /// The treatment of its requests.
    pub action: Action,
    /// Steps before that, in order. Most routes share one list.
    pub filters: Arc<[Filter]>,
}

impl Route {
    /// Creates a route that refuses every request at once, without a redirect.
    pub fn refused(origin: Origin, refusal: Refusal) -> Self {
        Self {
            origin,
            action: Action::Refuse(refusal),
            filters: Arc::new([]),
        }
    }

    /// The status of the redirect that plain HTTP gets; `tls` says whether the host has TLS. Its
    /// port depends on how the client came.
    pub fn redirect(&self, tls: bool) -> Option<StatusCode> {
        self.filters.iter().find_map(|filter| match filter {
            Filter::HttpsRedirect { status, always } if *always || tls => Some(*status),
            _ => None,
        })
    }

    /// The `Strict-Transport-Security` of answers over TLS; `tls` says whether the host has TLS.
    pub fn hsts(&self, tls: bool) -> Option<&HeaderValue> {
        self.filters.iter().find_map(|filter| match filter {
            Filter::Hsts { value, always } if *always || tls => Some(value),
            _ => None,
        })
    }
}
