//! Patches applied to one object.

use serde_json::Value;

use crate::objects::Kind;

/// Why a patch cannot be applied.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum PatchError {
    /// The patch is not understood: 400.
    #[error("{0}")]
    Malformed(String),
    /// An operation of a JSON patch failed: 422.
    #[error("{0}")]
    Failed(String),
}

/// Applies a strategic merge patch.
pub(crate) fn strategic(_kind: Kind, target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    merge_patch(target, patch)
}

/// Applies a JSON merge patch (RFC 7386).
pub(crate) fn merge_patch(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    json_patch::merge(target, patch);
    Ok(())
}

/// Applies a JSON patch (RFC 6902).
pub(crate) fn json_patch(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let patch: json_patch::Patch =
        serde_json::from_value(patch.clone()).map_err(|error| PatchError::Malformed(error.to_string()))?;
    json_patch::patch(target, &patch).map_err(|error| PatchError::Failed(error.to_string()))
}
