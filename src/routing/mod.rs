//! The vocabulary of routing and the pure matcher. No async, no I/O, no Kubernetes words beyond
//! names in [`Origin`], which exist only to be shown to people.
//!
//! A [`RoutingTable`] is immutable. An edit makes a new table that shares every host it did not
//! touch.

pub mod access;
pub mod action;
pub mod authorities;
pub mod backend;
pub mod backend_tls;
pub mod canary;
pub mod certificate_fields;
pub mod circuit_breaker;
pub mod client_certificates;
pub mod compression;
mod conditional;
pub mod cors;
pub mod encoded_characters;
pub mod error_pages;
pub mod expression;
pub mod external_auth;
pub mod go_pattern;
pub mod groups;
mod grpc_web;
pub mod health;
pub mod host;
mod host_hash;
pub mod limits;
pub mod listener;
mod literals;
pub mod location;
mod matcher;
pub mod mirror;
pub mod origin_terms;
pub mod passthrough;
pub mod path;
pub mod path_edit;
pub mod pattern;
pub mod policy;
pub mod port;
pub mod prefixes;
pub mod request_counts;
pub mod response;
pub mod rewrite;
pub mod route;
pub mod rule;
pub mod same_site;
mod server;
pub mod steps;
pub mod sticky;
pub mod table;
pub mod url_redirect;
pub mod variables;

pub use access::{Access, AddressVerdict, Entry, Login, Users};
pub use action::{Action, PathChange, Redirect, Refusal, RequestUrl, Split};
pub use authorities::Authorities;
pub use backend::{
    Backend, BackendId, BackendLimits, BackendRef, BackendSettings, BackendTimes, Endpoint,
    EndpointId, EndpointSet, Protocol, Reach,
};
pub use backend_tls::{
    BackendTls, CertificateNames, Identity, RequestName, TlsTerms, TlsVersions, Verify,
};
pub use canary::{Canary, CanaryDecision, CanaryHeader, CanaryTerms, CanaryValues};
pub use certificate_fields::{CertificatePart, NamePart, TraefikCertificateFields};
pub use circuit_breaker::{
    BreakerCondition, BreakerError, CircuitBreaker, Comparison, Measure, Number,
};
pub use client_certificates::{
    CertificateFields, ClientCertificates, SubjectPattern, VerifyClient,
};
pub use compression::{Compression, ContentCoding, HAS_BROTLI, MediaTypes};
pub use conditional::{Condition, Conditional, OwnResponse, PathTest, Test, Then};
pub use cors::{Cors, CorsDialect, OriginError, OriginList, Origins};
pub use encoded_characters::EncodedCharacters;
pub use error_pages::{ErrorPages, Page, PageUrl, Statuses};
pub use expression::Expression;
pub use external_auth::{
    AuthCaching, AuthCookieTerms, AuthDialect, AuthFailure, AuthFields, AuthMethod, AuthTarget,
    ExternalAuth, FieldNames, FieldNamesError, is_same_name,
};
pub use go_pattern::GoPattern;
pub use groups::{EndpointGroups, GroupSelector, GroupWeight, NamedGroups};
pub use grpc_web::{GrpcWeb, GrpcWebForm};
pub use health::{CheckRequest, HealthCheck};
pub use host::{Authority, Host, HostError, HostPattern};
pub use limits::{ClientLimits, Limits, Pace, RATES, Rate};
pub use listener::{Listener, ListenerProtocol};
pub use location::{Elsewhere, Location, LocationError};
pub use matcher::Loser;
pub use mirror::Mirror;
pub use origin_terms::{AllowedList, OriginTerms};
pub use passthrough::Passthrough;
pub use path::{Closed, PathError, PathMatch};
pub use path_edit::{Edit, Edited, PathEdit};
pub use pattern::{Pattern, PatternError};
pub use policy::{LoadBalancing, Policy, Timeouts};
pub use port::{EndedTls, OpenPort, Port, PortRoute, PortTable, ProxyVersion, Transport};
pub use prefixes::Prefixes;
pub use request_counts::RequestCounts;
pub use response::{CookieChange, LocationChange};
pub use rewrite::{Rewrite, RewriteError, RewriteTarget, Rewritten};
pub use route::{Origin, Route};
pub use rule::{Conditions, Head, HeaderMatch, PlainGet, QueryMatch, Rule, TextMatch};
pub use same_site::{SameSite, misreads_none};
pub use server::Server;
pub use steps::{RemovedField, RequestStep, ResponseStep, SetField, SetHost, SetText, Steps};
pub use sticky::{Stickiness, StickyCookie, StickyHash};
pub use table::{Candidate, Found, HostExpression, HostRoutes, HostSearch, RoutingTable};
pub use url_redirect::{SentUrl, UrlForm, UrlRedirect};
pub use variables::{RequestParts, Variables, VariablesError};
