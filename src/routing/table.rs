//! The routing table and its lookup.
//!
//! The most specific host pattern comes first: the exact host, then the wildcard one label up, then
//! the expressions of hosts in their order, then the rules without a host. If that pattern has no
//! matching path, its own fallback takes the request, and [`HostSearch`] says whether other
//! patterns may.

use std::{collections::HashMap, hash::BuildHasher, sync::Arc};

use super::{
    ClientCertificates, Conditions, GoPattern, HostPattern, Passthrough, PathMatch, Route, Rule,
    host::wildcard_suffix,
    host_hash::HostHash,
    matcher::{Loser, Matcher},
    rule::Head,
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
    passthrough: Option<Arc<Passthrough>>,
    client_certificates: Option<Arc<ClientCertificates>>,
}

/// The host patterns that may take a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostSearch {
    /// The most specific one alone, then the default of the table. A wildcard stands for one label.
    /// This is what Ingress v1 and the server blocks of ingress-nginx do, and it keeps a host in
    /// its owner's hands.
    #[default]
    MostSpecific,
    /// The most specific one that has a matching rule. A wildcard stands for one label or more.
    /// This is what Gateway API does.
    FallThrough,
}

/// All rules of the process at one moment. Cloning it copies pointers; generations share what did
/// not change.
#[derive(Clone, Debug)]
pub struct RoutingTable {
    search: HostSearch,
    hash: HostHash,
    exact: Shards,
    wildcard: Shards,
    expressions: Arc<[HostExpression]>,
    any: Option<Arc<HostRoutes>>,
    default: Option<Arc<Route>>,
    /// The number of hosts whose TLS is passed through.
    passthroughs: usize,
    /// The number of hosts with terms for certificates of clients.
    with_client_certificates: usize,
}

/// Hosts that have the rules of another one.
#[derive(Clone, Debug)]
pub struct HostExpression {
    /// It is found in their names.
    pub pattern: GoPattern,
    /// The rules.
    pub routes: Arc<HostRoutes>,
}

/// The rule that matches a request.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The rule.
    pub route: &'a Arc<Route>,
    /// True if the host has TLS, whichever rule matched.
    pub tls: bool,
    /// The terms of the host for certificates of clients, whichever rule matched.
    pub client_certificates: Option<&'a Arc<ClientCertificates>>,
}

type Shards = Box<[Option<Arc<Shard>>]>;
type Shard = HashMap<Box<str>, Arc<HostRoutes>, HostHash>;

/// One rule that was looked at for a request, for `explain`.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// The host pattern it stands under; `None` for the default of the table.
    pub pattern: Option<&'a HostPattern>,
    /// Its path match; `None` for a fallback or default.
    pub path: Option<&'a PathMatch>,
    /// Its further conditions; `None` for none.
    pub conditions: Option<&'a Conditions>,
    /// The rule.
    pub route: &'a Arc<Route>,
    /// True if it matches the request.
    pub matches: bool,
    /// True if it is the first that matches.
    pub wins: bool,
}

// === HostRoutes ===

impl HostRoutes {
    /// Creates the rules of a host pattern, given in the order of age and name of their objects. Of
    /// rules with the same match the first wins; the others are returned. `fallback` is for
    /// requests that no rule matches.
    pub fn new(
        pattern: HostPattern,
        rules: impl IntoIterator<Item = impl Into<Rule>>,
        fallback: Option<Arc<Route>>,
    ) -> (Self, Vec<Loser>) {
        let (matcher, losers) = Matcher::new(rules, pattern.rule_length());
        let routes = Self {
            pattern,
            matcher,
            fallback,
            tls: false,
            passthrough: None,
            client_certificates: None,
        };
        (routes, losers)
    }

    /// Puts the rules under another host pattern.
    pub fn set_pattern(&mut self, pattern: HostPattern) {
        self.pattern = pattern;
    }

    /// Says that the host has TLS: what is for such hosts applies to all that is asked of it.
    pub fn set_tls(&mut self, tls: bool) {
        self.tls = tls;
    }

    /// Reports whether the host has TLS.
    pub fn has_tls(&self) -> bool {
        self.tls
    }

    /// Passes the TLS of the host through.
    pub fn set_passthrough(&mut self, passthrough: Arc<Passthrough>) {
        self.passthrough = Some(passthrough);
    }

