//! One Ingress to its rules, TLS wishes and findings.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use http::{HeaderValue, StatusCode};

use super::{
    CertificateSource, Finding,
    annotations::{self, Asked, Choice},
    certificates::{self, CertificateClaim},
    facts::{IngressFact, SecretFact},
    guards::{self, Decision, ServiceOutcome, Verdict},
    index::{Index, Name},
    regex,
};
use crate::{
    objects::{
        EventType,
        slim::{BackendPort, IngressBackend, IngressPath, ServicePort},
    },
    pki::CertificateTerms,
    routing::{Action, Filter, HostPattern, Origin, PathMatch, Protocol, Refusal, Route, path},
};

/// What one Ingress comes to.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    pub(super) ours: bool,
    /// The refusal for everything on its hosts, if it asks for an unsupported guard on whole hosts.
    pub(super) closes_hosts: Option<Refusal>,
    pub(super) rules: Vec<(HostPattern, PathMatch, Arc<Route>)>,
    /// `defaultBackend` beside rules: for its hosts.
    pub(super) fallbacks: BTreeMap<HostPattern, Arc<Route>>,
    /// `defaultBackend` without rules: for everything.
    pub(super) catch_all: Option<Arc<Route>>,
    pub(super) tls: Vec<TlsEntry>,
    /// Services and Secrets that it names, sorted, each once.
    pub(super) services: Vec<Name>,
    pub(super) secrets: Vec<Name>,
    pub(super) findings: Vec<Finding>,
    /// Certificates that it asks for.
    pub(super) asks: Vec<CertificateClaim>,
    /// Issuers that it names, or means by naming none, whether they exist or not.
    pub(super) issuers: BTreeSet<Box<str>>,
    /// Findings about Secrets that do not exist, which hold unless the wish of this id has come to
    /// be.
    pub(super) missing: Vec<(Arc<str>, Finding)>,
    /// Hosts under `tls`.
    with_tls: BTreeSet<HostPattern>,
    /// Hosts that have rules, and hosts whose only rule was refused (they keep their fallback).
    /// Sorted, each once.
    hosts: Vec<HostPattern>,
}

/// A host that wants TLS.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TlsEntry {
    pub(super) pattern: HostPattern,
    /// Whether `tls` names it. The host of a rule without that is answered over TLS too, with
    /// whatever fits.
    pub(super) asked: bool,
    pub(super) secret: Option<Arc<str>>,
    pub(super) usable: bool,
    /// The wish that its entry under `tls` is a part of.
    pub(super) ask: Option<Arc<str>>,
}

impl Compiled {
    pub(super) fn hosts(&self) -> &[HostPattern] {
        &self.hosts
    }

    /// Brings what is listed into its form, without room for more: there are thousands of these,
    /// and most have one of each.
    fn finish(&mut self) {
        fn tidy<T: Ord>(list: &mut Vec<T>) {
            list.sort_unstable();
            list.dedup();
            list.shrink_to_fit();
        }
        tidy(&mut self.services);
        tidy(&mut self.secrets);
        tidy(&mut self.hosts);
        self.rules.shrink_to_fit();
        self.tls.shrink_to_fit();
    }

    /// What of it makes a difference to certificates.
    pub(super) fn certificates(&self) -> (&[TlsEntry], &[CertificateClaim]) {
        (&self.tls, &self.asks)
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
    let Some(fact) = index.ingresses.remove(name) else {
        return Compiled::default();
    };
    let mut compiler = Compiler {
        index,
        name,
        fact: &fact,
        asked: Asked::default(),
        verdict: Verdict::default(),
        out: Compiled::default(),
    };
    if compiler.index.is_ours(&fact) {
        compiler.run();
    }
    let mut out = compiler.out;
    out.finish();
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
        Ok(number) => BackendPort {
            number,
            ..BackendPort::default()
        },
        Err(_name) => BackendPort {
            name: port.into(),
            ..BackendPort::default()
        },
    };
    let guarded = index.services.get(&service).map(|fact| {
        let decision = Decision::new(fact.guards, index.settings.unsupported_guards);
        guards::judge_service(&service.1, &fact.peers, decision).0
    });
    let action = match (guarded, resolve(index, &service, &port, None)) {
        (Some(ServiceOutcome::NotServed), _) => return None,
        (Some(ServiceOutcome::Refused(refusal)), _) | (_, Err((refusal, _))) => {
            Action::Refuse(refusal)
        }
        (_, Ok(backend)) => backend,
    };
    let origin = Origin {
        namespace: service.0,
        name: service.1,
        field: "default_backend".into(),
    };
    let filters = filters(index, index.settings.ssl_redirect, false, false);
    Some(Arc::new(Route {
        origin,
        action,
        filters,
    }))
}

