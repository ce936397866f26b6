//! Turns a decoding error into the field that caused it and a sentence in Kubernetes terms, without
//! the names of Rust types. Values are never repeated: they may be those of a Secret.

/// A field that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The field, in the notation of strict decoding (`spec.rules[0].host`); empty for the whole
    /// object.
    pub(super) field: String,
    /// The expected and the found type.
    pub(super) why: String,
}

/// Explains the error that serde returned for `body`.
pub(super) fn explain(body: &[u8], error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let text = text
        .rsplit_once(" at line ")
        .map_or(&*text, |(text, _place)| text);

    if !error.is_data() {
        return Problem {
            field: String::new(),
            why: format!("it is not JSON: {text}"),
        };
    }

    let field = field_at(body, offset(body, error.line(), error.column()));
    let why = match text.rsplit_once(", expected ") {
        Some((found, expected)) => format!(
            "expected {}, found {}",
            expected_word(expected),
            found_word(found)
        ),
        None => text.replace('`', "\""),
    };

    Problem { field, why }
}

/// Translates the type that serde expects.
fn expected_word(expected: &str) -> String {
    match expected {
        "u16" => "a number from 0 to 65535".to_owned(),
        "i64" => "a whole number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "an object".to_owned(),
        text if text.starts_with("struct ") => "an object".to_owned(),
        text if text.contains("string") => "a string".to_owned(),
        text => text.replace('`', "\""),
    }
}

/// Translates the value that serde found to its type. Only a number out of range is repeated.
fn found_word(found: &str) -> String {
    let (out_of_range, found) = match found.split_once(": ") {
        Some(("invalid value", found)) => (true, found),
        Some((_, found)) => (false, found),
        None => (false, found),
    };
    let (kind, value) = found.split_once(' ').unwrap_or((found, ""));
    match kind {
        "integer" | "floating" if out_of_range => {
            value.trim_start_matches("point ").replace('`', "")
        }
        "integer" | "floating" => "a number".to_owned(),
        "string" => "a string".to_owned(),
        "boolean" => "true or false".to_owned(),
        "sequence" => "a list".to_owned(),
        "map" => "an object".to_owned(),
        other => other.to_owned(),
    }
}

