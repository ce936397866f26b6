//! A JSON parser that reports duplicate members.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{error::StrictProblem, table::push};

/// Parses JSON. Reports each duplicate member; the last one counts.
pub(super) fn parse(
    body: &[u8],
    problems: &mut Vec<StrictProblem>,
) -> Result<Value, serde_json::Error> {
    let mut parser = serde_json::Deserializer::from_slice(body);
    let mut path = String::new();
    let value = Seed {
        path: &mut path,
        problems,
    }
    .deserialize(&mut parser)?;
    parser.end()?;
    Ok(value)
}

struct Seed<'s> {
    path: &'s mut String,
    problems: &'s mut Vec<StrictProblem>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let Self { path, problems } = self;
        let mut list = Vec::new();
        let length = path.len();
        loop {
            path.push_str(&format!("[{}]", list.len()));
            let item = items.next_element_seed(Seed {
                path: &mut *path,
                problems: &mut *problems,
            })?;
            path.truncate(length);
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let Self { path, problems } = self;
        let mut object = Map::new();
        let length = path.len();
        while let Some(name) = members.next_key::<String>()? {
            push(path, &name);
            let value = members.next_value_seed(Seed {
                path: &mut *path,
                problems: &mut *problems,
            })?;
            if object.insert(name, value).is_some() {
                problems.push(StrictProblem::Duplicate(path.clone()));
            }
            path.truncate(length);
        }
        Ok(Value::Object(object))
    }
}
