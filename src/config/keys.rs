//! The keys that a TOML text sets, with their lines.

use serde_json::{Value, json};
use toml::de::{DeTable, DeValue};

/// A key with the line that sets it.
#[derive(Debug)]
pub(super) struct Key {
    /// Its path: `proxy.max_headers`, `issuers[0].dns.server`.
    pub(super) path: String,
    /// The line, counted from 1.
    pub(super) line: usize,
    /// The value.
    pub(super) value: Value,
}

/// Returns all keys of a TOML text in its order, those of tables and of lists of tables with the
/// path of the table before their own. The list is empty if the text is not TOML.
pub(super) fn keys(text: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    if let Ok(root) = DeTable::parse(text) {
        collect(root.get_ref(), "", text, &mut keys);
    }
    keys.sort_by_key(|key| key.line);
    keys
}

/// Returns the line that sets a key, or of the table that lacks it.
pub(super) fn line_of(text: &str, path: &str) -> Option<usize> {
    let keys = keys(text);
    let mut path = path;
    loop {
        let is_below = |key: &&Key| {
            let rest = key.path.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        if let Some(line) = keys.iter().filter(is_below).map(|key| key.line).min() {
            return Some(line);
        }
        path = &path[..path.rfind(['.', '['])?];
    }
}

/// Returns the line of a byte of the text, counted from 1.
pub(super) fn line_at(text: &str, byte: usize) -> usize {
    text[..byte.min(text.len())].matches('\n').count() + 1
}

fn collect(table: &DeTable<'_>, above: &str, text: &str, keys: &mut Vec<Key>) {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);

    for (key, value) in entries {
        let path = format!("{above}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => collect(inner, &format!("{path}."), text, keys),
            DeValue::Array(list)
                if !list.is_empty() && list.iter().all(|one| one.get_ref().is_table()) =>
            {
                for (index, one) in list.iter().enumerate() {
                    if let DeValue::Table(inner) = one.get_ref() {
                        collect(inner, &format!("{path}[{index}]."), text, keys);
                    }
                }
            }
            other => keys.push(Key {
                path,
                line: line_at(text, key.span().start),
                value: json_of(other),
            }),
        }
    }
}

/// Converts a value that is no table to JSON.
fn json_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => json!(text),
        DeValue::Boolean(value) => json!(value),
        DeValue::Array(list) => list.iter().map(|one| json_of(one.get_ref())).collect(),
        DeValue::Integer(number) => json!(number.to_string()),
        DeValue::Float(number) => json!(number.to_string()),
        DeValue::Datetime(time) => json!(time.to_string()),
        DeValue::Table(_) => Value::Null,
    }
}
