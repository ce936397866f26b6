//! The configuration file: TOML, every key optional, unknown keys refused.

use std::path::Path;

use serde::Deserialize;
use toml::de::{DeTable, Deserializer, ValueDeserializer};

use super::{
    Config, ConfigError,
    issuer_table::{self, IssuerTable},
    issuers, keys,
};

/// Reads the text of a file over the defaults.
pub(super) fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let wrong = |error: toml::de::Error| {
        let line = keys::line_at(text, error.span().map_or(0, |span| span.start));
        at_line(path, text, line, error.message().to_owned())
    };
    let mut root = DeTable::parse(text).map_err(wrong)?;

    // Apart from the rest, so that a mistake in an issuer is found at the line of its key.
    let tables = root.get_mut().remove("issuers");
    let mut config = Config::deserialize(Deserializer::from(root)).map_err(wrong)?;
    if let Some(tables) = tables {
        let tables: Vec<IssuerTable> =
            Deserialize::deserialize(ValueDeserializer::from(tables)).map_err(wrong)?;
        config.issuers = issuer_table::strict(tables).map_err(|error| place(error, path, text))?;
    }

    Ok(config)
}

/// Adds the line of the file that sets the value, if there is one.
pub(super) fn place(error: ConfigError, path: &Path, text: &str) -> ConfigError {
    let ConfigError::Value { field, message } = error else {
        return error;
    };
    match keys::line_of(text, &field) {
        Some(line) => at_line(path, text, line, format!("{field}: {message}")),
        None => ConfigError::Value { field, message },
    }
}

fn at_line(path: &Path, text: &str, line: usize, message: String) -> ConfigError {
    ConfigError::Parse {
        path: path.to_owned(),
        line,
        message,
        text: issuers::shown(text.lines().nth(line - 1).unwrap_or_default()),
    }
}
