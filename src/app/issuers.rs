//! Who issues certificates: the issuers of the configuration file, those that ConfigMaps describe,
//! and those that are built in, under the names by which objects ask for them.
//!
//! A ConfigMap in `kube-system` is for all namespaces, any other for its own: whoever may write in
//! a namespace decides for that namespace only. The file wins over both, and they win over what is
//! built in.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, OnceLock},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
};

use crate::{
    acme::{
        ca::{
            http::{Clock, Http, HttpSettings, Proxy},
            jws::ExternalAccount,
        },
        dns::{
            Ask, CloudflareSettings, CommandSettings, Lookup, Provider, ProviderContext,
            ProviderSettings, Rfc2136Settings, Secret, TsigKey, WebhookSettings,
        },
        issuer::{AcmeIssuer, Issuer, IssuerKind, PRESETS},
    },
    config::{self, Config},
    controller::{Finding, Reason},
    objects::{Event, EventType, Key, Kind, RawObject, slim::ConfigMap},
};

/// ConfigMaps here are for all namespaces.
const CLUSTER: &str = "kube-system";
/// The key of a ConfigMap's data that holds the issuer.
const DATA: &str = "issuer";

/// All issuers by their names.
pub(crate) struct Issuers {
    configured: BTreeMap<Box<str>, Arc<Issuer>>,
    objects: BTreeMap<Key, Described>,
    default: Option<Box<str>>,
    workshop: Workshop,
}

/// What a ConfigMap describes.
struct Described {
    text: Result<Box<str>, Problem>,
    uid: Box<str>,
    issuer: Result<Arc<Issuer>, Finding>,
}

/// The key below the issuer, and what is wrong with it.
type Problem = (String, String);

/// Checks what is in the configuration file and the files that its issuers name.
///
/// # Errors
/// The issuer, the key and what is wrong.
pub fn check(config: &Config) -> Result<(), String> {
    Issuers::load(config, Arc::new(UnixTime::now)).map(drop)
}

impl Issuers {
    /// What is built in.
    pub(crate) fn new(time: Clock) -> Self {
        let workshop = Workshop {
            time,
            http: OnceLock::new(),
        };
        Self {
            configured: BTreeMap::new(),
            objects: BTreeMap::new(),
            default: None,
            workshop,
        }
    }

    /// Makes the issuers of the configuration file. Reads the files that they name; asks nobody
    /// yet.
    ///
    /// # Errors
    /// The issuer, the key and what is wrong, with the name of the file where it is one.
    pub(crate) fn load(config: &Config, time: Clock) -> Result<Self, String> {
        let mut issuers = Self::new(time);
        for issuer in &config.issuers {
            let made = issuers.workshop.issuer(issuer, &issuer.name);
            let made =
                made.map_err(|(field, why)| format!("issuer {}: {field}: {why}", issuer.name))?;
            issuers
                .configured
                .insert(issuer.name.as_str().into(), Arc::new(made));
        }
        issuers.default = config.default_issuer.as_deref().map(Box::from);
        Ok(issuers)
    }

    /// The issuer of this name for all namespaces: of the file, else of a ConfigMap in
    /// `kube-system`, else built in. Or with `namespace/name` the one that a ConfigMap of that
    /// namespace describes.
    #[cfg(test)]
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Issuer>> {
        match name.split_once('/') {
            Some((namespace, name)) => self.described(namespace, name),
            None => self.search(None, name),
        }
    }

    /// The issuer that an object of this namespace means by a name: of the file, else of a
    /// ConfigMap of its namespace, else of a ConfigMap in `kube-system`, else built in.
    pub(crate) fn find_in(&self, namespace: &str, name: &str) -> Option<Arc<Issuer>> {
        self.search(Some(namespace), name)
    }

    /// Every name that is known, other names of what is built in among them.
    pub(crate) fn names(&self) -> BTreeSet<Box<str>> {
        let described = self
            .objects
            .values()
            .filter_map(|described| described.issuer.as_ref().ok());
        let presets = PRESETS
            .iter()
            .flat_map(|(name, others)| others.iter().copied().chain([*name]));
        let all = self
            .configured
            .keys()
            .cloned()
            .chain(described.map(|issuer| issuer.name.clone()));
        all.chain(presets.map(Box::from)).collect()
    }

