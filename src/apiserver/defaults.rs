//! What the real server fills in.

use serde_json::Value;

use crate::objects::Kind;

/// Sets the defaults of the kind.
pub(crate) fn apply(_kind: Kind, _object: &mut Value) {}
