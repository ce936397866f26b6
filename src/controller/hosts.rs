//! Assembles the rules of a host from its Ingresses.

use std::{collections::HashSet, sync::Arc};

use super::{
    Finding, Reason,
    backends::Backends,
    canary::Mains,
    compiled::CompiledIngresses,
    expressions, guards,
    objects::{Name, Objects},
    regex::{self, Covered},
};
use crate::{
    objects::EventType,
    routing::{Action, HostPattern, HostRoutes, Loser, Origin, PathMatch, Refusal, Route},
};

/// Assembles the rules of a host, with findings about rules that are not served as they are
/// written. `names` are the Ingresses with rules for it. Without any but canaries the host does not
/// exist.
pub(super) fn assemble(
    objects: &Objects,
    backends: &mut Backends,
    compiled: &CompiledIngresses,
    host: &HostPattern,
    names: &[Name],
) -> (Option<HostRoutes>, Vec<Finding>) {
    let is_canary = |name: &&Name| compiled.get(*name).is_some_and(|one| one.canary.is_some());
    let (canaries, names): (Vec<&Name>, Vec<&Name>) =
        objects.by_age(names).into_iter().partition(is_canary);
    let closed = guards::closed_host(compiled, &names);

    let mut rules: Vec<(PathMatch, Arc<Route>)> = Vec::new();
    let mut fallback = None;
    for name in names.iter().copied() {
        let Some(compiled) = compiled.get(name) else {
            continue;
        };
        let close = |route: &Arc<Route>| closed.apply(name, route);
        let own = compiled
            .rules
            .iter()
            .filter(|(pattern, ..)| pattern == host);
        rules.extend(own.map(|(_, path, route)| (path.clone(), close(route))));
        fallback = fallback.or_else(|| compiled.fallbacks.get(host).map(close));
    }

    let mut mains = Mains {
        objects,
        backends,
        compiled,
        rules: &mut rules,
        fallback: &mut fallback,
    };
    let unused = mains.share(host, &canaries);
    let Some(eldest) = names.first() else {
        return (None, unused);
    };

    let source = expressions::source(compiled, host, &names);
    if source.is_some() {
        rules = expressions::convert(rules);
    }
    let covered = regex::cover(&mut rules);
    let (mut routes, losers) = HostRoutes::new(host.clone(), rules, fallback);

    // The namespace that had the host first decides whether it has TLS; others decide for their
    // own rules only.
    let mut owners = names.iter().filter(|name| name.0 == eldest.0);
    routes.set_tls(owners.any(|name| compiled.get(*name).is_some_and(|one| one.has_tls(host))));

    let mut findings = guards::closed_by_others(objects, compiled, &names, &closed);
    findings.extend(unused);
    let taken = losers.iter();
    findings.extend(taken.filter_map(|loser| path_taken(objects, host, loser)));
    let covered = covered.iter();
    findings.extend(covered.filter_map(|covered| path_covered(objects, host, covered)));
    if let Some(source) = source {
        findings.extend(expressions::notes(objects, compiled, host, &names, source));
        // A Prefix has become two expressions, which are taken together.
        let mut seen = HashSet::new();
        findings.retain(|one| seen.insert((one.about.clone(), one.field.clone())));
    }
    findings.extend(host_taken(objects, host, &names));
    (Some(routes), findings)
}

/// Reports a rule whose path another rule has.
fn path_taken(objects: &Objects, host: &HostPattern, loser: &Loser) -> Option<Finding> {
    let (own, other) = (&loser.rule.route.origin, &loser.winner.origin);

    // Expressions that are not evaluated have findings of their own.
    let is_closed = matches!(loser.rule.path, PathMatch::Closed(_));
    let action = &loser.rule.route.action;
    if is_closed || matches!(action, Action::Refuse(Refusal::UnsupportedPath)) {
        return None;
    }

    let is_of_same_object = own.is_of_same_object(other);
    let rule = format!(
        "{} {} on host {host}",
        loser.rule.path.path_type(),
        loser.rule.path.as_str()
    );
    let message = if is_of_same_object {
        format!(
            "this Ingress has {rule} more than once: the first, {}, is served",
            other.field
        )
    } else {
        let elder = objects.elder(&ingress_of(other), &ingress_of(own));
        format!("{rule} is taken by {elder}")
    };

    let mut finding = objects.finding(&ingress_of(own), Reason::PathTaken, &own.field, message)?;
    if is_of_same_object && do_the_same(&loser.rule.route.action, &loser.winner.action) {
        finding.severity = EventType::Normal;
    }
    Some(finding)
}

/// Reports a rule that a regular expression closes.
fn path_covered(objects: &Objects, host: &HostPattern, covered: &Covered) -> Option<Finding> {
    let (own, (expression, by)) = (&covered.route.origin, &covered.by);
    let message = format!(
        "{} {} on host {host} returns 503: the regular expression {} of Ingress {}/{} begins with \
         the same path and is not evaluated, so a request cannot be assigned to one of them",
        covered.path.path_type(),
        covered.path.as_str(),
        expression.as_str(),
        by.origin.namespace,
        by.origin.name,
    );
    objects.finding(
        &ingress_of(own),
        Reason::UnsupportedPath,
        &own.field,
        message,
    )
}

/// Reports the Ingresses whose host belongs to an Ingress of another namespace.
fn host_taken(objects: &Objects, host: &HostPattern, names: &[&Name]) -> Vec<Finding> {
    let Some((owner, rest)) = names.split_first().filter(|_| *host != HostPattern::Any) else {
        return Vec::new();
    };
    let others = rest.iter().filter(|other| other.0 != owner.0);
    let findings = others.filter_map(|other| {
        let message = format!(
            "host {host} is also used by {}, in a different namespace",
            objects.elder(owner, other)
        );
        objects.finding(other, Reason::HostTaken, "spec.rules", message)
    });
    findings.collect()
}

fn ingress_of(origin: &Origin) -> Name {
    (origin.namespace.clone(), origin.name.clone())
}

/// Returns true if two actions do the same with a request.
fn do_the_same(one: &Action, other: &Action) -> bool {
    match (one, other) {
        (Action::Forward(one), Action::Forward(other)) => one.is_same(other),
        (Action::Refuse(one), Action::Refuse(other)) => {
            *one == *other && *one != Refusal::UnsupportedPath
        }
        _ => false,
    }
}
