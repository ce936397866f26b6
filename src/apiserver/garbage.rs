//! Deletes the dependents of deleted owners (`metadata.ownerReferences`), as the garbage collector
//! of a real cluster does (pkg/controller/garbagecollector).
//!
//! A deletion in the background removes the owner, and then its dependents. In the foreground it
//! marks the owner, which waits for its dependents; an orphaning one waits until none refers to it.

use std::{collections::HashSet, future::poll_fn, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Api,
    admit::finalizers,
    options::{DeleteOptions, Propagation},
    registry,
    request::Target,
    status::ApiError,
};
use crate::objects::{
    Change, Expired, Key, Kind, Op, Proposal, ProposeError, RawObject, Revision, Watcher,
};

/// The finalizer of an owner that waits for its dependents.
pub(super) const FOREGROUND: &str = "foregroundDeletion";

/// The finalizer of an owner that waits until no dependent refers to it.
pub(super) const ORPHAN: &str = "orphan";

/// The kinds whose objects can have dependents and be dependents. Events have neither, and a Node
/// is another object after each start.
const KINDS: [Kind; Kind::ALL.len() - 2] = kinds();

/// The time before another attempt after one that failed.
const RETRY: Duration = Duration::from_secs(5);

/// The pause before a pass, in which further changes gather.
const PAUSE: Duration = Duration::from_millis(20);

const fn kinds() -> [Kind; Kind::ALL.len() - 2] {
    let mut kinds = [Kind::Namespace; Kind::ALL.len() - 2];
    let (mut from, mut to) = (0, 0);
    while from < Kind::ALL.len() {
        let kind = Kind::ALL[from];
        if !matches!(kind, Kind::Event | Kind::Node) {
            kinds[to] = kind;
            to += 1;
        }
        from += 1;
    }
    kinds
}

/// An entry of `ownerReferences`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OwnerReference {
    api_version: String,
    kind: String,
    name: String,
    uid: String,
    block_owner_deletion: bool,
}

/// An object that has owners, or that waits for its dependents.
struct Item {
    object: Arc<RawObject>,
    body: Value,
    owners: Vec<OwnerReference>,
}

/// The state of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// The owner exists, or cannot be looked up here.
    Solid,
    /// It does not exist.
    Gone,
    /// It is being deleted in the foreground.
    Waiting,
}

impl Item {
    /// Parses an object; `None` for most objects, which have nothing to do with others.
    fn parse(object: &Arc<RawObject>) -> Option<Self> {
        if !is_relevant(&object.body) {
            return None;
        }
        let mut body: Value = serde_json::from_slice(&object.body).ok()?;
        let owners = body["metadata"]["ownerReferences"].clone();
        let owners: Vec<OwnerReference> = serde_json::from_value(owners).unwrap_or_default();
        let waits = finalizers(&body)
            .iter()
            .any(|finalizer| [FOREGROUND, ORPHAN].contains(finalizer));
        body["metadata"]["resourceVersion"].take();
        (waits || !owners.is_empty()).then(|| Self {
            object: object.clone(),
            body,
            owners,
        })
    }

    fn is_deleted(&self) -> bool {
        !self.object.meta.deletion_timestamp.is_empty()
    }

    /// Returns true if the object is being deleted and has this finalizer.
    fn waits(&self, finalizer: &str) -> bool {
        self.is_deleted() && finalizers(&self.body).contains(&finalizer)
    }

    fn is_owned_by(&self, uid: &str) -> bool {
        self.owners.iter().any(|owner| owner.uid == uid)
    }
}

/// Returns true if an object may have owners, or wait for its dependents.
fn is_relevant(body: &[u8]) -> bool {
    let has = |word: &str| memmem::find(body, word.as_bytes()).is_some();
    has("\"ownerReferences\"") || has("\"foregroundDeletion\"") || has("\"orphan\"")
}

