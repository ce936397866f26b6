//! create, replace and patch.

use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;

use super::{
    Api,
    admit::{self, Change},
    answer::{self, Body},
    events, merge,
    registry::{self, Resource},
    request::{Accept, Query, Target, content_type, media_type},
    schema::{self, ContentType},
    status::ApiError,
    validate,
};
use crate::{
    objects::{Committed, Key, Kind, Op, Proposal, ProposeError, Revision},
    util::stamp,
};

/// How often a write without an expectation of the client's is tried again when another one came
/// first.
pub(crate) const RETRIES: usize = 8;

/// `fieldValidation`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    /// `kind` is the kind of options that an error names.
    fn parse(query: &Query, kind: &str) -> Result<Self, ApiError> {
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
}

impl Api {
    /// POST on a collection.
    pub(crate) async fn create(
        &self,
        target: &Target,
        query: &Query,
        accept: Accept,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response<Body>, ApiError> {
        let (dry_run, mut warnings) = (query.dry_run("CreateOptions")?, Vec::new());
        let validation = FieldValidation::parse(query, "CreateOptions")?;
        let object = decode(target.resource, headers, body, validation, &mut warnings)?;
        self.make(target, None, object, dry_run, accept, warnings)
            .await
    }

    /// Makes a new object; `name` is the one of the path, where that has one.
    async fn make(
        &self,
        target: &Target,
        name: Option<&str>,
        mut object: Value,
        dry_run: bool,
        accept: Accept,
        mut warnings: Vec<String>,
    ) -> Result<Response<Body>, ApiError> {
        let resource = target.resource;
        admit::identity(target, name, &mut object)?;
        let generated = admit::text(&object, "/metadata/name").is_empty();
        let prefix = admit::text(&object, "/metadata/generateName").to_owned();
        for attempt in 0..RETRIES {
            if generated && !prefix.is_empty() {
                object["metadata"]["name"] = stamp::generate_name(&prefix).into();
            }
            let name = admit::text(&object, "/metadata/name").to_owned();
            if attempt == 0 {
                self.check_namespace(target, &name)?;
                admit::new(resource, dry_run, &mut object)?;
                self.default_class(resource.kind, &mut object);
            }
            let problems = validate::create(resource.kind, &object);
            if !problems.is_empty() || name.is_empty() {
                return Err(admit::refused(resource, &name, problems).warned(&warnings));
            }
            if attempt == 0 {
                warnings.extend(validate::warnings(resource.kind, &object));
            }
            let key = Self::key(target, &name);
            let made = if dry_run {
                match self.view.get(&key) {
                    Some(_) => Err(ProposeError::Exists(key)),
                    None => Ok(object.to_string().into()),
                }
            } else {
                let op = Op::Create(object.to_string().into());
                self.propose
                    .propose(Proposal { key, op })
                    .await
                    .map(|made| made.object.body.clone())
            };
            match made {
                Ok(stored) => {
                    let mut response =
                        answer::object(StatusCode::CREATED, resource, &stored, accept);
                    answer::warn(&mut response, &warnings);
                    return Ok(response);
                }
                Err(ProposeError::Exists(_)) if generated => {}
                Err(error) => return Err(ApiError::propose(resource, error)),
            }
        }
        Err(ApiError::exists(resource, &prefix))
    }

    /// PUT on an object or its status.
    pub(crate) async fn replace(
        &self,
        target: &Target,
        name: &str,
        query: &Query,
        accept: Accept,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response<Body>, ApiError> {
        let (dry_run, mut warnings) = (query.dry_run("UpdateOptions")?, Vec::new());
        let validation = FieldValidation::parse(query, "UpdateOptions")?;
        let mut new = decode(target.resource, headers, body, validation, &mut warnings)?;
        admit::names(&new, name)?;
        let uid = admit::text(&new, "/metadata/uid");

        let creates = target.resource.create_on_update && target.subresource.is_none();
        if creates && self.view.get(&Self::key(target, name)).is_none() {
            if !uid.is_empty() {
                return Err(Self::other_uid(target, name, uid, ""));
            }
            // The version of an object that is gone does not matter.
            if let Some(metadata) = new["metadata"].as_object_mut() {
                metadata.remove("resourceVersion");
            }
            return self
                .make(target, Some(name), new, dry_run, accept, warnings)
                .await;
        }

        let stored = self.stored(target, name)?;
        if !uid.is_empty() && *uid != *stored.meta.uid {
            return Err(Self::other_uid(target, name, uid, &stored.meta.uid));
        }
        self.change(
            target,
            name,
            dry_run,
            accept,
            warnings,
            |_old, _warnings| Ok(new.clone()),
        )
        .await
    }

    /// PATCH on an object or its status.
    pub(crate) async fn patch(
        &self,
        target: &Target,
        name: &str,
        query: &Query,
        accept: Accept,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response<Body>, ApiError> {
        let media_type = media_type(headers);
        let apply: fn(Kind, &mut Value, &Value) -> Result<(), merge::PatchError> = match media_type
            .as_str()
        {
            "application/strategic-merge-patch+json" => merge::strategic,
            "application/merge-patch+json" => {
                |_kind, target, patch| merge::merge_patch(target, patch)
            }
            "application/json-patch+json" => {
                |_kind, target, patch| merge::json_patch(target, patch)
            }
            "application/apply-patch+yaml" => {
                let message = "server-side apply is not supported: use kubectl apply without --server-side, helm with --server-side=false";
                return Err(ApiError::unsupported_patch(message));
            }
            _ => return Err(ApiError::unsupported_patch("415: Unsupported Media Type")),
        };
        let resource = target.resource;
        let strategic = media_type == "application/strategic-merge-patch+json";
        let patch: Value = serde_json::from_slice(body).map_err(|error| {
            ApiError::bad_request(format!(
                "error decoding patch: {}",
                schema::describe_json(&error)
            ))
        })?;
        let dry_run = query.dry_run("PatchOptions")?;
        let validation = FieldValidation::parse(query, "PatchOptions")?;
        let edit = |old: &Value, warnings: &mut Vec<String>| {
            let events_v1 = resource.group == "events.k8s.io";
            let mut new = if events_v1 {
                events::to_events_v1(old.clone())
            } else {
                old.clone()
            };
            apply(resource.kind, &mut new, &patch).map_err(|error| match error {
                merge::PatchError::Malformed(why) => ApiError::bad_request(why),
                merge::PatchError::Failed(_) => ApiError::unprocessable(),
            })?;
            let new = if events_v1 {
                events::from_events_v1(new)
            } else {
                new
            };
            let result = new.to_string();
            // As the real server does: the patch where it can be read as an object, else what came
            // out of it.
            let shown = if strategic {
                String::from_utf8_lossy(body)
            } else {
                result.as_str().into()
            };
            let invalid = |why: &str| ApiError::invalid_patch(&shown, why);
            let decoded = schema::decode(resource.kind, ContentType::Json, result.as_bytes())
                .map_err(|error| {
                    let error = error.to_string();
                    let handled = format!("cannot be handled as a {}: ", resource.kind.name());
                    invalid(
                        error
                            .split_once(&handled)
                            .map_or(&*error, |(_which, why)| why),
                    )
                })?;
            warnings.clear();
            match validation {
                FieldValidation::Strict if !decoded.unknown.is_empty() => Err(invalid(&format!(
                    "strict decoding error: {}",
                    decoded.unknown.join(", ")
                ))),
                FieldValidation::Warn => {
                    *warnings = decoded.unknown;
                    Ok(decoded.value)
                }
                FieldValidation::Strict | FieldValidation::Ignore => Ok(decoded.value),
            }
        };
        self.change(target, name, dry_run, accept, Vec::new(), edit)
            .await
    }

    /// Makes a change: `edit` gives the new object from the one that is there. When another write
    /// came in between, and the client did not say which revision it means, it is tried again.
    async fn change(
        &self,
        target: &Target,
        name: &str,
        dry_run: bool,
        accept: Accept,
        mut warnings: Vec<String>,
        edit: impl Fn(&Value, &mut Vec<String>) -> Result<Value, ApiError>,
    ) -> Result<Response<Body>, ApiError> {
        let resource = target.resource;
        for _attempt in 0..RETRIES {
            let stored = self.stored(target, name)?;
            let old: Value = serde_json::from_slice(&stored.body).unwrap_or_default();
            let mut new = edit(&old, &mut warnings)?;
            admit::identity(target, Some(name), &mut new)?;
            // The client's own expectation; a patch that does not touch it carries the one of the
            // stored object.
            let expected = admit::text(&new, "/metadata/resourceVersion");
            if !expected.is_empty() && expected != &*stored.meta.resource_version {
                if expected.parse::<u64>().is_err() {
                    let why = "strconv.ParseUint: parsing";
                    return Err(ApiError::bare(format!(
                        "{why} \"{expected}\": invalid syntax"
                    )));
                }
                return Err(ApiError::modified(resource, name));
            }
            let change = admit::change(resource, target.subresource.as_deref(), &mut new, &old)?;
            let problems = validate::update(resource.kind, &new, &old);
            if !problems.is_empty() {
                return Err(admit::refused(resource, name, problems).warned(&warnings));
            }
            let mut said = warnings.clone();
            said.extend(validate::warnings(resource.kind, &new));
            let key = Self::key(target, name);
            let at = stored.meta.resource_version.parse().ok().map(Revision);
            let made = match (dry_run, change) {
                (true, _) => Ok(new.to_string().into()),
                (false, Change::Keep) => {
                    let op = Op::Update {
                        expected: at,
                        body: new.to_string().into(),
                    };
                    self.propose.propose(Proposal { key, op }).await.map(body)
                }
                (false, Change::Finished) => {
                    let op = Op::Delete { expected: at };
                    self.propose
                        .propose(Proposal { key, op })
                        .await
                        .map(|_gone| new.to_string().into())
                }
            };
            match made {
                Ok(stored) => {
                    let mut response = answer::object(StatusCode::OK, resource, &stored, accept);
                    answer::warn(&mut response, &said);
                    return Ok(response);
                }
                Err(ProposeError::Conflict { .. }) => {}
                Err(error) => return Err(ApiError::propose(resource, error)),
            }
        }
        Err(ApiError::modified(resource, name))
    }

    /// A replacement is for another object of the same name.
    fn other_uid(target: &Target, name: &str, wanted: &str, found: &str) -> ApiError {
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
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{namespace}{name}, ResourceVersion: 0, \
             AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}",
            resource.plural
        );
        ApiError::conflict(resource, name, &why)
    }

    /// A namespace must be there, and not be going away, before something is made in it.
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
            // Events may still tell how it goes.
            Some(found)
                if !found.meta.deletion_timestamp.is_empty()
                    && target.resource.kind != Kind::Event =>
            {
                Err(ApiError::terminating(target.resource, name, namespace))
            }
            Some(_) => Ok(()),
        }
    }

    /// Gives an Ingress without class the default one: the newest, if several are marked
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

