//! The steps of a route: prepared when the table is compiled, and taken in their order. That of
//! annotations is the order of the kinds in [`RequestStep`]; middlewares have their own. Where one
//! is not `always` to be taken, it is for hosts that have TLS
//! ([`HostRoutes::has_tls`](super::HostRoutes::has_tls)).

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};

use super::{
    Access, CircuitBreaker, ClientLimits, Compression, Conditional, CookieChange, Cors, Elsewhere,
    EncodedCharacters, ErrorPages, ExternalAuth, GrpcWeb, LocationChange, Mirror, OriginTerms,
    PathEdit, Rewrite, TraefikCertificateFields, UrlRedirect, Variables,
};

/// The steps of a route. Routes without any have no list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Steps {
    /// Steps before the action. Any may respond to the request.
    pub request: Box<[RequestStep]>,
    /// Steps on the response that the action leads to.
    pub response: Box<[ResponseStep]>,
    /// The pages in place of errors.
    pub errors: Option<Arc<ErrorPages>>,
    /// The server that gets copies of the requests that are forwarded.
    pub mirror: Option<Arc<Mirror>>,
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
        /// The port; `None` for the one by which clients reach us.
        port: Option<u16>,
        /// Whatever the host.
        always: bool,
    },
    /// Respond to the preflight requests of pages of other origins.
    Preflight(Arc<Cors>),
    /// Count the requests of each client: 503, or another status, for too many.
    Limit(Arc<ClientLimits>),
    /// Respond ourselves to the requests that meet a condition.
    Conditional(Arc<Conditional>),
    /// Let in those who may come in: 403 or 401 for others.
    Access(Arc<Access>),
    /// Let in those whose login another server confirms.
    ExternalAuth(Arc<ExternalAuth>),
    /// Respond with a redirect to another URL.
    Elsewhere(Arc<Elsewhere>),
    /// Send another `Host` to the backend.
    Host(Arc<SetHost>),
    /// Send another path to the backend, or respond with a redirect to another URL.
    Rewrite(Arc<Rewrite>),
    /// Replace errors of the steps behind it and of the backend.
    Errors(Arc<ErrorPages>),
    /// Refuse requests while too many of those behind it fail.
    CircuitBreaker(Arc<CircuitBreaker>),
    /// Send fields about the certificate of the client to the backend, as Traefik does.
    CertificateFields(Arc<TraefikCertificateFields>),
    /// Refuse paths with some encoded characters: 400.
    EncodedCharacters(Arc<EncodedCharacters>),
    /// Send requests of gRPC-Web to the backend as those of gRPC.
    GrpcWeb(Arc<GrpcWeb>),
    /// Change the path for the backend.
    EditPath(Arc<PathEdit>),
    /// Respond with a redirect to another form of the URL, unless it has that form.
    RedirectUrl(Arc<UrlRedirect>),
    /// Respond to preflight requests as Traefik does.
    OriginPreflight(Arc<OriginTerms>),
    /// Send no field with this name to the backend.
    RemoveField(Arc<RemovedField>),
    /// Send a field to the backend, in place of those of the client with its name.
    SetField(Arc<SetField>),
    /// The same with a value that depends on the request. An empty one is not sent.
    SetText(Arc<SetText>),
    /// Send a field to the backend, beside others with its name.
    AddField(Arc<SetField>),
}

/// A field that is set to a text with variables.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetText {
    /// The annotation that it is made from, for people.
    pub from: Box<str>,
    /// The name.
    pub name: HeaderName,
    /// The value.
    pub value: Variables,
}

/// A different `Host` for the backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetHost {
    /// The annotation that it is made from, for people.
    pub from: Box<str>,
    /// The value.
    pub value: HeaderValue,
}

/// A field that is removed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RemovedField {
    /// The object that it is made from, for people.
    pub from: Box<str>,
    /// The name.
    pub name: HeaderName,
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
    /// Send a field to the client, beside others with its name.
    AddField(Arc<SetField>),
    /// Send no field with this name to the client.
    RemoveField(HeaderName),
    /// Add the fields of CORS as Traefik does.
    Origin(Arc<OriginTerms>),
    /// Compress the body.
    Compress(Arc<Compression>),
}

impl Steps {
    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.request.is_empty()
            && self.response.is_empty()
            && self.errors.is_none()
            && self.mirror.is_none()
    }
}
