//! Reads and writes single objects of an API server.

use std::{error::Error, time::Duration};

use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use tokio::time::timeout;

use super::{client::Client, paths};
use crate::objects::{Key, Kind};

/// The time limit for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// The largest response that is read, in bytes: one object, or a short list.
const MAX_RESPONSE: usize = 4 * 1024 * 1024;

/// Content types of requests.
pub(super) const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// The reason why an object was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The request was not sent, or its response was lost.
    #[error("{0}")]
    Client(String),
    /// The API server refused the request.
    #[error("the API server responded {0}: {1}")]
    Refused(StatusCode, String),
    /// The API server did not respond in time.
    #[error("the API server did not respond in time")]
    Timeout,
}

impl WriteError {
    /// Returns true for 409: the object exists already, or changed after it was read.
    pub(super) fn conflicts(&self) -> bool {
        matches!(self, Self::Refused(StatusCode::CONFLICT, _))
    }

    /// Returns true for 403 and 404: rights are missing, or the object or its kind is.
    pub fn forbids(&self) -> bool {
        matches!(
            self,
            Self::Refused(StatusCode::FORBIDDEN | StatusCode::NOT_FOUND, _)
        )
    }
}

/// Access to the objects of an API server.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    /// Appended to every URL.
    query: &'static str,
}

impl Objects {
    /// Sends requests through `client`.
    pub fn new(client: Client) -> Self {
        Self { client, query: "" }
    }

    /// Returns a copy whose writes the server checks but does not make.
    pub fn dry_run(&self) -> Self {
        Self {
            client: self.client.clone(),
            query: "?dryRun=All",
        }
    }

    /// Returns the object, or `None` if it does not exist.
    pub async fn find(&self, key: &Key) -> Result<Option<Value>, WriteError> {
        let url = paths::object(key);
        match self.send(Method::GET, &url, JSON, &Value::Null).await {
            Ok(object) => Ok(Some(object)),
            Err(WriteError::Refused(StatusCode::NOT_FOUND, _)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns all objects of a kind. Without pages: for kinds that have few objects.
    pub async fn list(&self, kind: Kind) -> Result<Vec<Value>, WriteError> {
        let url = paths::collection(kind);
        let mut list = self.send(Method::GET, &url, JSON, &Value::Null).await?;
        Ok(list["items"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default())
    }

    /// Creates an object; 409 if it exists.
    pub async fn create(&self, key: &Key, object: &Value) -> Result<Value, WriteError> {
        let url = paths::namespaced(key);
        self.send(Method::POST, &url, JSON, object).await
    }

    /// Changes an object by a merge patch (RFC 7386).
    pub async fn merge(&self, key: &Key, patch: &Value) -> Result<Value, WriteError> {
        let url = paths::object(key);
        self.send(Method::PATCH, &url, MERGE_PATCH, patch).await
    }

    /// Changes the status of an object by a merge patch.
    pub async fn merge_status(&self, key: &Key, patch: &Value) -> Result<Value, WriteError> {
        let url = format!("{}/status", paths::object(key));
        self.send(Method::PATCH, &url, MERGE_PATCH, patch).await
    }

    /// Deletes an object; 404 if it does not exist.
    pub async fn delete(&self, key: &Key) -> Result<Value, WriteError> {
        let url = paths::object(key);
        self.send(Method::DELETE, &url, JSON, &Value::Null).await
    }

    /// Sends JSON to a path of the API that is no resource.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, WriteError> {
        self.send(Method::POST, path, JSON, body).await
    }

    /// Sends a request to any URL of the API. `Null` as `body` is an empty body.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Value, WriteError> {
        let lost = |error: &dyn Error| WriteError::Client(root(error));

        let bytes = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let url = format!("{url}{}", self.query);

        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(CONTENT_TYPE, content_type)
            .body(bytes);
        let request = request.map_err(|error| lost(&error))?;

        let response = async {
            let response = self
                .client
                .send(request)
                .await
                .map_err(|error| lost(&error))?;
            let status = response.status();
            let text = Limited::new(response.into_body(), MAX_RESPONSE)
                .collect()
                .await;
            let text = text.map_err(|error| lost(&*error))?.to_bytes();

            let value: Value = serde_json::from_slice(&text).unwrap_or_default();
            if status.is_success() {
                return Ok(value);
            }
            let message = value["message"].as_str().unwrap_or_default();
            Err(WriteError::Refused(status, message.to_owned()))
        };

        timeout(REQUEST_TIMEOUT, response)
            .await
            .map_err(|_elapsed| WriteError::Timeout)?
    }
}

/// Returns the message of the innermost cause: "connection refused" says more than "client error".
pub(super) fn root(mut error: &dyn Error) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
