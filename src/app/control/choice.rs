//! Chooses the certificate that a host is served with: of all that cover the host, the best one.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    acme::engine::active::{ActiveCertificates, CertificatePair},
    controller::TlsHost,
    objects::Key,
    routing::HostPattern,
    tls::Certificate,
    util::time::UnixSeconds,
};

/// A certificate to serve, and its source.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) certificate: Arc<Certificate>,
    pub(super) source: Source,
    /// True if its issuer has revoked it.
    pub(super) is_revoked: bool,
}

/// The source of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The newest of the certificate that the host desires, by this issuer.
    Issued(Arc<str>),
    /// Its predecessor.
    Previous(Arc<str>),
    /// A certificate of the engine for other hosts: its id, and its issuer.
    Other(Box<str>, Arc<str>),
    /// A Secret.
    Secret(Key),
}

/// The usefulness of a certificate for a host, the least useful first.
///
/// Few clients ask whether a certificate was revoked, while all show an error for one that has
/// expired. The message of an expired certificate is clearer than that of the local CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Quality {
    OtherHost,
    Expired,
    Revoked,
    Good,
}

/// All certificates that there are.
pub(super) struct Choices<'a> {
    active: &'a ActiveCertificates,
    /// The time, if it is known.
    now: Option<UnixSeconds>,
    /// The revoked certificates, in DER.
    revoked: HashSet<&'a [u8]>,
    issued_by_name: ByName<'a, (&'a String, &'a CertificatePair)>,
    secrets_by_name: ByName<'a, &'a (Key, Arc<Certificate>)>,
}

/// Certificates by the names in them: of thousands of hosts each asks for those that may cover it.
struct ByName<'a, T> {
    all: Vec<T>,
    /// The numbers of those with a name, and of those with a wildcard over the name.
    names: HashMap<(bool, &'a str), Vec<usize>>,
}

impl<'a, T: Copy> ByName<'a, T> {
    fn new(all: impl Iterator<Item = (&'a Certificate, T)>) -> Self {
        let mut found = Self {
            all: Vec::new(),
            names: HashMap::new(),
        };
        for (certificate, one) in all {
            for name in certificate.names() {
                let key = match name.strip_prefix("*.") {
                    Some(suffix) => (true, suffix),
                    None => (false, &**name),
                };
                found.names.entry(key).or_default().push(found.all.len());
            }
            found.all.push(one);
        }
        found
    }

    /// Returns those that may cover a pattern, in their order.
    fn candidates(&self, pattern: &HostPattern) -> impl Iterator<Item = T> {
        let keys = match pattern {
            HostPattern::Any => [None, None],
            HostPattern::Wildcard(suffix) => [None, Some((true, suffix.as_str()))],
            HostPattern::Exact(host) => {
                let host = host.as_str();
                let suffix = host.split_once('.').map(|(_label, suffix)| (true, suffix));
                [Some((false, host)), suffix]
            }
        };
        let keys = keys.into_iter().flatten();
        let mut numbers: Vec<usize> = keys
            .filter_map(|key| self.names.get(&key))
            .flatten()
            .copied()
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().map(|number| self.all[number])
    }
}

impl<'a> Choices<'a> {
    pub(super) fn new(
        active: &'a ActiveCertificates,
        secrets: &'a [(Key, Arc<Certificate>)],
        now: Option<UnixSeconds>,
    ) -> Self {
        let pairs = active.certificates.values();
        let revoked = pairs
            .filter(|pair| pair.revoked)
            .filter_map(|pair| leaf(&pair.live))
            .collect();
        let issued = active.certificates.iter();
        Self {
            active,
            now,
            revoked,
            issued_by_name: ByName::new(issued.map(|(id, pair)| (&*pair.live, (id, pair)))),
            secrets_by_name: ByName::new(secrets.iter().map(|one| (&*one.1, one))),
        }
    }

    /// Returns the certificate for a host; `secret` is the one of its own Secret. `None` leaves the
    /// host to the local CA.
    pub(super) fn choose(
        &self,
        host: &TlsHost,
        secret: Option<&(Key, Arc<Certificate>)>,
    ) -> Option<Choice> {
        let own = self.own(host, secret);
        if own.as_ref().is_some_and(|(own, _)| *own == Quality::Good) {
            return own.map(|(_, choice)| choice);
        }

        let own = own.map(|(_, choice)| choice);
        match host.pattern {
            // Every certificate would do for it.
            HostPattern::Any => own,
            _ => self.other(host).or(own),
        }
    }

