//! TLS passthrough: the hosts whose TLS an Ingress leaves to the backend of their path `/`.

use std::sync::Arc;

use super::{Compiler, GuardedBy};
use crate::{
    controller::{
        Reason,
        annotations::AnnotationFinding,
        backend_terms::{BackendTerms, SendsProxy},
        facts::IngressFact,
        guards::ServiceOutcome,
        resolve::resolve,
    },
    objects::{
        EventType,
        slim::{BackendPort, IngressBackend},
    },
    routing::{Access, HostPattern, Origin, Passthrough, Policy, PortRoute, Protocol, Refusal},
};

impl<'a> Compiler<'a> {
    /// Prepares the terms of plain HTTP on the hosts, and closes what passthrough would bypass.
    pub(super) fn prepare_passthrough(&mut self) {
        let values = &self.annotated.passthrough;
        let Some(from) = values.from.clone() else {
            if let Some((name, _)) = values.plain_port.clone() {
                let message = "it has no effect without ssl-passthrough".to_owned();
                self.note_annotation(EventType::Normal, &name, message);
            }
            return;
        };

        // ingress-nginx encrypts requests of plain HTTP again; HAProxy redirects them, unless they
        // have a port of their own.
        let has_port = values.plain_port.is_some();
        self.annotated.https_only |= values.redirects && !has_port;
        self.annotated.terms.protocol = Some(match self.annotated.terms.protocol {
            _ if has_port => Protocol::Http1,
            Some(Protocol::H2) => Protocol::H2,
            _ => Protocol::Https,
        });

        if self.guarded_by.has_login() {
            self.verdict
                .refusal
                .get_or_insert(Refusal::UnsupportedGuard);
            let message = "a login is not possible where TLS is passed through: the paths return \
                           503, and TLS connections are closed"
                .to_owned();
            self.note_annotation(EventType::Warning, &from, message);
        }
    }

    /// Returns the port for plain HTTP that an annotation sets in place of that of TLS.
    pub(super) fn plain_port(&self) -> Option<BackendPort> {
        let values = &self.annotated.passthrough;
        let number = values.from.as_ref().and(values.plain_port.as_ref())?.1;
        Some(BackendPort::of_number(number))
    }

    /// Compiles the treatment of TLS for each host of the rules.
    pub(super) fn passthroughs(&mut self) {
        let Some(from) = self.annotated.passthrough.from.clone() else {
            return;
        };

        let mut hosts = self.out.hosts.clone();
        hosts.sort_unstable();
        hosts.dedup();
        for host in hosts {
            let passthrough = match (&host, self.root(&host)) {
                (HostPattern::Any, _) => {
                    let message = "TLS of rules without a host cannot be passed through: they are \
                                   for plain HTTP alone"
                        .to_owned();
                    self.note_annotation(EventType::Warning, &from, message);
                    continue;
                }
                (_, Some((field, backend))) => self.passed(&field, backend),
                (_, None) => {
                    let message = format!(
                        "host {host} has no path / whose backend TLS could be passed to: its TLS \
                         connections are closed"
                    );
                    self.note_annotation(EventType::Warning, &from, message);
                    Passthrough::closed(Refusal::UnsupportedPassthrough)
                }
            };
            self.out.passthroughs.insert(host, Arc::new(passthrough));
        }
    }

    /// Returns the backend of the path `/` of a host, with its field.
    fn root(&self, host: &HostPattern) -> Option<(String, &'a IngressBackend)> {
        let fact: &'a IngressFact = self.fact;
        let spec = &fact.spec;
        let rules = spec.rules.iter().enumerate();
        let rules = rules.filter(|(_, rule)| HostPattern::parse(&rule.host).as_ref() == Ok(host));
        let mut paths = rules.flat_map(|(r, rule)| {
            let paths = rule.http.iter().flat_map(|http| &http.paths).enumerate();
            paths.map(move |(p, path)| (r, p, path))
        });

        let root = paths.find(|(.., path)| path.text() == "/");
        let root = root.map(|(r, p, path)| {
            let field = format!("spec.rules[{r}].http.paths[{p}]");
            (field, &path.backend)
        });
        root.or_else(|| {
            let backend = spec.default_backend.as_ref()?;
            Some(("spec.defaultBackend".to_owned(), backend))
        })
    }

    /// Returns the treatment of TLS that goes to a backend. Problems with it have findings already.
    fn passed(&mut self, field: &str, backend: &IngressBackend) -> Passthrough {
        if let Some(refusal) = self.verdict.refusal {
            return Passthrough::closed(refusal);
        }
        let Some(service) = &backend.service else {
            return Passthrough::closed(Refusal::UnsupportedBackend);
        };

        let name = (self.name.0.clone(), Arc::from(&*service.name));
        // Problems with the other terms are those of the paths.
        let of_paths = self.terms(&name, field).ok().map(|(terms, _)| terms);
        let of_paths = of_paths.unwrap_or_default();
        let sends_proxy = of_paths.sends_proxy.and_then(SendsProxy::version);
        let terms = BackendTerms {
            protocol: Some(Protocol::Tcp),
            groups: of_paths.groups,
            ..BackendTerms::default()
        };
        let resolved = resolve(self.objects, self.backends, &name, &service.port, terms);
        let action = match resolved {
            Ok(action) => action,
            Err(error) => return Passthrough::closed(error.refusal()),
        };
        let Some(to) = action.backends().next().cloned() else {
            return Passthrough::closed(Refusal::InvalidBackend);
        };

        let objects = self.objects;
        let fact = objects.services.get(&name);
        let judged = fact.map(|fact| self.judged(&name, fact));
        let judged = judged.map(|one| (one.outcome, one.guarded_by));
        let of_service = match judged {
            None => GuardedBy::default(),
            Some((ServiceOutcome::Served, guarded_by)) => guarded_by,
            Some((ServiceOutcome::Refused(refusal), ..)) => return Passthrough::closed(refusal),
            Some((ServiceOutcome::NotServed, ..)) => {
                return Passthrough::closed(Refusal::UnsupportedPassthrough);
            }
        };
        if self.guarded_by.has_login() || of_service.has_login() {
            return Passthrough::closed(Refusal::UnsupportedGuard);
        }
        let own = self.guarded_by.access.clone().into_iter();
        let accesses: Box<[Arc<Access>]> = own.chain(of_service.access).collect();

        let route = PortRoute {
            kind: "Ingress",
            origin: self.origin_of_port(field),
            ends_tls: None,
            limits: None,
            total: None,
            sticky: false,
            sends_proxy,
            accesses: Box::default(),
            backend: to,
            policy: Policy::default(),
        };
        Passthrough {
            target: Ok(Arc::new(route)),
            accesses,
        }
    }

    /// Returns the origin of a route for connections, whose requests are not counted.
    pub(super) fn origin_of_port(&self, field: &str) -> Origin {
        Origin {
            namespace: self.name.0.clone(),
            name: self.name.1.clone(),
            field: field.into(),
            requests: None,
            priority: None,
        }
    }

    fn note_annotation(&mut self, severity: EventType, annotation: &str, message: String) {
        let finding = AnnotationFinding {
            severity,
            reason: match severity {
                EventType::Normal => Reason::UnsupportedAnnotation,
                EventType::Warning => Reason::InvalidAnnotation,
            },
            annotation: annotation.into(),
            message,
        };
        self.note(format!("metadata.annotations[{annotation}]"), finding);
    }
}
