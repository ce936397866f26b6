//! The result of compiling one Ingress.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Finding,
    backend_terms::BackendTerms,
    facts::{IngressFact, TraefikId},
    host_steps::HostSteps,
    objects::{Name, Objects},
    references::References,
};
use crate::{
    objects::ObjectRef,
    pki::CertificateTerms,
    routing::{
        CanaryTerms, ClientCertificates, GoPattern, HostPattern, Passthrough, PortRoute, Refusal,
        Route, Rule,
    },
};

/// The results of all Ingresses, by name.
pub(super) type CompiledIngresses = BTreeMap<Name, Compiled>;

/// The result of compiling one Ingress.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    /// True if the Ingress is served here, by its class.
    pub(super) ours: bool,
    /// The refusal for everything on its hosts, if it asks for an unsupported guard on whole hosts.
    pub(super) closes_hosts: Option<Refusal>,
    /// The steps before those of all paths of its hosts. Few Ingresses have any.
    pub(super) host_steps: Option<Box<HostSteps>>,
    /// The requests that it takes of other Ingresses; `None` if it is no canary.
    pub(super) canary: Option<Arc<CanaryTerms>>,
    /// The terms of backends that canaries inherit; `None` if no annotation says anything.
    pub(super) backend_terms: Option<Box<BackendTerms>>,
    pub(super) rules: Vec<(HostPattern, Rule)>,
    /// `defaultBackend` beside rules: for the hosts of the rules.
    pub(super) fallbacks: BTreeMap<HostPattern, Arc<Route>>,
    /// `defaultBackend` without rules: for every request.
    pub(super) catch_all: Option<Arc<Route>>,
    /// The hosts whose TLS it passes through. Few Ingresses have any.
    pub(super) passthroughs: BTreeMap<HostPattern, Arc<Passthrough>>,
    /// The TCP port that it asks for in place of HTTP. Few Ingresses have one.
    pub(super) tcp: Option<Box<TcpService>>,
    /// The terms for certificates of clients on its hosts.
    pub(super) client_certificates: Option<Arc<ClientCertificates>>,
    pub(super) tls: Vec<TlsEntry>,
    /// The Services that it names, sorted, each once.
    pub(super) services: Vec<Name>,
    /// The Secrets that it names, sorted, each once.
    pub(super) secrets: Vec<Name>,
    /// The ConfigMaps that it names, sorted, each once.
    pub(super) config_maps: Vec<Name>,
    /// The objects of Traefik that it names, whether they exist or not, sorted, each once.
    pub(super) traefik: Vec<TraefikId>,
    pub(super) findings: Vec<Finding>,
    pub(super) claims: Vec<CertificateClaim>,
    /// The issuers that it names, or the default one if it names none, whether they exist or not.
    pub(super) issuers: BTreeSet<Box<str>>,
    /// Findings about missing Secrets. Each holds unless the certificate of this id is desired.
    pub(super) missing: Vec<(Arc<str>, Finding)>,
    /// The hosts under `tls`.
    pub(super) with_tls: BTreeSet<HostPattern>,
    /// Further names of hosts, each with the host whose rules it has.
    pub(super) aliases: BTreeMap<HostPattern, HostPattern>,
    /// Expressions of further hosts, with what requests for them get. Few Ingresses have any.
    pub(super) host_expressions: Vec<(GoPattern, FurtherHost)>,
    /// Further hosts whose requests are redirected.
    pub(super) redirected: BTreeMap<HostPattern, Arc<Route>>,
    /// True if its redirects from paths without a slash have no scheme and host.
    pub(super) relative_redirects: bool,
    /// The hosts whose paths it turns into regular expressions.
    pub(super) expression_hosts: BTreeSet<HostPattern>,
    /// The hosts that have rules, and hosts whose only rule was refused (they keep their fallback).
    /// Sorted, each once, after [`Self::finish`].
    pub(super) hosts: Vec<HostPattern>,
}

/// The effect of a request for a further host.
#[derive(Debug)]
pub(super) enum FurtherHost {
    /// That of one for this host.
    As(HostPattern),
    /// A redirect.
    Redirected(Arc<Route>),
}

/// The TCP port of an Ingress.
#[derive(Debug)]
pub(super) struct TcpService {
    /// The annotation that asks for it.
    pub(super) annotation: Box<str>,
    pub(super) port: u16,
    /// True if clients send the PROXY protocol; `None` if no annotation says anything.
    pub(super) accepts_proxy: Option<bool>,
    /// The destinations by the server name, or the reasons why they are closed.
    pub(super) routes: Vec<(HostPattern, Result<Arc<PortRoute>, Refusal>)>,
}

/// A host that is served over TLS.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TlsEntry {
    pub(super) pattern: HostPattern,
    /// True if `tls` lists the host. Hosts of other rules are served over TLS too, with any
    /// certificate that fits.
    pub(super) listed: bool,
    pub(super) secret: Option<Arc<str>>,
    /// True if the certificate in the Secret can be served.
    pub(super) usable: bool,
    /// The id of the claim that the entry under `tls` belongs to.
    pub(super) claim: Option<Arc<str>>,
}

