//! Compiles one Ingress to rules, TLS entries, certificate claims and findings.

use std::{collections::BTreeSet, mem, net::IpAddr, sync::Arc};

use http::{HeaderValue, StatusCode};

use super::{
    CertificateSource, Finding, Reason,
    annotations::{self, AnnotationValues, Choice},
    backends::Backends,
    certificates,
    compiled::{CertificateClaim, Compiled, TlsEntry},
    facts::IngressFact,
    guards::{self, Decision, ServiceOutcome, Verdict},
    objects::{InspectError, Name, Objects},
    regex,
};
use crate::{
    objects::{
        EventType,
        slim::{BackendPort, IngressBackend, IngressPath, IngressRule, IngressTls, ServicePort},
    },
    pki::CertificateTerms,
    routing::{Action, Filter, HostPattern, Origin, PathMatch, Protocol, Refusal, Route, path},
};

/// Compiles one Ingress. A problem with a part takes down that part only.
pub(super) fn compile(objects: &Objects, backends: &mut Backends, name: &Name) -> Compiled {
    let Some(fact) = objects.ingresses.get(name) else {
        return Compiled::default();
    };
    let mut compiler = Compiler {
        objects,
        backends,
        name,
        fact,
        annotated: AnnotationValues::default(),
        verdict: Verdict::default(),
        out: Compiled::default(),
    };
    if objects.is_ours(fact) {
        compiler.run();
    }
    compiler.out.finish();
    compiler.out
}

/// Returns the route of the controller's own default backend.
pub(super) fn controller_default(objects: &Objects, backends: &mut Backends) -> Option<Arc<Route>> {
    let setting = objects.settings.default_backend.as_deref()?;
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

    let guarded = objects.services.get(&service).map(|fact| {
        let decision = Decision::new(fact.guards, objects.settings.unsupported_guards);
        guards::judge_service(&service.1, &fact.peers, decision).0
    });

    let action = match (guarded, resolve(objects, backends, &service, &port, None)) {
        (Some(ServiceOutcome::NotServed), _) => return None,
        (Some(ServiceOutcome::Refused(refusal)), _) => Action::Refuse(refusal),
        (_, Err(error)) => Action::Refuse(error.refusal()),
        (_, Ok(backend)) => backend,
    };

    let origin = Origin {
        namespace: service.0,
        name: service.1,
        field: "default_backend".into(),
    };
    let redirect = Redirect::new(objects.settings.ssl_redirect, false, false);
    Some(Arc::new(Route {
        origin,
        action,
        filters: filters(objects, backends, redirect, false),
    }))
}

/// The redirect from HTTP to HTTPS on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Redirect {
    Never,
    /// Only while an object has the host under `tls`.
    WithTls,
    Always,
}

impl Redirect {
    /// `covered` is true if the host is under `tls` of the same object.
    fn new(enabled: bool, forced: bool, covered: bool) -> Self {
        match (forced, enabled) {
            (true, _) => Self::Always,
            (false, true) if covered => Self::Always,
            (false, true) => Self::WithTls,
            (false, false) => Self::Never,
        }
    }
}

/// Returns the filters of a route. Without `covered` they are inactive until another object puts
/// the host under `tls`.
fn filters(
    objects: &Objects,
    backends: &mut Backends,
    redirect: Redirect,
    covered: bool,
) -> Arc<[Filter]> {
    let mut filters = Vec::new();
    if redirect != Redirect::Never {
        filters.push(Filter::HttpsRedirect {
            status: StatusCode::PERMANENT_REDIRECT,
            always: redirect == Redirect::Always,
        });
    }

    let hsts = objects.settings.hsts.as_deref();
    if let Some(value) = hsts.and_then(|hsts| HeaderValue::from_str(hsts).ok()) {
        filters.push(Filter::Hsts {
            value,
            always: covered,
        });
    }

    backends.share_filters(filters)
}

struct Compiler<'a> {
    objects: &'a Objects,
    backends: &'a mut Backends,
    name: &'a Name,
    fact: &'a IngressFact,
    annotated: AnnotationValues,
    verdict: Verdict,
    out: Compiled,
}

