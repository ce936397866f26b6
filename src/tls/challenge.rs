//! Responses to the challenges of a CA (RFC 8555 section 8), by host, and counters of the clients
//! that fetched them.

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

/// Fetches of a challenge response, by a CA or a client that behaves like one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Number of fetches since the host has a response of this kind.
    pub count: u64,
    /// Time of the last one.
    pub last: Option<Instant>,
    /// Its client, as the PROXY protocol names it where that is used.
    pub from: Option<IpAddr>,
}

/// The challenge responses, swapped live. Other requests and handshakes are routed as usual.
#[derive(Debug, Default)]
pub struct Challenges {
    map: ArcSwap<ChallengeMap>,
}

/// The challenge responses at one moment.
#[derive(Debug, Default)]
pub struct ChallengeMap {
    http: HashMap<Host, Http>,
    /// By the server name that the CA sends.
    tls: HashMap<Box<str>, Tls>,
}

type Seen = Arc<Mutex<Hits>>;

#[derive(Debug)]
struct Http {
    /// For every token without one of its own.
    thumbprint: Box<str>,
    /// Thumbprints by token.
    tokens: HashMap<Box<str>, Box<str>>,
    seen: Seen,
}

#[derive(Debug)]
struct Tls {
    config: Arc<ServerConfig>,
    seen: Seen,
}

/// An error while generating the certificate for a challenge.
#[derive(Debug, thiserror::Error)]
#[error("challenge certificate: {0}")]
pub struct ChallengeError(#[from] rcgen::Error);

impl ChallengeMap {
    /// Responds to HTTP-01 for a host (or an address as host) with the thumbprint of the account's
    /// key (RFC 7638, in base64url). It proves our account alone, so every node may send it
    /// to every client, for any token.
    pub fn answer_http(&mut self, host: Host, thumbprint: &str) {
        self.host(host, thumbprint).thumbprint = thumbprint.into();
    }

    /// Responds to HTTP-01 for a host and one token with the thumbprint of another account's key,
    /// because several accounts may have to prove control of the host at once.
    pub fn answer_token(&mut self, host: Host, token: &str, thumbprint: &str) {
        if is_token(token) {
            let tokens = &mut self.host(host, thumbprint).tokens;
            tokens.insert(token.into(), thumbprint.into());
        }
    }

    fn host(&mut self, host: Host, thumbprint: &str) -> &mut Http {
        self.http.entry(host).or_insert_with(|| Http {
            thumbprint: thumbprint.into(),
            tokens: HashMap::new(),
            seen: Seen::default(),
        })
    }

    /// Responds to TLS-ALPN-01 for a host (or an address as host) with a certificate of
    /// [`challenge_certificate`].
    pub fn answer_tls(&mut self, host: &Host, certificate: impl Into<Arc<CertifiedKey>>) {
        let mut config =
            super::base_config(&[&rustls::version::TLS13, &rustls::version::TLS12], None)
                .with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate.into())));
        config.alpn_protocols = vec![ACME_TLS.to_vec()];
        // A session must not outlive its challenge.
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
    /// Replaces all responses. Hosts that have one before and after keep their hits.
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

    /// Returns the key authorization for a token (RFC 8555 section 8.1), if the host has a
    /// response. `from` is the client.
    pub fn http(&self, host: &str, token: &str, from: IpAddr) -> Option<String> {
        let map = self.map.load();
        let entry = map.http.get(host)?;
        if !is_token(token) {
            return None;
        }
        hit(&entry.seen, from);
        let thumbprint = entry.tokens.get(token).unwrap_or(&entry.thumbprint);
        Some(format!("{token}.{thumbprint}"))
    }

    /// Reports whether any host waits for TLS-ALPN-01. Only then are handshakes inspected.
    pub fn await_tls(&self) -> bool {
        !self.map.load().tls.is_empty()
    }

    /// Reports whether a connection with this server name and these protocols is a CA's that
    /// validates it for us by TLS-ALPN-01.
    pub fn has_tls<'a>(&self, name: &str, protocols: impl Iterator<Item = &'a [u8]>) -> bool {
        self.await_tls() && protocols.eq([ACME_TLS]) && self.map.load().tls.contains_key(name)
    }

    /// Returns the configuration for a CA that validates TLS-ALPN-01: it offers that protocol and
    /// no other (RFC 8737 section 3). `from` is the client.
    pub fn tls(&self, hello: &ClientHello<'_>, from: IpAddr) -> Option<Arc<ServerConfig>> {
        if !hello.alpn()?.eq([ACME_TLS]) {
            return None;
        }
        let map = self.map.load();
        let entry = map.tls.get(hello.server_name()?)?;
        hit(&entry.seen, from);
        Some(entry.config.clone())
    }

    /// Returns the fetches of a host's response.
    pub fn hits(&self, host: &Host, kind: ChallengeKind) -> Hits {
        let map = self.map.load();
        let seen = match kind {
            ChallengeKind::Http01 => map.http.get(host).map(|entry| &entry.seen),
            ChallengeKind::TlsAlpn01 => map.tls.get(&server_name(host)).map(|entry| &entry.seen),
        };
        seen.map(|seen| *lock(seen)).unwrap_or_default()
    }
}

/// Generates the certificate for TLS-ALPN-01 (RFC 8737 section 3): self-signed, for the host alone,
/// with the digest of the key authorization. It is served to a CA only.
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

/// Returns the server name that a CA sends for a host. A server name cannot be an address, so the
/// CA sends the name in the reverse zone (RFC 8738 section 6).
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