    /// The name of the issuer for those that name none. Nobody says that it is known.
    pub(crate) fn default(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// Takes in a change; other kinds than ConfigMaps are passed over. Returns whether a name means
    /// another issuer now or the findings are others.
    pub(crate) fn apply(&mut self, event: &Event) -> bool {
        match event {
            Event::Apply(object) => self.put(object),
            Event::Delete(key) => self.objects.remove(key).is_some(),
            Event::Reset(Kind::ConfigMap, objects) => {
                let listed: BTreeSet<&Key> = objects.iter().map(|object| &object.key).collect();
                let before = self.objects.len();
                self.objects.retain(|key, _| listed.contains(key));
                let gone = self.objects.len() != before;
                objects
                    .iter()
                    .fold(gone, |changed, object| self.put(object) | changed)
            }
            Event::Reset(..) | Event::Refused(_) => false,
        }
    }

    /// What is wrong with ConfigMaps now.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        self.objects
            .values()
            .filter_map(|described| described.issuer.as_ref().err())
            .cloned()
            .collect()
    }

    fn put(&mut self, object: &RawObject) -> bool {
        if !object.is_issuer() {
            return self.objects.remove(&object.key).is_some();
        }
        let text = match object.view::<ConfigMap>() {
            Ok(map) => Ok(map.data.get(DATA).cloned().unwrap_or_default()),
            Err(error) => Err((error.field.into_string(), error.why.into_string())),
        };
        let uid = object.meta.uid.clone();
        let known = self.objects.get(&object.key);
        if known.is_some_and(|known| known.text == text && known.uid == uid) {
            return false;
        }
        let issuer = text
            .clone()
            .and_then(|text| self.workshop.described(object, &text));
        let issuer = issuer.map(Arc::new).map_err(|(field, message)| Finding {
            about: object.reference(),
            severity: EventType::Warning,
            reason: Reason::InvalidIssuer,
            field: field.into(),
            message: message.into(),
        });
        self.objects
            .insert(object.key.clone(), Described { text, uid, issuer });
        true
    }

    fn described(&self, namespace: &str, name: &str) -> Option<Arc<Issuer>> {
        let key = Key {
            kind: Kind::ConfigMap,
            namespace: namespace.into(),
            name: name.into(),
        };
        self.objects.get(&key)?.issuer.as_ref().ok().cloned()
    }

    fn search(&self, namespace: Option<&str>, name: &str) -> Option<Arc<Issuer>> {
        // Who asks for Let's Encrypt by another of its names means what is set for it.
        let names = PRESETS
            .iter()
            .find(|(_, others)| others.contains(&name))
            .map(|(preset, _)| *preset);
        let mut names = [name].into_iter().chain(names);
        let set = names.find_map(|name| {
            let configured = self.configured.get(name).cloned();
            let own = || namespace.and_then(|namespace| self.described(namespace, name));
            configured
                .or_else(own)
                .or_else(|| self.described(CLUSTER, name))
        });
        set.or_else(|| Issuer::preset(name).map(Arc::new))
    }
}

/// Makes issuers.
struct Workshop {
    time: Clock,
    /// Made once there is a web service to be called: it holds all roots.
    http: OnceLock<Http>,
}

impl Workshop {
    /// What a ConfigMap describes.
    fn described(&self, object: &RawObject, text: &str) -> Result<Issuer, Problem> {
        let name = &*object.key.name;
        if !config::is_issuer_name(name) {
            let message =
                "the name of an issuer is a label of 1 to 63 lower-case letters, digits and -";
            return Err(("metadata.name".to_owned(), message.to_owned()));
        }
        let at = |field: &str| match field {
            "" => format!("data.{DATA}"),
            field => format!("data.{DATA}.{field}"),
        };
        if text.is_empty() {
            return Err((
                at(""),
                "it is missing: the keys of one [[issuers]] table, as TOML".to_owned(),
            ));
        }
        let issuer = config::Issuer::parse(name, text)
            .map_err(|problem| (at(&problem.field), problem.message))?;
        public(&issuer).map_err(|(field, message)| (at(field), message.to_owned()))?;
        let name = match &*object.key.namespace {
            CLUSTER => name.to_owned(),
            namespace => format!("{namespace}/{name}"),
        };
        self.issuer(&issuer, &name)
            .map_err(|(field, message)| (at(&field), message))
    }

