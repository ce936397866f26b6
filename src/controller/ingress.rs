//! Compiles one Ingress to rules, TLS entries, certificate claims and findings.

mod annotated;
mod backend;
mod custom_fields;
mod errors;
mod expressions;
mod fields;
mod further;
mod matches;
mod mirror;
mod passthrough;
mod route_terms;
mod steps;
mod tcp;
mod tls;

use std::sync::Arc;

use self::steps::{Redirect, Responses, RouteTerms, steps};
use super::{
    Finding, Message, Reason, Settings, access,
    annotations::{self, AnnotationFinding, AnnotationValues, HttpsValues, PathKind},
    backend_terms::BackendTerms,
    backends::Backends,
    compiled::{Compiled, FurtherHost, TlsEntry},
    counted::CountedIngresses,
    external_auth::MadeAuth,
    facts::IngressFact,
    guards::{self, Decision, ServiceOutcome, Verdict},
    middlewares::MadeMiddlewares,
    objects::{Name, Objects},
    regex,
    resolve::resolve,
    sticky,
};
use crate::{
    objects::{
        EventType,
        slim::{BackendPort, IngressBackend, IngressPath, IngressRule},
    },
    routing::{
        Access, Action, Conditional, Conditions, HostPattern, Origin, PathMatch, Policy, Refusal,
        RequestCounts, RequestStep, Route, Steps, path,
    },
};

/// Compiles one Ingress. A problem with a part takes down that part only.
pub(super) fn compile(
    objects: &Objects,
    backends: &mut Backends,
    (name, fact): (&Name, &IngressFact),
    counted: &CountedIngresses,
) -> Compiled {
    let mut compiler = Compiler {
        objects,
        backends,
        name,
        requests: None,
        fact,
        annotated: AnnotationValues::default(),
        read_terms: BackendTerms::default(),
        verdict: Verdict::default(),
        guarded_by: GuardedBy::default(),
        middlewares: MadeMiddlewares::default(),
        route_terms: RouteTerms::default(),
        conditions: None,
        out: Compiled::default(),
    };
    if objects.is_ours(fact) {
        compiler.requests = Some(counted.of(name));
        compiler.run();
    }
    compiler.out.finish();
    compiler.out
}

/// Returns the Service and the port of the controller's own default backend.
fn default_backend(settings: &Settings) -> Option<(Name, BackendPort)> {
    let setting = settings.default_backend.as_deref()?;
    let (namespace, rest) = setting.split_once('/')?;
    let (service, port) = rest.split_once(':')?;
    let port = match port.parse() {
        Ok(number) => BackendPort::of_number(number),
        Err(_name) => BackendPort::of_name(port),
    };
    Some(((namespace.into(), service.into()), port))
}

/// Returns the route of the controller's own default backend.
pub(super) fn controller_default(objects: &Objects, backends: &mut Backends) -> Option<Arc<Route>> {
    let (service, port) = default_backend(&objects.settings)?;
    let guarded = objects.services.get(&service).map(|fact| {
        let decision = Decision::new(fact.guards, objects.settings.unsupported_guards);
        let outcome = guards::judge_service(&service.1, &fact.peers, decision).0;
        let values = annotations::read(&fact.annotations);
        let made = access::make(objects, backends, &service.0, &values.access);
        // The route does not follow changes of Secrets, and of servers that check logins.
        let is_closed = values.is_closed
            || made.refusal.is_some()
            || !made.secrets.is_empty()
            || !values.clients.is_empty()
            || values.middlewares.is_some() && !decision.ignores()
            || values.transport.is_some()
            || !values.backend_tls.is_unset()
            || values.external.values().any(|one| one.url.is_some());
        (outcome, is_closed, made.access)
    });

    let resolved = resolve(objects, backends, &service, &port, BackendTerms::default());
    let closed = objects.global.closed.as_ref();
    let (action, access) = match (guarded, resolved) {
        _ if closed.is_some() => (Action::Refuse(Refusal::UnsupportedGuard), None),
        (Some((ServiceOutcome::NotServed, ..)), _) => return None,
        (Some((ServiceOutcome::Refused(refusal), ..)), _) => (Action::Refuse(refusal), None),
        (Some((_, true, _)), _) => (Action::Refuse(Refusal::InvalidGuard), None),
        (_, Err(error)) => (Action::Refuse(error.refusal()), None),
        (Some((.., access)), Ok(backend)) => (backend, access),
        (None, Ok(backend)) => (backend, None),
    };

    let origin = Origin {
        namespace: service.0,
        name: service.1,
        field: "default_backend".into(),
        requests: None,
        priority: None,
    };
    let setting = objects.settings.ssl_redirect;
    let redirect = Redirect::new(HttpsValues::default(), setting, false);
    Some(Arc::new(Route {
        steps: steps(
            objects,
            backends,
            redirect,
            false,
            access.map(RequestStep::Access),
            None,
            Responses::default(),
        ),
        ..Route::new(origin, action)
    }))
}

