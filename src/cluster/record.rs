//! Stored objects: the JSON of the object with its `resourceVersion`, built once for each write.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    objects::{Key, Kind, Meta, RawObject, Revision},
    store::Area,
};

/// The members of a JSON object in the order of their names, with the text of their values.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// The first byte of a stored value: the version of the format.
const VERSION: u8 = b'1';

/// The prefix of the store's keys of objects.
pub(super) const OBJECTS: &str = "cluster/object/";

/// The areas of the cluster's records in the store that differ from [`Area::PLAIN`].
pub const AREAS: &[Area] = &[Area {
    prefix: "cluster/object/secrets/",
    sealed: true,
    ..Area::PLAIN
}];

/// Returns the object of `body` with `metadata.resourceVersion` set. Sorts members by name, so that
/// equal objects are equal bytes.
pub(super) fn stamp(
    kind: Kind,
    body: &[u8],
    revision: Revision,
) -> Result<RawObject, serde_json::Error> {
    let version = RawValue::from_string(format!("\"{}\"", revision.0))?;
    let mut members: Members<'_> = serde_json::from_slice(body)?;
    let mut meta: Members<'_> = match members.get("metadata") {
        Some(metadata) => serde_json::from_str(metadata.get())?,
        None => Members::new(),
    };
    meta.insert("resourceVersion".to_owned(), &version);
    let metadata = RawValue::from_string(serde_json::to_string(&meta)?)?;
    members.insert("metadata".to_owned(), &metadata);
    decode(kind, serde_json::to_vec(&members)?.into())
}

/// Parses an object. Keeps `body` as it is.
pub(super) fn decode(kind: Kind, body: Bytes) -> Result<RawObject, serde_json::Error> {
    #[derive(Deserialize)]
    struct Envelope {
        metadata: Meta,
    }

    let Envelope { metadata: meta } = serde_json::from_slice(&body)?;
    let key = Key {
        kind,
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
    };
    Ok(RawObject { key, meta, body })
}

/// Returns the key of an object in the store.
pub(super) fn store_key(key: &Key) -> String {
    format!(
        "{OBJECTS}{}/{}/{}",
        key.kind.plural(),
        key.namespace,
        key.name
    )
}

/// Returns the value of an object in the store.
pub(super) fn store_value(object: &RawObject) -> Vec<u8> {
    let mut value = Vec::with_capacity(object.body.len().saturating_add(1));
    value.push(VERSION);
    value.extend_from_slice(&object.body);
    value
}

/// Returns the object of a record of the store; `None` if the record is none.
pub fn stored_object(key: &str, value: Vec<u8>) -> Option<serde_json::Value> {
    serde_json::from_slice(&load(key, &value.into())?.body).ok()
}

/// Returns the object of a key and a value of the store; `None` if it is damaged or in the format
/// of a later version.
pub(super) fn load(key: &str, value: &Bytes) -> Option<RawObject> {
    let plural = key.strip_prefix(OBJECTS)?.split('/').next()?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.plural() == plural)?;
    if value.first() != Some(&VERSION) {
        return None;
    }
    let object = decode(kind, value.slice(1..)).ok()?;
    (store_key(&object.key) == key).then_some(object)
}
