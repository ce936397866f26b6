//! The objects of the cluster as facts. A compile only reads them.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    mem,
    net::IpAddr,
    sync::Arc,
};

use super::{
    Finding, Reason, Settings,
    authorities::{self, ReadAuthorities},
    facts::{
        ClassFact, ConfigMapFact, Fact, IngressFact, IsStored, SecretFact, ServiceFact, SliceFact,
        TraefikFact, TraefikId,
    },
    globals::{ClassSettings, GlobalSettings},
    pods::Pods,
};
use crate::{
    objects::{Event, EventType, Key, Kind, NamedConfigMaps, ObjectError, RawObject},
    routing::HostPattern,
    util::parallel,
};

/// Namespace and name.
pub(super) type Name = (Arc<str>, Arc<str>);

/// Checks a certificate and key (PEM) for a host. The caller provides it, because this module does
/// not know X.509.
///
/// It remembers what it has read: many certificates are inspected on several cores, before an
/// Ingress asks for them.
pub type Inspect =
    Box<dyn Fn(&[u8], &[u8], &HostPattern) -> Result<(), InspectError> + Send + Sync>;

/// The reason why a certificate is not right for a host, as a part of a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// The certificate or its key cannot be used at all.
    #[error("{0}")]
    Invalid(String),
    /// The certificate can be served, but is for other hosts.
    #[error("{0}")]
    Mismatch(String),
}

/// The facts about all objects, and the settings.
pub(super) struct Objects {
    pub(super) settings: Settings,
    pub(super) inspect: Inspect,
    pub(super) is_stored: IsStored,
    pub(super) read_authorities: ReadAuthorities,
    pub(super) classes: HashMap<Arc<str>, ClassFact>,
    /// True if the source does not show IngressClasses.
    pub(super) classes_refused: bool,
    pub(super) ingresses: BTreeMap<Name, IngressFact>,
    pub(super) services: HashMap<Name, ServiceFact>,
    /// The Services with annotations about ports.
    pub(super) with_ports: BTreeSet<Name>,
    pub(super) secrets: HashMap<Name, SecretFact>,
    /// The parts of the settings of ingress-nginx, as of the last compile.
    pub(super) global: GlobalSettings,
    /// The settings of classes with parameters.
    pub(super) class_settings: BTreeMap<Arc<str>, ClassSettings>,
    /// The ConfigMaps that the source shows if they exist; `None` for all.
    pub(super) known_maps: Option<NamedConfigMaps>,
    /// The ConfigMaps that are followed.
    pub(super) config_maps: BTreeMap<Name, ConfigMapFact>,
    /// The objects of Traefik, by their kinds.
    pub(super) traefik: BTreeMap<Kind, BTreeMap<Name, TraefikFact>>,
    /// Their kinds that the source does not show: an unknown object may exist.
    pub(super) traefik_refused: BTreeSet<Kind>,
    /// True if the source does not show Secrets: an unknown one may exist.
    pub(super) secrets_refused: bool,
    /// Findings about objects that cannot be decoded.
    pub(super) undecodable: BTreeMap<Key, Finding>,
    /// The labels of Pods that groups of endpoints ask for.
    pub(super) pods: Pods,
    slices: HashMap<Name, SliceFact>,
    /// The names of the slices of each Service.
    slices_of: HashMap<Name, BTreeSet<Arc<str>>>,
}

/// The objects that changed since the last compile.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) classes: bool,
    pub(super) ingresses: BTreeSet<Name>,
    pub(super) services: BTreeSet<Name>,
    /// Services whose slices changed.
    pub(super) endpoints: BTreeSet<Name>,
    pub(super) secrets: BTreeSet<Name>,
    pub(super) config_maps: BTreeSet<Name>,
    /// True if the source began or ceased to refuse Secrets.
    pub(super) secrets_refused: bool,
    /// Objects of Traefik.
    pub(super) traefik: BTreeSet<TraefikId>,
    /// The kinds of these that the source began or ceased to refuse.
    pub(super) traefik_refused: BTreeSet<Kind>,
    /// True if other ConfigMaps are shown.
    pub(super) known_maps: bool,
    /// True if labels of Pods changed, or whether they are known.
    pub(super) pods: bool,
    /// True if the set of undecodable objects changed.
    pub(super) undecodable: bool,
}