    /// Returns the treatment of TLS connections, if they are passed through.
    pub fn passthrough(&self) -> Option<&Arc<Passthrough>> {
        self.passthrough.as_ref()
    }

    /// Lets clients in by their certificates.
    pub fn set_client_certificates(&mut self, terms: Arc<ClientCertificates>) {
        self.client_certificates = Some(terms);
    }

    /// Returns the terms for certificates of clients, if there are any.
    pub fn client_certificates(&self) -> Option<&Arc<ClientCertificates>> {
        self.client_certificates.as_ref()
    }

    /// The host pattern.
    pub fn pattern(&self) -> &HostPattern {
        &self.pattern
    }

    /// The rules in order of precedence.
    pub fn rules(&self) -> &[Rule] {
        self.matcher.rules()
    }

    /// Returns the route for requests that no path matches.
    pub fn fallback(&self) -> Option<&Arc<Route>> {
        self.fallback.as_ref()
    }

    /// Returns the route for a request with this normalised path.
    pub fn find(&self, path: &str, head: &impl Head) -> Option<&Arc<Route>> {
        let fallback = || self.fallback.as_ref().filter(|_| !self.refuses(path));
        self.matcher.find(path, head).or_else(fallback)
    }

    /// Returns true if its paths are regular expressions, and this path can be read in two ways, so
    /// that nothing takes it.
    pub fn refuses(&self, path: &str) -> bool {
        self.matcher.refuses(path)
    }
}

// === RoutingTable ===

impl Default for RoutingTable {
    fn default() -> Self {
        Self::new(HostSearch::default())
    }
}

impl RoutingTable {
    /// Creates a table without rules.
    pub fn new(search: HostSearch) -> Self {
        let empty = || vec![None; SHARDS].into_boxed_slice();
        Self {
            search,
            hash: HostHash::new(),
            exact: empty(),
            wildcard: empty(),
            expressions: Arc::from([]),
            any: None,
            default: None,
            passthroughs: 0,
            with_client_certificates: 0,
        }
    }

