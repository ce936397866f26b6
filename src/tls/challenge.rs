//! What a CA finds when it checks that names are ours (RFC 8555 section 8): the answers, by host, and who came for them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use arc_swap::ArcSwap;

use crate::routing::Host;

/// A token of HTTP-01 is at most this long here. CAs' have 43 characters (256 bits).
const MAX_TOKEN: usize = 128;

/// A way for a CA to check a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChallengeKind {
    /// A resource below `/.well-known/acme-challenge/` (RFC 8555 section 8.3).
    Http01,
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

/// The answers, swapped live. What is not in it is nobody's: such requests and handshakes go the way of all others.
#[derive(Debug, Default)]
pub struct Challenges {
    map: ArcSwap<ChallengeMap>,
}

/// The answers at one moment.
#[derive(Debug, Default)]
pub struct ChallengeMap {
    http: HashMap<Host, Http>,
}

type Seen = Arc<Mutex<Hits>>;

#[derive(Debug)]
struct Http {
    thumbprint: Box<str>,
    seen: Seen,
}

impl ChallengeMap {
    /// Answers HTTP-01 for a host (or an address as host) with the thumbprint of the account's key (RFC 7638, in
    /// base64url). That proves our account and no other, so it can be said to anybody, for any token, by any node.
    pub fn answer_http(&mut self, host: Host, thumbprint: &str) {
        self.http.insert(host, Http { thumbprint: thumbprint.into(), seen: Seen::default() });
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
        self.map.store(Arc::new(map));
    }

    /// The key authorization for a token (RFC 8555 section 8.1), if the host has an account that answers. `from` is the
    /// client.
    pub fn http(&self, host: &str, token: &str, from: IpAddr) -> Option<String> {
        let map = self.map.load();
        let entry = map.http.get(host)?;
        if !is_token(token) {
            return None;
        }
        hit(&entry.seen, from);
        Some(format!("{token}.{}", entry.thumbprint))
    }

    /// Who came for the answer of a host.
    pub fn hits(&self, host: &Host, kind: ChallengeKind) -> Hits {
        let map = self.map.load();
        let seen = match kind {
            ChallengeKind::Http01 => map.http.get(host).map(|entry| &entry.seen),
        };
        seen.map(|seen| *seen.lock().unwrap_or_else(PoisonError::into_inner)).unwrap_or_default()
    }
}

fn hit(seen: &Seen, from: IpAddr) {
    let mut hits = seen.lock().unwrap_or_else(PoisonError::into_inner);
    *hits = Hits { count: hits.count + 1, last: Some(Instant::now()), from: Some(from) };
}

/// Nothing but base64url is repeated to a client (RFC 8555 section 8.3: a token has no other character).
fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests;
