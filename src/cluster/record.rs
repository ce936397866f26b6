//! Objects as they are stored: the JSON of the object with its `resourceVersion`, built once per
//! write.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::objects::{Key, Kind, Meta, RawObject, Revision};

/// The members of a JSON object in the order of their names, their values as they came.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// First byte of a stored value: the version of the record's form.
const VERSION: u8 = b'1';

/// Where the objects are in the store.
pub(super) const OBJECTS: &str = "cluster/object/";

/// The object with `metadata.resourceVersion` set. Members are sorted by name, so that equal
/// objects are equal bytes.
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

/// The object of these bytes.
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

/// The key of an object in the store.
pub(super) fn store_key(key: &Key) -> String {
    format!(
        "{OBJECTS}{}/{}/{}",
        key.kind.plural(),
        key.namespace,
        key.name
    )
}

/// The value of an object in the store.
pub(super) fn store_value(object: &RawObject) -> Vec<u8> {
    let mut value = Vec::with_capacity(object.body.len().saturating_add(1));
    value.push(VERSION);
    value.extend_from_slice(&object.body);
    value
}

/// The object of a pair of the store; `None` when it cannot be read (damaged, or written by a later
/// version).
pub(super) fn load(key: &str, value: Vec<u8>) -> Option<RawObject> {
    let plural = key.strip_prefix(OBJECTS)?.split('/').next()?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.plural() == plural)?;
    let value = Bytes::from(value);
    if value.first() != Some(&VERSION) {
        return None;
    }
    let object = decode(kind, value.slice(1..)).ok()?;
    (store_key(&object.key) == key).then_some(object)
}
