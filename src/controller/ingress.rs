//! Compiles one Ingress to rules, TLS entries, certificate claims and findings.

mod expressions;
mod fields;
mod further;
mod passthrough;
mod tls;

use std::{mem, sync::Arc};

use http::{HeaderValue, StatusCode};

use super::{
    Finding, Message, Reason,
    access::{self, Made},
    annotations::{
        self, AnnotationFinding, AnnotationValues, CorsValues, ElsewhereValues, StickyAnnotations,
    },
    backends::Backends,
    canary,
    compiled::{Compiled, TlsEntry},
    facts::{IngressFact, ServiceFact},
    guards::{self, Decision, ServiceOutcome, Verdict},
    limits,
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
        Access, Action, BackendTls, ClientLimits, Cors, Elsewhere, HostPattern, Location, Origin,
        Origins, PathMatch, Policy, Refusal, RequestStep, ResponseStep, Route, Steps, path,
    },
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
        limits: None,
        access: None,
        inside: Vec::new(),
        cors: None,
        responses: Responses::default(),
        policy: None,
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
        let outcome = guards::judge_service(&service.1, &fact.peers, decision).0;
        let values = annotations::read(&fact.annotations);
        let made = access::make(objects, backends, &service.0, &values.access);
        // The route does not follow changes of Secrets.
        let is_closed = values.is_closed || made.refusal.is_some() || !made.secrets.is_empty();
        (outcome, is_closed, made.access)
    });

    let resolved = resolve(
        objects,
        backends,
        &service,
        &port,
        None,
        BackendTls::default(),
    );
    let (action, access) = match (guarded, resolved) {
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
    };
    let redirect = Redirect::new(objects.settings.ssl_redirect, false, false);
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

/// The changes of responses that annotations ask for.
#[derive(Clone, Debug, Default)]
struct Responses {
    steps: Vec<ResponseStep>,
    /// `Strict-Transport-Security`; `None` if the settings decide.
    hsts: Option<Option<HeaderValue>>,
}

/// Returns the steps of a route. Without `covered` they are inactive until another object puts the
/// host under `tls`.
fn steps(
    objects: &Objects,
    backends: &mut Backends,
    redirect: Redirect,
    covered: bool,
    further: impl IntoIterator<Item = RequestStep>,
    cors: Option<Arc<Cors>>,
    responses: Responses,
) -> Option<Arc<Steps>> {
    let redirect = (redirect != Redirect::Never).then(|| RequestStep::HttpsRedirect {
        status: StatusCode::PERMANENT_REDIRECT,
        always: redirect == Redirect::Always,
    });

    let of_settings = || {
        let hsts = objects.settings.hsts.as_deref();
        hsts.and_then(|hsts| HeaderValue::from_str(hsts).ok())
    };
    let hsts = responses.hsts.unwrap_or_else(of_settings);
    let hsts = hsts.map(|value| ResponseStep::Hsts {
        value,
        always: covered,
    });

    // Browsers send no login with a preflight request.
    let preflight = cors.clone().map(RequestStep::Preflight);
    backends.share_steps(Steps {
        request: redirect
            .into_iter()
            .chain(preflight)
            .chain(further)
            .collect(),
        response: hsts
            .into_iter()
            .chain(responses.steps)
            .chain(cors.map(ResponseStep::Cors))
            .collect(),
    })
}

/// Returns the steps for those who came in: a redirect of everything, or else of `/`, and `Host`.
fn inside(values: &mut AnnotationValues) -> Vec<RequestStep> {
    let ElsewhereValues {
        permanent,
        permanent_code,
        temporal,
        temporal_code,
        app_root,
    } = mem::take(&mut values.elsewhere);

    let redirect = |found: Option<(Box<str>, Location)>, status: StatusCode, of_root: bool| {
        found.map(|(from, to)| Elsewhere {
            from,
            status,
            to,
            of_root,
        })
    };
    let permanent_code = permanent_code.unwrap_or(StatusCode::MOVED_PERMANENTLY);
    let temporal_code = temporal_code.unwrap_or(StatusCode::FOUND);
    let elsewhere = redirect(temporal, temporal_code, false)
        .or_else(|| redirect(permanent, permanent_code, false))
        .or_else(|| redirect(app_root, StatusCode::FOUND, true));

    let fields = fields::of_requests(values);
    let host = values.host.take();
    let host = host.map(|(from, value)| RequestStep::Host { from, value });
    let elsewhere = elsewhere.map(|one| RequestStep::Elsewhere(Arc::new(one)));
    elsewhere.into_iter().chain(host).chain(fields).collect()
}

