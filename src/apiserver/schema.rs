//! Request bodies: bytes to a JSON value of the right types, with what strict decoding has to
//! complain about.
//!
//! One table drives this, the patches and the protobuf decoder: `data/schema.json`, made from
//! Kubernetes' sources.

mod duplicates;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt::Display, sync::OnceLock};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::protobuf;
use crate::{
    objects::Kind,
    util::{hex, yaml},
};

/// The form of a request body.
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
    /// Strict problems, each as the real server words it: `unknown field "spec.x"`, `duplicate
    /// field "spec.y"`.
    pub(crate) unknown: Vec<String>,
}

/// The body is not an object of the kind; the text is the real server's.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DecodeError(pub(crate) String);

/// The type of a field.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Type {
    String,
    Int32,
    Int64,
    Bool,
    /// Base64 in JSON.
    Bytes,
    IntOrString,
    Time,
    MicroTime,
    /// Not looked into.
    Any,
    /// A message of the table.
    Ref(Box<str>),
    List(Box<Self>),
    Map(Box<Self>),
}

/// A field of a message.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Field {
    #[serde(rename = "type")]
    pub(crate) of: Type,
    /// Its number in protobuf; two for a field of an inlined message. Empty for `kind` and
    /// `apiVersion`.
    #[serde(default)]
    pub(crate) number: Vec<u64>,
    /// `x-kubernetes-patch-merge-key`
    #[serde(default)]
    pub(crate) merge_key: Option<Box<str>>,
    /// `x-kubernetes-patch-strategy`
    #[serde(default)]
    pub(crate) strategy: Box<str>,
    /// Whether a list or map is there even when it is empty.
    #[serde(default)]
    kept: bool,
    /// Whether an empty value is the same as none: the field is no pointer in Go.
    #[serde(default)]
    plain: bool,
    /// What Go calls the text, where it has a type of its own: `v1.Protocol`.
    #[serde(default)]
    go: Option<Box<str>>,
}

/// The fields of a message, by their JSON names.
pub(crate) type Message = HashMap<Box<str>, Field>;

/// A message of the table. The kinds are messages under their own names; Node has none.
pub(crate) fn message(name: &str) -> Option<&'static Message> {
    static TABLE: OnceLock<HashMap<Box<str>, Message>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        serde_json::from_str(include_str!("data/schema.json"))
            .expect("the table is made by a script and tested")
    });
    table.get(name)
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

/// Decodes an Event of the group `events.k8s.io`.
pub(crate) fn decode_event(content_type: ContentType, body: &[u8]) -> Result<Decoded, DecodeError> {
    let expected = Expected {
        kind: Kind::Event.name(),
        message: "events.Event",
        api_version: "events.k8s.io/v1",
    };
    decode_as(expected, content_type, body)
}

/// What a body must be.
#[derive(Clone, Copy)]
struct Expected {
    kind: &'static str,
    /// Its message in the table.
    message: &'static str,
    api_version: &'static str,
}

fn decode_as(
    expected: Expected,
    content_type: ContentType,
    body: &[u8],
) -> Result<Decoded, DecodeError> {
    let kind = expected.kind;
    let unrecognized = |why: &dyn Display| {
        let summary = summarize(body);
        DecodeError(format!(
            "the object provided is unrecognized (must be of type {kind}): {why} ({summary})"
        ))
    };
    let mut unknown = Vec::new();
    let mut value =
        parse(content_type, body, kind, &mut unknown).map_err(|error| unrecognized(&error))?;
    for member in ["apiVersion", "kind"] {
        if let Some(found) = value
            .get(member)
            .filter(|found| !found.is_null() && !found.is_string())
        {
            let found = found_as(found);
            let why = format!(
                "json: cannot unmarshal {found} into Go struct field .{member} of type string"
            );
            return Err(unrecognized(&format!("{JSON_ERROR}{why}")));
        }
    }

    let (found, version) = (text(&value, "kind"), text(&value, "apiVersion"));
    let number = if version.is_empty() {
        expected.api_version
    } else {
        version
    };
    let number = number.rsplit('/').next().unwrap_or_default().to_owned();
    let cannot = |found: &str, why: &str| {
        DecodeError(format!(
            "{found} in version \"{number}\" cannot be handled as a {kind}: {why}"
        ))
    };
    let events = found == kind
        && kind == Kind::Event.name()
        && ["v1", "events.k8s.io/v1"].contains(&version);
    if events && version != expected.api_version {
        return Err(DecodeError(format!(
            "the API version in the data ({version}) does not match the expected API version ({})",
            expected.api_version
        )));
    }
    if (!found.is_empty() && found != kind)
        || (!version.is_empty() && version != expected.api_version)
    {
        let version = if version.is_empty() {
            expected.api_version
        } else {
            version
        };
        let found = if found.is_empty() { kind } else { found };
        let why = format!(
            "no kind \"{found}\" is registered for version \"{version}\" in scheme \"gatelet\""
        );
        return Err(cannot(found, &why));
    }

    if let Some(fields) = message(expected.message) {
        let mut walk = Walk {
            path: String::new(),
            go: String::new(),
            unknown: &mut unknown,
        };
        walk.object(expected.message, fields, &mut value)
            .map_err(|why| cannot(kind, &why))?;
    }
    Ok(Decoded { value, unknown })
}

