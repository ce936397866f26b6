//! One Ingress to its rules, TLS wishes and findings.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use http::{HeaderValue, StatusCode};

use super::{
    Finding,
    facts::{IngressFact, PREFIXES, SecretFact},
    index::{Index, Name},
};
use crate::{
    objects::{
        EventType,
        slim::{BackendPort, IngressBackend, IngressPath, ServicePort},
    },
    routing::{Action, Filter, HostPattern, Origin, PathMatch, Protocol, Refusal, Route, path},
};

/// Annotations that are read, without their prefix.
pub const ANNOTATIONS: [&str; 3] = ["ssl-redirect", "force-ssl-redirect", "backend-protocol"];

/// What one Ingress comes to.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    pub(super) ours: bool,
    pub(super) rules: Vec<(HostPattern, PathMatch, Arc<Route>)>,
    /// `defaultBackend` beside rules: for its hosts.
    pub(super) fallbacks: BTreeMap<HostPattern, Arc<Route>>,
    /// `defaultBackend` without rules: for everything.
    pub(super) catch_all: Option<Arc<Route>>,
    pub(super) tls: Vec<TlsWish>,
    pub(super) services: BTreeSet<Name>,
    pub(super) secrets: BTreeSet<Name>,
    pub(super) findings: Vec<Finding>,
    /// Hosts under `tls`.
    with_tls: BTreeSet<HostPattern>,
    /// Hosts that have rules, and hosts whose only rule was refused (they keep their fallback).
    hosts: BTreeSet<HostPattern>,
}

/// A host that wants TLS.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TlsWish {
    pub(super) pattern: HostPattern,
    /// Whether `tls` names it. The host of a rule without that is answered over TLS too, with whatever fits.
    pub(super) asked: bool,
    pub(super) secret: Option<Arc<str>>,
    pub(super) usable: bool,
}

impl Compiled {
    pub(super) fn hosts(&self) -> BTreeSet<HostPattern> {
        self.hosts.clone()
    }

    /// Whether a host of the rules is under `tls`.
    pub(super) fn has_tls(&self, pattern: &HostPattern) -> bool {
        let by_wildcard = |tls: &HostPattern| match (tls, pattern) {
            (HostPattern::Wildcard(_), HostPattern::Exact(host)) => tls.matches(host.as_str()),
            _ => false,
        };
        self.with_tls.contains(pattern) || self.with_tls.iter().any(by_wildcard)
    }
}

/// Compiles one Ingress. What is wrong with a part takes that part down and no other.
pub(super) fn compile(index: &mut Index, name: &Name) -> Compiled {
    let Some(fact) = index.ingresses.remove(name) else { return Compiled::default() };
    let mut compiler = Compiler { index, name, fact: &fact, out: Compiled::default() };
    if compiler.index.is_ours(&fact) {
        compiler.run();
    }
    let out = compiler.out;
    index.ingresses.insert(name.clone(), fact);
    out
}

/// The route of the controller's own default backend.
pub(super) fn controller_default(index: &mut Index) -> Option<Arc<Route>> {
    let setting = index.settings.default_backend.clone()?;
    let (namespace, rest) = setting.split_once('/')?;
    let (service, port) = rest.split_once(':')?;
    let service: Name = (namespace.into(), service.into());
    let port = match port.parse() {
        Ok(number) => BackendPort { number, ..BackendPort::default() },
        Err(_name) => BackendPort { name: port.into(), ..BackendPort::default() },
    };
    let action = match resolve(index, &service, &port, None) {
        Ok(backend) => backend,
        Err((refusal, _message)) => Action::Refuse(refusal),
    };
    let origin = Origin { namespace: service.0, name: service.1, field: "default_backend".into() };
    let filters = filters(index, index.settings.ssl_redirect, false, false);
    Some(Arc::new(Route { origin, action, filters }))
}

