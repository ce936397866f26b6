//! The labels of Pods that groups of endpoints ask for.

use std::{collections::HashMap, mem};

use crate::{
    objects::{Key, PodLabels, RawObject, Texts},
    routing::EndpointId,
};

/// The labels of Pods.
#[derive(Debug, Default)]
pub(super) struct Pods {
    by_key: HashMap<Key, EndpointId>,
    labels: HashMap<EndpointId, Texts>,
    /// The labels that are known of all Pods of their namespaces.
    pub(super) known: PodLabels,
    /// True if the source does not show Pods.
    pub(super) is_refused: bool,
}

impl Pods {
    /// Returns the labels of a Pod, if it is known.
    pub(super) fn labels(&self, id: EndpointId) -> Option<&Texts> {
        self.labels.get(&id)
    }

    /// Returns the keys of the Pods.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.by_key.keys()
    }

    /// Takes in a Pod. Returns true if that changes something.
    pub(super) fn put(&mut self, pod: &RawObject) -> bool {
        let id = EndpointId::of(&pod.meta.uid);
        let before = self.by_key.insert(pod.key.clone(), id);
        if let Some(before) = before.filter(|before| *before != id) {
            self.labels.remove(&before);
        }
        let labels = self.labels.insert(id, pod.meta.labels.clone());
        labels.as_ref() != Some(&pod.meta.labels)
    }

    /// Forgets a Pod. Returns true if it was known.
    pub(super) fn remove(&mut self, key: &Key) -> bool {
        let id = self.by_key.remove(key);
        id.and_then(|id| self.labels.remove(&id)).is_some()
    }

    /// Notes whether the source shows Pods. Returns true if that changes something.
    pub(super) fn refuse(&mut self, refused: bool) -> bool {
        mem::replace(&mut self.is_refused, refused) != refused
    }

    /// Notes the labels that are known. Returns true if that changes something.
    pub(super) fn know(&mut self, labels: PodLabels) -> bool {
        let has_changed = self.known != labels;
        self.known = labels;
        has_changed
    }
}