/// Converts serde's position to an offset. It lies behind a scalar that serde refused, and before a
/// list or an object.
fn offset(body: &[u8], line: usize, column: usize) -> usize {
    let start: usize = body
        .split_inclusive(|byte| *byte == b'\n')
        .take(line.saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    start.saturating_add(column).min(body.len())
}

/// A list or an object that encloses the scan's position.
enum Level {
    List(usize),
    Object(String),
}

/// Names the field of the value at an offset. The JSON is well formed up to there.
fn field_at(body: &[u8], end: usize) -> String {
    let body = body.get(..end).unwrap_or(body);
    let mut levels: Vec<Level> = Vec::new();
    let mut is_key = false;
    let mut at = 0;

    // The parser stops at the fault, so the levels that are open there are the field's path.
    while let Some(&byte) = body.get(at) {
        match byte {
            b'{' => {
                levels.push(Level::Object(String::new()));
                is_key = true;
            }
            b'[' => {
                levels.push(Level::List(0));
                is_key = false;
            }
            b'}' | b']' => {
                levels.pop();
                is_key = false;
            }
            b',' => match levels.last_mut() {
                Some(Level::List(index)) => *index += 1,
                Some(Level::Object(_)) => is_key = true,
                None => {}
            },
            b'"' => {
                let length = string_length(&body[at..]);
                if let (true, Some(Level::Object(key))) = (is_key, levels.last_mut()) {
                    *key = serde_json::from_slice(&body[at..at + length]).unwrap_or_default();
                    is_key = false;
                }

                at += length;
                continue;
            }
            _ => {}
        }

        at += 1;
    }

    let mut field = String::new();
    for level in &levels {
        match level {
            Level::List(index) => field.push_str(&format!("[{index}]")),
            Level::Object(key) if key.contains(['.', '/']) => field.push_str(&format!("[{key}]")),
            Level::Object(key) if field.is_empty() || key.is_empty() => field.push_str(key),
            Level::Object(key) => field.push_str(&format!(".{key}")),
        }
    }

    field
}

/// Counts the bytes of the JSON string that `text` begins with, including both quotes.
fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::objects::{
        Kind, RawObject,
        slim::{EndpointSlice, Ingress, Secret, Service},
    };

    fn refused<T: for<'a> serde::Deserialize<'a>>(kind: Kind, rest: &str) -> (String, String) {
        let body = format!("{{\"metadata\": {{\"name\": \"web\"}},\n {rest}}}");
        let object = RawObject::parse(kind, Bytes::from(body)).expect("an object");
        match object.view::<T>() {
            Ok(_decoded) => panic!("{rest} is decoded"),
            Err(error) => (error.field.into(), error.why.into()),
        }
    }

    #[test]
    fn undecodable_objects_name_the_field() {
        let path = |port: &str| {
            format!(
                r#""spec": {{
                "tls": [{{"hosts": ["a,b", "\"}}]"]}}],
                "rules": [{{"host": "x"}}, {{"http": {{"paths": [
                    {{"path": "/"}},
                    {{"backend": {{"service": {{
                        "name": "web", "port": {{"number": {port}}}
                    }}}}}}
                ]}}}}]}}"#
            )
        };
        let port = "spec.rules[1].http.paths[1].backend.service.port.number";
        for (text, field, why) in [
            (
                path("\"eighty\""),
                port,
                "expected a number from 0 to 65535, found a string",
            ),
            (
                path("80000"),
                port,
                "expected a number from 0 to 65535, found 80000",
            ),
            (
                path("-1"),
                port,
                "expected a number from 0 to 65535, found -1",
            ),
            (
                path("8.5"),
                port,
                "expected a number from 0 to 65535, found a number",
            ),
            (
                path("[80]"),
                port,
                "expected a number from 0 to 65535, found a list",
            ),
            (
                r#""spec": "none""#.to_owned(),
                "spec",
                "expected an object, found a string",
            ),
            (
                r#""spec": {"rules": {}}"#.to_owned(),
                "spec.rules",
                "expected a list, found an object",
            ),
            (
                r#""spec": {"rules": ["a"]}"#.to_owned(),
                "spec.rules[0]",
                "expected an object, found a string",
            ),
            (
                r#""spec": {"tls": [{}, {"hosts": [true]}]}"#.to_owned(),
                "spec.tls[1].hosts[0]",
                "expected a string, found true or false",
            ),
        ] {
            assert_eq!(
                refused::<Ingress>(Kind::Ingress, &text),
                (field.to_owned(), why.to_owned()),
                "{text}"
            );
        }
        let ready = r#""endpoints": [{"addresses": [], "conditions": {"ready": "yes"}}]"#;
        assert_eq!(
            refused::<EndpointSlice>(Kind::EndpointSlice, ready),
            (
                "endpoints[0].conditions.ready".to_owned(),
                "expected true or false, found a string".to_owned()
            )
        );
        assert_eq!(
            refused::<Service>(Kind::Service, r#""spec": {"ports": "many"}"#).0,
            "spec.ports"
        );
    }

    #[test]
    fn a_value_of_a_secret_is_not_repeated() {
        let body = br#"{"metadata": {"name": "s"}, "data": {"tls.key": 424242}}"#;
        let object = RawObject::parse(Kind::Secret, Bytes::from_static(body)).expect("an object");
        let error = object
            .view::<Secret<'_>>()
            .expect_err("a number is no string");
        assert_eq!(
            (&*error.field, &*error.why),
            ("data[tls.key]", "expected a string, found a number")
        );
        assert_eq!(
            error.to_string(),
            "Secret s: data[tls.key]: expected a string, found a number"
        );
    }

    #[test]
    fn metadata_that_cannot_be_read_names_its_field_too() {
        let parse = |body: &'static str| {
            RawObject::parse(Kind::Ingress, Bytes::from_static(body.as_bytes()))
        };
        let problem = |body| parse(body).map(drop).expect_err("no object").to_string();
        assert_eq!(
            problem(r#"{"metadata": {"name": "web", "labels": {"a": 1}}}"#),
            "Ingress: metadata.labels.a: expected a string, found a number"
        );
        assert_eq!(
            problem(r#"{"metadata": {}}"#),
            "Ingress: metadata.name: it is missing"
        );
        assert!(problem("{").starts_with("Ingress: it is not JSON: EOF"));
        assert_eq!(problem("{}"), "Ingress: missing field \"metadata\"");
    }
}
