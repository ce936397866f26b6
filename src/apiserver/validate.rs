//! What the real server refuses, with its words.

use serde_json::Value;

use crate::objects::Kind;

/// One problem of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    /// Path of the field: `spec.rules[0].host`.
    pub(crate) field: String,
    /// The machine's word: `FieldValueRequired`, `FieldValueInvalid`, ...
    pub(crate) reason: &'static str,
    /// The sentence without the field: `Required value: name is required`.
    pub(crate) message: String,
}

/// Problems of an object to be made.
pub(crate) fn create(_kind: Kind, _object: &Value) -> Vec<FieldError> {
    Vec::new()
}

/// Problems of a change.
pub(crate) fn update(_kind: Kind, _new: &Value, _old: &Value) -> Vec<FieldError> {
    Vec::new()
}

/// What is accepted, but should be said: texts of `Warning` headers.
pub(crate) fn warnings(_kind: Kind, _object: &Value) -> Vec<String> {
    Vec::new()
}
