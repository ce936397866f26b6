//! Statuses and Events written into the mini cluster.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    objects::{
        EventNote, EventType, Key, Op, Proposal, Propose, ProposeError, Revision, SecretPatch,
        StatusPatch, View, Write, WriteBack, traits::BoxFuture,
    },
    util::stamp,
};

/// How often a write is tried again when somebody else changed the object in between.
const CONFLICT_RETRIES: usize = 5;

/// Writes into the mini cluster.
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

    /// Makes one write. A failure is logged: the next compile repeats the write if it still differs.
    async fn make(&self, write: Write) {
        let (about, done) = match write {
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
        if let Err(error) = done {
            tracing::warn!(object = %about, %error, "status, Secret or Event not written");
        }
    }

    async fn status(&self, key: &Key, uid: &str, addresses: &[Value]) -> Result<(), ProposeError> {
        for _attempt in 0..CONFLICT_RETRIES {
            let Some(object) = self.view.get(key).filter(|object| &*object.meta.uid == uid) else {
                return Ok(());
            };
            let Ok(mut body) = serde_json::from_slice::<Value>(&object.body) else {
                return Ok(());
            };
            let Some(root) = body.as_object_mut() else {
                return Ok(());
            };
            let status = match addresses {
                [] => json!({ "loadBalancer": {} }),
                some => json!({ "loadBalancer": { "ingress": some } }),
            };
            if root.get("status") == Some(&status) {
                return Ok(());
            }
            root.insert("status".to_owned(), status);
            let expected = object.meta.resource_version.parse().ok().map(Revision);
            let op = Op::Update {
                expected,
                body: Bytes::from(body.to_string()),
            };
            match self
                .propose
                .propose(Proposal {
                    key: key.clone(),
                    op,
                })
                .await
            {
                Err(ProposeError::Conflict { .. }) => {}
                Err(ProposeError::NotFound(_)) => return Ok(()),
                other => return other.map(|_committed| ()),
            }
        }
        Ok(())
    }

    async fn secret(&self, patch: &SecretPatch) -> Result<(), ProposeError> {
        let key = patch.secret();
        for _attempt in 0..CONFLICT_RETRIES {
            let op = match self.view.get(&key) {
                Some(known) => {
                    let Ok(body) = serde_json::from_slice::<Value>(&known.body) else {
                        return Ok(());
                    };
                    let Some(body) = patch.put_into(&body) else {
                        return Ok(());
                    };
                    let expected = known.meta.resource_version.parse().ok().map(Revision);
                    Op::Update {
                        expected,
                        body: Bytes::from(body.to_string()),
                    }
                }
                None => {
                    let mut body = patch.body();
                    body["metadata"]["uid"] = stamp::uid().into();
                    body["metadata"]["creationTimestamp"] = stamp::now().into();
                    Op::Create(Bytes::from(body.to_string()))
                }
            };
            match self
                .propose
                .propose(Proposal {
                    key: key.clone(),
                    op,
                })
                .await
            {
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

    /// Writes an Event; one that is there counts `more`.
    async fn note(&self, note: &EventNote, more: u64) -> Result<(), ProposeError> {
        let key = note.event_key();
        let now = stamp::now();
        for _attempt in 0..CONFLICT_RETRIES {
            let op = match self.view.get(&key) {
                Some(known) => {
                    let Ok(mut body) = serde_json::from_slice::<Value>(&known.body) else {
                        return Ok(());
                    };
                    let count = body["count"].as_u64().unwrap_or(1).saturating_add(more);
                    body["count"] = count.into();
                    body["lastTimestamp"] = now.clone().into();
                    let expected = known.meta.resource_version.parse().ok().map(Revision);
                    Op::Update {
                        expected,
                        body: Bytes::from(body.to_string()),
                    }
                }
                None => Op::Create(Bytes::from(self.event(&key, note, &now).to_string())),
            };
            match self
                .propose
                .propose(Proposal {
                    key: key.clone(),
                    op,
                })
                .await
            {
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

    fn event(&self, key: &Key, note: &EventNote, now: &str) -> Value {
        let about = &note.about.key;
        let mut involved = json!({
            "apiVersion": about.kind.api_version(),
            "kind": about.kind.name(),
            "name": &*about.name,
            "uid": &*note.about.uid,
        });
        if !about.namespace.is_empty() {
            involved["namespace"] = (&*about.namespace).into();
        }
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": &*key.name,
                "namespace": &*key.namespace,
                "uid": stamp::uid(),
                "creationTimestamp": now,
            },
            "involvedObject": involved,
            "reason": note.reason,
            "message": &*note.message,
            "type": match note.event_type { EventType::Normal => "Normal", EventType::Warning => "Warning" },
            "source": { "component": "gatelet", "host": &*self.node },
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "eventTime": null,
            "reportingComponent": "gatelet.dev/ingress-controller",
            "reportingInstance": &*self.node,
        })
    }
}
