//! A value that never shows itself.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// A password, token or key. `Debug` does not show it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    /// Where it is read again.
    file: Option<PathBuf>,
}

impl Secret {
    /// Wraps a value, without the white space around it.
    pub fn new(value: &str) -> Self {
        Self {
            value: value.trim().to_owned(),
            file: None,
        }
    }

    /// Reads one from a file that holds nothing else. It is read again whenever it is needed.
    ///
    /// # Errors
    /// What the operating system says, or that the file is empty.
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

    /// Reads its file again, if it is from one.
    pub(super) fn refresh(&mut self) -> Result<(), String> {
        if let Some(file) = &self.file {
            *self = Self::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
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
