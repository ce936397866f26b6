//! Decides by class which Ingresses are served, and summarizes the others.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{OtherClass, annotations::OLD_CLASS, facts::IngressFact, index::Index};

/// At most this many classes are told apart; the others are put together.
const MAX_CLASSES: usize = 16;
/// Stands for those others. No class can have this name.
const REST: &str = "(others)";
/// At most this many annotations are named for a class.
const MAX_GUARDS: usize = 16;

impl Index {
    /// Returns whether the Ingress is for us: `ingressClassName` decides, else the old annotation,
    /// else the default class or the setting for classless objects. A class is ours by its
    /// IngressClass or by the settings.
    pub(super) fn is_ours(&self, fact: &IngressFact) -> bool {
        let taken = |name: &str| self.settings.classes.iter().any(|class| **class == *name);
        let ours =
            |name: &str| taken(name) || self.classes.get(name).is_some_and(|class| class.ours);
        match (&fact.spec.ingress_class_name, old_class(fact)) {
            (Some(class), _) => ours(class),
            // Before IngressClass objects, the value was a word that controllers agreed on with
            // their users.
            (None, Some(class)) => ours(class) || class == "gatelet",
            (None, None) => {
                self.settings.classless
                    || self
                        .classes
                        .iter()
                        .any(|(name, class)| class.default && ours(name))
            }
        }
    }

    /// Summarizes the Ingresses that are not served because of their class, as of the last compile:
    /// the class with the most Ingresses first, and a bounded number of classes.
    pub fn other_classes(&self) -> Vec<OtherClass> {
        let mut classes: BTreeMap<&str, (OtherClass, BTreeMap<&str, usize>)> = BTreeMap::new();
        for (name, _) in self.compiled.iter().filter(|(_, compiled)| !compiled.ours) {
            let Some(fact) = self.ingresses.get(name) else {
                continue;
            };
            let class = fact
                .spec
                .ingress_class_name
                .as_deref()
                .or_else(|| old_class(fact))
                .unwrap_or_default();
            let (summary, guards) = classes.entry(class).or_default();
            summary.ingresses += 1;
            let closing = fact.peers.iter().filter(|one| one.meaning.closes());
            summary.guarded += usize::from(closing.clone().next().is_some());
            for annotation in closing {
                *guards.entry(&annotation.name).or_default() += 1;
            }
        }

        let told = |(class, (summary, guards)): (&str, (OtherClass, BTreeMap<&str, usize>))| {
            let mut guards: Vec<(Box<str>, usize)> = guards
                .into_iter()
                .map(|(name, count)| (name.into(), count))
                .collect();
            guards.sort_by_key(|(_, count)| Reverse(*count));
            guards.truncate(MAX_GUARDS);
            OtherClass {
                class: class.into(),
                guards,
                ..summary
            }
        };
        let mut classes: Vec<OtherClass> = classes.into_iter().map(told).collect();
        classes.sort_by_key(|one| Reverse(one.ingresses));

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
    fact.annotations
        .iter()
        .find(|(name, _)| **name == *OLD_CLASS)
        .map(|(_, class)| &**class)
}
