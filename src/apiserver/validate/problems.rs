//! The list of problems that checks add to, and the access to members that they share.

use std::fmt::Display;

use serde_json::Value;

/// A problem of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    /// The path of the field: `spec.rules[0].host`.
    pub(crate) field: String,
    /// The reason for programs: `FieldValueRequired`, `FieldValueInvalid` and others.
    pub(crate) reason: &'static str,
    /// The message without the field: `Required value: name is required`.
    pub(crate) message: String,
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(pub(super) Vec<FieldError>);

impl Problems {
    pub(super) fn add(&mut self, field: impl Display, reason: &'static str, message: String) {
        self.0.push(FieldError {
            field: field.to_string(),
            reason,
            message,
        });
    }

    pub(super) fn required(&mut self, field: impl Display, why: &str) {
        self.add(field, "FieldValueRequired", with("Required value", why));
    }

    pub(super) fn invalid(
        &mut self,
        field: impl Display,
        value: impl Into<Value>,
        why: impl Display,
    ) {
        let value: Value = value.into();
        self.add(
            field,
            "FieldValueInvalid",
            format!("Invalid value: {value}: {why}"),
        );
    }

    pub(super) fn unsupported(&mut self, field: impl Display, value: &str, supported: &[&str]) {
        let supported: Vec<String> = supported.iter().map(|one| format!("\"{one}\"")).collect();
        let message = format!(
            "Unsupported value: \"{value}\": supported values: {}",
            supported.join(", ")
        );
        self.add(field, "FieldValueNotSupported", message);
    }

    pub(super) fn forbidden(&mut self, field: impl Display, why: &str) {
        self.add(field, "FieldValueForbidden", format!("Forbidden: {why}"));
    }

    pub(super) fn duplicate(&mut self, field: impl Display, value: impl Into<Value>) {
        let value: Value = value.into();
        self.add(
            field,
            "FieldValueDuplicate",
            format!("Duplicate value: {value}"),
        );
    }

    pub(super) fn too_long(&mut self, field: impl Display, limit: usize) {
        self.add(
            field,
            "FieldValueTooLong",
            format!("Too long: may not be more than {limit} bytes"),
        );
    }

    pub(super) fn too_many(&mut self, field: impl Display, found: usize, limit: usize) {
        let message = format!("Too many: {found}: must have at most {limit} items");
        self.add(field, "FieldValueTooMany", message);
    }

    /// Adds a problem of an invalid value for each of these reasons.
    pub(super) fn all(&mut self, field: impl Display, value: &str, reasons: Vec<String>) {
        for why in reasons {
            self.invalid(&field, value, why);
        }
    }
}

/// Refuses a change of a member that is immutable.
pub(super) fn immutable(new: &Value, old: &Value, member: &str, problems: &mut Problems) {
    if new[member] != old[member] {
        let field = if member == "controller" {
            "spec.controller"
        } else {
            member
        };
        problems.invalid(field, new[member].clone(), "field is immutable");
    }
}

fn with(what: &str, why: &str) -> String {
    if why.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {why}")
    }
}

pub(super) fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(super) fn list<'v>(object: &'v Value, pointer: &str) -> &'v [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

pub(super) fn pairs<'v>(
    object: &'v Value,
    pointer: &str,
) -> impl Iterator<Item = (&'v str, &'v str)> {
    let members = object.pointer(pointer).and_then(Value::as_object);
    members
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}
