//! The two views of Events: `v1` as stored, and `events.k8s.io/v1` (pkg/apis/events/v1/conversion.go).

use serde_json::Value;

/// Names of the fields in the two views: stored, shown.
const FIELDS: [(&str, &str); 6] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

const COMPONENT: (&str, &str) = ("reportingComponent", "reportingController");

/// The stored object as `events.k8s.io/v1`.
pub(crate) fn to_events_v1(event: Value) -> Value {
    let mut event = rename(event, "events.k8s.io/v1", |(stored, shown)| (stored, shown));
    if let Some(members) = event.as_object_mut() {
        members.retain(|name, value| !(name.starts_with("reporting") && *value == ""));
    }
    event
}

/// An `events.k8s.io/v1` object (or patch) as it is stored.
pub(crate) fn from_events_v1(event: Value) -> Value {
    rename(event, "v1", |(stored, shown)| (shown, stored))
}

fn rename(
    mut event: Value,
    version: &str,
    direction: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Value {
    let Some(members) = event.as_object_mut() else { return event };
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
