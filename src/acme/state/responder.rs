//! The responses to CAs' challenges on this node: account thumbprints for HTTP-01 and certificates
//! for TLS-ALPN-01. They are kept in one place, so that the data plane always reads a complete map.
//! For HTTP-01, a token whose challenge was published here has the thumbprint of its own account;
//! any other token has that of the host's.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
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
    posted: Mutex<BTreeMap<Arc<str>, Responses>>,
}

/// The responses for a spec.
#[derive(Debug, Default)]
struct Responses {
    /// The hosts with HTTP-01 responses.
    hosts: Vec<Host>,
    /// Thumbprint of the account that responds.
    thumbprint: Option<String>,
    /// Published HTTP-01 challenges: host, token, and thumbprint of their account.
    tokens: VecDeque<(Host, String, String)>,
    /// Published TLS-ALPN-01 challenges.
    handshakes: Vec<(Host, Arc<CertifiedKey>)>,
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
            let mut before = mem::take(posted);
            for spec in specs {
                let mut responses = before.remove(&spec.id).unwrap_or_default();
                responses.hosts = hosts(spec);
                if others || responses.thumbprint.is_none() {
                    responses.thumbprint = thumbprint(spec);
                }
                posted.insert(spec.id.clone(), responses);
            }
        });
    }

    /// Sets the account that responds to HTTP challenges for a spec, and to this token of a host
    /// whatever other specs the host has.
    pub(crate) fn answer_http(&self, id: &Arc<str>, host: Host, token: &str, thumbprint: &str) {
        let entry = (host, token.to_owned(), thumbprint.to_owned());
        self.change(|posted| {
            let responses = posted.entry(id.clone()).or_default();
            responses.thumbprint = Some(thumbprint.to_owned());
            let tokens = &mut responses.tokens;
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
            let responses = posted.entry(id.clone()).or_default();
            responses.handshakes.push(entry);
        });
    }

    /// Removes the handshake certificates of a spec.
    pub(crate) fn withdraw(&self, id: &Arc<str>) {
        self.change(|posted| {
            if let Some(responses) = posted.get_mut(id) {
                responses.handshakes.clear();
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<Arc<str>, Responses>)) {
        let mut posted = lock(&self.posted);
        change(&mut posted);

        let mut map = ChallengeMap::default();
        for responses in posted.values() {
            if let Some(thumbprint) = &responses.thumbprint {
                for host in &responses.hosts {
                    map.answer_http(host.clone(), thumbprint);
                }
            }
            for (host, token, thumbprint) in &responses.tokens {
                map.answer_token(host.clone(), token, thumbprint);
            }
            for (host, certificate) in &responses.handshakes {
                map.answer_tls(host, certificate.clone());
            }
        }

        self.challenges.swap(map);
    }
}

/// Returns the hosts of a spec that a CA can request over HTTP.
fn hosts(spec: &CertificateSpec) -> Vec<Host> {
    let names = spec.names.iter();
    names.filter_map(CertificateName::host).collect()
}