    fn issuer(&self, issuer: &config::Issuer, name: &str) -> Result<Issuer, Problem> {
        let kind = match &issuer.kind {
            config::IssuerKind::Acme(acme) => IssuerKind::Acme(Box::new(self.acme(acme)?)),
            config::IssuerKind::LocalCa => IssuerKind::LocalCa,
            config::IssuerKind::SelfSigned => IssuerKind::SelfSigned,
        };
        Ok(Issuer {
            name: name.into(),
            kind,
        })
    }

    fn acme(&self, acme: &config::Acme) -> Result<AcmeIssuer, Problem> {
        let directory = match &acme.directory {
            config::Directory::Url(url) => url.clone(),
            config::Directory::Preset(name) => Issuer::preset(name)
                .and_then(|preset| preset.acme().map(|acme| acme.directory.clone()))
                .expect("the presets of the configuration are built in"),
        };
        let mut roots = Vec::new();
        if let Some(path) = &acme.roots {
            let pem = std::fs::read(path).map_err(|error| problem("roots", shown(path, error)))?;
            roots.extend(certificates(&pem).map_err(|why| problem("roots", shown(path, why)))?);
        }
        if let Some(pem) = &acme.roots_pem {
            roots.extend(certificates(pem.as_bytes()).map_err(|why| problem("roots_pem", why))?);
        }
        let eab = acme.eab.as_ref().map(|eab| {
            let key = match &eab.hmac {
                config::Secret::Inline(key) => key.clone(),
                config::Secret::File(path) => std::fs::read_to_string(path)
                    .map_err(|error| problem("eab.hmac_file", shown(path, error)))?,
            };
            ExternalAccount::new(&eab.kid, &key).map_err(|error| match &eab.hmac {
                config::Secret::Inline(_) => problem("eab.hmac", error),
                config::Secret::File(path) => problem("eab.hmac_file", shown(path, error)),
            })
        });
        Ok(AcmeIssuer {
            directory,
            roots,
            contacts: acme.contacts.clone(),
            eab: eab.transpose()?,
            profile: acme.profile.clone(),
            preferred_chain: acme.preferred_chain.clone(),
            key_type: acme.key_type,
            challenges: acme.challenges.clone(),
            dns: acme
                .dns
                .as_ref()
                .map(|dns| self.provider(dns))
                .transpose()?,
        })
    }

    fn provider(&self, dns: &config::Dns) -> Result<Provider, Problem> {
        let settings = match &dns.provider {
            config::DnsProvider::Rfc2136 { server, zone, key } => {
                let key = key.as_ref().map(|key| -> Result<_, Problem> {
                    let secret = match &key.secret {
                        config::Secret::Inline(secret) => Secret::new(secret),
                        config::Secret::File(path) => secret("dns.key.secret_file", path)?,
                    };
                    Ok(TsigKey {
                        name: key.name.clone(),
                        algorithm: key.algorithm.name().to_owned(),
                        secret,
                    })
                });
                let key = key.transpose()?;
                ProviderSettings::Rfc2136(Rfc2136Settings {
                    server: *server,
                    zone: zone.clone(),
                    key,
                })
            }
            config::DnsProvider::Cloudflare {
                token_file,
                zone_id,
                base,
            } => {
                let token = secret("dns.token_file", token_file)?;
                let (zone_id, base) = (zone_id.clone(), base.clone());
                ProviderSettings::Cloudflare(CloudflareSettings {
                    token,
                    zone_id,
                    base,
                })
            }
            config::DnsProvider::Webhook { url, login } => {
                let login = match login {
                    Some((user, path)) => Some((user.clone(), secret("dns.password_file", path)?)),
                    None => None,
                };
                ProviderSettings::Webhook(WebhookSettings {
                    url: url.clone(),
                    login,
                })
            }
            config::DnsProvider::Command { program, arguments } => {
                let (program, arguments) = (program.clone(), arguments.clone());
                ProviderSettings::Command(CommandSettings { program, arguments })
            }
        };
        let ask = match dns.propagation {
            config::Propagation::Authoritative => Ask::default(),
            config::Propagation::Resolvers => Ask::Resolvers,
        };
        let context = ProviderContext {
            lookup: Lookup {
                resolvers: dns.resolvers.clone(),
                ask,
            },
            follow_cname: dns.follow_cname,
            http: self.http()?,
            time: self.time.clone(),
        };
        Provider::new(settings, context).map_err(|error| problem("dns", error))
    }