/// The field that keeps a value from being an object of the kind, as strict decoding names it;
/// empty where that is the whole of it.
pub(crate) fn undecodable_field(kind: Kind, value: &Value) -> String {
    let mut unknown = Vec::new();
    let mut walk = Walk {
        path: String::new(),
        go: String::new(),
        unknown: &mut unknown,
    };
    match message(kind.name()).map(|fields| walk.object(kind.name(), fields, &mut value.clone())) {
        // The walk stops where it fails.
        Some(Err(_)) => walk.path,
        Some(Ok(())) | None => String::new(),
    }
}

/// Decodes `DeleteOptions`, whatever group and version they say that they are of. Unknown fields
/// are passed over.
pub(crate) fn decode_options(content_type: ContentType, body: &[u8]) -> Result<Value, DecodeError> {
    const KIND: &str = "DeleteOptions";
    let mut unknown = Vec::new();
    let mut value = parse(content_type, body, KIND, &mut unknown)?;
    let found = text(&value, "kind");
    if !found.is_empty() && found != KIND {
        let version = text(&value, "apiVersion");
        return Err(DecodeError(format!(
            "no kind \"{found}\" is registered for version \"{version}\" in scheme \"gatelet\""
        )));
    }

    if let Some(fields) = message(KIND) {
        let mut walk = Walk {
            path: String::new(),
            go: String::new(),
            unknown: &mut unknown,
        };
        walk.object(KIND, fields, &mut value).map_err(DecodeError)?;
    }
    Ok(value)
}

/// What the real server says before each error of the JSON itself.
const JSON_ERROR: &str = "couldn't get version/kind; json parse error: ";

/// The JSON value of a body, which is an object: an empty one where it is null. `kind` is that of a
/// protobuf message that does not say its own.
fn parse(
    content_type: ContentType,
    body: &[u8],
    kind: &str,
    notes: &mut Vec<String>,
) -> Result<Value, DecodeError> {
    let value: Value = match content_type {
        ContentType::Json => duplicates::parse(body, notes)
            .map_err(|error| DecodeError(format!("{JSON_ERROR}{}", describe_json(&error))))?,
        ContentType::Yaml => serde_saphyr::from_slice(body)
            .map_err(|error| DecodeError(format!("yaml: {}", yaml::describe(&error, 0))))?,
        ContentType::Protobuf => {
            protobuf::decode(body, kind).map_err(|error| DecodeError(error.to_string()))?
        }
    };
    match value {
        Value::Object(_) => Ok(value),
        Value::Null => Ok(Value::Object(Map::new())),
        other => Err(DecodeError(format!(
            "{JSON_ERROR}json: cannot unmarshal {} into an object",
            found_as(&other)
        ))),
    }
}

/// What is wrong with JSON; Go's words for one that is cut off, which is the case that people meet.
pub(crate) fn describe_json(error: &serde_json::Error) -> String {
    if error.is_eof() {
        "unexpected end of JSON input".to_owned()
    } else {
        error.to_string()
    }
}

/// The beginning of a body, for messages (k8s.io/apiserver/pkg/endpoints/handlers `summarizeData`).
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

/// A walk over an object: drops what is unknown, null or an empty list, and stops at a wrong type.
struct Walk<'u> {
    /// As strict decoding names a field: `spec.rules[0].host`.
    path: String,
    /// As Go's JSON decoder does: `spec.rules.host`.
    go: String,
    unknown: &'u mut Vec<String>,
}

