//! Single objects of an API server, read and written.

use std::{error::Error, time::Duration};

use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use tokio::time::timeout;

use super::{client::Client, paths};
use crate::objects::{Key, Kind};

/// For one request.
const PATIENCE: Duration = Duration::from_secs(15);
/// An answer is one object, or a short list.
const LARGEST: usize = 4 * 1024 * 1024;

/// Why something was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The request did not get through.
    #[error("{0}")]
    Client(String),
    /// The API server refused it.
    #[error("the API server answered {0}: {1}")]
    Refused(StatusCode, String),
    /// No answer.
    #[error("the API server did not answer in time")]
    Timeout,
}

impl WriteError {
    /// Whether somebody else was quicker: it is there already, or not any more as it was read.
    pub(super) fn conflicts(&self) -> bool {
        matches!(self, Self::Refused(StatusCode::CONFLICT, _))
    }

    /// Whether the rights are missing, or what the URL names.
    pub fn forbids(&self) -> bool {
        matches!(
            self,
            Self::Refused(StatusCode::FORBIDDEN | StatusCode::NOT_FOUND, _)
        )
    }
}

/// The objects behind an API server.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    /// Put after every URL.
    query: &'static str,
}

impl Objects {
    /// Speaks through this client.
    pub fn new(client: Client) -> Self {
        Self { client, query: "" }
    }

    /// The same, whose writes are checked and answered and not made.
    pub fn dry_run(&self) -> Self {
        Self {
            client: self.client.clone(),
            query: "?dryRun=All",
        }
    }

    /// The object, or `None` if there is none.
    pub async fn find(&self, key: &Key) -> Result<Option<Value>, WriteError> {
        match self
            .send(
                Method::GET,
                &paths::object(key),
                "application/json",
                &Value::Null,
            )
            .await
        {
            Ok(object) => Ok(Some(object)),
            Err(WriteError::Refused(StatusCode::NOT_FOUND, _)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects of a kind without namespaces, of which there are few.
    pub async fn list(&self, kind: Kind) -> Result<Vec<Value>, WriteError> {
        let mut list = self
            .send(
                Method::GET,
                &paths::collection(kind),
                "application/json",
                &Value::Null,
            )
            .await?;
        Ok(list["items"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default())
    }

    /// Creates an object; 409 if it is there.
    pub async fn create(&self, key: &Key, object: &Value) -> Result<Value, WriteError> {
        self.send(
            Method::POST,
            &paths::namespaced(key),
            "application/json",
            object,
        )
        .await
    }

    /// Changes an object by a merge patch (RFC 7386).
    pub async fn merge(&self, key: &Key, patch: &Value) -> Result<Value, WriteError> {
        self.send(
            Method::PATCH,
            &paths::object(key),
            "application/merge-patch+json",
            patch,
        )
        .await
    }

    /// Changes the status of an object by a merge patch.
    pub async fn merge_status(&self, key: &Key, patch: &Value) -> Result<Value, WriteError> {
        let url = format!("{}/status", paths::object(key));
        self.send(Method::PATCH, &url, "application/merge-patch+json", patch)
            .await
    }

    /// Deletes an object; 404 if it is not there.
    pub async fn delete(&self, key: &Key) -> Result<Value, WriteError> {
        self.send(
            Method::DELETE,
            &paths::object(key),
            "application/json",
            &Value::Null,
        )
        .await
    }

    /// Sends a request for any URL of the API.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        kind: &str,
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
            .header(CONTENT_TYPE, kind)
            .body(bytes);
        let request = request.map_err(|error| lost(&error))?;
        let answered = async {
            let response = self
                .client
                .send(request)
                .await
                .map_err(|error| lost(&error))?;
            let status = response.status();
            let text = Limited::new(response.into_body(), LARGEST).collect().await;
            let text = text.map_err(|error| lost(&*error))?.to_bytes();
            let value: Value = serde_json::from_slice(&text).unwrap_or_default();
            if status.is_success() {
                return Ok(value);
            }
            Err(WriteError::Refused(
                status,
                value["message"].as_str().unwrap_or_default().to_owned(),
            ))
        };
        timeout(PATIENCE, answered)
            .await
            .map_err(|_elapsed| WriteError::Timeout)?
    }
}

/// The innermost cause: "connection refused" says more than "client error".
pub(super) fn root(mut error: &dyn Error) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
