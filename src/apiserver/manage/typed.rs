//! Objects seen by the schema table: which fields they have, how they differ, and how one is merged
//! into another. Describes the same relations as structured-merge-diff of a real API server.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::set::{FieldSet, Step};
use crate::apiserver::schema::table::{self, Field, ListType, Message, Type};

/// The way in which the managers of an object share a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A value that is owned as a whole: a scalar, an atomic list or an atomic object.
    Leaf,
    /// An object with these fields.
    Struct(&'static Message),
    /// An object with keys of its users.
    Map,
    /// A list of objects with keys.
    Keyed(Keyed),
    /// A list of values, each at most once.
    Set,
}

/// The items of a list with keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyed {
    pub(super) keys: &'static [Box<str>],
    fields: &'static Message,
    /// True if each item is owned as a whole.
    atomic: bool,
}

impl Shape {
    /// Returns the shape of the objects of a kind, by the name of its message.
    pub(super) fn of(message: &str) -> Self {
        table::message(message).map_or(Self::Leaf, Self::Struct)
    }

    pub(super) fn of_field(field: &'static Field) -> Self {
        let fields = |of: &Type| match of {
            Type::Ref(name) => table::message(name),
            _ => None,
        };
        match &field.of {
            Type::Ref(_) | Type::Map(_) if field.atomic => Self::Leaf,
            Type::Map(_) => Self::Map,
            of @ Type::Ref(_) => fields(of).map_or(Self::Leaf, Self::Struct),
            Type::List(of) => match (&field.list_type, fields(of)) {
                (Some(ListType::Map), Some(fields)) => Self::Keyed(Keyed {
                    keys: &field.list_keys,
                    fields,
                    atomic: field.atomic,
                }),
                (Some(ListType::Set), _) => Self::Set,
                _ => Self::Leaf,
            },
            _ => Self::Leaf,
        }
    }

    /// Returns the shape behind a step; a leaf for one that the schema does not have.
    fn behind(self, step: &Step) -> Self {
        match (self, step) {
            (Self::Struct(fields), Step::Field(name)) => {
                fields.get(name.as_str()).map_or(Self::Leaf, Self::of_field)
            }
            (Self::Keyed(items), Step::Key(_)) if !items.atomic => Self::Struct(items.fields),
            _ => Self::Leaf,
        }
    }

    /// Returns the parts of a value with their steps, in their order; `None` if the value is owned
    /// as a whole.
    fn parts(self, value: &Value) -> Option<Vec<(Step, &Value)>> {
        match (self, value) {
            (Self::Struct(_) | Self::Map, Value::Object(members)) => {
                let members = members.iter().filter(|(_name, value)| !value.is_null());
                let part = |(name, value): (&String, _)| (Step::Field(name.clone()), value);
                Some(members.map(part).collect())
            }
            (Self::Keyed(keyed), Value::Array(items)) => {
                let part = |item| keyed.step(item).map(|step| (step, item));
                Some(items.iter().filter_map(part).collect())
            }
            (Self::Set, Value::Array(items)) => {
                let part = |item: &Value| Step::Value(item.to_string());
                Some(items.iter().map(|item| (part(item), item)).collect())
            }
            _ => None,
        }
    }

    /// Returns the parts of a value by their steps, none for an absent value; `None` if the value
    /// is owned as a whole.
    fn parts_of(self, value: Option<&Value>) -> Option<BTreeMap<Step, &Value>> {
        match value {
            None => Some(BTreeMap::new()),
            Some(value) => Some(self.parts(value)?.into_iter().collect()),
        }
    }
}

impl Keyed {
    /// Returns the step of an item: its keys, or their defaults. `None` if it has none of them.
    pub(super) fn step(self, item: &Value) -> Option<Step> {
        let key = |name: &'static str| {
            let field = self.fields.get(name)?;
            let default = field.default.as_ref();
            let used = default.filter(|default| **default != "" && **default != 0);
            let value = item.get(name).or(used)?;
            Some((name.to_owned(), value.clone()))
        };
        let keys: Map<String, Value> = self.keys.iter().filter_map(|name| key(name)).collect();
        (item.is_object() && !keys.is_empty()).then(|| Step::Key(Value::Object(keys).to_string()))
    }
}

/// Returns the object of a message as Go makes it before anything is set: structs in it exist.
pub(super) fn zero(message: &str) -> Value {
    let fields = table::message(message).into_iter().flatten();
    let members = fields.filter_map(|(name, field)| {
        let default = field.default.as_ref()?;
        let value = match &field.of {
            Type::Ref(of) => zero(of),
            _ => default.clone(),
        };
        Some((name.to_string(), value))
    });
    Value::Object(members.collect())
}

/// Returns the fields of a value that its manager owns.
pub(super) fn field_set(shape: Shape, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    collect(shape, value, &mut Vec::new(), &mut set);
    set
}

fn collect(shape: Shape, value: &Value, path: &mut Vec<Step>, set: &mut FieldSet) {
    let Some(parts) = shape.parts(value) else {
        return set.insert(path);
    };
    for (step, part) in parts {
        let below = shape.behind(&step);
        path.push(step);
        collect(below, part, path, set);
        // The fields of a struct are not owned themselves, unless nothing is in them.
        let empty = part.as_object().is_some_and(Map::is_empty);
        if empty || !matches!(shape, Shape::Struct(_)) {
            set.insert(path);
        }
        path.pop();
    }
}

/// The fields in which two objects differ.
#[derive(Clone, Debug, Default)]
pub(super) struct Comparison {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

impl Comparison {
    pub(super) fn of(shape: Shape, old: &Value, new: &Value) -> Self {
        let mut comparison = Self::default();
        comparison.walk(shape, Some(old), Some(new), &mut Vec::new());
        comparison
    }