impl Walk<'_> {
    fn object(&mut self, name: &str, fields: &Message, value: &mut Value) -> Result<(), String> {
        // The caller has looked.
        let Some(members) = value.as_object_mut() else {
            return Ok(());
        };
        let mut kept = Map::new();
        for (member, mut value) in std::mem::take(members) {
            let Some(field) = fields.get(member.as_str()) else {
                let dot = if self.path.is_empty() { "" } else { "." };
                self.unknown
                    .push(format!("unknown field \"{}{dot}{member}\"", self.path));
                continue;
            };
            if value.is_null() {
                continue;
            }
            let (path, go) = (self.path.len(), self.go.len());
            push(&mut self.path, &member);
            if field.number.len() > 1 {
                // Go names the struct that is inlined; there is one.
                push(&mut self.go, "IngressRuleValue");
            }
            push(&mut self.go, &member);
            self.value(name, field, &field.of, &mut value)?;
            self.path.truncate(path);
            self.go.truncate(go);
            let absent = match (&field.of, &value) {
                (Type::List(_), Value::Array(items)) => items.is_empty() && !field.kept,
                (Type::Map(_), Value::Object(members)) => members.is_empty() && !field.kept,
                _ => field.plain && (value == "" || value == 0 || value == false),
            };
            if !absent {
                kept.insert(member, value);
            }
        }
        *members = kept;
        Ok(())
    }

    fn value(
        &mut self,
        parent: &str,
        field: &Field,
        of: &Type,
        value: &mut Value,
    ) -> Result<(), String> {
        let good = match of {
            Type::Any => true,
            Type::String => value.is_string(),
            Type::Bool => value.is_boolean(),
            Type::Int32 => value
                .as_i64()
                .is_some_and(|number| i32::try_from(number).is_ok()),
            Type::Int64 => value.is_i64() || value.is_u64(),
            Type::IntOrString => {
                value.is_string()
                    || value
                        .as_i64()
                        .is_some_and(|number| i32::try_from(number).is_ok())
            }
            Type::Time | Type::MicroTime => match value.as_str() {
                Some(time) if time.parse::<jiff::Timestamp>().is_err() => {
                    let time = Value::from(time);
                    let form = "2006-01-02T15:04:05Z07:00";
                    return Err(format!(
                        "parsing time {time} as \"{form}\": cannot parse {time} as \"2006\""
                    ));
                }
                found => found.is_some(),
            },
            Type::Bytes => match value.as_str() {
                Some(text) => return base64(text),
                None => false,
            },
            Type::Ref(name) => match message(name) {
                Some(fields) if value.is_object() => return self.object(name, fields, value),
                Some(_) => false,
                None => true,
            },
            Type::List(of) => match value.as_array_mut() {
                Some(items) => {
                    for (number, item) in items.iter_mut().enumerate() {
                        let path = self.path.len();
                        self.path.push_str(&format!("[{number}]"));
                        if item.is_null() {
                            *item = zero(of);
                        }
                        self.value(parent, field, of, item)?;
                        self.path.truncate(path);
                    }
                    return Ok(());
                }
                None => false,
            },
            Type::Map(of) => match value.as_object_mut() {
                Some(members) => {
                    for (member, value) in members.iter_mut() {
                        let path = self.path.len();
                        push(&mut self.path, member);
                        if value.is_null() {
                            *value = zero(of);
                        }
                        self.value(parent, field, of, value)?;
                        self.path.truncate(path);
                    }
                    return Ok(());
                }
                None => false,
            },
        };
        if good {
            Ok(())
        } else {
            Err(self.wrong(parent, value, &go_type(field, of)))
        }
    }

    fn wrong(&self, parent: &str, value: &Value, wanted: &str) -> String {
        let found = match value {
            Value::Number(number) if wanted.starts_with("int") => format!("number {number}"),
            value => found_as(value).to_owned(),
        };
        let parent = go_name(parent);
        format!(
            "json: cannot unmarshal {found} into Go struct field {parent}.{} of type {wanted}",
            self.go
        )
    }
}

/// What Go calls a JSON value.
pub(crate) fn found_as(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn push(path: &mut String, member: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(member);
}

fn base64(text: &str) -> Result<(), String> {
    // Go's decoder skips line breaks.
    let text: Vec<u8> = text
        .bytes()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    STANDARD.decode(&text).map(drop).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _)
            | base64::DecodeError::InvalidLastSymbol { offset: at, .. } => at,
            _ => text.len(),
        };
        format!("illegal base64 data at input byte {at}")
    })
}

/// What Go makes of `null` where a value must be.
fn zero(of: &Type) -> Value {
    match of {
        Type::String | Type::Bytes | Type::Time | Type::MicroTime => "".into(),
        Type::Int32 | Type::Int64 | Type::IntOrString => 0.into(),
        Type::Bool => false.into(),
        Type::Any => Value::Null,
        Type::List(_) => Value::Array(Vec::new()),
        Type::Ref(_) | Type::Map(_) => Value::Object(Map::new()),
    }
}

/// The name that Go has for a message of the table.
fn go_name(message: &str) -> &str {
    message.rsplit('.').next().unwrap_or(message)
}

fn go_type(field: &Field, of: &Type) -> String {
    match of {
        Type::String => field.go.as_deref().unwrap_or("string").to_owned(),
        Type::Bytes => "[]uint8".to_owned(),
        Type::Int32 | Type::IntOrString => "int32".to_owned(),
        Type::Int64 => "int64".to_owned(),
        Type::Bool => "bool".to_owned(),
        Type::Time | Type::MicroTime => "string".to_owned(),
        Type::Any => "interface {}".to_owned(),
        Type::Ref(name) => format!("v1.{}", go_name(name)),
        Type::List(of) => format!("[]{}", go_type(field, of)),
        Type::Map(of) => format!("map[string]{}", go_type(field, of)),
    }
}
