//! Protobuf. Request bodies are decoded to JSON, by the schema table: kubectl from 1.32 on sends
//! them for `create secret` and others. Responses are encoded from JSON.

mod encode;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use self::encode::{MAGIC, message_of};
pub(crate) use self::encode::{encode, watch_event};
use super::schema::table::{self, Message, Type};

/// The media type of objects and lists.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// The limit of nested messages; the kinds have fewer.
const MAX_DEPTH: usize = 32;

/// A body that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtobufError {
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    Prefix,
    #[error("proto: the message is cut off or damaged")]
    Damaged,
    #[error("no kind \"{kind}\" is registered for version \"{version}\" in scheme \"gatelet\"")]
    UnknownKind { kind: String, version: String },
}

use ProtobufError::Damaged;

/// The value of a field on the wire.
enum Wire<'b> {
    Number(u64),
    Bytes(&'b [u8]),
    /// A value of a fixed width, which no field of the table has.
    Other,
}

/// Decodes `k8s\0` + `runtime.Unknown { typeMeta { apiVersion, kind }, raw }`. `expected` is the
/// kind of a message that does not name its kind.
pub(crate) fn decode(body: &[u8], expected: &str) -> Result<Value, ProtobufError> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtobufError::Prefix)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    each(envelope, |number, wire| {
        match (number, wire) {
            (1, Wire::Bytes(meta)) => each(meta, |number, wire| {
                match (number, wire) {
                    (1, Wire::Bytes(text)) => api_version = utf8(text)?,
                    (2, Wire::Bytes(text)) => kind = utf8(text)?,
                    _ => {}
                }
                Ok(())
            })?,
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
        Ok(())
    })?;

    let named = if kind.is_empty() { expected } else { &kind };
    let Some(fields) = message_of(&api_version, named) else {
        return Err(ProtobufError::UnknownKind {
            kind,
            version: api_version,
        });
    };

    let mut object = message(fields, raw, 0)?;
    for (member, text) in [("apiVersion", api_version), ("kind", kind)] {
        if !text.is_empty() {
            object.insert(member.to_owned(), text.into());
        }
    }
    Ok(Value::Object(object))
}

/// Decodes a message with these fields; `depth` is the number of messages around it.
fn message(
    fields: &Message,
    bytes: &[u8],
    depth: usize,
) -> Result<Map<String, Value>, ProtobufError> {
    if depth > MAX_DEPTH {
        return Err(Damaged);
    }

    let mut object = Map::new();
    each(bytes, |number, wire| {
        // The fields of an inlined message are one level deeper than in JSON.
        let inlined = fields
            .values()
            .any(|field| field.number.len() > 1 && field.number[0] == number);
        match wire {
            Wire::Bytes(inner) if inlined => each(inner, |inner, wire| {
                put(fields, &[number, inner], wire, depth, &mut object)
            }),
            wire => put(fields, &[number], wire, depth, &mut object),
        }
    })?;
    Ok(object)
}

/// Adds a field to an object; `number` is its path of field numbers. Unknown fields are skipped.
fn put(
    fields: &Message,
    number: &[u64],
    wire: Wire<'_>,
    depth: usize,
    object: &mut Map<String, Value>,
) -> Result<(), ProtobufError> {
    let Some((name, field)) = fields.iter().find(|(_name, field)| field.number == number) else {
        return Ok(());
    };

    match &field.of {
        Type::List(of) => {
            let item = value(of, &wire, depth)?;
            let list = object
                .entry(&**name)
                .or_insert_with(|| Value::Array(Vec::new()));
            if let (Some(list), Some(item)) = (list.as_array_mut(), item) {
                list.push(item);
            }
        }
        Type::Map(of) => {
            let Wire::Bytes(entry) = wire else {
                return Err(Damaged);
            };
            let (mut key, mut found) = (String::new(), None);
            each(entry, |number, wire| {
                match (number, &wire) {
                    (1, Wire::Bytes(text)) => key = utf8(text)?,
                    (2, wire) => found = value(of, wire, depth)?,
                    _ => {}
                }
                Ok(())
            })?;
            let map = object
                .entry(&**name)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Some(map) = map.as_object_mut() {
                map.insert(key, found.unwrap_or_else(|| "".into()));
            }
        }
        of => {
            // Go writes fields that are not pointers even when they are empty; the walk over the
            // schema drops them.
            if let Some(found) = value(of, &wire, depth)? {
                object.insert(name.to_string(), found);
            }
        }
    }
    Ok(())
}

