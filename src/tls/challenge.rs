//! What a CA finds when it checks that names are ours (RFC 8555 section 8): the answers, by host,
//! and who came for them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Instant,
};

use arc_swap::ArcSwap;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, NoServerSessionStorage},
    sign::{CertifiedKey, SingleCertAndKey},
};

use crate::{routing::Host, util::sync::lock};

/// The protocol that TLS-ALPN-01 is asked for by (RFC 8737 section 6.2).
const ACME_TLS: &[u8] = b"acme-tls/1";

/// A token of HTTP-01 is at most this long here. CAs' have 43 characters (256 bits).
const MAX_TOKEN: usize = 128;

/// A way for a CA to check a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChallengeKind {
    /// A resource below `/.well-known/acme-challenge/` (RFC 8555 section 8.3).
    Http01,
    /// A certificate in a handshake for the protocol `acme-tls/1` (RFC 8737).
    TlsAlpn01,
}

/// How often a CA, or somebody who behaves like one, came for an answer and got it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Times since the host has an answer of this kind.
    pub count: u64,
    /// The last time.
    pub last: Option<Instant>,
    /// Who came then (as PROXY protocol said, if it did).
    pub from: Option<IpAddr>,
}

/// The answers, swapped live. What is not in it is nobody's: such requests and handshakes go the
/// way of all others.
#[derive(Debug, Default)]
pub struct Challenges {
    map: ArcSwap<ChallengeMap>,
}

/// The answers at one moment.
#[derive(Debug, Default)]
pub struct ChallengeMap {
    http: HashMap<Host, Http>,
    /// By the server name that the CA sends.
    tls: HashMap<Box<str>, Tls>,
}

type Seen = Arc<Mutex<Hits>>;

#[derive(Debug)]
struct Http {
    thumbprint: Box<str>,
    seen: Seen,
}

#[derive(Debug)]
struct Tls {
    config: Arc<ServerConfig>,
    seen: Seen,
}

/// Why there is no certificate for a challenge.
#[derive(Debug, thiserror::Error)]
#[error("challenge certificate: {0}")]
pub struct ChallengeError(#[from] rcgen::Error);

impl ChallengeMap {
    /// Answers HTTP-01 for a host (or an address as host) with the thumbprint of the account's key
    /// (RFC 7638, in base64url). That proves our account and no other, so it can be said to
    /// anybody, for any token, by any node.
    pub fn answer_http(&mut self, host: Host, thumbprint: &str) {
        self.http.insert(
            host,
            Http {
                thumbprint: thumbprint.into(),
                seen: Seen::default(),
            },
        );
    }

    /// Answers TLS-ALPN-01 for a host (or an address as host) with what [`challenge_certificate`]
    /// made for it.
    pub fn answer_tls(&mut self, host: &Host, certificate: impl Into<Arc<CertifiedKey>>) {
        let mut config = super::base_config(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate.into())));
        config.alpn_protocols = vec![ACME_TLS.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        self.tls.insert(
            server_name(host),
            Tls {
                config: Arc::new(config),
                seen: Seen::default(),
            },
        );
    }
}

impl Challenges {
    /// Replaces all answers. Hosts that have one before and after keep their hits.
    pub fn swap(&self, mut map: ChallengeMap) {
        let now = self.map.load();
        for (host, entry) in &mut map.http {
            if let Some(before) = now.http.get(host) {
                entry.seen = before.seen.clone();
            }
        }
        for (name, entry) in &mut map.tls {
            if let Some(before) = now.tls.get(name) {
                entry.seen = before.seen.clone();
            }
        }
        self.map.store(Arc::new(map));
    }

    /// The key authorization for a token (RFC 8555 section 8.1), if the host has an account that
    /// answers. `from` is the client.
    pub fn http(&self, host: &str, token: &str, from: IpAddr) -> Option<String> {
        let map = self.map.load();
        let entry = map.http.get(host)?;
        if !is_token(token) {
            return None;
        }
        hit(&entry.seen, from);
        Some(format!("{token}.{}", entry.thumbprint))
    }

    /// Whether any host waits for TLS-ALPN-01: the one case in which a handshake need be looked at.
    pub fn await_tls(&self) -> bool {
        !self.map.load().tls.is_empty()
    }

    /// What to speak with a CA that comes for TLS-ALPN-01: it offers that protocol and no other
    /// (RFC 8737 section 3). `from` is the client.
    pub fn tls(&self, hello: &ClientHello<'_>, from: IpAddr) -> Option<Arc<ServerConfig>> {
        if !hello.alpn()?.eq([ACME_TLS]) {
            return None;
        }
        let map = self.map.load();
        let entry = map.tls.get(hello.server_name()?)?;
        hit(&entry.seen, from);
        Some(entry.config.clone())
    }

    /// Who came for the answer of a host.
    pub fn hits(&self, host: &Host, kind: ChallengeKind) -> Hits {
        let map = self.map.load();
        let seen = match kind {
            ChallengeKind::Http01 => map.http.get(host).map(|entry| &entry.seen),
            ChallengeKind::TlsAlpn01 => map.tls.get(&server_name(host)).map(|entry| &entry.seen),
        };
        seen.map(|seen| *lock(seen)).unwrap_or_default()
    }
}

/// The certificate that answers TLS-ALPN-01 (RFC 8737 section 3): self-signed, for the host alone,
/// with the digest of the key authorization. To be shown to a CA only.
pub fn challenge_certificate(
    host: &Host,
    key_authorization: &str,
) -> Result<CertifiedKey, ChallengeError> {
    let name = host
        .ip()
        .map_or_else(|| host.to_string(), |ip| ip.to_string());
    let mut params = CertificateParams::new(vec![name])?;
    params.distinguished_name = super::distinguished("ACME challenge");
    let digest = ring::digest::digest(&ring::digest::SHA256, key_authorization.as_bytes());
    params
        .custom_extensions
        .push(CustomExtension::new_acme_identifier(digest.as_ref()));
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = super::provider()
        .key_provider
        .load_private_key(key)
        .map_err(|_never| rcgen::Error::CouldNotParseKeyPair)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

/// What a CA sends as server name for a host. A server name cannot be an address, so there it is
/// the name of the reverse zone (RFC 8738 section 6).
fn server_name(host: &Host) -> Box<str> {
    match host.ip() {
        None => host.as_str().into(),
        Some(IpAddr::V4(v4)) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa").into()
        }
        Some(IpAddr::V6(v6)) => {
            let nibbles = v6
                .octets()
                .into_iter()
                .rev()
                .map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4));
            (nibbles.collect::<String>() + "ip6.arpa").into()
        }
    }
}

fn hit(seen: &Seen, from: IpAddr) {
    let mut hits = lock(seen);
    *hits = Hits {
        count: hits.count + 1,
        last: Some(Instant::now()),
        from: Some(from),
    };
}

/// Nothing but base64url is repeated to a client (RFC 8555 section 8.3: a token has no other
/// character).
fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests;
