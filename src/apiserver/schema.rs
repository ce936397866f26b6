//! Request bodies: bytes to a JSON value of the right types, with what strict decoding has to complain about.
//!
//! One table drives this, the patches and the protobuf decoder: `data/schema.json`, made from Kubernetes' sources.

mod duplicates;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::OnceLock};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::protobuf;
use crate::objects::Kind;

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
    /// Strict problems, each as the real server words it: `unknown field "spec.x"`, `duplicate field "spec.y"`.
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
    /// Its number in protobuf; two for a field of an inlined message. Empty for `kind` and `apiVersion`.
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
}

/// The fields of a message, by their JSON names.
pub(crate) type Message = HashMap<Box<str>, Field>;

/// A message of the table. The kinds are messages under their own names; Node has none.
pub(crate) fn message(name: &str) -> Option<&'static Message> {
    static TABLE: OnceLock<HashMap<Box<str>, Message>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        serde_json::from_str(include_str!("data/schema.json")).expect("the table is made by a script and tested")
    });
    table.get(name)
}

/// Decodes a request body.
pub(crate) fn decode(kind: Kind, content_type: ContentType, body: &[u8]) -> Result<Decoded, DecodeError> {
    let cannot = |found: &str, why: &str| {
        let version = kind.api_version().rsplit('/').next().unwrap_or_default();
        DecodeError(format!("{found} in version \"{version}\" cannot be handled as a {}: {why}", kind.name()))
    };
    let mut unknown = Vec::new();
    let mut value = match content_type {
        ContentType::Json => duplicates::parse(body, &mut unknown)
            .map_err(|error| DecodeError(format!("couldn't get version/kind; json parse error: {error}")))?,
        ContentType::Yaml => serde_saphyr::from_slice(body)
            .map_err(|error| DecodeError(format!("error converting YAML to JSON: yaml: {error}")))?,
        ContentType::Protobuf => protobuf::decode(body).map_err(|error| DecodeError(error.to_string()))?,
    };
    if !value.is_object() {
        return Err(DecodeError("couldn't get version/kind; json parse error: the body is not an object".to_owned()));
    }
    let (found, version) = (text(&value, "kind"), text(&value, "apiVersion"));
    if (!found.is_empty() && found != kind.name()) || (!version.is_empty() && version != kind.api_version()) {
        let group_version = kind.api_version();
        let why = format!("no kind \"{found}\" is registered for version \"{group_version}\" in scheme \"gatelet\"");
        return Err(match found == kind.name() {
            false => cannot(found, &why),
            true => DecodeError(format!(
                "the API version in the data ({version}) does not match the expected API version ({group_version})"
            )),
        });
    }
    if let Some(fields) = message(kind.name()) {
        let mut walk = Walk { path: String::new(), go: String::new(), unknown: &mut unknown };
        walk.object(kind.name(), fields, &mut value).map_err(|why| cannot(kind.name(), &why))?;
    }
    Ok(Decoded { value, unknown })
}

/// The field that keeps a value from being an object of the kind, as strict decoding names it; empty where that is the
/// whole of it.
pub(crate) fn undecodable_field(kind: Kind, value: &Value) -> String {
    let mut unknown = Vec::new();
    let mut walk = Walk { path: String::new(), go: String::new(), unknown: &mut unknown };
    match message(kind.name()).map(|fields| walk.object(kind.name(), fields, &mut value.clone())) {
        // The walk stops where it fails.
        Some(Err(_)) => walk.path,
        Some(Ok(())) | None => String::new(),
    }
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
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
        let Some(members) = value.as_object_mut() else {
            return Err(self.wrong(name, value, &format!("v1.{name}")));
        };
        let mut kept = Map::new();
        for (member, mut value) in std::mem::take(members) {
            let Some(field) = fields.get(member.as_str()) else {
                let dot = if self.path.is_empty() { "" } else { "." };
                self.unknown.push(format!("unknown field \"{}{dot}{member}\"", self.path));
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
            self.value(name, &field.of, &mut value)?;
            self.path.truncate(path);
            self.go.truncate(go);
            let empty = match (&field.of, &value) {
                (Type::List(_), Value::Array(items)) => items.is_empty(),
                (Type::Map(_), Value::Object(members)) => members.is_empty(),
                _ => false,
            };
            if field.kept || !empty {
                kept.insert(member, value);
            }
        }
        *members = kept;
        Ok(())
    }

    fn value(&mut self, parent: &str, of: &Type, value: &mut Value) -> Result<(), String> {
        let good = match of {
            Type::Any => true,
            Type::String => value.is_string(),
            Type::Bool => value.is_boolean(),
            Type::Int32 => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            Type::Int64 => value.is_i64() || value.is_u64(),
            Type::IntOrString => {
                value.is_string() || value.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
            }
            Type::Time | Type::MicroTime => match value.as_str() {
                Some(time) if time.parse::<jiff::Timestamp>().is_err() => {
                    return Err(format!("parsing time {time:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse"));
                }
                found => found.is_some(),
            },
            Type::Bytes => match value.as_str() {
                Some(text) => return base64(text),
                None => false,
            },
            Type::Ref(name) => match message(name) {
                Some(fields) => return self.object(name, fields, value),
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
                        self.value(parent, of, item)?;
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
                        self.value(parent, of, value)?;
                        self.path.truncate(path);
                    }
                    return Ok(());
                }
                None => false,
            },
        };
        if good { Ok(()) } else { Err(self.wrong(parent, value, &go_type(of))) }
    }

    fn wrong(&self, parent: &str, value: &Value, wanted: &str) -> String {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(number) if wanted.starts_with("int") => format!("number {number}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        format!("json: cannot unmarshal {found} into Go struct field {parent}.{} of type {wanted}", self.go)
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
    let text: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    STANDARD.decode(&text).map(drop).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol { offset: at, .. } => at,
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

fn go_type(of: &Type) -> String {
    match of {
        Type::String | Type::Bytes => "string".to_owned(),
        Type::Int32 => "int32".to_owned(),
        Type::Int64 => "int64".to_owned(),
        Type::Bool => "bool".to_owned(),
        Type::IntOrString => "intstr.IntOrString".to_owned(),
        Type::Time => "v1.Time".to_owned(),
        Type::MicroTime => "v1.MicroTime".to_owned(),
        Type::Any => "interface {}".to_owned(),
        Type::Ref(name) => format!("v1.{name}"),
        Type::List(of) => format!("[]{}", go_type(of)),
        Type::Map(of) => format!("map[string]{}", if **of == Type::Bytes { "[]uint8".to_owned() } else { go_type(of) }),
    }
}
