//! What this node answers to CAs: which account stands for which name, and the certificates of
//! handshakes that CAs wait for. Everything in one place, so that the map that the data plane reads
//! is always made whole.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use rustls::sign::CertifiedKey;

use super::spec::CertificateSpec;
use crate::{
    pki::CertificateName,
    routing::Host,
    tls::{ChallengeMap, Challenges},
    util::sync::lock,
};

/// The answers by wish.
#[derive(Debug, Default)]
pub(super) struct ChallengeResponder {
    challenges: Arc<Challenges>,
    posted: Mutex<Posted>,
}

#[derive(Debug, Default)]
struct Posted {
    /// Names that HTTP-01 is answered for, by wish.
    hosts: BTreeMap<Arc<str>, Vec<Host>>,
    /// Thumbprint of the account that stands for a wish.
    thumbprints: HashMap<Arc<str>, String>,
    handshakes: BTreeMap<Arc<str>, Vec<(Host, Arc<CertifiedKey>)>>,
}

impl ChallengeResponder {
    pub(super) fn new(challenges: Arc<Challenges>) -> Self {
        Self {
            challenges,
            posted: Mutex::default(),
        }
    }

    pub(super) fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// The wishes are these now. `thumbprint` says which account stands for one that nothing is
    /// posted for yet, or for any of them where the accounts are others.
    pub(super) fn wants(
        &self,
        wants: &[Arc<CertificateSpec>],
        others: bool,
        thumbprint: impl Fn(&CertificateSpec) -> Option<String>,
    ) {
        self.change(|posted| {
            if others {
                posted.thumbprints.clear();
            }
            posted.hosts = wants
                .iter()
                .map(|want| (want.id.clone(), hosts(want)))
                .collect();
            posted
                .thumbprints
                .retain(|id, _| posted.hosts.contains_key(id));
            posted
                .handshakes
                .retain(|id, _| posted.hosts.contains_key(id));
            for want in wants {
                if !posted.thumbprints.contains_key(&want.id)
                    && let Some(thumbprint) = thumbprint(want)
                {
                    posted.thumbprints.insert(want.id.clone(), thumbprint);
                }
            }
        });
    }

    /// This account stands for a wish from now on.
    pub(super) fn answer_http(&self, want: &Arc<str>, thumbprint: &str) {
        self.change(|posted| {
            drop(
                posted
                    .thumbprints
                    .insert(want.clone(), thumbprint.to_owned()),
            );
        });
    }

    /// A CA will come for this handshake.
    pub(super) fn answer_tls(&self, want: &Arc<str>, host: Host, certificate: CertifiedKey) {
        let entry = (host, Arc::new(certificate));
        self.change(|posted| {
            posted
                .handshakes
                .entry(want.clone())
                .or_default()
                .push(entry);
        });
    }

    /// No CA will come for handshakes of a wish any more.
    pub(super) fn withdraw(&self, want: &Arc<str>) {
        self.change(|posted| drop(posted.handshakes.remove(want)));
    }

    fn change(&self, change: impl FnOnce(&mut Posted)) {
        let mut posted = lock(&self.posted);
        change(&mut posted);
        let mut map = ChallengeMap::default();
        for (want, hosts) in &posted.hosts {
            let Some(thumbprint) = posted.thumbprints.get(want) else {
                continue;
            };
            for host in hosts {
                map.answer_http(host.clone(), thumbprint);
            }
        }
        for (host, certificate) in posted.handshakes.values().flatten() {
            map.answer_tls(host, certificate.clone());
        }
        self.challenges.swap(map);
    }
}

/// The hosts of a wish that a CA can ask for over HTTP.
fn hosts(want: &CertificateSpec) -> Vec<Host> {
    let text = |name: &CertificateName| match name {
        CertificateName::Dns(name) => Some(name.to_string()),
        CertificateName::Ip(std::net::IpAddr::V6(v6)) => Some(format!("[{v6}]")),
        CertificateName::Ip(v4) => Some(v4.to_string()),
        CertificateName::Wildcard(_) => None,
    };
    want.names
        .iter()
        .filter_map(|name| Host::parse(&text(name)?).ok())
        .collect()
}
