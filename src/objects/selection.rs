//! The selection of ConfigMaps and Pods: a cluster has many, and gatelet follows few.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Kind, RawObject};

/// The objects that are followed of kinds of which a cluster has many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// ConfigMaps.
    pub config_maps: NamedConfigMaps,
    /// Pods.
    pub pods: PodLabels,
}

/// The labels of Pods that are asked for, by namespace. Nothing else of Pods is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodLabels(Arc<BTreeMap<Arc<str>, BTreeSet<Box<str>>>>);

/// The ConfigMaps that are followed for their name, besides those with
/// [`ISSUER_LABEL`](super::ISSUER_LABEL).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedConfigMaps(Arc<BTreeSet<(Arc<str>, Arc<str>)>>);

impl NamedConfigMaps {
    /// Returns true if no ConfigMap is followed for its name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if the ConfigMap with this namespace and name is followed for them.
    pub fn contains(&self, name: &(Arc<str>, Arc<str>)) -> bool {
        self.0.contains(name)
    }

    /// Returns true if an object is followed; those of other kinds all are.
    pub fn selects(&self, object: &RawObject) -> bool {
        let key = &object.key;
        let is_named = || {
            let name = (key.namespace.clone(), key.name.clone());
            self.0.contains(&name)
        };
        key.kind != Kind::ConfigMap || object.is_issuer() || is_named()
    }
}

/// Selects the ConfigMaps with these namespaces and names.
impl FromIterator<(Arc<str>, Arc<str>)> for NamedConfigMaps {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(names: I) -> Self {
        Self(Arc::new(names.into_iter().collect()))
    }
}

impl PodLabels {
    /// Returns true if no labels are asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if a label is asked for in a namespace.
    pub fn contains(&self, namespace: &str, label: &str) -> bool {
        let labels = self.0.get(namespace);
        labels.is_some_and(|labels| labels.contains(label))
    }

    /// Returns the namespace, if it is the only one.
    pub fn namespace(&self) -> Option<&Arc<str>> {
        let mut names = self.0.keys();
        names.next().filter(|_| names.next().is_none())
    }

    /// Returns the label, if it is the only one.
    pub fn label(&self) -> Option<&str> {
        let mut labels = self.0.values().flatten();
        let first = labels.next()?;
        labels.all(|label| label == first).then_some(first)
    }

    /// Returns the part of a Pod that is asked for; `None` if that is nothing.
    pub fn part_of(&self, pod: &RawObject) -> Option<RawObject> {
        let asked = self.0.get(&pod.key.namespace)?;
        let labels = pod.meta.labels.iter();
        let labels = labels.filter(|(name, _)| asked.contains(*name));
        let labels: Map<String, Value> = labels
            .map(|(name, value)| (name.to_string(), (&**value).into()))
            .collect();

        let part = json!({"metadata": {
            "name": &*pod.key.name,
            "namespace": &*pod.key.namespace,
            "uid": &*pod.meta.uid,
            "labels": labels,
        }});
        RawObject::parse(Kind::Pod, Bytes::from(part.to_string())).ok()
    }
}

/// Asks for these labels in these namespaces.
impl FromIterator<(Arc<str>, Box<str>)> for PodLabels {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Box<str>)>>(labels: I) -> Self {
        let mut all: BTreeMap<Arc<str>, BTreeSet<Box<str>>> = BTreeMap::new();
        for (namespace, label) in labels {
            all.entry(namespace).or_default().insert(label);
        }
        Self(Arc::new(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_pods_only_the_labels_that_are_asked_for_are_kept() {
        let labels = [("n", "group"), ("m", "group"), ("m", "version")];
        let of = |count| -> PodLabels {
            let asked = labels.iter().take(count);
            asked.map(|(n, l)| ((*n).into(), (*l).into())).collect()
        };

        let shown = |count| {
            let asked = of(count);
            (
                asked.namespace().map(|name| name.to_string()),
                asked.label().map(str::to_owned),
            )
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(shown(0), (None, None));
        assert_eq!(shown(1), (text("n"), text("group")));
        assert_eq!(shown(2), (None, text("group")));
        assert_eq!(shown(3), (None, None));

        let pod = json!({
            "metadata": {
                "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7",
                "annotations": {"secret": "x"}, "labels": {"group": "blue", "version": "2"},
            },
            "spec": {"nodeName": "x"},
        });
        let pod = RawObject::parse(Kind::Pod, Bytes::from(pod.to_string())).expect("a Pod");

        let part = of(3).part_of(&pod).expect("a part");
        let expected = json!({"metadata": {
            "name": "a", "namespace": "n", "uid": "u", "labels": {"group": "blue"}}});
        let body: Value = serde_json::from_slice(&part.body).expect("JSON");
        assert_eq!(body, expected);
        let elsewhere: PodLabels = [("m".into(), "group".into())].into_iter().collect();
        assert!(elsewhere.part_of(&pod).is_none());
    }
}
