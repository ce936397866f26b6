//! Makes the backend of a rule, and decides by the annotations on its Service.

use std::{mem, sync::Arc};

use super::{Compiler, GuardedBy, Judged, Reason, RouteTerms, Target};
use crate::{
    controller::{
        access::{self, Made},
        annotations::{self, AnnotationFinding, AnnotationValues, GroupAnnotations},
        backend_terms::BackendTerms,
        client_certificates,
        external_auth::{self, MadeAuths},
        facts::ServiceFact,
        groups,
        guards::{self, Decision, ServiceOutcome},
        middlewares::{Asked, MadeMiddlewares},
        objects::Name,
        resolve::resolve,
        service_terms::{self, OfIngress},
    },
    objects::{EventType, slim::IngressBackend},
    routing::{Action, Refusal, Timeouts},
};

/// The annotation with the Middlewares of a Service.
const SERVICE_MIDDLEWARES: &str = "traefik.ingress.kubernetes.io/service.middlewares";

impl Compiler<'_> {
    /// Returns the action for a backend, or `None` if its Service must take a part of the requests
    /// only.
    pub(super) fn backend(&mut self, backend: &IngressBackend, field: &str) -> Option<Target> {
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

        let (terms, timeouts) = match self.terms(&name, &format!("{field}.service")) {
            Ok(found) => found,
            Err(refusal) => return Some(Action::Refuse(refusal).into()),
        };
        self.check_address(&name);
        let plain_port = self.plain_port();
        let (objects, port) = (self.objects, plain_port.as_ref().unwrap_or(&service.port));
        match resolve(objects, self.backends, &name, port, terms) {
            Ok(action) => {
                let mut target = self.guarded(&name, action, &format!("{field}.service"))?;
                self.set_timeouts(&mut target, timeouts);
                Some(target)
            }
            Err(error) => {
                let (reason, refusal) = (error.reason(), error.refusal());
                self.warn(reason, format!("{field}.service"), error.message());
                Some(Action::Refuse(refusal).into())
            }
        }
    }

    /// Returns the terms of the backends of a Service, and its own times: its annotations come
    /// before those of the Ingress.
    pub(super) fn terms(
        &mut self,
        service: &Name,
        field: &str,
    ) -> Result<(BackendTerms, Timeouts), Refusal> {
        let (objects, annotated) = (self.objects, &self.annotated);
        let of_ingress = OfIngress {
            terms: &self.read_terms,
            tls: &annotated.backend_tls,
            groups: &annotated.groups,
            checks: &annotated.checks,
        };

        let made = service_terms::make(objects, self.backends, service, of_ingress);
        let Some(mut made) = made else {
            return Ok((annotated.terms.clone(), Timeouts::default()));
        };

        self.out.follow(made.references);
        if let Some(groups) = &made.groups {
            self.check_groups(groups, Some(service), field);
        }
        if self.annotated.passthrough.from.is_some() {
            made.terms.protocol = self.annotated.terms.protocol;
        }

        for finding in made.findings {
            self.note(field.to_owned(), of_service(service, finding));
        }

        match made.refusal {
            None => Ok((made.terms, made.timeouts)),
            Some(refusal) => Err(refusal),
        }
    }

    /// Reports a field and a cookie that mean different labels.
    pub(super) fn check_groups(
        &mut self,
        groups: &GroupAnnotations,
        service: Option<&Name>,
        field: &str,
    ) {
        let (true, Some(header)) = (groups::are_mixed(groups), &groups.header) else {
            return;
        };
        let message = "the field and the cookie of groups mean different labels: neither applies";
        let reason = Reason::InvalidAnnotation;
        let finding = AnnotationFinding::warning(reason, &header.from, message.to_owned());
        let finding = match service {
            Some(service) => of_service(service, finding),
            None => finding,
        };
        self.note(field.to_owned(), finding);
    }

    /// Reports a Service that has no address of its own, although requests are to go there.
    pub(super) fn check_address(&mut self, service: &Name) {
        let Some(annotation) = self.annotated.service_upstream.clone() else {
            return;
        };
        let objects = self.objects;
        if objects.services.contains_key(service) && objects.address_of(service).is_none() {
            let service = &service.1;
            let message =
                format!("Service {service} has no address here: requests go to its endpoints");
            let finding = AnnotationFinding {
                severity: EventType::Normal,
                reason: Reason::UnsupportedAnnotation,
                annotation,
                message,
            };
            let field = format!("metadata.annotations[{}]", finding.annotation);
            self.note(field, finding);
        }
    }

    /// Applies the annotations on the Service to the action.
    pub(super) fn guarded(
        &mut self,
        service: &Name,
        action: Action,
        field: &str,
    ) -> Option<Target> {
        let Some(fact) = self.objects.services.get(service) else {
            return Some(action.into());
        };
        if fact.peers.is_empty() && fact.annotations.is_empty() {
            return Some(action.into());
        }

        let mut judged = self.judged(service, fact);
        let route_terms = self.route_terms_of(service, fact, judged.middlewares.as_ref());
        self.check_limits(service, &mut judged, route_terms.as_deref());
        for finding in judged.findings {
            self.note(field.to_owned(), finding);
        }
        match judged.outcome {
            ServiceOutcome::NotServed => None,
            ServiceOutcome::Refused(refusal) => Some(Action::Refuse(refusal).into()),
            ServiceOutcome::Served => Some(Target {
                guarded_by: judged.guarded_by,
                route_terms,
                middlewares: judged.middlewares,
                ..Target::from(action)
            }),
        }
    }

    /// Refuses the paths to a Service if two of their limits are about requests in flight.
    fn check_limits(&self, service: &Name, judged: &mut Judged, terms: Option<&RouteTerms>) {
        let limits = terms.unwrap_or(&self.route_terms).limits.as_deref();
        let middlewares = judged.middlewares.as_ref().unwrap_or(&self.middlewares);
        let annotation = match (&judged.middlewares, limits) {
            (None, Some(limits)) => &limits.from,
            _ => SERVICE_MIDDLEWARES,
        };
        let Some(finding) = middlewares.both_in_flight(annotation, limits) else {
            return;
        };
        judged.findings.push(of_service(service, finding));
        if judged.outcome == ServiceOutcome::Served {
            judged.outcome = ServiceOutcome::Refused(Refusal::InvalidGuard);
        }
    }

    /// Judges the annotations on a Service.
    pub(super) fn judged(&mut self, service: &Name, fact: &ServiceFact) -> Judged {
        let decision = Decision::new(
            fact.guards.or(self.annotated.guards),
            self.objects.settings.unsupported_guards,
        );
        let (mut outcome, mut findings) = guards::judge_service(&service.1, &fact.peers, decision);

        let mut values = annotations::read(&fact.annotations);
        let (guarded_by, mut made) = self.made(&values);
        if let Some(annotation) = values.passthrough.from.take() {
            made.refusal.get_or_insert(Refusal::UnsupportedPassthrough);
            values.report(
                EventType::Warning,
                Reason::UnsupportedGuard,
                &annotation,
                "TLS passthrough is supported on Ingresses alone: the paths return 503".to_owned(),
            );
        }

        if values.matches.is_unknown || !values.matches.headers.is_empty() {
            outcome = ServiceOutcome::NotServed;
            findings.push(guards::part_of_service(&service.1));
        }
        if !values.clients.is_empty() {
            made.refusal.get_or_insert(Refusal::InvalidGuard);
            made.findings
                .extend(client_certificates::on_service(&values.clients));
        }

        let middlewares = self.service_middlewares(service, &values, decision, &mut made);

        let found = mem::take(&mut values.findings);
        let own = found.into_iter().chain(made.findings);
        findings.extend(own.map(|finding| of_service(service, finding)));
        if let (ServiceOutcome::Served, Some(refusal)) = (outcome, made.refusal) {
            outcome = ServiceOutcome::Refused(refusal);
        }

        Judged {
            outcome,
            guarded_by,
            middlewares,
            findings,
        }
    }

    /// Makes the Middlewares of a Service behind those of the Ingress. Their problems are added to
    /// those that are `made`.
    fn service_middlewares(
        &mut self,
        service: &Name,
        values: &AnnotationValues,
        decision: Decision,
        made: &mut Made,
    ) -> Option<MadeMiddlewares> {
        let (annotation, list) = values.middlewares.as_ref()?;
        if self.out.canary.is_some() {
            // The steps of the main Ingress are those of the canary too.
            let why = "the Middlewares of a canary are those of the main Ingress and its Service";
            let (finding, refusal) = guards::not_supported(annotation, why, decision);
            made.findings.push(finding);
            made.refusal = made.refusal.or(refusal);
            return None;
        }

        let owner = format!("Service {}/{}", service.0, service.1);

        let asked = Asked {
            annotation,
            list,
            decision,
            counts_for: Some(&owner),
        };
        let mut both = self.made_middlewares(asked, self.middlewares.clone());
        made.findings.append(&mut both.findings);
        made.refusal = made.refusal.or(both.refusal);
        Some(both)
    }

    /// Makes the decisions about who may come in that annotations ask for.
    pub(super) fn made(&mut self, values: &AnnotationValues) -> (GuardedBy, Made) {
        let (objects, namespace) = (self.objects, &self.name.0);
        let mut made = access::make(objects, self.backends, namespace, &values.access);
        self.out.secrets.append(&mut made.secrets);
        if values.is_closed {
            made.refusal = Some(Refusal::InvalidGuard);
        }

        let external = external_auth::make(objects, self.backends, namespace, &values.external);
        let MadeAuths {
            mut auths,
            refusal,
            references,
            findings,
        } = external;
        self.out.follow(references);
        made.findings.extend(findings);
        made.refusal = made.refusal.or(refusal);

        let mut access = made.access.take();
        if values.access.satisfy_any && !auths.is_empty() {
            let or = access.take();
            let combined = auths.into_iter().map(|auth| auth.or(or.clone()));
            auths = combined.collect();
        }
        let conditionals = values.snippet.conditionals.iter();
        let guarded_by = GuardedBy {
            access,
            auths,
            conditionals: conditionals.cloned().map(Arc::new).collect(),
        };
        (guarded_by, made)
    }
}

/// Names the annotation and its Service in a finding about a path.
fn of_service(service: &Name, finding: AnnotationFinding) -> AnnotationFinding {
    let message = format!(
        "{} of Service {}: {}",
        finding.annotation, service.1, finding.message
    );
    AnnotationFinding { message, ..finding }
}
