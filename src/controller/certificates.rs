//! The certificates that Ingresses desire, and the source of the certificate of each host.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use super::{
    CertificateSource, DesiredCertificate, ExistingSecret, Finding, Reason, TlsHost,
    compiled::{self, CertificateClaim, Compiled, CompiledIngresses, TlsEntry},
    facts::IngressFact,
    objects::{Name, Objects},
};
use crate::{
    objects::{ObjectRef, secret::Owner},
    pki::CertificateName,
    routing::HostPattern,
};

/// The most names in a certificate. Most users' CA (Let's Encrypt) allows this many.
const MAX_NAMES: usize = 100;

/// The certificates that all Ingresses together desire.
#[derive(Debug, Default)]
pub(super) struct Desired {
    pub(super) all: BTreeMap<Arc<str>, DesiredCertificate>,
    pub(super) findings: Vec<Finding>,
}

/// A host that no public CA issues a certificate for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no CA issues a certificate for {0}: gatelet does not ask for this one")]
pub(super) struct NotCertifiable(HostPattern);

/// Returns the names of a certificate for hosts and addresses. Leaves out [`HostPattern::Any`].
pub(super) fn names(
    hosts: &[HostPattern],
    addresses: &[IpAddr],
) -> Result<BTreeSet<Box<str>>, NotCertifiable> {
    let mut names: BTreeSet<Box<str>> = addresses
        .iter()
        .map(|address| address.to_string().into())
        .collect();

    for pattern in hosts {
        if *pattern == HostPattern::Any {
            continue;
        }
        let Some(name) = CertificateName::of(pattern) else {
            return Err(NotCertifiable(pattern.clone()));
        };
        names.insert(name.to_string().into());
    }

    Ok(names)
}

// === Desired certificates ===

impl Desired {
    /// Merges the claims of all Ingresses, oldest first.
    pub(super) fn merge(objects: &Objects, compiled: &CompiledIngresses) -> Self {
        let mut desired = Self::default();
        // The oldest claim for each certificate, whose terms apply, with its Ingress.
        let mut oldest_claims: BTreeMap<&Arc<str>, (&CertificateClaim, &Name)> = BTreeMap::new();
        let claiming = compiled
            .iter()
            .filter(|(_, one)| !one.claims.is_empty())
            .map(|(name, _)| name);

        for name in objects.by_age(claiming) {
            for claim in compiled.get(name).into_iter().flat_map(|one| &one.claims) {
                let known = desired.all.get(&claim.id);
                let mut hosts = claim.hosts.clone();
                hosts.extend(known.iter().flat_map(|known| known.hosts.iter().cloned()));
                if hosts.len() > MAX_NAMES {
                    let finding = too_many_names(objects, name, claim, hosts.len());
                    desired.findings.extend(finding);
                    continue;
                }

                let (holding, oldest) = *oldest_claims.entry(&claim.id).or_insert((claim, name));
                let main = |issuer: &str| objects.main_issuer(&name.0, issuer);
                let differences = holding.differences(claim, main);
                if !differences.is_empty() {
                    let finding = conflict(objects, (name, claim), oldest, &differences);
                    desired.findings.extend(finding);
                }

                let mut about = known.map(|known| known.about.clone()).unwrap_or_default();
                about.push(claim.about.clone());
                let hosts = hosts.into_iter().collect();
                let certificate = certificate(objects, &name.0, claim, about, hosts, holding);
                desired.all.insert(claim.id.clone(), certificate);
            }
        }
        desired
    }

    /// Returns true if a certificate is desired and includes this host.
    fn covers(&self, id: &Arc<str>, pattern: &HostPattern) -> bool {
        let Some((certificate, name)) = self.all.get(id).zip(CertificateName::of(pattern)) else {
            return false;
        };
        let name: Box<str> = name.to_string().into();
        certificate.hosts.binary_search(&name).is_ok()
    }
}

/// Reports a claim with which its certificate would have too many names.
fn too_many_names(
    objects: &Objects,
    ingress: &Name,
    claim: &CertificateClaim,
    names: usize,
) -> Option<Finding> {
    let message = format!(
        "the certificate would have {names} names, and {MAX_NAMES} is the most: gatelet does not \
         ask for these"
    );
    objects.finding(
        ingress,
        Reason::InvalidCertificateRequest,
        &claim.field,
        message,
    )
}

/// Reports a claim whose terms differ from those of the oldest one.
fn conflict(
    objects: &Objects,
    (ingress, claim): (&Name, &CertificateClaim),
    oldest: &Name,
    differences: &str,
) -> Option<Finding> {
    let message = format!(
        "{} asks for the same certificate with a different {differences}: its terms apply",
        objects.elder(oldest, ingress),
    );
    objects.finding(ingress, Reason::CertificateConflict, &claim.field, message)
}

