//! The selection of ConfigMaps: a cluster has many, and gatelet follows few.

use std::sync::Arc;

use super::{Kind, RawObject};

/// The ConfigMaps that are followed for their name, besides those with
/// [`ISSUER_LABEL`](super::ISSUER_LABEL).
#[derive(Clone, Debug, Default)]
pub struct NamedConfigMaps(Arc<[(Arc<str>, Arc<str>)]>);

impl NamedConfigMaps {
    /// Returns the selection of ConfigMaps with these namespaces and names.
    pub fn new(names: impl IntoIterator<Item = (Arc<str>, Arc<str>)>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Returns true if no ConfigMap is followed for its name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if an object is followed; those of other kinds all are.
    pub fn selects(&self, object: &RawObject) -> bool {
        let key = &object.key;
        let is_named = || {
            let mut names = self.0.iter();
            names.any(|(namespace, name)| (namespace, name) == (&key.namespace, &key.name))
        };
        key.kind != Kind::ConfigMap || object.is_issuer() || is_named()
    }
}
