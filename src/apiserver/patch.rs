//! The verb patch.

use http::{HeaderMap, Response};
use serde_json::Value;

use super::{
    Api, admit, events,
    manage::{self, Origin},
    merge::{self, PatchError},
    registry::Resource,
    request::{Query, ResourceRequest, Target, media_type},
    response::Body,
    schema::{self, ContentType, Decoded},
    status::ApiError,
    write::{self, FieldValidation, RETRIES},
};

/// The kinds of patches that are supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PatchType {
    Strategic,
    Merge,
    Json,
    Apply,
}

impl PatchType {
    fn parse(headers: &HeaderMap) -> Result<Self, ApiError> {
        match media_type(headers).as_str() {
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/json-patch+json" => Ok(Self::Json),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ => Err(ApiError::unsupported_patch("415: Unsupported Media Type")),
        }
    }

    fn apply(
        self,
        resource: &Resource,
        target: &mut Value,
        patch: &Value,
    ) -> Result<(), PatchError> {
        match self {
            Self::Strategic => merge::strategic(resource.kind, target, patch),
            Self::Merge | Self::Apply => merge::merge_patch(target, patch),
            Self::Json => merge::json_patch(target, patch),
        }
    }
}

/// A patch as it was sent.
struct Patch<'b> {
    of: PatchType,
    body: &'b [u8],
    value: Value,
    validation: FieldValidation,
}

impl Api {
    /// Changes an object or its status: PATCH.
    pub(crate) async fn patch(
        &self,
        request: &ResourceRequest<'_>,
        name: &str,
    ) -> Result<Response<Body>, ApiError> {
        let (query, body) = (&request.query, request.body);
        let of = PatchType::parse(request.headers)?;
        let origin = write::origin(request, "PatchOptions")?;
        if of == PatchType::Apply {
            return self.apply(request, name, &origin).await;
        }
        check_force(query)?;
        let value = serde_json::from_slice(body).map_err(|error| {
            let why = schema::describe_json(&error);
            ApiError::bad_request(format!("error decoding patch: {why}"))
        })?;
        let dry_run = query.dry_run("PatchOptions")?;
        let patch = Patch {
            of,
            body,
            value,
            validation: FieldValidation::parse(query, "PatchOptions")?,
        };

        let edit = |old: &Value, warnings: &mut Vec<String>| {
            // A conflict with another write repeats the edit.
            warnings.clear();
            patch.edit(request.target.resource, old, warnings)
        };
        self.change(request, name, dry_run, Vec::new(), Some(&origin), edit)
            .await
    }

    /// Applies an object or its status: PATCH with `application/apply-patch+yaml`.
    async fn apply(
        &self,
        request: &ResourceRequest<'_>,
        name: &str,
        origin: &Origin<'_>,
    ) -> Result<Response<Body>, ApiError> {
        let (query, target) = (&request.query, request.target);
        if query.text("fieldManager").is_empty() {
            let (reason, message) = (
                "FieldValueRequired",
                "Required value: is required for apply patch",
            );
            return Err(ApiError::invalid_options(
                "PatchOptions",
                "fieldManager",
                reason,
                message,
            ));
        }
        let (dry_run, force) = (query.dry_run("PatchOptions")?, query.flag("force"));
        let validation = FieldValidation::parse(query, "PatchOptions")?;
        let mut warnings = Vec::new();
        let applied = decode_applied(target, request.body, validation, &mut warnings)?;

        for _attempt in 0..RETRIES {
            if target.subresource.is_some() || self.view.get(&Self::key(target, name)).is_some() {
                let edit = |old: &Value, _warnings: &mut Vec<String>| {
                    merged(origin, Some(old), &applied, force)
                };
                return self
                    .change(request, name, dry_run, warnings, None, edit)
                    .await;
            }

            let mut new = merged(origin, None, &applied, force)?;
            // The version of an object that does not exist does not matter.
            if let Some(metadata) = new["metadata"].as_object_mut() {
                metadata.remove("resourceVersion");
            }
            let created = self
                .create_object(request, Some(name), new, dry_run, warnings.clone(), None)
                .await;
            match created {
                Err(error) if error.is_exists() => {}
                other => return other,
            }
        }
        Err(ApiError::modified(target.resource, name))
    }
}

