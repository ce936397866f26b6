//! Sticky sessions: the endpoint of a request by its cookie, or by a hash of the request.
//!
//! A cookie has a random key, by which every process finds the same endpoint (rendezvous hashing),
//! and a mark under a secret of this device: the identity of the endpoint, or of the backend. So it
//! names nothing that a client could read, and one that was not issued here only spreads load.

use std::{cell::Cell, num::NonZeroU32, sync::OnceLock};

use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};

use crate::{
    routing::{BackendId, Endpoint, EndpointId, StickyCookie},
    util::{hash::fnv1a, random::mix},
};

/// The digits of a key or a mark.
const DIGITS: usize = 16;
/// The keys that are tried for a new session, until one leads to an endpoint that may take it.
const KEYS: usize = 8;

/// The secret of marks.
#[derive(Debug, Default)]
pub(crate) struct SessionSecret(OnceLock<hmac::Key>);

/// The content of a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    key: u64,
    mark: u64,
}

/// The session of a request to one backend.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    backend: &'a BackendId,
    secret: &'a SessionSecret,
    kind: Kind<'a>,
}

#[derive(Debug)]
enum Kind<'a> {
    Cookie {
        terms: &'a StickyCookie,
        ticket: Option<Ticket>,
        /// The content of a new cookie.
        issued: Cell<Option<Ticket>>,
    },
    Hash {
        key: u64,
        /// The number of endpoints of the key.
        subset: NonZeroU32,
    },
}

impl SessionSecret {
    /// Derives it from another secret of the device, once.
    pub(crate) fn derive(&self, from: &[u8]) {
        let outer = hmac::Key::new(hmac::HMAC_SHA256, from);
        let secret = hmac::sign(&outer, b"gatelet sticky sessions");
        let _ = self
            .0
            .set(hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref()));
    }

    /// Returns the mask of a key: unknown without the secret.
    fn mask(&self, key: u64, backend: &BackendId) -> u64 {
        let secret = self.0.get_or_init(|| {
            let mut bytes = [0; 32];
            let filled = SystemRandom::new().fill(&mut bytes);
            filled.expect("the system has random numbers");
            hmac::Key::new(hmac::HMAC_SHA256, &bytes)
        });
        let mut context = hmac::Context::with_key(secret);
        context.update(&key.to_le_bytes());
        for part in [&*backend.namespace, &*backend.service] {
            context.update(part.as_bytes());
            context.update(b"/");
        }
        context.update(&backend.port.to_le_bytes());

        let mut mask = [0; 8];
        mask.copy_from_slice(&context.sign().as_ref()[..8]);
        u64::from_le_bytes(mask)
    }
}

impl Ticket {
    /// Reads the value of a cookie.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let number = |digits: &[u8]| {
            let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let text = std::str::from_utf8(digits).ok()?;
            let is_number = digits.iter().all(is_digit);
            is_number.then(|| u64::from_str_radix(text, 16).ok())?
        };
        if value.len() != 2 * DIGITS {
            return None;
        }
        let (key, mark) = value.split_at(DIGITS);
        Some(Self {
            key: number(key)?,
            mark: number(mark)?,
        })
    }

    /// Returns the value of its cookie.
    pub(crate) fn text(self) -> String {
        format!("{:016x}{:016x}", self.key, self.mark)
    }

    /// Returns true if it was issued for a backend with these endpoints.
    pub(crate) fn is_of(
        self,
        secret: &SessionSecret,
        terms: &StickyCookie,
        backend: &BackendId,
        list: &[Endpoint],
    ) -> bool {
        let named = self.mark ^ secret.mask(self.key, backend);
        match terms.is_persistent {
            true => list.iter().any(|endpoint| endpoint.id.number() == named),
            false => named == 0,
        }
    }
}