struct Compiler<'a> {
    objects: &'a Objects,
    backends: &'a mut Backends,
    name: &'a Name,
    requests: Option<Arc<RequestCounts>>,
    fact: &'a IngressFact,
    annotated: AnnotationValues,
    /// The terms of backends as the annotations have them, before Secrets are read.
    read_terms: BackendTerms,
    verdict: Verdict,
    /// The decisions about who may come in.
    guarded_by: GuardedBy,
    /// The steps of middlewares.
    middlewares: MadeMiddlewares,
    /// The changes and terms of the requests that come in.
    route_terms: RouteTerms,
    /// The conditions of its rules beside their paths.
    conditions: Option<Box<Conditions>>,
    out: Compiled,
}

/// The decisions of one object about who may come in.
#[derive(Clone, Debug, Default)]
struct GuardedBy {
    access: Option<Arc<Access>>,
    /// The logins that other servers check.
    auths: Vec<MadeAuth>,
    /// The responses of our own to some requests of all clients.
    conditionals: Vec<Arc<Conditional>>,
}

impl GuardedBy {
    /// Returns the steps that enforce them for a rule of a host; `None` if that is not possible.
    fn steps(&self, host: &HostPattern, path: Option<&PathMatch>) -> Option<Vec<RequestStep>> {
        let conditionals = self
            .conditionals
            .iter()
            .cloned()
            .map(RequestStep::Conditional);
        let access = self.access.clone().map(RequestStep::Access);
        let auths = self.auths.iter().filter(|auth| !auth.exempts(path));
        let auths = auths.map(|auth| auth.on(host).map(RequestStep::ExternalAuth));
        let decided = conditionals.chain(access).map(Some);
        decided.chain(auths).collect()
    }

    /// Returns true if a client must log in by HTTP.
    fn has_login(&self) -> bool {
        let of_access = self.access.as_ref().is_some_and(|one| one.login.is_some());
        of_access || !self.auths.is_empty()
    }
}

/// The target of a rule.
struct Target {
    action: Action,
    /// The decisions of the Service about who may come in.
    guarded_by: GuardedBy,
    /// The steps that rewrite the path.
    rewriting: Vec<RequestStep>,
    /// The changes and terms of its requests, where the Service has some of its own.
    route_terms: Option<Box<RouteTerms>>,
    /// The steps of the Middlewares of the Ingress and behind them those of the Service; `None` if
    /// the Service names none.
    middlewares: Option<MadeMiddlewares>,
    /// The path of the rule, if it has one.
    path: Option<PathMatch>,
}

/// The judgement about the annotations on a Service.
struct Judged {
    outcome: ServiceOutcome,
    /// The decisions about who may come in.
    guarded_by: GuardedBy,
    /// As [`Target::middlewares`].
    middlewares: Option<MadeMiddlewares>,
    findings: Vec<AnnotationFinding>,
}

impl From<Action> for Target {
    fn from(action: Action) -> Self {
        Self {
            action,
            guarded_by: GuardedBy::default(),
            rewriting: Vec::new(),
            route_terms: None,
            middlewares: None,
            path: None,
        }
    }
}