impl Objects {
    pub(super) fn new(settings: Settings, inspect: Inspect) -> Self {
        Self {
            settings,
            inspect,
            is_stored: Box::new(|_secret, _chain| false),
            read_authorities: Box::new(authorities::unread),
            classes: HashMap::new(),
            classes_refused: false,
            ingresses: BTreeMap::new(),
            services: HashMap::new(),
            with_ports: BTreeSet::new(),
            secrets: HashMap::new(),
            global: GlobalSettings::default(),
            class_settings: BTreeMap::new(),
            known_maps: None,
            config_maps: BTreeMap::new(),
            traefik: BTreeMap::new(),
            traefik_refused: BTreeSet::new(),
            secrets_refused: false,
            undecodable: BTreeMap::new(),
            pods: Pods::default(),
            slices: HashMap::new(),
            slices_of: HashMap::new(),
        }
    }

    /// Applies an event and records in `changes` which objects it touches.
    pub(super) fn apply(&mut self, event: Event, changes: &mut Changes) {
        match event {
            Event::Apply(object) => {
                let fact = Fact::read(&object, &self.settings, &self.is_stored);
                self.put(&object, fact, changes);
            }
            Event::Delete(key) => self.remove(&key, changes),
            Event::Refused(Kind::Secret) => self.refuse_secrets(true, changes),
            Event::Refused(Kind::IngressClass) => self.classes_refused = true,
            Event::Refused(Kind::Pod) => changes.pods |= self.pods.refuse(true),
            Event::ConfigMapsKnown(names) => {
                changes.known_maps |= self.known_maps.as_ref() != Some(&names);
                self.known_maps = Some(names);
            }
            Event::PodsKnown(labels) => changes.pods |= self.pods.know(labels),
            Event::Refused(kind @ (Kind::Middleware | Kind::ServersTransport)) => {
                self.refuse_traefik(kind, true, changes);
            }
            Event::Refused(_other) => {}
            Event::Reset(kind, objects) => {
                match kind {
                    Kind::Secret => self.refuse_secrets(false, changes),
                    Kind::IngressClass => self.classes_refused = false,
                    Kind::Pod => changes.pods |= self.pods.refuse(false),
                    Kind::Middleware | Kind::ServersTransport => {
                        self.refuse_traefik(kind, false, changes);
                    }
                    _ => {}
                }

                let known = self.known(kind);
                if !known.is_empty() {
                    let listed: HashSet<&Key> = objects.iter().map(|one| &one.key).collect();
                    for key in known.iter().filter(|key| !listed.contains(key)) {
                        self.remove(key, changes);
                    }
                }

                let (settings, is_stored) = (&self.settings, &self.is_stored);
                let facts =
                    parallel::map(&objects, |object| Fact::read(object, settings, is_stored));
                let mut first = Vec::new();
                for (object, fact) in objects.iter().zip(facts) {
                    match fact {
                        Ok(Fact::Ingress(fact)) if known.is_empty() => {
                            let key = &object.key;
                            first.push(((key.namespace.clone(), key.name.clone()), fact));
                        }
                        fact => self.put(object, fact, changes),
                    }
                }
                self.put_first(first, changes);
            }
        }
    }

    fn refuse_traefik(&mut self, kind: Kind, refused: bool, changes: &mut Changes) {
        let has_changed = match refused {
            true => self.traefik_refused.insert(kind),
            false => self.traefik_refused.remove(&kind),
        };
        if has_changed {
            changes.traefik_refused.insert(kind);
        }
    }

    fn refuse_secrets(&mut self, refused: bool, changes: &mut Changes) {
        changes.secrets_refused |= mem::replace(&mut self.secrets_refused, refused) != refused;
    }

    /// Stores Ingresses where none are known: all at once, which is sooner than one after another.
    fn put_first(&mut self, first: Vec<(Name, IngressFact)>, changes: &mut Changes) {
        if first.is_empty() {
            return;
        }
        let mut names = first.iter().map(|(name, _)| name.clone()).collect();
        changes.ingresses.append(&mut names);
        self.ingresses = first.into_iter().collect();
    }