impl<'a> Session<'a> {
    /// Returns the session of a cookie.
    pub(crate) fn of_cookie(
        backend: &'a BackendId,
        secret: &'a SessionSecret,
        terms: &'a StickyCookie,
        ticket: Option<Ticket>,
    ) -> Self {
        let issued = Cell::new(None);
        let kind = Kind::Cookie {
            terms,
            ticket,
            issued,
        };
        Self {
            backend,
            secret,
            kind,
        }
    }

    /// Returns the session of all requests with the same text, at one or several endpoints.
    pub(crate) fn of_text(
        backend: &'a BackendId,
        secret: &'a SessionSecret,
        text: &[u8],
        subset: NonZeroU32,
    ) -> Self {
        let key = fnv1a(text);
        Self {
            backend,
            secret,
            kind: Kind::Hash { key, subset },
        }
    }

    /// Returns the cookie that the client must have from now on.
    pub(crate) fn issued(&self) -> Option<(&'a StickyCookie, Ticket)> {
        match &self.kind {
            Kind::Cookie { terms, issued, .. } => Some((*terms, issued.get()?)),
            Kind::Hash { .. } => None,
        }
    }

    /// Chooses one of the usable endpoints, whatever their weights; `None` if there is none. No
    /// session begins there, as in HAProxy: clients without one have the same endpoint.
    pub(super) fn pick_any(
        &self,
        list: &[Endpoint],
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let (terms, ticket) = match &self.kind {
            Kind::Hash { key, .. } => return best(list, *key, usable),
            Kind::Cookie { terms, ticket, .. } => (*terms, *ticket),
        };
        let Some(ticket) = ticket else {
            return best(list, 0, usable);
        };

        let named = ticket.mark ^ self.secret.mask(ticket.key, self.backend);
        let named = terms.is_persistent.then(|| position(list, named)).flatten();
        let named = named.filter(|index| usable(*index));
        named.or_else(|| best(list, ticket.key, usable))
    }

    /// Chooses one of the usable endpoints that have a weight, or that of the session; `None` if
    /// there is none.
    pub(crate) fn pick(
        &self,
        list: &[Endpoint],
        usable: impl Fn(usize) -> bool,
        random: impl Fn() -> u64,
    ) -> Option<usize> {
        let (terms, ticket, issued) = match &self.kind {
            Kind::Hash { key, subset } if subset.get() == 1 => {
                return best_by_weight(list, *key, usable);
            }
            Kind::Hash { key, subset } => {
                return one_of_best(list, *key, *subset, usable, random());
            }
            Kind::Cookie {
                terms,
                ticket,
                issued,
            } => (*terms, *ticket, issued),
        };
        let Some(ticket) = ticket else {
            return self.begin(terms, issued, list, usable, random);
        };

        let named = ticket.mark ^ self.secret.mask(ticket.key, self.backend);
        let named = terms.is_persistent.then(|| position(list, named));
        let home = match named {
            Some(Some(index)) => Some(index),
            // The endpoint is gone, or another process issued the cookie.
            Some(None) | None => best_by_weight(list, ticket.key, |_| true),
        };

        let is_found = named != Some(None);
        if let Some(home) = home.filter(|home| usable(*home)) {
            if !is_found {
                self.issue(terms, issued, list, home, random());
            }
            return Some(home);
        }

        let next = best_by_weight(list, ticket.key, usable)?;
        if !is_found || terms.change_on_failure {
            self.issue(terms, issued, list, next, random());
        }
        Some(next)
    }

    /// Begins a session at an endpoint that does not end soon.
    fn begin(
        &self,
        terms: &StickyCookie,
        issued: &Cell<Option<Ticket>>,
        list: &[Endpoint],
        usable: impl Fn(usize) -> bool,
        random: impl Fn() -> u64,
    ) -> Option<usize> {
        for _ in 0..KEYS {
            let key = random();
            let home = best_by_weight(list, key, |_| true)?;
            if usable(home) && !list[home].draining {
                self.put(terms, issued, list, home, key);
                return Some(home);
            }
        }

        let key = random();
        let lasts = |index: usize| usable(index) && !list[index].draining;
        let home = best_by_weight(list, key, lasts);
        let home = home.or_else(|| best_by_weight(list, key, &usable))?;
        self.put(terms, issued, list, home, key);
        Some(home)
    }

