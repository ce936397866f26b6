//! The Kubernetes-compatible HTTP surface of the mini cluster.
//!
//! Pure functions over one object: [`schema`] (bytes to value, strict), [`merge`] (patches),
//! [`defaults`], [`validate`], [`openapi`].

mod absent;
mod admit;
mod api;
mod applier;
mod audit;
mod authenticate;
mod authorize;
mod certificates;
mod columns;
pub(crate) mod defaults;
mod delete;
mod discovery;
mod endpoints;
mod escalate;
mod events;
mod flows;
#[cfg(fuzzing)]
pub mod fuzz;
mod garbage;
mod identity;
mod kubeconfig;
mod manage;
pub(crate) mod merge;
mod namespaces;
pub(crate) mod openapi;
mod options;
mod patch;
mod protobuf;
mod read;
mod registry;
mod request;
mod response;
mod reviews;
mod root_ca;
pub(crate) mod schema;
mod selector;
mod server;
mod status;
#[cfg(test)]
mod tests;
mod tokens;
pub(crate) mod validate;
mod watch;
mod write;

use api::Api;
pub use applier::{Applier, Refusal, RefusalCause};
pub use authenticate::Auth;
pub use certificates::{CLIENT_CERTIFICATES, ClientCertificate, ClientCertificateRequest};
pub use identity::{Identity, IdentityError};
pub use kubeconfig::Kubeconfig;
pub use server::{Running, ServeError, Settings, serve};
