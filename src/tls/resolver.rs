//! Selects the certificate of a handshake by SNI, from a map that is swapped while connections
//! continue.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use serde::{Deserialize, Serialize};

use super::{Certificate, LocalCa};
use crate::routing::{Host, HostPattern};

/// Treatment of handshakes for an unknown host, or without a server name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownSni {
    /// The default certificate: the one set, else one of the local CA.
    #[default]
    DefaultCertificate,
    /// No handshake (alert `unrecognized_name`).
    Refuse,
}

/// Hosts and their certificates at one moment.
#[derive(Clone, Debug, Default)]
pub struct SniMap {
    exact: HashMap<Host, Entry>,
    wildcard: HashMap<Host, Entry>,
    /// By the local address that a client without SNI connected to.
    addresses: HashMap<IpAddr, Entry>,
    default: Option<Served>,
}

#[derive(Clone, Debug)]
enum Entry {
    Certificate(Served),
    /// The local CA issues for the name that was asked for.
    Local,
}

/// A certificate, and the fields that tell whether a public CA issued it.
#[derive(Clone, Debug)]
struct Served {
    certified: Arc<CertifiedKey>,
    issuer: Box<str>,
    self_signed: bool,
}

impl From<&Certificate> for Served {
    fn from(certificate: &Certificate) -> Self {
        Self {
            certified: certificate.certified().clone(),
            issuer: certificate.issuer().into(),
            self_signed: certificate.is_self_signed(),
        }
    }
}

/// Selects certificates for rustls.
#[derive(Debug)]
pub struct Resolver {
    map: ArcSwap<SniMap>,
    local: Arc<LocalCa>,
    unknown: UnknownSni,
}

impl SniMap {
    /// Serves the certificate for a pattern. An address as host stands for clients without SNI that
    /// connected to it.
    pub fn insert(&mut self, pattern: &HostPattern, certificate: &Certificate) {
        self.put(pattern, Entry::Certificate(certificate.into()));
    }

    /// Serves the certificate to clients without SNI that connected to a local address; where the
    /// address is translated on the way (NAT), that is another one than the certificate names.
    pub fn insert_address(&mut self, local: IpAddr, certificate: &Certificate) {
        self.addresses
            .insert(local.to_canonical(), Entry::Certificate(certificate.into()));
    }

    /// Lets the local CA issue for a pattern.
    pub fn insert_local(&mut self, pattern: &HostPattern) {
        self.put(pattern, Entry::Local);
    }

    /// Serves the certificate where nothing else fits.
    pub fn set_default(&mut self, certificate: &Certificate) {
        self.default = Some(certificate.into());
    }

    fn put(&mut self, pattern: &HostPattern, entry: Entry) {
        match pattern {
            HostPattern::Exact(host) => {
                if let Some(ip) = host.ip() {
                    self.addresses.insert(ip.to_canonical(), entry.clone());
                }
                self.exact.insert(host.clone(), entry);
            }
            HostPattern::Wildcard(suffix) => drop(self.wildcard.insert(suffix.clone(), entry)),
            HostPattern::Any => {
                if let Entry::Certificate(certificate) = entry {
                    self.default = Some(certificate);
                }
            }
        }
    }

    fn find(&self, name: &str) -> Option<&Entry> {
        self.exact.get(name).or_else(|| {
            let (label, suffix) = name.split_once('.')?;
            (!label.is_empty())
                .then(|| self.wildcard.get(suffix))
                .flatten()
        })
    }
}

impl Resolver {
    /// Returns a resolver with an empty map.
    pub fn new(local: Arc<LocalCa>, unknown: UnknownSni) -> Self {
        Self {
            map: ArcSwap::default(),
            local,
            unknown,
        }
    }

    /// Replaces the map for all handshakes from now on.
    pub fn swap(&self, map: SniMap) {
        self.map.store(Arc::new(map));
    }

    /// Returns the certificate for a server name, as a handshake would get it.
    pub fn certificate(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let map = self.map.load();
        match name {
            // rustls hands the name over in lower case and without a trailing dot (RFC 6066 section
            // 3).
            Some(name) => match map.find(name) {
                Some(Entry::Certificate(served)) => return Some(served.certified.clone()),
                Some(Entry::Local) => return self.local.for_host(name),
                None => {}
            },
            // A client without SNI cannot name a host: refusing it would refuse health checks by
            // address.
            None => return self.default(&map),
        }
        match self.unknown {
            UnknownSni::Refuse => None,
            UnknownSni::DefaultCertificate => self.default(&map),
        }
    }

    /// Reports whether any local address has a certificate of its own. Only then does the local
    /// address of a connection matter.
    pub fn has_addresses(&self) -> bool {
        !self.map.load().addresses.is_empty()
    }

    /// Returns the certificate for clients without SNI that connected to a local address, if the
    /// address has one of its own.
    pub fn for_address(&self, local: IpAddr) -> Option<Arc<CertifiedKey>> {
        let local = local.to_canonical();
        match self.map.load().addresses.get(&local)? {
            Entry::Certificate(served) => Some(served.certified.clone()),
            Entry::Local => self.local.for_host(Host::from(local).as_str()),
        }
    }

    /// Reports whether the certificate of a host is self-signed or of the local CA. Browsers let
    /// their user continue then, but not for a host with HSTS (RFC 6797 section 12.1).
    pub fn is_own(&self, host: &str) -> bool {
        let map = self.map.load();
        let served = match map.find(host) {
            Some(Entry::Certificate(served)) => Some(served),
            Some(Entry::Local) => None,
            None => map.default.as_ref(),
        };
        served.is_none_or(|served| served.self_signed || *served.issuer == *self.local.name())
    }

    fn default(&self, map: &SniMap) -> Option<Arc<CertifiedKey>> {
        map.default
            .as_ref()
            .map(|served| served.certified.clone())
            .or_else(|| self.local.fallback())
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match hello.server_name() {
            Some(name) if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                self.certificate(Some(&name.to_ascii_lowercase()))
            }
            name => self.certificate(name),
        }
    }
}
