//! The error for a setting whose value has the right form and makes no sense.

/// A value that a setting cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct InvalidSetting {
    /// The key, without its section.
    pub key: &'static str,
    /// The mistake, with the allowed values.
    pub reason: String,
}

impl InvalidSetting {
    /// Names the key and the reason.
    pub fn new(key: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { key, reason }
    }
}