    fn http(&self) -> Result<Http, Problem> {
        if let Some(http) = self.http.get() {
            return Ok(http.clone());
        }
        let proxy = Proxy::from_environment().map_err(|error| problem("dns", error))?;
        let settings = HttpSettings {
            proxy,
            ..HttpSettings::new(self.time.clone())
        };
        let http = Http::new(settings).map_err(|error| problem("dns", error))?;
        Ok(self.http.get_or_init(|| http).clone())
    }
}

/// Whoever may write a ConfigMap must neither read files of this device with it nor start programs
/// here, nor call what listens here without encryption; and what is in a ConfigMap is no secret.
fn public(issuer: &config::Issuer) -> Result<(), (&'static str, &'static str)> {
    const FILE: &str =
        "a ConfigMap cannot name files of the device: put this issuer into the configuration file";
    const SECRET: &str = "a ConfigMap is no place for secrets, and Secrets are not read for this: put this issuer into \
                          the configuration file";
    const PROGRAM: &str = "a ConfigMap cannot start programs of the device: put this issuer into the configuration file";
    let config::IssuerKind::Acme(acme) = &issuer.kind else {
        return Ok(());
    };
    if acme.roots.is_some() {
        return Err((
            "roots",
            "a ConfigMap cannot name files of the device: put the PEM into roots_pem",
        ));
    }
    match acme.eab.as_ref().map(|eab| &eab.hmac) {
        Some(config::Secret::Inline(_)) => return Err(("eab.hmac", SECRET)),
        Some(config::Secret::File(_)) => return Err(("eab.hmac_file", FILE)),
        None => {}
    }
    let Some(dns) = &acme.dns else { return Ok(()) };
    match &dns.provider {
        config::DnsProvider::Rfc2136 { key: Some(key), .. } => match &key.secret {
            config::Secret::Inline(_) => Err(("dns.key.secret", SECRET)),
            config::Secret::File(_) => Err(("dns.key.secret_file", FILE)),
        },
        config::DnsProvider::Cloudflare { .. } => Err(("dns.token_file", FILE)),
        config::DnsProvider::Webhook { login: Some(_), .. } => Err(("dns.password_file", FILE)),
        config::DnsProvider::Webhook { url, login: None } if !url.starts_with("https://") => {
            Err(("dns.url", "in a ConfigMap it is an https URL"))
        }
        config::DnsProvider::Rfc2136 { key: None, .. } | config::DnsProvider::Webhook { .. } => {
            Ok(())
        }
        config::DnsProvider::Command { .. } => Err(("dns.program", PROGRAM)),
    }
}

/// All certificates of a PEM text, at least one.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| format!("it is not PEM: {error}"))?;
    if all.is_empty() {
        return Err("there is no certificate in PEM in it".to_owned());
    }
    let mut store = RootCertStore::empty();
    for (number, root) in (1..).zip(&all) {
        store
            .add(root.clone())
            .map_err(|error| format!("certificate {number} cannot be used: {error}"))?;
    }
    Ok(all)
}

fn secret(field: &str, path: &Path) -> Result<Secret, Problem> {
    Secret::read(path).map_err(|error| problem(field, shown(path, error)))
}

fn shown(path: &Path, why: impl std::fmt::Display) -> String {
    format!("{}: {why}", path.display())
}

fn problem(field: &str, why: impl std::fmt::Display) -> Problem {
    (field.to_owned(), why.to_string())
}

#[cfg(test)]
mod tests;
