//! The Kubernetes-compatible HTTP surface of the mini cluster.
//!
//! Pure functions over one object: [`schema`] (bytes to value, strict), [`merge`] (patches), [`defaults`],
//! [`validate`], [`openapi`].

pub(crate) mod defaults;
pub(crate) mod merge;
pub(crate) mod openapi;
pub(crate) mod schema;
pub(crate) mod validate;
