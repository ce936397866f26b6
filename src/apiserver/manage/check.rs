//! Checks an applied object against the schema table, with the messages of a real API server
//! (structured-merge-diff, `typed`).

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

use super::{set::Step, typed::Shape};
use crate::apiserver::schema::table::{self, Field, Message, Type};

/// An applied object that does not fit the schema, with a line for each problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit(Vec<String>);

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => f.write_str(one),
            many => write!(f, "errors:\n  {}", many.join("\n  ")),
        }
    }
}

/// Checks an object of a message.
pub(super) fn check(message: &str, object: &Value) -> Result<(), Misfit> {
    let mut check = Check {
        path: String::new(),
        problems: Vec::new(),
    };
    if let Some(fields) = table::message(message) {
        check.object(fields, object);
    }
    match check.problems.is_empty() {
        true => Ok(()),
        false => Err(Misfit(check.problems)),
    }
}

struct Check {
    path: String,
    problems: Vec<String>,
}

impl Check {
    fn problem(&mut self, why: impl fmt::Display) {
        self.problems.push(format!("{}: {why}", self.path));
    }

    /// Runs a check below a step of the path.
    fn below(&mut self, step: impl fmt::Display, check: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(&step.to_string());
        check(self);
        self.path.truncate(length);
    }

    fn object(&mut self, fields: &'static Message, value: &Value) {
        let Some(members) = value.as_object() else {
            return self.problem(format!("expected map, got &{{{}}}", Plain(value)));
        };
        for (name, value) in members {
            let step = Step::Field(name.clone());
            let Some(field) = fields.get(name.as_str()) else {
                return self.below(step, |check| check.problem("field not declared in schema"));
            };
            self.below(step, |check| check.value(field, &field.of, value));
        }
    }

    fn value(&mut self, field: &'static Field, of: &'static Type, value: &Value) {
        match (of, value) {
            (_, Value::Null) | (Type::Any, _) => {}
            (Type::Ref(name), _) => {
                if let Some(fields) = table::message(name) {
                    self.object(fields, value);
                }
            }
            (Type::Map(of), Value::Object(members)) => {
                for (name, value) in members {
                    let step = Step::Field(name.clone());
                    self.below(step, |check| check.value(field, of, value));
                }
            }
            (Type::Map(_), _) => self.problem(format!("expected map, got &{{{}}}", Plain(value))),
            (Type::List(of), Value::Array(items)) => self.list(field, of, items),
            (Type::List(_), _) => self.problem(format!("expected list, got &{{{}}}", Plain(value))),
            (Type::Bool, _) if !value.is_boolean() => {
                self.problem(format!("expected boolean, got &{{{}}}", Plain(value)));
            }
            (Type::Int32 | Type::Int64, _) if !value.is_number() => {
                let found = go_type(value);
                self.problem(format!("expected numeric (int or float), got {found}"));
            }
            (Type::IntOrString, Value::Array(_) | Value::Object(_)) => {
                self.problem(format!("expected any scalar, got &{{{}}}", Plain(value)));
            }
            (Type::String | Type::Bytes | Type::Time | Type::MicroTime, _)
                if !value.is_string() =>
            {
                let found = format!("&value.valueUnstructured{{Value:{}}}", Literal(value));
                self.problem(format!("expected string, got {found}"));
            }
            _ => {}
        }
    }

    fn list(&mut self, field: &'static Field, of: &'static Type, items: &[Value]) {
        let shape = Shape::of_field(field);
        let mut seen = BTreeSet::new();
        for (number, item) in items.iter().enumerate() {
            let step = match step(shape, number, item) {
                Ok(step) => step,
                Err(why) => return self.problem(format!("element {number}: {why}")),
            };
            if !seen.insert(step.clone()) {
                self.problem(format!("duplicate entries for key {step}"));
            }
            self.below(step, |check| check.value(field, of, item));
        }
    }
}

/// An item of a list that has no step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum ItemError {
    #[error("associative list with keys may not have a null element")]
    KeyedNull,
    #[error("associative list with keys may not have non-map elements")]
    KeyedScalar,
    #[error(
        "associative list with keys has an element that omits all key fields [{0}] \
         (and doesn't have default values for any key fields)"
    )]
    Keyless(String),
    #[error("associative list without keys has an element that's a map type")]
    SetMap,
    #[error("not supported: associative list with lists as elements")]
    SetList,
    #[error("associative list without keys has an element that's an explicit null")]
    SetNull,
}

/// Returns the step of an item of a list.
fn step(shape: Shape, number: usize, item: &Value) -> Result<Step, ItemError> {
    match (shape, item) {
        (Shape::Keyed(_), Value::Null) => Err(ItemError::KeyedNull),
        (Shape::Keyed(keyed), Value::Object(_)) => keyed.step(item).ok_or_else(|| {
            let keys: Vec<String> = keyed.keys.iter().map(|key| format!("{key:?}")).collect();
            ItemError::Keyless(keys.join(" "))
        }),
        (Shape::Keyed(_), _) => Err(ItemError::KeyedScalar),
        (Shape::Set, Value::Object(_)) => Err(ItemError::SetMap),
        (Shape::Set, Value::Array(_)) => Err(ItemError::SetList),
        (Shape::Set, Value::Null) => Err(ItemError::SetNull),
        (Shape::Set, value) => Ok(Step::Value(value.to_string())),
        _ => Ok(Step::Index(number)),
    }
}

/// A value as Go prints it with `%v`.
struct Plain<'v>(&'v Value);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("<nil>"),
            Value::String(text) => f.write_str(text),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| Self(item).to_string()).collect();
                write!(f, "[{}]", items.join(" "))
            }
            Value::Object(members) => {
                let pair = |(name, value)| format!("{name}:{}", Plain(value));
                let pairs: Vec<String> = members.iter().map(pair).collect();
                write!(f, "map[{}]", pairs.join(" "))
            }
            other => write!(f, "{other}"),
        }
    }
}

/// A value as Go prints it with `%#v`.
struct Literal<'v>(&'v Value);

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("<nil>"),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| Self(item).to_string()).collect();
                write!(f, "[]interface {{}}{{{}}}", items.join(", "))
            }
            Value::Object(members) => {
                let pair = |(name, value)| format!("{name:?}:{}", Literal(value));
                let pairs: Vec<String> = members.iter().map(pair).collect();
                write!(f, "map[string]interface {{}}{{{}}}", pairs.join(", "))
            }
            other => write!(f, "{other}"),
        }
    }
}

/// Returns Go's name for the type of a JSON value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
