//! The verbs create and replace, and the steps that every change of an object takes.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;

use super::{
    Api,
    admit::{self, Change},
    audit::CreatedName,
    defaults, events,
    manage::{self, Origin},
    registry::{self, Resource},
    request::{MAX_BODY, Query, ResourceRequest, Target, content_type},
    response::{self, Body},
    schema::{self, Decoded},
    status::ApiError,
    validate,
};
use crate::{
    access::{Action, ResourceAction},
    objects::{Committed, Key, Kind, Op, Proposal, ProposeError, RawObject, Revision},
    util::stamp,
};

/// The most attempts at a write whose client expects no revision: other writes can come first.
pub(crate) const RETRIES: usize = 8;

/// The query parameter `fieldValidation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// The reason why strict validation refuses a body.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct StrictError(String);

impl FieldValidation {
    /// Parses the query; `kind` is the kind of options that an error names.
    pub(crate) fn parse(query: &Query, kind: &str) -> Result<Self, ApiError> {
        match query.text("fieldValidation") {
            "" | "Warn" => Ok(Self::Warn),
            "Ignore" => Ok(Self::Ignore),
            "Strict" => Ok(Self::Strict),
            other => {
                let supported = r#"supported values: "Ignore", "Strict", "Warn""#;
                let message = format!("Unsupported value: \"{other}\": {supported}");
                Err(ApiError::invalid_options(
                    kind,
                    "fieldValidation",
                    "FieldValueNotSupported",
                    &message,
                ))
            }
        }
    }

    /// Returns the object of a decoded body, and adds a warning for each member that was dropped.
    pub(crate) fn check(
        self,
        decoded: Decoded,
        warnings: &mut Vec<String>,
    ) -> Result<Value, StrictError> {
        match (self, decoded.strict_error()) {
            (Self::Strict, Some(why)) => return Err(StrictError(why)),
            (Self::Warn, Some(_)) => {
                warnings.extend(decoded.problems.iter().map(ToString::to_string));
            }
            _ => {}
        }
        Ok(decoded.value)
    }
}

impl Api {
    /// Creates an object: POST on a collection.
    pub(crate) async fn create(
        &self,
        request: &ResourceRequest<'_>,
    ) -> Result<Response<Body>, ApiError> {
        let (dry_run, mut warnings) = (request.query.dry_run("CreateOptions")?, Vec::new());
        let validation = FieldValidation::parse(&request.query, "CreateOptions")?;
        let origin = origin(request, "CreateOptions")?;
        let object = decode(request, validation, &mut warnings)?;
        self.create_object(request, None, object, dry_run, warnings, Some(&origin))
            .await
    }

    /// Creates an object. `name` is that of the path, if the path has one. `origin` is absent if
    /// the object names its managers already.
    pub(crate) async fn create_object(
        &self,
        request: &ResourceRequest<'_>,
        name: Option<&str>,
        mut object: Value,
        dry_run: bool,
        mut warnings: Vec<String>,
        origin: Option<&Origin<'_>>,
    ) -> Result<Response<Body>, ApiError> {
        let ResourceRequest { target, accept, .. } = *request;
        let resource = target.resource;
        if let Some(name) = name {
            self.authorize(request.user, &creation(target, name))?;
        }
        admit::identity(target, name, &mut object)?;
        let generated = admit::text(&object, "/metadata/name").is_empty();
        let prefix = admit::text(&object, "/metadata/generateName").to_owned();

        // A generated name may be in use; nothing else leads to another attempt.
        for attempt in 0..RETRIES {
            if generated && !prefix.is_empty() {
                object["metadata"]["name"] = stamp::generate_name(&prefix).into();
            }
            let name = admit::text(&object, "/metadata/name").to_owned();
            if attempt == 0 {
                self.check_namespace(target, &name)?;
                admit::new(resource, dry_run, &mut object)?;
                if let Some(origin) = origin {
                    origin.update(None, &mut object);
                }
                admit::allocate(resource, &mut object);
                self.default_class(resource.kind, &mut object);
                self.check_escalation(request, &object, None)?;
            }

            let problems = validate::create(resource.kind, &object);
            if !problems.is_empty() || name.is_empty() {
                return Err(admit::refused(resource, &name, problems).warned(&warnings));
            }
            if attempt == 0 {
                warnings.extend(validate::warnings(resource.kind, &object));
            }

            let body: Bytes = object.to_string().into();
            check_size(&body)?;
            match self.store_new(target, &name, body, dry_run).await {
                Ok(stored) => {
                    let mut response =
                        response::object(StatusCode::CREATED, resource, &stored, accept);
                    response::warn(&mut response, &warnings);
                    response.extensions_mut().insert(CreatedName(name));
                    return Ok(response);
                }
                Err(ProposeError::Exists(_)) if generated => {}
                Err(error) => return Err(ApiError::propose(resource, error)),
            }
        }
        Err(ApiError::exists(resource, &prefix))
    }

