//! Assembles the rules of a host from its Ingresses.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use super::{
    Finding, Reason,
    backends::Backends,
    canary::Mains,
    client_certificates,
    compiled::{Compiled, CompiledIngresses, FurtherHost},
    dependencies::Dependencies,
    expressions, guards, host_steps,
    objects::{Name, Objects},
    passthrough,
    regex::{self, Covered},
    slashes,
};
use crate::{
    objects::EventType,
    routing::{
        Action, HostExpression, HostPattern, HostRoutes, Loser, Origin, PathMatch, Refusal, Route,
        RoutingTable, Rule,
    },
};

/// Returns the further names of hosts that have the rules of one of these.
pub(super) fn aliases(
    dependencies: &Dependencies,
    compiled: &CompiledIngresses,
    hosts: &BTreeSet<HostPattern>,
) -> BTreeSet<HostPattern> {
    if compiled.values().all(|one| one.aliases.is_empty()) {
        return BTreeSet::new();
    }
    let of_host = |host: &HostPattern| {
        let names = dependencies.on_host(host).iter();
        let all = names.filter_map(|name| compiled.get(name));
        let aliases = all.flat_map(|one| &one.aliases);
        let own = aliases.filter(|(_, of)| **of == *host);
        own.map(|(alias, _)| alias.clone()).collect::<Vec<_>>()
    };
    let aliases = hosts.iter().flat_map(of_host);
    aliases.filter(|alias| !hosts.contains(alias)).collect()
}

/// Returns the expressions of hosts with the rules in a table, those of older Ingresses first.
pub(super) fn expressions(
    objects: &Objects,
    compiled: &CompiledIngresses,
    table: &RoutingTable,
) -> Arc<[HostExpression]> {
    let has = |one: &Compiled| !one.host_expressions.is_empty();
    let names = compiled.iter().filter(|(_, one)| has(one));
    let names: Vec<Name> = names.map(|(name, _)| name.clone()).collect();

    let names = objects.by_age(&names).into_iter();
    let all = names.flat_map(|name| &compiled[name].host_expressions);
    let expressions = all.filter_map(|(pattern, further)| {
        let routes = match further {
            FurtherHost::As(host) => table.get(host)?.clone(),
            FurtherHost::Redirected(route) => Arc::new(only(HostPattern::Any, route.clone())),
        };
        let pattern = pattern.clone();
        Some(HostExpression { pattern, routes })
    });
    expressions.collect()
}

/// Returns the rules of a host: its own ones, else those of the host that it is another name of,
/// else a redirect; `None` if it does not exist.
pub(super) fn routes(
    objects: &Objects,
    backends: &mut Backends,
    compiled: &CompiledIngresses,
    dependencies: &Dependencies,
    host: &HostPattern,
) -> (Option<HostRoutes>, Vec<Finding>) {
    let names = objects.by_age(dependencies.on_host(host));
    let with_rules = |host: &HostPattern| -> Vec<Name> {
        let names = dependencies.on_host(host).iter();
        let has = |name: &&Name| compiled.get(*name).is_some_and(|one| one.has_host(host));
        names.filter(has).cloned().collect()
    };
    let further = || {
        names
            .iter()
            .filter_map(|name| Some((*name, compiled.get(*name)?)))
    };

    let own = with_rules(host);
    let is_main = |name: &&&Name| compiled.get(**name).is_some_and(|one| one.canary.is_none());
    if let Some(owner) = objects.by_age(&own).iter().find(is_main) {
        let (routes, mut findings) = assemble(objects, backends, compiled, host, &own);
        let losers = further().filter(|(name, one)| {
            let is_further = one.aliases.contains_key(host) || one.redirected.contains_key(host);
            is_further && !own.contains(name)
        });
        findings.extend(losers.filter_map(|(name, _)| {
            let message = format!(
                "{host} is the host of a rule of Ingress {}/{}, so it is no further host of this \
                 one",
                owner.0, owner.1
            );
            objects.finding(name, Reason::HostTaken, "metadata.annotations", message)
        }));
        return (routes, findings);
    }

    let mut aliased = further().filter_map(|(_, one)| one.aliases.get(host));
    if let Some(of) = aliased.next() {
        // The findings are those of that host.
        let (mut routes, _) = assemble(objects, backends, compiled, of, &with_rules(of));
        if let Some(routes) = &mut routes {
            let has_tls = further().any(|(_, one)| one.has_tls(host));
            routes.set_tls(has_tls || routes.has_tls());
            routes.set_pattern(host.clone());
        }
        return (routes, Vec::new());
    }

    let mut redirected = further().filter_map(|(_, one)| one.redirected.get(host));
    if let Some(route) = redirected.next() {
        return (Some(only(host.clone(), route.clone())), Vec::new());
    }

    // Canaries without a main Ingress have findings.
    assemble(objects, backends, compiled, host, &own)
}

/// Returns the rules of a host that one Ingress has by itself, if nothing that it asks for is about
/// whole hosts. Nearly all hosts are such; their rules need no others, and no backends.
///
/// [`routes`] would return the same.
pub(super) fn alone(
    objects: &Objects,
    compiled: &CompiledIngresses,
    dependencies: &Dependencies,
    host: &HostPattern,
) -> Option<(HostRoutes, Vec<Finding>)> {
    let [name] = dependencies.on_host(host) else {
        return None;
    };
    let one = compiled.get(name)?;
    if !one.has_host(host) || one.concerns_whole(host) {
        return None;
    }

    let own = one.rules.iter().filter(|(pattern, _)| pattern == host);
    let mut rules: Vec<Rule> = own.map(|(_, rule)| rule.clone()).collect();
    slashes::add(&mut rules, |_own| one.relative_redirects);
    let covered = regex::cover(&mut rules);

    let fallback = one.fallbacks.get(host).cloned();
    let (mut routes, losers) = HostRoutes::new(host.clone(), rules, fallback);
    routes.set_tls(one.has_tls(host));
    Some((routes, unserved(objects, host, &losers, &covered)))
}

