//! Label and field selectors.

use serde_json::Value;

use super::{registry::Resource, status::ApiError};
use crate::objects::{RawObject, Texts};

/// The label and field selectors of a list or watch. An empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
}

/// A condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    op: Op,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Op {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
    Greater(i64),
    Less(i64),
}

/// A condition on one field.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldRequirement {
    field: Field,
    /// True for `=`, false for `!=`.
    equal: bool,
    value: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
    /// A JSON pointer into the body.
    Body(&'static str),
    /// A JSON pointer to a boolean.
    Flag(&'static str),
}

impl Selector {
    /// Parses `labelSelector` and `fieldSelector`.
    pub(crate) fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self, ApiError> {
        Ok(Self {
            labels: parse_labels(labels)?,
            fields: parse_fields(resource, fields)?,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Returns true if the object fulfils every requirement.
    pub(crate) fn matches(&self, object: &RawObject) -> bool {
        self.labels
            .iter()
            .all(|required| required.matches(&object.meta.labels))
            && self.matches_fields(object)
    }

    fn matches_fields(&self, object: &RawObject) -> bool {
        let needs_body = self
            .fields
            .iter()
            .any(|required| matches!(required.field, Field::Body(_) | Field::Flag(_)));
        let body: Value = match needs_body {
            true => serde_json::from_slice(&object.body).unwrap_or_default(),
            false => Value::Null,
        };

        let text = |pointer| {
            let value = body.pointer(pointer).and_then(Value::as_str);
            value.unwrap_or_default()
        };
        self.fields.iter().all(|required| {
            let found = match required.field {
                Field::Name => &*object.meta.name,
                Field::Namespace => &*object.meta.namespace,
                // An Event of the new group names its source elsewhere.
                Field::Body(pointer @ "/source/component") => match text(pointer) {
                    "" => text("/reportingComponent"),
                    source => source,
                },
                Field::Body(pointer) => text(pointer),
                Field::Flag(pointer) => match body.pointer(pointer).and_then(Value::as_bool) {
                    Some(true) => "true",
                    Some(false) | None => "false",
                },
            };
            (found == required.value) == required.equal
        })
    }
}

impl Requirement {
    fn matches(&self, labels: &Texts) -> bool {
        let found = labels.get(self.key.as_str()).map(|value| &**value);
        let number = || found.and_then(|value| value.parse::<i64>().ok());
        match &self.op {
            Op::Exists => found.is_some(),
            Op::Absent => found.is_none(),
            Op::In(values) => found.is_some_and(|found| values.iter().any(|value| value == found)),
            Op::NotIn(values) => {
                found.is_none_or(|found| !values.iter().any(|value| value == found))
            }
            Op::Greater(bound) => number().is_some_and(|number| number > *bound),
            Op::Less(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

fn parse_fields(resource: &Resource, text: &str) -> Result<Vec<FieldRequirement>, ApiError> {
    let mut required = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (label, equal, value) = if let Some((label, value)) = part.split_once("!=") {
            (label, false, value)
        } else if let Some((label, value)) = part.split_once("==").or_else(|| part.split_once('='))
        {
            (label, true, value)
        } else {
            let why = format!("invalid selector: '{part}'; can't understand '{part}'");
            return Err(ApiError::bad_request(why));
        };

        let field = match label {
            "metadata.name" => Field::Name,
            "metadata.namespace" => Field::Namespace,
            other => {
                let find = |fields: &[(&str, &'static str)]| {
                    let found = fields.iter().find(|(known, _)| *known == other);
                    found.map(|(_, pointer)| *pointer)
                };
                let text = find(resource.fields).map(Field::Body);
                text.or_else(|| find(resource.flags).map(Field::Flag))
                    .ok_or_else(|| unknown_field(resource, other))?
            }
        };
        required.push(FieldRequirement {
            field,
            equal,
            value: value.to_owned(),
        });
    }
    Ok(required)
}

fn unknown_field(resource: &Resource, field: &str) -> ApiError {
    // A real API server lists the known fields only for kinds without field selectors.
    if resource.fields.is_empty() && resource.flags.is_empty() {
        let known = r#""metadata.name", "metadata.namespace""#;
        ApiError::bad_request(format!(
            "\"{field}\" is not a known field selector: only {known}"
        ))
    } else {
        ApiError::bad_request(format!("field label not supported: {field}"))
    }
}

// === Label selectors (k8s.io/apimachinery/pkg/labels/selector.go) ===

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Comma,
    Open,
    Close,
    /// `=`, `==`, `!=`, `!`, `<`, `>`
    Operator(&'static str),
    End,
}

struct Tokens<'t> {
    rest: &'t str,
}

impl Tokens<'_> {
    fn next(&mut self) -> Token {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        const FIXED: [(&str, Token); 9] = [
            ("==", Token::Operator("==")),
            ("!=", Token::Operator("!=")),
            ("=", Token::Operator("=")),
            ("!", Token::Operator("!")),
            ("<", Token::Operator("<")),
            (">", Token::Operator(">")),
            (",", Token::Comma),
            ("(", Token::Open),
            (")", Token::Close),
        ];

        for (text, token) in FIXED {
            if let Some(rest) = self.rest.strip_prefix(text) {
                self.rest = rest;
                return token;
            }
        }

        let end = self
            .rest
            .find([' ', '\t', '\r', '\n', '=', '!', '<', '>', ',', '(', ')'])
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() {
            Token::End
        } else {
            Token::Word(word.to_owned())
        }
    }

    fn peek(&self) -> Token {
        Tokens { rest: self.rest }.next()
    }
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, ApiError> {
    let mut tokens = Tokens { rest: text };
    let mut required = Vec::new();
    if tokens.peek() == Token::End {
        return Ok(required);
    }
    loop {
        required.push(parse_requirement(&mut tokens)?);
        match tokens.next() {
            Token::End => return Ok(required),
            Token::Comma => {}
            other => return Err(unexpected(&other, "',' or 'end of string'")),
        }
    }
}

fn parse_requirement(tokens: &mut Tokens<'_>) -> Result<Requirement, ApiError> {
    let absent = tokens.peek() == Token::Operator("!");

    if absent {
        tokens.next();
    }
    let key = match tokens.next() {
        Token::Word(key) if is_label_key(&key) => key,
        Token::Word(key) => {
            return Err(ApiError::bad_request(format!(
                "key: Invalid value: {key:?}: invalid label key"
            )));
        }
        other if absent => return Err(unexpected(&other, "identifier")),
        other => return Err(unexpected(&other, "!, identifier, or 'end of string'")),
    };
    if absent {
        return Ok(Requirement {
            key,
            op: Op::Absent,
        });
    }
    if matches!(tokens.peek(), Token::Comma | Token::End) {
        return Ok(Requirement {
            key,
            op: Op::Exists,
        });
    }

    let op = match tokens.next() {
        Token::Operator("=" | "==") => Op::In(vec![one_value(tokens)?]),
        Token::Operator("!=") => Op::NotIn(vec![one_value(tokens)?]),
        Token::Operator(">") => Op::Greater(number(tokens)?),
        Token::Operator("<") => Op::Less(number(tokens)?),
        Token::Word(word) if word == "in" => Op::In(value_set(tokens)?),
        Token::Word(word) if word == "notin" => Op::NotIn(value_set(tokens)?),
        Token::Word(word) if word == "gt" => Op::Greater(number(tokens)?),
        Token::Word(word) if word == "lt" => Op::Less(number(tokens)?),
        other => return Err(unexpected(&other, "in, notin, =, ==, !=, gt, lt")),
    };
    Ok(Requirement { key, op })
}

fn one_value(tokens: &mut Tokens<'_>) -> Result<String, ApiError> {
    match tokens.peek() {
        Token::End | Token::Comma => Ok(String::new()),
        Token::Word(value) => {
            tokens.next();
            Ok(value)
        }
        other => Err(unexpected(&other, "identifier")),
    }
}

fn number(tokens: &mut Tokens<'_>) -> Result<i64, ApiError> {
    let value = one_value(tokens)?;
    value.parse().map_err(|_not_a_number| {
        ApiError::bad_request("for 'Gt', 'Lt' operators, the value must be an integer".to_owned())
    })
}

fn value_set(tokens: &mut Tokens<'_>) -> Result<Vec<String>, ApiError> {
    match tokens.next() {
        Token::Open => {}
        other => return Err(unexpected(&other, "'('")),
    }

    let mut values = Vec::new();
    loop {
        values.push(match tokens.peek() {
            Token::Word(value) => {
                tokens.next();
                value
            }
            Token::Comma | Token::Close => String::new(),
            other => return Err(unexpected(&other, "',', or identifier")),
        });
        match tokens.next() {
            Token::Comma => {}
            Token::Close => return Ok(values),
            other => return Err(unexpected(&other, "',' or ')'")),
        }
    }
}

fn unexpected(found: &Token, expected: &str) -> ApiError {
    let found = match found {
        Token::Word(word) => word.as_str(),
        Token::Comma => ",",
        Token::Open => "(",
        Token::Close => ")",
        Token::Operator(operator) => operator,
        Token::End => "",
    };
    ApiError::bad_request(format!(
        "unable to parse requirement: found '{found}', expected: {expected}"
    ))
}

/// Returns true for `[prefix/]name`, without checking the details. Other keys can never match, and
/// are more likely a mistake.
fn is_label_key(key: &str) -> bool {
    let name = key.rsplit_once('/').map_or(key, |(_prefix, name)| name);
    !name.is_empty()
        && name.len() <= 63
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
}
