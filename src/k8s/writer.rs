//! Statuses, Secrets and Events written into a real cluster.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    client::Client,
    objects::{Objects, WriteError},
};
use crate::{
    objects::{EventNote, SecretPatch, StatusPatch, Write, WriteBack, traits::BoxFuture},
    util::{backoff::Backoff, stamp},
};

/// The number of attempts at a write to which the API server responds with an internal error.
const ATTEMPTS: u32 = 6;

/// The shortest and the longest wait before the next attempt.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

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

    /// Makes one write. Waits for a cluster that does not respond, because no later compile repeats
    /// the write.
    async fn make(&self, write: Write) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        for attempt in 1.. {
            let (about, result) = match &write {
                Write::Status(patch @ StatusPatch::IngressAddresses { about, .. }) => {
                    (about.key.clone(), self.status(patch).await)
                }
                Write::Secret(patch) => (patch.secret(), self.secret(patch).await),
                Write::Note(note, more) => (note.about.key.clone(), self.note(note, *more).await),
            };
            let Err(error) = result else { return };

            if !may_pass(&error, attempt) {
                tracing::warn!(object = %about, %error, "status, Secret or Event not written");
                return;
            }
            if attempt == 1 {
                tracing::info!(
                    object = %about,
                    %error,
                    "status, Secret or Event not written yet: retrying until the cluster accepts it"
                );
            }
            tokio::time::sleep(backoff.failed(u64::from_le_bytes(stamp::random()))).await;
        }
    }

    /// Writes a status. A missing object is no error.
    async fn status(&self, patch: &StatusPatch) -> Result<(), WriteError> {
        let StatusPatch::IngressAddresses { about, addresses } = patch;
        let list: Vec<Value> = addresses
            .iter()
            .map(|ip| json!({ "ip": ip.to_string() }))
            .collect();
        let body = json!({
            "metadata": { "uid": &*about.uid },
            "status": { "loadBalancer": { "ingress": list } },
        });
        match self.objects.merge_status(&about.key, &body).await {
            Err(WriteError::Refused(StatusCode::NOT_FOUND, _)) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Writes a certificate into its Secret, which is created if it is missing. A Secret of another
    /// owner is left alone.
    async fn secret(&self, patch: &SecretPatch) -> Result<(), WriteError> {
        let key = patch.secret();
        match self.objects.create(&key, &patch.body()).await {
            Err(WriteError::Refused(StatusCode::CONFLICT, _)) => {}
            other => return other.map(drop),
        }

        let Some(known) = self.objects.find(&key).await? else {
            return Ok(());
        };
        let Some(changed) = patch.put_into(&known) else {
            return Ok(());
        };
        // With the version that was read: after a conflict the control loop sends the patch again.
        let metadata = &changed["metadata"];
        let merge = json!({
            "metadata": {
                "resourceVersion": &metadata["resourceVersion"],
                "labels": &metadata["labels"],
                "annotations": &metadata["annotations"],
            },
            "data": &changed["data"],
        });
        self.objects.merge(&key, &merge).await.map(drop)
    }

    /// Writes an Event, or raises the count of the same Event by `more`.
    async fn note(&self, note: &EventNote, more: u64) -> Result<(), WriteError> {
        let key = note.key();
        let now = stamp::now();
        let event = note.to_event(&self.node, &now);
        match self.objects.create(&key, &event).await {
            Err(WriteError::Refused(StatusCode::CONFLICT, _)) => {}
            other => return other.map(drop),
        }

        let Some(known) = self.objects.find(&key).await? else {
            return Ok(());
        };
        let count = known["count"].as_u64().unwrap_or(1).saturating_add(more);
        let patch = json!({ "count": count, "lastTimestamp": now });
        self.objects.merge(&key, &patch).await.map(drop)
    }
}

/// Returns whether a write that failed `attempt` times may succeed later.
fn may_pass(error: &WriteError, attempt: u32) -> bool {
    match error {
        // On 401, the credentials will be renewed or another replica will lead.
        WriteError::Client(_)
        | WriteError::Timeout
        | WriteError::Refused(StatusCode::UNAUTHORIZED, _) => true,
        WriteError::Refused(status, _) => {
            let passes = status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS;
            passes && attempt < ATTEMPTS
        }
    }
}
