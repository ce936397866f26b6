//! Statuses and Events written into a real cluster.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Limited};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::paths;
use crate::{
    objects::{EventNote, EventType, Key, Kind, StatusPatch},
    util::stamp,
};

/// For one request.
const PATIENCE: Duration = Duration::from_secs(15);
/// An answer is one object.
const LARGEST: usize = 4 * 1024 * 1024;

/// Why something was not written.
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

/// Writes for one node.
pub struct Writer {
    client: Client,
    node: Box<str>,
}

impl Writer {
    /// Writes as `node`.
    pub fn new(client: Client, node: Box<str>) -> Self {
        Self { client, node }
    }

    /// Writes a status. That the object is gone is no error.
    pub async fn status(&self, patch: &StatusPatch) -> Result<(), WriteError> {
        let StatusPatch::IngressAddresses { about, addresses } = patch;
        let list: Vec<Value> = addresses.iter().map(|ip| json!({ "ip": ip.to_string() })).collect();
        let body = json!({ "metadata": { "uid": &*about.uid }, "status": { "loadBalancer": { "ingress": list } } });
        let url = format!("{}/status", paths::object(&about.key));
        match self.send(Method::PATCH, &url, "application/merge-patch+json", &body).await {
            Err(WriteError::Refused(StatusCode::NOT_FOUND, _)) => Ok(()),
            other => other.map(|_answer| ()),
        }
    }

    /// Writes an Event; the same note again counts up.
    pub async fn note(&self, note: &EventNote) -> Result<(), WriteError> {
        let key = event_key(note);
        let now = stamp::now();
        let body = self.event(&key, note, &now);
        let url = paths::namespaced(&key);
        match self.send(Method::POST, &url, "application/json", &body).await {
            Err(WriteError::Refused(StatusCode::CONFLICT, _)) => {}
            other => return other.map(|_answer| ()),
        }
        let url = paths::object(&key);
        let known = self.send(Method::GET, &url, "application/json", &Value::Null).await?;
        let count = known["count"].as_u64().unwrap_or(1).saturating_add(1);
        let patch = json!({ "count": count, "lastTimestamp": now });
        self.send(Method::PATCH, &url, "application/merge-patch+json", &patch).await.map(|_answer| ())
    }

    fn event(&self, key: &Key, note: &EventNote, now: &str) -> Value {
        let about = &note.about.key;
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": &*key.name, "namespace": &*key.namespace },
            "involvedObject": {
                "apiVersion": about.kind.api_version(),
                "kind": about.kind.name(),
                "name": &*about.name,
                "namespace": &*about.namespace,
                "uid": &*note.about.uid,
            },
            "reason": note.reason,
            "message": &*note.message,
            "type": match note.event_type { EventType::Normal => "Normal", EventType::Warning => "Warning" },
            "source": { "component": "gatelet", "host": &*self.node },
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "reportingComponent": "gatelet.dev/ingress-controller",
            "reportingInstance": &*self.node,
        })
    }

    async fn send(&self, method: Method, url: &str, kind: &str, body: &Value) -> Result<Value, WriteError> {
        let lost = |error: &dyn std::fmt::Display| WriteError::Client(error.to_string());
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(url).header(CONTENT_TYPE, kind).body(Body::from(bytes));
        let request = request.map_err(|error| lost(&error))?;
        let answered = async {
            let response = self.client.send(request).await.map_err(|error| lost(&error))?;
            let status = response.status();
            let text = Limited::new(response.into_body(), LARGEST).collect().await;
            let text = text.map_err(|error| lost(&error))?.to_bytes();
            let value: Value = serde_json::from_slice(&text).unwrap_or_default();
            if status.is_success() {
                return Ok(value);
            }
            Err(WriteError::Refused(status, value["message"].as_str().unwrap_or_default().to_owned()))
        };
        timeout(PATIENCE, answered).await.map_err(|_elapsed| WriteError::Timeout)?
    }
}

/// The same note about the same object has the same name.
fn event_key(note: &EventNote) -> Key {
    let mut hash = DefaultHasher::new();
    (&note.about.uid, note.reason, &note.message).hash(&mut hash);
    let namespace = match &*note.about.key.namespace {
        "" => Arc::from("default"),
        _ => note.about.key.namespace.clone(),
    };
    Key { kind: Kind::Event, namespace, name: format!("{}.{:016x}", note.about.key.name, hash.finish()).into() }
}
