//! The responses to CAs' challenges on this node: account thumbprints for HTTP-01 and certificates
//! for TLS-ALPN-01. They are kept in one place, so that the data plane always reads a complete map.
//! For HTTP-01, a token whose challenge was published here has the thumbprint of its own account;
//! any other token has that of the host's.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use rustls::sign::CertifiedKey;

use crate::{
    acme::spec::CertificateSpec,
    pki::CertificateName,
    routing::Host,
    tls::{ChallengeMap, Challenges},
    util::sync::lock,
};

/// The largest number of tokens that are kept for a spec: those of two orders with a hundred names
/// each. The oldest are dropped first.
const MOST_TOKENS: usize = 200;

/// The responses by spec.
#[derive(Debug, Default)]
pub(crate) struct ChallengeResponder {
    challenges: Arc<Challenges>,
    posted: Mutex<Posted>,
}

#[derive(Debug, Default)]
struct Posted {
    /// Hosts with HTTP-01 responses, by spec.
    hosts: BTreeMap<Arc<str>, Vec<Host>>,
    /// Thumbprint of the account that responds for a spec.
    thumbprints: HashMap<Arc<str>, String>,
    /// Published HTTP-01 challenges: host, token, and thumbprint of their account.
    tokens: BTreeMap<Arc<str>, VecDeque<(Host, String, String)>>,
    handshakes: BTreeMap<Arc<str>, Vec<(Host, Arc<CertifiedKey>)>>,
}

impl ChallengeResponder {
    pub(crate) fn new(challenges: Arc<Challenges>) -> Self {
        Self {
            challenges,
            posted: Mutex::default(),
        }
    }

    pub(crate) fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// Replaces the specs. `thumbprint` returns the account's for specs without one yet, or for
    /// all specs if the accounts changed (`others`).
    pub(crate) fn specs(
        &self,
        specs: &[Arc<CertificateSpec>],
        others: bool,
        thumbprint: impl Fn(&CertificateSpec) -> Option<String>,
    ) {
        self.change(|posted| {
            if others {
                posted.thumbprints.clear();
            }

            posted.hosts = specs
                .iter()
                .map(|spec| (spec.id.clone(), hosts(spec)))
                .collect();

            posted
                .thumbprints
                .retain(|id, _| posted.hosts.contains_key(id));
            posted.tokens.retain(|id, _| posted.hosts.contains_key(id));
            posted
                .handshakes
                .retain(|id, _| posted.hosts.contains_key(id));

            for spec in specs {
                if !posted.thumbprints.contains_key(&spec.id)
                    && let Some(thumbprint) = thumbprint(spec)
                {
                    posted.thumbprints.insert(spec.id.clone(), thumbprint);
                }
            }
        });
    }

    /// Sets the account that responds to HTTP challenges for a spec, and to this token of a host
    /// whatever other specs the host has.
    pub(crate) fn answer_http(&self, id: &Arc<str>, host: Host, token: &str, thumbprint: &str) {
        let entry = (host, token.to_owned(), thumbprint.to_owned());
        self.change(|posted| {
            posted.thumbprints.insert(id.clone(), thumbprint.to_owned());
            let tokens = posted.tokens.entry(id.clone()).or_default();
            tokens.retain(|known| *known != entry);
            tokens.push_back(entry);
            if tokens.len() > MOST_TOKENS {
                tokens.pop_front();
            }
        });
    }

    /// Adds the certificate for the handshake of a TLS-ALPN-01 challenge.
    pub(crate) fn answer_tls(&self, id: &Arc<str>, host: Host, certificate: CertifiedKey) {
        let entry = (host, Arc::new(certificate));
        self.change(|posted| {
            posted.handshakes.entry(id.clone()).or_default().push(entry);
        });
    }

    /// Removes the handshake certificates of a spec.
    pub(crate) fn withdraw(&self, id: &Arc<str>) {
        self.change(|posted| drop(posted.handshakes.remove(id)));
    }

    fn change(&self, change: impl FnOnce(&mut Posted)) {
        let mut posted = lock(&self.posted);
        change(&mut posted);
        let mut map = ChallengeMap::default();
        for (spec, hosts) in &posted.hosts {
            let Some(thumbprint) = posted.thumbprints.get(spec) else {
                continue;
            };
            for host in hosts {
                map.answer_http(host.clone(), thumbprint);
            }
        }

        for (host, token, thumbprint) in posted.tokens.values().flatten() {
            map.answer_token(host.clone(), token, thumbprint);
        }

        for (host, certificate) in posted.handshakes.values().flatten() {
            map.answer_tls(host, certificate.clone());
        }

        self.challenges.swap(map);
    }
}

/// Returns the hosts of a spec that a CA can request over HTTP.
fn hosts(spec: &CertificateSpec) -> Vec<Host> {
    let text = |name: &CertificateName| match name {
        CertificateName::Dns(name) => Some(name.to_string()),
        CertificateName::Ip(std::net::IpAddr::V6(v6)) => Some(format!("[{v6}]")),
        CertificateName::Ip(v4) => Some(v4.to_string()),
        CertificateName::Wildcard(_) => None,
    };
    spec.names
        .iter()
        .filter_map(|name| Host::parse(&text(name)?).ok())
        .collect()
}