    /// Stores what an object was decoded to.
    fn put(&mut self, object: &RawObject, read: Result<Fact, ObjectError>, changes: &mut Changes) {
        let error = match read {
            Ok(fact) => {
                self.store(object, fact, changes);
                changes.undecodable |= self.undecodable.remove(&object.key).is_some();
                return;
            }
            Err(error) => error,
        };

        // The fact from before is out of date: only the object's own rules go.
        self.remove(&object.key, changes);
        if object.key.kind == Kind::Secret {
            let name: Name = (object.key.namespace.clone(), object.key.name.clone());
            self.secrets
                .insert(name.clone(), SecretFact::unreadable(object));
            changes.secrets.insert(name);
        }

        let finding = Finding {
            about: object.reference(),
            severity: EventType::Warning,
            reason: Reason::Undecodable,
            field: error.field,
            message: error.why.into(),
        };
        self.undecodable.insert(object.key.clone(), finding);
        changes.undecodable = true;
    }

    /// Stores a fact, unless it is known.
    fn store(&mut self, object: &RawObject, fact: Fact, changes: &mut Changes) {
        let name: Name = (object.key.namespace.clone(), object.key.name.clone());

        match fact {
            Fact::Class(fact) => {
                if self.classes.get(&name.1) != Some(&fact) {
                    self.classes.insert(name.1, fact);
                    changes.classes = true;
                }
            }
            Fact::Traefik(fact) => {
                let known = self.traefik.entry(object.key.kind).or_default();
                if known.get(&name) != Some(&fact) {
                    changes.traefik.insert(fact.id.clone());
                    known.insert(name, fact);
                }
            }
            Fact::Ingress(fact) => {
                self.ingresses.insert(name.clone(), fact);
                changes.ingresses.insert(name);
            }
            Fact::Service(fact) => {
                if self.services.get(&name) != Some(&fact) {
                    match fact.asks {
                        Some(_) => self.with_ports.insert(name.clone()),
                        None => self.with_ports.remove(&name),
                    };
                    self.services.insert(name.clone(), fact);
                    changes.services.insert(name);
                }
            }
            Fact::Slice(fact) => self.put_slice(&name, fact, changes),
            Fact::Pod => changes.pods |= self.pods.put(object),
            Fact::ConfigMap(fact) => {
                if self.config_maps.get(&name) != Some(&fact) {
                    self.config_maps.insert(name.clone(), fact);
                    changes.config_maps.insert(name);
                }
            }
            Fact::Secret(fact) => {
                self.secrets.insert(name.clone(), fact);
                changes.secrets.insert(name);
            }
            Fact::Nothing => {}
        }
    }

    fn remove(&mut self, key: &Key, changes: &mut Changes) {
        let name: Name = (key.namespace.clone(), key.name.clone());
        changes.undecodable |= self.undecodable.remove(key).is_some();

        match key.kind {
            Kind::IngressClass => {
                changes.classes |= self.classes.remove(&name.1).is_some();
            }
            Kind::Middleware | Kind::ServersTransport => {
                let known = self.traefik.get_mut(&key.kind);
                let removed = known.and_then(|known| known.remove(&name));
                changes.traefik.extend(removed.map(|fact| fact.id));
            }
            Kind::Ingress => {
                if self.ingresses.remove(&name).is_some() {
                    changes.ingresses.insert(name);
                }
            }
            Kind::Service => {
                if self.services.remove(&name).is_some() {
                    self.with_ports.remove(&name);
                    changes.services.insert(name);
                }
            }
            Kind::EndpointSlice => self.put_slice(&name, None, changes),
            Kind::Pod => changes.pods |= self.pods.remove(key),
            Kind::ConfigMap => {
                if self.config_maps.remove(&name).is_some() {
                    changes.config_maps.insert(name);
                }
            }
            Kind::Secret => {
                if self.secrets.remove(&name).is_some() {
                    changes.secrets.insert(name);
                }
            }
            Kind::Namespace
            | Kind::Endpoints
            | Kind::Node
            | Kind::Event
            | Kind::Lease
            | Kind::ServiceAccount
            | Kind::ClusterRole
            | Kind::ClusterRoleBinding
            | Kind::Role
            | Kind::RoleBinding => {}
        }
    }

    /// Stores the fact of a slice, or removes it, and keeps the slices of its Service up to date.
    fn put_slice(&mut self, name: &Name, fact: Option<SliceFact>, changes: &mut Changes) {
        if self.slices.get(name) == fact.as_ref() {
            return;
        }

        if let Some(before) = self.slices.remove(name) {
            let service = (name.0.clone(), before.service);
            if let Some(slices) = self.slices_of.get_mut(&service) {
                slices.remove(&name.1);
                if slices.is_empty() {
                    self.slices_of.remove(&service);
                }
            }
            changes.endpoints.insert(service);
        }

        if let Some(fact) = fact {
            let service = (name.0.clone(), fact.service.clone());
            self.slices_of
                .entry(service.clone())
                .or_default()
                .insert(name.1.clone());
            changes.endpoints.insert(service);
            self.slices.insert(name.clone(), fact);
        }
    }