    /// Stores a new object and returns its bytes. A dry run checks only that the name is free.
    async fn store_new(
        &self,
        target: &Target,
        name: &str,
        body: Bytes,
        dry_run: bool,
    ) -> Result<Bytes, ProposeError> {
        let key = Self::key(target, name);
        if dry_run {
            return match self.view.get(&key) {
                Some(_) => Err(ProposeError::Exists(key)),
                None => Ok(body),
            };
        }

        let op = Op::Create(body);
        self.propose
            .propose(Proposal { key, op })
            .await
            .map(stored_body)
    }

    /// Replaces an object or its status: PUT.
    pub(crate) async fn replace(
        &self,
        request: &ResourceRequest<'_>,
        name: &str,
    ) -> Result<Response<Body>, ApiError> {
        let target = request.target;
        let (dry_run, mut warnings) = (request.query.dry_run("UpdateOptions")?, Vec::new());
        let validation = FieldValidation::parse(&request.query, "UpdateOptions")?;
        let origin = origin(request, "UpdateOptions")?;
        let mut new = decode(request, validation, &mut warnings)?;
        admit::check_name(&new, name)?;
        let uid = admit::text(&new, "/metadata/uid");

        let creates = target.resource.create_on_update && target.subresource.is_none();
        if creates && self.view.get(&Self::key(target, name)).is_none() {
            if !uid.is_empty() {
                return Err(Self::other_uid(target, name, uid, ""));
            }
            // The version of an object that no longer exists does not matter.
            if let Some(metadata) = new["metadata"].as_object_mut() {
                metadata.remove("resourceVersion");
            }
            return self
                .create_object(request, Some(name), new, dry_run, warnings, Some(&origin))
                .await;
        }

        let stored = self.stored(target, name)?;
        if !uid.is_empty() && *uid != *stored.meta.uid {
            return Err(Self::other_uid(target, name, uid, &stored.meta.uid));
        }
        if target.resource.versioned_update
            && admit::text(&new, "/metadata/resourceVersion").is_empty()
        {
            return Err(ApiError::unversioned(target.resource, name));
        }
        let edit = |_old: &Value, _warnings: &mut Vec<String>| Ok(new.clone());
        self.change(request, name, dry_run, warnings, Some(&origin), edit)
            .await
    }

