//! Mirrors Endpoints into EndpointSlices: an Endpoints object with the name of a Service without a
//! selector says where that Service is served. Behaves as kube-controller-manager does
//! (pkg/controller/endpointslicemirroring).

mod desired;
mod plan;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use self::{
    desired::{Desired, MAX_ADDRESSES},
    plan::{CONTROLLER, MANAGED_BY, SERVICE_NAME, Step},
};
use crate::{
    objects::{
        Change, EventNote, EventType, Expired, Key, Kind, Op, Proposal, Propose, ProposeError,
        RawObject, Revision, View, Watcher,
    },
    util::{backoff::Backoff, stamp},
};

/// Label with the value `true` on Endpoints that must not be mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Annotation on Endpoints that serve as a lock for the election of a leader.
const LOCK: &str = "control-plane.alpha.kubernetes.io/leader";

/// The number of times that the writes are planned, if they conflict with another writer.
const RETRIES: usize = 5;

/// The shortest and the longest wait before the next try while the store refuses writes.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(100));

/// Namespace and name, which a Service shares with its Endpoints.
type Name = (Arc<str>, Arc<str>);

/// Keeps the mirrored EndpointSlices up to date until the process ends. Passes Events to `report`.
pub async fn mirror_endpoints(
    propose: Arc<dyn Propose>,
    view: Arc<dyn View>,
    report: impl Fn(EventNote) + Send + Sync + 'static,
) {
    let mirror = Mirror {
        propose,
        view,
        report: Box::new(report),
    };
    loop {
        let Expired = mirror.follow().await;
        tracing::warn!(
            "the mirror of Endpoints fell behind the mini cluster and reads all objects again"
        );
    }
}

struct Mirror {
    propose: Arc<dyn Propose>,
    view: Arc<dyn View>,
    report: Box<dyn Fn(EventNote) + Send + Sync>,
}

impl Mirror {
    /// Brings all slices up to date, then follows the changes until some are lost.
    async fn follow(&self) -> Expired {
        let Ok([mut endpoints, mut services, mut slices]) = self.watch() else {
            return Expired;
        };
        let mut waiting = self.names();
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);

        loop {
            waiting = self.reconcile_all(waiting).await;

            // A failed write causes no change, so only a timer tries it again.
            let again = if waiting.is_empty() {
                backoff.succeeded();
                None
            } else {
                Some(Instant::now() + backoff.failed(u64::from_le_bytes(stamp::random())))
            };

            let change = tokio::select! {
                change = endpoints.next() => change,
                change = services.next() => change,
                change = slices.next() => change,
                () = until(again) => continue,
            };
            let Ok(change) = change else { return Expired };
            self.remove_without_service(&change).await;
            waiting.extend(touched(&change));
        }
    }

    fn watch(&self) -> Result<[Box<dyn Watcher>; 3], Expired> {
        // The revision is read before the objects, so that no change is missed in between.
        let from = self.view.revision();
        let watch = |kind| self.view.watch(kind, from);
        Ok([
            watch(Kind::Endpoints)?,
            watch(Kind::Service)?,
            watch(Kind::EndpointSlice)?,
        ])
    }

    /// Returns the names of all Endpoints and of all mirrored slices.
    fn names(&self) -> BTreeSet<Name> {
        let endpoints = self.view.list(Kind::Endpoints, None).items;
        let slices = self.view.list(Kind::EndpointSlice, None).items;
        let names = endpoints
            .iter()
            .map(|one| (one.meta.namespace.clone(), one.meta.name.clone()));
        names
            .chain(slices.iter().filter_map(|slice| mirrored_of(slice)))
            .collect()
    }

    /// Reconciles `names`, and returns those whose writes failed.
    async fn reconcile_all(&self, names: BTreeSet<Name>) -> BTreeSet<Name> {
        let mut failed = BTreeSet::new();
        for name in names {
            if let Err(error) = self.reconcile(&name).await {
                tracing::warn!(
                    endpoints = format!("{}/{}", name.0, name.1),
                    %error,
                    "the EndpointSlices that mirror these Endpoints are not up to date"
                );
                failed.insert(name);
            }
        }
        failed
    }

    /// Makes the writes that bring the slices of one name up to date.
    async fn reconcile(&self, name: &Name) -> Result<(), ProposeError> {
        let mut reported = false;
        'plan: for _attempt in 0..RETRIES {
            let slices = self.view.list(Kind::EndpointSlice, Some(&*name.0)).items;
            let existing: Vec<_> = slices
                .into_iter()
                .filter(|of| mirrored_of(of).as_ref() == Some(name))
                .collect();

            let steps = match self.to_mirror(name) {
                None => existing.into_iter().map(Step::Delete).collect(),
                Some((endpoints, desired)) => {
                    let skipped = desired.skipped;
                    let steps = plan::plan(&endpoints, desired.slices, &existing);
                    if skipped > 0 && !steps.is_empty() && !std::mem::replace(&mut reported, true) {
                        (self.report)(too_many(&endpoints, skipped));
                    }
                    steps
                }
            };

            for step in steps {
                match self.propose.propose(proposal(step)).await {
                    Ok(_made) => {}
                    Err(
                        ProposeError::Conflict { .. }
                        | ProposeError::Exists(_)
                        | ProposeError::NotFound(_),
                    ) => {
                        continue 'plan;
                    }
                    Err(error) => return Err(error),
                }
            }
            return Ok(());
        }

        // The conflicting write is a change as well, which brings this name here again.
        Ok(())
    }

    /// Returns the Endpoints of this name and their slices; `None` if they must not be mirrored.
    fn to_mirror(&self, name: &Name) -> Option<(Arc<RawObject>, Desired)> {
        let get = |kind| {
            self.view.get(&Key {
                kind,
                namespace: name.0.clone(),
                name: name.1.clone(),
            })
        };

        let endpoints = get(Kind::Endpoints)?;
        let service = get(Kind::Service)?;

        let namespace = Key {
            kind: Kind::Namespace,
            namespace: "".into(),
            name: name.0.clone(),
        };
        let deleting = |object: &RawObject| !object.meta.deletion_timestamp.is_empty();
        if deleting(&endpoints) || deleting(&*self.view.get(&namespace)?) {
            return None;
        }

        let skipped = endpoints
            .meta
            .labels
            .get(SKIP)
            .is_some_and(|value| &**value == "true");
        if skipped || endpoints.meta.annotations.contains_key(LOCK) || has_selector(&service) {
            return None;
        }

        match desired::desired(&endpoints) {
            Ok(desired) => Some((endpoints, desired)),
            Err(error) => {
                tracing::warn!(%error, "the Endpoints cannot be read and are not mirrored");
                None
            }
        }
    }

    /// Deletes the Endpoints of a deleted Service, as the real endpoints controller does, so that a
    /// later Service of the same name does not inherit them.
    async fn remove_without_service(&self, change: &Change) {
        let service = &change.object.key;
        if service.kind != Kind::Service || !change.deleted || self.view.get(service).is_some() {
            return;
        }

        let key = Key {
            kind: Kind::Endpoints,
            ..service.clone()
        };
        let Some(endpoints) = self.view.get(&key) else {
            return;
        };

        let op = removal(&endpoints);
        if let Err(error) = self.propose.propose(Proposal { key, op }).await {
            tracing::warn!(
                endpoints = %endpoints.key,
                %error,
                "the Endpoints of a deleted Service were not deleted"
            );
        }
    }
}

