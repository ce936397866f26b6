//! Applies patches to one object: strategic merge (by the schema table), JSON merge (RFC 7386),
//! JSON patch (RFC 6902).

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use super::schema::{
    self,
    table::{self, Field, Message, Type},
};
use crate::objects::Kind;

/// A patch that cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatchError {
    /// The patch is malformed: 400.
    #[error("{0}")]
    Malformed(String),
    /// An operation of a JSON patch failed: 422.
    #[error("{0}")]
    Failed(String),
}

// The directives of a strategic merge patch: members of the patch, or prefixes of their names.
const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const REMOVE: &str = "$deleteFromPrimitiveList/";

/// Applies a JSON merge patch.
pub(crate) fn merge_patch(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    if !patch.is_object() {
        return Err(PatchError::Malformed(format!(
            "error decoding patch: {}",
            not_an_object(patch)
        )));
    }
    json_patch::merge(target, patch);
    Ok(())
}

/// Applies a JSON patch. After an error the target is unchanged.
pub(crate) fn json_patch(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    if let Some(found) = Some(schema::found_as(patch)).filter(|found| *found != "array") {
        let why =
            format!("json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp");
        return Err(PatchError::Malformed(format!(
            "error decoding patch: {why}"
        )));
    }

    let patch: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|error| PatchError::Malformed(format!("error decoding patch: {error}")))?;

    let mut result = target.clone();
    for operation in patch.0 {
        // On a real API server a test for null succeeds if the member is absent.
        if let json_patch::PatchOperation::Test(test) = &operation
            && test.value.is_null()
            && result.pointer(test.path.as_str()).is_none()
        {
            continue;
        }
        let one = json_patch::Patch(vec![operation]);
        json_patch::patch(&mut result, &one)
            .map_err(|error| PatchError::Failed(error.to_string()))?;
    }
    *target = result;
    Ok(())
}

/// Applies a strategic merge patch (k8s.io/apimachinery/pkg/util/strategicpatch).
pub(crate) fn strategic(kind: Kind, target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let Some(patch) = patch.as_object() else {
        return Err(PatchError::Malformed(not_an_object(patch)));
    };
    merge_object(table::message(kind.name()), target, patch)
}

/// Returns Go's error for a patch that is not an object.
fn not_an_object(patch: &Value) -> String {
    format!(
        "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
        schema::found_as(patch)
    )
}

fn malformed(why: impl Into<String>) -> PatchError {
    PatchError::Malformed(why.into())
}

/// Merges a patch into an object. Without `fields` the type is unknown, and lists are replaced.
fn merge_object(
    fields: Option<&'static Message>,
    target: &mut Value,
    patch: &Map<String, Value>,
) -> Result<(), PatchError> {
    match patch.get(DIRECTIVE).and_then(Value::as_str) {
        Some("replace") => {
            let rest = patch.iter().filter(|(name, _value)| *name != DIRECTIVE);
            *target = Value::Object(
                rest.map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
            );
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
    let Some(members) = target.as_object_mut() else {
        return Ok(());
    };

    remove_members(members, patch)?;
    for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        let field = fields.and_then(|fields| fields.get(name.as_str()));
        merge_member(field, members, patch, name, value)?;
    }
    order_lists(fields, members, patch)
}

/// Removes the members that `$retainKeys` does not name, and the items that
/// `$deleteFromPrimitiveList` names.
fn remove_members(
    members: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), PatchError> {
    if let Some(retained) = patch.get(RETAIN) {
        let retained = retained
            .as_array()
            .ok_or_else(|| malformed("$retainKeys must be a list"))?;
        members.retain(|name, _value| retained.iter().any(|kept| kept == name));
    }

    for (name, value) in patch {
        if let Some(list) = name.strip_prefix(REMOVE) {
            let gone = value
                .as_array()
                .ok_or_else(|| malformed(format!("{name} must be a list")))?;
            if let Some(items) = members.get_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| !gone.contains(item));
            }
        }
    }
    Ok(())
}

/// Merges one member of a patch; `patch` is the whole patch, which may set the order of a list.
fn merge_member(
    field: Option<&'static Field>,
    members: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    name: &str,
    value: &Value,
) -> Result<(), PatchError> {
    match value {
        Value::Null => {
            members.remove(name);
        }
        Value::Object(inner) => {
            let fields = match field.map(|field| &field.of) {
                Some(Type::Ref(name)) => table::message(name),
                _ => None,
            };
            merge_object(fields, members.entry(name).or_insert(Value::Null), inner)?;
        }
        Value::Array(items) => match field.filter(|field| merges(field)) {
            Some(field) => {
                let order = patch
                    .get(&format!("{ORDER}{name}"))
                    .and_then(Value::as_array)
                    .unwrap_or(items);
                let target = members.entry(name).or_insert(Value::Null);
                merge_list(field, target, items, order)?;
            }
            None => {
                members.insert(name.to_owned(), value.clone());
            }
        },
        other => {
            members.insert(name.to_owned(), other.clone());
        }
    }
    Ok(())
}

