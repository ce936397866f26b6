//! The parts of an output that are there only if they are others than before.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
};

use super::Index;
use crate::{
    controller::{OtherClass, groups, objects::Name},
    objects::{NamedConfigMaps, PodLabels, StatusPatch},
    routing::Backend,
};

impl Index {
    /// Returns the statuses of these Ingresses that are out of date.
    pub(super) fn status_patches<'a>(
        &self,
        names: impl Iterator<Item = &'a Name>,
    ) -> Vec<StatusPatch> {
        let mut addresses = self.objects.settings.addresses.clone();
        addresses.sort_unstable();
        if addresses.is_empty() {
            return Vec::new();
        }

        let names: BTreeSet<&Name> = names.collect();
        let patches = names.into_iter().filter_map(|name| {
            let fact = self.objects.ingresses.get(name)?;
            let compiled = self.compiled.get(name)?;
            let is_outdated = compiled.ours && *fact.addresses != *addresses;
            is_outdated.then(|| StatusPatch::IngressAddresses {
                about: fact.about.clone(),
                addresses: addresses.clone(),
            })
        });
        patches.collect()
    }

    /// Returns the ConfigMaps to follow if they are others than were last returned.
    pub(super) fn changed_config_maps(&mut self) -> Option<NamedConfigMaps> {
        let settings = &self.objects.settings;
        let of_settings = settings.port_maps().chain(&settings.nginx_configmap);
        let of_settings = of_settings.chain(&self.objects.global.maps);
        let classes = self.objects.class_settings.values();
        let of_settings = of_settings.chain(classes.filter_map(|class| class.map.as_ref()));
        let of_ingresses = self.dependencies.config_maps();
        let named: NamedConfigMaps = of_settings.chain(of_ingresses).cloned().collect();
        (self.config_maps != named).then(|| {
            self.config_maps = named.clone();
            named
        })
    }

    /// Returns the backends whose endpoints are checked if they are others than were last returned.
    pub(super) fn changed_checks(&mut self) -> Option<Vec<Weak<Backend>>> {
        let mut checked: Vec<&Arc<Backend>> = self.backends.checked().collect();
        checked.sort_unstable_by(|one, other| one.settings.cmp(&other.settings));
        let is_same = |(one, other): (&Weak<Backend>, &&Arc<Backend>)| {
            std::ptr::eq(one.as_ptr(), Arc::as_ptr(other))
        };

        let before = &self.checked;
        if before.len() == checked.len() && before.iter().zip(&checked).all(is_same) {
            return None;
        }
        self.checked = checked.into_iter().map(Arc::downgrade).collect();
        Some(self.checked.clone())
    }

    /// Returns the labels of Pods to follow if they are others than were last returned.
    pub(super) fn changed_pods(&mut self) -> Option<PodLabels> {
        let groups = self.backends.groups();
        let groups = groups.filter(|_| !self.objects.settings.standalone);
        let labels = groups.flat_map(|(service, groups)| {
            groups::labels(groups).map(|label| (service.0.clone(), label.into()))
        });

        let labels: PodLabels = labels.collect();
        (self.pods.as_ref() != Some(&labels)).then(|| {
            self.pods = Some(labels.clone());
            labels
        })
    }

    /// Returns the summary of other classes if it changed since it was last returned.
    pub(super) fn changed_classes(&mut self) -> Option<Vec<OtherClass>> {
        let classes = self.other_classes();
        if self.reported_classes.as_ref() == Some(&classes) {
            return None;
        }
        self.reported_classes = Some(classes.clone());
        Some(classes)
    }
}
