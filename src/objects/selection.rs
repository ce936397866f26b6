//! The selection of ConfigMaps: a cluster has many, and gatelet follows few.

use std::{collections::BTreeSet, sync::Arc};

use super::{Kind, RawObject};

/// The ConfigMaps that are followed for their name, besides those with
/// [`ISSUER_LABEL`](super::ISSUER_LABEL).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedConfigMaps(Arc<BTreeSet<(Arc<str>, Arc<str>)>>);

impl NamedConfigMaps {
    /// Returns true if no ConfigMap is followed for its name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
