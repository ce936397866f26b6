//! The changes and terms of the requests of a route: those of the annotations of its Ingress, and
//! in place of them those of its Service.

use std::{mem, sync::Arc};

use super::{
    Compiler, Target, fields,
    steps::{Responses, RouteTerms, cors, inside},
};
use crate::{
    controller::{
        annotations::{self, AnnotationValues, LimitAnnotations},
        facts::ServiceFact,
        groups, limits,
        middlewares::MadeMiddlewares,
        objects::Name,
    },
    routing::{ClientLimits, Refusal, Timeouts},
};

impl Compiler<'_> {
    /// Makes the changes and terms that annotations and Middlewares ask for. Returns the refusal
    /// too, if one of them cannot be made.
    pub(super) fn made_route_terms(
        &mut self,
        annotated: &mut AnnotationValues,
        middlewares: &MadeMiddlewares,
        limits: Option<Arc<ClientLimits>>,
    ) -> (RouteTerms, Option<Refusal>) {
        let policy = &mut annotated.policy;
        policy.pace = limits::pace(&annotated.limits);
        policy.selector = groups::selector(&annotated.groups);
        middlewares.apply_to(policy);
        let policy = self.backends.share_policy(mem::take(policy));

        let inside = inside(annotated);
        let cors = cors(mem::take(&mut annotated.cors));
        let cors = cors.map(|cors| self.backends.share_cors(cors));

        let mut responses = Responses {
            steps: fields::of_responses(annotated),
            hsts: fields::hsts(annotated).or_else(|| middlewares.hsts.clone().map(Some)),
            errors: self.error_pages(annotated),
            mirror: self.mirror(annotated),
        };
        let (custom, refusal) = match self.custom_fields(annotated) {
            Ok(steps) => (steps, None),
            Err(refusal) => (Vec::new(), Some(refusal)),
        };
        responses.steps.extend(custom);
        responses
            .steps
            .extend(middlewares.responses.iter().cloned());

        let terms = RouteTerms {
            https: annotated.https,
            inside,
            cors,
            responses,
            policy,
            sticky: mem::take(&mut annotated.sticky),
            limits,
            swap: annotated.rewrite.swap.take(),
        };
        (terms, refusal)
    }

    /// Sets the times of a Service in those of its paths.
    pub(super) fn set_timeouts(&mut self, target: &mut Target, of_service: Timeouts) {
        if of_service == Timeouts::default() {
            return;
        }
        let usual = || Box::new(self.route_terms.clone());
        let terms = target.route_terms.get_or_insert_with(usual);
        let mut policy = terms.policy.as_deref().cloned().unwrap_or_default();
        let timeouts = &mut policy.timeouts;
        timeouts.connect = of_service.connect.or(timeouts.connect);
        timeouts.response_header = of_service.response_header.or(timeouts.response_header);
        terms.policy = self.backends.share_policy(policy);
    }

    /// Makes those of the paths to a Service with annotations of its own; `None` without any. Its
    /// Middlewares are with those of the Ingress; `None` if it names none.
    pub(super) fn route_terms_of(
        &mut self,
        service: &Name,
        fact: &ServiceFact,
        middlewares: Option<&MadeMiddlewares>,
    ) -> Option<Box<RouteTerms>> {
        if fact.annotations.is_empty() {
            return None;
        }
        let own = &self.fact.annotations;
        let mut values = annotations::read_of_path(own, &fact.annotations, self.defaults());
        // The limits of a Service count all requests to it, whatever Ingress they come by.
        let of_service = annotations::read(&fact.annotations).limits;
        let limits = match of_service == LimitAnnotations::default() {
            true => self.route_terms.limits.clone(),
            false => {
                let object = format!("Service {}/{}", service.0, service.1);
                limits::limits(&values.limits, object)
            }
        };
        // A refusal is about the Ingress, and known.
        let own = self.middlewares.clone();
        let middlewares = middlewares.unwrap_or(&own);
        let (terms, _) = self.made_route_terms(&mut values, middlewares, limits);
        Some(Box::new(terms))
    }
}