/// Reports the rules of a host that are not served.
fn unserved(
    objects: &Objects,
    host: &HostPattern,
    losers: &[Loser],
    covered: &[Covered],
) -> Vec<Finding> {
    let taken = losers.iter();
    let taken = taken.filter_map(|loser| path_taken(objects, host, loser));
    let covered = covered.iter();
    taken
        .chain(covered.filter_map(|covered| path_covered(objects, host, covered)))
        .collect()
}

/// Returns the rules of a host where one route takes every request.
fn only(host: HostPattern, route: Arc<Route>) -> HostRoutes {
    let none: [(PathMatch, Arc<Route>); 0] = [];
    HostRoutes::new(host, none, Some(route)).0
}

/// Assembles the rules of a host, with findings about rules that are not served as they are
/// written. `names` are the Ingresses with rules for it. Without any but canaries the host does not
/// exist.
fn assemble(
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
    let asking = client_certificates::of_host(objects, compiled, host, &names, &canaries);
    let canaries: Vec<&Name> = canaries
        .into_iter()
        .filter(|name| !asking.closed.contains(name))
        .collect();

    let mut rules: Vec<Rule> = Vec::new();
    let mut fallback = None;
    for name in names.iter().copied() {
        let Some(compiled) = compiled.get(name) else {
            continue;
        };
        let close = |route: &Arc<Route>| match asking.closed.contains(name) {
            true => {
                let origin = route.origin.clone();
                Arc::new(Route::refused(origin, Refusal::InvalidGuard))
            }
            false => closed.apply(name, route),
        };
        let own = compiled.rules.iter().filter(|(pattern, _)| pattern == host);
        rules.extend(own.map(|(_, rule)| Rule {
            route: ranked(close(&rule.route), names[0]),
            ..rule.clone()
        }));
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
    } else {
        slashes::add(&mut rules, |route| {
            let origin = ingress_of(&route.origin);
            let one = compiled.get(&origin);
            one.is_some_and(|one| one.relative_redirects)
        });
    }

    let of = |name: &Name| compiled.get(name)?.host_steps.as_deref();
    host_steps::put(backends, &names, of, &mut rules, &mut fallback);

    let (passed, passed_findings) =
        passthrough::of_host(objects, compiled, host, &names, &closed, &asking);
    if passed.is_some() {
        let routes = rules.iter_mut().map(|rule| &mut rule.route);
        for route in routes.chain(&mut fallback) {
            *route = passthrough::only_plain(route);
        }
    }

    let covered = regex::cover(&mut rules);
    let (mut routes, losers) = HostRoutes::new(host.clone(), rules, fallback);

    // The namespace that had the host first decides whether it has TLS; others decide for their
    // own rules only.
    let mut owners = names.iter().filter(|name| name.0 == eldest.0);
    routes.set_tls(owners.any(|name| compiled.get(*name).is_some_and(|one| one.has_tls(host))));

    if let Some(passed) = passed {
        routes.set_passthrough(passed);
    }
    if let Some(terms) = asking.terms {
        routes.set_client_certificates(terms);
    }

    let mut findings = guards::closed_by_others(objects, compiled, &names, &closed);
    findings.extend(unused);
    findings.extend(unserved(objects, host, &losers, &covered));
    if let Some(source) = source {
        findings.extend(expressions::notes(objects, compiled, host, &names, source));
        // A Prefix has become two expressions, which are taken together.
        let mut seen = HashSet::new();
        findings.retain(|one| seen.insert((one.about.clone(), one.field.clone())));
    }
    findings.extend(passed_findings);
    findings.extend(asking.findings);
    findings.extend(host_taken(objects, host, &names));
    findings.extend(unranked(objects, compiled, host, &names));
    (Some(routes), findings)
}

/// Returns a route with its priority if its namespace had the host first: one of another namespace
/// would take all its requests.
fn ranked(route: Arc<Route>, eldest: &Name) -> Arc<Route> {
    if route.origin.priority.is_none() || route.origin.namespace == eldest.0 {
        return route;
    }
    let mut route = Route::clone(&route);
    route.origin.priority = None;
    Arc::new(route)
}

/// Reports the Ingresses whose priority does not count, because the host belongs to one of another
/// namespace.
fn unranked(
    objects: &Objects,
    compiled: &CompiledIngresses,
    host: &HostPattern,
    names: &[&Name],
) -> Vec<Finding> {
    let others = names.iter().filter(|name| name.0 != names[0].0);
    let with_priority = others.filter(|name| {
        let routes = compiled.get(**name).into_iter();
        let mut routes = routes.flat_map(|one| one.routes_of(host));
        routes.any(|route| route.origin.priority.is_some())
    });
    let findings = with_priority.filter_map(|name| {
        let message = format!(
            "router.priority does not count on host {host}, which {} in a different namespace had \
             first",
            objects.elder(names[0], name)
        );
        objects.finding(name, Reason::HostTaken, "metadata.annotations", message)
    });
    findings.collect()
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
    } else if other.priority != own.priority {
        let Origin {
            namespace, name, ..
        } = other;
        format!("{rule} is taken by Ingress {namespace}/{name}, which router.priority puts first")
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