    /// Returns the route for a canonical host (`None` where the request names none), a normalised
    /// path, and the rest of the head.
    pub fn find(&self, host: Option<&str>, path: &str, head: &impl Head) -> Option<Found<'_>> {
        let mut patterns = self.patterns(host).peekable();
        let first = patterns.peek().copied();
        let route = patterns
            .find_map(|routes| routes.find(path, head))
            .or(self.default.as_ref())?;
        Some(Found {
            route,
            tls: first.is_some_and(|routes| routes.tls),
            client_certificates: first.and_then(|routes| routes.client_certificates()),
        })
    }

    /// Returns the rules of the most specific pattern that takes the host.
    pub fn host(&self, host: Option<&str>) -> Option<&Arc<HostRoutes>> {
        self.patterns(host).next()
    }

    /// Reports whether the TLS of any host is passed through. Only then are names looked up before
    /// the handshake.
    pub fn has_passthrough(&self) -> bool {
        self.passthroughs > 0
    }

    /// Returns the treatment of TLS connections with this canonical server name, if they are passed
    /// through.
    pub fn passthrough(&self, name: &str) -> Option<&Arc<Passthrough>> {
        self.host(Some(name))?.passthrough()
    }

    /// Reports whether any host has terms for certificates of clients. Only then are names looked
    /// up before the handshake.
    pub fn has_client_certificates(&self) -> bool {
        self.with_client_certificates > 0
    }

    /// Returns the rules of the patterns that may take requests for the host, in their order.
    fn patterns<'a, 'h>(
        &'a self,
        host: Option<&'h str>,
    ) -> impl Iterator<Item = &'a Arc<HostRoutes>> + use<'a, 'h> {
        let (labels, hosts) = match self.search {
            HostSearch::MostSpecific => (1, 1),
            HostSearch::FallThrough => (usize::MAX, usize::MAX),
        };
        let exact = host.and_then(|host| self.shard(&self.exact, host));
        let suffixes = std::iter::successors(host.and_then(wildcard_suffix), |suffix| {
            wildcard_suffix(suffix)
        });
        let wildcards = suffixes
            .take(labels)
            .filter_map(|suffix| self.shard(&self.wildcard, suffix));
        // Looked at only where no pattern takes the host.
        let further = std::iter::once(host).filter_map(|host| self.further(host?));
        exact
            .into_iter()
            .chain(wildcards)
            .chain(further)
            .chain(&self.any)
            .take(hosts)
    }

    /// Returns the rules that an expression gives a host.
    fn further(&self, host: &str) -> Option<&Arc<HostRoutes>> {
        let mut expressions = self.expressions.iter();
        let found = expressions.find(|one| one.pattern.is_in(host.as_bytes()))?;
        Some(&found.routes)
    }

    /// Returns every rule that is looked at for the request, in order of precedence.
    pub fn explain(&self, host: Option<&str>, path: &str, head: &impl Head) -> Vec<Candidate<'_>> {
        let mut candidates = Vec::new();
        for routes in self.patterns(host) {
            let pattern = Some(&routes.pattern);
            candidates.extend(routes.rules().iter().map(|rule| Candidate {
                pattern,
                path: Some(&rule.path),
                conditions: rule.conditions.as_deref(),
                route: &rule.route,
                matches: rule.matches(path, head),
                wins: false,
            }));
            candidates.extend(routes.fallback.iter().map(|route| Candidate {
                pattern,
                path: None,
                conditions: None,
                route,
                matches: !routes.refuses(path),
                wins: false,
            }));
        }

        candidates.extend(self.default.iter().map(|route| Candidate {
            pattern: None,
            path: None,
            conditions: None,
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

    /// Returns the rules of a host pattern.
    pub fn get(&self, pattern: &HostPattern) -> Option<&Arc<HostRoutes>> {
        match pattern {
            HostPattern::Any => self.any.as_ref(),
            HostPattern::Exact(host) => self.shard(&self.exact, host.as_str()),
            HostPattern::Wildcard(host) => self.shard(&self.wildcard, host.as_str()),
        }
    }

    /// Sets the expressions of hosts; the first that is found in a host counts.
    pub fn set_expressions(&mut self, expressions: Arc<[HostExpression]>) {
        self.expressions = expressions;
    }

    /// Puts in the rules of a host pattern, in place of those it had.
    pub fn set(&mut self, routes: Arc<HostRoutes>) {
        self.passthroughs += usize::from(routes.passthrough.is_some());
        self.with_client_certificates += usize::from(routes.client_certificates.is_some());

        let before = match routes.pattern.clone() {
            HostPattern::Any => self.any.replace(routes),
            HostPattern::Exact(host) => {
                let shard = self.edit(false, host.as_str());
                shard.insert(host.as_str().into(), routes)
            }
            HostPattern::Wildcard(host) => {
                let shard = self.edit(true, host.as_str());
                shard.insert(host.as_str().into(), routes)
            }
        };
        self.forget(before.as_deref());
    }

    /// Takes out the rules of a host pattern.
    pub fn remove(&mut self, pattern: &HostPattern) {
        let before = match pattern {
            HostPattern::Any => self.any.take(),
            HostPattern::Exact(host) => self.edit(false, host.as_str()).remove(host.as_str()),
            HostPattern::Wildcard(host) => self.edit(true, host.as_str()).remove(host.as_str()),
        };
        self.forget(before.as_deref());
    }

    /// Takes the rules that a host pattern had out of the counts.
    fn forget(&mut self, before: Option<&HostRoutes>) {
        let Some(before) = before else {
            return;
        };
        self.passthroughs -= usize::from(before.passthrough.is_some());
        self.with_client_certificates -= usize::from(before.client_certificates.is_some());
    }

    /// Sets what takes the requests that no rule takes.
    pub fn set_default(&mut self, route: Option<Arc<Route>>) {
        self.default = route;
    }

    fn shard<'a>(&self, shards: &'a Shards, host: &str) -> Option<&'a Arc<HostRoutes>> {
        shards[self.index(host)].as_ref()?.get(host)
    }

    fn edit(&mut self, wildcard: bool, host: &str) -> &mut Shard {
        let index = self.index(host);
        let shards = if wildcard {
            &mut self.wildcard
        } else {
            &mut self.exact
        };
        let shard = shards[index].get_or_insert_with(|| Arc::new(Shard::with_hasher(self.hash)));
        Arc::make_mut(shard)
    }

    fn index(&self, host: &str) -> usize {
        // The maps use the low bits and the seven highest ones.
        (self.hash.hash_one(host) >> 40) as usize % SHARDS
    }
}

#[cfg(test)]
mod tests;
