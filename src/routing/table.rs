//! The routing table and its lookup.
//!
//! The most specific host pattern decides: the exact host, then the wildcard one label up, then the
//! rules without a host. When that pattern has no matching path, its own fallback answers, then the
//! default of the table; other patterns are not asked. This is what server blocks do in
//! ingress-nginx, and it keeps a host in its owner's hands.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use super::{
    HostPattern, PathMatch, Route,
    host::wildcard_suffix,
    matcher::{Loser, Matcher},
};

/// Shards of each map: an edit copies one shard, not the table.
const SHARDS: usize = 256;

/// The rules of one host pattern.
#[derive(Debug)]
pub struct HostRoutes {
    pattern: HostPattern,
    matcher: Matcher,
    fallback: Option<Arc<Route>>,
    tls: bool,
}

/// All rules of the process at one moment. Cloning it copies pointers; generations share what did
/// not change.
#[derive(Clone, Debug)]
pub struct RoutingTable {
    hash: RandomState,
    exact: Shards,
    wildcard: Shards,
    any: Option<Arc<HostRoutes>>,
    default: Option<Arc<Route>>,
}

/// The rule that matches a request.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The rule.
    pub route: &'a Arc<Route>,
    /// True if the host has TLS, whichever rule matched.
    pub tls: bool,
}

type Shards = Box<[Option<Arc<HashMap<Box<str>, Arc<HostRoutes>>>>]>;

/// One rule that was looked at for a request, for `explain`.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// The host pattern it stands under; `None` for the default of the table.
    pub pattern: Option<&'a HostPattern>,
    /// Its path match; `None` for a fallback or default.
    pub path: Option<&'a PathMatch>,
    /// The rule.
    pub route: &'a Arc<Route>,
    /// True if it matches the request.
    pub matches: bool,
    /// True if it is the first that matches.
    pub wins: bool,
}

// === HostRoutes ===

impl HostRoutes {
    /// Creates the rules of a host pattern. Of rules with the same match the first given wins; the
    /// others are returned. `fallback` is for requests that no rule matches.
    pub fn new(
        pattern: HostPattern,
        rules: impl IntoIterator<Item = (PathMatch, Arc<Route>)>,
        fallback: Option<Arc<Route>>,
    ) -> (Self, Vec<Loser>) {
        let (matcher, losers) = Matcher::new(rules);
        let routes = Self {
            pattern,
            matcher,
            fallback,
            tls: false,
        };
        (routes, losers)
    }

    /// Says that the host has TLS: what is for such hosts applies to all that is asked of it.
    pub fn set_tls(&mut self, tls: bool) {
        self.tls = tls;
    }

    /// Reports whether the host has TLS.
    pub fn has_tls(&self) -> bool {
        self.tls
    }

    /// The host pattern.
    pub fn pattern(&self) -> &HostPattern {
        &self.pattern
    }

    /// The rules in order of precedence.
    pub fn rules(&self) -> &[(PathMatch, Arc<Route>)] {
        self.matcher.rules()
    }

    /// Returns the route for requests that no path matches.
    pub fn fallback(&self) -> Option<&Arc<Route>> {
        self.fallback.as_ref()
    }

    /// Returns the route for a normalised path.
    pub fn find(&self, path: &str) -> Option<&Arc<Route>> {
        self.matcher.find(path).or(self.fallback.as_ref())
    }
}

// === RoutingTable ===

impl Default for RoutingTable {
    fn default() -> Self {
        let empty = || vec![None; SHARDS].into_boxed_slice();
        Self {
            hash: RandomState::new(),
            exact: empty(),
            wildcard: empty(),
            any: None,
            default: None,
        }
    }
}

impl RoutingTable {
    /// The route for a canonical host (`None` where the request names none) and a normalised path.
    pub fn find(&self, host: Option<&str>, path: &str) -> Option<Found<'_>> {
        let routes = self.host(host);
        let route = routes
            .and_then(|routes| routes.find(path))
            .or(self.default.as_ref())?;
        Some(Found {
            route,
            tls: routes.is_some_and(|routes| routes.tls),
        })
    }

    /// The rules of the most specific pattern that takes the host.
    pub fn host(&self, host: Option<&str>) -> Option<&Arc<HostRoutes>> {
        host.and_then(|host| {
            self.shard(&self.exact, host).or_else(|| {
                wildcard_suffix(host).and_then(|suffix| self.shard(&self.wildcard, suffix))
            })
        })
        .or(self.any.as_ref())
    }

    /// Every rule that is looked at for the request, in order of precedence.
    pub fn explain(&self, host: Option<&str>, path: &str) -> Vec<Candidate<'_>> {
        let mut candidates = Vec::new();
        if let Some(routes) = self.host(host) {
            let pattern = Some(&routes.pattern);
            for (rule, route) in routes.rules() {
                let matches = rule.matches(path);
                candidates.push(Candidate {
                    pattern,
                    path: Some(rule),
                    route,
                    matches,
                    wins: false,
                });
            }

            candidates.extend(routes.fallback.iter().map(|route| Candidate {
                pattern,
                path: None,
                route,
                matches: true,
                wins: false,
            }));
        }

        candidates.extend(self.default.iter().map(|route| Candidate {
            pattern: None,
            path: None,
            route,
            matches: true,
            wins: false,
        }));

        // The candidates are in the order of precedence, so the first match wins.
        if let Some(first) = candidates.iter_mut().find(|candidate| candidate.matches) {
            first.wins = true;
        }

        candidates
    }

    /// Every host pattern, in no particular order.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<HostRoutes>> {
        let maps = self.exact.iter().chain(&self.wildcard).flatten();
        maps.flat_map(|map| map.values()).chain(&self.any)
    }

    /// Returns the route for requests that no host pattern matches.
    pub fn default_route(&self) -> Option<&Arc<Route>> {
        self.default.as_ref()
    }

    /// Puts in the rules of a host pattern, in place of those it had.
    pub fn set(&mut self, routes: Arc<HostRoutes>) {
        match routes.pattern.clone() {
            HostPattern::Any => self.any = Some(routes),
            HostPattern::Exact(host) => {
                self.edit(false, host.as_str())
                    .insert(host.as_str().into(), routes);
            }
            HostPattern::Wildcard(host) => {
                self.edit(true, host.as_str())
                    .insert(host.as_str().into(), routes);
            }
        }
    }

    /// Takes out the rules of a host pattern.
    pub fn remove(&mut self, pattern: &HostPattern) {
        match pattern {
            HostPattern::Any => self.any = None,
            HostPattern::Exact(host) => drop(self.edit(false, host.as_str()).remove(host.as_str())),
            HostPattern::Wildcard(host) => {
                drop(self.edit(true, host.as_str()).remove(host.as_str()));
            }
        }
    }

    /// Sets what takes the requests that no rule takes.
    pub fn set_default(&mut self, route: Option<Arc<Route>>) {
        self.default = route;
    }

    fn shard<'a>(&self, shards: &'a Shards, host: &str) -> Option<&'a Arc<HostRoutes>> {
        shards[self.index(host)].as_ref()?.get(host)
    }

    fn edit(&mut self, wildcard: bool, host: &str) -> &mut HashMap<Box<str>, Arc<HostRoutes>> {
        let index = self.index(host);
        let shards = if wildcard {
            &mut self.wildcard
        } else {
            &mut self.exact
        };
        Arc::make_mut(shards[index].get_or_insert_default())
    }

    fn index(&self, host: &str) -> usize {
        (self.hash.hash_one(host) as usize) % SHARDS
    }
}

#[cfg(test)]
mod tests;
