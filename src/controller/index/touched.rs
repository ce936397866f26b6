//! The parts of the model that a compile visits: those that changed, and those that depend on them.

use std::{collections::BTreeSet, mem};

use super::{Index, Touched};
use crate::controller::{class_parameters, global_settings, objects::Name};

impl Index {
    /// Returns the parts to visit: those that were touched directly, and those that depend on the
    /// objects that changed.
    pub(super) fn take_touched(&mut self) -> Touched {
        let mut changes = mem::take(&mut self.changes);
        let mut touched = mem::take(&mut self.touched);
        let dependencies = &self.dependencies;
        touched.findings |= changes.undecodable;

        let mut all_ingresses = changes.classes;
        touched.default_route |= changes.classes;
        touched.ingresses.append(&mut changes.ingresses);

        let has_default_backend = self.objects.settings.default_backend.is_some();
        touched.default_route |= has_default_backend && !changes.services.is_empty();
        let (before, now) = (&self.ports.services, &self.objects.with_ports);
        let has_ports = |service| before.contains(service) || now.contains(service);
        touched.ports |= changes.services.iter().any(has_ports);
        let (settings, global) = (&self.objects.settings, &self.objects.global);
        let is_global = |map| global.names(settings, map);
        if touched.first || changes.config_maps.iter().any(is_global) {
            self.objects.global = global_settings::read(&self.objects);
            all_ingresses = true;
            touched.default_route = true;
            touched.findings = true;
        }
        let is_of_class = |map: &Name| {
            let mut classes = self.objects.class_settings.values();
            classes.any(|class| class.map.as_ref() == Some(map))
        };
        let has_known = changes.classes || changes.known_maps;
        if touched.first || has_known || changes.config_maps.iter().any(is_of_class) {
            let settings = class_parameters::read(&self.objects);
            if settings != self.objects.class_settings {
                self.objects.class_settings = settings;
                all_ingresses = true;
                touched.findings = true;
            }
        }
        if all_ingresses {
            // Those that are gone stay among them.
            let mut all: BTreeSet<Name> = self.objects.ingresses.keys().cloned().collect();
            touched.ingresses.append(&mut all);
        }
        for map in &changes.config_maps {
            touched.ports |= self.objects.settings.is_port_map(map);
            let users = dependencies.users_of_config_map(map);
            touched.ingresses.extend(users.cloned());
        }
        for service in &changes.services {
            let users = dependencies.users_of_service(service);
            touched.ingresses.extend(users.cloned());
        }
        touched.endpoints.extend(changes.services);
        touched.endpoints.extend(changes.endpoints);
        if changes.pods {
            touched.endpoints.extend(self.backends.grouped().cloned());
        }

        for secret in &changes.secrets {
            let mut users = dependencies.users_of_secret(secret).peekable();
            touched.certificates |= users.peek().is_some();
            touched.ingresses.extend(users.cloned());
            touched.ports |= self.ports.secrets.contains(secret);
        }
        if changes.secrets_refused {
            let users = dependencies.users_of_secrets();
            touched.ingresses.extend(users.cloned());
            touched.ports |= !self.ports.secrets.is_empty();
        }
        for id in &changes.traefik {
            let users = dependencies.users_of_traefik(id);
            touched.ingresses.extend(users.cloned());
        }
        for kind in changes.traefik_refused {
            let users = dependencies.users_of_kind(kind);
            touched.ingresses.extend(users.cloned());
        }
        touched
    }
}
