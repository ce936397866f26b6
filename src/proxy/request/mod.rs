//! A request and its response as the data plane handles them, whatever protocol they came over.

pub(crate) mod access_log;
mod around;
pub(crate) mod body;
mod check;
mod client_certificates;
mod coding;
mod compression;
pub(crate) mod error;
mod error_pages;
pub(crate) mod fields;
mod grpc_web;
pub(crate) mod handle;
pub(crate) mod headers;
pub(crate) mod loops;
pub(crate) mod message;
pub(crate) mod outside;
mod pace;
mod sessions;
pub(crate) mod spare;
mod steps;
pub(crate) mod terms;