impl Api {
    /// Deletes dependents as long as the server runs.
    pub(crate) async fn collect_garbage(&self) {
        loop {
            let from = self.view.revision();
            let collected = self.collect().await;
            if let Err(error) = &collected {
                tracing::warn!(%error, "cannot delete the dependents of a deleted object yet");
            }

            let watchers: Result<Vec<_>, Expired> = KINDS
                .map(|kind| self.view.watch(kind, from))
                .into_iter()
                .collect();
            let Ok(mut watchers) = watchers else { continue };
            tokio::select! {
                () = relevant_change(&mut watchers) => {}
                () = tokio::time::sleep(RETRY), if collected.is_err() => {}
            }
        }
    }

    /// Makes passes over all objects until one changes nothing.
    pub(crate) async fn collect(&self) -> Result<(), ApiError> {
        while self.pass().await? {}
        Ok(())
    }

    /// Makes each step that is due. Returns true if it made one.
    async fn pass(&self) -> Result<bool, ApiError> {
        let mut items: Vec<Item> = Vec::new();
        for kind in KINDS {
            let all = self.view.list(kind, None).items;
            items.extend(all.iter().filter_map(Item::parse));
        }

        let mut changed = false;
        for item in &items {
            changed |= self.step(item, &items).await?;
        }
        Ok(changed)
    }

    /// Makes the step that is due for one object. Returns true if there was one.
    async fn step(&self, item: &Item, items: &[Item]) -> Result<bool, ApiError> {
        let uid = &*item.object.meta.uid;
        let dependents = || items.iter().filter(|other| other.is_owned_by(uid));

        if item.waits(ORPHAN) {
            let mut changed = false;
            for dependent in dependents() {
                changed |= self.release(dependent, &HashSet::from([uid])).await?;
            }
            // The finalizer goes in the pass that finds no dependent.
            return match changed {
                true => Ok(true),
                false => self.unfinalize(item, ORPHAN).await,
            };
        }
        if item.waits(FOREGROUND) {
            let blocks = |owner: &OwnerReference| owner.uid == uid && owner.block_owner_deletion;
            return match dependents().any(|other| other.owners.iter().any(blocks)) {
                true => Ok(false),
                false => self.unfinalize(item, FOREGROUND).await,
            };
        }
        if item.is_deleted() || item.owners.is_empty() {
            return Ok(false);
        }

        let states: Vec<Owner> = item.owners.iter().map(|o| self.owner(item, o)).collect();
        if states.contains(&Owner::Solid) {
            let pairs = item.owners.iter().zip(&states);
            let gone: HashSet<&str> = pairs
                .filter(|(_owner, state)| **state != Owner::Solid)
                .map(|(owner, _state)| owner.uid.as_str())
                .collect();
            return match gone.is_empty() {
                true => Ok(false),
                false => self.release(item, &gone).await,
            };
        }

        let waited = states.contains(&Owner::Waiting) && dependents().next().is_some();
        let policy = match waited {
            true => Propagation::Foreground,
            false => Propagation::Background,
        };
        self.discard(item, policy).await
    }

    /// Returns the state of an owner. Owners of kinds that are not stored count as solid.
    fn owner(&self, item: &Item, owner: &OwnerReference) -> Owner {
        let kind = Kind::find(&owner.api_version, &owner.kind);
        let Some(kind) = kind.filter(|kind| KINDS.contains(kind) && *kind != Kind::Lease) else {
            return Owner::Solid;
        };
        let namespace = &item.object.key.namespace;
        // An object of the cluster cannot have an owner in a namespace.
        if kind.namespaced() && namespace.is_empty() {
            return Owner::Solid;
        }

        let found = self.view.get(&Key {
            kind,
            namespace: if kind.namespaced() {
                namespace.clone()
            } else {
                "".into()
            },
            name: owner.name.as_str().into(),
        });
        let Some(found) = found.filter(|found| *found.meta.uid == *owner.uid) else {
            return Owner::Gone;
        };
        let waits = Item::parse(&found).is_some_and(|found| found.waits(FOREGROUND));
        if waits { Owner::Waiting } else { Owner::Solid }
    }

