//! The keys that a type can be deserialized from, found by deserializing it from nothing.

use std::{cell::Cell, collections::BTreeSet};

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor,
        value::{BorrowedStrDeserializer, Error},
    },
    forward_to_deserialize_any,
};

/// Returns the paths of all keys of `T`, those of tables in lists with `[]`.
pub(super) fn of<T: for<'de> Deserialize<'de>>() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    explore::<T>(&mut Vec::new(), &mut keys);
    keys
}

fn explore<T: for<'de> Deserialize<'de>>(
    path: &mut Vec<&'static str>,
    keys: &mut BTreeSet<String>,
) {
    let found = Cell::new(Found::Value);
    let probe = Probe {
        path,
        found: &found,
        in_list: false,
    };
    // It always fails: the probe only looks.
    assert!(T::deserialize(probe).is_err());

    match found.get() {
        Found::Value => {
            keys.insert(path.join(".").replace(".[]", "[]"));
        }
        Found::Struct { fields, in_list } => {
            if in_list {
                path.push("[]");
            }
            for field in fields {
                path.push(field);
                explore::<T>(path, keys);
                path.pop();
            }
            if in_list {
                path.pop();
            }
        }
    }
}

/// The form of the value at a path.
#[derive(Clone, Copy)]
enum Found {
    Value,
    Struct {
        fields: &'static [&'static str],
        /// The structs are the items of a list at the path.
        in_list: bool,
    },
}

/// Leads a type's own deserialization down a path, and notes the form of what it expects there.
#[derive(Clone, Copy)]
struct Probe<'a> {
    path: &'a [&'static str],
    found: &'a Cell<Found>,
    in_list: bool,
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("a value"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.path {
            [] => visitor.visit_seq(Probe {
                in_list: true,
                ..self
            }),
            ["[]", path @ ..] => visitor.visit_seq(Probe { path, ..self }),
            _ => Err(Error::custom("no struct")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.path.is_empty() {
            let in_list = self.in_list;
            self.found.set(Found::Struct { fields, in_list });
            return Err(Error::custom("a struct"));
        }
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de> SeqAccess<'de> for Probe<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        seed.deserialize(*self).map(Some)
    }
}

impl<'de> MapAccess<'de> for Probe<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        seed.deserialize(BorrowedStrDeserializer::new(self.path[0]))
            .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let path = &self.path[1..];
        seed.deserialize(Self { path, ..*self })
    }
}