/// Refuses the parameter `force` of a patch that is not an apply.
fn check_force(query: &Query) -> Result<(), ApiError> {
    if query.text("force").is_empty() {
        return Ok(());
    }
    let message = "Forbidden: may not be specified for non-apply patch";
    Err(ApiError::invalid_options(
        "PatchOptions",
        "force",
        "FieldValueForbidden",
        message,
    ))
}

/// Decodes an applied object in the stored form, and checks that it fits its kind.
fn decode_applied(
    target: &Target,
    body: &[u8],
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<Value, ApiError> {
    let resource = target.resource;
    let mut problems = Vec::new();
    let value = schema::decode_applied(body, &mut problems)
        .map_err(|why| ApiError::bad_request(format!("error decoding YAML: {why}")))?;
    let decoded = Decoded { value, problems };
    let applied = validation
        .check(decoded, warnings)
        .map_err(|why| ApiError::bad_request(format!("error strict decoding YAML: {why}")))?;

    let (version, kind) = (
        admit::text(&applied, "/apiVersion"),
        admit::text(&applied, "/kind"),
    );
    let full = match version.contains('/') {
        true => version.to_owned(),
        false => format!("/{version}"),
    };
    if (version, kind) != (&*resource.api_version(), resource.kind.name()) {
        let message = format!("invalid object type: {full}, Kind={kind}");
        return Err(ApiError::bad_request(message));
    }
    if !applied["metadata"]["managedFields"].is_null() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }

    let text = |pointer| admit::text(&applied, pointer);
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    manage::check(resource, &applied).map_err(|misfit| {
        let of = format!("{namespace}/{name}; {full}, Kind={kind}");
        ApiError::bare(format!(
            "failed to create typed patch object ({of}): {misfit}"
        ))
    })?;
    Ok(match resource.group {
        "events.k8s.io" => events::from_events_v1(applied),
        _ => applied,
    })
}

/// Returns the stored object with an applied one merged into it. `old` is absent if there is none.
fn merged(
    origin: &Origin<'_>,
    old: Option<&Value>,
    applied: &Value,
    force: bool,
) -> Result<Value, ApiError> {
    let new = origin
        .apply(old, applied, force)
        .map_err(|conflicts| ApiError::apply_conflict(&conflicts))?;
    let body = new.to_string();
    let decoded = schema::decode(origin.resource.kind, ContentType::Json, body.as_bytes());
    decoded
        .map(|decoded| decoded.value)
        .map_err(|error| ApiError::bad_request(error.to_string()))
}

impl Patch<'_> {
    /// Returns the patched object.
    fn edit(
        &self,
        resource: &Resource,
        old: &Value,
        warnings: &mut Vec<String>,
    ) -> Result<Value, ApiError> {
        // The patch applies to the object as its resource shows it: Events have two forms.
        let events_v1 = resource.group == "events.k8s.io";
        let mut new = if events_v1 {
            events::to_events_v1(old.clone())
        } else {
            old.clone()
        };
        self.of
            .apply(resource, &mut new, &self.value)
            .map_err(|error| match error {
                PatchError::Malformed(why) => ApiError::bad_request(why),
                PatchError::Failed(_) => ApiError::unprocessable(),
            })?;
        if events_v1 {
            new = events::from_events_v1(new);
        }

        // The error shows what a real API server decodes: the patch if it has the form of the
        // object, otherwise the patched object.
        let result = new.to_string();
        let invalid = |why: &str| match self.of {
            PatchType::Strategic => {
                ApiError::invalid_patch(&String::from_utf8_lossy(self.body), why)
            }
            PatchType::Merge | PatchType::Json | PatchType::Apply => {
                ApiError::invalid_patch(&result, why)
            }
        };
        let decoded = schema::decode(resource.kind, ContentType::Json, result.as_bytes())
            .map_err(|error| invalid(&error.reason()))?;
        self.validation
            .check(decoded, warnings)
            .map_err(|why| invalid(&why.to_string()))
    }
}
