//! Field managers: which client owns which fields of an object (`metadata.managedFields`), and
//! server-side apply, which merges by them (k8s.io/apimachinery/pkg/util/managedfields).
//!
//! One schema table says how lists and objects are divided among managers: [`typed`].

mod check;
mod entries;
mod set;
#[cfg(test)]
mod tests;
mod typed;

use serde_json::{Value, json};

pub(crate) use self::check::Misfit;
use self::{
    entries::{Entries, Entry, Manager, Operation},
    set::{FieldSet, Step},
    typed::{Comparison, Shape},
};
use super::registry::Resource;
use crate::util::stamp;

/// The annotation in which a client-side `kubectl apply` keeps the object that it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The manager that takes over the fields of a client-side `kubectl apply`.
const KUBECTL: &str = "kubectl";

/// The manager of the fields of an object that had no managers before its first apply.
const BEFORE: &str = "before-first-apply";

/// Fields of `metadata` that identify an object and belong to no manager.
const UNOWNED: [&str; 8] = [
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The source of a write.
#[derive(Clone, Debug)]
pub(crate) struct Origin<'r> {
    /// The field manager: the query parameter, or the first word of the user agent.
    pub(crate) manager: String,
    pub(crate) resource: &'r Resource,
    pub(crate) subresource: Option<&'r str>,
}

/// A conflict of an apply with another manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The manager, with its version if it updates: `"kubectl-edit" using v1`.
    pub(crate) manager: String,
    /// The field: `.spec.ports[port=80,protocol="TCP"].name`.
    pub(crate) field: String,
}

/// Refuses an applied object that does not fit the schema of its resource.
pub(crate) fn check(resource: &Resource, applied: &Value) -> Result<(), Misfit> {
    let message = match resource.group {
        "events.k8s.io" => "events.Event",
        _ => resource.kind.name(),
    };
    check::check(message, applied)
}