/// Returns the names whose slices may need an update after this change.
fn touched(change: &Change) -> Vec<Name> {
    let object = &change.object;
    if object.key.kind != Kind::EndpointSlice {
        return vec![(object.key.namespace.clone(), object.key.name.clone())];
    }
    [Some(object), change.previous.as_ref()]
        .into_iter()
        .flatten()
        .filter_map(|slice| mirrored_of(slice))
        .collect()
}

/// Returns the name of the Endpoints that a slice mirrors; `None` for slices of other writers.
fn mirrored_of(slice: &RawObject) -> Option<Name> {
    let label = |name| slice.meta.labels.get(name).map(|value| &**value);
    let service = label(SERVICE_NAME).filter(|_name| label(MANAGED_BY) == Some(CONTROLLER))?;
    Some((slice.meta.namespace.clone(), service.into()))
}

fn has_selector(service: &RawObject) -> bool {
    let body: Value = serde_json::from_slice(&service.body).unwrap_or_default();
    body["spec"]["selector"]
        .as_object()
        .is_some_and(|selector| !selector.is_empty())
}

/// Returns the write of a step. A new slice gets its name, uid and time here.
fn proposal(step: Step) -> Proposal {
    match step {
        Step::Create(mut object) => {
            let metadata = &mut object["metadata"];
            let name = stamp::generate_name(metadata["generateName"].as_str().unwrap_or_default());
            metadata["name"] = name.as_str().into();
            metadata["uid"] = stamp::uid().into();
            metadata["creationTimestamp"] = stamp::now().into();

            let namespace = metadata["namespace"].as_str().unwrap_or_default();
            let key = Key {
                kind: Kind::EndpointSlice,
                namespace: namespace.into(),
                name: name.into(),
            };

            Proposal {
                key,
                op: Op::Create(Bytes::from(object.to_string())),
            }
        }
        Step::Update(known, object) => {
            let op = Op::Update {
                expected: revision(&known),
                body: Bytes::from(object.to_string()),
            };

            Proposal {
                key: known.key.clone(),
                op,
            }
        }
        Step::Delete(known) => Proposal {
            key: known.key.clone(),
            op: removal(&known),
        },
    }
}

/// Returns the write that deletes an object, or that marks it for deletion while it has finalizers.
fn removal(object: &RawObject) -> Op {
    let expected = revision(object);
    let mut body: Value = serde_json::from_slice(&object.body).unwrap_or_default();
    let held = body["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|all| !all.is_empty());
    if !held {
        return Op::Delete { expected };
    }
    if object.meta.deletion_timestamp.is_empty() {
        body["metadata"]["deletionTimestamp"] = stamp::now().into();
        body["metadata"]["deletionGracePeriodSeconds"] = 0.into();
    }
    Op::Update {
        expected,
        body: Bytes::from(body.to_string()),
    }
}

fn revision(object: &RawObject) -> Option<Revision> {
    object.meta.resource_version.parse().ok().map(Revision)
}

/// Returns the Event for addresses beyond the limits, in the words of kube-controller-manager.
fn too_many(endpoints: &RawObject, skipped: usize) -> EventNote {
    let message = format!(
        "A max of {MAX_ADDRESSES} addresses can be mirrored to EndpointSlices per Endpoints \
         subset. {skipped} addresses were skipped"
    );
    EventNote {
        about: endpoints.reference(),
        event_type: EventType::Warning,
        reason: "TooManyAddressesToMirror",
        message: message.into(),
    }
}

/// Waits until `moment`; never returns if it is `None`.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