fn certificate(
    objects: &Objects,
    namespace: &Arc<str>,
    claim: &CertificateClaim,
    about: Vec<ObjectRef>,
    hosts: Vec<Box<str>>,
    holding: &CertificateClaim,
) -> DesiredCertificate {
    let secret = claim
        .secret
        .as_ref()
        .and_then(|secret| objects.secrets.get(&(namespace.clone(), secret.clone())));
    let existing = secret.and_then(|secret| match &secret.holds {
        Ok(CertificateSource::Secret {
            chain, private_key, ..
        }) => Some(ExistingSecret {
            chain: chain.clone(),
            private_key: private_key.clone(),
            issuer: secret.issuer.clone(),
            is_written: secret.is_written,
            is_labelled: secret.owner == Owner::Gatelet,
        }),
        _ => None,
    });

    DesiredCertificate {
        id: claim.id.clone(),
        about,
        namespace: namespace.clone(),
        secret: claim.secret.clone(),
        hosts,
        issuers: holding.issuers.clone(),
        terms: holding.terms.clone(),
        existing,
    }
}

// === Hosts ===

/// Returns the hosts with TLS, each with the source of its certificate.
pub(super) fn tls_hosts(
    objects: &Objects,
    compiled: &CompiledIngresses,
    desired: &Desired,
) -> Vec<TlsHost> {
    // In the order of age, and where that is the same in that of names, which they are in.
    let mut aged: Vec<(&Name, &IngressFact, &Compiled)> =
        compiled::with_facts(compiled, objects).collect();
    aged.sort_by(|(_, one, _), (_, other, _)| one.created.cmp(&other.created));
    let mut entries: Vec<(&Name, &IngressFact, &TlsEntry)> = aged
        .iter()
        .flat_map(|(name, fact, one)| one.tls.iter().map(|entry| (*name, *fact, entry)))
        .collect();
    // Those of the same host stay in the order of age.
    entries.sort_by(|(_, _, one), (_, _, other)| one.pattern.cmp(&other.pattern));

    // A certificate that exists is better than one that is being ordered.
    let rank = |host: &TlsHost| (has_secret(host), host.certificate.is_some());
    let mut hosts: Vec<(TlsHost, bool)> = Vec::with_capacity(entries.len());

    for same in entries.chunk_by(|(_, _, one), (_, _, other)| one.pattern == other.pattern) {
        let is_listed = same.iter().any(|(_, _, entry)| entry.listed);
        let mut best: Option<TlsHost> = None;
        for (name, fact, entry) in same {
            let host = tls_host(objects, desired, &name.0, fact, entry);
            // Every other host has the local CA anyway.
            let is_needed = entry.pattern != HostPattern::Any || has_secret(&host);
            if is_needed && best.as_ref().is_none_or(|best| rank(&host) > rank(best)) {
                best = Some(host);
            }
        }
        hosts.extend(best.map(|host| (host, is_listed)));
    }

    use_wildcards(&mut hosts);
    hosts.into_iter().map(|(host, _)| host).collect()
}

fn tls_host(
    objects: &Objects,
    desired: &Desired,
    namespace: &Arc<str>,
    fact: &IngressFact,
    entry: &TlsEntry,
) -> TlsHost {
    let secret = entry.secret.as_ref().filter(|_| entry.usable);
    let secret =
        secret.and_then(|secret| objects.secrets.get(&(namespace.clone(), secret.clone())));
    let source = secret
        .and_then(|secret| secret.holds.clone().ok())
        .unwrap_or(CertificateSource::Local);

    let claim = entry.claim.clone();
    TlsHost {
        pattern: entry.pattern.clone(),
        source,
        ingress: fact.about.clone(),
        secret_name: entry.secret.as_deref().map(Into::into),
        certificate: claim.filter(|id| desired.covers(id, &entry.pattern)),
    }
}

fn has_secret(host: &TlsHost) -> bool {
    host.source != CertificateSource::Local
}

/// Lets hosts that only rules name use the wildcard above them: `*.example.com` under `tls` stands
/// for the hosts of the rules below it. Each host comes with whether `tls` lists it.
fn use_wildcards(hosts: &mut Vec<(TlsHost, bool)>) {
    let wildcards: BTreeMap<HostPattern, (bool, Option<Arc<str>>)> = hosts
        .iter()
        .filter(|(host, _)| matches!(host.pattern, HostPattern::Wildcard(_)))
        .map(|(host, _)| {
            (
                host.pattern.clone(),
                (has_secret(host), host.certificate.clone()),
            )
        })
        .collect();
    if wildcards.is_empty() {
        return;
    }

    hosts.retain_mut(|(host, is_listed)| {
        let above = match &host.pattern {
            HostPattern::Exact(host) => host
                .as_str()
                .split_once('.')
                .map(|(_, suffix)| format!("*.{suffix}")),
            HostPattern::Wildcard(_) | HostPattern::Any => None,
        };
        let above = above.and_then(|above| wildcards.get(&HostPattern::parse(&above).ok()?));
        let Some((served, certificate)) = above.filter(|_| !*is_listed) else {
            return true;
        };

        host.certificate.clone_from(certificate);
        !served
    });
}
