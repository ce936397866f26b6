//! Settings of logs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::util::setting::InvalidSetting;

/// The values of [`Settings::level`].
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Settings of logs: the section `[log]` of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// The form of log lines.
    pub format: Format,
    /// Share of requests in the access log, 0 to 1; `None` for no access log.
    pub access: Option<f64>,
    /// The file of the audit log of the mini cluster's API; `None` for no audit log.
    pub audit: Option<PathBuf>,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: Format::Text,
            access: None,
            audit: None,
        }
    }
}

impl Settings {
    /// Checks the values that their types do not limit.
    ///
    /// # Errors
    /// The first setting with a value that it cannot have.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        if !LEVELS.contains(&self.level.as_str()) {
            let reason = format!("{:?} is not one of {}", self.level, LEVELS.join(", "));
            return Err(InvalidSetting::new("level", reason));
        }

        let is_share = |share: f64| (0.0..=1.0).contains(&share);
        if !self.access.is_none_or(is_share) {
            let reason = "it is a share of requests, from 0.0 to 1.0";
            return Err(InvalidSetting::new("access", reason));
        }

        Ok(())
    }
}