impl Compiler<'_> {
    fn run(&mut self) {
        self.out.ours = true;
        self.annotations();
        self.out.with_tls = self.tls();
        self.tcp_service();
        if self.is_tcp() || self.verdict.is_canary || !self.can_match() {
            return;
        }

        let rules = &self.fact.spec.rules;
        let paths = rules.iter().flat_map(|rule| &rule.http);
        // Most have one: otherwise there would be room for four, and less again in the end.
        self.out
            .rules
            .reserve_exact(paths.map(|http| http.paths.len()).sum());
        self.out.hosts.reserve_exact(rules.len());
        self.out.tls.reserve_exact(rules.len());
        self.out.services.reserve_exact(rules.len());
        for (r, rule) in rules.iter().enumerate() {
            self.rule(r, rule);
        }
        if self.out.canary.is_none() {
            self.further_hosts();
        }
        if let Some(backend) = &self.fact.spec.default_backend {
            self.default_backend(backend);
        }
        self.passthroughs();
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
        self.check_priority(r, &pattern);

        let paths = rule.http.iter().flat_map(|http| &http.paths).enumerate();
        for (p, path) in paths {
            let field = format!("spec.rules[{r}].http.paths[{p}]");
            if self.is_expression(path) {
                self.expression(path, field, &pattern);
            } else if self.is_regex(path) {
                self.regex(path, field, &pattern);
            } else if self.is_pattern(path) {
                self.close(path, field, &pattern);
            } else if let Some(matched) = self.path(path, &field)
                && let Some(mut target) = self.backend(&path.backend, &format!("{field}.backend"))
            {
                target.path = Some(matched.clone());
                target.rewriting.extend(self.swapping(&target, path.text()));
                let route = self.route(field, target, &pattern);
                self.push_rule(&pattern, matched, route);
            }
        }

        let has_tls = self.out.canary.is_none() && self.annotated.passthrough.from.is_none();
        if has_tls && (rule.host.is_empty() || !self.out.with_tls.contains(&pattern)) {
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
        if self.conditions.is_some() {
            let message = "conditions on fields are for the paths of rules: this backend gets no \
                           requests";
            self.warn(Reason::UnsupportedCanary, field, message.to_owned());
            return;
        }
        let Some(target) = self.backend(backend, &field) else {
            return;
        };

        if self.fact.spec.rules.is_empty() {
            self.close_catch_all();
            let route = self.route(field, target, &HostPattern::Any);
            let steps = self.out.host_steps.as_ref();
            self.out.catch_all = Some(match steps {
                Some(steps) => steps.before(self.backends, None, &route),
                None => route,
            });
            return;
        }
        for pattern in self.out.hosts.clone() {
            let target = Target {
                action: target.action.clone(),
                guarded_by: target.guarded_by.clone(),
                rewriting: self.rewriting("/", None),
                route_terms: target.route_terms.clone(),
                middlewares: target.middlewares.clone(),
                path: None,
            };
            let route = self.route(field.clone(), target, &pattern);
            self.out.fallbacks.insert(pattern, route);
        }
    }

    /// Closes the route for every request if it asks for certificates of clients: only hosts ask.
    fn close_catch_all(&mut self) {
        let Some(terms) = &self.out.client_certificates else {
            return;
        };
        let message = format!(
            "{} asks for client certificates, which needs a rule: 503 for these requests",
            terms.from
        );
        self.verdict.refusal.get_or_insert(Refusal::InvalidGuard);
        let field = "spec.defaultBackend".to_owned();
        self.warn(Reason::InvalidAnnotation, field, message);
    }

    /// Makes the route of a rule for a host.
    fn route(&mut self, field: String, target: Target, host: &HostPattern) -> Arc<Route> {
        let origin = Origin {
            namespace: self.name.0.clone(),
            name: self.name.1.clone(),
            field: field.into(),
            requests: self.requests.clone(),
            priority: self.priority(),
        };
        if let Some(refusal) = self.verdict.refusal {
            return Arc::new(Route::refused(origin, refusal));
        }

        let path = target.path.as_ref();
        let own = self.guarded_by.steps(host, path);
        let of_service = target.guarded_by.steps(host, path);
        let (Some(mut guards), Some(of_service)) = (own, of_service) else {
            let message = format!(
                "$host in auth-url lets clients of {host} choose the server that checks their \
                 logins: 503 for this path"
            );
            let field = origin.field.to_string();
            self.warn(Reason::InvalidAnnotation, field, message);
            return Arc::new(Route::refused(origin, Refusal::InvalidGuard));
        };
        guards.extend(of_service);

        // Redirects before a login asks for a password in the clear.
        let made = target.middlewares.as_ref().unwrap_or(&self.middlewares);
        let redirects_plain = made.redirects_plain && guards.is_empty();
        let object = || format!("{}/{} {}", origin.namespace, origin.name, origin.field);
        let Some(middlewares) = made.on(host, object) else {
            return Arc::new(Route::refused(origin, Refusal::InvalidGuard));
        };
        guards.extend(middlewares);

        let terms = match target.route_terms {
            Some(terms) => *terms,
            None => self.route_terms.clone(),
        };
        let policy = self.policy(&terms, target.path.as_ref());
        Arc::new(Route {
            steps: self.steps(host, redirects_plain, guards, terms, target.rewriting),
            policy,
            ..Route::new(origin, target.action)
        })
    }

    /// Returns the terms on which requests of a route are forwarded.
    fn policy(&mut self, terms: &RouteTerms, path: Option<&PathMatch>) -> Option<Arc<Policy>> {
        let stickiness = sticky::stickiness(&terms.sticky, path);
        if stickiness.is_none() {
            return terms.policy.clone();
        }
        let policy = terms.policy.as_deref().cloned().unwrap_or_default();
        self.backends.share_policy(Policy {
            stickiness,
            ..policy
        })
    }

    fn steps(
        &mut self,
        host: &HostPattern,
        redirects_plain: bool,
        guards: Vec<RequestStep>,
        terms: RouteTerms,
        rewriting: Vec<RequestStep>,
    ) -> Option<Arc<Steps>> {
        let covered = self.out.has_tls(host);
        let mut https = terms.https;
        https.forced |= self.annotated.https_only;
        let redirect = match redirects_plain {
            true => Redirect::NEVER,
            false => Redirect::new(https, self.objects.settings.ssl_redirect, covered),
        };
        let only_plain = self.annotated.passthrough.from.is_some();
        let only_plain = only_plain.then_some(RequestStep::OnlyPlain);
        let limit = terms.limits.map(RequestStep::Limit);
        let further = only_plain.into_iter().chain(limit).chain(guards);
        let further = further.chain(terms.inside).chain(rewriting);
        steps(
            self.objects,
            self.backends,
            redirect,
            covered,
            further,
            terms.cors,
            terms.responses,
        )
    }

    fn path(&mut self, rule: &IngressPath, field: &str) -> Option<PathMatch> {
        let text = rule.text();
        let normal = match path::normalize(text) {
            Ok(normal) => path::matched(&normal).into_owned(),
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
            "ImplementationSpecific" => Some(match self.annotated.rewrite.kind {
                Some(PathKind::Exact) => PathMatch::Exact(normal.into()),
                Some(PathKind::Prefix) => PathMatch::Prefix(normal.into()),
                Some(PathKind::Begin | PathKind::Regex | PathKind::Found) | None => {
                    PathMatch::Start(normal.into())
                }
            }),
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
        if self.path_kind(rule) == Some(PathKind::Exact) {
            return false;
        }
        rule.path.starts_with('/')
            && (declared || *rule.path_type != *"Exact")
            && regex::is_pattern(&rule.path, declared)
    }

    /// Refuses the requests that the regular expression of a path could match.
    fn close(&mut self, rule: &IngressPath, field: String, host: &HostPattern) {
        let closed = regex::could_match(&rule.path);
        let message = format!(
            "{:?} is a regular expression or a wildcard, which gatelet evaluates with the \
             annotation use-regex alone: 503 for {}, unless a longer path takes the request",
            rule.path,
            regex::shown(&closed)
        );
        self.warn(Reason::UnsupportedPath, format!("{field}.path"), message);

        self.refuse(closed, field, host);
    }

    /// Adds the finding about an annotation.
    fn note(&mut self, field: String, finding: AnnotationFinding) {
        let finding = self.finding(finding.severity, finding.reason, field, finding.message);
        self.out.findings.push(finding);
    }

    fn warn(&mut self, reason: Reason, field: String, message: impl Into<Message>) {
        let finding = self.finding(EventType::Warning, reason, field, message);
        self.out.findings.push(finding);
    }

    fn finding(
        &self,
        severity: EventType,
        reason: Reason,
        field: String,
        message: impl Into<Message>,
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
