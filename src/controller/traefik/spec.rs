//! Reads the fields of an object of Traefik. What is not read at the end is unknown.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Map, Value};

use crate::{controller::Reason, objects::Kind};

/// The reason why an object cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) struct Problem {
    pub(in crate::controller) reason: Reason,
    /// The field, below `spec`.
    pub(in crate::controller) field: String,
    /// A sentence without its full stop.
    pub(in crate::controller) why: String,
}

/// The fields of a part of an object.
#[derive(Debug)]
pub(in crate::controller) struct Fields<'a> {
    kind: Kind,
    /// The path of the part.
    path: String,
    members: &'a Map<String, Value>,
    read: BTreeSet<&'a str>,
}

impl<'a> Fields<'a> {
    /// Returns the fields of a part of an object of a kind, at a path.
    pub(in crate::controller) fn of(
        kind: Kind,
        path: String,
        members: &'a Map<String, Value>,
    ) -> Self {
        Self {
            kind,
            path,
            members,
            read: BTreeSet::new(),
        }
    }

    /// Returns the path of the part.
    pub(in crate::controller) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the path of a field.
    pub(in crate::controller) fn field(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// Returns a problem with the value of a field.
    pub(in crate::controller) fn invalid(&self, name: &str, why: impl Into<String>) -> Problem {
        Problem {
            reason: super::invalid(self.kind),
            field: self.field(name),
            why: why.into(),
        }
    }

    /// Returns a problem with a field that cannot be done.
    pub(in crate::controller) fn unsupported(&self, name: &str, why: impl Into<String>) -> Problem {
        Problem {
            reason: super::unsupported(self.kind),
            field: self.field(name),
            why: why.into(),
        }
    }

    /// Returns the value of a field. `null` is none.
    fn value(&mut self, name: &str) -> Option<&'a Value> {
        let (name, value) = self.members.get_key_value(name)?;
        self.read.insert(name);
        (!value.is_null()).then_some(value)
    }

    pub(in crate::controller) fn typed<T>(
        &mut self,
        name: &str,
        kind: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None => Err(self.invalid(name, format!("it is not {kind}"))),
            },
        }
    }

    /// Returns a text; `None` for an empty one.
    pub(in crate::controller) fn text(&mut self, name: &str) -> Result<Option<&'a str>, Problem> {
        let text = self.typed(name, "a string", Value::as_str)?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// Returns a text that must be there.
    pub(in crate::controller) fn needed(&mut self, name: &str) -> Result<&'a str, Problem> {
        let text = self.text(name)?;
        text.ok_or_else(|| self.invalid(name, "it is missing"))
    }

    /// Returns true or false, if the field is there.
    pub(in crate::controller) fn choice(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        self.typed(name, "true or false", Value::as_bool)
    }

    /// Returns true or false; false without the field.
    pub(in crate::controller) fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        Ok(self.choice(name)?.unwrap_or_default())
    }

    /// Returns a list of texts; an empty one without the field.
    pub(in crate::controller) fn texts(&mut self, name: &str) -> Result<Vec<&'a str>, Problem> {
        let texts = |value: &'a Value| {
            let items = value.as_array()?.iter();
            items.map(Value::as_str).collect::<Option<Vec<&str>>>()
        };
        let list = self.typed(name, "a list of strings", texts)?;
        Ok(list.unwrap_or_default())
    }

    /// Returns a whole number.
    pub(in crate::controller) fn number(&mut self, name: &str) -> Result<Option<i64>, Problem> {
        self.typed(name, "a whole number", Value::as_i64)
    }

    /// Returns a time: a number of seconds, or a text like `1m30s`.
    pub(in crate::controller) fn duration(
        &mut self,
        name: &str,
    ) -> Result<Option<Duration>, Problem> {
        self.typed(name, "a time", |value| match value {
            Value::String(text) => match text.parse::<u64>() {
                Ok(seconds) => Some(Duration::from_secs(seconds)),
                Err(_) => go_duration(text),
            },
            value => value.as_u64().map(Duration::from_secs),
        })
    }

    /// Returns the texts of an object with their names; none without the field.
    pub(in crate::controller) fn pairs(
        &mut self,
        name: &str,
    ) -> Result<Vec<(&'a str, &'a str)>, Problem> {
        let pairs = |value: &'a Value| {
            let members = value.as_object()?.iter();
            let pair = |(name, value): (&'a String, &'a Value)| Some((&**name, value.as_str()?));
            members.map(pair).collect::<Option<Vec<_>>>()
        };
        let pairs = self.typed(name, "an object of strings", pairs)?;
        Ok(pairs.unwrap_or_default())
    }

    /// Returns the whole numbers of an object with their names; none without the field.
    pub(in crate::controller) fn numbers(
        &mut self,
        name: &str,
    ) -> Result<Vec<(&'a str, i64)>, Problem> {
        let numbers = |value: &'a Value| {
            let members = value.as_object()?.iter();
            let number = |(name, value): (&'a String, &'a Value)| Some((&**name, value.as_i64()?));
            members.map(number).collect::<Option<Vec<_>>>()
        };
        let numbers = self.typed(name, "an object of whole numbers", numbers)?;
        Ok(numbers.unwrap_or_default())
    }

    /// Returns a part, if it is there.
    pub(in crate::controller) fn part(&mut self, name: &str) -> Result<Option<Self>, Problem> {
        let (kind, path) = (self.kind, self.field(name));
        let members = self.typed(name, "an object", Value::as_object)?;
        Ok(members.map(|members| Self::of(kind, path, members)))
    }

    /// Returns true if a field has a value that asks for something.
    pub(in crate::controller) fn has(&mut self, name: &str) -> bool {
        self.value(name).is_some_and(|value| match value {
            Value::Null => false,
            Value::Bool(flag) => *flag,
            Value::Number(number) => number.as_i64() != Some(0),
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(members) => !members.is_empty(),
        })
    }

    /// Returns a problem if a field, which cannot be done, asks for something.
    pub(in crate::controller) fn absent(
        &mut self,
        name: &str,
        why: impl Into<String>,
    ) -> Result<(), Problem> {
        match self.has(name) {
            true => Err(self.unsupported(name, why)),
            false => Ok(()),
        }
    }

    /// Counts all fields as read.
    pub(in crate::controller) fn pass_over(&mut self) {
        self.read.extend(self.members.keys().map(String::as_str));
    }

    /// Returns the parts in a list, with their paths; an empty one without the field.
    pub(in crate::controller) fn parts(&mut self, name: &str) -> Result<Vec<Self>, Problem> {
        let (kind, path) = (self.kind, self.field(name));
        let parts = |value: &'a Value| {
            let items = value.as_array()?.iter().enumerate();
            let part = |(at, item): (usize, &'a Value)| {
                let path = format!("{path}[{at}]");
                Some(Self::of(kind, path, item.as_object()?))
            };
            items.map(part).collect::<Option<Vec<Self>>>()
        };
        let list = self.typed(name, "a list of objects", parts)?;
        Ok(list.unwrap_or_default())
    }

    /// Returns a problem if there is a field that was not read.
    pub(in crate::controller) fn finish(self) -> Result<(), Problem> {
        let mut names = self.members.iter();
        let unknown =
            names.find(|(name, value)| !self.read.contains(name.as_str()) && !value.is_null());
        match unknown {
            None => Ok(()),
            Some((name, _)) => Err(self.unsupported(name, "gatelet does not know this field")),
        }
    }
}

