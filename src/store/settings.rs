//! Settings of the store.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Settings of the store: the section `[store]` of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// File with the key that private keys are sealed with; `None` leaves them unsealed.
    pub seal_key_file: Option<PathBuf>,
    /// Files with keys that private keys may still be sealed with.
    pub old_seal_key_files: Vec<PathBuf>,
}
