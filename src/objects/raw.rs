//! The raw object: its identity and metadata parsed once, the rest kept as the bytes that came.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use serde::Deserialize;

use super::Kind;

/// The identity of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Kind.
    pub kind: Kind,
    /// Namespace; empty for kinds without one.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind.name(), self.name)
        } else {
            write!(f, "{} {}/{}", self.kind.name(), self.namespace, self.name)
        }
    }
}

/// The metadata that is read without decoding the body. Everything else (managed fields, owner references) stays in
/// the body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// `metadata.name`
    pub name: Arc<str>,
    /// `metadata.namespace`; empty for kinds without one.
    pub namespace: Arc<str>,
    /// `metadata.uid`
    pub uid: Box<str>,
    /// `metadata.resourceVersion`
    pub resource_version: Box<str>,
    /// `metadata.generation`
    pub generation: i64,
    /// `metadata.creationTimestamp`, RFC 3339 in UTC, so that text order is time order.
    pub creation_timestamp: Box<str>,
    /// `metadata.deletionTimestamp`; empty when the object is not being deleted.
    pub deletion_timestamp: Box<str>,
    /// `metadata.labels`
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// `metadata.annotations`
    pub annotations: BTreeMap<Box<str>, Box<str>>,
}

/// One object. `body` is its JSON as its source sent or stored it; slim views are decoded from it on demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawObject {
    /// Identity.
    pub key: Key,
    /// Parsed metadata.
    pub meta: Meta,
    /// The whole object as JSON.
    pub body: Bytes,
}
