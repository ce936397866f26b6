//! Entry points for `fuzz/`: request bodies, patches and selectors of clients. Each panics when an
//! invariant does not hold.

use serde_json::Value;

use super::{
    manage::{self, Origin},
    merge,
    registry::RESOURCES,
    reviews::CREATED,
    schema::{self, ContentType},
};
use crate::objects::Kind;

fn body(content_type: ContentType, data: &[u8]) {
    let Some((kind, body)) = data.split_first() else {
        return;
    };
    let number = usize::from(*kind) % (Kind::ALL.len() + CREATED.len());
    let decode = |content_type, body: &[u8]| match Kind::ALL.get(number) {
        Some(kind) => schema::decode(*kind, content_type, body),
        None => {
            let created = &CREATED[number - Kind::ALL.len()];
            schema::decode_kind(created.kind, created.api_version(), content_type, body)
        }
    };

    if let Ok(decoded) = decode(content_type, body) {
        // A decoded object is plain JSON, and decodes to itself.
        let json = serde_json::to_vec(&decoded.value).expect("a value is JSON");
        let again = decode(ContentType::Json, &json).expect("it was decoded before");
        assert!(is_same(&decoded.value, &again.value), "{}", again.value);
    }
    drop(schema::decode_options(content_type, body));
}

/// Compares two values. Floats may differ in the last digit: serde_json does not read all of them
/// exactly, and no field of our kinds is a float.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |(key, value)| b.get(key).is_some_and(|other| is_same(value, other));
            a.len() == b.len() && a.iter().all(same)
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let pair = a.as_f64().zip(b.as_f64());
            pair.is_some_and(|(a, b)| (a - b).abs() <= a.abs() * 1e-15)
        }
        _ => a == b,
    }
}

/// Decodes a JSON body of any kind.
pub fn json(data: &[u8]) {
    body(ContentType::Json, data);
}

/// Decodes a YAML body of any kind.
pub fn yaml(data: &[u8]) {
    body(ContentType::Yaml, data);
}

/// Decodes a protobuf body of any kind.
pub fn protobuf(data: &[u8]) {
    body(ContentType::Protobuf, data);
}

/// Reads two JSON documents, separated by a NUL byte, and applies the second to the first as a
/// patch of every type.
pub fn patch(data: &[u8]) {
    let Some(at) = data.iter().position(|byte| *byte == 0) else {
        return;
    };
    let (Ok(target), Ok(patch)) = (
        serde_json::from_slice::<Value>(&data[..at]),
        serde_json::from_slice::<Value>(&data[at + 1..]),
    ) else {
        return;
    };
    for kind in Kind::ALL {
        drop(merge::strategic(kind, &mut target.clone(), &patch));
    }
    drop(merge::merge_patch(&mut target.clone(), &patch));

    let mut patched = target.clone();
    if merge::json_patch(&mut patched, &patch).is_err() {
        assert_eq!(
            patched, target,
            "a JSON patch is applied whole or not at all"
        );
    }
}

/// Reads a kind and two applied objects, separated by a NUL byte. Applies one after the other as
/// the same manager, and each as a further one.
pub fn apply(data: &[u8]) {
    let Some((number, data)) = data.split_first() else {
        return;
    };
    let resource = &RESOURCES[usize::from(*number) % RESOURCES.len()];
    let mut applied = Vec::new();
    for body in data.splitn(2, |byte| *byte == 0) {
        let Ok(value) = schema::decode_applied(body, &mut Vec::new()) else {
            return;
        };
        let fits = value["metadata"].is_object() && value["metadata"]["managedFields"].is_null();
        if !fits || manage::check(resource, &value).is_err() {
            return;
        }
        applied.push(value);
    }

    let origin = |manager: &str| Origin {
        manager: manager.to_owned(),
        resource,
        subresource: None,
    };
    let content = |mut value: Value| {
        if let Some(metadata) = value["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        value
    };
    let first = origin("first");
    let mut old: Option<Value> = None;

    for (round, applied) in applied.iter().enumerate() {
        let once = first.apply(old.as_ref(), applied, true);
        let once = once.expect("force knows no conflicts");
        let again = first.apply(Some(&once), applied, false);
        let again = again.expect("a manager has no conflict with itself");
        assert_eq!(
            content(again),
            content(once.clone()),
            "it is applied already"
        );

        // The same values are no conflict, whoever owns them.
        let other = origin(&format!("other {round}"));
        let shared = other.apply(Some(&once), applied, false);
        let shared = shared.expect("equal values are no conflict");
        assert_eq!(content(shared.clone()), content(once.clone()));
        old = Some(shared);
    }
}
