//! Assembles the rules of a host from its Ingresses.

use std::{cmp::Ordering, sync::Arc};

use super::{
    Finding,
    index::{Index, Name},
    regex::{self, Covered},
};
use crate::{
    objects::EventType,
    routing::{Action, HostPattern, HostRoutes, Loser, PathMatch, Refusal, Route},
};

impl Index {
    /// Sorts Ingresses by age, oldest first: of two with the same path the older keeps it.
    pub(super) fn by_age<'n>(&self, names: impl IntoIterator<Item = &'n Name>) -> Vec<&'n Name> {
        let mut aged: Vec<&Name> = names.into_iter().collect();
        aged.sort_unstable_by(|a, b| (self.created(a), a).cmp(&(self.created(b), b)));
        aged
    }

    /// Names an Ingress in a message to one that comes after it in [`Self::by_age`].
    pub(super) fn elder(&self, elder: &Name, younger: &Name) -> String {
        let (namespace, name) = elder;
        match self.created(elder).cmp(&self.created(younger)) {
            Ordering::Less => format!("the older Ingress {namespace}/{name}"),
            _ => format!(
                "the Ingress {namespace}/{name}, which is as old and comes first by its name"
            ),
        }
    }

    fn created(&self, name: &Name) -> Option<&str> {
        self.ingresses.get(name).map(|fact| &*fact.created)
    }

    /// Rebuilds the rules of a host.
    pub(super) fn assemble(&mut self, host: &HostPattern) {
        self.losers.remove(host);
        let Some(names) = self.on_host.get(host) else {
            self.table.remove(host);
            return;
        };

        let names = self.by_age(names);
        let closed = self.closed_hosts(&names);
        let mut rules: Vec<(PathMatch, Arc<Route>)> = Vec::new();
        let mut fallback = None;
        for name in names.iter().copied() {
            let Some(compiled) = self.compiled.get(name) else {
                continue;
            };
            let close = |route: &Arc<Route>| closed.apply(name, route);
            let mine = compiled
                .rules
                .iter()
                .filter(|(pattern, ..)| pattern == host);
            rules.extend(mine.map(|(_, path, route)| (path.clone(), close(route))));
            fallback = fallback.or_else(|| compiled.fallbacks.get(host).map(close));
        }
        let covered = regex::cover(&mut rules);
        let (mut routes, losers) = HostRoutes::new(host.clone(), rules, fallback);

        // Whether a host has TLS is said in the namespace that had it first; others decide for
        // their own rules only.
        let owners = names.iter().copied().filter(|name| name.0 == names[0].0);
        routes.set_tls(
            owners
                .filter_map(|name| self.compiled.get(name))
                .any(|one| one.has_tls(host)),
        );

        let mut findings = self.closed_by_others(&names, &closed);
        findings.extend(
            losers
                .iter()
                .filter_map(|loser| self.path_taken(host, loser)),
        );
        findings.extend(
            covered
                .iter()
                .filter_map(|covered| self.path_covered(host, covered)),
        );
        findings.extend(self.host_taken(host, &names));
        if !findings.is_empty() {
            self.losers.insert(host.clone(), findings);
        }
        self.table.set(Arc::new(routes));
    }

    /// Reports a rule whose path another rule has.
    fn path_taken(&self, host: &HostPattern, loser: &Loser) -> Option<Finding> {
        let (mine, theirs) = (&loser.route.origin, &loser.winner.origin);
        // Expressions have findings of their own.
        if matches!(loser.path, PathMatch::Closed(_)) {
            return None;
        }

        let what = format!(
            "{} {} on host {host}",
            loser.path.path_type(),
            loser.path.as_str()
        );
        let message = if mine.is_of_same_object(theirs) {
            format!(
                "this Ingress has {what} more than once: the first, {}, is served",
                theirs.field
            )
        } else {
            let name =
                |origin: &crate::routing::Origin| (origin.namespace.clone(), origin.name.clone());
            format!(
                "{what} is taken by {}",
                self.elder(&name(theirs), &name(mine))
            )
        };
        let mut finding = self.finding(
            &mine.namespace,
            &mine.name,
            "PathTaken",
            &mine.field,
            message,
        )?;
        if mine.is_of_same_object(theirs)
            && go_to_the_same(&loser.route.action, &loser.winner.action)
        {
            finding.severity = EventType::Normal;
        }
        Some(finding)
    }

    /// Reports a rule that a regular expression closes.
    fn path_covered(&self, host: &HostPattern, covered: &Covered) -> Option<Finding> {
        let (mine, (expression, by)) = (&covered.route.origin, &covered.by);
        let message = format!(
            "{} {} on host {host} answers 503: the regular expression {} of Ingress {}/{} begins with the same path and is \
             not evaluated, so a request cannot be assigned to one of them",
            covered.path.path_type(),
            covered.path.as_str(),
            expression.as_str(),
            by.origin.namespace,
            by.origin.name,
        );
        self.finding(
            &mine.namespace,
            &mine.name,
            "UnsupportedPath",
            &mine.field,
            message,
        )
    }

    /// Reports the Ingresses whose host belongs to an Ingress of another namespace.
    fn host_taken(&self, host: &HostPattern, names: &[&Name]) -> Vec<Finding> {
        let Some((owner, rest)) = names.split_first().filter(|_| *host != HostPattern::Any) else {
            return Vec::new();
        };
        let others = rest.iter().filter(|other| other.0 != owner.0);
        let told = others.filter_map(|other| {
            let message = format!(
                "host {host} is also in use by {}, of another namespace",
                self.elder(owner, other)
            );
            self.finding(&other.0, &other.1, "HostTaken", "spec.rules", message)
        });
        told.collect()
    }
}

/// Returns whether two actions do the same with a request.
fn go_to_the_same(one: &Action, other: &Action) -> bool {
    match (one, other) {
        (Action::Forward(one), Action::Forward(other)) => Arc::ptr_eq(one, other),
        (Action::Refuse(one), Action::Refuse(other)) => {
            *one == *other && *one != Refusal::UnsupportedPath
        }
        (Action::Forward(_), Action::Refuse(_)) | (Action::Refuse(_), Action::Forward(_)) => false,
    }
}
