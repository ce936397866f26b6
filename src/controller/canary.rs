//! Gives canaries their part of the requests of other Ingresses.

use std::{mem, sync::Arc};

use super::{
    Finding, Reason,
    annotations::{AnnotationValues, CanaryAnnotations},
    backend_terms::{BackendTerms, SendsProxy},
    backends::Backends,
    compiled::{Compiled, CompiledIngresses},
    objects::{Name, Objects},
};
use crate::{
    objects::EventType,
    routing::{
        Access, Action, Backend, BackendTls, Canary, CanaryHeader, CanaryTerms, CanaryValues,
        ExternalAuth, HostPattern, PathMatch, RequestStep, Route, Rule, Stickiness,
    },
};

/// The total of weights, and the least one.
const TOTAL: u32 = 100;

/// Returns the requests that an Ingress takes as a canary; `None` if it is none.
pub(super) fn terms(values: &mut AnnotationValues) -> Option<Arc<CanaryTerms>> {
    let CanaryAnnotations {
        enabled,
        is_invalid,
        details,
        header,
        value,
        pattern,
        cookie,
        weight,
        total,
    } = mem::take(&mut values.canary);

    if !enabled {
        for name in details {
            values.report(
                EventType::Warning,
                Reason::InvalidAnnotation,
                &name,
                "it has no effect without canary: \"true\": the Ingress takes all requests of its \
                 paths"
                    .to_owned(),
            );
        }
        return None;
    }

    let mut terms = CanaryTerms {
        header: None,
        cookie: None,
        weight: 0,
        total: total.max(TOTAL),
        ignores_sessions: values.sticky.ignores_canary,
    };
    if !is_invalid {
        let values = value.or(pattern).unwrap_or(CanaryValues::AlwaysOrNever);
        terms.header = header.map(|name| CanaryHeader { name, values });
        terms.cookie = cookie;
        terms.weight = weight;
    }
    Some(Arc::new(terms))
}

/// The rules of a host that canaries may take a part of.
pub(super) struct Mains<'a> {
    pub(super) objects: &'a Objects,
    pub(super) backends: &'a mut Backends,
    pub(super) compiled: &'a CompiledIngresses,
    /// Oldest first: of rules with the same path the first is served.
    pub(super) rules: &'a mut [Rule],
    pub(super) fallback: &'a mut Option<Arc<Route>>,
}

impl Mains<'_> {
    /// Gives a part of the rules on a host to these canaries, oldest first.
    pub(super) fn share(&mut self, host: &HostPattern, canaries: &[&Name]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let of_canaries = canaries
            .iter()
            .filter_map(|name| Some((*name, self.compiled.get(*name)?)));

        for (name, canary) in of_canaries {
            let own = canary.rules.iter().filter(|(pattern, _)| pattern == host);
            for (_, rule) in own {
                let found = self.rules.iter_mut().find(|main| are_same(main, rule));
                let main = found.map(|main| &mut main.route);
                let (path, route) = (&rule.path, &rule.route);
                let what = format!("{} {} on host {host}", path.path_type(), path.as_str());
                let unused = join(self.compiled, self.backends, main, name, canary, route);
                findings.extend(report(self.objects, name, route, &what, unused));
            }
            if let Some(route) = canary.fallbacks.get(host) {
                let main = self.fallback.as_mut();
                let what = format!("default backend on host {host}");
                let unused = join(self.compiled, self.backends, main, name, canary, route);
                findings.extend(report(self.objects, name, route, &what, unused));
            }
        }
        findings
    }
}

/// Returns true if the rules are for the same requests. One Ingress alone may have an annotation
/// that turns its paths into expressions.
fn are_same(main: &Rule, canary: &Rule) -> bool {
    let is_expression = |path: &PathMatch| matches!(path, PathMatch::Expression(_));
    let (own, other) = (&main.path, &canary.path);
    let is_mixed = is_expression(own) != is_expression(other);
    let is_same = own.is_same(other) || is_mixed && own.as_str() == other.as_str();
    is_same && main.conditions == canary.conditions
}