    /// Changes an object: `edit` makes the new object from the stored one. After a conflict with
    /// another write it starts again, unless the client named the revision that it expects.
    /// `origin` is absent if the new object names its managers already.
    pub(crate) async fn change(
        &self,
        request: &ResourceRequest<'_>,
        name: &str,
        dry_run: bool,
        mut warnings: Vec<String>,
        origin: Option<&Origin<'_>>,
        edit: impl Fn(&Value, &mut Vec<String>) -> Result<Value, ApiError>,
    ) -> Result<Response<Body>, ApiError> {
        let ResourceRequest { target, accept, .. } = *request;
        let resource = target.resource;
        for _attempt in 0..RETRIES {
            let stored = self.stored(target, name)?;
            let old: Value = serde_json::from_slice(&stored.body).unwrap_or_default();
            let mut new = edit(&old, &mut warnings)?;
            admit::identity(target, Some(name), &mut new)?;
            check_expected_version(resource, name, &new, &stored.meta.resource_version)?;

            defaults::apply(resource.kind, &mut new);
            if let Some(origin) = origin {
                origin.update(Some(&old), &mut new);
            }
            let change = admit::change(resource, target.subresource.as_deref(), &mut new, &old)?;
            self.check_escalation(request, &new, Some(&old))?;
            let problems = validate::update(resource.kind, &new, &old);
            if !problems.is_empty() {
                return Err(admit::refused(resource, name, problems).warned(&warnings));
            }
            // A retry collects the warnings about the object again.
            let mut all_warnings = warnings.clone();
            all_warnings.extend(validate::warnings(resource.kind, &new));

            let new: Bytes = new.to_string().into();
            check_size(&new)?;
            let written = if dry_run {
                Ok(new)
            } else {
                self.store_change(Self::key(target, name), &stored, change, new)
                    .await
            };
            match written {
                Ok(body) => {
                    let mut response = response::object(StatusCode::OK, resource, &body, accept);
                    response::warn(&mut response, &all_warnings);
                    return Ok(response);
                }
                Err(ProposeError::Conflict { .. }) => {}
                Err(error) => return Err(ApiError::propose(resource, error)),
            }
        }
        Err(ApiError::modified(resource, name))
    }

    /// Stores a changed object, or removes one whose last finalizer is gone. Returns its bytes.
    async fn store_change(
        &self,
        key: Key,
        stored: &RawObject,
        change: Change,
        new: Bytes,
    ) -> Result<Bytes, ProposeError> {
        let expected = stored.meta.resource_version.parse().ok().map(Revision);

        match change {
            Change::Keep => {
                let op = Op::Update {
                    expected,
                    body: new,
                };
                self.propose
                    .propose(Proposal { key, op })
                    .await
                    .map(stored_body)
            }
            Change::Finished => {
                let op = Op::Delete { expected };
                self.propose.propose(Proposal { key, op }).await?;
                Ok(new)
            }
        }
    }

    /// Returns the error for a replacement of another object of the same name.
    fn other_uid(target: &Target, name: &str, expected: &str, found: &str) -> ApiError {
        let Target {
            resource,
            namespace,
            ..
        } = target;
        let namespace = namespace
            .as_ref()
            .map(|namespace| format!("{namespace}/"))
            .unwrap_or_default();
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{namespace}{name}, \
             ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
             UID in precondition: {expected}, UID in object meta: {found}",
            resource.plural
        );
        ApiError::conflict(resource, name, &why)
    }

    /// Refuses a new object in a namespace that does not exist or is being deleted.
    fn check_namespace(&self, target: &Target, name: &str) -> Result<(), ApiError> {
        let Some(namespace) = target.namespace.as_deref() else {
            return match target.resource.namespaced {
                true => Err(ApiError::bad_request(
                    "an empty namespace may not be set during creation",
                )),
                false => Ok(()),
            };
        };

        let key = Key {
            kind: Kind::Namespace,
            namespace: "".into(),
            name: namespace.into(),
        };
        match self.view.get(&key) {
            None => Err(ApiError::not_found(
                registry::of(Kind::Namespace),
                namespace,
            )),
            // Events may still report how the deletion proceeds.
            Some(found)
                if !found.meta.deletion_timestamp.is_empty()
                    && target.resource.kind != Kind::Event =>
            {
                Err(ApiError::terminating(target.resource, name, namespace))
            }
            Some(_) => Ok(()),
        }
    }

    /// Sets the default class of an Ingress without a class: the newest, if several are marked
    /// (plugin/pkg/admission/network/defaultingressclass).
    fn default_class(&self, kind: Kind, object: &mut Value) {
        let annotated = object
            .pointer("/metadata/annotations/kubernetes.io~1ingress.class")
            .is_some();
        let classed = object
            .pointer("/spec/ingressClassName")
            .is_some_and(|class| !class.is_null());
        if kind != Kind::Ingress || annotated || classed || !object["spec"].is_object() {
            return;
        }

        let classes = self.view.list(Kind::IngressClass, None).items;
        let marked = classes.iter().filter(|class| {
            let mark = class
                .meta
                .annotations
                .get("ingressclass.kubernetes.io/is-default-class");
            mark.is_some_and(|mark| &**mark == "true")
        });
        let newest = marked.max_by(|a, b| {
            (&a.meta.creation_timestamp, &b.meta.name)
                .cmp(&(&b.meta.creation_timestamp, &a.meta.name))
        });
        if let Some(class) = newest {
            object["spec"]["ingressClassName"] = (&*class.meta.name).into();
        }
    }
}

