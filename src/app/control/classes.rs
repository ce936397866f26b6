//! Notifies the operator if no IngressClass of the cluster is ours. gatelet then serves no Ingress
//! that names a class, and there is no object for a finding.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use crate::{
    objects::{Event, Kind, RawObject, slim},
    util::sync::lock,
};

/// A note for the operator, shared with `status` and `/readyz`; empty if all is well.
pub(crate) type Note = Arc<Mutex<String>>;

/// The IngressClasses of the cluster.
#[derive(Debug)]
pub(crate) struct Classes {
    /// `spec.controller` of ours.
    controller: Box<str>,
    /// True if a setting takes Ingresses without a class of ours.
    optional: bool,
    /// The classes, with true for ours; `None` while they are unknown.
    known: Option<BTreeMap<Arc<str>, bool>>,
    note: Note,
}

impl Classes {
    /// Starts without a class. `optional` is true if a setting takes Ingresses without a class.
    pub(crate) fn new(controller: &str, optional: bool) -> Self {
        Self {
            controller: controller.into(),
            optional,
            known: None,
            note: Note::default(),
        }
    }

    /// Returns the note, which follows the classes.
    pub(crate) fn note(&self) -> Note {
        self.note.clone()
    }

    /// Follows an event. Logs when the last class of ours goes and when the first one comes.
    pub(crate) fn observe(&mut self, event: &Event) {
        match event {
            Event::Reset(Kind::IngressClass, all) => {
                self.known = Some(
                    all.iter()
                        .map(|class| (class.key.name.clone(), self.is_ours(class)))
                        .collect(),
                );
            }
            Event::Apply(class) if class.key.kind == Kind::IngressClass => {
                let ours = self.is_ours(class);
                self.known
                    .get_or_insert_default()
                    .insert(class.key.name.clone(), ours);
            }
            Event::Delete(key) if key.kind == Kind::IngressClass => {
                self.known.get_or_insert_default().remove(&key.name);
            }
            // A log line about the missing right exists already.
            Event::Refused(Kind::IngressClass) => self.known = None,
            _ => return,
        }

        self.update_note();
    }

    fn is_ours(&self, class: &RawObject) -> bool {
        class
            .view::<slim::IngressClass>()
            .is_ok_and(|class| *class.spec.controller == *self.controller)
    }

    fn update_note(&self) {
        let command = self.missing();
        let mut note = lock(&self.note);

        match &command {
            Some(command) if note.is_empty() => tracing::warn!(
                controller = &*self.controller,
                %command,
                "no IngressClass is ours, so no Ingress that names a class is served; the command \
                 creates one"
            ),
            None if !note.is_empty() => tracing::info!("an IngressClass is ours now"),
            _ => {}
        }

        let controller = &self.controller;
        *note = command.map_or_else(String::new, |command| {
            format!(
                "no IngressClass has the controller {controller}, so no Ingress that names a class \
                 is served; create one: {command}"
            )
        });
    }

    /// Returns the command that creates a class, if none is ours.
    fn missing(&self) -> Option<String> {
        let known = self.known.as_ref()?;
        if self.optional || known.values().any(|&ours| ours) {
            return None;
        }
        // The controller of an existing class cannot be changed, so its name cannot be used.
        let name = ["gatelet", "gatelet-ingress"]
            .into_iter()
            .find(|name| !known.contains_key(*name))?;
        let class = serde_json::json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": { "name": name },
            "spec": { "controller": &*self.controller },
        });
        Some(format!("echo '{class}' | kubectl apply -f -"))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    const OURS: &str = "gatelet.dev/ingress-controller";

    fn class(name: &str, controller: &str) -> Arc<RawObject> {
        let body = json!({ "metadata": { "name": name }, "spec": { "controller": controller } });
        Arc::new(RawObject::parse(Kind::IngressClass, Bytes::from(body.to_string())).unwrap())
    }

    fn note(classes: &Classes) -> String {
        classes.note.lock().unwrap().clone()
    }

    #[test]
    fn without_a_class_of_ours_the_note_has_a_command() {
        let mut classes = Classes::new(OURS, false);
        assert_eq!(note(&classes), "", "nothing is known yet");
        classes.observe(&Event::Reset(
            Kind::IngressClass,
            vec![class("nginx", "k8s.io/ingress-nginx")],
        ));
        assert_eq!(
            note(&classes),
            "no IngressClass has the controller gatelet.dev/ingress-controller, so no Ingress that \
             names a class is served; create one: echo '{\"apiVersion\":\"networking.k8s.io/v1\",\
             \"kind\":\"IngressClass\",\"metadata\":{\"name\":\"gatelet\"},\
             \"spec\":{\"controller\":\"gatelet.dev/ingress-controller\"}}' \
             | kubectl apply -f -"
        );
        classes.observe(&Event::Apply(class("any", OURS)));
        assert_eq!(note(&classes), "");
        classes.observe(&Event::Delete(class("any", OURS).key.clone()));
        assert_ne!(note(&classes), "");
        classes.observe(&Event::Refused(Kind::IngressClass));
        assert_eq!(note(&classes), "", "a missing right is logged elsewhere");
    }

    #[test]
    fn a_name_that_exists_is_not_proposed() {
        let mut classes = Classes::new(OURS, false);
        classes.observe(&Event::Reset(
            Kind::IngressClass,
            vec![class("gatelet", "other.example/controller")],
        ));
        assert!(
            note(&classes).contains(r#"{"name":"gatelet-ingress"}"#),
            "{}",
            note(&classes)
        );
    }

    #[test]
    fn there_is_no_note_if_no_class_is_needed() {
        let mut classes = Classes::new(OURS, true);
        classes.observe(&Event::Reset(Kind::IngressClass, Vec::new()));
        assert_eq!(note(&classes), "");
    }
}
