//! Errors of the API: each becomes a `Status` object with the reason that clients test for.

use std::fmt;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{manage::Conflict, registry::Resource, validate::FieldError};
use crate::{access::Action, objects::ProposeError};

/// A refused request.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) code: StatusCode,
    /// `reason`; empty for the few errors that have none.
    reason: &'static str,
    message: String,
    details: Map<String, Value>,
    /// True if the `Status` has details even though they are empty.
    has_details: bool,
    /// True for plain text instead of a `Status`, which a real API server sends for unknown paths.
    plain: bool,
    /// Texts of `Warning` headers.
    pub(crate) warnings: Vec<String>,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message.trim_end())
    }
}

impl ApiError {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Map::new(),
            has_details: false,
            plain: false,
            warnings: Vec::new(),
        }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// Returns the error with `details` that are empty, as a real API server sends for requests
    /// that no handler takes.
    fn with_no_details(mut self) -> Self {
        self.has_details = true;
        self
    }

    /// Returns the error with these warnings.
    pub(crate) fn warned(self, warnings: &[String]) -> Self {
        Self {
            warnings: warnings.to_vec(),
            ..self
        }
    }

    fn about(self, resource: &Resource, name: &str) -> Self {
        let about = if name.is_empty() {
            self
        } else {
            self.with("name", name)
        };
        let about = if resource.group.is_empty() {
            about
        } else {
            about.with("group", resource.group)
        };
        about.with("kind", resource.plural)
    }

    /// Returns the error for an unknown path.
    pub(crate) fn no_such_path() -> Self {
        Self {
            plain: true,
            ..Self::new(StatusCode::NOT_FOUND, "NotFound", "404 page not found\n")
        }
    }

    /// Returns the error for an unknown resource of a known group.
    pub(crate) fn no_such_resource() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            "the server could not find the requested resource",
        )
        .with_no_details()
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        let of = (&*resource.qualified(), resource.group, resource.plural);
        Self::missing(of, name)
    }

    /// Returns the error for an object that does not exist. `of` is the name of its resource for
    /// messages, its group and its plural.
    pub(crate) fn missing(of: (&str, &str, &str), name: &str) -> Self {
        let (qualified, group, plural) = of;
        let message = format!("{qualified} \"{name}\" not found");
        let error = Self::new(StatusCode::NOT_FOUND, "NotFound", message).with("name", name);
        let error = if group.is_empty() {
            error
        } else {
            error.with("group", group)
        };
        error.with("kind", plural)
    }

    pub(crate) fn exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).about(resource, name)
    }

    /// Returns the error for a stale `resourceVersion`.
    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; \
                   please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            resource.qualified()
        );
        Self::new(StatusCode::CONFLICT, "Conflict", message).about(resource, name)
    }

    /// Returns the error for an apply that would change fields of other managers.
    pub(crate) fn apply_conflict(conflicts: &[Conflict]) -> Self {
        let message = match conflicts {
            [one] => format!("1 conflict: conflict with {}: {}", one.manager, one.field),
            many => {
                let mut lines = Vec::new();
                for of_one in many.chunk_by(|a, b| a.manager == b.manager) {
                    lines.push(format!("conflicts with {}:", of_one[0].manager));
                    lines.extend(
                        of_one
                            .iter()
                            .map(|conflict| format!("- {}", conflict.field)),
                    );
                }
                format!("{} conflicts: {}", many.len(), lines.join("\n"))
            }
        };

        let cause = |conflict: &Conflict| {
            json!({
                "reason": "FieldManagerConflict",
                "message": format!("conflict with {}", conflict.manager),
                "field": conflict.field,
            })
        };
        let causes: Vec<Value> = conflicts.iter().map(cause).collect();
        let message = format!("Apply failed with {message}");
        Self::new(StatusCode::CONFLICT, "Conflict", message).with("causes", causes)
    }

    /// Returns true for the error that an object exists already.
    pub(crate) fn is_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }

    /// Returns the error for a precondition of a deletion that does not hold. In this conflict a
    /// real API server names the kind, in others the resource.
    pub(crate) fn precondition(resource: &Resource, name: &str, why: &str) -> Self {
        let kind = resource.kind.name();
        let qualified = if resource.group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{}", resource.group)
        };
        let message = format!("Operation cannot be fulfilled on {qualified} \"{name}\": {why}");
        Self::new(StatusCode::CONFLICT, "Conflict", message)
            .about(resource, name)
            .with("kind", kind)
    }

    pub(crate) fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let message = forbidden(&resource.qualified(), name, why);
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).about(resource, name)
    }

    /// Returns the error for an action that no rule allows to a user.
    pub(crate) fn denied(user: &str, action: &Action, reason: &str) -> Self {
        let why = format!("User {} cannot {action}", Value::from(user));
        // A real API server guards messages against being read as HTML.
        let mut why = why
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        if !reason.is_empty() {
            why = format!("{why}: {reason}");
        }

        let Action::Resource(action) = action else {
            let message = format!("forbidden: {why}");
            return Self {
                has_details: true,
                ..Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
            };
        };
        let qualified = match &*action.group {
            "" => action.resource.clone(),
            group => format!("{}.{group}", action.resource),
        };
        let message = forbidden(&qualified, &action.name, &why);
        let mut error = Self::new(StatusCode::FORBIDDEN, "Forbidden", message);
        let details = [
            ("name", &action.name),
            ("group", &action.group),
            ("kind", &action.resource),
        ];
        for (member, value) in details {
            if !value.is_empty() {
                error = error.with(member, value.as_str());
            }
        }
        error
    }

    /// Returns the error for a new object in a namespace that is being deleted.
    pub(crate) fn terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let cause = json!({
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        });
        Self::forbidden(resource, name, &why).with("causes", vec![cause])
    }

    /// Returns the error for an object with invalid fields.
    pub(crate) fn invalid(resource: &Resource, name: &str, errors: &[FieldError]) -> Self {
        let kind = resource.kind.name();
        let kind = if resource.group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{}", resource.group)
        };

        let error = Self::invalid_fields(&format!("{kind} \"{name}\""), errors);
        let error = if name.is_empty() {
            error
        } else {
            error.with("name", name)
        };
        let error = if resource.group.is_empty() {
            error
        } else {
            error.with("group", resource.group)
        };
        error.with("kind", resource.kind.name())
    }

    /// Returns the error for a replacement that does not name the version that it replaces. In it a
    /// real API server names the resource, in others about fields the kind.
    pub(crate) fn unversioned(resource: &Resource, name: &str) -> Self {
        let error = FieldError {
            field: "metadata.resourceVersion".to_owned(),
            reason: "FieldValueInvalid",
            message: "Invalid value: 0x0: must be specified for an update".to_owned(),
        };
        let what = format!("{} \"{name}\"", resource.qualified());
        Self::invalid_fields(&what, &[error]).about(resource, name)
    }

    /// Returns the error for a patch whose result is not an object of the kind.
    pub(crate) fn invalid_patch(patch: &str, why: &str) -> Self {
        let message = format!("Invalid value: {}: {why}", Value::from(patch));
        let error = FieldError {
            field: "patch".to_owned(),
            reason: "FieldValueInvalid",
            message,
        };
        Self::invalid_fields(" \"\"", &[error])
    }

    /// Returns the error for invalid options in the query. `kind` is `ListOptions` or another kind
    /// of options in `meta.k8s.io`.
    pub(crate) fn invalid_options(
        kind: &str,
        field: &str,
        reason: &'static str,
        message: &str,
    ) -> Self {
        let error = FieldError {
            field: field.to_owned(),
            reason,
            message: message.to_owned(),
        };
        let error = Self::invalid_fields(&format!("{kind}.meta.k8s.io \"\""), &[error]);
        error.with("group", "meta.k8s.io").with("kind", kind)
    }

    /// Returns the error for a review with invalid fields. A real API server names no kind in it.
    pub(crate) fn invalid_review(errors: &[FieldError]) -> Self {
        let group = "authorization.k8s.io";
        Self::invalid_fields(&format!(".{group} \"\""), errors).with("group", group)
    }

    /// Returns the error for an invalid request for a token.
    pub(crate) fn invalid_token(name: &str, problem: FieldError) -> Self {
        let (group, kind) = ("authentication.k8s.io", "TokenRequest");
        let error = Self::invalid_fields(&format!("{kind}.{group} \"{name}\""), &[problem]);
        let error = match name {
            "" => error,
            name => error.with("name", name),
        };
        error.with("group", group).with("kind", kind)
    }

    fn invalid_fields(what: &str, errors: &[FieldError]) -> Self {
        let lines: Vec<String> = errors
            .iter()
            .map(|error| format!("{}: {}", error.field, error.message))
            .collect();
        let all = match lines.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let cause = |error: &FieldError| {
            let (reason, message, field) = (error.reason, &error.message, &error.field);
            json!({ "reason": reason, "message": message, "field": field })
        };
        let causes: Vec<Value> = errors.iter().map(cause).collect();
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Invalid",
            format!("{what} is invalid: {all}"),
        )
        .with("causes", causes)
    }

    /// Returns the error for a JSON patch with an operation that failed.
    pub(crate) fn unprocessable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message).with_no_details()
    }

    /// Returns the error for a verb that this server cannot offer for a kind, with the reason.
    pub(crate) fn unsupported_verb(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// Returns the error for a client that accepts none of the formats.
    pub(crate) fn not_acceptable(has_protobuf: bool) -> Self {
        let more = match has_protobuf {
            true => ", application/vnd.kubernetes.protobuf",
            false => "",
        };
        let message = format!(
            "406: Not Acceptable\n\nAvailable representations: application/json, \
             application/yaml{more}"
        );
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// Returns the error for a Table of what has no list.
    pub(crate) fn no_table() -> Self {
        let message = "only the following media types are accepted: application/json, \
                       application/yaml, application/vnd.kubernetes.protobuf";
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message).with_no_details()
    }

    pub(crate) fn unsupported_body() -> Self {
        let message = "the body of the request was in an unknown format - \
                       accepted media types include: application/json, application/yaml, \
                       application/vnd.kubernetes.protobuf";
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            message,
        )
    }

    pub(crate) fn unsupported_patch(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            message,
        )
        .with_no_details()
    }

    pub(crate) fn body_too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            message,
        )
    }

    /// Returns the error for a revision that the history no longer has. The client lists again.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    pub(crate) fn too_many(what: &str) -> Self {
        let message = format!("too many {what}, please try again later");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message)
            .with("retryAfterSeconds", 1)
    }

    /// Returns the error for a revision that is newer than the newest one: the client has seen a
    /// state that this server does not have.
    pub(crate) fn future(requested: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {requested}, current: {current}");
        let cause =
            json!({ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" });
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message)
            .with("causes", vec![cause])
            .with("retryAfterSeconds", 1)
    }

    /// Returns an error without a reason, as a real API server sends for a few cases.
    pub(crate) fn bare(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
    }

    /// Returns the error for a proposal that the state machine refused.
    pub(crate) fn propose(resource: &Resource, error: ProposeError) -> Self {
        match error {
            ProposeError::Exists(key) => Self::exists(resource, &key.name),
            ProposeError::NotFound(key) => Self::not_found(resource, &key.name),
            ProposeError::Conflict { key, .. } => Self::modified(resource, &key.name),
            ProposeError::Malformed(why) => Self::bad_request(&*why),
            ProposeError::Unavailable(why) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", &*why)
                    .with("retryAfterSeconds", 1)
            }
        }
    }

    /// Returns the `Status` object.
    pub(crate) fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code.as_u16(),
        });

        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if !self.details.is_empty() || self.has_details {
            status["details"] = self.details.clone().into();
        }
        status
    }

    /// Returns the media type and body of the response.
    pub(crate) fn body(&self) -> (&'static str, Bytes) {
        if self.plain {
            (
                "text/plain; charset=utf-8",
                Bytes::from(self.message.clone()),
            )
        } else {
            ("application/json", Bytes::from(self.to_value().to_string()))
        }
    }
}

/// Returns the message of a refusal: about an object, or about all of a resource.
fn forbidden(qualified: &str, name: &str, why: &str) -> String {
    match name {
        "" => format!("{qualified} is forbidden: {why}"),
        name => format!("{qualified} {} is forbidden: {why}", Value::from(name)),
    }
}
