//! Notes as `v1` Event objects, equal for every cluster that they are written to.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{EventNote, EventType, Key, Kind};
use crate::util::hash::fnv1a_fields;

impl EventNote {
    /// Returns the key of the Event. The same note about the same object has the same name, so that
    /// it counts up instead of piling up.
    pub fn key(&self) -> Key {
        let hash = fnv1a_fields(&[&self.about.uid, self.reason, &self.message]);
        let namespace = match &*self.about.key.namespace {
            "" => Arc::from("default"),
            _ => self.about.key.namespace.clone(),
        };
        Key {
            kind: Kind::Event,
            namespace,
            name: format!("{}.{hash:016x}", self.about.key.name).into(),
        }
    }

    /// Returns the Event that `node` reports for the first time at `now` (RFC 3339). It lacks what
    /// an API server fills in: `metadata.uid` and `metadata.creationTimestamp`.
    pub fn to_event(&self, node: &str, now: &str) -> Value {
        let key = self.key();
        let about = &self.about.key;

        let mut involved = json!({
            "apiVersion": about.kind.api_version(),
            "kind": about.kind.name(),
            "name": &*about.name,
            "uid": &*self.about.uid,
        });
        if !about.namespace.is_empty() {
            involved["namespace"] = (&*about.namespace).into();
        }

        let event_type = match self.event_type {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        };

        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": &*key.name, "namespace": &*key.namespace },
            "involvedObject": involved,
            "reason": self.reason,
            "message": &*self.message,
            "type": event_type,
            "source": { "component": "gatelet", "host": node },
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "eventTime": null,
            "reportingComponent": "gatelet.dev/ingress-controller",
            "reportingInstance": node,
        })
    }
}