/// The filters of a route: what is wished, whether the redirect is forced, and whether its host is under `tls` of the same
/// object. Otherwise they wait for others who put the host under `tls`.
fn filters(index: &mut Index, redirect: bool, forced: bool, covered: bool) -> Arc<[Filter]> {
    let settings = &index.settings;
    let mut filters = Vec::new();
    if forced || redirect {
        let port = (settings.https_port != 443).then_some(settings.https_port);
        let always = forced || covered;
        filters.push(Filter::HttpsRedirect { status: StatusCode::PERMANENT_REDIRECT, port, always });
    }
    if let Some(value) = settings.hsts.as_deref().and_then(|hsts| HeaderValue::from_str(hsts).ok()) {
        filters.push(Filter::Hsts { value, always: covered });
    }
    // There are few different ones, and thousands of routes.
    if let Some(known) = index.filters.iter().find(|known| ***known == *filters) {
        return known.clone();
    }
    let filters: Arc<[Filter]> = filters.into();
    index.filters.push(filters.clone());
    filters
}

struct Compiler<'a> {
    index: &'a mut Index,
    name: &'a Name,
    fact: &'a IngressFact,
    out: Compiled,
}

impl Compiler<'_> {
    fn run(&mut self) {
        self.out.ours = true;
        self.annotations();
        let protocol = self.protocol();
        let fact = self.fact;
        self.out.with_tls = self.tls();
        for (r, rule) in fact.spec.rules.iter().enumerate() {
            let pattern = match HostPattern::parse(&rule.host) {
                Ok(pattern) => pattern,
                Err(error) => {
                    self.warn("InvalidHost", format!("spec.rules[{r}].host"), format!("{:?}: {error}", rule.host));
                    continue;
                }
            };
            self.out.hosts.insert(pattern.clone());
            let filters = self.filters(&pattern);
            let paths = rule.http.iter().flat_map(|http| &http.paths).enumerate();
            for (p, path) in paths {
                let field = format!("spec.rules[{r}].http.paths[{p}]");
                if let Some(matched) = self.path(path, &field) {
                    let action = self.backend(&path.backend, &format!("{field}.backend"), protocol);
                    let route = self.route(field, action, filters.clone());
                    self.out.rules.push((pattern.clone(), matched, route));
                }
            }
            if rule.host.is_empty() || !self.out.with_tls.contains(&pattern) {
                self.wish(pattern, false, None, false);
            }
        }
        if let Some(backend) = &fact.spec.default_backend {
            let action = self.backend(backend, "spec.defaultBackend", protocol);
            let field = "spec.defaultBackend".to_owned();
            if fact.spec.rules.is_empty() {
                let filters = self.filters(&HostPattern::Any);
                self.out.catch_all = Some(self.route(field, action, filters));
            } else {
                for pattern in self.out.hosts() {
                    let filters = self.filters(&pattern);
                    let route = self.route(field.clone(), action.clone(), filters);
                    self.out.fallbacks.insert(pattern, route);
                }
            }
        }
    }

    fn route(&self, field: String, action: Action, filters: Arc<[Filter]>) -> Arc<Route> {
        let origin = Origin { namespace: self.name.0.clone(), name: self.name.1.clone(), field: field.into() };
        Arc::new(Route { origin, action, filters })
    }

    /// The hosts that have TLS, with findings about their Secrets.
    fn tls(&mut self) -> BTreeSet<HostPattern> {
        let fact = self.fact;
        let mut patterns = BTreeSet::new();
        for (t, tls) in fact.spec.tls.iter().enumerate() {
            let rules = fact.spec.rules.iter().map(|rule| &rule.host);
            // An entry without hosts is for every host of the rules; without rules, for every host there is.
            let hosts: Vec<&str> = match (tls.hosts.is_empty(), fact.spec.rules.is_empty()) {
                (true, true) => vec![""],
                (true, false) => rules.map(|host| &**host).collect(),
                (false, _) => tls.hosts.iter().map(|host| &**host).collect(),
            };
            let secret = tls.secret_name.as_deref().filter(|name| !name.is_empty()).map(Arc::<str>::from);
            if let Some(secret) = &secret {
                self.out.secrets.insert((self.name.0.clone(), secret.clone()));
            }
            let mut told = false;
            for (h, host) in hosts.into_iter().enumerate() {
                let Ok(pattern) = HostPattern::parse(host) else {
                    self.warn("InvalidHost", format!("spec.tls[{t}].hosts[{h}]"), format!("{host:?} is not a host"));
                    continue;
                };
                let usable = match &secret {
                    None => false,
                    Some(secret) => match self.certificate(secret, &pattern) {
                        Ok(()) => true,
                        Err((reason, message)) => {
                            if !told {
                                self.warn(reason, format!("spec.tls[{t}].secretName"), message);
                            }
                            // One missing Secret is one finding; that it does not fit differs from host to host.
                            told = reason != "CertificateMismatch";
                            reason == "CertificateMismatch"
                        }
                    },
                };
                patterns.insert(pattern.clone());
                self.wish(pattern, true, secret.clone(), usable);
            }
        }
        patterns
    }

    fn certificate(&self, secret: &Arc<str>, pattern: &HostPattern) -> Result<(), (&'static str, String)> {
        match self.index.secrets.get(&(self.name.0.clone(), secret.clone())) {
            None => {
                Err(("SecretNotFound", format!("Secret {secret} does not exist: the local CA answers for its hosts")))
            }
            Some(SecretFact::Unusable(why)) => Err(("InvalidSecret", format!("Secret {secret} cannot be used: {why}"))),
            Some(SecretFact::Tls(super::CertificateSource::Secret { chain, private_key, .. })) => {
                (self.index.inspect)(chain, &private_key.0, pattern).map_err(|why| {
                    match why.strip_prefix("mismatch: ") {
                        Some(why) => ("CertificateMismatch", format!("Secret {secret}: {why}")),
                        None => ("InvalidSecret", format!("Secret {secret} cannot be used: {why}")),
                    }
                })
            }
            Some(SecretFact::Tls(super::CertificateSource::Local)) => Ok(()),
        }
    }

    fn wish(&mut self, pattern: HostPattern, asked: bool, secret: Option<Arc<str>>, usable: bool) {
        if asked || pattern != HostPattern::Any {
            self.out.tls.push(TlsWish { pattern, asked, secret, usable });
        }
    }

    fn filters(&mut self, pattern: &HostPattern) -> Arc<[Filter]> {
        let covered = self.out.has_tls(pattern);
        let flag = |name: &str| self.fact.annotation(name).and_then(|(_, value)| boolean(value));
        let forced = flag("force-ssl-redirect").unwrap_or(false);
        let redirect = flag("ssl-redirect").unwrap_or(self.index.settings.ssl_redirect);
        filters(self.index, redirect, forced, covered)
    }

    fn path(&mut self, rule: &IngressPath, field: &str) -> Option<PathMatch> {
        let text: &str = if rule.path.is_empty() { "/" } else { &rule.path };
        let normal = match path::normalize(text) {
            Ok(normal) => normal,
            Err(error) => {
                self.warn("InvalidPath", format!("{field}.path"), format!("{:?}: {error}", rule.path));
                return None;
            }
        };
        match &*rule.path_type {
            "Exact" => Some(PathMatch::Exact(normal.into())),
            "Prefix" => Some(PathMatch::Prefix(normal.into())),
            "ImplementationSpecific" => Some(PathMatch::Start(normal.into())),
            other => {
                let message = format!("{other:?} is not one of Exact, Prefix, ImplementationSpecific");
                self.warn("InvalidPath", format!("{field}.pathType"), message);
                None
            }
        }
    }

    fn backend(&mut self, backend: &IngressBackend, field: &str, protocol: Option<Protocol>) -> Action {
        let Some(service) = &backend.service else {
            self.warn(
                "UnsupportedBackend",
                field.to_owned(),
                "only Service backends are supported: 503 for this path".to_owned(),
            );
            return Action::Refuse(Refusal::UnsupportedBackend);
        };
        let name: Name = (self.name.0.clone(), Arc::from(&*service.name));
        self.out.services.insert(name.clone());
        match resolve(self.index, &name, &service.port, protocol) {
            Ok(action) => action,
            Err((refusal, message)) => {
                let reason = if refusal == Refusal::UnknownService { "UnknownService" } else { "UnknownPort" };
                self.warn(reason, format!("{field}.service"), message);
                Action::Refuse(refusal)
            }
        }
    }

    /// `backend-protocol`, for all paths of the Ingress.
    fn protocol(&mut self) -> Option<Protocol> {
        let (name, value) = self.fact.annotation("backend-protocol")?;
        match value.to_ascii_uppercase().as_str() {
            "HTTP" | "AUTO_HTTP" => Some(Protocol::Http1),
            "HTTPS" => Some(Protocol::Https),
            "GRPC" => Some(Protocol::H2c),
            "GRPCS" => Some(Protocol::H2),
            _ => {
                let message = format!("{value:?} is not one of HTTP, HTTPS, GRPC, GRPCS: HTTP is spoken");
                self.warn("InvalidAnnotation", format!("metadata.annotations[{name}]"), message);
                None
            }
        }
    }

    fn annotations(&mut self) {
        let fact = self.fact;
        for (name, value) in &fact.annotations {
            let Some(short) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) else { continue };
            let field = format!("metadata.annotations[{name}]");
            if !ANNOTATIONS.contains(&short) {
                self.note(
                    EventType::Normal,
                    "UnknownAnnotation",
                    field,
                    "this annotation is not known here and has no effect".to_owned(),
                );
            } else if short.ends_with("ssl-redirect") && boolean(value).is_none() {
                self.warn("InvalidAnnotation", field, format!("{value:?} is not one of true, false"));
            }
        }
    }

    fn warn(&mut self, reason: &'static str, field: String, message: String) {
        self.note(EventType::Warning, reason, field, message);
    }

    fn note(&mut self, severity: EventType, reason: &'static str, field: String, message: String) {
        let about = self.fact.about.clone();
        self.out.findings.push(Finding { about, severity, reason, field: field.into(), message: message.into() });
    }
}

