//! The verbs delete and deletecollection.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{
    Api,
    admit::finalizers,
    garbage::{FOREGROUND, ORPHAN},
    options::{DeleteOptions, Propagation},
    registry::Resource,
    request::{ResourceRequest, Target},
    response::{self, Body},
    selector::Selector,
    status::ApiError,
    write::RETRIES,
};
use crate::{
    objects::{Kind, Op, Proposal, ProposeError, Revision},
    util::stamp,
};

/// Namespaces that cannot be deleted.
const PROTECTED: [&str; 3] = ["default", "kube-system", "kube-public"];

/// The result of a deletion, with the last state of the object.
pub(super) enum Outcome {
    Removed(Bytes),
    /// The object waits for its finalizers, or a namespace for its contents.
    Marked(Bytes),
}

impl Api {
    /// Deletes an object: DELETE.
    pub(crate) async fn delete(
        &self,
        request: &ResourceRequest<'_>,
        name: &str,
    ) -> Result<Response<Body>, ApiError> {
        let options = DeleteOptions::parse(request)?;
        let ResourceRequest { target, accept, .. } = *request;
        let resource = target.resource;

        match self.remove(target, name, &options).await? {
            Outcome::Removed(stored) if !resource.delete_returns_object => {
                let uid = serde_json::from_slice::<Value>(&stored).unwrap_or_default()["metadata"]
                    ["uid"]
                    .clone();
                Ok(response::encode(
                    StatusCode::OK,
                    success(resource, name, &uid).to_string().into(),
                    accept.encoding,
                ))
            }
            Outcome::Removed(stored) => {
                Ok(response::object(StatusCode::OK, resource, &stored, accept))
            }
            Outcome::Marked(stored) => {
                let waits = options.orphan_dependents == Some(false);
                let code = if waits {
                    StatusCode::ACCEPTED
                } else {
                    StatusCode::OK
                };
                Ok(response::object(code, resource, &stored, accept))
            }
        }
    }

    /// Deletes the objects that the selectors match: DELETE on a collection.
    pub(crate) async fn delete_collection(
        &self,
        request: &ResourceRequest<'_>,
    ) -> Result<Response<Body>, ApiError> {
        let ResourceRequest { target, accept, .. } = *request;
        let (query, resource) = (&request.query, target.resource);
        let everywhere = resource.namespaced && target.namespace.is_none();
        if everywhere || resource.kind == Kind::Namespace {
            return Err(ApiError::method_not_allowed());
        }

        let options = DeleteOptions::parse(request)?;
        let selector = Selector::parse(
            resource,
            query.text("labelSelector"),
            query.text("fieldSelector"),
        )?;

        let mut chosen = self
            .view
            .list(resource.kind, target.namespace.as_deref())
            .items;
        chosen.retain(|object| selector.matches(object));

        for object in &chosen {
            match self.remove(target, &object.meta.name, &options).await {
                Ok(_) => {}
                Err(error) if error.code == StatusCode::NOT_FOUND => {}
                Err(error) => return Err(error),
            }
        }

        let metadata = json!({ "resourceVersion": self.view.revision().0.to_string() });
        Ok(response::encode(
            StatusCode::OK,
            response::list(resource, &chosen, metadata, accept),
            accept.encoding,
        ))
    }

