//! Hosts whose paths are regular expressions: one Ingress with `use-regex` or a `rewrite-target`
//! turns the paths of all others of its host into expressions, as with ingress-nginx.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Finding, Reason,
    compiled::CompiledIngresses,
    objects::{Name, Objects},
};
use crate::{
    objects::EventType,
    routing::{Expression, HostPattern, PathMatch, Rule},
};

/// Returns the oldest of these Ingresses that turns the paths of the host into expressions.
pub(super) fn source<'a>(
    compiled: &CompiledIngresses,
    host: &HostPattern,
    names: &[&'a Name],
) -> Option<&'a Name> {
    let mut names = names.iter().copied();
    names.find(|name| {
        let one = compiled.get(*name);
        one.is_some_and(|one| one.expression_hosts.contains(host))
    })
}

/// Turns the paths of all rules of a host into expressions.
pub(super) fn convert(rules: Vec<Rule>) -> Vec<Rule> {
    let exact: BTreeSet<Box<str>> = rules
        .iter()
        .filter_map(|rule| match &rule.path {
            PathMatch::Exact(path) if rule.conditions.is_none() => Some(path.clone()),
            _ => None,
        })
        .collect();
    let none = BTreeSet::new();

    let rules = rules.into_iter().flat_map(|rule| {
        // One that takes a part of the requests leaves those of the Exact path to it.
        let exact = match rule.conditions {
            None => &exact,
            Some(_) => &none,
        };
        let paths = converted(rule.path.clone(), exact).into_iter();
        paths.map(move |path| Rule {
            path,
            ..rule.clone()
        })
    });
    rules.collect()
}

/// Returns the expressions of a path. A Prefix is one for itself and one for what is below it;
/// without the former if there is an Exact path like it.
fn converted(path: PathMatch, exact: &BTreeSet<Box<str>>) -> Vec<PathMatch> {
    let starting = |path: &str| PathMatch::Expression(Arc::new(Expression::starting(path, path)));
    match &path {
        PathMatch::Expression(_) | PathMatch::Pattern(_) | PathMatch::Regexp(_) => vec![path],
        PathMatch::Prefix(prefix) if !prefix.ends_with('/') => {
            let below = starting(&format!("{prefix}/"));
            let own = (!exact.contains(prefix)).then(|| starting(prefix));
            std::iter::once(below).chain(own).collect()
        }
        PathMatch::Exact(path)
        | PathMatch::Prefix(path)
        | PathMatch::Below(path)
        | PathMatch::Start(path) => vec![starting(path)],
        PathMatch::Closed(closed) => {
            let of = match closed.elements {
                true => Expression::elements,
                false => Expression::starting,
            };
            let expression = of(&closed.text, &closed.prefix);
            vec![PathMatch::Expression(Arc::new(expression))]
        }
    }
}

/// Returns notes for the Ingresses of a host whose paths another one turned into expressions.
pub(super) fn notes(
    objects: &Objects,
    compiled: &CompiledIngresses,
    host: &HostPattern,
    names: &[&Name],
    source: &Name,
) -> Vec<Finding> {
    let notes = names.iter().filter_map(|name| {
        let one = compiled.get(*name)?;
        if one.expression_hosts.contains(host) {
            return None;
        }
        let is_turned = |path: &PathMatch| {
            matches!(path, PathMatch::Exact(_) | PathMatch::Prefix(_)) && path.as_str() != "/"
        };
        let mut own = one.rules.iter().filter(|(pattern, _)| pattern == host);
        if !own.any(|(_, rule)| is_turned(&rule.path)) {
            return None;
        }

        let message = format!(
            "the paths on host {host} are regular expressions because of Ingress {}/{}: each takes \
             all that begins with it, in upper or lower case, and the longest text comes first",
            source.0, source.1
        );
        let mut note = objects.finding(name, Reason::PathIsExpression, "spec.rules", message)?;
        note.severity = EventType::Normal;
        Some(note)
    });
    notes.collect()
}