    /// Issues a cookie for an endpoint. Its key is new: two marks under one key would say something
    /// about each other. Without marks of endpoints it is one that leads there.
    fn issue(
        &self,
        terms: &StickyCookie,
        issued: &Cell<Option<Ticket>>,
        list: &[Endpoint],
        home: usize,
        seed: u64,
    ) {
        let tries = match terms.is_persistent {
            true => 1,
            false => (16 * list.len()).min(512),
        };
        let keys = (0..tries as u64).map(|step| mix(seed.wrapping_add(step)));
        let leads =
            |key: &u64| terms.is_persistent || best_by_weight(list, *key, |_| true) == Some(home);
        if let Some(key) = keys.into_iter().find(leads) {
            self.put(terms, issued, list, home, key);
        }
    }

    fn put(
        &self,
        terms: &StickyCookie,
        issued: &Cell<Option<Ticket>>,
        list: &[Endpoint],
        home: usize,
        key: u64,
    ) {
        let name = match terms.is_persistent {
            true => list[home].id.number(),
            false => 0,
        };
        let mark = name ^ self.secret.mask(key, self.backend);
        issued.set(Some(Ticket { key, mark }));
    }
}

fn position(list: &[Endpoint], number: u64) -> Option<usize> {
    let mut ids = list.iter().map(|endpoint| endpoint.id.number());
    ids.position(|id| id == number)
}

/// Returns the usable endpoint with the highest score for a key (rendezvous hashing): when one
/// comes or goes, only its own share of keys moves.
fn best(list: &[Endpoint], key: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
    let usable = (0..list.len()).filter(|index| usable(*index));
    usable.max_by_key(|index| score(key, list[*index].id))
}

/// Returns the usable endpoint with the highest score for a key, among those with a weight: each is
/// that of as many keys as its weight says.
fn best_by_weight(list: &[Endpoint], key: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
    let usable = |index: &usize| list[*index].weight > 0 && usable(*index);
    if list.iter().all(|endpoint| endpoint.weight <= 1) {
        return best(list, key, |index| usable(&index));
    }

    // The score as a number from 0 to 1, to the power of the weight's inverse (Efraimidis and
    // Spirakis): its logarithm has the same order.
    let rank = |index: &usize| {
        let score = (score(key, list[*index].id) as f64 + 0.5) / 2.0_f64.powi(64);
        score.ln() / f64::from(list[*index].weight)
    };
    let usable = (0..list.len()).filter(usable);
    usable.max_by(|one, other| rank(one).total_cmp(&rank(other)))
}

/// Returns one of the usable endpoints with the highest scores for a key.
fn one_of_best(
    list: &[Endpoint],
    key: u64,
    number: NonZeroU32,
    usable: impl Fn(usize) -> bool,
    random: u64,
) -> Option<usize> {
    let usable = |index: &usize| list[*index].weight > 0 && usable(*index);
    let mut usable: Vec<usize> = (0..list.len()).filter(usable).collect();
    let count = usable.len().min(number.get() as usize);
    let chosen = usize::try_from(random % u64::try_from(count).ok()?.max(1)).ok()?;
    if usable.is_empty() {
        return None;
    }
    let by = |index: &usize| std::cmp::Reverse(score(key, list[*index].id));
    let (_, chosen, _) = usable.select_nth_unstable_by_key(chosen, by);
    Some(*chosen)
}

/// Returns the score of an endpoint for a key.
fn score(key: u64, id: EndpointId) -> u64 {
    mix(key ^ mix(id.number()))
}

#[cfg(test)]
mod tests;