fn body(made: Committed) -> bytes::Bytes {
    made.object.body.clone()
}

/// Decodes a body, as strictly as the client asks.
fn decode(
    resource: &Resource,
    headers: &HeaderMap,
    body: &[u8],
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<Value, ApiError> {
    let form = content_type(headers)?;
    let events_v1 = resource.group == "events.k8s.io";
    let decoded = match events_v1 {
        true => schema::decode_event(form, body),
        false => schema::decode(resource.kind, form, body),
    };
    let decoded = decoded.map_err(|error| ApiError::bad_request(error.to_string()))?;
    let kind = resource.kind.name();
    let cannot = |found: &str, why: &str| {
        let number = resource.version;
        ApiError::bad_request(format!(
            "{found} in version \"{number}\" cannot be handled as a {kind}: {why}"
        ))
    };
    match validation {
        FieldValidation::Strict if !decoded.unknown.is_empty() => {
            return Err(cannot(
                kind,
                &format!("strict decoding error: {}", decoded.unknown.join(", ")),
            ));
        }
        FieldValidation::Warn => warnings.extend(decoded.unknown),
        FieldValidation::Strict | FieldValidation::Ignore => {}
    }
    Ok(if events_v1 {
        events::from_events_v1(decoded.value)
    } else {
        decoded.value
    })
}
