//! The end of namespaces: their contents are deleted, then they are, as by the namespace controller
//! of a real cluster (pkg/controller/namespace/deletion).

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{
    Api,
    admit::finalizers,
    delete::Outcome,
    options::DeleteOptions,
    registry::{self, RESOURCES, Resource},
    request::Target,
    status::ApiError,
};
use crate::{
    objects::{Kind, Op, Proposal, RawObject, Revision},
    util::stamp,
};

/// The time between two attempts. A watch of the namespaces does not show that an object lost its
/// last finalizer, or that the disk has space again.
const RETRY: Duration = Duration::from_secs(5);

/// The finalizer in `spec` of every namespace: its contents.
const CONTENTS: &str = "kubernetes";

/// The contents of a namespace that could not be deleted yet.
#[derive(Debug, Default)]
struct Left {
    /// The numbers of objects by resource: `ingresses.networking.k8s.io`.
    objects: BTreeMap<String, usize>,
    /// The numbers of objects by finalizer.
    finalizers: BTreeMap<String, usize>,
}

impl Api {
    /// Empties the namespaces that are marked for deletion, then removes them. Runs as long as the
    /// server does.
    pub(crate) async fn finish_namespaces(&self) {
        loop {
            let snapshot = self.view.list(Kind::Namespace, None);
            for namespace in &snapshot.items {
                if !namespace.meta.deletion_timestamp.is_empty()
                    && let Err(error) = self.finish_namespace(&namespace.meta.name).await
                {
                    tracing::warn!(
                        namespace = &*namespace.meta.name,
                        %error,
                        "cannot delete the contents of the namespace yet"
                    );
                }
            }

            let Ok(mut changes) = self.view.watch(Kind::Namespace, snapshot.revision) else {
                continue;
            };
            tokio::select! {
                _change = changes.next() => {}
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Deletes the contents of a namespace, and the namespace once it is empty.
    async fn finish_namespace(&self, name: &str) -> Result<(), ApiError> {
        let mut left = Left::default();
        // Two resources show the same Events: emptying one of them is enough.
        for resource in RESOURCES
            .iter()
            .filter(|r| r.namespaced && r.group == r.kind.group())
        {
            self.empty(resource, name, &mut left).await?;
        }

        let namespaces = registry::of(Kind::Namespace);
        let known = self.stored(&whole(namespaces, None), name)?;
        let mut object: Value = serde_json::from_slice(&known.body).unwrap_or_default();
        let own = object["spec"]["finalizers"].as_array();
        let held = own.is_some_and(|all| all.iter().any(|one| one != CONTENTS));
        let free = left.objects.is_empty() && finalizers(&object).is_empty() && !held;

        let op = if free {
            Op::Delete { expected: None }
        } else {
            let conditions = left.conditions(&object["status"]["conditions"]);
            object["status"]["conditions"] = conditions;
            Op::Update {
                expected: known.meta.resource_version.parse().ok().map(Revision),
                body: object.to_string().into(),
            }
        };
        let key = known.key.clone();
        let written = self.propose.propose(Proposal { key, op }).await;
        written.map_err(|error| ApiError::propose(namespaces, error))?;
        Ok(())
    }

    /// Deletes the objects of a resource in a namespace.
    async fn empty(
        &self,
        resource: &'static Resource,
        namespace: &str,
        left: &mut Left,
    ) -> Result<(), ApiError> {
        let (target, options) = (whole(resource, Some(namespace)), DeleteOptions::default());
        for object in self.view.list(resource.kind, Some(namespace)).items {
            match self.remove(&target, &object.meta.name, &options).await {
                Ok(Outcome::Removed(_)) => {}
                Ok(Outcome::Marked(_)) => left.add(resource, &object),
                Err(error) if error.code == http::StatusCode::NOT_FOUND => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Returns the collection of a resource.
fn whole(resource: &'static Resource, namespace: Option<&str>) -> Target {
    Target {
        resource,
        namespace: namespace.map(str::to_owned),
        name: None,
        subresource: None,
    }
}

impl Left {
    fn add(&mut self, resource: &Resource, object: &RawObject) {
        let name = format!("{}.{}", resource.plural, resource.group);
        *self.objects.entry(name).or_default() += 1;
        let body: Value = serde_json::from_slice(&object.body).unwrap_or_default();
        for finalizer in finalizers(&body) {
            *self.finalizers.entry(finalizer.to_owned()).or_default() += 1;
        }
    }

    /// Returns the conditions of the namespace. Those of `old` that are the same keep their time.
    fn conditions(&self, old: &Value) -> Value {
        let now = stamp::now();
        let remaining = list(&self.objects, " has ");
        let held = list(&self.finalizers, " in ");
        let (some, blocked) = (!remaining.is_empty(), !held.is_empty());

        let all = [
            (
                "NamespaceDeletionDiscoveryFailure",
                false,
                "ResourcesDiscovered",
                "All resources successfully discovered".to_owned(),
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                false,
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed".to_owned(),
            ),
            (
                "NamespaceDeletionContentFailure",
                false,
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization".to_owned(),
            ),
            match some {
                true => (
                    "NamespaceContentRemaining",
                    true,
                    "SomeResourcesRemain",
                    format!("Some resources are remaining: {remaining}"),
                ),
                false => (
                    "NamespaceContentRemaining",
                    false,
                    "ContentRemoved",
                    "All content successfully removed".to_owned(),
                ),
            },
            match blocked {
                true => (
                    "NamespaceFinalizersRemaining",
                    true,
                    "SomeFinalizersRemain",
                    format!("Some content in the namespace has finalizers remaining: {held}"),
                ),
                false => (
                    "NamespaceFinalizersRemaining",
                    false,
                    "ContentHasNoFinalizers",
                    "All content-preserving finalizers finished".to_owned(),
                ),
            },
        ];

        let condition = |(kind, holds, reason, message): (&str, bool, &str, String)| {
            let new = json!({
                "type": kind,
                "status": if holds { "True" } else { "False" },
                "reason": reason,
                "message": message,
                "lastTransitionTime": now,
            });
            let same = |known: &&Value| {
                ["type", "status", "reason", "message"]
                    .iter()
                    .all(|member| known[*member] == new[*member])
            };
            let known = old.as_array().into_iter().flatten().find(same);
            known.cloned().unwrap_or(new)
        };
        all.into_iter().map(condition).collect()
    }
}

/// Returns the numbers of objects as text: `configmaps. has 1 resource instances`.
fn list(numbers: &BTreeMap<String, usize>, verb: &str) -> String {
    let lines: Vec<String> = numbers
        .iter()
        .map(|(name, number)| format!("{name}{verb}{number} resource instances"))
        .collect();
    lines.join(", ")
}
