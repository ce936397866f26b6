//! The vocabulary of routing and the pure matcher. No async, no I/O, no Kubernetes words beyond
//! names in [`Origin`], which exist only to be shown to people.
//!
//! A [`RoutingTable`] is immutable. An edit makes a new table that shares every host it did not
//! touch.

pub mod backend;
pub mod host;
pub mod listener;
mod matcher;
pub mod path;
pub mod route;
pub mod table;

pub use backend::{
    Backend, BackendId, BackendLimits, BackendSettings, BackendTls, Endpoint, EndpointId,
    EndpointSet, Protocol, Verify,
};
pub use host::{Authority, Host, HostError, HostPattern};
pub use listener::{Listener, ListenerProtocol};
pub use matcher::Loser;
pub use path::{Closed, PathError, PathMatch};
pub use route::{Action, Filter, Origin, Refusal, Route};
pub use table::{Candidate, Found, HostRoutes, RoutingTable};
