//! Parses requests: the path, the query, the media types.

use http::HeaderMap;

use super::{
    protobuf,
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

    /// Checks `timeout`, which has no effect but must be one: requests take less than any. Watches
    /// do not read it.
    pub(crate) fn check_timeout(&self) -> Result<(), ApiError> {
        let text = self.text("timeout");
        if text.is_empty() || self.flag("watch") {
            return Ok(());
        }
        check_duration(text).map_err(|problem| {
            ApiError::bad_request(format!(
                "invalid timeout specified in the request URL - time: {problem}"
            ))
        })
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

/// A text that is no duration, as Go's `time.ParseDuration` says it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoDuration {
    #[error("invalid duration {0:?}")]
    Invalid(String),
    #[error("missing unit in duration {0:?}")]
    NoUnit(String),
    #[error("unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit { unit: String, text: String },
}

/// Checks a duration of Go: numbers with units, such as `1h30m` or `1.5s`.
pub(super) fn check_duration(text: &str) -> Result<(), NoDuration> {
    const UNITS: [&str; 8] = ["ns", "us", "\u{b5}s", "\u{3bc}s", "ms", "s", "m", "h"];

    let is_number = |c: char| c == '.' || c.is_ascii_digit();
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(());
    }

    loop {
        let number = rest.len() - rest.trim_start_matches(is_number).len();
        let (number, after) = rest.split_at(number);
        let points = number.matches('.').count();
        if points > 1 || number.len() == points {
            return Err(NoDuration::Invalid(text.to_owned()));
        }

        let unit = after.find(is_number).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        if unit.is_empty() {
            return Err(NoDuration::NoUnit(text.to_owned()));
        }
        if !UNITS.contains(&unit) {
            return Err(NoDuration::UnknownUnit {
                unit: unit.to_owned(),
                text: text.to_owned(),
            });
        }
        if after.is_empty() {
            return Ok(());
        }
        rest = after;
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

/// The format of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

/// The representation that the client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accept {
    pub(crate) shape: Shape,
    pub(crate) encoding: Encoding,
}

impl Accept {
    /// Returns the first media range of `Accept` that is supported, and JSON without the header.
    /// Only kinds of Kubernetes have protobuf.
    pub(crate) fn parse(headers: &HeaderMap, has_protobuf: bool) -> Result<Self, ApiError> {
        let ranges: Vec<&str> = headers
            .get_all(http::header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let ranges = ranges.join(",");
        if ranges.trim().is_empty() {
            return Ok(Self {
                shape: Shape::Object,
                encoding: Encoding::Json,
            });
        }
        ranges
            .split(',')
            .filter_map(Self::range)
            .find(|accept| has_protobuf || accept.encoding != Encoding::Protobuf)
            .ok_or_else(|| ApiError::not_acceptable(has_protobuf))
    }

    fn range(range: &str) -> Option<Self> {
        let mut parts = range.split(';').map(str::trim);
        let encoding = match parts.next()?.to_ascii_lowercase().as_str() {
            "application/json" | "*/*" | "application/*" => Encoding::Json,
            "application/yaml" => Encoding::Yaml,
            protobuf::MEDIA_TYPE => Encoding::Protobuf,
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
            ("Table", _) if encoding == Encoding::Protobuf => return None,
            ("Table", "v1") => Shape::Table("meta.k8s.io/v1"),
            ("Table", "v1beta1") => Shape::Table("meta.k8s.io/v1beta1"),
            ("PartialObjectMetadata" | "PartialObjectMetadataList", "v1") => Shape::Partial,
            _ => return None,
        };
        Some(Self { shape, encoding })
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
        protobuf::MEDIA_TYPE => Ok(ContentType::Protobuf),
        _ => Err(ApiError::unsupported_body()),
    }
}