    /// Returns the keys of all known objects of a kind, decodable or not.
    fn known(&self, kind: Kind) -> Vec<Key> {
        let key = |(namespace, name): &Name| Key {
            kind,
            namespace: namespace.clone(),
            name: name.clone(),
        };

        let undecodable = self
            .undecodable
            .keys()
            .filter(|key| key.kind == kind)
            .cloned();

        let names: Vec<Key> = match kind {
            Kind::IngressClass => self
                .classes
                .keys()
                .map(|name| key(&("".into(), name.clone())))
                .collect(),
            Kind::Middleware | Kind::ServersTransport => {
                let known = self.traefik.get(&kind).into_iter();
                known.flat_map(BTreeMap::keys).map(key).collect()
            }
            Kind::Ingress => self.ingresses.keys().map(key).collect(),
            Kind::Service => self.services.keys().map(key).collect(),
            Kind::EndpointSlice => self.slices.keys().map(key).collect(),
            Kind::Pod => self.pods.keys().cloned().collect(),
            Kind::Secret => self.secrets.keys().map(key).collect(),
            Kind::ConfigMap => self.config_maps.keys().map(key).collect(),
            Kind::Namespace
            | Kind::Endpoints
            | Kind::Node
            | Kind::Event
            | Kind::Lease
            | Kind::ServiceAccount
            | Kind::ClusterRole
            | Kind::ClusterRoleBinding
            | Kind::Role
            | Kind::RoleBinding => Vec::new(),
        };

        names.into_iter().chain(undecodable).collect()
    }

    /// Returns the address of a Service under which its cluster reaches the endpoints, if it has
    /// one. In the mini cluster nothing listens there.
    pub(super) fn address_of(&self, service: &Name) -> Option<IpAddr> {
        let fact = self.services.get(service)?;
        fact.address.filter(|_| !self.settings.standalone)
    }

    /// Returns the slices of a Service, sorted by name.
    pub(super) fn slices_of(&self, service: &Name) -> Vec<(&Arc<str>, &SliceFact)> {
        let names = self.slices_of.get(service).into_iter().flatten();
        names
            .filter_map(|name| Some((name, self.slices.get(&(service.0.clone(), name.clone()))?)))
            .collect()
    }

    /// Sorts Ingresses by age, oldest first: of two with the same path the older keeps it.
    pub(super) fn by_age<'n>(&self, names: impl IntoIterator<Item = &'n Name>) -> Vec<&'n Name> {
        let mut aged: Vec<&Name> = names.into_iter().collect();
        aged.sort_by_cached_key(|name| (self.created(name), *name));
        aged
    }

    /// Names an Ingress in a message to one that comes after it in [`Self::by_age`].
    pub(super) fn elder(&self, elder: &Name, younger: &Name) -> String {
        let (namespace, name) = elder;
        match self.created(elder).cmp(&self.created(younger)) {
            Ordering::Less => format!("the older Ingress {namespace}/{name}"),
            _ => format!(
                "the Ingress {namespace}/{name}, which is as old and comes first by its name"
            ),
        }
    }

    fn created(&self, name: &Name) -> Option<&str> {
        self.ingresses.get(name).map(|fact| &*fact.created)
    }

    /// Returns the main name of the issuer that objects of this namespace mean by a name.
    pub(super) fn main_issuer(&self, namespace: &str, name: &str) -> Box<str> {
        // A namespace can have an issuer of its own under that name.
        let own = format!("{namespace}/{name}");
        let main = self.settings.aliases.get(name);
        main.filter(|_| !self.settings.issuers.contains(&*own))
            .cloned()
            .unwrap_or_else(|| name.into())
    }

    /// Makes a Warning about an Ingress, or nothing if the Ingress does not exist any more.
    pub(super) fn finding(
        &self,
        ingress: &Name,
        reason: Reason,
        field: &str,
        message: String,
    ) -> Option<Finding> {
        Some(Finding {
            about: self.ingresses.get(ingress)?.about.clone(),
            severity: EventType::Warning,
            reason,
            field: field.into(),
            message: message.into(),
        })
    }
}
