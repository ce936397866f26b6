//! Secrets that are never printed.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// A password, token or key. `Debug` hides the value, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    /// The file from which the value is read again, if any.
    file: Option<PathBuf>,
}

/// A secret whose file cannot be read again.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", file.display())]
pub(super) struct SecretError {
    file: PathBuf,
    source: io::Error,
}

impl Secret {
    /// Wraps a value, without surrounding white space.
    pub fn new(value: &str) -> Self {
        Self {
            value: value.trim().to_owned(),
            file: None,
        }
    }

    /// Reads a secret from a file of its own. The file is read again before each use.
    ///
    /// # Errors
    /// The file is empty or cannot be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        let secret = Self::new(&std::fs::read_to_string(path)?);
        if secret.value.is_empty() {
            return Err(io::Error::other("the file is empty"));
        }
        Ok(Self {
            file: Some(path.to_owned()),
            ..secret
        })
    }

    /// Reads the secret's file again, if it has one.
    pub(super) fn refresh(&mut self) -> Result<(), SecretError> {
        if let Some(file) = &self.file {
            *self = Self::read(file).map_err(|source| SecretError {
                file: file.clone(),
                source,
            })?;
        }
        Ok(())
    }

    pub(super) fn expose(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}
