//! `DeleteOptions`, as the body or the query of a DELETE.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::{
    request::{Query, ResourceRequest, content_type},
    schema,
    status::ApiError,
};

/// `meta.k8s.io/v1` DeleteOptions. `gracePeriodSeconds` has no effect, because no served kind shuts
/// down.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DeleteOptions {
    /// The identity and version that the object must have.
    pub(crate) preconditions: Option<Preconditions>,
    /// The deprecated form of the propagation policy. With `false`, the response for an object that
    /// waits for its finalizers is 202.
    pub(crate) orphan_dependents: Option<bool>,
    propagation_policy: Option<String>,
    dry_run: Vec<String>,
}

/// The fate of the dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// They are deleted after it.
    Background,
    /// They are deleted before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// `meta.k8s.io/v1` Preconditions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Preconditions {
    /// `metadata.uid`
    pub(crate) uid: Option<String>,
    /// `metadata.resourceVersion`
    pub(crate) resource_version: Option<String>,
}

impl DeleteOptions {
    /// Parses the body, or the query if there is no body. The errors are those of a real API server
    /// (k8s.io/apiserver/pkg/endpoints/handlers/delete.go).
    pub(crate) fn parse(request: &ResourceRequest<'_>) -> Result<Self, ApiError> {
        let query = &request.query;
        let mut options = match request.body {
            [] => Self::of_query(query)?,
            body => Self::of_body(request.headers, body)?,
        };
        // A real API server ignores the query if there is a body, and would delete the object.
        // Here the query counts too: a dry run must never delete.
        if query.dry_run("DeleteOptions")? && options.dry_run.is_empty() {
            options.dry_run.push("All".to_owned());
        }

        options.check()?;
        Ok(options)
    }

    /// Returns the options of a deletion of exactly this version.
    pub(crate) fn exactly(uid: &str, version: &str, policy: Propagation) -> Self {
        let policy = match policy {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        };
        Self {
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: Some(version.to_owned()),
            }),
            propagation_policy: Some(policy.to_owned()),
            ..Self::default()
        }
    }

    /// Returns the fate of the dependents; `None` if the options do not say.
    pub(crate) fn propagation(&self) -> Option<Propagation> {
        match (self.orphan_dependents, self.propagation_policy.as_deref()) {
            (Some(true), _) | (None, Some("Orphan")) => Some(Propagation::Orphan),
            (None, Some("Foreground")) => Some(Propagation::Foreground),
            (Some(false), _) | (None, Some(_)) => Some(Propagation::Background),
            (None, None) => None,
        }
    }

    /// Returns true if the deletion must change nothing.
    pub(crate) fn dry_run(&self) -> bool {
        !self.dry_run.is_empty()
    }

    fn of_body(headers: &HeaderMap, body: &[u8]) -> Result<Self, ApiError> {
        let value = schema::decode_options(content_type(headers)?, body)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        serde_json::from_value(value).map_err(|error| ApiError::bad_request(error.to_string()))
    }

    fn of_query(query: &Query) -> Result<Self, ApiError> {
        let given = |name| Some(query.text(name)).filter(|text| !text.is_empty());
        if let Some(text) = given("gracePeriodSeconds")
            && text.parse::<i64>().is_err()
        {
            let why = format!(
                "strconv.ParseInt: parsing {}: invalid syntax",
                Value::from(text)
            );
            return Err(ApiError::bad_request(why));
        }

        Ok(Self {
            orphan_dependents: given("orphanDependents")
                .map(|_text| query.flag("orphanDependents")),
            propagation_policy: given("propagationPolicy").map(str::to_owned),
            ..Self::default()
        })
    }

    fn check(&self) -> Result<(), ApiError> {
        let refuse = |field: &str, reason, message: &str| {
            Err(ApiError::invalid_options(
                "DeleteOptions",
                field,
                reason,
                message,
            ))
        };

        if let Some(policy) = &self.propagation_policy {
            if self.orphan_dependents.is_some() {
                let message = format!(
                    "Invalid value: \"{policy}\": \
                     orphanDependents and deletionPropagation cannot be both set"
                );
                return refuse("propagationPolicy", "FieldValueInvalid", &message);
            }
            if !["Foreground", "Background", "Orphan"].contains(&policy.as_str()) {
                let supported = r#""Foreground", "Background", "Orphan", "nil""#;
                let message =
                    format!("Unsupported value: \"{policy}\": supported values: {supported}");
                return refuse("propagationPolicy", "FieldValueNotSupported", &message);
            }
        }

        match self.dry_run.iter().all(|stage| stage == "All") {
            true => Ok(()),
            false => {
                let stages = Value::from(self.dry_run.clone());
                let message = format!("Unsupported value: {stages}: supported values: \"All\"");
                refuse("dryRun", "FieldValueNotSupported", &message)
            }
        }
    }
}
