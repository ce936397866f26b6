//! Rules for a part of the requests of their paths, as HAProxy Ingress has them, and paths that are
//! regular expressions by its `path-type` or `router.pathmatcher` of Traefik.

use std::sync::Arc;

use super::{Compiler, Reason, Target};
use crate::{
    controller::{annotations::PathKind, regex},
    objects::slim::IngressPath,
    routing::{
        Conditions, Edit, GoPattern, HostPattern, PathEdit, PathMatch, Pattern, RequestStep, Route,
        Rule,
    },
};

impl Compiler<'_> {
    /// Makes the conditions of the rules. Returns false if none of them may be served, because the
    /// conditions are not known, or do not hold for all of the Ingress.
    pub(super) fn can_match(&mut self) -> bool {
        let matches = std::mem::take(&mut self.annotated.matches);
        if matches.is_unknown {
            self.not_served("spec.rules", "the conditions of these rules cannot be read");
            return false;
        }
        if matches.headers.is_empty() {
            return true;
        }

        if self.annotated.passthrough.from.is_some() {
            self.not_served("spec.rules", "TLS that is passed through has no fields");
            return false;
        }
        self.conditions = Some(Box::new(Conditions {
            headers: matches.headers.into(),
            ..Conditions::default()
        }));
        true
    }

    fn not_served(&mut self, field: &str, why: &str) {
        let message = format!("{why}: these paths are not served, and others get all requests");
        self.warn(Reason::UnsupportedCanary, field.to_owned(), message);
    }

    /// Adds a rule with the conditions of the Ingress.
    pub(super) fn push_rule(&mut self, host: &HostPattern, path: PathMatch, route: Arc<Route>) {
        let conditions = self.conditions.clone();
        let rule = Rule {
            path,
            conditions,
            route,
        };
        self.out.rules.push((host.clone(), rule));
    }

    /// Returns the meaning that an annotation gives to a path; `None` if its own type decides.
    pub(super) fn path_kind(&self, path: &IngressPath) -> Option<PathKind> {
        let is_open = *path.path_type == *"ImplementationSpecific";
        self.annotated.rewrite.kind.filter(|_| is_open)
    }

    /// Returns true if the path is a regular expression, and those of others are not.
    pub(super) fn is_regex(&self, path: &IngressPath) -> bool {
        let kind = self.path_kind(path);
        matches!(kind, Some(PathKind::Regex | PathKind::Found))
    }

    /// Compiles such a path.
    pub(super) fn regex(&mut self, path: &IngressPath, field: String, host: &HostPattern) {
        let text = path.text();
        if !self.is_absolute(text, &field) {
            return;
        }

        let is_anchored = self.path_kind(path) == Some(PathKind::Regex);
        let parsed = match is_anchored {
            true => Pattern::parse_start(text).map(|one| PathMatch::Pattern(Box::new(one))),
            false => GoPattern::parse(text).map(|one| PathMatch::Regexp(Box::new(one))),
        };
        let matched = match parsed {
            Ok(matched) => matched,
            Err(error) => {
                let closed = match is_anchored {
                    true => regex::could_match(text),
                    false => vec![regex::any_path(text)],
                };
                self.not_evaluated(text, &error, closed, field, host);
                return;
            }
        };

        let Some(mut target) = self.backend(&path.backend, &format!("{field}.backend")) else {
            return;
        };
        target.path = Some(matched.clone());
        target.rewriting.extend(self.replacing(&target));
        let route = self.route(field, target, host);
        self.push_rule(host, matched, route);
    }

    /// Returns the step that puts another path in place of one that an expression takes.
    fn replacing(&self, target: &Target) -> Option<RequestStep> {
        let (from, to) = self.swap(target)?;
        let whole = GoPattern::parse("(?s)^.*$").ok()?;
        Some(RequestStep::EditPath(Arc::new(PathEdit {
            from: from.clone(),
            change: Edit::Rewrite(whole, to.replace('$', "$$").into()),
        })))
    }
}
