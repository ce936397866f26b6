//! The steps that an Ingress puts before those of all paths of its hosts: those of its
//! `server-snippet`.

use std::sync::Arc;

use super::{annotations::ServerValues, backends::Backends, objects::Name};
use crate::routing::{
    Access, Action, Conditional, Elsewhere, PathMatch, PathTest, RequestStep, ResponseStep, Route,
    Rule, SetField, Steps, Then,
};

/// Steps for all paths of some hosts.
#[derive(Debug)]
pub(super) struct HostSteps {
    responses: Vec<Arc<Conditional>>,
    access: Option<Arc<Access>>,
    fields: Vec<ResponseStep>,
}

impl HostSteps {
    /// Makes the steps of an Ingress.
    pub(super) fn make(backends: &mut Backends, values: ServerValues, name: &Name) -> Self {
        // They stand in the steps of other Ingresses too.
        let from: Box<str> = format!("{} of Ingress {}/{}", values.from, name.0, name.1).into();
        let responses = values.responses.into_iter().map(|one| {
            let then = match one.then {
                Then::Redirect(to) => Then::Redirect(Box::new(Elsewhere {
                    from: from.clone(),
                    ..*to
                })),
                then => then,
            };
            Arc::new(Conditional {
                from: from.clone(),
                then,
                ..one
            })
        });
        let responses = responses.collect();

        let is_listed = !values.denied.is_empty() || values.allowed.is_some();
        let access = is_listed.then(|| {
            backends.share_access(Access {
                from: from.clone(),
                denied: values.denied.into_iter().collect(),
                allowed: values
                    .allowed
                    .into_iter()
                    .map(|list| list.into_iter().collect())
                    .collect(),
                ..Access::default()
            })
        });

        let fields = values.fields.into_iter().map(|(name, value)| match value {
            Some(value) => ResponseStep::SetField(Arc::new(SetField {
                from: from.clone(),
                name,
                value,
            })),
            None => ResponseStep::RemoveField(name),
        });

        Self {
            responses,
            access,
            fields: fields.collect(),
        }
    }

    /// Returns a route with these steps before its own. A route without a path is for all others.
    pub(super) fn before(
        &self,
        backends: &mut Backends,
        path: Option<&PathMatch>,
        route: &Arc<Route>,
    ) -> Arc<Route> {
        if matches!(route.action, Action::Refuse(_)) {
            return route.clone();
        }

        let own = route.steps.as_deref().cloned().unwrap_or_default();

        let responses = self.responses.iter().filter(|one| {
            let test = one.path.as_ref();
            test.is_none_or(|test| path.is_none_or(|path| comes_first(test, path)))
        });
        let mut request: Vec<RequestStep> =
            responses.cloned().map(RequestStep::Conditional).collect();

        // Addresses are judged where those of the route are.
        let is_earlier = |step: &&RequestStep| {
            matches!(
                step,
                RequestStep::HttpsRedirect { .. }
                    | RequestStep::Preflight(_)
                    | RequestStep::OnlyPlain
                    | RequestStep::Limit(_)
            )
        };
        let earlier = own.request.iter().take_while(is_earlier).count();
        request.extend(own.request[..earlier].iter().cloned());
        request.extend(self.access.clone().map(RequestStep::Access));
        request.extend(own.request[earlier..].iter().cloned());

        let response = self.fields.iter().cloned().chain(own.response);

        let steps = Steps {
            request: request.into_iter().collect(),
            response: response.collect(),
            ..own
        };
        Arc::new(Route {
            origin: route.origin.clone(),
            steps: backends.share_steps(steps),
            action: route.action.clone(),
            policy: route.policy.clone(),
        })
    }
}

/// Puts the steps for the whole host before those of its routes: those of all its Ingresses, the
/// oldest first. Ingresses of another namespace than that of the oldest one have steps before their
/// own rules only.
pub(super) fn put<'a>(
    backends: &mut Backends,
    names: &[&Name],
    of: impl Fn(&Name) -> Option<&'a HostSteps>,
    rules: &mut [Rule],
    fallback: &mut Option<Arc<Route>>,
) {
    let owner = names.first().map(|name| &name.0);
    for name in names.iter().rev() {
        let Some(steps) = of(name) else {
            continue;
        };

        let is_for = |route: &Route| owner == Some(&name.0) || route.origin.namespace == name.0;
        for rule in rules.iter_mut().filter(|rule| is_for(&rule.route)) {
            rule.route = steps.before(backends, Some(&rule.path), &rule.route);
        }

        if let Some(route) = fallback.as_mut().filter(|route| is_for(route)) {
            *route = steps.before(backends, None, route);
        }
    }
}

/// Returns true if nginx takes the `location` of a snippet before that of a rule for the requests
/// that both could take: exact paths come first, then `^~`, then expressions, in their order, and
/// then the longest beginning.
fn comes_first(test: &PathTest, rule: &PathMatch) -> bool {
    match (test, rule) {
        (PathTest::Exact(_), _) => true,
        (_, PathMatch::Exact(_)) => false,
        (PathTest::Matches(_), _) => true,
        (PathTest::Start { is_final, .. }, PathMatch::Expression(_) | PathMatch::Pattern(_)) => {
            *is_final
        }
        // It is two of nginx: the path itself, and what is below it.
        (PathTest::Start { path, .. }, PathMatch::Prefix(rule)) => !rule.starts_with(&**path),
        (PathTest::Start { path, .. }, rule) => {
            let rule = rule.as_str();
            rule.len() <= path.len() || !rule.starts_with(&**path)
        }
    }
}
