//! Certificates: what each host is served with, and what is asked for where there is none.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use super::{
    CertificateSource, DesiredCertificate, Finding, TlsHost,
    index::{Index, Name},
};
use crate::{
    objects::ObjectRef,
    pki::CertificateTerms,
    routing::{Host, HostPattern},
};

/// No CA puts more names into a certificate than the one that most ask.
const MAX_NAMES: usize = 100;

/// What one Ingress asks for: a part of a [`DesiredCertificate`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CertificateClaim {
    pub(super) id: Arc<str>,
    /// The Ingress: one that was deleted and made anew is another.
    pub(super) about: ObjectRef,
    pub(super) secret: Option<Arc<str>>,
    /// The entry under `spec.tls`, the first of several.
    pub(super) field: Box<str>,
    pub(super) hosts: BTreeSet<Box<str>>,
    pub(super) issuers: Vec<Box<str>>,
    /// One Secret has one set of issuers and terms: those of the oldest claim.
    pub(super) terms: CertificateTerms,
}

/// The wishes of all Ingresses.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) all: BTreeMap<Arc<str>, DesiredCertificate>,
    pub(super) findings: Vec<Finding>,
}

/// What a certificate for hosts and addresses is for. A host of no name is left out.
pub(super) fn names(
    hosts: &[HostPattern],
    addresses: &[IpAddr],
) -> Result<BTreeSet<Box<str>>, String> {
    let mut names: BTreeSet<Box<str>> = addresses
        .iter()
        .map(|address| address.to_string().into())
        .collect();
    for pattern in hosts {
        names.extend(match pattern {
            HostPattern::Any => None,
            HostPattern::Exact(host) if host.ip().is_none() && !has_public_form(host) => {
                return Err(refused(pattern));
            }
            HostPattern::Wildcard(suffix) if !has_public_form(suffix) => {
                return Err(refused(pattern));
            }
            HostPattern::Exact(_) | HostPattern::Wildcard(_) => Some(name(pattern)),
        });
    }
    Ok(names)
}

/// A host as it stands in a certificate: addresses have no brackets there.
fn name(pattern: &HostPattern) -> Box<str> {
    match pattern {
        HostPattern::Exact(host) => host
            .ip()
            .map_or_else(|| host.as_str().into(), |ip| ip.to_string().into()),
        HostPattern::Wildcard(_) | HostPattern::Any => pattern.to_string().into(),
    }
}

fn refused(pattern: &HostPattern) -> String {
    format!("{pattern} is not a name that a certificate can be for: nothing is asked for")
}

/// No CA takes underscores, addresses behind `*.`, and labels that begin or end with `-` (RFC 1123
/// section 2.1).
fn has_public_form(host: &Host) -> bool {
    let is_good =
        |label: &str| !label.starts_with('-') && !label.ends_with('-') && !label.contains('_');
    host.ip().is_none() && host.as_str().split('.').all(is_good)
}

impl CertificateClaim {
    fn has_terms_of(&self, other: &Self) -> bool {
        (&self.issuers, &self.terms) == (&other.issuers, &other.terms)
    }

