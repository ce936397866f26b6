//! Decides by class which Ingresses are served, and summarizes the others.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use super::{
    OtherClass, Settings,
    annotations::OLD_CLASS,
    compiled::CompiledIngresses,
    facts::{ClassFact, IngressFact},
    globals::ClassSettings,
    objects::Objects,
};
use crate::objects::Kind;

/// The most classes in a summary, with one entry for all others.
const MAX_CLASSES: usize = 16;
/// The name of that entry. No class can have this name.
const REST: &str = "(others)";
/// The most annotations that are named for a class.
const MAX_GUARDS: usize = 16;
/// Names for a new IngressClass of ours.
const NEW_CLASS: [&str; 2] = ["gatelet", "gatelet-ingress"];

impl Settings {
    /// Returns true if a class is ours by its name.
    pub(super) fn has_class(&self, name: &str) -> bool {
        self.classes.iter().any(|class| **class == *name)
    }
}

impl Objects {
    /// Returns the settings of the class of an Ingress that is ours, if it has parameters.
    pub(super) fn class_settings(&self, fact: &IngressFact) -> Option<&ClassSettings> {
        let named = fact.spec.ingress_class_name.as_deref();
        let name = match named.or_else(|| old_class(fact)) {
            Some(name) => name,
            None => {
                let mut classes = self.classes.iter();
                let is_default = |(_, class): &(&Arc<str>, &ClassFact)| class.default && class.ours;
                classes.find(is_default)?.0
            }
        };
        self.class_settings.get(name)
    }

    /// Returns true if the Ingress is for us: `ingressClassName` decides, else the old annotation,
    /// else the default class or the setting for classless objects. A class is ours by its
    /// IngressClass or by the settings.
    pub(super) fn is_ours(&self, fact: &IngressFact) -> bool {
        let ours = |name: &str| {
            self.settings.has_class(name) || self.classes.get(name).is_some_and(|class| class.ours)
        };
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

    /// Returns a free name for an IngressClass of ours if none exists and the settings name no
    /// class: then no Ingress that names a class is served. Classes that the source does not show
    /// may exist.
    pub(super) fn missing_class(&self) -> Option<&'static str> {
        let by_settings = self.settings.classless || !self.settings.classes.is_empty();
        if by_settings || self.classes_refused || self.classes.values().any(|class| class.ours) {
            return None;
        }

        // The controller of an existing class cannot be changed, so its name cannot be used.
        let is_undecodable = |name: &str| {
            let mut keys = self.undecodable.keys();
            keys.any(|key| key.kind == Kind::IngressClass && *key.name == *name)
        };
        NEW_CLASS
            .into_iter()
            .find(|name| !self.classes.contains_key(*name) && !is_undecodable(name))
    }
}

/// Summarizes the Ingresses that are not served because of their class: the class with the most
/// Ingresses first, and a bounded number of classes.
pub(super) fn summarize(objects: &Objects, compiled: &CompiledIngresses) -> Vec<OtherClass> {
    let mut classes: BTreeMap<&str, (OtherClass, BTreeMap<&str, usize>)> = BTreeMap::new();

    for (name, _) in compiled.iter().filter(|(_, compiled)| !compiled.ours) {
        let Some(fact) = objects.ingresses.get(name) else {
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

    let report = |(class, (summary, guards)): (&str, (OtherClass, BTreeMap<&str, usize>))| {
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

    let mut classes: Vec<OtherClass> = classes.into_iter().map(report).collect();
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

/// Returns the class by the annotation that is older than `ingressClassName`.
fn old_class(fact: &IngressFact) -> Option<&str> {
    fact.annotations
        .iter()
        .find(|(name, _)| **name == *OLD_CLASS)
        .map(|(_, class)| &**class)
}
