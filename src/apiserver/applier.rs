//! Applies objects in process: a request of the API without a connection. It takes the same steps
//! as that of a client.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header::CONTENT_TYPE, request::Parts};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{
    absent::ABSENT, admit, api::Api, authenticate::Auth, registry::RESOURCES, request::MAX_BODY,
    response::Body,
};
use crate::{
    access::{MASTERS, User},
    objects::{Propose, View},
    telemetry::AuditLog,
    util::{drain::Drain, percent},
};

/// The most causes of a refusal that are kept.
const MAX_CAUSES: usize = 8;

/// Applies objects as one user and field manager, whoever owns their fields.
pub struct Applier {
    api: Api,
    user: User,
    manager: &'static str,
}

/// The reason why an object is not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The message of the API.
    pub message: String,
    /// The fields that it is about, each with its own message; often none.
    pub causes: Vec<RefusalCause>,
    /// True if the same object may be accepted later: the disk is full, its namespace is missing.
    pub is_passing: bool,
}

/// A field that the API refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalCause {
    /// The field, such as `spec.rules[0].host`.
    pub field: String,
    /// The reason.
    pub message: String,
}

impl Refusal {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            causes: Vec::new(),
            is_passing: false,
        }
    }
}

/// The resource that an object is of.
struct Place {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    namespaced: bool,
}

impl Place {
    fn find(api_version: &str, kind: &str) -> Option<Self> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let served = RESOURCES.iter().find(|resource| {
            (resource.group, resource.version, resource.kind.name()) == (group, version, kind)
        });
        if let Some(resource) = served {
            return Some(Self {
                group: resource.group,
                version: resource.version,
                plural: resource.plural,
                namespaced: resource.namespaced,
            });
        }

        // The API refuses these with advice.
        let absent = ABSENT
            .iter()
            .find(|absent| (absent.group, absent.version, absent.kind) == (group, version, kind))?;
        Some(Self {
            group: absent.group,
            version: absent.version,
            plural: absent.plural,
            namespaced: absent.namespaced,
        })
    }

    /// Returns the path of an object, with its namespace or `default`.
    fn path(&self, namespace: &str, name: &str) -> String {
        let root = match self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        let name = percent::encode(name);
        match (self.namespaced, namespace) {
            (false, _) => format!("{root}/{}/{name}", self.plural),
            (true, "") => format!("{root}/namespaces/default/{}/{name}", self.plural),
            (true, namespace) => {
                let namespace = percent::encode(namespace);
                format!("{root}/namespaces/{namespace}/{}/{name}", self.plural)
            }
        }
    }
}

impl Applier {
    /// Makes an applier with all rights, whose writes have this user name and manager in the audit
    /// log and in `managedFields`.
    pub fn new(
        propose: Arc<dyn Propose>,
        view: Arc<dyn View>,
        user: &str,
        manager: &'static str,
        audit: Option<Arc<AuditLog>>,
        drain: Drain,
    ) -> Self {
        let watches = Arc::new(Semaphore::new(0));
        let mut api = Api::new(propose, view, Auth::default(), watches, drain);
        api.audit = audit;
        Self {
            api,
            user: User::known(user, [MASTERS.to_owned()]),
            manager,
        }
    }

    /// Returns the path of an object in the API.
    ///
    /// # Errors
    /// The object has no name, or its kind does not exist.
    pub fn path(object: &Value) -> Result<String, Refusal> {
        let text = |pointer| admit::text(object, pointer);
        let (api_version, kind) = (text("/apiVersion"), text("/kind"));
        let place = Place::find(api_version, kind).ok_or_else(|| {
            Refusal::new(format!(
                "there is no kind \"{kind}\" in version \"{api_version}\""
            ))
        })?;

        let name = text("/metadata/name");
        if name.is_empty() {
            let message = "an object without a name cannot be applied";
            return Err(Refusal {
                causes: vec![RefusalCause {
                    field: "metadata.name".to_owned(),
                    message: message.to_owned(),
                }],
                ..Refusal::new(message)
            });
        }
        Ok(place.path(text("/metadata/namespace"), name))
    }

    /// Creates or changes an object by server-side apply, with force. Returns the warnings of the
    /// API.
    ///
    /// # Errors
    /// The API refuses the object, or its kind does not exist.
    pub async fn apply(&self, object: &Value) -> Result<Vec<String>, Refusal> {
        let path = Self::path(object)?;
        let body = Bytes::from(object.to_string());
        if body.len() > MAX_BODY {
            return Err(Refusal::new(format!("it is over {MAX_BODY} bytes")));
        }

        let head = self.head(&path)?;
        let response = self.api.handle(self.user.clone(), &head, body).await;
        let (parts, body) = response.into_parts();
        if parts.status.is_success() {
            let warnings = parts.headers.get_all(http::header::WARNING).iter();
            return Ok(warnings.map(|value| warning(value.as_bytes())).collect());
        }
        match body {
            Body::Whole(Some(body)) => Err(refusal(parts.status, &body)),
            Body::Whole(None) | Body::Stream(_) => Err(Refusal::new(parts.status.to_string())),
        }
    }

    fn head(&self, path: &str) -> Result<Parts, Refusal> {
        let query = format!(
            "fieldManager={}&force=true&fieldValidation=Strict",
            self.manager
        );
        let request = Request::builder()
            .method(Method::PATCH)
            .uri(format!("{path}?{query}"))
            .header(CONTENT_TYPE, "application/apply-patch+yaml")
            .body(())
            .map_err(|error| Refusal::new(format!("its name cannot be used: {error}")))?;
        Ok(request.into_parts().0)
    }
}

/// Returns the text of a `Warning` header: `299 - "text"`.
fn warning(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value);
    let text = value.strip_prefix("299 - \"").unwrap_or(&value);
    let text = text.strip_suffix('"').unwrap_or(text);
    text.replace("\\\"", "\"").replace("\\\\", "\\")
}

/// Returns the refusal that a `Status` describes.
fn refusal(code: StatusCode, body: &[u8]) -> Refusal {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Status {
        message: String,
        details: Details,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Details {
        causes: Vec<Cause>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Cause {
        field: String,
        message: String,
    }

    let status: Status = serde_json::from_slice(body).unwrap_or_else(|_not_a_status| Status {
        message: String::from_utf8_lossy(body).trim().to_owned(),
        ..Status::default()
    });
    let causes = status.details.causes.into_iter().take(MAX_CAUSES);
    let mut causes: Vec<RefusalCause> = causes
        .filter(|cause| !cause.field.is_empty())
        .map(|Cause { field, message }| RefusalCause { field, message })
        .collect();
    if causes.is_empty() {
        causes.extend(untyped(&status.message));
    }
    Refusal {
        message: status.message,
        causes,
        is_passing: code.is_server_error()
            || [
                StatusCode::NOT_FOUND,
                StatusCode::CONFLICT,
                StatusCode::FORBIDDEN,
                StatusCode::TOO_MANY_REQUESTS,
            ]
            .contains(&code),
    }
}

/// Returns the field that does not fit its kind, which the message alone names: `failed to create
/// typed patch object (...): .spec.rulez: field not declared in schema`.
fn untyped(message: &str) -> Option<RefusalCause> {
    let (_object, rest) = message.split_once("): .")?;
    let (field, why) = rest.split_once(": ")?;
    Some(RefusalCause {
        field: field.to_owned(),
        message: why.to_owned(),
    })
}