/// Refuses a change that expects a version other than the stored one. A patch that does not touch
/// the version carries that of the stored object.
fn check_expected_version(
    resource: &Resource,
    name: &str,
    new: &Value,
    stored: &str,
) -> Result<(), ApiError> {
    let expected = admit::text(new, "/metadata/resourceVersion");
    if expected.is_empty() || expected == stored {
        return Ok(());
    }
    if expected.parse::<u64>().is_err() {
        return Err(ApiError::bare(format!(
            "strconv.ParseUint: parsing \"{expected}\": invalid syntax"
        )));
    }
    Err(ApiError::modified(resource, name))
}

/// Refuses an object that is too large to store.
fn check_size(body: &Bytes) -> Result<(), ApiError> {
    match body.len() > MAX_BODY {
        true => Err(ApiError::body_too_large(MAX_BODY)),
        false => Ok(()),
    }
}

/// Returns the origin of a write: the parameter `fieldManager`, or the user agent. `kind` is the
/// kind of options that an error names.
pub(crate) fn origin<'r>(
    request: &'r ResourceRequest<'_>,
    kind: &str,
) -> Result<Origin<'r>, ApiError> {
    const LIMIT: usize = 128;
    let named = request.query.text("fieldManager");
    let refuse = |reason, message: &str| {
        Err(ApiError::invalid_options(
            kind,
            "fieldManager",
            reason,
            message,
        ))
    };
    if named.len() > LIMIT {
        return refuse(
            "FieldValueTooLong",
            "Too long: may not be more than 128 bytes",
        );
    }
    if named.chars().any(char::is_control) {
        let message = format!(
            "Invalid value: {}: should only contain printable characters",
            Value::from(named)
        );
        return refuse("FieldValueInvalid", &message);
    }

    let agent = request.headers.get(http::header::USER_AGENT);
    let agent = agent.and_then(|agent| agent.to_str().ok());
    Ok(Origin {
        manager: match named {
            "" => manage::of_user_agent(agent.unwrap_or_default()),
            named => named.to_owned(),
        },
        resource: request.target.resource,
        subresource: request.target.subresource.as_deref(),
    })
}

/// Returns the action of a replacement or patch that creates its object.
fn creation(target: &Target, name: &str) -> Action {
    Action::Resource(ResourceAction {
        verb: "create".to_owned(),
        group: target.resource.group.to_owned(),
        resource: target.resource.plural.to_owned(),
        namespace: target.namespace.clone().unwrap_or_default(),
        name: name.to_owned(),
        ..ResourceAction::default()
    })
}

fn stored_body(committed: Committed) -> Bytes {
    committed.object.body.clone()
}

/// Decodes a body as strictly as the client requests.
fn decode(
    request: &ResourceRequest<'_>,
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<Value, ApiError> {
    let (resource, body) = (request.target.resource, request.body);
    let form = content_type(request.headers)?;
    let events_v1 = resource.group == "events.k8s.io";
    let decoded = match events_v1 {
        true => schema::decode_event(form, body),
        false => schema::decode(resource.kind, form, body),
    };
    let decoded = decoded.map_err(|error| ApiError::bad_request(error.to_string()))?;

    let object = validation.check(decoded, warnings).map_err(|why| {
        let (kind, version) = (resource.kind.name(), resource.version);
        ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"
        ))
    })?;
    Ok(if events_v1 {
        events::from_events_v1(object)
    } else {
        object
    })
}
