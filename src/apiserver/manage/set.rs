//! Sets of fields, and their form in `managedFields`: `FieldsV1`.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value};

/// The limit of nested fields in `FieldsV1`; the kinds have fewer.
const MAX_DEPTH: usize = 32;

/// A step of the path of a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A member of an object.
    Field(String),
    /// The item of a list that has these keys, as JSON.
    Key(String),
    /// The item of a list that is this value, as JSON.
    Value(String),
    /// The item of a list at an index.
    Index(usize),
}

impl Step {
    fn parse(text: &str) -> Option<Self> {
        let canonical = |json: &str| serde_json::from_str::<Value>(json).ok();
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Self::Field(rest.to_owned())),
            "k" => canonical(rest)
                .filter(Value::is_object)
                .map(|keys| Self::Key(keys.to_string())),
            "v" => canonical(rest).map(|value| Self::Value(value.to_string())),
            "i" => rest.parse().ok().map(Self::Index),
            _ => None,
        }
    }

    fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => format!("k:{keys}"),
            Self::Value(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, "[{}]", keys.join(","))
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A set of fields as a tree. Fields and the fields in them are members independently: the item of
/// a list can belong to one manager and a field of the item to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSet(BTreeMap<Step, Node>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    inner: FieldSet,
}

/// `FieldsV1` that cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fields are damaged")]
pub(super) struct Damaged;

impl FieldSet {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the field at a path; the empty path adds nothing.
    pub(super) fn insert(&mut self, path: &[Step]) {
        let Some((last, parents)) = path.split_last() else {
            return;
        };
        let mut set = self;
        for step in parents {
            set = &mut set.0.entry(step.clone()).or_default().inner;
        }
        set.0.entry(last.clone()).or_default().member = true;
    }

    /// Returns true if the field of one step is a member.
    pub(super) fn has(&self, step: &Step) -> bool {
        self.0.get(step).is_some_and(|node| node.member)
    }

    /// Returns the members below a field.
    pub(super) fn below(&self, step: &Step) -> Option<&Self> {
        let inner = &self.0.get(step)?.inner;
        (!inner.is_empty()).then_some(inner)
    }

    /// Returns the fields in either set.
    pub(super) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (step, node) in &other.0 {
            let known = all.0.entry(step.clone()).or_default();
            known.member |= node.member;
            known.inner = known.inner.union(&node.inner);
        }
        all
    }

    /// Returns the fields in both sets.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        self.combine(|step, node| {
            let same = other.0.get(step)?;
            Some(Node {
                member: node.member && same.member,
                inner: node.inner.intersection(&same.inner),
            })
        })
    }

    /// Returns the fields that are not in the other set. Fields below its members stay.
    pub(super) fn difference(&self, other: &Self) -> Self {
        self.combine(|step, node| match other.0.get(step) {
            None => Some(node.clone()),
            Some(gone) => Some(Node {
                member: node.member && !gone.member,
                inner: node.inner.difference(&gone.inner),
            }),
        })
    }

    /// Returns the fields whose first step is kept, with all below them.
    pub(super) fn filter(&self, keep: impl Fn(&str) -> bool) -> Self {
        self.combine(|step, node| match step {
            Step::Field(name) if !keep(name) => None,
            _ => Some(node.clone()),
        })
    }

    /// Returns the set with each node replaced, and without empty nodes.
    fn combine(&self, replace: impl Fn(&Step, &Node) -> Option<Node>) -> Self {
        let nodes = self.0.iter().filter_map(|(step, node)| {
            let node = replace(step, node)?;
            (node.member || !node.inner.is_empty()).then(|| (step.clone(), node))
        });
        Self(nodes.collect())
    }

    /// Returns the set with more members: the fields with members below them that `named` selects.
    /// `named` returns true for such a field, and how to go on below it.
    pub(super) fn with_parents<C: Copy>(
        &self,
        context: C,
        named: &impl Fn(C, &Step) -> (bool, C),
    ) -> Self {
        self.combine(|step, node| {
            let (is_named, below) = named(context, step);
            Some(Node {
                member: node.member || (is_named && !node.inner.is_empty()),
                inner: node.inner.with_parents(below, named),
            })
        })
    }

    /// Returns the paths of all members as text: `.spec.ports[port=80,protocol="TCP"].name`. On
    /// each level the members come before what is below them, as on a real API server.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &str, paths: &mut Vec<String>) {
        let members = self.0.iter().filter(|(_step, node)| node.member);
        paths.extend(members.map(|(step, _node)| format!("{prefix}{step}")));
        for (step, node) in &self.0 {
            node.inner.collect_paths(&format!("{prefix}{step}"), paths);
        }
    }

    /// Decodes `FieldsV1`.
    pub(super) fn decode(fields: &Value) -> Result<Self, Damaged> {
        Ok(Self::decode_node(fields, 0)?.inner)
    }

    fn decode_node(fields: &Value, depth: usize) -> Result<Node, Damaged> {
        let members = fields.as_object().ok_or(Damaged)?;
        if depth > MAX_DEPTH {
            return Err(Damaged);
        }

        let mut node = Node {
            member: members.is_empty() || members.contains_key("."),
            inner: Self::default(),
        };
        for (name, below) in members.iter().filter(|(name, _below)| *name != ".") {
            let step = Step::parse(name).ok_or(Damaged)?;
            node.inner
                .0
                .insert(step, Self::decode_node(below, depth + 1)?);
        }
        Ok(node)
    }

    /// Encodes the set as `FieldsV1`.
    pub(super) fn encode(&self) -> Value {
        let members = self.0.iter().map(|(step, node)| {
            let mut below = node.inner.encode();
            if let Some(below) = below.as_object_mut()
                && node.member
                && !below.is_empty()
            {
                below.insert(".".to_owned(), Value::Object(Map::new()));
            }
            (step.encode(), below)
        });
        Value::Object(members.collect())
    }
}
