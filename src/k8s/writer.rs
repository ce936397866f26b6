//! Statuses, Secrets and Events written into a real cluster.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::client::Client;
use super::objects::{Objects, WriteError};
use crate::{
    objects::{
        EventNote, EventType, Key, SecretPatch, StatusPatch, Write, WriteBack, traits::BoxFuture,
    },
    util::{backoff::Backoff, stamp},
};

/// How often a write is sent to an API server that answers with errors of its own.
const ATTEMPTS: u32 = 6;

/// Writes for one node.
pub struct Writer {
    objects: Objects,
    node: Box<str>,
}

impl WriteBack for Writer {
    fn write(&self, write: Write) -> BoxFuture<'_, ()> {
        Box::pin(self.make(write))
    }
}

impl Writer {
    /// Writes as `node`.
    pub fn new(client: Client, node: Box<str>) -> Self {
        Self {
            objects: Objects::new(client),
            node,
        }
    }

    /// Makes one write. Waits for a cluster that does not respond: no later compile repeats the
    /// write.
    async fn make(&self, write: Write) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        for attempt in 1.. {
            let (about, done) = match &write {
                Write::Status(patch @ StatusPatch::IngressAddresses { about, .. }) => {
                    (about.key.clone(), self.status(patch).await)
                }
                Write::Secret(patch) => (patch.secret(), self.secret(patch).await),
                Write::Note(note, more) => (note.about.key.clone(), self.note(note, *more).await),
            };
            let Err(error) = done else { return };
            let again = match &error {
                WriteError::Client(_) | WriteError::Timeout => true,
                WriteError::Refused(status, _) => {
                    // The credentials will be renewed, or another replica leads.
                    *status == StatusCode::UNAUTHORIZED
                        || attempt < ATTEMPTS
                            && (status.is_server_error()
                                || *status == StatusCode::TOO_MANY_REQUESTS)
                }
            };
            if !again {
                tracing::warn!(object = %about, %error, "status, Secret or Event not written");
                return;
            }
            if attempt == 1 {
                tracing::info!(object = %about, %error, "what is to be written waits until the cluster takes it");
            }
            tokio::time::sleep(backoff.failed(u64::from_le_bytes(stamp::random()))).await;
        }
    }

    /// Writes a status. That the object is gone is no error.
    async fn status(&self, patch: &StatusPatch) -> Result<(), WriteError> {
        let StatusPatch::IngressAddresses { about, addresses } = patch;
        let list: Vec<Value> = addresses
            .iter()
            .map(|ip| json!({ "ip": ip.to_string() }))
            .collect();
        let body = json!({ "metadata": { "uid": &*about.uid }, "status": { "loadBalancer": { "ingress": list } } });
        match self.objects.merge_status(&about.key, &body).await {
            Err(WriteError::Refused(StatusCode::NOT_FOUND, _)) => Ok(()),
            other => other.map(|_answer| ()),
        }
    }

    /// Writes a certificate into its Secret, made if it is not there. One that is not ours is left
    /// alone.
    async fn secret(&self, patch: &SecretPatch) -> Result<(), WriteError> {
        let key = patch.secret();
        match self.objects.create(&key, &patch.body()).await {
            Err(WriteError::Refused(StatusCode::CONFLICT, _)) => {}
            other => return other.map(|_answer| ()),
        }
        let Some(known) = self.objects.find(&key).await? else {
            return Ok(());
        };
        let Some(changed) = patch.put_into(&known) else {
            return Ok(());
        };
        // Only as it was read: if somebody else writes it at the same moment, this is asked for
        // again.
        let version = &changed["metadata"]["resourceVersion"];
        let merge = json!({
            "metadata": { "resourceVersion": version, "annotations": &changed["metadata"]["annotations"] },
            "data": &changed["data"],
        });
        self.objects.merge(&key, &merge).await.map(|_answer| ())
    }

    /// Writes an Event; one that is there counts `more`.
    async fn note(&self, note: &EventNote, more: u64) -> Result<(), WriteError> {
        let key = note.event_key();
        let now = stamp::now();
        let body = self.event(&key, note, &now);
        match self.objects.create(&key, &body).await {
            Err(WriteError::Refused(StatusCode::CONFLICT, _)) => {}
            other => return other.map(|_answer| ()),
        }
        let Some(known) = self.objects.find(&key).await? else {
            return Ok(());
        };
        let count = known["count"].as_u64().unwrap_or(1).saturating_add(more);
        let patch = json!({ "count": count, "lastTimestamp": now });
        self.objects.merge(&key, &patch).await.map(|_answer| ())
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
}