impl Compiler<'_> {
    fn run(&mut self) {
        self.out.ours = true;
        self.annotations();
        self.out.with_tls = self.tls();
        if self.verdict.is_canary {
            return;
        }

        let fact = self.fact;
        for (r, rule) in fact.spec.rules.iter().enumerate() {
            self.rule(r, rule);
        }
        if let Some(backend) = &fact.spec.default_backend {
            self.default_backend(backend);
        }
    }

    fn rule(&mut self, r: usize, rule: &IngressRule) {
        let pattern = match HostPattern::parse(&rule.host) {
            Ok(pattern) => pattern,
            Err(error) => {
                let message = format!("{:?}: {error}", rule.host);
                self.warn(
                    Reason::InvalidHost,
                    format!("spec.rules[{r}].host"),
                    message,
                );
                return;
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
                && let Some(action) = self.backend(&path.backend, &format!("{field}.backend"))
            {
                let route = self.route(field, action, filters.clone());
                self.out.rules.push((pattern.clone(), matched, route));
            }
        }

        if rule.host.is_empty() || !self.out.with_tls.contains(&pattern) {
            self.push_tls(TlsEntry {
                pattern,
                listed: false,
                secret: None,
                usable: false,
                claim: None,
            });
        }
    }

    fn default_backend(&mut self, backend: &IngressBackend) {
        let field = "spec.defaultBackend".to_owned();
        let Some(action) = self.backend(backend, &field) else {
            return;
        };

        if self.fact.spec.rules.is_empty() {
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

    // === TLS ===

    /// Returns the hosts that have TLS, and reports problems with their Secrets.
    fn tls(&mut self) -> BTreeSet<HostPattern> {
        let fact = self.fact;
        let mut patterns = BTreeSet::new();

        for (t, tls) in fact.spec.tls.iter().enumerate() {
            let secret = tls
                .secret_name
                .as_deref()
                .filter(|name| !name.is_empty())
                .map(Arc::<str>::from);
            if let Some(secret) = &secret {
                self.out.secrets.push((self.name.0.clone(), secret.clone()));
            }

            let hosts = self.hosts_of_entry(t, tls);
            let claim = self.claim(t, &hosts, secret.as_ref());
            let mut is_reported = false;
            for pattern in hosts {
                let usable = secret.as_ref().is_some_and(|secret| {
                    let found = self.certificate(secret, &pattern);
                    let problem = found.as_ref().err();
                    if let Some(problem) = problem.filter(|_| !is_reported) {
                        self.report_secret(t, secret, problem, claim.is_some());
                    }

                    // A missing Secret is one finding. A mismatch differs from host to host.
                    is_reported |= problem.is_some_and(|problem| !problem.is_mismatch());
                    problem.is_none_or(SecretProblem::is_mismatch)
                });
                patterns.insert(pattern.clone());
                self.push_tls(TlsEntry {
                    pattern,
                    listed: true,
                    secret: secret.clone(),
                    usable,
                    claim: claim.clone(),
                });
            }
        }

        self.common_name();
        patterns
    }

    /// Returns the hosts of an entry under `tls`. An entry without hosts is for every host of the
    /// rules, and without rules for every request.
    fn hosts_of_entry(&mut self, t: usize, tls: &IngressTls) -> Vec<HostPattern> {
        let fact = self.fact;
        let rules = fact.spec.rules.iter().map(|rule| &*rule.host);
        let hosts: Vec<&str> = match (tls.hosts.is_empty(), fact.spec.rules.is_empty()) {
            (true, true) => vec![""],
            (true, false) => rules.collect(),
            (false, _) => tls.hosts.iter().map(|host| &**host).collect(),
        };

        let mut patterns = Vec::new();
        for (h, host) in hosts.into_iter().enumerate() {
            match HostPattern::parse(host) {
                Ok(pattern) => patterns.push(pattern),
                Err(_) => {
                    let field = format!("spec.tls[{t}].hosts[{h}]");
                    let message = format!("{host:?} is not a host");
                    self.warn(Reason::InvalidHost, field, message);
                }
            }
        }
        patterns
    }

    fn report_secret(
        &mut self,
        t: usize,
        secret: &Arc<str>,
        problem: &SecretProblem,
        is_claimed: bool,
    ) {
        let field = format!("spec.tls[{t}].secretName");
        let message = format!("Secret {secret} {problem}");

        match problem {
            // gatelet replaces its own certificate.
            SecretProblem::Mismatch(_) if is_claimed => {}
            SecretProblem::Missing | SecretProblem::Forbidden => {
                let finding = self.finding(EventType::Warning, problem.reason(), field, message);
                self.out.missing.push((self.id(secret), finding));
            }
            SecretProblem::Mismatch(_) | SecretProblem::Invalid(_) => {
                self.warn(problem.reason(), field, message);
            }
        }
    }

    /// Checks the certificate in a Secret for a host.
    fn certificate(&self, secret: &Arc<str>, pattern: &HostPattern) -> Result<(), SecretProblem> {
        let name = (self.name.0.clone(), secret.clone());
        let Some(fact) = self.objects.secrets.get(&name) else {
            return Err(if self.objects.secrets_refused {
                SecretProblem::Forbidden
            } else {
                SecretProblem::Missing
            });
        };

        match &fact.holds {
            Err(why) => Err(SecretProblem::Invalid((*why).to_owned())),
            Ok(CertificateSource::Local) => Ok(()),
            Ok(CertificateSource::Secret {
                chain, private_key, ..
            }) => {
                let checked = (self.objects.inspect)(chain, &private_key.0, pattern);
                checked.map_err(|error| match error {
                    InspectError::Mismatch(why) => SecretProblem::Mismatch(why),
                    InspectError::Invalid(why) => SecretProblem::Invalid(why),
                })
            }
        }
    }

    fn push_tls(&mut self, entry: TlsEntry) {
        if entry.listed || entry.pattern != HostPattern::Any {
            self.out.tls.push(entry);
        }
    }

    // === Certificate claims ===

    fn id(&self, name: &str) -> Arc<str> {
        format!("{}/{name}", self.name.0).into()
    }

    /// Claims the certificate of an entry under `tls`, if it has an issuer and the Secret is not
    /// provided by others. Returns the id of the claim.
    fn claim(
        &mut self,
        t: usize,
        hosts: &[HostPattern],
        secret: Option<&Arc<str>>,
    ) -> Option<Arc<str>> {
        let existing = secret.and_then(|secret| {
            let name = (self.name.0.clone(), secret.clone());
            self.objects.secrets.get(&name)
        });
        if existing.is_some_and(|existing| !existing.ours) {
            return None;
        }

        let issuers = self.issuers()?;
        let field = format!("spec.tls[{t}]");
        let names = match certificates::names(hosts, &self.annotated.addresses) {
            Ok(names) => names,
            Err(error) => {
                let (field, message) = (format!("{field}.hosts"), error.to_string());
                self.warn(Reason::InvalidCertificateRequest, field, message);
                return None;
            }
        };

        let first = names
            .iter()
            .find(|name| name.parse::<IpAddr>().is_err())
            .or_else(|| names.first());
        let Some(first) = first else {
            // Without an issuer of its own the Ingress does not ask for a certificate.
            if self.annotated.issuer.is_some() {
                let message = "the entry has no host to issue a certificate for".to_owned();
                self.warn(Reason::InvalidCertificateRequest, field, message);
            }
            return None;
        };

        let id = secret.map_or_else(|| self.id(&format!("~{first}")), |secret| self.id(secret));
        if let Some(known) = self.out.claims.iter_mut().find(|claim| claim.id == id) {
            known.hosts.extend(names);
            return Some(id);
        }

        let renew_before = self.annotated.renew_before.as_ref();
        let terms = CertificateTerms {
            common_name: None,
            key_type: self.annotated.key_type,
            keep_key: self.annotated.keep_key,
            duration: self.annotated.duration,
            renew_before: renew_before.map(|(_, renew_before)| *renew_before),
        };

        let about = self.fact.about.clone();
        self.out.claims.push(CertificateClaim {
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

    /// Returns the issuers for the certificates of this Ingress, or `None` if it does not ask for
    /// certificates. Reports an unknown issuer once.
    fn issuers(&mut self) -> Option<Vec<Box<str>>> {
        let settings = &self.objects.settings;
        let field_of = |name: &str| format!("metadata.annotations[{name}]");
        let default = settings.default_issuer.clone();

        let (field, names) = match &self.annotated.issuer {
            Some((_, Choice::NoIssuer)) => return None,
            Some((name, Choice::Named(names))) => (field_of(name), names.clone()),
            Some((name, Choice::Default)) => {
                let default = default.unwrap_or_else(|| "letsencrypt".into());
                (field_of(name), vec![default])
            }
            None => ("spec.tls".to_owned(), vec![default?]),
        };

        let is_reported = !self.out.issuers.is_empty();
        self.out.issuers.extend(names.iter().cloned());

        // Issuers of other namespaces are invisible to this one.
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

        if !is_reported {
            let known: Vec<&str> = known.into_iter().collect();
            let others = match known.join(", ") {
                list if list.is_empty() => "no issuer exists".to_owned(),
                list => format!("the known ones are {list}"),
            };
            let message = format!(
                "issuer {unknown} does not exist ({others}): gatelet asks for no certificate"
            );
            self.warn(Reason::UnknownIssuer, field, message);
        }
        None
    }

    /// Sets the common name in the claims that have it among their hosts.
    fn common_name(&mut self) {
        let Some((annotation, name)) = self.annotated.common_name.take() else {
            return;
        };

        let claims = &mut self.out.claims;
        let mut used = claims.is_empty();
        for claim in claims.iter_mut().filter(|one| one.hosts.contains(&name)) {
            claim.terms.common_name = Some(name.clone());
            used = true;
        }
        if !used {
            let field = format!("metadata.annotations[{annotation}]");
            let message = format!("{name} is not one of the certificate's hosts");
            self.warn(Reason::InvalidAnnotation, field, message);
        }
    }

    // === Rules ===

    fn filters(&mut self, pattern: &HostPattern) -> Arc<[Filter]> {
        let covered = self.out.has_tls(pattern);
        let setting = self.objects.settings.ssl_redirect;
        let redirect = Redirect::new(
            self.annotated.redirect.unwrap_or(setting),
            self.annotated.forced || self.annotated.https_only,
            covered,
        );
        filters(self.objects, self.backends, redirect, covered)
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
                let message = format!("{:?}: {error}", rule.path);
                self.warn(Reason::InvalidPath, format!("{field}.path"), message);
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
                    self.warn(Reason::UnsupportedPath, format!("{field}.path"), message);
                }
                Some(PathMatch::Exact(normal.into()))
            }
            "Prefix" => Some(PathMatch::Prefix(normal.into())),
            "ImplementationSpecific" => Some(PathMatch::Start(normal.into())),
            other => {
                let message =
                    format!("{other:?} is not one of Exact, Prefix, ImplementationSpecific");
                self.warn(Reason::InvalidPath, format!("{field}.pathType"), message);
                None
            }
        }
    }

    /// Returns true if the path is a regular expression or another pattern. An `Exact` path is one
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
            "{:?} is a regular expression or a wildcard, which gatelet does not evaluate yet: 503 \
                for \
             {}, unless a longer path takes the request",
            rule.path,
            regex::shown(&closed)
        );
        self.warn(Reason::UnsupportedPath, format!("{field}.path"), message);

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
    fn backend(&mut self, backend: &IngressBackend, field: &str) -> Option<Action> {
        let Some(service) = &backend.service else {
            self.warn(
                Reason::UnsupportedBackend,
                field.to_owned(),
                "only Service backends are supported: 503 for this path".to_owned(),
            );
            return Some(Action::Refuse(Refusal::UnsupportedBackend));
        };

        let name: Name = (self.name.0.clone(), Arc::from(&*service.name));
        self.out.services.push(name.clone());

        let protocol = self.annotated.protocol;
        match resolve(self.objects, self.backends, &name, &service.port, protocol) {
            Ok(action) => self.guarded(&name, action, &format!("{field}.service")),
            Err(error) => {
                self.warn(
                    error.reason(),
                    format!("{field}.service"),
                    error.to_string(),
                );
                Some(Action::Refuse(error.refusal()))
            }
        }
    }

    /// Applies the annotations of other controllers on the Service to the action.
    fn guarded(&mut self, service: &Name, action: Action, field: &str) -> Option<Action> {
        let Some(fact) = self
            .objects
            .services
            .get(service)
            .filter(|fact| !fact.peers.is_empty())
        else {
            return Some(action);
        };

        let decision = Decision::new(
            fact.guards.or(self.annotated.guards),
            self.objects.settings.unsupported_guards,
        );
        let (outcome, findings) = guards::judge_service(&service.1, &fact.peers, decision);
        for finding in findings {
            let finding = self.finding(
                finding.severity,
                finding.reason,
                field.to_owned(),
                finding.message,
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
        self.annotated = annotations::read(&self.fact.annotations);
        let decision = Decision::new(
            self.annotated.guards,
            self.objects.settings.unsupported_guards,
        );
        self.verdict = guards::judge(&self.fact.peers, decision);
        self.annotated.https_only |= self.verdict.https_only;
        self.out.closes_hosts = self.verdict.refusal.filter(|_| self.verdict.closes_hosts);

        let findings = mem::take(&mut self.annotated.findings).into_iter();
        for finding in findings.chain(mem::take(&mut self.verdict.findings)) {
            let field = format!("metadata.annotations[{}]", finding.annotation);
            let finding = self.finding(finding.severity, finding.reason, field, finding.message);
            self.out.findings.push(finding);
        }
    }

    fn warn(&mut self, reason: Reason, field: String, message: String) {
        let finding = self.finding(EventType::Warning, reason, field, message);
        self.out.findings.push(finding);
    }

    fn finding(
        &self,
        severity: EventType,
        reason: Reason,
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

/// A backend that does not resolve to a Service port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum ResolveError {
    #[error("Service {service} does not exist: 503 for this path")]
    UnknownService { service: Arc<str> },
    #[error("Service {service} has no port {port}: 503 for this path")]
    UnknownPort { service: Arc<str>, port: String },
}

impl ResolveError {
    fn reason(&self) -> Reason {
        match self {
            Self::UnknownService { .. } => Reason::UnknownService,
            Self::UnknownPort { .. } => Reason::UnknownPort,
        }
    }

    fn refusal(&self) -> Refusal {
        match self {
            Self::UnknownService { .. } => Refusal::UnknownService,
            Self::UnknownPort { .. } => Refusal::UnknownPort,
        }
    }
}

/// A Secret that does not serve a host. The text continues a sentence that begins with the Secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum SecretProblem {
    #[error("does not exist: the local CA serves its hosts")]
    Missing,
    #[error(
        "is unknown, because the cluster does not allow gatelet to read Secrets: the local CA \
         serves its hosts"
    )]
    Forbidden,
    #[error("cannot be used: {0}")]
    Invalid(String),
    #[error("does not fit: {0}")]
    Mismatch(String),
}

impl SecretProblem {
    fn reason(&self) -> Reason {
        match self {
            Self::Missing => Reason::SecretNotFound,
            Self::Forbidden => Reason::SecretsForbidden,
            Self::Invalid(_) => Reason::InvalidSecret,
            Self::Mismatch(_) => Reason::CertificateMismatch,
        }
    }

    /// Returns true if the certificate is served all the same.
    fn is_mismatch(&self) -> bool {
        matches!(self, Self::Mismatch(_))
    }
}

/// Resolves a Service port to its backend.
fn resolve(
    objects: &Objects,
    backends: &mut Backends,
    service: &Name,
    port: &BackendPort,
    protocol: Option<Protocol>,
) -> Result<Action, ResolveError> {
    let Some(fact) = objects.services.get(service) else {
        return Err(ResolveError::UnknownService {
            service: service.1.clone(),
        });
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
            let port = match &*port.name {
                "" => port.number.to_string(),
                name => name.to_owned(),
            };
            return Err(ResolveError::UnknownPort {
                service: service.1.clone(),
                port,
            });
        }
    };

    Ok(Action::Forward(backends.get(service, number, spoken)))
}

/// Returns the protocol of a port by its `appProtocol` (KEP-3726 names, and those that were in use
/// before). WebSocket is an upgrade of HTTP/1.1.
fn spoken(port: &ServicePort) -> Protocol {
    match &*port.app_protocol {
        "kubernetes.io/h2c" | "h2c" | "grpc" => Protocol::H2c,
        "kubernetes.io/wss" | "https" | "HTTPS" | "wss" => Protocol::Https,
        "grpcs" => Protocol::H2,
        _ => Protocol::Http1,
    }
}