/// Returns the terms for pages of other origins, with the defaults of ingress-nginx.
fn cors(values: CorsValues) -> Option<Cors> {
    const METHODS: HeaderValue = HeaderValue::from_static("GET, PUT, POST, DELETE, PATCH, OPTIONS");
    const HEADERS: HeaderValue = HeaderValue::from_static(
        "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,\
         Content-Type,Range,Authorization",
    );

    Some(Cors {
        from: values.enabled?,
        origins: values.origins.unwrap_or(Origins::Any),
        credentials: values.credentials.unwrap_or(true),
        methods: values.methods.unwrap_or(METHODS),
        headers: values.headers.unwrap_or(HEADERS),
        expose: values.expose,
        max_age: values.max_age.unwrap_or(1_728_000).into(),
    })
}

struct Compiler<'a> {
    objects: &'a Objects,
    backends: &'a mut Backends,
    name: &'a Name,
    fact: &'a IngressFact,
    annotated: AnnotationValues,
    verdict: Verdict,
    limits: Option<Arc<ClientLimits>>,
    /// The decision about who may come in.
    access: Option<Arc<Access>>,
    /// The steps for those who came in.
    inside: Vec<RequestStep>,
    cors: Option<Arc<Cors>>,
    responses: Responses,
    policy: Option<Arc<Policy>>,
    out: Compiled,
}

/// The target of a rule.
struct Target {
    action: Action,
    /// The decision of the Service about who may come in.
    access: Option<Arc<Access>>,
    /// The steps that rewrite the path.
    rewriting: Vec<RequestStep>,
    /// The settings of the Service about sticky sessions.
    sticky: StickyAnnotations,
    /// The path of the rule, if it has one.
    path: Option<PathMatch>,
}

/// The judgement about the annotations on a Service.
struct Judged {
    outcome: ServiceOutcome,
    /// The decision about who may come in.
    access: Option<Arc<Access>>,
    /// The settings about sticky sessions.
    sticky: StickyAnnotations,
    findings: Vec<AnnotationFinding>,
}

