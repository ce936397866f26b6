//! Notifies the operator if no IngressClass of the cluster is ours. gatelet then serves no Ingress
//! that names a class, and there is no object for a finding.

use std::sync::{Arc, Mutex};

use crate::util::sync::lock;

/// A note for the operator, shared with `status` and `/readyz`; empty if all is well.
pub(crate) type Note = Arc<Mutex<String>>;

/// Keeps the note about the missing IngressClass.
#[derive(Debug)]
pub(crate) struct ClassNote {
    /// `spec.controller` of our classes.
    controller: Box<str>,
    note: Note,
}

impl ClassNote {
    /// Starts with an empty note.
    pub(crate) fn new(controller: &str) -> Self {
        Self {
            controller: controller.into(),
            note: Note::default(),
        }
    }

    /// Returns the note.
    pub(crate) fn note(&self) -> Note {
        self.note.clone()
    }

    /// Updates the note. `missing` is a name for the IngressClass that is missing. Logs when the
    /// last class of ours goes and when the first one comes.
    pub(crate) fn update(&self, missing: Option<&str>) {
        let controller = &self.controller;
        let mut note = lock(&self.note);

        let Some(name) = missing else {
            if !note.is_empty() {
                tracing::info!("an IngressClass is ours now");
            }
            note.clear();
            return;
        };

        let class = serde_json::json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": { "name": name },
            "spec": { "controller": &**controller },
        });
        let command = format!("echo '{class}' | kubectl apply -f -");

        if note.is_empty() {
            tracing::warn!(
                controller = &**controller,
                %command,
                "no IngressClass is ours, so no Ingress that names a class is served; the command \
                 creates one"
            );
        }
        *note = format!(
            "no IngressClass has the controller {controller}, so no Ingress that names a class is \
             served; create one: {command}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_class_of_ours_the_note_has_a_command() {
        let classes = ClassNote::new("gatelet.dev/ingress-controller");
        let note = || lock(&classes.note).clone();
        classes.update(None);
        assert_eq!(note(), "");
        classes.update(Some("gatelet"));
        assert_eq!(
            note(),
            "no IngressClass has the controller gatelet.dev/ingress-controller, so no Ingress that \
             names a class is served; create one: echo '{\"apiVersion\":\"networking.k8s.io/v1\",\
             \"kind\":\"IngressClass\",\"metadata\":{\"name\":\"gatelet\"},\
             \"spec\":{\"controller\":\"gatelet.dev/ingress-controller\"}}' \
             | kubectl apply -f -"
        );
        classes.update(None);
        assert_eq!(note(), "");
    }
}
