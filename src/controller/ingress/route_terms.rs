//! The changes and terms of the requests of a route: those of the annotations of its Ingress, and
//! in place of them those of its Service.

use std::mem;

use super::{
    Compiler, fields,
    steps::{Responses, RouteTerms, cors, inside},
};
use crate::{
    controller::{
        annotations::{self, AnnotationValues},
        facts::ServiceFact,
        limits,
    },
    routing::Refusal,
};

impl Compiler<'_> {
    /// Makes the changes and terms that annotations ask for. Returns the refusal too, if one of
    /// them cannot be made.
    pub(super) fn made_route_terms(
        &mut self,
        annotated: &mut AnnotationValues,
    ) -> (RouteTerms, Option<Refusal>) {
        let policy = &mut annotated.policy;
        policy.pace = limits::pace(&annotated.limits);
        policy.attempts = policy.attempts.or(self.middlewares.attempts);
        let sizes = [policy.max_body_bytes, self.middlewares.max_body_bytes];
        policy.max_body_bytes = sizes.into_iter().flatten().min();
        let policy = self.backends.share_policy(mem::take(policy));

        let inside = inside(annotated);
        let cors = cors(mem::take(&mut annotated.cors));
        let cors = cors.map(|cors| self.backends.share_cors(cors));

        let of_middlewares = self.middlewares.hsts.clone();
        let mut responses = Responses {
            steps: fields::of_responses(annotated),
            hsts: fields::hsts(annotated).or_else(|| of_middlewares.map(Some)),
            errors: self.error_pages(annotated),
            mirror: self.mirror(annotated),
        };
        let (custom, refusal) = match self.custom_fields(annotated) {
            Ok(steps) => (steps, None),
            Err(refusal) => (Vec::new(), Some(refusal)),
        };
        responses.steps.extend(custom);
        let of_middlewares = self.middlewares.responses.iter();
        responses.steps.extend(of_middlewares.cloned());

        let terms = RouteTerms {
            https: annotated.https,
            inside,
            cors,
            responses,
            policy,
            sticky: mem::take(&mut annotated.sticky),
        };
        (terms, refusal)
    }

    /// Makes those of the paths to a Service with annotations of its own; `None` without any.
    pub(super) fn route_terms_of(&mut self, service: &ServiceFact) -> Option<Box<RouteTerms>> {
        if service.annotations.is_empty() {
            return None;
        }
        let (own, global) = (&self.fact.annotations, &self.objects.global.annotations);
        let mut values = annotations::read_of_path(own, &service.annotations, global);
        // A refusal is about the Ingress, and known.
        let (terms, _) = self.made_route_terms(&mut values);
        Some(Box::new(terms))
    }
}