/// Gives a part of the default route to the canaries that have a default backend, oldest first.
pub(super) fn share_default(
    objects: &Objects,
    backends: &mut Backends,
    compiled: &CompiledIngresses,
    main: &mut Option<Arc<Route>>,
    canaries: &[&Name],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in canaries {
        let Some(canary) = compiled.get(*name) else {
            continue;
        };
        if let Some(route) = &canary.catch_all {
            let unused = join(compiled, backends, main.as_mut(), name, canary, route);
            findings.extend(report(objects, name, route, "default backend", unused));
        }
    }
    findings
}

/// Gives a part of the requests of a main route to a canary. Returns the reason if that cannot be.
fn join(
    compiled: &CompiledIngresses,
    backends: &mut Backends,
    main: Option<&mut Arc<Route>>,
    name: &Name,
    canary: &Compiled,
    route: &Route,
) -> Option<String> {
    let Some(main) = main else {
        return Some("no other Ingress has it".to_owned());
    };
    let of = (main.origin.namespace.clone(), main.origin.name.clone());
    let owner = format!("Ingress {}/{}", of.0, of.1);
    if of.0 != name.0 {
        return Some(format!("{owner} has it, which is in a different namespace"));
    }

    let (terms, backend) = match (&canary.canary, &route.action) {
        (Some(terms), Action::Forward(split)) => (terms, split.main_backends().next()),
        (_, Action::Refuse(refusal)) => return Some(refusal.reason().to_owned()),
        _ => return None,
    };
    let Action::Forward(split) = &main.action else {
        return Some(format!(
            "{owner} has it, and sends no requests to a backend"
        ));
    };
    if let Some(other) = split.canary() {
        let (namespace, name) = (&other.origin.namespace, &other.origin.name);
        return Some(format!("it has the canary {namespace}/{name} already"));
    }
    if let Some(missing) = missing_guard(main, route) {
        return Some(format!("{owner} has it without {missing}"));
    }

    let inherited = compiled
        .get(&of)
        .and_then(|one| one.backend_terms.as_deref());
    let backend = inherit(backends, backend?, inherited);
    let own = route.policy.as_deref();
    let canary = Canary {
        origin: route.origin.clone(),
        backend,
        terms: terms.clone(),
        stickiness: own_stickiness(terms, main, own.and_then(|own| own.stickiness.clone())),
        balancing: own.and_then(|own| own.balancing),
    };
    *main = Arc::new(Route {
        origin: main.origin.clone(),
        steps: main.steps.clone(),
        action: Action::Forward(split.with_canary(canary)),
        policy: main.policy.clone(),
    });
    None
}

/// Returns the property by which clients of a canary stay at one endpoint, if it is not that of the
/// main route: the sessions of a cookie include the canary.
fn own_stickiness(
    terms: &CanaryTerms,
    main: &Route,
    own: Option<Stickiness>,
) -> Option<Option<Stickiness>> {
    let of_main = main
        .policy
        .as_ref()
        .and_then(|policy| policy.stickiness.as_ref());
    let is_shared = match of_main {
        Some(Stickiness::Cookie(cookie)) => !cookie.ignores_canary,
        Some(Stickiness::Hash(_)) | None => false,
    };
    if terms.ignores_sessions {
        return Some(own);
    }
    (!is_shared).then(|| own.filter(|own| matches!(own, Stickiness::Hash(_))))
}