    /// Returns the fields that the new object sets.
    pub(super) fn set(&self) -> FieldSet {
        self.added.union(&self.modified)
    }

    /// Returns the differences in the top-level fields that are kept.
    pub(super) fn filter(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self {
            added: self.added.filter(&keep),
            modified: self.modified.filter(&keep),
            removed: self.removed.filter(&keep),
        }
    }

    fn walk(
        &mut self,
        shape: Shape,
        old: Option<&Value>,
        new: Option<&Value>,
        path: &mut Vec<Step>,
    ) {
        let parts = (shape.parts_of(old), shape.parts_of(new));
        let (Some(old_parts), Some(new_parts)) = parts else {
            return self.leaf(old, new, path);
        };
        if old_parts.is_empty() && new_parts.is_empty() {
            return self.leaf(old, new, path);
        }

        let steps: BTreeSet<&Step> = old_parts.keys().chain(new_parts.keys()).collect();
        for step in steps {
            let (old, new) = (old_parts.get(step), new_parts.get(step));
            path.push(step.clone());
            self.walk(shape.behind(step), old.copied(), new.copied(), path);
            path.pop();
        }
        match (old, new) {
            (None, Some(_)) => self.added.insert(path),
            (Some(_), None) => self.removed.insert(path),
            _ => {}
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>, path: &[Step]) {
        match (old, new) {
            (None, Some(_)) => self.added.insert(path),
            (Some(_), None) => self.removed.insert(path),
            (Some(old), Some(new)) if old != new => self.modified.insert(path),
            _ => {}
        }
    }
}

/// Merges an applied value into the live one.
pub(super) fn merge(shape: Shape, live: Option<&Value>, applied: &Value) -> Value {
    let Some(live) = live else {
        return applied.clone();
    };
    match (shape, live, applied) {
        (Shape::Struct(_) | Shape::Map, Value::Object(known), Value::Object(new)) => {
            let mut merged = known.clone();
            for (name, value) in new {
                let below = shape.behind(&Step::Field(name.clone()));
                let value = merge(below, known.get(name), value);
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Shape::Keyed(_) | Shape::Set, Value::Array(_), Value::Array(_)) => {
            let (Some(known), Some(new)) = (shape.parts(live), shape.parts(applied)) else {
                return applied.clone();
            };
            merge_items(shape, &known, &new)
        }
        _ => applied.clone(),
    }
}

/// Merges the items of two lists. Applied items keep their order, and live ones that are not
/// applied their place among the live ones, as on a real API server.
fn merge_items(shape: Shape, live: &[(Step, &Value)], applied: &[(Step, &Value)]) -> Value {
    let known: BTreeMap<&Step, &Value> = live.iter().map(|(step, value)| (step, *value)).collect();
    let claimed: BTreeSet<&Step> = applied.iter().map(|(step, _value)| step).collect();
    let merged = |step: &Step, new| merge(shape.behind(step), known.get(step).copied(), new);

    // The applied items that are live too, from the next one on.
    let mut shared = applied.iter().map(|(step, _value)| step);
    let mut next_shared = || shared.find(|step| known.contains_key(step));
    let mut next = next_shared();

    let (mut at_live, mut at_applied) = (0, 0);
    let mut done = BTreeSet::new();
    let mut items = Vec::new();
    loop {
        match (live.get(at_live), applied.get(at_applied)) {
            (None, None) => return Value::Array(items),
            (Some((of, _old)), Some((step, new))) if of == step => {
                items.push(merged(step, new));
                done.insert(step);
                (at_live, at_applied) = (at_live + 1, at_applied + 1);
                next = next_shared();
            }
            // Its turn is a later one.
            (Some((of, _old)), Some(_))
                if claimed.contains(of) && next.is_some_and(|n| n != of) =>
            {
                at_live += 1;
            }
            (Some((of, old)), _) if !claimed.contains(of) => {
                items.push((*old).clone());
                at_live += 1;
            }
            (old, new) => {
                at_live += usize::from(old.is_some_and(|(of, _old)| done.contains(of)));
                let Some((step, new)) = new else { continue };
                items.push(merged(step, new));
                done.insert(step);
                at_applied += 1;
                if next == Some(step) {
                    next = next_shared();
                }
            }
        }
    }
}

/// Removes fields from a value.
pub(super) fn remove(shape: Shape, value: &mut Value, gone: &FieldSet) {
    match (shape, value) {
        (Shape::Struct(_) | Shape::Map, Value::Object(members)) => {
            members.retain(|name, value| {
                let step = Step::Field(name.clone());
                keep(shape, &step, value, gone)
            });
        }
        (Shape::Keyed(keyed), Value::Array(items)) => {
            items.retain_mut(|item| match keyed.step(item) {
                Some(step) => keep(shape, &step, item, gone),
                None => true,
            });
        }
        (Shape::Set, Value::Array(items)) => {
            items.retain(|item| !gone.has(&Step::Value(item.to_string())));
        }
        _ => {}
    }
}

/// Returns false if the part of a value is removed; otherwise removes what is below it.
fn keep(shape: Shape, step: &Step, part: &mut Value, gone: &FieldSet) -> bool {
    if gone.has(step) {
        return false;
    }
    if let Some(below) = gone.below(step) {
        remove(shape.behind(step), part, below);
    }
    true
}

/// Returns the set with the fields of structs that have members below them as members too.
pub(super) fn with_structs(shape: Shape, set: &FieldSet) -> FieldSet {
    set.with_parents(shape, &|shape: Shape, step: &Step| {
        (matches!(shape, Shape::Struct(_)), shape.behind(step))
    })
}
