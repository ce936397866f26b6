//! The table of messages and fields: `data/schema.json`, generated from Kubernetes' sources.

use std::{collections::HashMap, sync::OnceLock};

use serde::Deserialize;

/// The type of a field.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Type {
    String,
    Int32,
    Int64,
    Bool,
    /// Base64 in JSON.
    Bytes,
    IntOrString,
    Time,
    MicroTime,
    /// Any value, which is not checked.
    Any,
    /// A message of the table.
    Ref(Box<str>),
    List(Box<Self>),
    Map(Box<Self>),
}

/// The way in which server-side apply tells the items of a list apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ListType {
    /// By keys of the items.
    Map,
    /// By the items, which are scalars.
    Set,
}

/// A field of a message.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Field {
    #[serde(rename = "type")]
    pub(crate) of: Type,
    /// Its number in protobuf; two for a field of an inlined message. Empty for `kind` and
    /// `apiVersion`.
    #[serde(default)]
    pub(crate) number: Vec<u64>,
    /// `x-kubernetes-patch-merge-key`
    #[serde(default)]
    pub(crate) merge_key: Option<Box<str>>,
    /// `x-kubernetes-patch-strategy`
    #[serde(default)]
    pub(crate) strategy: Box<str>,
    /// `x-kubernetes-list-type`; absent for a list that is atomic.
    #[serde(default)]
    pub(crate) list_type: Option<ListType>,
    /// `x-kubernetes-list-map-keys`
    #[serde(default)]
    pub(crate) list_keys: Vec<Box<str>>,
    /// `x-kubernetes-map-type: atomic` of the field, or of each item of a list.
    #[serde(default)]
    pub(crate) atomic: bool,
    /// `default`: that of a scalar which is always written, or an empty object for a struct that
    /// always exists.
    #[serde(default)]
    pub(crate) default: Option<serde_json::Value>,
    /// True for a list or map that is written even when it is empty.
    #[serde(default)]
    pub(super) kept: bool,
    /// True for a field that is not a pointer in Go: an empty value means that it is absent.
    #[serde(default)]
    pub(super) plain: bool,
    /// Go's name for the type of a text, where it is not `string`: `v1.Protocol`.
    #[serde(default)]
    pub(super) go: Option<Box<str>>,
}

/// The fields of a message, by their JSON names.
pub(crate) type Message = HashMap<Box<str>, Field>;

/// Returns a message of the table. Each kind but Node has a message of its own name.
pub(crate) fn message(name: &str) -> Option<&'static Message> {
    static TABLE: OnceLock<HashMap<Box<str>, Message>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        serde_json::from_str(include_str!("../data/schema.json"))
            .expect("the table is made by a script and tested")
    });
    table.get(name)
}

/// Appends a member to the path of a field.
pub(super) fn push(path: &mut String, member: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(member);
}
