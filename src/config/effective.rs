//! The configuration in effect: every key, its value, and the place that sets it.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use super::{Config, issuers::is_secret, keys};

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// The key, with its section: `proxy.max_headers`.
    pub key: Cow<'static, str>,
    /// The value as the file spells it; null without one.
    pub value: Value,
    /// The place that sets it.
    pub from: Origin,
}

/// The place that sets a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// No place: the value is the default.
    Default,
    /// The file, at a line counted from 1.
    File(PathBuf, usize),
    /// A flag or a variable, by its name.
    Typed(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}, line {line}", path.display()),
            Self::Typed(name) => f.write_str(name),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Lists every key, in the order of the types, then the keys of issuers, which only the file can
/// set. `file` is the file with its text; `typed` names the flag or variable that sets a key.
pub(super) fn settings(
    config: &Config,
    file: Option<(&Path, &str)>,
    typed: &dyn Fn(&str) -> Option<String>,
) -> Vec<Setting> {
    let (path, text) = file.unwrap_or_else(|| (Path::new(""), ""));
    let in_file = keys::keys(text);
    let lines: HashMap<&str, usize> = in_file
        .iter()
        .map(|key| (key.path.as_str(), key.line))
        .collect();

    let mut settings = Vec::new();
    for (key, value) in values(config) {
        let from = match (typed(&key), lines.get(key.as_str())) {
            (Some(name), _) => Origin::Typed(name),
            (None, Some(line)) => Origin::File(path.to_owned(), *line),
            (None, None) => Origin::Default,
        };
        settings.push(Setting {
            key: key.into(),
            value,
            from,
        });
    }

    for key in in_file {
        if key.path.starts_with("issuers[") {
            let is_hidden = key.path.rsplit('.').next().is_some_and(is_secret);
            settings.push(Setting {
                key: key.path.into(),
                value: if is_hidden {
                    "<hidden>".into()
                } else {
                    key.value
                },
                from: Origin::File(path.to_owned(), key.line),
            });
        }
    }
    settings
}

/// Lists the keys with their values as the types serialize them.
fn values(config: &Config) -> Vec<(String, Value)> {
    let json = serde_json::to_string(config).expect("settings are strings, numbers and lists");
    let Section(entries) = serde_json::from_str(&json).expect("JSON that was just written");

    let mut values = Vec::new();
    for (key, node) in entries {
        match node {
            Node::Section(Section(entries)) => {
                for (inner, node) in entries {
                    if let Node::Value(value) = node {
                        values.push((format!("{key}.{inner}"), value));
                    }
                }
            }
            Node::Value(value) => values.push((key, value)),
        }
    }
    values
}

/// The keys of a struct in the order of its fields, which `serde_json::Map` would sort.
struct Section(Vec<(String, Node)>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Node {
    Section(Section),
    Value(Value),
}

impl<'de> Deserialize<'de> for Section {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> de::Visitor<'de> for Entries {
            type Value = Section;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Section, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Section(entries))
            }
        }

        from.deserialize_map(Entries)
    }
}
