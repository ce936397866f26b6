//! The entries of `managedFields`: which manager owns which fields.

use std::fmt;

use serde_json::{Map, Value, json};

use super::set::FieldSet;

/// The most managers by updates of an object. The oldest ones beyond it become one entry.
const MAX_UPDATERS: usize = 10;

/// The manager of the fields of the oldest updaters.
const ANCIENT: &str = "ancient-changes";

/// The operation by which a manager owns fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// A manager of fields of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manager {
    pub(super) name: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    /// The subresource through which it writes; empty for the object itself.
    pub(super) subresource: String,
}

impl Manager {
    /// Returns true for the same manager. An applier has one entry for all versions.
    pub(super) fn is(&self, other: &Self) -> bool {
        let version = self.operation == Operation::Apply || self.api_version == other.api_version;
        version
            && (&self.name, self.operation, &self.subresource)
                == (&other.name, other.operation, &other.subresource)
    }
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {:?}", self.subresource)?;
        }
        match self.operation {
            Operation::Apply => Ok(()),
            Operation::Update => write!(f, " using {}", self.api_version),
        }
    }
}

/// An entry of `managedFields`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) manager: Manager,
    /// The time of the last change by the manager; empty if it made none.
    pub(super) time: String,
    pub(super) fields: FieldSet,
}

/// All entries of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries(pub(super) Vec<Entry>);

impl Entries {
    /// Decodes the `managedFields` of an object; `None` if an entry is damaged.
    pub(super) fn decode(object: &Value) -> Option<Self> {
        let listed = object["metadata"]["managedFields"].as_array();
        let entries: Option<Vec<Entry>> = listed.into_iter().flatten().map(decode).collect();
        entries.map(Self)
    }

    /// Puts the entries into the metadata of an object.
    pub(super) fn encode(mut self, object: &mut Value) {
        self.0.sort_by(|a, b| {
            let (one, other) = (&a.manager, &b.manager);
            let order = |entry: &Entry, manager: &Manager| {
                (manager.operation, entry.time.clone(), manager.name.clone())
            };
            order(a, one)
                .cmp(&order(b, other))
                .then_with(|| one.api_version.cmp(&other.api_version))
                .then_with(|| one.subresource.cmp(&other.subresource))
        });

        let Some(metadata) = object["metadata"].as_object_mut() else {
            return;
        };
        match self.0.is_empty() {
            true => metadata.remove("managedFields"),
            false => {
                let entries = self.0.iter().map(encode).collect();
                metadata.insert("managedFields".to_owned(), entries)
            }
        };
    }

    /// Returns the entry of a manager.
    pub(super) fn find(&self, manager: &Manager) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.manager.is(manager))
    }

    /// Adds an entry, or replaces that of the same manager. Keeps no empty entry.
    pub(super) fn put(&mut self, entry: Entry) {
        self.0.retain(|known| !known.manager.is(&entry.manager));
        if !entry.fields.is_empty() {
            self.0.push(entry);
        }
    }

    /// Takes fields from every manager but one.
    pub(super) fn take(&mut self, fields: &FieldSet, keeper: Option<&Manager>) {
        for entry in &mut self.0 {
            if !keeper.is_some_and(|keeper| entry.manager.is(keeper)) {
                entry.fields = entry.fields.difference(fields);
            }
        }
        self.0.retain(|entry| !entry.fields.is_empty());
    }

    /// Returns the fields that any manager owns.
    pub(super) fn owned(&self) -> FieldSet {
        let all = self.0.iter();
        all.fold(FieldSet::default(), |owned, entry| {
            owned.union(&entry.fields)
        })
    }

    /// Makes one entry of the oldest updaters if there are too many.
    pub(super) fn bound(&mut self) {
        let is_update = |entry: &Entry| entry.manager.operation == Operation::Update;
        let mut surplus = self.0.iter().filter(|entry| is_update(entry)).count();
        if surplus <= MAX_UPDATERS {
            return;
        }
        surplus -= MAX_UPDATERS;

        self.0
            .sort_by(|a, b| (&a.time, &a.manager.name).cmp(&(&b.time, &b.manager.name)));
        // The first one becomes the entry that the others are added to.
        let mut ancient: Option<Entry> = None;
        self.0.retain(|entry| {
            if !is_update(entry) || surplus == 0 {
                return true;
            }
            match &mut ancient {
                None => ancient = Some(entry.clone()),
                Some(ancient) => {
                    ancient.fields = ancient.fields.union(&entry.fields);
                    ancient.time.clone_from(&entry.time);
                    surplus -= 1;
                }
            }
            false
        });
        if let Some(mut entry) = ancient {
            ANCIENT.clone_into(&mut entry.manager.name);
            entry.manager.subresource.clear();
            self.0.push(entry);
        }
    }
}

fn decode(entry: &Value) -> Option<Entry> {
    let text = |member: &str| entry[member].as_str().unwrap_or_default().to_owned();
    let operation = match text("operation").as_str() {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return None,
    };
    if text("fieldsType") != "FieldsV1" || text("apiVersion").is_empty() {
        return None;
    }

    let fields = &entry["fieldsV1"];
    Some(Entry {
        manager: Manager {
            name: text("manager"),
            operation,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
        },
        time: text("time"),
        fields: match fields {
            Value::Null => FieldSet::default(),
            fields => FieldSet::decode(fields).ok()?,
        },
    })
}

fn encode(entry: &Entry) -> Value {
    let manager = &entry.manager;
    let mut encoded: Map<String, Value> = Map::new();
    for (member, text) in [
        ("manager", &*manager.name),
        ("operation", manager.operation.name()),
        ("apiVersion", &manager.api_version),
        ("subresource", &manager.subresource),
        ("time", &entry.time),
    ] {
        if !text.is_empty() {
            encoded.insert(member.to_owned(), text.into());
        }
    }
    encoded.insert("fieldsType".to_owned(), json!("FieldsV1"));
    encoded.insert("fieldsV1".to_owned(), entry.fields.encode());
    Value::Object(encoded)
}
