//! Patches applied to one object: strategic merge (driven by the schema table), JSON merge (RFC 7386), JSON patch
//! (RFC 6902).

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use super::schema::{self, Field, Message, Type};
use crate::objects::Kind;

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatchError {
    /// The patch is not understood: 400.
    #[error("{0}")]
    Malformed(String),
    /// An operation of a JSON patch failed: 422.
    #[error("{0}")]
    Failed(String),
}

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const REMOVE: &str = "$deleteFromPrimitiveList/";

/// Applies a JSON merge patch.
pub(crate) fn merge_patch(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    if !patch.is_object() {
        return Err(PatchError::Malformed("the patch is not an object".to_owned()));
    }
    json_patch::merge(target, patch);
    Ok(())
}

/// Applies a JSON patch, whole or not at all.
pub(crate) fn json_patch(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let patch: json_patch::Patch =
        serde_json::from_value(patch.clone()).map_err(|error| PatchError::Malformed(error.to_string()))?;
    let mut result = target.clone();
    for operation in patch.0 {
        // The real server lets a test for null succeed where there is nothing.
        if let json_patch::PatchOperation::Test(test) = &operation
            && test.value.is_null()
            && result.pointer(test.path.as_str()).is_none()
        {
            continue;
        }
        let one = json_patch::Patch(vec![operation]);
        json_patch::patch(&mut result, &one).map_err(|error| PatchError::Failed(error.to_string()))?;
    }
    *target = result;
    Ok(())
}

/// Applies a strategic merge patch (k8s.io/apimachinery/pkg/util/strategicpatch).
pub(crate) fn strategic(kind: Kind, target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let Some(patch) = patch.as_object() else {
        return Err(PatchError::Malformed("the patch is not an object".to_owned()));
    };
    merge_object(schema::message(kind.name()), target, patch)
}

fn malformed(why: impl Into<String>) -> PatchError {
    PatchError::Malformed(why.into())
}

fn merge_object(
    fields: Option<&'static Message>,
    target: &mut Value,
    patch: &Map<String, Value>,
) -> Result<(), PatchError> {
    match patch.get(DIRECTIVE).and_then(Value::as_str) {
        Some("replace") => {
            let rest = patch.iter().filter(|(name, _value)| *name != DIRECTIVE);
            *target = Value::Object(rest.map(|(name, value)| (name.clone(), value.clone())).collect());
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(malformed(format!("unknown patch type: {other}"))),
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(members) = target.as_object_mut() else { return Ok(()) };
    if let Some(retained) = patch.get(RETAIN) {
        let retained = retained.as_array().ok_or_else(|| malformed("$retainKeys must be a list"))?;
        members.retain(|name, _value| retained.iter().any(|kept| kept == name));
    }
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix(REMOVE) {
            let gone = value.as_array().ok_or_else(|| malformed(format!("{name} must be a list")))?;
            if let Some(items) = members.get_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| !gone.contains(item));
            }
        }
    }
    for (name, value) in patch {
        if name.starts_with('$') {
            continue;
        }
        let field = fields.and_then(|fields| fields.get(name.as_str()));
        match value {
            Value::Null => {
                members.remove(name);
            }
            Value::Object(patch) => {
                let inner = match field.map(|field| &field.of) {
                    Some(Type::Ref(name)) => schema::message(name),
                    _ => None,
                };
                merge_object(inner, members.entry(name).or_insert(Value::Null), patch)?;
            }
            Value::Array(patch) => match field.filter(|field| merges(field)) {
                Some(field) => merge_list(field, members.entry(name).or_insert(Value::Null), patch)?,
                None => {
                    members.insert(name.clone(), value.clone());
                }
            },
            other => {
                members.insert(name.clone(), other.clone());
            }
        }
    }
    for (name, order) in patch {
        let Some(list) = name.strip_prefix(ORDER) else { continue };
        let order = order.as_array().ok_or_else(|| malformed(format!("{name} must be a list")))?;
        let key = fields.and_then(|fields| fields.get(list)).and_then(|field| field.merge_key.as_deref());
        if let Some(items) = members.get_mut(list).and_then(Value::as_array_mut) {
            sort(items, order, key);
        }
    }
    Ok(())
}

fn merges(field: &Field) -> bool {
    field.strategy.split(',').any(|strategy| strategy == "merge")
}

fn merge_list(field: &Field, target: &mut Value, patch: &[Value]) -> Result<(), PatchError> {
    let replace = patch.iter().any(|item| item.get(DIRECTIVE).is_some_and(|directive| directive == "replace"));
    if !target.is_array() || replace {
        *target = Value::Array(Vec::new());
    }
    let Some(items) = target.as_array_mut() else { return Ok(()) };
    let Some(key) = field.merge_key.as_deref() else {
        for item in patch {
            if !items.contains(item) {
                items.push(item.clone());
            }
        }
        return Ok(());
    };
    let inner = match &field.of {
        Type::List(of) => match &**of {
            Type::Ref(name) => schema::message(name),
            _ => None,
        },
        _ => None,
    };
    for item in patch {
        let Some(members) = item.as_object() else { return Err(malformed("a list of objects has other items")) };
        let directive = members.get(DIRECTIVE).and_then(Value::as_str);
        if directive == Some("replace") {
            continue;
        }
        let Some(wanted) = members.get(key) else {
            return Err(malformed(format!("map: {item} does not contain declared merge key: {key}")));
        };
        let found = items.iter().position(|item| item.get(key) == Some(wanted));
        match (found, directive) {
            (_, Some("delete")) => items.retain(|item| item.get(key) != Some(wanted)),
            (Some(at), _) => merge_object(inner, &mut items[at], members)?,
            (None, _) => {
                let mut new = Value::Null;
                merge_object(inner, &mut new, members)?;
                items.push(new);
            }
        }
    }
    Ok(())
}

/// Puts items into the order that the patch wants. Items that it does not name keep their place among the others:
/// each goes before the first named one that stood behind it.
fn sort(items: &mut Vec<Value>, order: &[Value], key: Option<&str>) {
    let identity = |item: &Value| match key {
        Some(key) => item.get(key).cloned().unwrap_or(Value::Null),
        None => item.clone(),
    };
    let order: Vec<Value> = order.iter().map(identity).collect();
    let rank = |item: &Value| order.iter().position(|wanted| *wanted == identity(item));
    let mut named: Vec<(usize, usize, Value)> = Vec::new();
    let mut others: Vec<(usize, Value)> = Vec::new();
    for (place, item) in std::mem::take(items).into_iter().enumerate() {
        match rank(&item) {
            Some(rank) => named.push((rank, place, item)),
            None => others.push((place, item)),
        }
    }
    named.sort_by_key(|(rank, ..)| *rank);
    let mut others = others.into_iter().peekable();
    for (_rank, place, item) in named {
        while let Some((_place, other)) = others.next_if(|(other, _item)| *other < place) {
            items.push(other);
        }
        items.push(item);
    }
    items.extend(others.map(|(_place, item)| item));
}
