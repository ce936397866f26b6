//! Redirects from paths without the slash at their end, as nginx sends them: `/foo` leads to a
//! location `/foo/`.

use std::{collections::BTreeSet, sync::Arc};

use http::StatusCode;

use crate::routing::{Action, PathChange, PathMatch, Redirect, Route};

/// Adds a redirect for each `ImplementationSpecific` path that ends with a slash, unless a rule
/// has the path without it. `is_relative` says for a route how its redirects are.
pub(super) fn add(rules: &mut Vec<(PathMatch, Arc<Route>)>, is_relative: impl Fn(&Route) -> bool) {
    let is_slashed = |path: &PathMatch| matches!(path, PathMatch::Start(p) if p.ends_with('/'));
    if !rules.iter().any(|(path, _)| is_slashed(path)) {
        return;
    }

    // A Prefix with a slash takes the path without it too.
    let taken: BTreeSet<&str> = rules
        .iter()
        .map(|(path, _)| match path {
            PathMatch::Prefix(prefix) => prefix.trim_end_matches('/'),
            other => other.as_str(),
        })
        .collect();

    let mut added: Vec<(PathMatch, Arc<Route>)> = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, route) in rules.iter().filter(|(path, _)| is_slashed(path)) {
        let bare = path.as_str().trim_end_matches('/');
        let is_open = !matches!(route.action, Action::Refuse(_));
        if !bare.is_empty() && is_open && !taken.contains(bare) && seen.insert(bare) {
            let redirect = Redirect {
                status: StatusCode::MOVED_PERMANENTLY,
                https: None,
                host: None,
                port: None,
                path: Some(PathChange::Whole(path.as_str().into())),
                is_relative: is_relative(route),
            };
            let action = Action::Redirect(Box::new(redirect));
            let route = Arc::new(Route::new(route.origin.clone(), action));
            added.push((PathMatch::Exact(bare.into()), route));
        }
    }
    rules.extend(added);
}