    /// Returns the best of the host's own certificates: of the engine, of its Secret.
    fn own(
        &self,
        host: &TlsHost,
        secret: Option<&(Key, Arc<Certificate>)>,
    ) -> Option<(Quality, Choice)> {
        let id = host.certificate.as_deref();
        let pair = id.and_then(|id| self.active.certificates.get(id));

        let live = pair.map(|pair| (&pair.live, Source::Issued(pair.issuer.clone())));
        let previous = pair.and_then(|pair| {
            let previous = pair.previous.as_ref()?;
            Some((previous, Source::Previous(pair.issuer.clone())))
        });
        // A certificate of the engine is never served for other hosts.
        let of_engine = live
            .into_iter()
            .chain(previous)
            .filter(|(certificate, _)| certificate.covers(&host.pattern));
        let of_secret = secret.map(|(key, one)| (one, Source::Secret(key.clone())));

        let mut best: Option<(Quality, Choice)> = None;
        for (certificate, source) in of_engine.chain(of_secret) {
            let quality = self.quality(certificate, &host.pattern);
            if best.as_ref().is_none_or(|(best, _)| quality > *best) {
                best = Some((quality, self.choice(certificate, source)));
            }
        }
        best
    }

    /// Returns a good certificate that is not the host's own: of the engine, else of a Secret that
    /// an Ingress of the same namespace names. One that no client can trust, because it is
    /// self-signed, is no better than that of the local CA.
    ///
    /// Whoever can write Secrets of one namespace must not choose the certificates of another, so
    /// across namespaces only certificates count that this process obtained by itself.
    fn other(&self, host: &TlsHost) -> Option<Choice> {
        let namespace = &*host.ingress.key.namespace;
        let is_near = |id: &str| id.split_once('/').is_some_and(|(of, _)| of == namespace);
        let is_good = |one: &Certificate| self.quality(one, &host.pattern) == Quality::Good;

        let of_engine = self
            .issued_by_name
            .candidates(&host.pattern)
            .filter(|(id, pair)| is_near(id) || !pair.adopted)
            .filter(|(_, pair)| pair.public && is_good(&pair.live));
        if let Some((id, pair)) = of_engine.max_by_key(|(_, pair)| pair.live.not_after()) {
            let source = Source::Other(id.as_str().into(), pair.issuer.clone());
            return Some(self.choice(&pair.live, source));
        }

        let of_secrets = self
            .secrets_by_name
            .candidates(&host.pattern)
            .filter(|(key, one)| *key.namespace == *namespace && is_good(one))
            .filter(|(_, one)| !one.is_self_signed());
        let (key, certificate) = of_secrets.max_by_key(|(_, one)| one.not_after())?;
        Some(self.choice(certificate, Source::Secret(key.clone())))
    }

    fn quality(&self, certificate: &Certificate, pattern: &HostPattern) -> Quality {
        // While the time is unknown, nothing counts as expired.
        if !certificate.covers(pattern) {
            Quality::OtherHost
        } else if self.now.is_some_and(|now| certificate.not_after() <= now) {
            Quality::Expired
        } else if self.is_revoked(certificate) {
            Quality::Revoked
        } else {
            Quality::Good
        }
    }

    fn is_revoked(&self, certificate: &Certificate) -> bool {
        leaf(certificate).is_some_and(|leaf| self.revoked.contains(leaf))
    }

    fn choice(&self, certificate: &Arc<Certificate>, source: Source) -> Choice {
        Choice {
            certificate: certificate.clone(),
            source,
            is_revoked: self.is_revoked(certificate),
        }
    }
}

impl Choice {
    /// Describes the source for people.
    pub(super) fn describe(&self) -> String {
        match &self.source {
            Source::Issued(issuer) => issuer.to_string(),
            Source::Previous(issuer) => format!("{issuer} (previous)"),
            Source::Other(id, issuer) => format!("{issuer} (certificate {id})"),
            Source::Secret(key) => format!("{}/{}", key.namespace, key.name),
        }
    }
}

fn leaf(certificate: &Certificate) -> Option<&[u8]> {
    certificate.certified().cert.first().map(|leaf| &leaf[..])
}

#[cfg(test)]
mod tests;
