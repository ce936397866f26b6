//! Classes: which Ingresses are served here, and a summary of those that are not.

use std::collections::BTreeMap;

use super::{OtherClass, annotations::OLD_CLASS, facts::IngressFact, index::Index};

/// At most this many classes are told apart; the others are put together.
const MAX_CLASSES: usize = 16;
/// The class of those others. No class can have this name.
const REST: &str = "(others)";

impl Index {
    /// Returns whether the Ingress is for us: `ingressClassName` decides, else the old annotation, else the default
    /// class or the setting for classless objects.
    pub(super) fn is_ours(&self, fact: &IngressFact) -> bool {
        let ours = |name: &str| self.classes.get(name).is_some_and(|class| class.ours);
        match (&fact.spec.ingress_class_name, old_class(fact)) {
            (Some(class), _) => ours(class),
            // Before IngressClass objects, the value was a word that controllers agreed on with their users.
            (None, Some(class)) => ours(class) || class == "gatelet",
            (None, None) => self.settings.classless || self.classes.values().any(|class| class.ours && class.default),
        }
    }

    /// Summarizes the Ingresses that are not served because of their class, as of the last compile: the class with
    /// the most Ingresses first, and a bounded number of classes.
    pub fn other_classes(&self) -> Vec<OtherClass> {
        let mut classes: BTreeMap<&str, OtherClass> = BTreeMap::new();
        for (name, fact) in &self.ingresses {
            if self.compiled.get(name).is_some_and(|compiled| !compiled.ours) {
                let class = fact.spec.ingress_class_name.as_deref().or_else(|| old_class(fact)).unwrap_or_default();
                classes.entry(class).or_default().ingresses += 1;
            }
        }

        let mut classes: Vec<OtherClass> =
            classes.into_iter().map(|(class, summary)| OtherClass { class: class.into(), ..summary }).collect();
        classes.sort_by(|a, b| b.ingresses.cmp(&a.ingresses));

        if classes.len() > MAX_CLASSES {
            let rest = classes.split_off(MAX_CLASSES - 1);
            classes.push(OtherClass {
                class: REST.into(),
                ingresses: rest.iter().map(|one| one.ingresses).sum(),
                guarded: rest.iter().map(|one| one.guarded).sum(),
                guards: Vec::new(),
            });
        }
        classes
    }

    /// Returns the summary if it is not the one that was returned before.
    pub(super) fn changed_classes(&mut self) -> Option<Vec<OtherClass>> {
        let classes = self.other_classes();
        if self.told_classes.as_ref() == Some(&classes) {
            return None;
        }
        self.told_classes = Some(classes.clone());
        Some(classes)
    }
}

/// Returns the class that the annotation names, from before `ingressClassName`.
fn old_class(fact: &IngressFact) -> Option<&str> {
    fact.annotations.iter().find(|(name, _)| **name == *OLD_CLASS).map(|(_, class)| &**class)
}