impl Origin<'_> {
    /// Records an update: its manager owns the fields that it set, and no manager those that it
    /// removed. `old` is absent for a new object. An old object without managers stays without.
    pub(crate) fn update(&self, old: Option<&Value>, new: &mut Value) {
        let mut entries = self.base(old, new);
        remove_entries(new);
        if entries.0.is_empty() && old.is_some() {
            return;
        }

        let zero = typed::zero(self.message());
        self.record(&mut entries, old.unwrap_or(&zero), new);
        entries.bound();
        entries.encode(new);
    }

    /// Applies an object and returns the new one, or the conflicts with managers of fields that it
    /// would change. `live` is absent if there is no such object yet.
    pub(crate) fn apply(
        &self,
        live: Option<&Value>,
        applied: &Value,
        force: bool,
    ) -> Result<Value, Vec<Conflict>> {
        let result = self.merge(live, applied, force);
        let result = match (result, live) {
            (Err(conflicts), Some(live)) if self.manager == KUBECTL => {
                let taken = self.last_applied(live);
                let others: Vec<Conflict> = conflicts
                    .into_iter()
                    .filter(|conflict| !taken.contains(&conflict.field))
                    .collect();
                match others.is_empty() {
                    true => self.merge(Some(live), applied, true),
                    false => Err(others),
                }
            }
            (result, _) => result,
        };

        let mut new = result?;
        self.keep_last_applied(applied, &mut new);
        Ok(new)
    }

    fn message(&self) -> &'static str {
        self.resource.kind.name()
    }

    fn manager(&self, operation: Operation) -> Manager {
        Manager {
            name: self.manager.clone(),
            operation,
            api_version: self.resource.kind.api_version().to_owned(),
            subresource: self.subresource.unwrap_or_default().to_owned(),
        }
    }

    /// Returns true if writes on this path change a top-level field.
    fn covers(&self, field: &str) -> bool {
        match self.subresource {
            Some("status") => field == "status" || field == "metadata",
            _ => !(self.resource.status && field == "status"),
        }
    }

    /// Returns the entries that a write starts from: those that the client sends if they are sound,
    /// else those of the old object. An empty entry resets them.
    fn base(&self, old: Option<&Value>, new: &Value) -> Entries {
        let sent = &new["metadata"]["managedFields"];
        if self.subresource.is_none() && sent.is_array() {
            if *sent == json!([{}]) {
                return Entries::default();
            }
            if let Some(entries) = Entries::decode(new).filter(|entries| !entries.0.is_empty()) {
                return entries;
            }
        }
        old.and_then(Entries::decode).unwrap_or_default()
    }

    /// Gives the fields in which the objects differ to the manager of the update.
    fn record(&self, entries: &mut Entries, old: &Value, new: &Value) {
        let shape = Shape::of(self.message());
        let changes = Comparison::of(shape, old, new).filter(|field| self.covers(field));
        let set = changes.set();
        entries.take(&set.union(&changes.removed), None);

        let fields = set.difference(&unowned());
        if fields.is_empty() {
            return;
        }
        let manager = self.manager(Operation::Update);
        let known = entries.find(&manager).map(|entry| entry.fields.clone());
        entries.put(Entry {
            manager,
            time: stamp::now(),
            fields: fields.union(&known.unwrap_or_default()),
        });
    }

    /// Merges an applied object into the live one, without the fields that this manager applied
    /// before and no manager owns now.
    fn merge(
        &self,
        live: Option<&Value>,
        applied: &Value,
        force: bool,
    ) -> Result<Value, Vec<Conflict>> {
        let (shape, zero) = (Shape::of(self.message()), typed::zero(self.message()));
        let mut entries = live.and_then(Entries::decode).unwrap_or_default();
        let mut live = live.unwrap_or(&zero).clone();
        remove_entries(&mut live);
        if entries.0.is_empty() {
            let before = Origin {
                manager: BEFORE.to_owned(),
                ..self.clone()
            };
            before.record(&mut entries, &zero, &live);
        }

        let manager = self.manager(Operation::Apply);
        let last = entries.find(&manager).cloned();
        let last_time = last.as_ref().map(|entry| entry.time.clone());
        let owned = typed::field_set(shape, applied).filter(|field| self.covers(field));
        entries.put(Entry {
            manager: manager.clone(),
            time: last_time.unwrap_or_default(),
            fields: owned.difference(&unowned()),
        });

        let mut new = typed::merge(shape, Some(&live), applied);
        if let Some(last) = last {
            let dropped = typed::with_structs(shape, &last.fields);
            let kept = typed::with_structs(shape, &entries.owned().union(&owned));
            typed::remove(shape, &mut new, &dropped.difference(&kept));
        }

        let changes = Comparison::of(shape, &live, &new).filter(|field| self.covers(field));
        let conflicts = conflicts(&entries, &manager, &changes.set());
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        entries.take(&changes.set().union(&changes.removed), Some(&manager));
        if new != live {
            for entry in entries
                .0
                .iter_mut()
                .filter(|entry| entry.manager.is(&manager))
            {
                entry.time = stamp::now();
            }
        }
        entries.encode(&mut new);
        Ok(new)
    }

    /// Returns the fields that a client-side `kubectl apply` set, and that still have its values.
    fn last_applied(&self, live: &Value) -> Vec<String> {
        let Some(applied) = annotation(live).and_then(|text| serde_json::from_str(text).ok())
        else {
            return Vec::new();
        };
        let shape = Shape::of(self.message());
        let changes = Comparison::of(shape, &applied, live);
        let changed = changes.set().union(&changes.removed);
        typed::field_set(shape, &applied)
            .difference(&changed)
            .paths()
    }

    /// Keeps the annotation of a client-side `kubectl apply` up to date, so that it can be used
    /// again.
    fn keep_last_applied(&self, applied: &Value, new: &mut Value) {
        if self.manager != KUBECTL || annotation(new).is_none_or(str::is_empty) {
            return;
        }
        let mut applied = applied.clone();
        if let Some(annotations) = applied["metadata"]["annotations"].as_object_mut() {
            annotations.remove(LAST_APPLIED);
        }
        if applied["metadata"]["annotations"].is_null()
            && let Some(metadata) = applied["metadata"].as_object_mut()
        {
            metadata.remove("annotations");
        }
        new["metadata"]["annotations"][LAST_APPLIED] = format!("{applied}\n").into();
    }
}

fn annotation(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][LAST_APPLIED].as_str()
}

/// Returns the fields of other managers that an apply would change.
fn conflicts(entries: &Entries, applier: &Manager, changed: &FieldSet) -> Vec<Conflict> {
    let others = entries.0.iter().filter(|entry| !entry.manager.is(applier));
    let mut conflicts: Vec<Conflict> = others
        .flat_map(|entry| {
            let fields = entry.fields.intersection(changed).paths();
            let conflict = |field| Conflict {
                manager: entry.manager.to_string(),
                field,
            };
            fields.into_iter().map(conflict).collect::<Vec<_>>()
        })
        .collect();
    conflicts.sort_by(|a, b| a.manager.cmp(&b.manager));
    conflicts
}

/// Returns the fields that belong to no manager.
fn unowned() -> FieldSet {
    let field = |name: &str| Step::Field(name.to_owned());
    let mut set = FieldSet::default();
    for name in ["apiVersion", "kind", "metadata"] {
        set.insert(&[field(name)]);
    }
    for name in UNOWNED {
        set.insert(&[field("metadata"), field(name)]);
    }
    set
}

/// Removes the entries from an object.
fn remove_entries(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
}

/// Returns the name of the manager of a client that names none: its user agent up to the first
/// slash.
pub(crate) fn of_user_agent(agent: &str) -> String {
    const LIMIT: usize = 128;
    let name = agent.split('/').next().unwrap_or_default();
    name.chars()
        .filter(|c| !c.is_control())
        .take(LIMIT)
        .collect()
}
