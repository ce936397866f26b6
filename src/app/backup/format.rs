//! The format of a backup: lines of text. The first names the format, the second describes the
//! backup as JSON, then each record is a line of JSON, and the last has the SHA-256 of all before.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::util::{hash::sha256, stamp};

/// The first line. The number is that of the format.
const MAGIC: &str = "gatelet backup 1";

/// The beginning of the last line.
const CHECKSUM: &str = "sha256 ";

/// The reason why bytes are not a backup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The first line is another one.
    #[error("it is not a backup of gatelet")]
    Foreign,
    /// The format is that of another release.
    #[error("it has the format of another release of gatelet: {0}")]
    Version(String),
    /// The end is missing.
    #[error("it is torn: its end is missing")]
    Torn,
    /// The checksum is another one.
    #[error("it was changed or damaged: its checksum does not fit")]
    Changed,
    /// A line cannot be parsed although the checksum fits.
    #[error("line {line}: {why}")]
    Line {
        /// Its number, counted from 1.
        line: usize,
        /// The problem with it.
        why: String,
    },
}

/// A backup.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Backup {
    pub(super) about: About,
    /// The records of the store, unsealed.
    pub(super) records: Vec<(String, Vec<u8>)>,
}

/// The description of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct About {
    /// The release that made it.
    pub(super) version: String,
    /// The node that it was made on.
    pub(super) node: String,
    /// The time, RFC 3339.
    pub(super) created: String,
}

/// A record as a line. The value is text, or base64 if it is not UTF-8.
#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    base64: Option<String>,
}

impl Backup {
    /// Makes a backup of these records, now.
    pub(super) fn new(node: &str, records: Vec<(String, Vec<u8>)>) -> Self {
        Self {
            about: About {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                node: node.to_owned(),
                created: stamp::now(),
            },
            records,
        }
    }

    /// Returns the bytes of the file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut text = format!("{MAGIC}\n{}\n", json(&self.about));
        for (key, value) in &self.records {
            let plain = std::str::from_utf8(value).ok().map(str::to_owned);
            let line = Line {
                key: key.clone(),
                base64: plain.is_none().then(|| STANDARD.encode(value)),
                text: plain,
            };
            text += &json(&line);
            text.push('\n');
        }
        let sum = sha256(text.as_bytes());
        text += &format!("{CHECKSUM}{sum}\n");
        text.into_bytes()
    }

    /// Parses the bytes of a file, and checks that they are whole.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let begins = bytes.split(|byte| *byte == b'\n').next();
        match begins.map(String::from_utf8_lossy) {
            Some(first) if first == MAGIC => {}
            Some(first) if first.starts_with("gatelet backup ") => {
                return Err(FormatError::Version(first.chars().take(40).collect()));
            }
            _ => return Err(FormatError::Foreign),
        }

        let rest = bytes.strip_suffix(b"\n").ok_or(FormatError::Torn)?;
        let end = rest.iter().rposition(|byte| *byte == b'\n');
        let (body, last) = bytes.split_at(end.ok_or(FormatError::Torn)? + 1);
        let sum = last.trim_ascii_end().strip_prefix(CHECKSUM.as_bytes());
        if sum.ok_or(FormatError::Torn)? != sha256(body).as_bytes() {
            return Err(FormatError::Changed);
        }

        let mut lines = (2..).zip(body.split(|byte| *byte == b'\n').skip(1));
        let (line, about) = lines.next().ok_or(FormatError::Torn)?;
        let about = parse(line, about)?;
        let mut records = Vec::new();
        for (line, text) in lines.filter(|(_line, text)| !text.is_empty()) {
            let Line { key, text, base64 } = parse(line, text)?;
            let wrong = |why: &str| FormatError::Line {
                line,
                why: why.to_owned(),
            };
            let value = match (text, base64) {
                (Some(text), None) => text.into_bytes(),
                (None, Some(encoded)) => STANDARD
                    .decode(encoded)
                    .map_err(|_bad| wrong("its value is not base64"))?,
                _ => return Err(wrong("it has no value, or two")),
            };
            records.push((key, value));
        }
        Ok(Self { about, records })
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts are JSON")
}

fn parse<'t, T: Deserialize<'t>>(line: usize, text: &'t [u8]) -> Result<T, FormatError> {
    serde_json::from_slice(text).map_err(|error| FormatError::Line {
        line,
        why: error.to_string(),
    })
}
