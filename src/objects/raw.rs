//! The raw object: its identity and metadata parsed once, the rest kept as the bytes that came.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Deserializer};

use super::{
    ISSUER_LABEL, Kind, Texts,
    decode::{Problem, explain},
};

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

/// The metadata that is read without decoding the body. Everything else (managed fields, owner
/// references) stays in the body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// `metadata.name`
    #[serde(deserialize_with = "nullable")]
    pub name: Arc<str>,
    /// `metadata.namespace`; empty for kinds without one.
    #[serde(deserialize_with = "nullable")]
    pub namespace: Arc<str>,
    /// `metadata.uid`
    #[serde(deserialize_with = "nullable")]
    pub uid: Box<str>,
    /// `metadata.resourceVersion`
    #[serde(deserialize_with = "nullable")]
    pub resource_version: Box<str>,
    /// `metadata.generation`
    #[serde(deserialize_with = "nullable")]
    pub generation: i64,
    /// `metadata.creationTimestamp`, RFC 3339 in UTC, so that text order is time order.
    #[serde(deserialize_with = "nullable")]
    pub creation_timestamp: Box<str>,
    /// `metadata.deletionTimestamp`; empty when the object is not being deleted.
    #[serde(deserialize_with = "nullable")]
    pub deletion_timestamp: Box<str>,
    /// `metadata.labels`
    #[serde(deserialize_with = "nullable")]
    pub labels: Texts,
    /// `metadata.annotations`
    #[serde(deserialize_with = "nullable")]
    pub annotations: Texts,
}

/// One object. `body` is its JSON as its source sent or stored it; slim views are decoded from it
/// on demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawObject {
    /// Identity.
    pub key: Key,
    /// Parsed metadata.
    pub meta: Meta,
    /// The whole object as JSON.
    pub body: Bytes,
}

/// Why bytes are not an object of the kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct ObjectError {
    /// The kind that was expected.
    pub kind: Kind,
    /// `namespace/name` as far as it is known; empty where it is not.
    pub name: Box<str>,
    /// The field (`spec.rules[0].host`); empty for the whole object.
    pub field: Box<str>,
    /// The problem with the field, for people.
    pub why: Box<str>,
}

impl ObjectError {
    fn new(kind: Kind, name: String, problem: Problem) -> Self {
        Self {
            kind,
            name: name.into(),
            field: problem.field.into(),
            why: problem.why.into(),
        }
    }

    fn text(&self) -> String {
        let place = if self.name.is_empty() { "" } else { " " };
        let colon = if self.field.is_empty() { "" } else { ": " };
        format!(
            "{}{place}{}: {}{colon}{}",
            self.kind.name(),
            self.name,
            self.field,
            self.why
        )
    }
}

impl RawObject {
    /// Parses identity and metadata; the body is kept as it is. `null` counts as absent.
    pub fn parse(kind: Kind, body: Bytes) -> Result<Self, ObjectError> {
        #[derive(Deserialize)]
        struct Envelope {
            metadata: Meta,
        }

        let error = |problem| ObjectError::new(kind, String::new(), problem);
        let Envelope { metadata: mut meta } =
            serde_json::from_slice(&body).map_err(|bad| error(explain(&body, &bad)))?;

        if meta.name.is_empty() {
            let why = "it is missing".to_owned();
            return Err(error(Problem {
                field: "metadata.name".to_owned(),
                why,
            }));
        }

        // The key of a cluster-wide object must not depend on a namespace that its body names.
        if !kind.namespaced() {
            meta.namespace = Arc::from("");
        }

        let key = Key {
            kind,
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
        };

        Ok(Self { key, meta, body })
    }

    /// Decodes a slim view of the body.
    pub fn view<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ObjectError> {
        serde_json::from_slice(&self.body).map_err(|bad| {
            let name = match &*self.key.namespace {
                "" => self.key.name.to_string(),
                namespace => format!("{namespace}/{}", self.key.name),
            };
            ObjectError::new(self.key.kind, name, explain(&self.body, &bad))
        })
    }

    /// Reports whether it is a ConfigMap that describes an issuer of certificates.
    pub fn is_issuer(&self) -> bool {
        self.key.kind == Kind::ConfigMap
            && self
                .meta
                .labels
                .get(ISSUER_LABEL)
                .is_some_and(|value| **value == *"true")
    }

    /// The object for Events and statuses.
    pub fn reference(&self) -> super::ObjectRef {
        super::ObjectRef {
            key: self.key.clone(),
            uid: self.meta.uid.clone(),
        }
    }
}

/// `null` counts as absent: clients write it, and the real API server takes it.
pub(super) fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}
