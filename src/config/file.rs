//! The configuration file: TOML, every key optional, unknown keys refused.

use std::path::Path;

use serde::Deserialize;
use toml::de::{DeTable, DeValue, Deserializer, ValueDeserializer};

use super::{
    Config, ConfigError,
    issuer_table::{self, IssuerTable},
    issuers, keys,
};

/// The variable with the folder of the credentials that systemd has given to the unit
/// (`systemd.exec(5)`, `LoadCredential=`).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Reads the text of a file over the defaults.
pub(super) fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let wrong = |error: toml::de::Error| {
        let line = keys::line_at(text, error.span().map_or(0, |span| span.start));
        at_line(path, text, line, error.message().to_owned())
    };
    let mut root = DeTable::parse(text).map_err(wrong)?;

    // Elsewhere the name stays, and a file of that name does not exist: `status` reads the same
    // configuration.
    if let Ok(folder) = std::env::var(CREDENTIALS) {
        put_credentials(root.get_mut(), &folder);
    }

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

/// Puts the folder with the credentials of the unit in place of its name, where paths begin with
/// that.
fn put_credentials(table: &mut DeTable<'_>, folder: &str) {
    for (_key, value) in table.iter_mut() {
        put_credential(value.get_mut(), folder);
    }
}

fn put_credential(value: &mut DeValue<'_>, folder: &str) {
    match value {
        DeValue::String(text) => {
            let rest = text
                .strip_prefix('$')
                .and_then(|rest| rest.strip_prefix(CREDENTIALS));
            if let Some(file) = rest.and_then(|rest| rest.strip_prefix('/')) {
                *text = format!("{folder}/{file}").into();
            }
        }
        DeValue::Table(table) => put_credentials(table, folder),
        DeValue::Array(values) => {
            for value in values.iter_mut() {
                put_credential(value.get_mut(), folder);
            }
        }
        _ => {}
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_credentials_lead_to_the_folder_of_the_unit() {
        const TEXT: &str = "
            state = '/var/lib/$CREDENTIALS_DIRECTORY/x'
            [store]
            seal_key_file = '$CREDENTIALS_DIRECTORY/seal'
            [[issuers]]
            name = '$CREDENTIALS_DIRECTORYx'
            dns = { token_file = '$CREDENTIALS_DIRECTORY/token' }";
        let mut table = DeTable::parse(TEXT).expect("TOML");
        put_credentials(table.get_mut(), "/run/credentials/gatelet.service");
        let root = table.get_ref();
        let store = root["store"].get_ref();
        let issuer = root["issuers"].get_ref()[0].get_ref();
        for (value, expected) in [
            (&root["state"], "/var/lib/$CREDENTIALS_DIRECTORY/x"),
            (
                &store["seal_key_file"],
                "/run/credentials/gatelet.service/seal",
            ),
            (&issuer["name"], "$CREDENTIALS_DIRECTORYx"),
            (
                &issuer["dns"].get_ref()["token_file"],
                "/run/credentials/gatelet.service/token",
            ),
        ] {
            assert_eq!(value.get_ref().as_str(), Some(expected));
        }
    }
}