/// A statement of one Ingress that it needs a certificate. The claims with one id become one
/// [`DesiredCertificate`](super::DesiredCertificate).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CertificateClaim {
    pub(super) id: Arc<str>,
    /// The Ingress with its UID: one that was deleted and created again is different.
    pub(super) about: ObjectRef,
    pub(super) secret: Option<Arc<str>>,
    /// The entry under `spec.tls`, the first of several.
    pub(super) field: Box<str>,
    pub(super) hosts: BTreeSet<Box<str>>,
    pub(super) issuers: Vec<Box<str>>,
    /// The terms. All claims for one Secret share the oldest claim's issuers and terms.
    pub(super) terms: CertificateTerms,
}

/// Returns the Ingresses that were compiled and still exist, in the order of their names.
pub(super) fn with_facts<'a>(
    compiled: &'a CompiledIngresses,
    objects: &'a Objects,
) -> impl Iterator<Item = (&'a Name, &'a IngressFact, &'a Compiled)> {
    // Both are in that order: looking up each would take longer.
    let mut facts = objects.ingresses.iter().peekable();
    compiled.iter().filter_map(move |(name, one)| {
        while facts.next_if(|(before, _)| *before < name).is_some() {}
        let (_, fact) = facts.next_if(|(same, _)| *same == name)?;
        Some((name, fact, one))
    })
}

impl Compiled {
    /// Adds objects that a part of it names.
    pub(super) fn follow(&mut self, mut references: References) {
        self.services.append(&mut references.services);
        self.secrets.append(&mut references.secrets);
        self.config_maps.append(&mut references.config_maps);
        self.traefik.append(&mut references.traefik);
    }

    /// Returns the hosts that have rules, and the further ones; one may occur twice.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &HostPattern> {
        let further = self.aliases.keys().chain(self.redirected.keys());
        self.hosts.iter().chain(further)
    }

    /// Returns true if it has rules for a host.
    pub(super) fn has_host(&self, host: &HostPattern) -> bool {
        self.hosts.binary_search(host).is_ok()
    }

    /// Sorts the lists and returns their spare memory: there are thousands of these, and most have
    /// one entry of each.
    pub(super) fn finish(&mut self) {
        fn sort<T: Ord>(list: &mut Vec<T>) {
            list.sort_unstable();
            list.dedup();
            list.shrink_to_fit();
        }
        sort(&mut self.services);
        sort(&mut self.secrets);
        sort(&mut self.config_maps);
        sort(&mut self.traefik);
        sort(&mut self.hosts);
        self.rules.shrink_to_fit();
        self.tls.shrink_to_fit();
    }

    /// Returns the parts that certificates depend on.
    pub(super) fn certificates(&self) -> (&[TlsEntry], &[CertificateClaim]) {
        (&self.tls, &self.claims)
    }

    /// Returns true if a host of the rules is under `tls`.
    pub(super) fn has_tls(&self, pattern: &HostPattern) -> bool {
        let by_wildcard = |tls: &HostPattern| match (tls, pattern) {
            (HostPattern::Wildcard(_), HostPattern::Exact(host)) => tls.matches(host.as_str()),
            _ => false,
        };
        self.with_tls.contains(pattern) || self.with_tls.iter().any(by_wildcard)
    }

    /// Returns true if it asks for anything that is about a whole host, beside its rules.
    pub(super) fn concerns_whole(&self, host: &HostPattern) -> bool {
        self.closes_hosts.is_some()
            || self.host_steps.is_some()
            || self.canary.is_some()
            || self.client_certificates.is_some()
            || self.passthroughs.contains_key(host)
            || self.expression_hosts.contains(host)
    }

    /// Returns the treatment of TLS on a host, if it passes that through.
    pub(super) fn passthrough(&self, host: &HostPattern) -> Option<&Arc<Passthrough>> {
        self.passthroughs.get(host)
    }

    /// Returns its routes on a host.
    pub(super) fn routes_of(&self, host: &HostPattern) -> impl Iterator<Item = &Arc<Route>> {
        let rules = self.rules.iter().filter(move |(of, _)| of == host);
        let rules = rules.map(|(_, rule)| &rule.route);
        rules.chain(self.fallbacks.get(host))
    }

    /// Returns all routes to backends and refusals.
    pub(super) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        let rules = self.rules.iter().map(|(_, rule)| &rule.route);
        rules.chain(self.fallbacks.values()).chain(&self.catch_all)
    }
}

impl CertificateClaim {
    /// Lists the terms in which the two differ, for people; empty if they are the same. `main` maps
    /// the names of an issuer to its main one.
    pub(super) fn differences(&self, other: &Self, main: impl Fn(&str) -> Box<str>) -> String {
        let (ours, theirs) = (&self.terms, &other.terms);
        let issuers = |claim: &Self| -> Vec<Box<str>> {
            claim.issuers.iter().map(|issuer| main(issuer)).collect()
        };
        let parts = [
            ("issuer", issuers(self) != issuers(other)),
            ("common name", ours.common_name != theirs.common_name),
            (
                "key",
                (ours.key_type, ours.keep_key) != (theirs.key_type, theirs.keep_key),
            ),
            ("duration", ours.duration != theirs.duration),
            ("renewal", ours.renew_before != theirs.renew_before),
        ];

        let differing: Vec<&str> = parts
            .iter()
            .filter(|(_, differs)| *differs)
            .map(|(part, _)| *part)
            .collect();
        differing.join(", ")
    }
}