/// Puts the lists that the patch orders but does not change into that order.
fn order_lists(
    fields: Option<&'static Message>,
    members: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), PatchError> {
    for (name, order) in patch {
        let Some(list) = name.strip_prefix(ORDER) else {
            continue;
        };
        let order = order
            .as_array()
            .ok_or_else(|| malformed(format!("{name} must be a list")))?;

        let field = fields.and_then(|fields| fields.get(list));
        if patch.get(list).is_some_and(Value::is_array) && field.is_some_and(merges) {
            continue;
        }
        if let Some(items) = members.get_mut(list).and_then(Value::as_array_mut) {
            let live = items.clone();
            arrange(
                items,
                order,
                &live,
                field.and_then(|field| field.merge_key.as_deref()),
            );
        }
    }
    Ok(())
}

/// Returns true if a patch merges the items of this list, and false if it replaces the list.
fn merges(field: &Field) -> bool {
    field
        .strategy
        .split(',')
        .any(|strategy| strategy == "merge")
}

/// Merges the items of a patch into a list, and sorts the list by `order`.
fn merge_list(
    field: &Field,
    target: &mut Value,
    patch: &[Value],
    order: &[Value],
) -> Result<(), PatchError> {
    let replace = patch.iter().any(|item| {
        item.get(DIRECTIVE)
            .is_some_and(|directive| directive == "replace")
    });
    if !target.is_array() || replace {
        *target = Value::Array(Vec::new());
    }
    let Some(items) = target.as_array_mut() else {
        return Ok(());
    };

    let live = items.clone();
    // Items without a merge key are primitive values: add the missing ones.
    let Some(key) = field.merge_key.as_deref() else {
        for item in patch {
            if !items.contains(item) {
                items.push(item.clone());
            }
        }
        arrange(items, order, &live, None);
        return Ok(());
    };

    let inner = match &field.of {
        Type::List(of) => match &**of {
            Type::Ref(name) => table::message(name),
            _ => None,
        },
        _ => None,
    };

    for item in patch {
        let Some(members) = item.as_object() else {
            return Err(malformed("a list of objects has other items"));
        };

        let directive = members.get(DIRECTIVE).and_then(Value::as_str);
        if directive == Some("replace") {
            continue;
        }
        let Some(identity) = members.get(key) else {
            return Err(malformed(format!(
                "map: {item} does not contain declared merge key: {key}"
            )));
        };

        let found = items
            .iter()
            .position(|item| item.get(key) == Some(identity));
        match (found, directive) {
            (_, Some("delete")) => items.retain(|item| item.get(key) != Some(identity)),
            (Some(at), _) => merge_object(inner, &mut items[at], members)?,
            (None, _) => {
                let mut new = Value::Null;
                merge_object(inner, &mut new, members)?;
                items.push(new);
            }
        }
    }
    arrange(items, order, &live, Some(key));
    Ok(())
}

/// Puts items into the order of the patch (`normalizeElementOrder`). Items that it does not name
/// keep their order in the live list, and each is placed before the first named one that follows it
/// there.
fn arrange(items: &mut Vec<Value>, order: &[Value], live: &[Value], key: Option<&str>) {
    let identity = |item: &Value| match key {
        Some(key) => item.get(key).cloned().unwrap_or(Value::Null),
        None => item.clone(),
    };
    let ranks = |list: &[Value]| list.iter().map(identity).collect::<Vec<Value>>();
    let (order, live) = (ranks(order), ranks(live));
    let rank =
        |list: &[Value], item: &Value| list.iter().position(|known| *known == identity(item));

    let (mut named, mut others): (Vec<Value>, Vec<Value>) = std::mem::take(items)
        .into_iter()
        .partition(|item| rank(&order, item).is_some());
    named.sort_by_key(|item| rank(&order, item));
    others.sort_by_key(|item| rank(&live, item));

    let mut others = others.into_iter().peekable();
    for item in named {
        let place = rank(&live, &item);
        while let Some(other) =
            others.next_if(|other| place.is_some() && rank(&live, other) < place)
        {
            items.push(other);
        }
        items.push(item);
    }
    items.extend(others);
}
