//! The verb patch.

use http::{HeaderMap, Response};
use serde_json::Value;

use super::{
    Api, events,
    merge::{self, PatchError},
    registry::Resource,
    request::{ResourceRequest, media_type},
    response::Body,
    schema::{self, ContentType},
    status::ApiError,
    write::FieldValidation,
};

/// The kinds of patches that are supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PatchType {
    Strategic,
    Merge,
    Json,
}

impl PatchType {
    fn parse(headers: &HeaderMap) -> Result<Self, ApiError> {
        match media_type(headers).as_str() {
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/json-patch+json" => Ok(Self::Json),
            "application/apply-patch+yaml" => Err(ApiError::unsupported_patch(
                "server-side apply is not supported: use kubectl apply without --server-side, \
                 helm with --server-side=false",
            )),
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
            Self::Merge => merge::merge_patch(target, patch),
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
        self.change(request, name, dry_run, Vec::new(), edit).await
    }
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
            PatchType::Merge | PatchType::Json => ApiError::invalid_patch(&result, why),
        };
        let decoded = schema::decode(resource.kind, ContentType::Json, result.as_bytes())
            .map_err(|error| invalid(&error.reason()))?;
        self.validation
            .check(decoded, warnings)
            .map_err(|why| invalid(&why.to_string()))
    }
}
