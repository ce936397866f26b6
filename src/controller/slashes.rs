//! Redirects from paths without the slash at their end, as nginx sends them: `/foo` leads to a
//! location `/foo/`.

use std::{collections::BTreeSet, sync::Arc};

use http::StatusCode;

use crate::routing::{Action, PathChange, PathMatch, Redirect, Route, Rule};

/// Adds a redirect for each `ImplementationSpecific` path that ends with a slash, unless a rule
/// has the path without it. `is_relative` says for a route how its redirects are.
pub(super) fn add(rules: &mut Vec<Rule>, is_relative: impl Fn(&Route) -> bool) {
    let is_slashed = |path: &PathMatch| matches!(path, PathMatch::Start(p) if p.ends_with('/'));
    if !rules.iter().any(|rule| is_slashed(&rule.path)) {
        return;
    }

    // A Prefix with a slash takes the path without it too.
    let taken: BTreeSet<&str> = rules
        .iter()
        .map(|rule| match &rule.path {
            PathMatch::Prefix(prefix) => prefix.trim_end_matches('/'),
            other => other.as_str(),
        })
        .collect();

    let mut added: Vec<Rule> = Vec::new();
    let mut seen = BTreeSet::new();
    for rule in rules.iter().filter(|rule| is_slashed(&rule.path)) {
        let (path, route) = (&rule.path, &rule.route);
        let bare = path.as_str().trim_end_matches('/');
        let is_open = !matches!(route.action, Action::Refuse(_));
        let mut is_first = || seen.insert((bare, rule.conditions.is_some()));
        if !bare.is_empty() && is_open && !taken.contains(bare) && is_first() {
            let redirect = Redirect {
                status: StatusCode::MOVED_PERMANENTLY,
                https: None,
                host: None,
                port: None,
                path: Some(PathChange::Whole(path.as_str().into())),
                is_relative: is_relative(route),
            };
            let action = Action::Redirect(Box::new(redirect));
            added.push(Rule {
                path: PathMatch::Exact(bare.into()),
                conditions: rule.conditions.clone(),
                route: Arc::new(Route::new(route.origin.clone(), action)),
            });
        }
    }
    rules.extend(added);
}
