//! The local copy of a real cluster's objects, from which a start without its API server serves.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    objects::{Event, Key, Kind, ObjectError, RawObject},
    store::{Area, Batch, Store, StoreError},
    util::parallel,
};

/// Prefix of the copy's keys in the store.
const AREA: &str = "cache/";

/// The areas of the copies in the store: the cluster has the originals.
pub(crate) const AREAS: &[Area] = &[
    Area {
        prefix: AREA,
        mirrored: false,
        ..Area::PLAIN
    },
    Area {
        prefix: "cache/secrets/",
        mirrored: false,
        sealed: true,
        ..Area::PLAIN
    },
];

/// Follows events, and keeps track of the difference to the copy in the store.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// The objects in the store, by a hash of the body.
    stored: HashMap<Key, u64>,
    /// The objects that differ from the store; `None` for one that is deleted.
    dirty: HashMap<Key, Option<Arc<RawObject>>>,
}

impl Cache {
    /// Reads the copy as one reset for each of its kinds. Objects that cannot be parsed are left
    /// out.
    pub(crate) fn load(store: &dyn Store) -> Result<(Self, Vec<Event>), StoreError> {
        let mut cache = Self::default();
        let mut events = Vec::new();

        for kind in Kind::WATCHED.into_iter().chain([Kind::Pod]) {
            let stored: Vec<(String, Bytes)> = store
                .scan(&format!("{AREA}{}/", kind.plural()))?
                .into_iter()
                .map(|(name, body)| (name, body.into()))
                .collect();
            let parsed = parallel::map(&stored, |(_name, body)| {
                let object = RawObject::parse(kind, body.clone())?;
                let hash = hash(&object.body);
                Ok::<_, ObjectError>((Arc::new(object), hash))
            });

            let mut objects = Vec::with_capacity(stored.len());
            for ((name, _body), object) in stored.iter().zip(parsed) {
                match object {
                    Ok((object, hash)) => {
                        cache.stored.insert(object.key.clone(), hash);
                        objects.push(object);
                    }
                    Err(error) => {
                        tracing::warn!(
                            key = name,
                            %error,
                            "an object of the local copy cannot be read"
                        );
                    }
                }
            }

            if !objects.is_empty() {
                events.push(Event::Reset(kind, objects));
            }
        }

        Ok((cache, events))
    }

    /// Notes the changes of an event.
    pub(crate) fn observe(&mut self, event: &Event) {
        match event {
            Event::Apply(object) => self.put(object),
            Event::Delete(key) => self.remove(key),
            Event::Refused(_) | Event::PodsKnown(_) | Event::ConfigMapsKnown(_) => {}
            Event::Reset(kind, objects) => {
                let listed: HashSet<&Key> = objects.iter().map(|object| &object.key).collect();

                let known = self.stored.keys().chain(self.dirty.keys());
                let deleted: Vec<Key> = known
                    .filter(|key| key.kind == *kind && !listed.contains(key))
                    .cloned()
                    .collect();

                for key in deleted {
                    self.remove(&key);
                }
                for object in objects {
                    self.put(object);
                }
            }
        }
    }

    /// Returns whether the store is out of date.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Returns the batch that brings the store up to date.
    pub(crate) fn batch(&self) -> Batch {
        self.dirty
            .iter()
            .fold(Batch::new(), |batch, (key, object)| match object {
                Some(object) => batch.put(name(key), object.body.to_vec()),
                None => batch.delete(name(key)),
            })
    }

    /// Notes that the batch was committed.
    pub(crate) fn committed(&mut self) {
        for (key, object) in self.dirty.drain() {
            match object {
                Some(object) => self.stored.insert(key, hash(&object.body)),
                None => self.stored.remove(&key),
            };
        }
    }

    fn put(&mut self, object: &Arc<RawObject>) {
        if self.stored.get(&object.key) == Some(&hash(&object.body)) {
            self.dirty.remove(&object.key);
        } else {
            self.dirty.insert(object.key.clone(), Some(object.clone()));
        }
    }

    fn remove(&mut self, key: &Key) {
        if self.stored.contains_key(key) {
            self.dirty.insert(key.clone(), None);
        } else {
            self.dirty.remove(key);
        }
    }
}

fn name(key: &Key) -> String {
    format!("{AREA}{}/{}/{}", key.kind.plural(), key.namespace, key.name)
}

fn hash(body: &[u8]) -> u64 {
    let mut hash = DefaultHasher::new();
    body.hash(&mut hash);
    hash.finish()
}
