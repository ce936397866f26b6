//! Keeps the issuers of the configuration file, those that ConfigMaps describe, and the built-in
//! ones, by the names that objects use.
//!
//! A ConfigMap in `kube-system` is for all namespaces, any other for its own: the right to write in
//! a namespace is a right over that namespace only. The file takes precedence over both, and they
//! take precedence over the built-in issuers.

mod build;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rustls::pki_types::UnixTime;

use self::build::{CLUSTER, DATA, IssuerBuilder};
use crate::{
    acme::issuer::{Issuer, PRESETS},
    config::{self, Config, IssuerProblem},
    controller::{Finding, Reason},
    http_client::Clock,
    objects::{Event, EventType, Key, Kind, RawObject, slim::ConfigMap},
};

/// All issuers by their names.
pub(crate) struct Issuers {
    configured: BTreeMap<Box<str>, Configured>,
    config_maps: BTreeMap<Key, Described>,
    default: Option<Box<str>>,
    builder: IssuerBuilder,
}

/// The settings of an issuer in the configuration file, and the issuer.
struct Configured {
    settings: config::Issuer,
    issuer: Arc<Issuer>,
    /// The mistake that prevents its use.
    problem: Option<IssuerProblem>,
}

/// The content of a ConfigMap and its issuer.
struct Described {
    text: Result<Box<str>, IssuerProblem>,
    uid: Box<str>,
    issuer: Result<Arc<Issuer>, Finding>,
}

/// An issuer of the configuration file is invalid.
#[derive(Debug, thiserror::Error)]
#[error("issuer {issuer}: {problem}")]
pub struct IssuersError {
    /// Name of the issuer.
    pub issuer: String,
    /// Its invalid field, with the name of the file if the value is in one.
    pub problem: IssuerProblem,
}

/// Checks the issuers of the configuration file and the files that they name.
pub fn check(config: &Config) -> Result<(), IssuersError> {
    let issuers = Issuers::load(config, Arc::new(UnixTime::now));
    let first = issuers.problems().into_iter().next();
    first.map_or(Ok(()), Err)
}

