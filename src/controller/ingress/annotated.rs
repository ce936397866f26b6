//! Decides by the annotations of the Ingress, and reports problems with them.

use std::mem;

use super::Compiler;
use crate::controller::{
    annotations::{self, AnnotationValues, BackendTlsValues, GlobalAnnotation, ServerSnippet},
    backend_terms::BackendTerms,
    backend_tls::{self, MadeBackendTls},
    canary, client_certificates, groups,
    guards::{self, Decision, Verdict},
    host_steps::HostSteps,
    limits,
    middlewares::{self, Asked, MadeMiddlewares},
    objects::Objects,
};
use crate::routing::Refusal;

impl<'a> Compiler<'a> {
    /// Reads the annotations, and makes what they ask for.
    pub(super) fn annotations(&mut self) {
        let mut annotated = annotations::read_with(&self.fact.annotations, self.defaults());
        let decision = Decision::new(annotated.guards, self.objects.settings.unsupported_guards);
        let mut verdict = guards::judge(&self.fact.peers, decision);
        annotated.https_only |= verdict.https_only;
        self.out.closes_hosts = verdict.refusal.filter(|_| verdict.closes_hosts);
        annotated.terms.groups = groups::groups(&annotated.groups);
        annotated.terms.check = annotated.checks.check();
        let mut backend_tls = self.backend_tls(&mut annotated);
        self.canary(&mut annotated);

        let (guarded_by, mut made) = self.made(&annotated);
        self.guarded_by = guarded_by;
        let mut terms = client_certificates::make(self.objects, &self.name.0, &annotated.clients);
        self.out.client_certificates = terms.terms;
        self.out.secrets.append(&mut terms.secrets);
        made.findings.append(&mut terms.findings);

        self.out.relative_redirects = annotated.further.relative;
        let object = format!("{}/{}", self.name.0, self.name.1);
        let limits = limits::limits(&annotated.limits, object);
        let mut middlewares = self.router_middlewares(&annotated, decision);
        if let Some((annotation, _)) = &annotated.middlewares {
            let finding = middlewares.both_in_flight(annotation, limits.as_deref());
            middlewares.refusal = middlewares
                .refusal
                .or_else(|| finding.is_some().then_some(Refusal::InvalidGuard));
            middlewares.findings.extend(finding);
        }
        let (route_terms, unset) = self.made_route_terms(&mut annotated, &middlewares, limits);
        self.route_terms = route_terms;
        let refusals = [
            middlewares.refusal,
            unset,
            made.refusal,
            backend_tls.refusal,
        ];
        made.findings.append(&mut backend_tls.findings);
        let first = verdict.refusal.into_iter();
        verdict.refusal = first.chain(refusals.into_iter().flatten()).next();
        self.unsupported(&mut annotated, &mut verdict, decision);

        let findings = mem::take(&mut annotated.findings).into_iter();
        let findings = findings.chain(mem::take(&mut verdict.findings));
        let findings = findings.chain(mem::take(&mut middlewares.findings));
        for finding in findings.chain(made.findings) {
            let field = format!("metadata.annotations[{}]", finding.annotation);
            self.note(field, finding);
        }

        if let Some(header) = &annotated.groups.header {
            let field = format!("metadata.annotations[{}]", header.from);
            self.check_groups(&annotated.groups, None, &field);
        }
        self.middlewares = middlewares;
        (self.annotated, self.verdict) = (annotated, verdict);
        self.prepare_passthrough();
    }

    /// Returns the annotations that apply without one of the Ingress: those of its class, and then
    /// those of the ConfigMap of ingress-nginx.
    pub(super) fn defaults(&self) -> impl Iterator<Item = &'a GlobalAnnotation> + use<'a> {
        let objects: &'a Objects = self.objects;
        let class = objects.class_settings(self.fact);
        let of_class = class.into_iter().flat_map(|class| &class.annotations);
        of_class.chain(&objects.global.annotations)
    }

    /// Makes the terms of TLS to backends. Those of a canary are the ones of its main Ingress.
    fn backend_tls(&mut self, annotated: &mut AnnotationValues) -> MadeBackendTls {
        if annotated.canary.enabled {
            annotated.backend_tls = BackendTlsValues::default();
            return MadeBackendTls::default();
        }
        self.read_terms = annotated.terms.clone();
        let (objects, namespace) = (self.objects, &self.name.0);
        let (values, terms) = (&annotated.backend_tls, &mut annotated.terms);
        let mut made = backend_tls::make(objects, self.backends, namespace, values, terms);
        self.out.secrets.append(&mut made.secrets);
        made
    }

