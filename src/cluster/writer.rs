//! Statuses, Secrets and Events written into the mini cluster.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    objects::{
        EventNote, Key, Op, Proposal, Propose, ProposeError, RawObject, Revision, SecretPatch,
        StatusPatch, View, Write, WriteBack, traits::BoxFuture,
    },
    util::stamp,
};

/// The number of attempts to write an object that other writers change at the same time.
const CONFLICT_TRIES: usize = 5;

/// Writes for one node.
pub struct Writer {
    propose: Arc<dyn Propose>,
    view: Arc<dyn View>,
    node: Box<str>,
}

impl WriteBack for Writer {
    fn write(&self, write: Write) -> BoxFuture<'_, ()> {
        Box::pin(self.make(write))
    }
}

impl Writer {
    /// Writes as `node`.
    pub fn new(propose: Arc<dyn Propose>, view: Arc<dyn View>, node: Box<str>) -> Self {
        Self {
            propose,
            view,
            node,
        }
    }

    /// Makes one write. A failure is logged and not retried: the next compile repeats a status.
    async fn make(&self, write: Write) {
        let (about, result) = match write {
            Write::Status(StatusPatch::IngressAddresses { about, addresses }) => {
                let list: Vec<Value> = addresses
                    .iter()
                    .map(|ip| json!({ "ip": ip.to_string() }))
                    .collect();
                let result = self.status(&about.key, &about.uid, &list).await;
                (about.key, result)
            }
            Write::Secret(patch) => (patch.secret(), self.secret(&patch).await),
            Write::Note(note, more) => (note.about.key.clone(), self.note(&note, more).await),
        };
        if let Err(error) = result {
            tracing::warn!(object = %about, %error, "status, Secret or Event not written");
        }
    }

    /// Writes a status, unless the object is gone or is another one of the same name.
    async fn status(&self, key: &Key, uid: &str, addresses: &[Value]) -> Result<(), ProposeError> {
        let status = match addresses {
            [] => json!({ "loadBalancer": {} }),
            some => json!({ "loadBalancer": { "ingress": some } }),
        };
        self.change(key, |known| {
            let known = known.filter(|object| &*object.meta.uid == uid)?;
            let mut body: Value = serde_json::from_slice(&known.body).ok()?;
            let root = body.as_object_mut()?;
            if root.get("status") == Some(&status) {
                return None;
            }
            root.insert("status".to_owned(), status.clone());
            Some(body)
        })
        .await
    }

    /// Writes a certificate into its Secret, which is created if it is missing. A Secret of another
    /// owner is left alone.
    async fn secret(&self, patch: &SecretPatch) -> Result<(), ProposeError> {
        self.change(&patch.secret(), |known| match known {
            Some(known) => patch.put_into(&serde_json::from_slice(&known.body).ok()?),
            None => Some(created(patch.body(), &stamp::now())),
        })
        .await
    }

    /// Writes an Event, or raises the count of the same Event by `more`.
    async fn note(&self, note: &EventNote, more: u64) -> Result<(), ProposeError> {
        let now = stamp::now();
        self.change(&note.key(), |known| match known {
            Some(known) => {
                let mut body: Value = serde_json::from_slice(&known.body).ok()?;
                let count = body["count"].as_u64().unwrap_or(1).saturating_add(more);
                body["count"] = count.into();
                body["lastTimestamp"] = now.clone().into();
                Some(body)
            }
            None => Some(created(note.to_event(&self.node, &now), &now)),
        })
        .await
    }

    /// Writes the object that `edit` returns for the stored one, which may be absent; writes
    /// nothing for `None`. Calls `edit` again when another writer changed the object in between;
    /// gives up silently after [`CONFLICT_TRIES`].
    async fn change(
        &self,
        key: &Key,
        edit: impl Fn(Option<&RawObject>) -> Option<Value>,
    ) -> Result<(), ProposeError> {
        for _try in 0..CONFLICT_TRIES {
            let known = self.view.get(key);
            let Some(body) = edit(known.as_deref()) else {
                return Ok(());
            };

            let body = Bytes::from(body.to_string());
            let op = match &known {
                Some(known) => Op::Update {
                    expected: known.meta.resource_version.parse().ok().map(Revision),
                    body,
                },
                None => Op::Create(body),
            };

            let proposal = Proposal {
                key: key.clone(),
                op,
            };
            match self.propose.propose(proposal).await {
                Err(
                    ProposeError::Conflict { .. }
                    | ProposeError::Exists(_)
                    | ProposeError::NotFound(_),
                ) => {}
                other => return other.map(|_committed| ()),
            }
        }

        Ok(())
    }
}

/// Adds what an API server fills in when an object is created.
fn created(mut body: Value, now: &str) -> Value {
    body["metadata"]["uid"] = stamp::uid().into();
    body["metadata"]["creationTimestamp"] = now.into();
    body
}