impl From<Action> for Target {
    fn from(action: Action) -> Self {
        Self {
            action,
            access: None,
            rewriting: Vec::new(),
            sticky: StickyAnnotations::default(),
            path: None,
        }
    }
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
        if self.out.canary.is_none() {
            self.further_hosts();
        }
        if let Some(backend) = &fact.spec.default_backend {
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

        let paths = rule.http.iter().flat_map(|http| &http.paths).enumerate();
        for (p, path) in paths {
            let field = format!("spec.rules[{r}].http.paths[{p}]");
            if self.is_expression(path) {
                self.expression(path, field, &pattern);
            } else if self.is_pattern(path) {
                self.close(path, field, &pattern);
            } else if let Some(matched) = self.path(path, &field)
                && let Some(mut target) = self.backend(&path.backend, &format!("{field}.backend"))
            {
                target.path = Some(matched.clone());
                let route = self.route(field, target, &pattern);
                self.out.rules.push((pattern.clone(), matched, route));
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
        let Some(target) = self.backend(backend, &field) else {
            return;
        };

        if self.fact.spec.rules.is_empty() {
            self.out.catch_all = Some(self.route(field, target, &HostPattern::Any));
            return;
        }
        for pattern in self.out.hosts.clone() {
            let target = Target {
                action: target.action.clone(),
                access: target.access.clone(),
                rewriting: self.rewriting("/", None),
                sticky: target.sticky.clone(),
                path: None,
            };
            let route = self.route(field.clone(), target, &pattern);
            self.out.fallbacks.insert(pattern, route);
        }
    }

    /// Makes the route of a rule for a host.
    fn route(&mut self, field: String, target: Target, host: &HostPattern) -> Arc<Route> {
        let origin = Origin {
            namespace: self.name.0.clone(),
            name: self.name.1.clone(),
            field: field.into(),
        };
        if let Some(refusal) = self.verdict.refusal {
            return Arc::new(Route::refused(origin, refusal));
        }

        Arc::new(Route {
            steps: self.steps(host, target.access, target.rewriting),
            policy: self.policy(&target.sticky, target.path.as_ref()),
            ..Route::new(origin, target.action)
        })
    }

    /// Returns the terms of a route: its sticky sessions are those of its Ingress, or else of its
    /// Service.
    fn policy(
        &mut self,
        of_service: &StickyAnnotations,
        path: Option<&PathMatch>,
    ) -> Option<Arc<Policy>> {
        let own = sticky::stickiness(&self.annotated.sticky, path);
        let stickiness = own.or_else(|| sticky::stickiness(of_service, path));
        if stickiness.is_none() {
            return self.policy.clone();
        }
        let policy = self.policy.as_deref().cloned().unwrap_or_default();
        self.backends.share_policy(Policy {
            stickiness,
            ..policy
        })
    }

    fn steps(
        &mut self,
        host: &HostPattern,
        of_service: Option<Arc<Access>>,
        rewriting: Vec<RequestStep>,
    ) -> Option<Arc<Steps>> {
        let covered = self.out.has_tls(host);
        let setting = self.objects.settings.ssl_redirect;
        let redirect = Redirect::new(
            self.annotated.redirect.unwrap_or(setting),
            self.annotated.forced || self.annotated.https_only,
            covered,
        );
        let accesses = self.access.clone().into_iter().chain(of_service);
        let only_plain = self.annotated.passthrough.from.is_some();
        let only_plain = only_plain.then_some(RequestStep::OnlyPlain);
        let limit = self.limits.clone().map(RequestStep::Limit);
        let further = only_plain
            .into_iter()
            .chain(limit)
            .chain(accesses.map(RequestStep::Access));
        let further = further.chain(self.inside.iter().cloned()).chain(rewriting);
        let cors = self.cors.clone();
        steps(
            self.objects,
            self.backends,
            redirect,
            covered,
            further,
            cors,
            self.responses.clone(),
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

    /// Returns the action for a backend, or `None` if its Service must take a part of the requests
    /// only.
    fn backend(&mut self, backend: &IngressBackend, field: &str) -> Option<Target> {
        let Some(service) = &backend.service else {
            self.warn(
                Reason::UnsupportedBackend,
                field.to_owned(),
                "only Service backends are supported: 503 for this path".to_owned(),
            );
            return Some(Action::Refuse(Refusal::UnsupportedBackend).into());
        };

        let name: Name = (self.name.0.clone(), Arc::from(&*service.name));
        self.out.services.push(name.clone());

        let (protocol, tls) = (self.annotated.protocol, self.annotated.tls.clone());
        let plain_port = self.plain_port();
        let (objects, port) = (self.objects, plain_port.as_ref().unwrap_or(&service.port));
        match resolve(objects, self.backends, &name, port, protocol, tls) {
            Ok(action) => self.guarded(&name, action, &format!("{field}.service")),
            Err(error) => {
                let (reason, refusal) = (error.reason(), error.refusal());
                self.warn(reason, format!("{field}.service"), error.message());
                Some(Action::Refuse(refusal).into())
            }
        }
    }

    /// Applies the annotations on the Service to the action.
    fn guarded(&mut self, service: &Name, action: Action, field: &str) -> Option<Target> {
        let Some(fact) = self.objects.services.get(service) else {
            return Some(action.into());
        };
        if fact.peers.is_empty() && fact.annotations.is_empty() {
            return Some(action.into());
        }

        let judged = self.judged(service, fact);
        for finding in judged.findings {
            self.note(field.to_owned(), finding);
        }
        match judged.outcome {
            ServiceOutcome::NotServed => None,
            ServiceOutcome::Refused(refusal) => Some(Action::Refuse(refusal).into()),
            ServiceOutcome::Served => Some(Target {
                access: judged.access,
                sticky: judged.sticky,
                ..Target::from(action)
            }),
        }
    }

    /// Judges the annotations on a Service.
    fn judged(&mut self, service: &Name, fact: &ServiceFact) -> Judged {
        let decision = Decision::new(
            fact.guards.or(self.annotated.guards),
            self.objects.settings.unsupported_guards,
        );
        let (mut outcome, mut findings) = guards::judge_service(&service.1, &fact.peers, decision);

        let mut values = annotations::read(&fact.annotations);
        let mut made = self.made(&values);
        if let Some(annotation) = values.passthrough.from.take() {
            made.refusal.get_or_insert(Refusal::UnsupportedPassthrough);
            values.report(
                EventType::Warning,
                Reason::UnsupportedGuard,
                &annotation,
                "TLS passthrough is supported on Ingresses alone: the paths return 503".to_owned(),
            );
        }

        let found = mem::take(&mut values.findings);
        let own = found.into_iter().chain(made.findings);
        findings.extend(own.map(|finding| {
            let message = format!(
                "{} of Service {}: {}",
                finding.annotation, service.1, finding.message
            );
            AnnotationFinding { message, ..finding }
        }));
        if let (ServiceOutcome::Served, Some(refusal)) = (outcome, made.refusal) {
            outcome = ServiceOutcome::Refused(refusal);
        }

        Judged {
            outcome,
            access: made.access,
            sticky: values.sticky,
            findings,
        }
    }

    /// Makes the decision about who may come in that annotations ask for.
    fn made(&mut self, values: &AnnotationValues) -> Made {
        let namespace = &self.name.0;
        let mut made = access::make(self.objects, self.backends, namespace, &values.access);
        self.out.secrets.append(&mut made.secrets);
        if values.is_closed {
            made.refusal = Some(Refusal::InvalidGuard);
        }
        made
    }

    fn annotations(&mut self) {
        let mut annotated = annotations::read(&self.fact.annotations);
        let decision = Decision::new(annotated.guards, self.objects.settings.unsupported_guards);
        let mut verdict = guards::judge(&self.fact.peers, decision);
        annotated.https_only |= verdict.https_only;
        self.out.closes_hosts = verdict.refusal.filter(|_| verdict.closes_hosts);

        self.out.canary = canary::terms(&mut annotated);
        if self.out.canary.is_some() {
            // The main Ingress decides about the backends, and about the hosts.
            (annotated.protocol, annotated.tls) = (None, BackendTls::default());
            self.out.closes_hosts = None;
        } else {
            let terms = (annotated.protocol, annotated.tls.clone());
            let is_set = terms != (None, BackendTls::default());
            self.out.backend_terms = is_set.then(|| Box::new(terms));
        }

        let made = self.made(&annotated);
        self.access = made.access;
        self.limits = limits::limits(&annotated.limits, self.name);
        annotated.policy.pace = limits::pace(&annotated.limits);
        self.policy = self.backends.share_policy(mem::take(&mut annotated.policy));
        self.inside = inside(&mut annotated);
        self.responses = Responses {
            steps: fields::of_responses(&mut annotated),
            hsts: fields::hsts(&annotated),
        };
        self.out.relative_redirects = annotated.further.relative;
        self.cors = cors(mem::take(&mut annotated.cors)).map(Arc::new);
        verdict.refusal = verdict.refusal.or(made.refusal);

        let findings = mem::take(&mut annotated.findings).into_iter();
        let findings = findings.chain(mem::take(&mut verdict.findings));
        for finding in findings.chain(made.findings) {
            let field = format!("metadata.annotations[{}]", finding.annotation);
            self.note(field, finding);
        }
        (self.annotated, self.verdict) = (annotated, verdict);
        self.prepare_passthrough();
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