    /// Makes the terms of a canary, or else those of backends that canaries inherit.
    fn canary(&mut self, annotated: &mut AnnotationValues) {
        self.out.canary = canary::terms(annotated);
        if self.out.canary.is_some() {
            // The main Ingress decides about the backends, and about the hosts.
            annotated.terms = BackendTerms::default();
            self.out.closes_hosts = None;
        } else {
            let terms = annotated.terms.clone();
            let is_set = terms != BackendTerms::default();
            self.out.backend_terms = is_set.then(|| Box::new(terms));
        }
    }

    /// Makes the Middlewares of the Ingress.
    fn router_middlewares(
        &mut self,
        annotated: &AnnotationValues,
        decision: Decision,
    ) -> MadeMiddlewares {
        let Some((annotation, list)) = &annotated.middlewares else {
            return MadeMiddlewares::default();
        };
        let asked = Asked {
            annotation,
            list,
            decision,
            counts_for: None,
        };
        self.made_middlewares(asked, MadeMiddlewares::default())
    }

    /// Makes the Middlewares of an annotation behind those `before` it, and follows the objects
    /// that they name.
    pub(super) fn made_middlewares(
        &mut self,
        asked: Asked<'_>,
        before: MadeMiddlewares,
    ) -> MadeMiddlewares {
        let mut made = middlewares::make(self.objects, self.backends, asked, before);
        self.out.follow(mem::take(&mut made.references));
        made
    }

    /// Closes the paths because of what is not supported: in the ConfigMap of ingress-nginx, or in
    /// annotations that read more than others.
    fn unsupported(
        &mut self,
        annotated: &mut AnnotationValues,
        verdict: &mut Verdict,
        decision: Decision,
    ) {
        let global = &self.objects.global;
        let class = self.objects.class_settings(self.fact);
        let of_class = class.and_then(|class| class.closed.as_ref());
        for (reason, refusal, message) in global.closed.iter().chain(of_class) {
            verdict.refusal = verdict.refusal.or(Some(*refusal));
            // The ConfigMap of the class may still come: no finding until then.
            if message.is_empty() {
                continue;
            }
            self.warn(*reason, "spec".to_owned(), message.clone());
        }

        let mut asked = Vec::new();
        let has_url = annotated.external.values().any(|one| one.url.is_some());
        if let Some(annotation) = annotated.global_auth.take()
            && !global.is_read
            && !has_url
        {
            let why = "it asks for the login of the whole controller: name its ConfigMap by \
                       nginx_configmap in the settings, or set auth-url";
            asked.push((annotation, why.to_owned()));
        }
        if let Some((annotation, directive)) = annotated.snippet.unknown.take() {
            let why = format!("{directive} is configuration of nginx that has no equivalent");
            asked.push((annotation, why));
        }
        self.host_steps(annotated, verdict, decision);

        for (annotation, why) in asked {
            let (finding, refusal) = guards::not_supported(&annotation, &why, decision);
            verdict.findings.push(finding);
            verdict.refusal = verdict.refusal.or(refusal);
        }
    }
    /// Makes the steps for whole hosts, or closes the hosts. The main Ingress of a canary decides
    /// about them.
    fn host_steps(
        &mut self,
        annotated: &mut AnnotationValues,
        verdict: &mut Verdict,
        decision: Decision,
    ) {
        if annotated.canary.enabled {
            return;
        }

        match mem::take(&mut annotated.server_snippet) {
            ServerSnippet::None => {}
            ServerSnippet::Known(values) => {
                let made = HostSteps::make(self.backends, *values, self.name);
                self.out.host_steps = Some(Box::new(made));
            }
            ServerSnippet::Unknown(annotation, directive) => {
                let why = format!(
                    "{directive} is configuration of nginx that has no equivalent, for all paths \
                     of the hosts"
                );
                let (finding, refusal) = guards::not_supported(&annotation, &why, decision);
                verdict.findings.push(finding);
                verdict.refusal = verdict.refusal.or(refusal);
                self.out.closes_hosts = self.out.closes_hosts.or(refusal);
            }
        }
    }
}
