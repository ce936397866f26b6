//! Manifests: the documents of a file of YAML or JSON. A document that cannot be parsed carries the
//! reason and does not affect the others.

use std::{fmt, sync::Arc};

use serde_json::Value;

use crate::util::yaml;

/// Lists in lists deeper than this are not unpacked.
const MAX_DEPTH: usize = 8;

/// The position of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The name of the file.
    pub file: Arc<str>,
    /// Its number in the file, counted from 1.
    pub document: usize,
    /// Its first line, counted from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One document.
#[derive(Debug)]
pub struct Document {
    /// Its position.
    pub place: Place,
    /// Its content.
    pub content: Content,
}

/// The content of a document.
#[derive(Debug)]
pub enum Content {
    /// YAML or JSON.
    Value(Value),
    /// Text that cannot be parsed, with the reason.
    Broken(String),
    /// A template, which cannot be parsed before it is rendered.
    Template,
}

/// Parses the documents of a text, and unpacks lists of objects.
pub fn parse(file: &Arc<str>, text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut is_broken = false;
    for (number, (line, part)) in (1..).zip(split(text)) {
        let place = Place {
            file: file.clone(),
            document: number,
            line,
        };

        // Errors count lines from the beginning of the file.
        let before = u64::try_from(line - 1).unwrap_or_default();
        let content = match serde_saphyr::from_str(part) {
            Ok(value) => Content::Value(value),
            Err(_) if part.contains("{{") && part.contains("}}") => Content::Template,
            Err(error) => Content::Broken(yaml::describe(&error, before)),
        };
        is_broken |= !matches!(content, Content::Value(_));
        unpack(place, content, 0, &mut documents);
    }

    // YAML includes nearly all JSON, but not tabs as indentation, nor several values in a row.
    if is_broken && text.trim_start().starts_with(['{', '[']) {
        let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text)
            .into_iter()
            .collect();
        if let Ok(values) = values {
            documents.clear();
            for (number, value) in (1..).zip(values) {
                let place = Place {
                    file: file.clone(),
                    document: number,
                    line: 1,
                };
                unpack(place, Content::Value(value), 0, &mut documents);
            }
        }
    }

    documents
}

/// Splits a YAML stream at its `---` lines, and returns each part with its first line. No other
/// line of YAML may begin with that marker, not even in a block scalar (YAML 1.2.2, section 9.1.2).
/// Parts without content are dropped.
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut first) = (0, 1);
    let mut offset = 0;

    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let marker = line
            .strip_prefix("---")
            .filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if let Some(rest) = marker {
            parts.push((first, &text[start..offset]));
            // A document can begin on the line of the marker.
            (start, first) = (offset + line.len() - rest.len(), number);
        }
        offset += line.len();
    }
    parts.push((first, &text[start..]));

    parts.retain(|(_, part)| part.lines().any(has_content));
    for (line, part) in &mut parts {
        // A message should point to the first line with content.
        while let Some((_, rest)) = part.split_once('\n').filter(|(line, _)| !has_content(line)) {
            *line += 1;
            *part = rest;
        }
    }

    parts
}

/// Returns whether a line is more than a comment, a directive or the end of a document.
fn has_content(line: &str) -> bool {
    let text = line.trim();
    !text.is_empty() && !text.starts_with('#') && !line.starts_with('%') && text != "..."
}

/// Unpacks lists of objects.
fn unpack(place: Place, content: Content, depth: usize, documents: &mut Vec<Document>) {
    let mut value = match content {
        Content::Value(Value::Null) => return,
        Content::Value(value) => value,
        other => {
            return documents.push(Document {
                place,
                content: other,
            });
        }
    };

    let is_list = value
        .get("kind")
        .and_then(Value::as_str)
        .is_some_and(|kind| kind.ends_with("List"));

    match value
        .get_mut("items")
        .and_then(Value::as_array_mut)
        .filter(|_| is_list && depth < MAX_DEPTH)
    {
        Some(items) => {
            for item in std::mem::take(items) {
                unpack(place.clone(), Content::Value(item), depth + 1, documents);
            }
        }
        None => documents.push(Document {
            place,
            content: Content::Value(value),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns document, line and text of all documents of a file.
    fn read(text: &str) -> Vec<(usize, usize, String)> {
        let documents = parse(&"f.yaml".into(), text).into_iter();
        documents
            .map(|one| {
                let text = match one.content {
                    Content::Value(value) => value.to_string(),
                    Content::Broken(why) => format!("broken: {why}"),
                    Content::Template => "template".to_owned(),
                };
                (one.place.document, one.place.line, text)
            })
            .collect()
    }

    #[test]
    fn documents_are_split_with_their_lines() {
        for (text, expected) in [
            ("", vec![]),
            ("# only\n\n# comments\n---\n# here\n...\n", vec![]),
            (
                "a: 1\n---\nb: 2\n",
                vec![(1, 1, "{\"a\":1}"), (2, 3, "{\"b\":2}")],
            ),
            (
                "---\r\na: 1\r\n---\r\nb: 2\r\n",
                vec![(1, 2, "{\"a\":1}"), (2, 4, "{\"b\":2}")],
            ),
            (
                "--- {a: 1}\n--- # a comment\nb: |\n  ---\n  x\n",
                vec![(1, 1, "{\"a\":1}"), (2, 3, "{\"b\":\"---\\nx\\n\"}")],
            ),
            (
                "%YAML 1.2\n---\n\n# first\na: 1\n...\n",
                vec![(1, 5, "{\"a\":1}")],
            ),
            ("---x: 1\n", vec![(1, 1, "{\"---x\":1}")]),
            ("~\n---\nnull\n---\na: 1\n", vec![(3, 5, "{\"a\":1}")]),
            (
                "{\"a\": 1}\n{\"b\": 2}\n",
                vec![(1, 1, "{\"a\":1}"), (2, 1, "{\"b\":2}")],
            ),
            ("{\n\t\"a\":\t[\n\t\t1\n\t]\n}", vec![(1, 1, "{\"a\":[1]}")]),
            (
                "kind: List\nitems: [{kind: ServiceList, items: [{a: 1}]}, {kind: X, items: [2]}, \
                 null]\n",
                vec![
                    (1, 1, "{\"a\":1}"),
                    (1, 1, "{\"items\":[2],\"kind\":\"X\"}"),
                ],
            ),
        ] {
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(n, line, text)| (n, line, text.to_owned()))
                .collect();
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_broken_document_names_its_line() {
        let read = read("a: 1\n---\n\nb: 2\nc: [1\nd: {\n---\ne: 3\n");
        let [first, broken, last] = &read[..] else {
            panic!("{read:?}")
        };
        assert_eq!((first.0, last), (1, &(3, 8, "{\"e\":3}".to_owned())));
        assert_eq!((broken.0, broken.1), (2, 4));
        assert!(
            broken.2.starts_with("broken: ") && broken.2.contains("line 6"),
            "{}",
            broken.2
        );
        assert!(!broken.2.contains('\n'));
    }

    #[test]
    fn a_template_is_not_a_broken_document() {
        let chart = "{{- if .Values.ingress.enabled }}\nkind: Ingress\n\
                     spec: {{ .Values.spec | toYaml }}\n{{- end }}\n";
        assert_eq!(read(chart), [(1, 1, "template".to_owned())]);
        let quoted = read("kind: Ingress\nhost: \"{{ .Values.host }}\"\n");
        assert!(quoted[0].2.contains("Ingress"));
    }
}
