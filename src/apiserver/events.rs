//! The two views of Events: `v1` as stored, and `events.k8s.io/v1`
//! (pkg/apis/events/v1/conversion.go); and the removal of old Events.

use std::time::Duration;

use serde_json::Value;

use super::Api;
use crate::{
    objects::{Kind, Op, Proposal, Revision},
    util::time::UnixSeconds,
};

/// The time for which an Event is kept: the default of a real API server's `--event-ttl`.
const TTL: Duration = Duration::from_secs(3600);

/// The time between two removals of old Events.
const INTERVAL: Duration = Duration::from_secs(60);

/// The names of the fields in the two views: stored, shown.
const FIELDS: [(&str, &str); 6] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// The names of the component in the two views.
const COMPONENT: (&str, &str) = ("reportingComponent", "reportingController");

/// Converts a stored object to `events.k8s.io/v1`.
pub(crate) fn to_events_v1(event: Value) -> Value {
    let mut event = rename(event, "events.k8s.io/v1", |(stored, shown)| (stored, shown));
    if let Some(members) = event.as_object_mut() {
        members.retain(|name, value| !(name.starts_with("reporting") && *value == ""));
    }
    event
}

/// Converts an `events.k8s.io/v1` object to the stored form.
pub(crate) fn from_events_v1(event: Value) -> Value {
    rename(event, "v1", |(stored, shown)| (shown, stored))
}

fn rename(
    mut event: Value,
    version: &str,
    direction: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Value {
    let Some(members) = event.as_object_mut() else {
        return event;
    };
    for (from, to) in FIELDS.into_iter().chain([COMPONENT]).map(direction) {
        if let Some(value) = members.remove(from) {
            members.insert(to.to_owned(), value);
        }
    }

    if members.contains_key("apiVersion") {
        members.insert("apiVersion".to_owned(), version.into());
    }
    event
}

impl Api {
    /// Removes Events that were last seen longer than [`TTL`] ago. Runs as long as the server does.
    pub(crate) async fn expire_events(&self) {
        loop {
            self.remove_events_before(UnixSeconds::now() - TTL).await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Removes the Events that were last seen before this moment.
    pub(crate) async fn remove_events_before(&self, time: UnixSeconds) {
        for event in self.view.list(Kind::Event, None).items {
            let body: Value = serde_json::from_slice(&event.body).unwrap_or_default();
            if last_seen(&body).is_none_or(|seen| seen >= time) {
                continue;
            }
            let expected = event.meta.resource_version.parse().ok().map(Revision);
            let proposal = Proposal {
                key: event.key.clone(),
                op: Op::Delete { expected },
            };
            if let Err(error) = self.propose.propose(proposal).await {
                tracing::debug!(event = %event.key, %error, "cannot remove an old Event");
            }
        }
    }
}

/// Returns the time at which the Event was last seen or created.
fn last_seen(event: &Value) -> Option<UnixSeconds> {
    let times = [
        "/metadata/creationTimestamp",
        "/lastTimestamp",
        "/series/lastObservedTime",
        "/eventTime",
    ];
    let times = times
        .into_iter()
        .filter_map(|pointer| event.pointer(pointer)?.as_str());
    times.filter_map(|time| time.parse().ok()).max()
}
