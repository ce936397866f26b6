//! Parses requests: the path, the query, the media types.

use http::HeaderMap;

use super::{
    registry::{self, Resource},
    schema::ContentType,
    status::ApiError,
};
use crate::{access::User, util::percent};

/// The size limit of a request body and of a stored object in bytes, the same as etcd's.
pub(super) const MAX_BODY: usize = 3 << 19;

/// The resource or object that a path names.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) resource: &'static Resource,
    /// The namespace; `None` for all, and for kinds without namespaces.
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

impl Target {
    /// Parses the part after `/api/v1/` or `/apis/GROUP/VERSION/`.
    pub(crate) fn parse(group: &str, version: &str, segments: &[&str]) -> Result<Self, ApiError> {
        let find =
            |plural| registry::find(group, version, plural).ok_or_else(ApiError::no_such_resource);
        let decoded = |text: &str| lossy(percent::decode(text));
        let (resource, namespace, rest) = match segments {
            ["namespaces", namespace, plural, rest @ ..]
                if !namespace.is_empty() && registry::find(group, version, plural).is_some() =>
            {
                (find(plural)?, Some(decoded(namespace)), rest)
            }
            [plural, rest @ ..] => (find(plural)?, None, rest),
            [] => return Err(ApiError::no_such_resource()),
        };

        let (name, subresource) = match rest {
            [] => (None, None),
            [name] => (Some(decoded(name)), None),
            [name, subresource] => (Some(decoded(name)), Some(decoded(subresource))),
            _ => return Err(ApiError::no_such_resource()),
        };

        let by_name_without_namespace =
            resource.namespaced && name.is_some() && namespace.is_none();
        let known = subresource
            .as_deref()
            .is_none_or(|name| resource.has_subresource(name));
        if by_name_without_namespace || (namespace.is_some() && !resource.namespaced) || !known {
            return Err(ApiError::no_such_resource());
        }
        Ok(Self {
            resource,
            namespace,
            name,
            subresource,
        })
    }
}

impl Target {
    /// Returns true if the target has a verb. Kinds without writes are refused before.
    pub(crate) fn allows(&self, verb: &str) -> bool {
        let Some(name) = self.subresource.as_deref() else {
            return true;
        };
        let all = self.resource.subresources().iter();
        all.filter(|(known, _verbs)| *known == name)
            .any(|(_known, verbs)| verbs.contains(&verb))
    }
}

/// A request for a resource or an object, parsed but for its body.
#[derive(Clone, Debug)]
pub(crate) struct ResourceRequest<'r> {
    pub(crate) target: &'r Target,
    pub(crate) user: &'r User,
    pub(crate) query: Query,
    pub(crate) accept: Accept,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) body: &'r [u8],
}

/// The parameters of the query string, decoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| {
                    (
                        lossy(percent::decode_form(name)),
                        lossy(percent::decode_form(value)),
                    )
                })
                .collect(),
        )
    }

    /// Returns the value of a parameter, empty if it is absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(known, _value)| known == name)
            .map_or("", |(_known, value)| value)
    }

    /// Returns the value of a parameter as Go parses booleans; false if it is absent.
    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.text(name), "true" | "1" | "True" | "TRUE" | "t" | "T")
    }

    /// Returns the value of a parameter as a number, `None` if it is absent or not a number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }

    /// Returns true if the write must change nothing. `kind` is the kind of options that an error
    /// names.
    pub(crate) fn dry_run(&self, kind: &str) -> Result<bool, ApiError> {
        match self.text("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => {
                let message =
                    format!("Unsupported value: [\"{other}\"]: supported values: \"All\"");
                Err(ApiError::invalid_options(
                    kind,
                    "dryRun",
                    "FieldValueNotSupported",
                    &message,
                ))
            }
        }
    }
}

fn lossy(octets: Vec<u8>) -> String {
    String::from_utf8_lossy(&octets).into_owned()
}

/// The kind of object that a response contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The object or list itself.
    Object,
    /// A Table of `meta.k8s.io`, with its API version.
    Table(&'static str),
    /// The metadata alone.
    Partial,
}

/// The representation that the client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accept {
    pub(crate) shape: Shape,
    pub(crate) yaml: bool,
}

impl Accept {
    /// Returns the first media range of `Accept` that is supported, and JSON without the header.
    pub(crate) fn parse(headers: &HeaderMap) -> Result<Self, ApiError> {
        let ranges: Vec<&str> = headers
            .get_all(http::header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let ranges = ranges.join(",");
        if ranges.trim().is_empty() {
            return Ok(Self {
                shape: Shape::Object,
                yaml: false,
            });
        }
        ranges
            .split(',')
            .find_map(Self::range)
            .ok_or_else(ApiError::not_acceptable)
    }

    fn range(range: &str) -> Option<Self> {
        let mut parts = range.split(';').map(str::trim);
        let yaml = match parts.next()?.to_ascii_lowercase().as_str() {
            "application/json" | "*/*" | "application/*" => false,
            "application/yaml" => true,
            _ => return None,
        };

        let (mut shape, mut version) = ("", "v1");
        for parameter in parts {
            match parameter.split_once('=') {
                Some(("as", value)) => shape = value,
                Some(("v", value)) => version = value,
                Some(_) | None => {}
            }
        }

        let shape = match (shape, version) {
            ("", _) => Shape::Object,
            ("Table", "v1") => Shape::Table("meta.k8s.io/v1"),
            ("Table", "v1beta1") => Shape::Table("meta.k8s.io/v1beta1"),
            ("PartialObjectMetadata" | "PartialObjectMetadataList", "v1") => Shape::Partial,
            _ => return None,
        };
        Some(Self { shape, yaml })
    }
}

/// Returns the media type of `Content-Type` in lower case, without parameters; empty if absent.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

/// Returns the format of a request body. It is JSON without the header: Python's client sends none.
pub(crate) fn content_type(headers: &HeaderMap) -> Result<ContentType, ApiError> {
    match media_type(headers).as_str() {
        "" | "application/json" | "*/*" => Ok(ContentType::Json),
        "application/yaml" => Ok(ContentType::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(ContentType::Protobuf),
        _ => Err(ApiError::unsupported_body()),
    }
}
