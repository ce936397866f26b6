//! TCP in place of HTTP: the port that an Ingress asks for, and the destinations of its
//! connections.

use std::sync::Arc;

use super::{Compiler, GuardedBy, Judged};
use crate::{
    controller::{
        Reason,
        annotations::{self, AnnotationFinding},
        backend_terms::BackendTerms,
        compiled::TcpService,
        guards::{Decision, ServiceOutcome},
        resolve::{ResolveError, resolve},
        secrets,
    },
    objects::slim::IngressBackend,
    routing::{
        Access, ClientLimits, EndedTls, HostPattern, Identity, Policy, PortRoute, Protocol, Refusal,
    },
};

impl Compiler<'_> {
    /// Returns true if the Ingress is for connections and not for requests.
    pub(super) fn is_tcp(&self) -> bool {
        self.annotated.tcp.port.is_some()
    }

    /// Compiles the port that the Ingress asks for, if it does.
    pub(super) fn tcp_service(&mut self) {
        let values = &self.annotated.tcp;
        let Some((annotation, port)) = values.port.clone() else {
            let alone = values.accepts_proxy.as_ref().map(|one| [one.0.clone()]);
            for finding in alone
                .iter()
                .flat_map(|one| AnnotationFinding::without("tcp-service-port", one))
            {
                let field = format!("metadata.annotations[{}]", finding.annotation);
                self.note(field, finding);
            }
            return;
        };

        let (fact, closed) = (self.fact, self.closes_tcp(&annotation));
        let mut service = TcpService {
            annotation,
            port,
            accepts_proxy: self.annotated.tcp.accepts_proxy.as_ref().map(|one| one.1),
            routes: Vec::new(),
        };

        if let Some(backend) = &fact.spec.default_backend {
            let field = "spec.defaultBackend".to_owned();
            self.tcp_route(&mut service, HostPattern::Any, field, backend, closed);
        }
        for (r, rule) in fact.spec.rules.iter().enumerate() {
            let host = match HostPattern::parse(&rule.host) {
                Ok(host) => host,
                Err(error) => {
                    let field = format!("spec.rules[{r}].host");
                    let message = format!("{:?}: {error}", rule.host);
                    self.warn(Reason::InvalidHost, field, message);
                    continue;
                }
            };

            let paths = rule.http.iter().flat_map(|http| &http.paths).enumerate();
            for (p, path) in paths {
                let field = format!("spec.rules[{r}].http.paths[{p}]");
                if !matches!(&*path.path, "" | "/") {
                    let message = format!(
                        "{:?}: connections have no paths, so this rule is not served; use /",
                        path.path
                    );
                    self.warn(Reason::UnsupportedPath, format!("{field}.path"), message);
                    continue;
                }
                self.tcp_route(&mut service, host.clone(), field, &path.backend, closed);
            }
        }
        self.out.tcp = Some(Box::new(service));
    }

    /// Adds the destination of the connections with a name.
    fn tcp_route(
        &mut self,
        service: &mut TcpService,
        host: HostPattern,
        field: String,
        backend: &IngressBackend,
        closed: Option<Refusal>,
    ) {
        if service.routes.iter().any(|(other, _)| *other == host) {
            let message = match &host {
                HostPattern::Any => "there is another backend for connections with other names",
                _ => "there is another backend for connections with this name",
            };
            let message = format!("{message}: this one gets none");
            return self.warn(Reason::PortTaken, field, message);
        }

        let ends_tls = self.ended_tls(&host);
        if ends_tls.is_some() && host != HostPattern::Any {
            self.serve_over_tls(&host);
        }

        let target = match closed {
            Some(refusal) => Err(refusal),
            None => self.tcp_target(&field, backend),
        };
        let target = target.map(|route| Arc::new(PortRoute { ends_tls, ..route }));
        service.routes.push((host, target));
    }

    /// Returns the terms on which the TLS of clients ends.
    fn ended_tls(&self, host: &HostPattern) -> Option<EndedTls> {
        let tls = &self.fact.spec.tls;
        if tls.is_empty() || self.annotated.passthrough.from.is_some() {
            return None;
        }
        // The certificate of all names that no rule has.
        let own = tls.iter().find(|one| one.hosts.is_empty());
        let own = own.filter(|_| *host == HostPattern::Any);
        let secret = own.and_then(|one| one.secret_name.as_deref());
        Some(EndedTls {
            certificate: secret.and_then(|secret| self.own_certificate(secret)),
            protocols: Box::default(),
        })
    }

    /// Reads a certificate. Problems with it have findings already.
    fn own_certificate(&self, secret: &str) -> Option<Arc<Identity>> {
        let name = (self.name.0.clone(), secret.into());
        let fact = secrets::find(self.objects, &name, "").ok()?;
        let identity = secrets::identity(self.objects, &name, fact).ok()??;
        Some(Arc::new(identity))
    }

    /// Returns the refusal of all connections, where anything but their addresses decides who may
    /// come in.
    fn closes_tcp(&mut self, annotation: &str) -> Option<Refusal> {
        if let Some(refusal) = self.verdict.refusal {
            return Some(refusal);
        }
        let settings = &self.objects.settings;
        let decision = Decision::new(self.annotated.guards, settings.unsupported_guards);
        if decision.ignores() {
            return None;
        }

        let names = self.fact.annotations.iter().map(|(name, _)| &**name);
        let named = names
            .filter(|name| annotations::is_guard_of_requests(name))
            .map(str::to_owned)
            .next();
        let is_guarded = !is_by_address(&self.guarded_by)
            || self.annotated.middlewares.is_some()
            || self.out.client_certificates.is_some()
            || self.out.canary.is_some();
        let guard = named.or_else(|| is_guarded.then(|| "a guard of requests".to_owned()))?;

        let message = format!(
            "{guard} is for requests, and not possible on TCP connections: they are reset, unless \
             gatelet.dev/unsupported-guards: ignore is set"
        );
        let field = format!("metadata.annotations[{annotation}]");
        self.warn(Reason::UnsupportedGuard, field, message);
        Some(Refusal::UnsupportedGuard)
    }

    /// Returns the route to a backend, without the terms of TLS with clients.
    fn tcp_target(&mut self, field: &str, backend: &IngressBackend) -> Result<PortRoute, Refusal> {
        let Some(service) = &backend.service else {
            let message = "only Service backends are supported: connections are reset";
            self.warn(
                Reason::UnsupportedBackend,
                field.to_owned(),
                message.to_owned(),
            );
            return Err(Refusal::UnsupportedBackend);
        };
        let name = (self.name.0.clone(), Arc::from(&*service.name));
        self.out.services.push(name.clone());

        let field_of_service = format!("{field}.backend.service");
        let (terms, _) = self.terms(&name, &field_of_service)?;
        let sends_proxy = terms.sends_proxy.and_then(|one| one.version());

        if terms.tls.request_name.is_some() {
            let message = "connections have no names of requests for secure-sni: they are reset";
            let field = field_of_service;
            self.warn(Reason::InvalidAnnotation, field, message.to_owned());
            return Err(Refusal::UnmetBackendTls);
        }
        let is_secured = matches!(terms.protocol, Some(Protocol::Https | Protocol::H2));
        let terms = BackendTerms {
            protocol: Some(if is_secured {
                Protocol::Tls
            } else {
                Protocol::Tcp
            }),
            sends_proxy: None,
            ..terms
        };
        let resolved = resolve(self.objects, self.backends, &name, &service.port, terms);
        let action = resolved.map_err(|error| {
            let (reason, refusal) = (error.reason(), error.refusal());
            let message = match error {
                ResolveError::UnknownService { service } => {
                    format!("Service {service} does not exist: connections are reset")
                }
                ResolveError::UnknownPort { service, port } => {
                    format!("Service {service} has no port {port}: connections are reset")
                }
            };
            self.warn(reason, field_of_service.clone(), message);
            refusal
        })?;

        let to = action.backends().next().cloned();
        let to = to.ok_or(Refusal::InvalidBackend)?;

        let (of_service, policy, limits) = self.tcp_service_terms(&name, &field_of_service)?;
        let fact = self.objects.services.get(&name);
        let own = self.guarded_by.access.clone().into_iter();
        let accesses: Box<[Arc<Access>]> = own.chain(of_service.access).collect();

        Ok(PortRoute {
            kind: "Ingress",
            origin: self.origin_of_port(field),
            ends_tls: None,
            sends_proxy,
            accesses,
            limits,
            total: None,
            sticky: fact.is_some_and(|fact| fact.sticky),
            backend: to,
            policy,
        })
    }

    /// Returns what the annotations of a Service decide, beside those of the Ingress.
    fn tcp_service_terms(
        &mut self,
        name: &super::Name,
        field: &str,
    ) -> Result<(GuardedBy, Policy, Option<Arc<ClientLimits>>), Refusal> {
        let mut policy = self.route_terms.policy.clone();
        let mut limits = self.route_terms.limits.clone();
        let mut guarded_by = GuardedBy::default();
        if let Some(fact) = self.objects.services.get(name) {
            let Judged {
                outcome,
                guarded_by: of_service,
                middlewares,
                findings,
            } = self.judged(name, fact);
            if let Some(terms) = self.route_terms_of(name, fact, middlewares.as_ref()) {
                policy = terms.policy;
                limits = terms.limits;
            }
            for finding in findings {
                self.note(field.to_owned(), finding);
            }

            let decision = Decision::new(
                fact.guards.or(self.annotated.guards),
                self.objects.settings.unsupported_guards,
            );
            match outcome {
                ServiceOutcome::Served => {}
                ServiceOutcome::Refused(refusal) => return Err(refusal),
                ServiceOutcome::NotServed => return Err(Refusal::UnsupportedGuard),
            }

            let is_guarded = !is_by_address(&of_service) || middlewares.is_some();
            if is_guarded && !decision.ignores() {
                let message = format!(
                    "Service {} asks who may come in by requests, which is not possible on TCP \
                     connections: they are reset",
                    name.1
                );
                self.warn(Reason::UnsupportedGuard, field.to_owned(), message);
                return Err(Refusal::UnsupportedGuard);
            }
            guarded_by = of_service;
        }

        let mut policy = policy.as_deref().cloned().unwrap_or_default();
        // Bytes go both ways as in a tunnel.
        policy.timeouts.idle = policy.timeouts.tunnel.or(policy.timeouts.idle);
        Ok((guarded_by, policy, limits))
    }
}

/// Returns true if nothing but the address of a client decides whether it may come in.
fn is_by_address(guarded_by: &GuardedBy) -> bool {
    !guarded_by.has_login() && guarded_by.conditionals.is_empty()
}
