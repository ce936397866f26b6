//! The vocabulary of routing and the pure matcher. No async, no I/O, no Kubernetes words beyond
//! names in [`Origin`], which exist only to be shown to people.
//!
//! A [`RoutingTable`] is immutable. An edit makes a new table that shares every host it did not
//! touch.

pub mod access;
pub mod action;
pub mod backend;
pub mod canary;
pub mod cors;
pub mod expression;
pub mod host;
mod host_hash;
pub mod limits;
pub mod listener;
mod literals;
pub mod location;
mod matcher;
pub mod passthrough;
pub mod path;
pub mod pattern;
pub mod policy;
pub mod port;
pub mod prefixes;
pub mod response;
pub mod rewrite;
pub mod route;
pub mod rule;
pub mod steps;
pub mod sticky;
pub mod table;
pub mod variables;

pub use access::{Access, AddressVerdict, Entry, Login, Users};
pub use action::{Action, FixedResponse, PathChange, Redirect, Refusal, RequestUrl, Split};
pub use backend::{
    Backend, BackendId, BackendLimits, BackendSettings, BackendTls, Endpoint, EndpointId,
    EndpointSet, Protocol, Verify,
};
pub use canary::{Canary, CanaryDecision, CanaryHeader, CanaryTerms, CanaryValues};
pub use cors::{Cors, OriginError, Origins};
pub use expression::Expression;
pub use host::{Authority, Host, HostError, HostPattern};
pub use limits::{ClientLimits, Limits, Pace, RATES, Rate};
pub use listener::{Listener, ListenerProtocol};
pub use location::{Elsewhere, Location, LocationError};
pub use matcher::Loser;
pub use passthrough::Passthrough;
pub use path::{Closed, PathError, PathMatch};
pub use pattern::{Pattern, PatternError};
pub use policy::{LoadBalancing, Policy, Timeouts};
pub use port::{Port, PortRoute, PortTable, ProxyVersion, Transport};
pub use prefixes::Prefixes;
pub use response::{CookieChange, LocationChange};
pub use rewrite::{Rewrite, RewriteError, RewriteTarget, Rewritten};
pub use route::{Origin, Route};
pub use rule::{Conditions, Head, HeaderMatch, PlainGet, QueryMatch, Rule, TextMatch};
pub use steps::{RequestStep, ResponseStep, SetField, Steps};
pub use sticky::{Stickiness, StickyCookie, StickyHash};
pub use table::{Candidate, Found, HostRoutes, HostSearch, RoutingTable};
pub use variables::{RequestParts, Variables, VariablesError};