/// The filters of a route: what is wished, whether the redirect is forced, and whether its host is
/// under `tls` of the same object. Otherwise they wait for others who put the host under `tls`.
fn filters(index: &mut Index, redirect: bool, forced: bool, covered: bool) -> Arc<[Filter]> {
    let settings = &index.settings;
    let mut filters = Vec::new();
    if forced || redirect {
        let always = forced || covered;
        filters.push(Filter::HttpsRedirect {
            status: StatusCode::PERMANENT_REDIRECT,
            always,
        });
    }
    if let Some(value) = settings
        .hsts
        .as_deref()
        .and_then(|hsts| HeaderValue::from_str(hsts).ok())
    {
        filters.push(Filter::Hsts {
            value,
            always: covered,
        });
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
    asked: Asked,
    verdict: Verdict,
    out: Compiled,
}

impl Compiler<'_> {
    fn run(&mut self) {
        self.out.ours = true;
        self.annotations();
        let protocol = self.asked.protocol;
        let fact = self.fact;
        self.out.with_tls = self.tls();
        if self.verdict.is_canary {
            return;
        }
        for (r, rule) in fact.spec.rules.iter().enumerate() {
            let pattern = match HostPattern::parse(&rule.host) {
                Ok(pattern) => pattern,
                Err(error) => {
                    self.warn(
                        "InvalidHost",
                        format!("spec.rules[{r}].host"),
                        format!("{:?}: {error}", rule.host),
                    );
                    continue;
                }
            };
            self.out.hosts.push(pattern.clone());
            let filters = self.filters(&pattern);
            let paths = rule.http.iter().flat_map(|http| &http.paths).enumerate();
            for (p, path) in paths {
                let field = format!("spec.rules[{r}].http.paths[{p}]");
                if self.is_pattern(path) {
                    self.close(path, field, &pattern, &filters);
                } else if let Some(matched) = self.path(path, &field)
                    && let Some(action) =
                        self.backend(&path.backend, &format!("{field}.backend"), protocol)
                {
                    let route = self.route(field, action, filters.clone());
                    self.out.rules.push((pattern.clone(), matched, route));
                }
            }
            if rule.host.is_empty() || !self.out.with_tls.contains(&pattern) {
                self.wants(TlsEntry {
                    pattern,
                    asked: false,
                    secret: None,
                    usable: false,
                    ask: None,
                });
            }
        }
        if let Some(backend) = &fact.spec.default_backend
            && let Some(action) = self.backend(backend, "spec.defaultBackend", protocol)
        {
            let field = "spec.defaultBackend".to_owned();
            if fact.spec.rules.is_empty() {
                let filters = self.filters(&HostPattern::Any);
                self.out.catch_all = Some(self.route(field, action, filters));
            } else {
                for pattern in self.out.hosts.clone() {
                    let filters = self.filters(&pattern);
                    let route = self.route(field.clone(), action.clone(), filters);
                    self.out.fallbacks.insert(pattern, route);
                }
            }
        }
    }

    fn route(&self, field: String, action: Action, filters: Arc<[Filter]>) -> Arc<Route> {
        let origin = Origin {
            namespace: self.name.0.clone(),
            name: self.name.1.clone(),
            field: field.into(),
        };
        match self.verdict.refusal {
            Some(refusal) => Arc::new(Route::refused(origin, refusal)),
            None => Arc::new(Route {
                origin,
                action,
                filters,
            }),
        }
    }

    /// The hosts that have TLS, with findings about their Secrets.
    fn tls(&mut self) -> BTreeSet<HostPattern> {
        let fact = self.fact;
        let mut patterns = BTreeSet::new();
        for (t, tls) in fact.spec.tls.iter().enumerate() {
            let rules = fact.spec.rules.iter().map(|rule| &rule.host);
            // An entry without hosts is for every host of the rules; without rules, for every host
            // there is.
            let hosts: Vec<&str> = match (tls.hosts.is_empty(), fact.spec.rules.is_empty()) {
                (true, true) => vec![""],
                (true, false) => rules.map(|host| &**host).collect(),
                (false, _) => tls.hosts.iter().map(|host| &**host).collect(),
            };
            let secret = tls
                .secret_name
                .as_deref()
                .filter(|name| !name.is_empty())
                .map(Arc::<str>::from);
            if let Some(secret) = &secret {
                self.out.secrets.push((self.name.0.clone(), secret.clone()));
            }
            let mut told = false;
            let mut named = Vec::new();
            for (h, host) in hosts.into_iter().enumerate() {
                match HostPattern::parse(host) {
                    Ok(pattern) => named.push(pattern),
                    Err(_) => {
                        let field = format!("spec.tls[{t}].hosts[{h}]");
                        self.warn("InvalidHost", field, format!("{host:?} is not a host"));
                    }
                }
            }
            let ask = self.ask(t, &named, secret.as_ref());
            for pattern in named {
                let usable = match &secret {
                    None => false,
                    Some(secret) => match self.certificate(secret, &pattern) {
                        Ok(()) => true,
                        Err((reason, message)) => {
                            let field = format!("spec.tls[{t}].secretName");
                            match reason {
                                _ if told => {}
                                // Ours is made anew.
                                "CertificateMismatch" if ask.is_some() => {}
                                "SecretNotFound" | "SecretsForbidden" => {
                                    let finding =
                                        self.finding(EventType::Warning, reason, field, message);
                                    self.out.missing.push((self.id(secret), finding));
                                }
                                _ => self.warn(reason, field, message),
                            }
                            // One missing Secret is one finding; that it does not fit differs from
                            // host to host.
                            told = reason != "CertificateMismatch";
                            reason == "CertificateMismatch"
                        }
                    },
                };
                patterns.insert(pattern.clone());
                self.wants(TlsEntry {
                    pattern,
                    asked: true,
                    secret: secret.clone(),
                    usable,
                    ask: ask.clone(),
                });
            }
        }
        self.common_name();
        patterns
    }

    fn id(&self, name: &str) -> Arc<str> {
        format!("{}/{name}", self.name.0).into()
    }

    /// Asks for the certificate of an entry under `tls`, if somebody may issue it and nobody else
    /// provides it. Returns the id of the wish.
    fn ask(
        &mut self,
        t: usize,
        hosts: &[HostPattern],
        secret: Option<&Arc<str>>,
    ) -> Option<Arc<str>> {
        let there = secret.and_then(|secret| {
            self.index
                .secrets
                .get(&(self.name.0.clone(), secret.clone()))
        });
        if there.is_some_and(|there| !there.ours) {
            return None;
        }
        let issuers = self.issuers()?;
        let field = format!("spec.tls[{t}]");
        let names = match certificates::names(hosts, &self.asked.addresses) {
            Ok(names) => names,
            Err(message) => {
                self.warn(
                    "InvalidCertificateRequest",
                    format!("{field}.hosts"),
                    message,
                );
                return None;
            }
        };
        let first = names
            .iter()
            .find(|name| name.parse::<IpAddr>().is_err())
            .or_else(|| names.first());
        let Some(first) = first else {
            // Nobody has to ask for a certificate, but who does needs names.
            if self.asked.issuer.is_some() {
                let message = "there is no host that a certificate could be for".to_owned();
                self.warn("InvalidCertificateRequest", field, message);
            }
            return None;
        };
        let id = secret.map_or_else(|| self.id(&format!("~{first}")), |secret| self.id(secret));
        if let Some(known) = self.out.asks.iter_mut().find(|ask| ask.id == id) {
            known.hosts.extend(names);
            return Some(id);
        }
        let terms = CertificateTerms {
            common_name: None,
            key_type: self.asked.key_type,
            keep_key: self.asked.keep_key,
            duration: self.asked.duration,
            renew_before: self
                .asked
                .renew_before
                .as_ref()
                .map(|(_, renewal)| *renewal),
        };
        let about = self.fact.about.clone();
        self.out.asks.push(CertificateClaim {
            id: id.clone(),
            about,
            secret: secret.cloned(),
            field: field.into(),
            hosts: names,
            issuers,
            terms,
        });
        Some(id)
    }

    /// Who may issue; nothing where nobody is to. Unknown issuers are told once.
    fn issuers(&mut self) -> Option<Vec<Box<str>>> {
        let settings = &self.index.settings;
        let annotated = |name: &str| format!("metadata.annotations[{name}]");
        let (field, names) = match &self.asked.issuer {
            Some((_, Choice::Nobody)) => return None,
            Some((name, Choice::Named(names))) => (annotated(name), names.clone()),
            Some((name, Choice::Default)) => {
                let default = settings.default_issuer.clone();
                (
                    annotated(name),
                    vec![default.unwrap_or_else(|| "letsencrypt".into())],
                )
            }
            None => (
                "spec.tls".to_owned(),
                vec![settings.default_issuer.clone()?],
            ),
        };
        let told = !self.out.issuers.is_empty();
        self.out.issuers.extend(names.iter().cloned());
        // One of another namespace is nothing to this one.
        let known: BTreeSet<&str> = settings
            .issuers
            .iter()
            .filter_map(|issuer| match issuer.split_once('/') {
                None => Some(&**issuer),
                Some((namespace, issuer)) => (*namespace == *self.name.0).then_some(issuer),
            })
            .collect();
        let Some(unknown) = names.iter().find(|name| !known.contains(&***name)) else {
            return Some(names);
        };
        if !told {
            let known: Vec<&str> = known.into_iter().collect();
            let message = match known.join(", ") {
                none if none.is_empty() => format!("there is no issuer {unknown}, nor any other"),
                known => format!("there is no issuer {unknown}; there are {known}"),
            };
            self.warn(
                "UnknownIssuer",
                field,
                format!("{message}: no certificate is asked for"),
            );
        }
        None
    }

    /// Puts the common name where it belongs.
    fn common_name(&mut self) {
        let Some((annotation, name)) = self.asked.common_name.take() else {
            return;
        };
        let mut used = self.out.asks.is_empty();
        for ask in self
            .out
            .asks
            .iter_mut()
            .filter(|ask| ask.hosts.contains(&name))
        {
            ask.terms.common_name = Some(name.clone());
            used = true;
        }
        if !used {
            let field = format!("metadata.annotations[{annotation}]");
            self.warn(
                "InvalidAnnotation",
                field,
                format!("{name} is none of the certificate's hosts"),
            );
        }
    }

    fn certificate(
        &self,
        secret: &Arc<str>,
        pattern: &HostPattern,
    ) -> Result<(), (&'static str, String)> {
        match self
            .index
            .secrets
            .get(&(self.name.0.clone(), secret.clone()))
        {
            None if self.index.secrets_refused => {
                let message = format!(
                    "Secret {secret} is not known, because the cluster does not allow gatelet to read Secrets: \
                     the local CA answers for its hosts"
                );
                Err(("SecretsForbidden", message))
            }
            None => Err((
                "SecretNotFound",
                format!("Secret {secret} does not exist: the local CA answers for its hosts"),
            )),
            Some(SecretFact {
                holds: Err(why), ..
            }) => Err((
                "InvalidSecret",
                format!("Secret {secret} cannot be used: {why}"),
            )),
            Some(SecretFact {
                holds:
                    Ok(CertificateSource::Secret {
                        chain, private_key, ..
                    }),
                ..
            }) => (self.index.inspect)(chain, &private_key.0, pattern).map_err(|why| {
                match why.strip_prefix("mismatch: ") {
                    Some(why) => ("CertificateMismatch", format!("Secret {secret}: {why}")),
                    None => (
                        "InvalidSecret",
                        format!("Secret {secret} cannot be used: {why}"),
                    ),
                }
            }),
            Some(SecretFact {
                holds: Ok(CertificateSource::Local),
                ..
            }) => Ok(()),
        }
    }

    fn wants(&mut self, tls: TlsEntry) {
        if tls.asked || tls.pattern != HostPattern::Any {
            self.out.tls.push(tls);
        }
    }

    fn filters(&mut self, pattern: &HostPattern) -> Arc<[Filter]> {
        let covered = self.out.has_tls(pattern);
        let redirect = self
            .asked
            .redirect
            .unwrap_or(self.index.settings.ssl_redirect);
        filters(
            self.index,
            redirect,
            self.asked.forced || self.asked.https_only,
            covered,
        )
    }

    fn path(&mut self, rule: &IngressPath, field: &str) -> Option<PathMatch> {
        let text: &str = if rule.path.is_empty() {
            "/"
        } else {
            &rule.path
        };
        let normal = match path::normalize(text) {
            Ok(normal) => normal,
            Err(error) => {
                self.warn(
                    "InvalidPath",
                    format!("{field}.path"),
                    format!("{:?}: {error}", rule.path),
                );
                return None;
            }
        };
        match &*rule.path_type {
            "Exact" => {
                if regex::is_pattern(&rule.path, false) {
                    let message = format!(
                        "{:?} is compared character by character, not evaluated as a pattern",
                        rule.path
                    );
                    self.warn("UnsupportedPath", format!("{field}.path"), message);
                }
                Some(PathMatch::Exact(normal.into()))
            }
            "Prefix" => Some(PathMatch::Prefix(normal.into())),
            "ImplementationSpecific" => Some(PathMatch::Start(normal.into())),
            other => {
                let message =
                    format!("{other:?} is not one of Exact, Prefix, ImplementationSpecific");
                self.warn("InvalidPath", format!("{field}.pathType"), message);
                None
            }
        }
    }

    /// Returns whether the path is a regular expression or another pattern. An `Exact` path is one
    /// only if an annotation turns all paths of the object into expressions.
    fn is_pattern(&self, rule: &IngressPath) -> bool {
        let declared = self.fact.declares_regex;
        rule.path.starts_with('/')
            && (declared || *rule.path_type != *"Exact")
            && regex::is_pattern(&rule.path, declared)
    }

    /// Refuses the requests that the regular expression of a path could match.
    fn close(
        &mut self,
        rule: &IngressPath,
        field: String,
        host: &HostPattern,
        filters: &Arc<[Filter]>,
    ) {
        let closed = regex::could_match(&rule.path);
        let message = format!(
            "{:?} is a regular expression or a wildcard, which gatelet does not evaluate yet: 503 for {}, unless a longer \
             path takes the request",
            rule.path,
            regex::shown(&closed)
        );
        self.warn("UnsupportedPath", format!("{field}.path"), message);

        let route = self.route(
            field,
            Action::Refuse(Refusal::UnsupportedPath),
            filters.clone(),
        );
        self.out.rules.extend(
            closed
                .into_iter()
                .map(|path| (host.clone(), path, route.clone())),
        );
    }

    /// Returns the action for a backend, or `None` if its Service must take a part of the requests
    /// only.
    fn backend(
        &mut self,
        backend: &IngressBackend,
        field: &str,
        protocol: Option<Protocol>,
    ) -> Option<Action> {
        let Some(service) = &backend.service else {
            self.warn(
                "UnsupportedBackend",
                field.to_owned(),
                "only Service backends are supported: 503 for this path".to_owned(),
            );
            return Some(Action::Refuse(Refusal::UnsupportedBackend));
        };
        let name: Name = (self.name.0.clone(), Arc::from(&*service.name));
        self.out.services.push(name.clone());
        match resolve(self.index, &name, &service.port, protocol) {
            Ok(action) => self.guarded(&name, action, &format!("{field}.service")),
            Err((refusal, message)) => {
                let reason = if refusal == Refusal::UnknownService {
                    "UnknownService"
                } else {
                    "UnknownPort"
                };
                self.warn(reason, format!("{field}.service"), message);
                Some(Action::Refuse(refusal))
            }
        }
    }

    /// Applies the annotations of other controllers on the Service to the action.
    fn guarded(&mut self, service: &Name, action: Action, field: &str) -> Option<Action> {
        let Some(fact) = self
            .index
            .services
            .get(service)
            .filter(|fact| !fact.peers.is_empty())
        else {
            return Some(action);
        };
        let decision = Decision::new(
            fact.guards.or(self.asked.guards),
            self.index.settings.unsupported_guards,
        );
        let (outcome, complaints) = guards::judge_service(&service.1, &fact.peers, decision);
        for complaint in complaints {
            let finding = self.finding(
                complaint.severity,
                complaint.reason,
                field.to_owned(),
                complaint.message,
            );
            self.out.findings.push(finding);
        }
        match outcome {
            ServiceOutcome::Served => Some(action),
            ServiceOutcome::Refused(refusal) => Some(Action::Refuse(refusal)),
            ServiceOutcome::NotServed => None,
        }
    }

    fn annotations(&mut self) {
        self.asked = annotations::read(&self.fact.annotations);
        let decision = Decision::new(self.asked.guards, self.index.settings.unsupported_guards);
        self.verdict = guards::judge(&self.fact.peers, decision);
        self.asked.https_only |= self.verdict.https_only;
        self.out.closes_hosts = self.verdict.refusal.filter(|_| self.verdict.closes_hosts);
        let complaints = std::mem::take(&mut self.asked.complaints).into_iter();
        for complaint in complaints.chain(std::mem::take(&mut self.verdict.complaints)) {
            let field = format!("metadata.annotations[{}]", complaint.annotation);
            let finding = self.finding(
                complaint.severity,
                complaint.reason,
                field,
                complaint.message,
            );
            self.out.findings.push(finding);
        }
    }

    fn warn(&mut self, reason: &'static str, field: String, message: String) {
        let finding = self.finding(EventType::Warning, reason, field, message);
        self.out.findings.push(finding);
    }

    fn finding(
        &self,
        severity: EventType,
        reason: &'static str,
        field: String,
        message: String,
    ) -> Finding {
        let about = self.fact.about.clone();
        Finding {
            about,
            severity,
            reason,
            field: field.into(),
            message: message.into(),
        }
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
        return Err((
            Refusal::UnknownService,
            format!("Service {} does not exist: 503 for this path", service.1),
        ));
    };
    let found = fact.ports.iter().find(|candidate| match &*port.name {
        "" => candidate.port == port.number,
        name => *candidate.name == *name,
    });
    let (number, spoken) = match found {
        Some(found) => (found.port, protocol.unwrap_or_else(|| spoken(found))),
        // An ExternalName needs no ports: the number of the Ingress is the one that is dialled.
        None if fact.external.is_some() && port.number != 0 => {
            (port.number, protocol.unwrap_or_default())
        }
        None => {
            let wanted = if port.name.is_empty() {
                port.number.to_string()
            } else {
                port.name.to_string()
            };
            return Err((
                Refusal::UnknownPort,
                format!(
                    "Service {} has no port {wanted}: 503 for this path",
                    service.1
                ),
            ));
        }
    };
    Ok(Action::Forward(index.backend(service, number, spoken)))
}

/// `appProtocol` (KEP-3726 names, and those that were in use before). WebSocket is an upgrade of
/// HTTP/1.1.
fn spoken(port: &ServicePort) -> Protocol {
    match &*port.app_protocol {
        "kubernetes.io/h2c" | "h2c" | "grpc" => Protocol::H2c,
        "kubernetes.io/wss" | "https" | "HTTPS" | "wss" => Protocol::Https,
        "grpcs" => Protocol::H2,
        _ => Protocol::Http1,
    }
}