/// Returns the backend of a canary as the annotations of the main Ingress describe it.
fn inherit(
    backends: &mut Backends,
    own: &Arc<Backend>,
    inherited: Option<&BackendTerms>,
) -> Arc<Backend> {
    let Some(inherited) = inherited else {
        return own.clone();
    };
    let id = own.id();
    let service = (id.namespace.clone(), id.service.clone());
    let protocol = inherited.protocol.or_else(|| Some(own.protocol()));
    let mut terms = BackendTerms {
        protocol,
        ..inherited.clone()
    };
    // The annotations of its own Service come first.
    if own.settings.tls != BackendTls::default() {
        terms.protocol = Some(own.protocol());
        terms.tls = own.settings.tls.clone();
    }
    let check = own.settings.check.clone();
    terms.check = check.or(terms.check);
    terms.groups.clone_from(&own.settings.groups);
    terms.max_requests = own.settings.limits.requests.or(terms.max_requests);
    if let Some(version) = own.settings.sends_proxy {
        terms.sends_proxy = Some(SendsProxy::Version(version));
    }
    backends.get(&service, id.port, terms)
}

/// Names the guard of a canary that its main route does not have: the steps of the main route apply
/// to both.
fn missing_guard(main: &Route, canary: &Route) -> Option<&'static str> {
    let steps = |route: &Route| {
        let steps = route.steps.clone();
        steps.map_or_else(Vec::new, |steps| steps.request.to_vec())
    };
    let of_main = steps(main);
    let has = |step: &RequestStep| match step {
        RequestStep::Access(access) => of_main.iter().any(|other| match other {
            RequestStep::Access(other) => is_same_guard(access, other),
            _ => false,
        }),
        RequestStep::ExternalAuth(auth) => of_main.iter().any(|other| match other {
            RequestStep::ExternalAuth(other) => is_same_auth(auth, other),
            _ => false,
        }),
        RequestStep::Conditional(_) | RequestStep::EncodedCharacters(_) => of_main.contains(step),
        RequestStep::Elsewhere(to) => of_main.iter().any(|other| match other {
            RequestStep::Elsewhere(other) => (&to.to, to.of_root) == (&other.to, other.of_root),
            _ => false,
        }),
        RequestStep::RedirectUrl(to) => of_main.iter().any(|other| match other {
            RequestStep::RedirectUrl(other) => {
                (&to.to, to.permanent) == (&other.to, other.permanent)
            }
            _ => false,
        }),
        RequestStep::Rewrite(to) if to.to.is_url() => of_main.iter().any(|other| match other {
            RequestStep::Rewrite(other) => to.to == other.to,
            _ => false,
        }),
        _ => true,
    };

    let missing = steps(canary).into_iter().find(|step| !has(step))?;
    Some(match missing {
        RequestStep::Access(_)
        | RequestStep::ExternalAuth(_)
        | RequestStep::Conditional(_)
        | RequestStep::EncodedCharacters(_) => {
            "the guard that the annotations of the canary or its Service ask for"
        }
        _ => "the redirect that the annotations of the canary ask for",
    })
}

/// Returns true if the two let in the same clients.
fn is_same_guard(one: &Access, other: &Access) -> bool {
    let unnamed = |access: &Access| Access {
        from: Box::default(),
        ..access.clone()
    };
    unnamed(one) == unnamed(other)
}

/// Returns true if the two ask the same server in the same way.
fn is_same_auth(one: &ExternalAuth, other: &ExternalAuth) -> bool {
    let unnamed = |auth: &ExternalAuth| ExternalAuth {
        from: Box::default(),
        or: None,
        ..auth.clone()
    };
    let is_same_or = match (&one.or, &other.or) {
        (Some(one), Some(other)) => is_same_guard(one, other),
        (None, None) => true,
        _ => false,
    };
    is_same_or && unnamed(one) == unnamed(other)
}

/// Reports a rule of a canary, if it takes no requests for a reason.
fn report(
    objects: &Objects,
    name: &Name,
    route: &Route,
    what: &str,
    unused: Option<String>,
) -> Option<Finding> {
    let message = format!("the canary takes no requests of {what}: {}", unused?);
    objects.finding(name, Reason::UnusedCanary, &route.origin.field, message)
}