    /// Removes an object, or marks it for deletion if it has to wait.
    pub(super) async fn remove(
        &self,
        target: &Target,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Outcome, ApiError> {
        let resource = target.resource;
        for _attempt in 0..RETRIES {
            let known = self.stored(target, name)?;
            check(
                resource,
                name,
                options,
                &known.meta.uid,
                &known.meta.resource_version,
            )?;
            if resource.kind == Kind::Namespace && PROTECTED.contains(&name) {
                return Err(ApiError::forbidden(
                    resource,
                    name,
                    "this namespace may not be deleted",
                ));
            }

            // Objects wait for their finalizers, namespaces for their contents.
            let mut object: Value = serde_json::from_slice(&known.body).unwrap_or_default();
            let same = !propagate(options, &mut object);
            let waits = !finalizers(&object).is_empty() || resource.kind == Kind::Namespace;
            let (stored, key) = (known.body.clone(), known.key.clone());
            let marked = !known.meta.deletion_timestamp.is_empty();
            if waits && marked && same {
                return Ok(Outcome::Marked(stored));
            }
            let outcome = if waits {
                Outcome::Marked
            } else {
                Outcome::Removed
            };
            if options.dry_run() {
                return Ok(outcome(stored));
            }

            let expected = known.meta.resource_version.parse().ok().map(Revision);
            let op = if waits {
                if !marked {
                    mark(resource, &mut object);
                }
                Op::Update {
                    expected,
                    body: object.to_string().into(),
                }
            } else {
                Op::Delete { expected }
            };
            match self.propose.propose(Proposal { key, op }).await {
                Ok(committed) => return Ok(outcome(committed.object.body.clone())),
                Err(ProposeError::Conflict { .. }) => {}
                Err(error) => return Err(ApiError::propose(resource, error)),
            }
        }
        Err(ApiError::modified(resource, name))
    }
}

/// Marks an object for deletion.
fn mark(resource: &Resource, object: &mut Value) {
    object["metadata"]["deletionTimestamp"] = stamp::now().into();
    if resource.kind == Kind::Namespace {
        object["status"]["phase"] = "Terminating".into();
    } else {
        object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
    }
    if resource.generation {
        let generation = object["metadata"]["generation"].as_i64().unwrap_or(1);
        object["metadata"]["generation"] = generation.saturating_add(1).into();
    }
}

/// Sets the finalizers by which an object waits for the fate of its dependents. They stay as they
/// are if the options do not say. Returns true if it changed them.
fn propagate(options: &DeleteOptions, object: &mut Value) -> bool {
    let Some(policy) = options.propagation() else {
        return false;
    };
    let known = finalizers(object);
    let mut kept = known.clone();
    kept.retain(|finalizer| ![FOREGROUND, ORPHAN].contains(finalizer));
    match policy {
        Propagation::Background => {}
        Propagation::Foreground => kept.push(FOREGROUND),
        Propagation::Orphan => kept.push(ORPHAN),
    }

    let changed = kept != known;
    let kept: Vec<Value> = kept.into_iter().map(Value::from).collect();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        match kept.is_empty() {
            true => metadata.remove("finalizers"),
            false => metadata.insert("finalizers".to_owned(), kept.into()),
        };
    }
    changed
}

/// Checks the preconditions of a deletion against the identity and version of the object.
fn check(
    resource: &Resource,
    name: &str,
    options: &DeleteOptions,
    uid: &str,
    version: &str,
) -> Result<(), ApiError> {
    let Some(required) = &options.preconditions else {
        return Ok(());
    };

    if let Some(required) = required.uid.as_deref().filter(|required| *required != uid) {
        let why = format!(
            "the UID in the precondition ({required}) does not match the UID in record ({uid}). \
             The object might have been deleted and then recreated"
        );
        return Err(ApiError::precondition(resource, name, &why));
    }
    if let Some(required) = required
        .resource_version
        .as_deref()
        .filter(|required| *required != version)
    {
        let why = format!(
            "the ResourceVersion in the precondition ({required}) does not match \
             the ResourceVersion in record ({version}). The object might have been modified"
        );
        return Err(ApiError::precondition(resource, name, &why));
    }
    Ok(())
}

/// Returns the `Status` of a deletion.
fn success(resource: &Resource, name: &str, uid: &Value) -> Value {
    let mut details = json!({ "name": name, "kind": resource.plural, "uid": uid });
    if !resource.group.is_empty() {
        details["group"] = resource.group.into();
    }
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    })
}