/// The backend of a Service port, or why there is none.
fn resolve(
    index: &mut Index,
    service: &Name,
    port: &BackendPort,
    protocol: Option<Protocol>,
) -> Result<Action, (Refusal, String)> {
    let Some(fact) = index.services.get(service) else {
        return Err((Refusal::UnknownService, format!("Service {} does not exist: 503 for this path", service.1)));
    };
    let found = fact.ports.iter().find(|candidate| match &*port.name {
        "" => candidate.port == port.number,
        name => *candidate.name == *name,
    });
    let (number, spoken) = match found {
        Some(found) => (found.port, protocol.unwrap_or_else(|| spoken(found))),
        // An ExternalName needs no ports: the number of the Ingress is the one that is dialled.
        None if fact.external.is_some() && port.number != 0 => (port.number, protocol.unwrap_or_default()),
        None => {
            let wanted = if port.name.is_empty() { port.number.to_string() } else { port.name.to_string() };
            return Err((
                Refusal::UnknownPort,
                format!("Service {} has no port {wanted}: 503 for this path", service.1),
            ));
        }
    };
    Ok(Action::Forward(index.backend(service, number, spoken)))
}

/// `appProtocol` (KEP-3726 names, and those that were in use before). WebSocket is an upgrade of HTTP/1.1.
fn spoken(port: &ServicePort) -> Protocol {
    match &*port.app_protocol {
        "kubernetes.io/h2c" | "h2c" | "grpc" => Protocol::H2c,
        "kubernetes.io/wss" | "https" | "HTTPS" | "wss" => Protocol::Https,
        "grpcs" => Protocol::H2,
        _ => Protocol::Http1,
    }
}

fn boolean(value: &str) -> Option<bool> {
    match value {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}
