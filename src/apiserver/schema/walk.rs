//! Checks an object against the table of fields, and drops what Go would not write.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::{
    error::{FieldMismatch, StrictProblem, ValueError},
    table::{Field, Message, Type, message, push},
};

/// Checks an object that has to be the message `name`. Drops unknown members, nulls and empty lists
/// from it, and stops at the first value of a wrong type.
pub(super) fn check(
    name: &str,
    object: &mut Value,
    problems: &mut Vec<StrictProblem>,
) -> Result<(), FieldMismatch> {
    let Some(fields) = message(name) else {
        return Ok(());
    };

    let mut walk = Walk {
        path: String::new(),
        go: String::new(),
        problems,
    };
    // The walk stops where it fails, so its path is that of the wrong value.
    walk.object(name, fields, object)
        .map_err(|why| FieldMismatch {
            path: walk.path,
            why,
        })
}

struct Walk<'p> {
    /// The path of the current field as strict decoding names it: `spec.rules[0].host`.
    path: String,
    /// The path as Go's JSON decoder names it: `spec.rules.host`.
    go: String,
    problems: &'p mut Vec<StrictProblem>,
}

impl Walk<'_> {
    fn object(
        &mut self,
        name: &str,
        fields: &Message,
        value: &mut Value,
    ) -> Result<(), ValueError> {
        // The caller has checked this.
        let Some(members) = value.as_object_mut() else {
            return Ok(());
        };

        let mut kept = Map::new();
        for (member, mut value) in std::mem::take(members) {
            let (path, go) = (self.path.len(), self.go.len());
            push(&mut self.path, &member);
            let field = fields.get(member.as_str());
            if field.is_none() {
                self.problems
                    .push(StrictProblem::Unknown(self.path.clone()));
            }
            let Some(field) = field.filter(|_| !value.is_null()) else {
                self.path.truncate(path);
                continue;
            };

            if field.number.len() > 1 {
                // Go names the struct that is inlined; there is one.
                push(&mut self.go, "IngressRuleValue");
            }
            push(&mut self.go, &member);
            self.value(name, field, &field.of, &mut value)?;
            self.path.truncate(path);
            self.go.truncate(go);

            if !is_absent(field, &value) {
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
    ) -> Result<(), ValueError> {
        let is_int32 = |value: &Value| {
            value
                .as_i64()
                .is_some_and(|number| i32::try_from(number).is_ok())
        };
        let good = match of {
            Type::Any => true,
            Type::String => value.is_string(),
            Type::Bool => value.is_boolean(),
            Type::Int32 => is_int32(value),
            Type::Int64 => value.is_i64() || value.is_u64(),
            Type::IntOrString => value.is_string() || is_int32(value),
            Type::Time | Type::MicroTime => match value.as_str() {
                Some(time) if time.parse::<jiff::Timestamp>().is_err() => {
                    return Err(ValueError::Time { time: time.into() });
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
                Some(items) => return self.list(parent, field, of, items),
                None => false,
            },
            Type::Map(of) => match value.as_object_mut() {
                Some(members) => return self.map(parent, field, of, members),
                None => false,
            },
        };

        if good {
            Ok(())
        } else {
            Err(self.wrong_type(parent, value, go_type(field, of)))
        }
    }

    fn list(
        &mut self,
        parent: &str,
        field: &Field,
        of: &Type,
        items: &mut [Value],
    ) -> Result<(), ValueError> {
        for (number, item) in items.iter_mut().enumerate() {
            let path = self.path.len();
            self.path.push_str(&format!("[{number}]"));
            if item.is_null() {
                *item = zero(of);
            }
            self.value(parent, field, of, item)?;
            self.path.truncate(path);
        }
        Ok(())
    }

    fn map(
        &mut self,
        parent: &str,
        field: &Field,
        of: &Type,
        members: &mut Map<String, Value>,
    ) -> Result<(), ValueError> {
        for (member, value) in members.iter_mut() {
            let path = self.path.len();
            push(&mut self.path, member);
            if value.is_null() {
                *value = zero(of);
            }
            self.value(parent, field, of, value)?;
            self.path.truncate(path);
        }
        Ok(())
    }

    fn wrong_type(&self, parent: &str, value: &Value, expected: String) -> ValueError {
        let found = match value {
            Value::Number(number) if expected.starts_with("int") => format!("number {number}"),
            value => found_as(value).to_owned(),
        };
        ValueError::Type {
            found,
            parent: go_name(parent).to_owned(),
            field: self.go.clone(),
            expected,
        }
    }
}

/// Returns true if Go would not write the value of this field.
fn is_absent(field: &Field, value: &Value) -> bool {
    match (&field.of, value) {
        (Type::List(_), Value::Array(items)) => items.is_empty() && !field.kept,
        (Type::Map(_), Value::Object(members)) => members.is_empty() && !field.kept,
        _ => field.plain && (*value == "" || *value == 0 || *value == false),
    }
}

/// Returns Go's name for the type of a JSON value.
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

/// Checks base64 as Go's decoder does, which skips line breaks.
fn base64(text: &str) -> Result<(), ValueError> {
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
        ValueError::Base64 { at }
    })
}

/// Returns the value that Go puts in the place of `null` in a list or map.
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

/// Returns Go's name for a message of the table.
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
