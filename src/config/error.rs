//! The errors of the configuration.

use std::{io, path::PathBuf};

/// An error in the configuration. Names the file, the line and the values that are allowed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file sets something that it cannot set.
    #[error("{}, line {line}: {message}\n  {text}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// The mistake, with the allowed values.
        message: String,
        /// The line itself, unless it may hold a secret.
        text: String,
    },
    /// A value that has the right form makes no sense.
    #[error("{field}: {message}")]
    Value {
        /// The key, with its section.
        field: String,
        /// The mistake, with the allowed values.
        message: String,
    },
}
