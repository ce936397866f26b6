//! The dependencies between objects: which Ingresses and hosts a changed object touches.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
};

use super::{compiled::Compiled, facts::TraefikId, objects::Name};
use crate::{objects::Kind, routing::HostPattern};

/// The users of Services, Secrets, objects of Traefik and hosts, as of the last compile.
#[derive(Debug, Default)]
pub(super) struct Dependencies {
    users_of_service: HashMap<Name, BTreeSet<Name>>,
    users_of_secret: HashMap<Name, BTreeSet<Name>>,
    users_of_config_map: HashMap<Name, BTreeSet<Name>>,
    users_of_traefik: HashMap<TraefikId, BTreeSet<Name>>,
    /// The Ingresses with rules for each host: sorted, each once.
    on_host: BTreeMap<HostPattern, Vec<Name>>,
}

impl Dependencies {
    /// Returns the Ingresses that name a Service.
    pub(super) fn users_of_service(&self, service: &Name) -> impl Iterator<Item = &Name> + Clone {
        self.users_of_service.get(service).into_iter().flatten()
    }

    /// Returns the Ingresses that name a Secret.
    pub(super) fn users_of_secret(&self, secret: &Name) -> impl Iterator<Item = &Name> {
        self.users_of_secret.get(secret).into_iter().flatten()
    }

    /// Returns the Ingresses that name any Secret. One that names two comes twice.
    pub(super) fn users_of_secrets(&self) -> impl Iterator<Item = &Name> {
        self.users_of_secret.values().flatten()
    }

    /// Returns the Ingresses that name a ConfigMap.
    pub(super) fn users_of_config_map(&self, map: &Name) -> impl Iterator<Item = &Name> {
        self.users_of_config_map.get(map).into_iter().flatten()
    }

    /// Returns the ConfigMaps that Ingresses name.
    pub(super) fn config_maps(&self) -> impl Iterator<Item = &Name> {
        self.users_of_config_map.keys()
    }

    /// Returns the Ingresses that name an object of Traefik.
    pub(super) fn users_of_traefik(&self, id: &TraefikId) -> impl Iterator<Item = &Name> {
        self.users_of_traefik.get(id).into_iter().flatten()
    }

    /// Returns the Ingresses that name any object of Traefik of a kind. One that names two comes
    /// twice.
    pub(super) fn users_of_kind(&self, kind: Kind) -> impl Iterator<Item = &Name> {
        let users = self.users_of_traefik.iter();
        let users = users.filter(move |((of, _), _)| *of == kind);
        users.flat_map(|(_, users)| users)
    }

    /// Returns the Ingresses on a host.
    pub(super) fn on_host(&self, host: &HostPattern) -> &[Name] {
        self.on_host.get(host).map_or(&[], Vec::as_slice)
    }

    /// Replaces the dependencies of an Ingress.
    pub(super) fn relink(
        &mut self,
        name: &Name,
        before: Option<&Compiled>,
        after: Option<&Compiled>,
    ) {
        if let Some(before) = before {
            for service in &before.services {
                unlink(&mut self.users_of_service, service, name);
            }
            for secret in &before.secrets {
                unlink(&mut self.users_of_secret, secret, name);
            }
            for map in &before.config_maps {
                unlink(&mut self.users_of_config_map, map, name);
            }
            for id in &before.traefik {
                unlink(&mut self.users_of_traefik, id, name);
            }
            for host in before.hosts() {
                self.leave_host(host, name);
            }
        }

        if let Some(after) = after {
            for service in &after.services {
                link(&mut self.users_of_service, service, name);
            }
            for secret in &after.secrets {
                link(&mut self.users_of_secret, secret, name);
            }
            for map in &after.config_maps {
                link(&mut self.users_of_config_map, map, name);
            }
            for id in &after.traefik {
                link(&mut self.users_of_traefik, id, name);
            }
            for host in after.hosts() {
                self.join_host(host, name);
            }
        }
    }

    fn join_host(&mut self, host: &HostPattern, name: &Name) {
        // Nearly all hosts have one Ingress: a list with room for four, or a set, would take
        // several times as much memory.
        let users = self
            .on_host
            .entry(host.clone())
            .or_insert_with(|| Vec::with_capacity(1));
        if let Err(at) = users.binary_search(name) {
            users.insert(at, name.clone());
        }
    }

    fn leave_host(&mut self, host: &HostPattern, name: &Name) {
        let Some(users) = self.on_host.get_mut(host) else {
            return;
        };
        if let Ok(at) = users.binary_search(name) {
            users.remove(at);
        }
        if users.is_empty() {
            self.on_host.remove(host);
        }
    }
}

fn link<K: Clone + Eq + Hash>(map: &mut HashMap<K, BTreeSet<Name>>, key: &K, name: &Name) {
    map.entry(key.clone()).or_default().insert(name.clone());
}

fn unlink<K: Eq + Hash>(map: &mut HashMap<K, BTreeSet<Name>>, key: &K, name: &Name) {
    if let Some(users) = map.get_mut(key) {
        users.remove(name);
        if users.is_empty() {
            map.remove(key);
        }
    }
}
