//! The state machine: decides whether the expectation of a write holds, assigns revisions, and
//! keeps objects and history. It uses no clock and no disk: the same writes give the same state.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{record, ring::Ring};
use crate::objects::{
    Change, Committed, Key, Kind, Op, Proposal, ProposeError, RawObject, Revision, Snapshot,
};

type Names = BTreeMap<(Arc<str>, Arc<str>), Arc<RawObject>>;

/// All objects of a kind and their history.
#[derive(Debug)]
struct Shelf {
    objects: Names,
    ring: Ring,
}

/// The objects of all kinds at one revision, and their recent history.
#[derive(Debug)]
pub(super) struct Machine {
    revision: Revision,
    shelves: Vec<Shelf>,
}

impl Machine {
    /// Makes a machine with these objects, whose history begins at `start` and keeps `ring` changes
    /// of each kind.
    pub(super) fn new(
        start: Revision,
        ring: usize,
        objects: impl IntoIterator<Item = RawObject>,
    ) -> Self {
        // All of a kind at once, which is sooner than one after another.
        let mut named = Kind::ALL.map(|_kind| Vec::new());
        for object in objects {
            let name = (object.key.namespace.clone(), object.key.name.clone());
            named[object.key.kind as usize].push((name, Arc::new(object)));
        }

        let shelf = |(kind, named): (Kind, Vec<_>)| Shelf {
            objects: named.into_iter().collect(),
            ring: Ring::new(start, ring.min(max_changes(kind))),
        };
        Self {
            revision: start,
            shelves: Kind::ALL.into_iter().zip(named).map(shelf).collect(),
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn object(&self, key: &Key) -> Option<&Arc<RawObject>> {
        self.shelf(key.kind)
            .objects
            .get(&(key.namespace.clone(), key.name.clone()))
    }

    pub(super) fn count(&self, kind: Kind) -> usize {
        self.shelf(kind).objects.len()
    }

    pub(super) fn ring(&self, kind: Kind) -> &Ring {
        &self.shelf(kind).ring
    }

    pub(super) fn snapshot(&self, kind: Kind, namespace: Option<&str>) -> Snapshot {
        let objects = &self.shelf(kind).objects;
        let items = match namespace {
            None => objects.values().cloned().collect(),
            Some(namespace) => {
                let from: (Arc<str>, Arc<str>) = (namespace.into(), "".into());
                let in_it = objects
                    .range(from..)
                    .take_while(|((of, _name), _object)| &**of == namespace);
                in_it.map(|(_name, object)| object.clone()).collect()
            }
        };
        Snapshot {
            revision: self.revision,
            items,
        }
    }

    /// Applies changes that were planned on this very state.
    pub(super) fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            debug_assert!(change.revision > self.revision);
            self.revision = change.revision;
            let key = &change.object.key;
            let name = (key.namespace.clone(), key.name.clone());
            let shelf = self.shelf_mut(key.kind);
            if change.deleted {
                shelf.objects.remove(&name);
            } else {
                shelf.objects.insert(name, change.object.clone());
            }
            shelf.ring.push(change);
        }
    }

    fn shelf(&self, kind: Kind) -> &Shelf {
        &self.shelves[kind as usize]
    }

    fn shelf_mut(&mut self, kind: Kind) -> &mut Shelf {
        &mut self.shelves[kind as usize]
    }
}

/// Returns the most changes that the history of a kind keeps. Each holder of a Lease renews it
/// every few seconds, and watchers need the newest state only.
fn max_changes(kind: Kind) -> usize {
    const LEASES: usize = 256;
    match kind {
        Kind::Lease => LEASES,
        _ => super::ring::MAX_CHANGES,
    }
}

/// Changes planned on top of a machine, which does not change until they are stored.
#[derive(Debug)]
pub(super) struct Plan<'m> {
    machine: &'m Machine,
    revision: Revision,
    /// The objects after the planned changes; `None` for a deleted one.
    overlay: HashMap<Key, Option<Arc<RawObject>>>,
    changes: Vec<Change>,
}

impl<'m> Plan<'m> {
    pub(super) fn new(machine: &'m Machine) -> Self {
        Self {
            machine,
            revision: machine.revision,
            overlay: HashMap::new(),
            changes: Vec::new(),
        }
    }

    /// Plans one write, or returns the reason why it is refused. A write that changes nothing keeps
    /// the revision.
    pub(super) fn step(&mut self, proposal: Proposal) -> Result<Committed, ProposeError> {
        let Proposal { key, op } = proposal;
        let known = match self.overlay.get(&key) {
            Some(planned) => planned.clone(),
            None => self.machine.object(&key).cloned(),
        };

        match op {
            Op::Create(body) => match known {
                Some(_) => Err(ProposeError::Exists(key)),
                None => self.put(key, &body, None),
            },
            Op::Update { expected, body } => {
                let (previous, at) = expect(&key, known, expected)?;
                let same = record::stamp(key.kind, &body, at).map_err(|error| malformed(&error))?;
                if same.body == previous.body {
                    return Ok(Committed {
                        revision: at,
                        object: previous,
                    });
                }

                self.put(key, &body, Some(previous))
            }
            Op::Delete { expected } => {
                let (previous, _at) = expect(&key, known, expected)?;
                let revision = self.next();
                let object = record::stamp(key.kind, &previous.body, revision)
                    .map_err(|error| malformed(&error))?;
                Ok(self.push(key, object, Some(previous), true))
            }
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    fn put(
        &mut self,
        key: Key,
        body: &[u8],
        previous: Option<Arc<RawObject>>,
    ) -> Result<Committed, ProposeError> {
        let object =
            record::stamp(key.kind, body, self.next()).map_err(|error| malformed(&error))?;
        if object.key != key {
            return Err(ProposeError::Malformed(
                format!("its metadata is that of {}, not of {key}", object.key).into(),
            ));
        }
        Ok(self.push(key, object, previous, false))
    }

    fn push(
        &mut self,
        key: Key,
        object: RawObject,
        previous: Option<Arc<RawObject>>,
        deleted: bool,
    ) -> Committed {
        let (revision, object) = (self.next(), Arc::new(object));
        self.revision = revision;
        self.overlay.insert(key, (!deleted).then(|| object.clone()));
        self.changes.push(Change {
            revision,
            object: object.clone(),
            previous,
            deleted,
        });
        Committed { revision, object }
    }

    fn next(&self) -> Revision {
        Revision(self.revision.0.saturating_add(1))
    }
}

/// Returns the object that a write is about and its revision, if it exists at the revision that the
/// write expects.
fn expect(
    key: &Key,
    known: Option<Arc<RawObject>>,
    expected: Option<Revision>,
) -> Result<(Arc<RawObject>, Revision), ProposeError> {
    let known = known.ok_or_else(|| ProposeError::NotFound(key.clone()))?;
    let at = Revision(known.meta.resource_version.parse().unwrap_or(0));
    match expected {
        Some(expected) if expected != at => Err(ProposeError::Conflict {
            key: key.clone(),
            expected,
            at,
        }),
        Some(_) | None => Ok((known, at)),
    }
}

fn malformed(error: &serde_json::Error) -> ProposeError {
    ProposeError::Malformed(error.to_string().into())
}