/// Decodes one value; `None` if the JSON has no member for it.
fn value(of: &Type, wire: &Wire<'_>, depth: usize) -> Result<Option<Value>, ProtobufError> {
    Ok(Some(match (of, wire) {
        (Type::String, Wire::Bytes(text)) => utf8(text)?.into(),
        (Type::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Type::Bool, Wire::Number(number)) => (*number != 0).into(),
        // Negative numbers are on the wire in two's complement.
        (Type::Int32 | Type::Int64, Wire::Number(number)) => number.cast_signed().into(),
        (Type::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
        (Type::Time, Wire::Bytes(bytes)) => return time(bytes, false),
        (Type::MicroTime, Wire::Bytes(bytes)) => return time(bytes, true),
        (Type::Ref(name), Wire::Bytes(bytes)) => match table::message(name) {
            Some(fields) => Value::Object(message(fields, bytes, depth + 1)?),
            None => return Ok(None),
        },
        // The value of a map is a list: a message with the items.
        (Type::List(of), Wire::Bytes(bytes)) => {
            let mut items = Vec::new();
            each(bytes, |number, wire| {
                if number == 1 {
                    items.extend(value(of, &wire, depth)?);
                }
                Ok(())
            })?;
            items.into()
        }
        (Type::Any, _) => return Ok(None),
        _ => return Err(Damaged),
    }))
}

/// Decodes `util.intstr.IntOrString { type, intVal, strVal }`.
fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut kind, mut number, mut text) = (0, 0_i64, String::new());
    each(bytes, |at, wire| {
        match (at, wire) {
            (1, Wire::Number(value)) => kind = value,
            (2, Wire::Number(value)) => number = value.cast_signed(),
            (3, Wire::Bytes(value)) => text = utf8(value)?,
            _ => {}
        }
        Ok(())
    })?;

    Ok(if kind == 0 {
        number.into()
    } else {
        text.into()
    })
}

/// Decodes `Timestamp { seconds, nanos }`; `None` if it has no seconds.
fn time(bytes: &[u8], micros: bool) -> Result<Option<Value>, ProtobufError> {
    let (mut second, mut nano) = (None, 0);
    each(bytes, |at, wire| {
        match (at, wire) {
            (1, Wire::Number(value)) => second = Some(value.cast_signed()),
            (2, Wire::Number(value)) => nano = i32::try_from(value).map_err(|_wide| Damaged)?,
            _ => {}
        }
        Ok(())
    })?;
    let Some(second) = second else {
        return Ok(None);
    };

    let time = jiff::Timestamp::new(second, nano).map_err(|_range| Damaged)?;
    if micros {
        return Ok(Some(format!("{time:.6}").into()));
    }
    let whole = jiff::Timestamp::from_second(time.as_second()).map_err(|_range| Damaged)?;
    Ok(Some(whole.to_string().into()))
}

/// Calls `f` with each field of a message.
fn each<'b>(
    mut bytes: &'b [u8],
    mut f: impl FnMut(u64, Wire<'b>) -> Result<(), ProtobufError>,
) -> Result<(), ProtobufError> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let wire = match tag & 7 {
            0 => Wire::Number(varint(&mut bytes)?),
            1 => take(&mut bytes, 8).map(|_skipped| Wire::Other)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_wide| Damaged)?;
                Wire::Bytes(take(&mut bytes, length)?)
            }
            5 => take(&mut bytes, 4).map(|_skipped| Wire::Other)?,
            _ => return Err(Damaged),
        };
        f(tag >> 3, wire)?;
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64, ProtobufError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Damaged)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Damaged)
}

fn take<'b>(bytes: &mut &'b [u8], length: usize) -> Result<&'b [u8], ProtobufError> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or(Damaged)?;
    *bytes = rest;
    Ok(taken)
}

fn utf8(bytes: &[u8]) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_not_text| Damaged)
}
