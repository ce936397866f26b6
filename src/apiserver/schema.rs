//! Decodes request bodies to JSON values of the right types, and reports what strict decoding
//! refuses.
//!
//! One table drives this, the patches and the protobuf decoder: [`table`].

mod duplicates;
mod error;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod walk;

use serde_json::{Map, Value};

use super::protobuf;
use crate::{
    objects::Kind,
    util::{hex, yaml},
};

pub(crate) use error::{BodyError, DecodeError, Mismatch, OptionsError, StrictProblem};
pub(crate) use walk::found_as;

/// The format of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentType {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// A decoded body.
#[derive(Clone, Debug)]
pub(crate) struct Decoded {
    /// The object.
    pub(crate) value: Value,
    /// Members that were dropped, and that strict decoding refuses.
    pub(crate) problems: Vec<StrictProblem>,
}

impl Decoded {
    /// Returns the reason why strict decoding refuses the body, if it does.
    pub(crate) fn strict_error(&self) -> Option<String> {
        let problems: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        (!problems.is_empty()).then(|| format!("strict decoding error: {}", problems.join(", ")))
    }
}

/// Decodes a request body.
pub(crate) fn decode(
    kind: Kind,
    content_type: ContentType,
    body: &[u8],
) -> Result<Decoded, DecodeError> {
    let expected = Expected {
        kind: kind.name(),
        message: kind.name(),
        api_version: kind.api_version(),
    };
    decode_as(expected, content_type, body)
}

/// Decodes an object of a kind that is not stored.
pub(crate) fn decode_kind(
    kind: &'static str,
    api_version: &'static str,
    content_type: ContentType,
    body: &[u8],
) -> Result<Decoded, DecodeError> {
    let expected = Expected {
        kind,
        message: kind,
        api_version,
    };
    decode_as(expected, content_type, body)
}

/// Decodes an Event of the group `events.k8s.io`.
pub(crate) fn decode_event(content_type: ContentType, body: &[u8]) -> Result<Decoded, DecodeError> {
    let expected = Expected {
        kind: Kind::Event.name(),
        message: "events.Event",
        api_version: "events.k8s.io/v1",
    };
    decode_as(expected, content_type, body)
}

/// The kind and version that a body must have.
#[derive(Clone, Copy)]
struct Expected {
    kind: &'static str,
    /// The name of the kind's message in the table.
    message: &'static str,
    api_version: &'static str,
}

fn decode_as(
    expected: Expected,
    content_type: ContentType,
    body: &[u8],
) -> Result<Decoded, DecodeError> {
    let kind = expected.kind;
    let mut problems = Vec::new();
    let mut value = parse(content_type, body, kind, &mut problems)
        .and_then(|value| check_type_meta(&value).map(|()| value))
        .map_err(|why| DecodeError::Unrecognized {
            kind,
            why,
            summary: summarize(body),
        })?;

    let version = check_kind(expected, &value)?;
    walk::check(expected.message, &mut value, &mut problems).map_err(|mismatch| {
        DecodeError::Unhandled {
            found: kind.to_owned(),
            version,
            kind,
            why: Box::new(mismatch.into()),
        }
    })?;
    Ok(Decoded { value, problems })
}

/// Refuses `apiVersion` and `kind` that are not strings.
fn check_type_meta(value: &Value) -> Result<(), BodyError> {
    for member in ["apiVersion", "kind"] {
        let found = value.get(member).filter(|found| !found.is_null());
        if let Some(found) = found.filter(|found| !found.is_string()) {
            let found = found_as(found);
            return Err(BodyError::Member { found, member });
        }
    }
    Ok(())
}

/// Refuses an object of another kind or version; an absent one counts as the expected one. Returns
/// the version without its group, for error messages.
fn check_kind(expected: Expected, value: &Value) -> Result<String, DecodeError> {
    let (kind, found, version) = (
        expected.kind,
        text(value, "kind"),
        text(value, "apiVersion"),
    );

    // An Event of the other group has an error of its own.
    let is_event = found == kind
        && kind == Kind::Event.name()
        && ["v1", "events.k8s.io/v1"].contains(&version);
    if is_event && version != expected.api_version {
        return Err(DecodeError::ApiVersion {
            found: version.to_owned(),
            expected: expected.api_version,
        });
    }

    let found = Some(found).filter(|found| !found.is_empty());
    let found = found.unwrap_or(kind);
    let version = Some(version).filter(|version| !version.is_empty());
    let version = version.unwrap_or(expected.api_version);
    let number = version.rsplit('/').next().unwrap_or_default().to_owned();
    if found != kind || version != expected.api_version {
        return Err(DecodeError::Unhandled {
            found: found.to_owned(),
            version: number,
            kind,
            why: Box::new(Mismatch::UnknownKind {
                kind: found.to_owned(),
                version: version.to_owned(),
            }),
        });
    }
    Ok(number)
}

/// Decodes `DeleteOptions` of any group and version. Ignores unknown fields.
pub(crate) fn decode_options(
    content_type: ContentType,
    body: &[u8],
) -> Result<Value, OptionsError> {
    const KIND: &str = "DeleteOptions";
    let mut ignored = Vec::new();
    let mut value = parse(content_type, body, KIND, &mut ignored)?;
    let found = text(&value, "kind");
    if !found.is_empty() && found != KIND {
        return Err(Box::new(Mismatch::UnknownKind {
            kind: found.to_owned(),
            version: text(&value, "apiVersion").to_owned(),
        })
        .into());
    }

    walk::check(KIND, &mut value, &mut ignored).map_err(|mismatch| Box::new(mismatch.into()))?;
    Ok(value)
}

/// Decodes an applied object, which is YAML; most clients send JSON. Its schema is not checked.
/// `problems` receives its duplicate members.
pub(crate) fn decode_applied(
    body: &[u8],
    problems: &mut Vec<StrictProblem>,
) -> Result<Value, BodyError> {
    match parse(ContentType::Json, body, "", problems) {
        Ok(value) => Ok(value),
        Err(_not_json) => {
            problems.clear();
            parse(ContentType::Yaml, body, "", problems)
        }
    }
}

/// Parses a body to a JSON object; `null` becomes an empty one. `kind` is the kind of a protobuf
/// message that does not name its kind.
fn parse(
    content_type: ContentType,
    body: &[u8],
    kind: &str,
    problems: &mut Vec<StrictProblem>,
) -> Result<Value, BodyError> {
    let value: Value = match content_type {
        ContentType::Json => duplicates::parse(body, problems)
            .map_err(|error| BodyError::Json(describe_json(&error)))?,
        ContentType::Yaml => serde_saphyr::from_slice(body)
            .map_err(|error| BodyError::Yaml(yaml::describe(&error, 0)))?,
        ContentType::Protobuf => protobuf::decode(body, kind)?,
    };

    match value {
        Value::Object(_) => Ok(value),
        Value::Null => Ok(Value::Object(Map::new())),
        other => Err(BodyError::NotAnObject {
            found: found_as(&other),
        }),
    }
}

/// Describes an error in JSON: in Go's words if the text ends too early, the most frequent mistake.
pub(crate) fn describe_json(error: &serde_json::Error) -> String {
    if error.is_eof() {
        "unexpected end of JSON input".to_owned()
    } else {
        error.to_string()
    }
}

/// Returns the beginning of a body, for messages (k8s.io/apiserver/pkg/endpoints/handlers
/// `summarizeData`).
fn summarize(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let begin = body.get(..SHOWN).unwrap_or(body);
    let more = if body.len() > SHOWN { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(begin)),
        Some(_) => format!("{}{more}", hex::encode(begin)),
    }
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
