//! Encodes responses to protobuf, by the schema table. Informers of metadata ask for it first, and
//! so do controllers that are built for it.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::super::schema::table::{self, Field, Message, Type};

/// The first bytes of every object.
pub(super) const MAGIC: &[u8] = b"k8s\0";

/// Returns the message of a kind. Events exist in two groups with different fields.
pub(super) fn message_of(api_version: &str, kind: &str) -> Option<&'static Message> {
    let name = match (api_version, kind) {
        ("events.k8s.io/v1", "Event") => "events.Event",
        (_, kind) => kind,
    };
    table::message(name)
}

/// Encodes an object, a list or a Status: `k8s\0` + `runtime.Unknown { typeMeta { apiVersion, kind
/// }, raw }`. `None` if the kind has no form in protobuf, as those of other API groups and Tables.
pub(crate) fn encode(object: &Value) -> Option<Vec<u8>> {
    let text = |member: &str| object[member].as_str().unwrap_or_default();

    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let raw = match kind.strip_suffix("List") {
        Some(of) => list(object, message_of(api_version, of))?,
        None => {
            let known = message_of(api_version, kind);
            message(numbered(known.or_else(|| metadata_alone(object))?)?, object)
        }
    };

    let mut meta = Vec::new();
    put_bytes(&mut meta, 1, api_version.as_bytes());
    put_bytes(&mut meta, 2, kind.as_bytes());

    let mut out = MAGIC.to_vec();
    put_bytes(&mut out, 1, &meta);
    put_bytes(&mut out, 2, &raw);
    Some(out)
}

/// Encodes an event of a watch: its length in four bytes, and `WatchEvent { type, object { raw }
/// }`.
pub(crate) fn watch_event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut extension = Vec::with_capacity(object.len() + 8);
    put_bytes(&mut extension, 1, object);
    let mut event = Vec::with_capacity(extension.len() + 24);
    put_bytes(&mut event, 1, kind.as_bytes());
    put_bytes(&mut event, 2, &extension);

    let length = u32::try_from(event.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), &*event].concat()
}

/// Encodes `{ metadata, items }`. A list without items needs no message for them.
fn list(object: &Value, of: Option<&'static Message>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    put_bytes(
        &mut out,
        1,
        &message(table::message("ListMeta")?, &object["metadata"]),
    );

    for item in object["items"].as_array().into_iter().flatten() {
        put_bytes(&mut out, 2, &message(numbered(of?)?, item));
    }
    Some(out)
}

/// Returns the message if its metadata has a number, which those of other API groups have not.
fn numbered(message: &'static Message) -> Option<&'static Message> {
    let has_number = |field: &Field| !field.number.is_empty();
    let metadata = message.get("metadata")?;
    has_number(metadata).then_some(message)
}

/// Returns the message for an object of any kind that has its metadata alone, as a bookmark has.
fn metadata_alone(object: &Value) -> Option<&'static Message> {
    let has_no_more = object.as_object()?.len() == 3;
    let message = || table::message("PartialObjectMetadata");
    has_no_more.then(message)?
}

fn message(fields: &Message, object: &Value) -> Vec<u8> {
    let members = object.as_object().into_iter().flatten();

    let mut numbered: Vec<_> = members
        .filter_map(|(name, value)| Some((fields.get(&**name)?, value)))
        .filter(|(field, value)| !field.number.is_empty() && !value.is_null())
        .collect();
    // As Go writes them, and so that the fields of an inlined message are together.
    numbered.sort_by(|(one, _), (other, _)| one.number.cmp(&other.number));

    let mut out = Vec::new();
    for inlined in numbered.chunk_by(|(one, _), (other, _)| {
        one.number.len() > 1 && one.number.first() == other.number.first()
    }) {
        // An inlined message is one level deeper than in JSON.
        let mut inner = Vec::new();
        let mut outer = None;

        for (field, value) in inlined {
            match *field.number {
                [number] => put(&mut out, number, &field.of, value),
                [around, number] => {
                    outer = Some(around);
                    put(&mut inner, number, &field.of, value);
                }
                _ => {}
            }
        }

        if let Some(number) = outer {
            put_bytes(&mut out, number, &inner);
        }
    }
    out
}

/// Adds a field with its value, or one for each of its items.
fn put(out: &mut Vec<u8>, number: u64, of: &Type, value: &Value) {
    match (of, value) {
        (Type::List(of), Value::Array(items)) => {
            for item in items {
                put(out, number, of, item);
            }
        }
        (Type::Map(of), Value::Object(members)) => {
            for (key, value) in members {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, key.as_bytes());
                match &**of {
                    // A message with the items.
                    of @ Type::List(_) => {
                        let mut items = Vec::new();
                        put(&mut items, 1, of, value);
                        put_bytes(&mut entry, 2, &items);
                    }
                    of => put(&mut entry, 2, of, value),
                }
                put_bytes(out, number, &entry);
            }
        }
        (Type::String, Value::String(text)) => put_bytes(out, number, text.as_bytes()),
        (Type::Bytes, Value::String(text)) => {
            put_bytes(out, number, &STANDARD.decode(text).unwrap_or_default());
        }
        (Type::Bool, Value::Bool(is)) => put_number(out, number, u64::from(*is)),
        (Type::Int32 | Type::Int64, Value::Number(value)) => {
            let value = value.as_i64().unwrap_or_default();
            put_number(out, number, value.cast_unsigned());
        }
        (Type::IntOrString, value) => put_bytes(out, number, &int_or_string(value)),
        (Type::Time | Type::MicroTime, Value::String(text)) => put_bytes(out, number, &time(text)),
        (Type::Ref(name), value) => {
            if let Some(fields) = table::message(name) {
                put_bytes(out, number, &message(fields, value));
            }
        }
        (Type::Any, value) => put_bytes(out, number, &raw(value)),
        // A value of another type is not stored.
        _ => {}
    }
}

/// Encodes `util.intstr.IntOrString { type, intVal, strVal }`.
fn int_or_string(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::String(text) => {
            put_number(&mut out, 1, 1);
            put_bytes(&mut out, 3, text.as_bytes());
        }
        value => put_number(
            &mut out,
            2,
            value.as_i64().unwrap_or_default().cast_unsigned(),
        ),
    }
    out
}

/// Encodes `Timestamp { seconds, nanos }`.
fn time(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        let nanos = i64::from(time.subsec_nanosecond());
        put_number(&mut out, 1, time.as_second().cast_unsigned());
        put_number(&mut out, 2, nanos.cast_unsigned());
    }
    out
}

/// Encodes a message of one field: `FieldsV1` and `RawExtension` hold JSON, `Quantity` its text.
fn raw(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::String(text) => put_bytes(&mut out, 1, text.as_bytes()),
        value => put_bytes(&mut out, 1, value.to_string().as_bytes()),
    }
    out
}

fn put_number(out: &mut Vec<u8>, number: u64, value: u64) {
    varint(out, number << 3);
    varint(out, value);
}

fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
