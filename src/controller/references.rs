//! The objects that a part of an Ingress names: it is compiled again when one of them changes.

use super::{facts::TraefikId, objects::Name};

/// Objects, whether they exist or not.
#[derive(Clone, Debug, Default)]
pub(super) struct References {
    pub(super) services: Vec<Name>,
    pub(super) secrets: Vec<Name>,
    pub(super) config_maps: Vec<Name>,
    /// Objects of Traefik.
    pub(super) traefik: Vec<TraefikId>,
}

impl References {
    /// Takes those of another part.
    pub(super) fn append(&mut self, mut other: Self) {
        self.services.append(&mut other.services);
        self.secrets.append(&mut other.secrets);
        self.config_maps.append(&mut other.config_maps);
        self.traefik.append(&mut other.traefik);
    }
}