impl Issuers {
    /// Returns the built-in issuers.
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            configured: BTreeMap::new(),
            config_maps: BTreeMap::new(),
            default: None,
            builder: IssuerBuilder::new(clock),
        }
    }

    /// Builds the issuers of the configuration file. Reads the files that they name, but connects
    /// to no CA. An issuer with a mistake exists but cannot be used.
    pub(crate) fn load(config: &Config, clock: Clock) -> Self {
        let mut issuers = Self::new(clock);
        for settings in &config.issuers {
            let configured = issuers.configure(settings.clone());
            issuers
                .configured
                .insert(settings.name.as_str().into(), configured);
        }
        issuers.default = config.default_issuer.as_deref().map(Box::from);
        issuers
    }

    /// Builds the unusable issuers of the configuration file again: the files that they name may be
    /// there now. Returns whether one has changed.
    pub(crate) fn retry(&mut self) -> bool {
        let unusable: Vec<config::Issuer> = self
            .configured
            .values()
            .filter(|one| one.problem.is_some())
            .map(|one| one.settings.clone())
            .collect();

        let mut has_changed = false;
        for settings in unusable {
            let name: Box<str> = settings.name.as_str().into();
            let configured = self.configure(settings);
            if configured.problem.is_none() {
                tracing::info!(issuer = &*name, "the issuer can be used now");
            }
            let before = self.configured.get(&name).map(|before| &before.problem);
            if before != Some(&configured.problem) {
                has_changed = true;
                self.configured.insert(name, configured);
            }
        }
        has_changed
    }

    /// Returns the mistakes in the configuration file.
    pub(crate) fn problems(&self) -> Vec<IssuersError> {
        let problem = |one: &Configured| {
            Some(IssuersError {
                issuer: one.settings.name.clone(),
                problem: one.problem.clone()?,
            })
        };
        self.configured.values().filter_map(problem).collect()
    }

    fn configure(&self, settings: config::Issuer) -> Configured {
        let name = &*settings.name;
        let (issuer, problem) = match self.builder.build(&settings, name) {
            Ok(issuer) => (issuer, None),
            Err(problem) => (build::unusable(&settings, name, &problem), Some(problem)),
        };
        Configured {
            issuer: Arc::new(issuer),
            settings,
            problem,
        }
    }

    /// Returns the issuer of this name for all namespaces: of the file, else of a ConfigMap in
    /// `kube-system`, else built in. For `namespace/name`, the one that a ConfigMap of that
    /// namespace describes.
    #[cfg(test)]
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Issuer>> {
        match name.split_once('/') {
            Some((namespace, name)) => self.described(namespace, name),
            None => self.search(None, name),
        }
    }

    /// Returns the issuer that an object of this namespace means by a name: of the file, else of a
    /// ConfigMap of its namespace, else of a ConfigMap in `kube-system`, else built in.
    pub(crate) fn find_in(&self, namespace: &str, name: &str) -> Option<Arc<Issuer>> {
        self.search(Some(namespace), name)
    }

    /// Returns all names, including the aliases of the built-in issuers.
    pub(crate) fn names(&self) -> BTreeSet<Box<str>> {
        let described = self
            .config_maps
            .values()
            .filter_map(|described| described.issuer.as_ref().ok());
        let presets = PRESETS
            .iter()
            .flat_map(|(name, aliases)| aliases.iter().copied().chain([*name]));
        let all = self
            .configured
            .keys()
            .cloned()
            .chain(described.map(|issuer| issuer.name.clone()));
        all.chain(presets.map(Box::from)).collect()
    }

    /// Returns the main name of each alias that no other issuer has as its name.
    pub(crate) fn aliases(&self) -> BTreeMap<Box<str>, Box<str>> {
        let is_taken = |name: &str| {
            self.configured.contains_key(name) || self.described(CLUSTER, name).is_some()
        };
        PRESETS
            .iter()
            .flat_map(|(main, aliases)| aliases.iter().map(|alias| (*alias, *main)))
            .filter(|(alias, _)| !is_taken(alias))
            .map(|(alias, main)| (alias.into(), main.into()))
            .collect()
    }

    /// Returns the name of the issuer for objects that name none. There may be no such issuer.
    pub(crate) fn default(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// Applies a change; kinds other than ConfigMap are ignored. Returns whether an issuer or a
    /// finding has changed.
    pub(crate) fn apply(&mut self, event: &Event) -> bool {
        match event {
            Event::Apply(object) => self.put(object),
            Event::Delete(key) => self.config_maps.remove(key).is_some(),
            Event::Reset(Kind::ConfigMap, objects) => {
                let listed: BTreeSet<&Key> = objects.iter().map(|object| &object.key).collect();
                let before = self.config_maps.len();
                self.config_maps.retain(|key, _| listed.contains(key));
                let is_gone = self.config_maps.len() != before;
                objects
                    .iter()
                    .fold(is_gone, |changed, object| self.put(object) | changed)
            }
            Event::Reset(..)
            | Event::Refused(_)
            | Event::PodsKnown(_)
            | Event::ConfigMapsKnown(_) => false,
        }
    }

    /// Returns a finding for each invalid ConfigMap.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        self.config_maps
            .values()
            .filter_map(|described| described.issuer.as_ref().err())
            .cloned()
            .collect()
    }

    fn put(&mut self, object: &RawObject) -> bool {
        if !object.is_issuer() {
            return self.config_maps.remove(&object.key).is_some();
        }

        let text = match object.view::<ConfigMap>() {
            Ok(map) => Ok(map.data.get(DATA).cloned().unwrap_or_default()),
            Err(error) => Err(IssuerProblem {
                field: error.field.into_string(),
                message: error.why.into_string(),
            }),
        };

        // A reset repeats all objects: an equal text changes nothing.
        let uid = object.meta.uid.clone();
        let known = self.config_maps.get(&object.key);
        if known.is_some_and(|known| known.text == text && known.uid == uid) {
            return false;
        }

        let issuer = text
            .clone()
            .and_then(|text| self.builder.build_described(object, &text))
            .map(Arc::new)
            .map_err(|problem| Finding {
                about: object.reference(),
                severity: EventType::Warning,
                reason: Reason::InvalidIssuer,
                field: problem.field.into(),
                message: problem.message.into(),
            });

        self.config_maps
            .insert(object.key.clone(), Described { text, uid, issuer });
        true
    }

    fn described(&self, namespace: &str, name: &str) -> Option<Arc<Issuer>> {
        let key = Key {
            kind: Kind::ConfigMap,
            namespace: namespace.into(),
            name: name.into(),
        };
        self.config_maps.get(&key)?.issuer.as_ref().ok().cloned()
    }

    fn search(&self, namespace: Option<&str>, name: &str) -> Option<Arc<Issuer>> {
        // An alias of a built-in issuer also means what is configured under its main name.
        let main = PRESETS
            .iter()
            .find(|(_, aliases)| aliases.contains(&name))
            .map(|(main, _)| *main);
        let mut names = [name].into_iter().chain(main);

        let found = names.find_map(|name| {
            let configured = self.configured.get(name).map(|one| one.issuer.clone());
            let own = || namespace.and_then(|namespace| self.described(namespace, name));
            configured
                .or_else(own)
                .or_else(|| self.described(CLUSTER, name))
        });
        found.or_else(|| Issuer::preset(name).map(Arc::new))
    }
}