    /// Lists the terms in which the two differ, for people.
    fn differences(&self, other: &Self) -> String {
        let (ours, theirs) = (&self.terms, &other.terms);
        let parts = [
            ("issuer", self.issuers != other.issuers),
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

impl Index {
    /// Puts together what the Ingresses ask for, oldest first.
    pub(super) fn wishes(&self) -> Wishes {
        let mut wishes = Wishes::default();
        // The claim whose terms hold, and its Ingress.
        let mut oldest_claims: BTreeMap<&Arc<str>, (&CertificateClaim, &Name)> = BTreeMap::new();
        let asking = self
            .compiled
            .iter()
            .filter(|(_, one)| !one.asks.is_empty())
            .map(|(name, _)| name);
        for name in self.by_age(asking) {
            for ask in self
                .compiled
                .get(name)
                .into_iter()
                .flat_map(|one| &one.asks)
            {
                let known = wishes.all.get(&ask.id);
                let mut hosts = ask.hosts.clone();
                hosts.extend(known.iter().flat_map(|wish| wish.hosts.iter().cloned()));
                if hosts.len() > MAX_NAMES {
                    let message = format!(
                        "the certificate would be for {} names, and {MAX_NAMES} is the most: these are not asked for",
                        hosts.len()
                    );
                    let finding = self.finding(
                        &name.0,
                        &name.1,
                        "InvalidCertificateRequest",
                        &ask.field,
                        message,
                    );
                    wishes.findings.extend(finding);
                    continue;
                }
                let (holding, oldest) = *oldest_claims.entry(&ask.id).or_insert((ask, name));
                if !holding.has_terms_of(ask) {
                    let message = format!(
                        "{} asks for the same certificate with another {}: it is made as that says",
                        self.elder(oldest, name),
                        holding.differences(ask)
                    );
                    wishes.findings.extend(self.finding(
                        &name.0,
                        &name.1,
                        "CertificateConflict",
                        &ask.field,
                        message,
                    ));
                }
                let mut about = known.map(|wish| wish.about.clone()).unwrap_or_default();
                about.push(ask.about.clone());
                let wish = self.wish(&name.0, ask, about, hosts.into_iter().collect(), holding);
                wishes.all.insert(ask.id.clone(), wish);
            }
        }
        wishes
    }

    fn wish(
        &self,
        namespace: &Arc<str>,
        ask: &CertificateClaim,
        about: Vec<ObjectRef>,
        hosts: Vec<Box<str>>,
        holding: &CertificateClaim,
    ) -> DesiredCertificate {
        let secret = ask
            .secret
            .as_ref()
            .and_then(|secret| self.secrets.get(&(namespace.clone(), secret.clone())));
        let existing = secret
            .and_then(|secret| Some((secret.holds.as_ref().ok()?.clone(), secret.issuer.clone())));
        DesiredCertificate {
            id: ask.id.clone(),
            about,
            namespace: namespace.clone(),
            secret: ask.secret.clone(),
            hosts,
            issuers: holding.issuers.clone(),
            terms: holding.terms.clone(),
            existing,
        }
    }

    /// The hosts with TLS, and what they are served with.
    pub(super) fn tls_hosts(&self) -> Vec<TlsHost> {
        let mut hosts: BTreeMap<HostPattern, TlsHost> = BTreeMap::new();
        let mut asked: BTreeSet<&HostPattern> = BTreeSet::new();
        // Something to serve is better than something that is on its way.
        let rank = |host: &TlsHost| (host.source != CertificateSource::Local, host.wish.is_some());
        for name in self.by_age(self.compiled.keys()) {
            let (Some(compiled), Some(fact)) = (self.compiled.get(name), self.ingresses.get(name))
            else {
                continue;
            };
            for tls in &compiled.tls {
                if tls.asked {
                    asked.insert(&tls.pattern);
                }
                let host = TlsHost {
                    pattern: tls.pattern.clone(),
                    source: self.tls_source(&name.0, tls.secret.as_ref().filter(|_| tls.usable)),
                    wanted_by: fact.about.clone(),
                    secret_name: tls.secret.as_deref().map(Into::into),
                    wish: tls.ask.clone().filter(|id| self.covers(id, &tls.pattern)),
                };
                // For every host there is the local CA anyway.
                if tls.pattern == HostPattern::Any && host.source == CertificateSource::Local {
                    continue;
                }
                if hosts
                    .get(&tls.pattern)
                    .is_none_or(|known| rank(&host) > rank(known))
                {
                    hosts.insert(tls.pattern.clone(), host);
                }
            }
        }
        // Who writes `*.example.com` under `tls` means the hosts of the rules below it.
        let wild: BTreeMap<HostPattern, (bool, Option<Arc<str>>)> = hosts
            .iter()
            .filter(|(pattern, _)| matches!(pattern, HostPattern::Wildcard(_)))
            .map(|(pattern, host)| {
                (
                    pattern.clone(),
                    (host.source != CertificateSource::Local, host.wish.clone()),
                )
            })
            .collect();
        hosts.retain(|pattern, host| {
            let above = match pattern {
                HostPattern::Exact(host) => host
                    .as_str()
                    .split_once('.')
                    .map(|(_, suffix)| format!("*.{suffix}")),
                HostPattern::Wildcard(_) | HostPattern::Any => None,
            };
            let above = above.and_then(|above| wild.get(&HostPattern::parse(&above).ok()?));
            let Some((served, wish)) = above.filter(|_| !asked.contains(pattern)) else {
                return true;
            };
            host.wish.clone_from(wish);
            !served
        });
        hosts.into_values().collect()
    }

    fn tls_source(&self, namespace: &Arc<str>, secret: Option<&Arc<str>>) -> CertificateSource {
        let secret =
            secret.and_then(|secret| self.secrets.get(&(namespace.clone(), secret.clone())));
        secret
            .and_then(|secret| secret.holds.clone().ok())
            .unwrap_or(CertificateSource::Local)
    }

    /// Whether a wish has come to be, for this host too.
    fn covers(&self, id: &Arc<str>, pattern: &HostPattern) -> bool {
        self.wishes
            .all
            .get(id)
            .is_some_and(|wish| wish.hosts.binary_search(&name(pattern)).is_ok())
    }
}
