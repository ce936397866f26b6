//! Reads and writes the Leases of one namespace (`coordination.k8s.io/v1`).

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    client::Client,
    objects::{JSON, Objects, WriteError},
};

/// The Leases of a namespace.
#[derive(Clone)]
pub(super) struct Leases {
    objects: Objects,
    url: String,
}

impl Leases {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        let url = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        Self {
            objects: Objects::new(client),
            url,
        }
    }

    /// Returns the Lease, or `None` if it does not exist.
    pub(super) async fn find(&self, name: &str) -> Result<Option<Value>, WriteError> {
        let url = format!("{}/{name}", self.url);
        let found = self
            .objects
            .send(Method::GET, &url, JSON, &Value::Null)
            .await;
        match found {
            Ok(lease) => checked(lease).map(Some),
            Err(WriteError::Refused(StatusCode::NOT_FOUND, _)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns all Leases with a label.
    pub(super) async fn list(&self, label: &str) -> Result<Vec<Value>, WriteError> {
        let url = format!("{}?labelSelector={}", self.url, label.replace('/', "%2F"));
        let mut list = self
            .objects
            .send(Method::GET, &url, JSON, &Value::Null)
            .await?;
        Ok(list["items"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default())
    }

    /// Creates a Lease, or updates it if it has a `resourceVersion`: 409 if it changed after it was
    /// read.
    pub(super) async fn put(&self, name: &str, mut lease: Value) -> Result<Value, WriteError> {
        let (method, url) = match lease["metadata"]["resourceVersion"].is_string() {
            true => (Method::PUT, format!("{}/{name}", self.url)),
            false => (Method::POST, self.url.clone()),
        };
        lease["apiVersion"] = "coordination.k8s.io/v1".into();
        lease["kind"] = "Lease".into();
        lease["metadata"]["name"] = name.into();
        checked(self.objects.send(method, &url, JSON, &lease).await?)
    }

    /// Deletes a Lease unless it changed after it was read.
    pub(super) async fn delete(&self, lease: &Value) -> Result<(), WriteError> {
        let (name, version) = (
            &lease["metadata"]["name"],
            &lease["metadata"]["resourceVersion"],
        );
        let url = format!("{}/{}", self.url, name.as_str().unwrap_or_default());
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": { "resourceVersion": version },
        });
        self.objects
            .send(Method::DELETE, &url, JSON, &options)
            .await
            .map(drop)
    }
}

/// Returns the current time as a Lease writes it: RFC 3339 with microseconds (`metav1.MicroTime`).
pub(super) fn micro_time() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}

/// Returns the Lease in a response, or an error if the response is something else.
fn checked(lease: Value) -> Result<Value, WriteError> {
    if lease["metadata"].is_object() {
        Ok(lease)
    } else {
        Err(WriteError::Client("the response is not a Lease".to_owned()))
    }
}