/// Parses a time as Go writes it: `1h30m`, `500ms`.
fn go_duration(text: &str) -> Option<Duration> {
    const UNITS: &[(&str, f64)] = &[
        ("ns", 1e-9),
        ("us", 1e-6),
        ("\u{b5}s", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let (mut rest, mut sum) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let behind = &rest[end..];
        let length = behind
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(behind.len());
        let (unit, after) = behind.split_at(length);
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        sum += number * seconds;
        rest = after;
    }
    (!text.is_empty())
        .then(|| Duration::try_from_secs_f64(sum).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_have_types_and_are_all_read() {
        let spec = json!({"a": "x", "b": true, "c": ["y"], "d": 1, "e": null, "f": [{"g": ""}]});
        let members = spec.as_object().expect("an object");
        let mut fields = Fields::of(Kind::Middleware, "spec".to_owned(), members);
        assert_eq!(fields.text("a"), Ok(Some("x")));
        assert_eq!(fields.flag("b"), Ok(true));
        assert_eq!(fields.texts("c"), Ok(vec!["y"]));
        assert_eq!(fields.text("e"), Ok(None));
        let mut parts = fields.parts("f").expect("parts");
        assert_eq!(parts[0].text("g"), Ok(None));
        assert_eq!(parts[0].path(), "spec.f[0]");

        let wrong = fields.text("b").expect_err("no text");
        assert_eq!(
            (&*wrong.field, &*wrong.why),
            ("spec.b", "it is not a string")
        );
        let missing = fields.needed("x").expect_err("missing");
        assert_eq!(&*missing.why, "it is missing");
        let unknown = fields.finish().expect_err("d was not read");
        assert_eq!(&*unknown.field, "spec.d");
    }

    #[test]
    fn times_are_those_of_go() {
        for (text, expected) in [
            ("1s", Some(1000)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1500)),
            ("100ms", Some(100)),
            ("", None),
            ("s", None),
            ("1", None),
            ("-1s", None),
            ("1d", None),
        ] {
            let found = go_duration(text).map(|time| time.as_millis());
            assert_eq!(found, expected, "{text}");
        }
    }
}
