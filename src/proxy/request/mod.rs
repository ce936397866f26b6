//! A request and its response as the data plane handles them, whatever protocol they came over.

pub(crate) mod access_log;
pub(crate) mod body;
mod check;
pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod handle;
pub(crate) mod headers;
pub(crate) mod loops;
pub(crate) mod message;
pub(crate) mod outside;
mod pace;
mod sessions;
mod steps;
pub(crate) mod terms;