    /// Deletes a dependent.
    async fn discard(&self, item: &Item, policy: Propagation) -> Result<bool, ApiError> {
        let key = &item.object.key;
        let target = Target {
            resource: registry::of(key.kind),
            namespace: Some(key.namespace.to_string()).filter(|name| !name.is_empty()),
            name: None,
            subresource: None,
        };
        let meta = &item.object.meta;
        let options = DeleteOptions::exactly(&meta.uid, &meta.resource_version, policy);
        match self.remove(&target, &key.name, &options).await {
            Ok(_outcome) => Ok(true),
            // Somebody else changed or deleted it: the next pass looks again.
            Err(error) if [404, 409].contains(&error.code.as_u16()) => Ok(true),
            // A protected namespace stays.
            Err(error) if error.code == http::StatusCode::FORBIDDEN => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes references to owners from a dependent.
    async fn release(&self, item: &Item, owners: &HashSet<&str>) -> Result<bool, ApiError> {
        let mut body = item.body.clone();
        let Some(metadata) = body["metadata"].as_object_mut() else {
            return Ok(false);
        };
        if let Some(Value::Array(references)) = metadata.get_mut("ownerReferences") {
            references.retain(|owner| !owners.contains(owner["uid"].as_str().unwrap_or_default()));
            if references.is_empty() {
                metadata.remove("ownerReferences");
            }
        }
        self.write(item, &body).await
    }

    /// Removes a finalizer from an owner, and the owner if it was the last one.
    async fn unfinalize(&self, item: &Item, finalizer: &str) -> Result<bool, ApiError> {
        let mut body = item.body.clone();
        if let Some(list) = body["metadata"]["finalizers"].as_array_mut() {
            list.retain(|known| known != finalizer);
            if list.is_empty()
                && let Some(metadata) = body["metadata"].as_object_mut()
            {
                metadata.remove("finalizers");
            }
        }
        self.write(item, &body).await
    }

    /// Stores a changed object, or removes one that is marked and free.
    async fn write(&self, item: &Item, body: &Value) -> Result<bool, ApiError> {
        let key = item.object.key.clone();
        let kind = key.kind;
        let expected = item.object.meta.resource_version.parse().ok().map(Revision);
        let free = finalizers(body).is_empty() && kind != Kind::Namespace;
        let op = if item.is_deleted() && free {
            Op::Delete { expected }
        } else {
            Op::Update {
                expected,
                body: Bytes::from(body.to_string()),
            }
        };
        match self.propose.propose(Proposal { key, op }).await {
            Ok(_) | Err(ProposeError::Conflict { .. } | ProposeError::NotFound(_)) => Ok(true),
            Err(error) => Err(ApiError::propose(registry::of(kind), error)),
        }
    }
}

/// Waits for a change that can make a step due, and for others that come at the same time.
async fn relevant_change(watchers: &mut [Box<dyn Watcher>]) {
    loop {
        match next_of(watchers).await {
            Ok(change) if !matters(&change) => {}
            Ok(_) | Err(Expired) => return tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Returns true for a deletion, and for a change of owners or of finalizers that wait.
fn matters(change: &Change) -> bool {
    let links = |object: &Arc<RawObject>| {
        let item = Item::parse(object)?;
        let metadata = &item.body["metadata"];
        Some((
            metadata["ownerReferences"].clone(),
            metadata["finalizers"].clone(),
        ))
    };
    let before = change.previous.as_ref().and_then(links);
    change.deleted || links(&change.object) != before
}

/// Returns the next change that any watcher sees.
async fn next_of(watchers: &mut [Box<dyn Watcher>]) -> Result<Change, Expired> {
    let mut changes: Vec<_> = watchers.iter_mut().map(|watcher| watcher.next()).collect();
    poll_fn(move |context| {
        let ready = changes
            .iter_mut()
            .map(|change| change.as_mut().poll(context))
            .find(Poll::is_ready);
        ready.unwrap_or(Poll::Pending)
    })
    .await
}
