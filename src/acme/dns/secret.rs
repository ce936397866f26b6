//! A value that never shows itself.

use std::{fmt, path::Path};

/// A password, token or key. `Debug` does not show it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value, without the white space around it.
    pub fn new(value: &str) -> Self {
        Self(value.trim().to_owned())
    }

    /// Reads one from a file that holds nothing else.
    ///
    /// # Errors
    /// What the operating system says, or that the file is empty.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let secret = Self::new(&std::fs::read_to_string(path)?);
        if secret.0.is_empty() {
            return Err(std::io::Error::other("the file is empty"));
        }
        Ok(secret)
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}
