//! Announces findings: each is logged, and becomes an Event on its object, once for as long as it
//! holds.

use std::{collections::HashSet, fmt::Write as _};

use crate::{
    app::write_queue::WriteQueue,
    controller::{Finding, Reason},
    objects::{EventNote, EventType, Write},
};

/// Reason of the findings of which one object can have many: they share an Event.
const UNSUPPORTED: Reason = Reason::UnsupportedAnnotation;

/// Length of an Event's message in bytes after which annotations are only counted. Kubernetes
/// allows 1024.
const MAX_MESSAGE: usize = 900;

/// The findings of the last call, to recognize new ones.
#[derive(Debug, Default)]
struct Known(Option<HashSet<Finding>>);

impl Known {
    /// Returns the findings that are new since the last call, sorted.
    fn update(&mut self, findings: &[Finding]) -> Vec<Finding> {
        let now: HashSet<Finding> = findings.iter().cloned().collect();
        let before = self.0.take().unwrap_or_default();
        let mut new: Vec<Finding> = now.difference(&before).cloned().collect();
        new.sort_by(|a, b| (&a.about, a.reason, &a.field).cmp(&(&b.about, b.reason, &b.field)));
        self.0 = Some(now);
        new
    }
}

/// Announces findings.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    /// The findings that are logged.
    logged: Known,
    /// The findings that have Events since this replica leads.
    with_events: Known,
}

impl Announcer {
    /// Forgets the Events: this replica has become the leader, or is none any more.
    pub(super) fn reset_events(&mut self) {
        self.with_events = Known::default();
    }

    /// Logs the new ones of all findings that hold.
    pub(super) fn log(&mut self, findings: &[Finding]) {
        for finding in self.logged.update(findings) {
            log(&finding);
        }
    }

    /// Queues Events for the new ones of all findings that hold.
    pub(super) fn write_events(&mut self, findings: &[Finding], queue: &WriteQueue) {
        // The first findings of a leader may have Events by the leader before it: these count on.
        let more = u64::from(self.with_events.0.is_some());
        for note in notes(self.with_events.update(findings)) {
            queue.push(Write::Note(note, more));
        }
    }
}

/// Returns an Event for each finding, and one for all unsupported annotations of an object.
fn notes(findings: Vec<Finding>) -> Vec<EventNote> {
    let mut notes = Vec::new();
    let mut findings = findings.into_iter().peekable();

    while let Some(finding) = findings.next() {
        let mut annotations = Vec::new();
        // The findings are sorted by object and reason.
        while finding.reason == UNSUPPORTED
            && let Some(other) = findings
                .next_if(|other| (&other.about, other.reason) == (&finding.about, UNSUPPORTED))
        {
            annotations.push(other.field);
        }

        let message = match &*finding.field {
            "" => finding.message.to_string().into(),
            field if annotations.is_empty() => format!("{field}: {}", finding.message).into(),
            _ => {
                annotations.insert(0, finding.field);
                unsupported(&annotations).into()
            }
        };

        notes.push(EventNote {
            about: finding.about,
            event_type: finding.severity,
            reason: finding.reason.as_str(),
            message,
        });
    }

    notes
}

/// Lists unsupported annotations by their fields, `metadata.annotations[name]`.
fn unsupported(fields: &[Box<str>]) -> String {
    let mut message = format!("{} annotations have no effect: ", fields.len());
    for (index, field) in fields.iter().enumerate() {
        if message.len() > MAX_MESSAGE {
            // Writing into a string cannot fail.
            let _ = write!(message, " and {} more", fields.len() - index);
            break;
        }
        let name = field
            .strip_prefix("metadata.annotations[")
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(field);
        let separator = if index == 0 { "" } else { ", " };
        let _ = write!(message, "{separator}{name}");
    }
    message + "; `gatelet status` has the details"
}

/// Logs a finding: at level INFO if it is merely worth knowing.
fn log(finding: &Finding) {
    macro_rules! at {
        ($level:ident) => {
            tracing::$level!(
                object = %finding.about.key,
                reason = finding.reason.as_str(),
                field = &*finding.field,
                message = %finding.message,
                "finding"
            )
        };
    }
    match finding.severity {
        EventType::Normal => at!(info),
        EventType::Warning => at!(warn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Key, Kind, ObjectRef};

    fn finding(name: &str, reason: Reason, field: &str) -> Finding {
        let key = Key {
            kind: Kind::Ingress,
            namespace: "n".into(),
            name: name.into(),
        };
        Finding {
            about: ObjectRef {
                key,
                uid: name.into(),
            },
            severity: EventType::Normal,
            reason,
            field: field.into(),
            message: "m".into(),
        }
    }

    #[test]
    fn a_finding_is_new_once_for_as_long_as_it_holds() {
        let (a, b) = (
            finding("a", Reason::UnknownService, "f"),
            finding("b", Reason::UnknownService, "f"),
        );
        let mut known = Known::default();
        assert_eq!(
            known.update(&[b.clone(), a.clone()]),
            [a.clone(), b.clone()]
        );
        assert_eq!(known.update(&[a.clone(), b.clone()]), []);
        assert_eq!(known.update(std::slice::from_ref(&b)), []);
        assert_eq!(known.update(&[a.clone(), b]), [a]);
    }

    #[test]
    fn the_unsupported_annotations_of_an_object_share_an_event() {
        let field = |name: &str| format!("metadata.annotations[x.example/{name}]");
        let findings = vec![
            finding("a", UNSUPPORTED, &field("one")),
            finding("a", UNSUPPORTED, &field("two")),
            finding("a", Reason::UnknownService, "spec"),
            finding("b", UNSUPPORTED, &field("one")),
        ];
        let notes = notes(findings);
        let messages: Vec<_> = notes
            .iter()
            .map(|note| (&*note.about.key.name, &*note.message))
            .collect();
        assert_eq!(
            messages,
            [
                (
                    "a",
                    "2 annotations have no effect: x.example/one, x.example/two; \
                     `gatelet status` has the details"
                ),
                ("a", "spec: m"),
                ("b", "metadata.annotations[x.example/one]: m"),
            ]
        );
    }

    #[test]
    fn the_message_of_a_shared_event_has_a_limit() {
        let fields: Vec<Box<str>> = (0..100)
            .map(|number| format!("metadata.annotations[x.example/{number:050}]").into())
            .collect();
        let message = unsupported(&fields);
        assert!(message.len() <= 1024, "{}", message.len());
        assert!(message.contains(" more; "), "{message}");
    }
}
