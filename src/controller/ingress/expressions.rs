//! Paths that are regular expressions because of `use-regex` or `rewrite-target`, and what the
//! backend gets in place of them.

use std::{fmt, sync::Arc};

use super::{Compiler, Reason, Target};
use crate::{
    controller::{annotations::AnnotationFinding, regex},
    objects::{EventType, slim::IngressPath},
    routing::{
        Action, Edit, Expression, HostPattern, PathEdit, PathMatch, Refusal, RequestStep, Rewrite,
        Rule, SetField, path,
    },
};

/// The least length of a rule with a host in Traefik.
const LEAST_OF_HOSTS: i32 = 26;

impl Compiler<'_> {
    /// Returns true if this path is a regular expression, and with it all paths of its host.
    pub(super) fn is_expression(&self, path: &IngressPath) -> bool {
        self.annotated.rewrite.regex || self.rewrites(path.text())
    }

    /// Returns true if the backend gets another path for this one. As with ingress-nginx, a target
    /// that is the path changes nothing.
    fn rewrites(&self, text: &str) -> bool {
        let target = &self.annotated.rewrite.target;
        target.as_ref().is_some_and(|(_, own, _)| **own != *text)
    }

    /// Compiles a path that is a regular expression.
    pub(super) fn expression(&mut self, path: &IngressPath, field: String, host: &HostPattern) {
        let text = path.text();
        if !self.is_absolute(text, &field) {
            return;
        }

        self.out.expression_hosts.insert(host.clone());
        let expression = match self.backends.share_expression(text) {
            Ok(expression) => expression,
            Err(error) => {
                let closed = regex::could_match(text);
                self.not_evaluated(text, &error, closed, field, host);
                return;
            }
        };

        let Some(mut target) = self.backend(&path.backend, &format!("{field}.backend")) else {
            return;
        };
        target.rewriting = self.rewriting(text, Some(&expression));
        let route = self.route(field, target, host);
        self.push_rule(host, PathMatch::Expression(expression), route);
    }

    /// Returns the place of all rules among those of their hosts, if an annotation sets it.
    pub(super) fn priority(&self) -> Option<i32> {
        let (_, priority) = self.annotated.rewrite.priority.as_ref()?;
        Some(*priority)
    }

    /// Reports a priority that would take the requests of other hosts in Traefik.
    pub(super) fn check_priority(&mut self, r: usize, host: &HostPattern) {
        let Some((annotation, priority)) = self.annotated.rewrite.priority.clone() else {
            return;
        };
        if matches!(host, HostPattern::Exact(_)) || priority <= LEAST_OF_HOSTS {
            return;
        }
        let message = format!(
            "it orders the rules of one host: those of a more specific host than {host} come before"
        );
        let finding = AnnotationFinding {
            severity: EventType::Normal,
            reason: Reason::UnsupportedAnnotation,
            annotation,
            message,
        };
        self.note(format!("spec.rules[{r}].host"), finding);
    }

    /// Returns true if an expression begins with a slash, as all paths do. Reports it otherwise.
    pub(super) fn is_absolute(&mut self, text: &str, field: &str) -> bool {
        let is_absolute = text.starts_with('/');
        if !is_absolute {
            let message = format!("{text:?} does not begin with a slash");
            self.warn(Reason::InvalidPath, format!("{field}.path"), message);
        }
        is_absolute
    }

    /// Refuses the requests that an expression could match which cannot be evaluated.
    pub(super) fn not_evaluated(
        &mut self,
        text: &str,
        error: &dyn fmt::Display,
        closed: Vec<PathMatch>,
        field: String,
        host: &HostPattern,
    ) {
        let message = format!(
            "{text:?} cannot be evaluated, because {error}: 503 for {}, unless a longer path takes \
             the request",
            regex::shown(&closed)
        );
        self.warn(Reason::UnsupportedPath, format!("{field}.path"), message);
        self.refuse(closed, field, host);
    }

    /// Refuses the requests that an expression could match.
    pub(super) fn refuse(&mut self, closed: Vec<PathMatch>, field: String, host: &HostPattern) {
        let refused = Target::from(Action::Refuse(Refusal::UnsupportedPath));
        let route = self.route(field, refused, host);
        let rules = closed.into_iter();
        // Whatever the other conditions are: shorter paths may lack the guard of this one.
        let rules = rules.map(|path| (host.clone(), Rule::from((path, route.clone()))));
        self.out.rules.extend(rules);
    }

    /// Returns the step that puts another path in place of that of a rule.
    pub(super) fn swapping(&self, target: &Target, text: &str) -> Option<RequestStep> {
        let (from, to) = self.swap(target)?;
        let own = path::normalize(text).ok()?;
        Some(RequestStep::EditPath(Arc::new(PathEdit {
            from: from.clone(),
            change: Edit::Swap(path::matched(&own).into(), to.clone()),
        })))
    }

    /// Returns the name of the annotation, and the path in place of that of a rule.
    pub(super) fn swap<'t>(&'t self, target: &'t Target) -> Option<&'t (Box<str>, Box<str>)> {
        let of_service = target.route_terms.as_deref();
        of_service.unwrap_or(&self.route_terms).swap.as_ref()
    }

    /// Returns the steps that rewrite a path.
    pub(super) fn rewriting(
        &mut self,
        text: &str,
        expression: Option<&Arc<Expression>>,
    ) -> Vec<RequestStep> {
        let values = &self.annotated.rewrite;
        let Some((from, _, to)) = values.target.as_ref().filter(|_| self.rewrites(text)) else {
            return Vec::new();
        };

        let rewrite = Rewrite {
            from: from.clone(),
            path: expression.filter(|_| to.has_groups()).cloned(),
            to: to.clone(),
        };
        let prefix = values.prefix.iter().map(|(from, value)| {
            RequestStep::SetField(Arc::new(SetField {
                from: from.clone(),
                name: http::HeaderName::from_static("x-forwarded-prefix"),
                value: value.clone(),
            }))
        });
        let rewrite = RequestStep::Rewrite(self.backends.share_rewrite(rewrite));
        std::iter::once(rewrite).chain(prefix).collect()
    }
}
