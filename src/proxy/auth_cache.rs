//! The responses of servers that check logins, as one core remembers them for a time.

use std::{
    collections::HashMap,
    fmt, mem,
    rc::Rc,
    time::{Duration, Instant},
};

use http::StatusCode;
use ring::{hmac, rand::SystemRandom};

use super::request::fields::Fields;

/// Responses that are remembered, in each of two generations.
const REMEMBERED: usize = 256;
/// The most bytes of the fields of one.
const MAX_FIELDS: usize = 4096;

/// The name of a response: a hash, with a key of this process, of the secrets that it is for.
type Name = [u8; 32];

/// The part of a response that decides.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) status: StatusCode,
    /// The fields for the backend, or the challenges for the client.
    pub(super) fields: Fields,
}

/// The memory of one core.
pub(super) struct AuthCache {
    key: hmac::Key,
    young: HashMap<Name, (Instant, Rc<Verdict>)>,
    old: HashMap<Name, (Instant, Rc<Verdict>)>,
}

impl Default for AuthCache {
    fn default() -> Self {
        let random = SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random);
        Self {
            key: key.expect("the system has random numbers"),
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }
}

impl AuthCache {
    /// Returns the name of the response for these parts of a rule, a server and a request.
    pub(super) fn name(&self, parts: &[&[u8]]) -> Name {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&part.len().to_le_bytes());
            context.update(part);
        }
        let mut name = Name::default();
        name.copy_from_slice(context.sign().as_ref());
        name
    }

    /// Returns a response that is remembered.
    pub(super) fn find(&mut self, name: &Name, now: Instant) -> Option<Rc<Verdict>> {
        if let Some((until, verdict)) = self.young.get(name) {
            return (*until > now).then(|| verdict.clone());
        }
        let (until, verdict) = self.old.remove(name)?;
        (until > now).then(|| {
            self.insert(*name, until, verdict.clone());
            verdict
        })
    }

    /// Remembers a response for a time, if it is not too large.
    pub(super) fn remember(
        &mut self,
        name: Name,
        now: Instant,
        lasts: Duration,
        verdict: Rc<Verdict>,
    ) {
        let bytes = |field: super::request::fields::Field<'_>| field.name.len() + field.value.len();
        let is_small = verdict.fields.iter().map(bytes).sum::<usize>() <= MAX_FIELDS;
        if let Some(until) = now.checked_add(lasts).filter(|_| is_small) {
            self.insert(name, until, verdict);
        }
    }

    fn insert(&mut self, name: Name, until: Instant, verdict: Rc<Verdict>) {
        if self.young.len() >= REMEMBERED && !self.young.contains_key(&name) {
            self.old = mem::take(&mut self.young);
        }
        self.old.remove(&name);
        self.young.insert(name, (until, verdict));
    }
}

impl fmt::Debug for AuthCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(bytes: usize) -> Rc<Verdict> {
        let mut fields = Fields::default();
        fields.push(b"x-user", &vec![b'a'; bytes]);
        Rc::new(Verdict {
            status: StatusCode::OK,
            fields,
        })
    }

    #[test]
    fn names_depend_on_the_bounds_of_their_parts() {
        let cache = AuthCache::default();
        assert_eq!(cache.name(&[b"ab", b"c"]), cache.name(&[b"ab", b"c"]));
        assert_ne!(cache.name(&[b"ab", b"c"]), cache.name(&[b"a", b"bc"]));
        assert_ne!(cache.name(&[b"a"]), AuthCache::default().name(&[b"a"]));
    }

    #[test]
    fn a_response_is_forgotten_after_its_time() {
        let (mut cache, now) = (AuthCache::default(), Instant::now());
        let name = cache.name(&[b"a"]);
        let lasts = Duration::from_secs(5);
        assert!(cache.find(&name, now).is_none());

        cache.remember(name, now, lasts, verdict(1));
        assert!(cache.find(&name, now + lasts / 2).is_some());
        assert!(cache.find(&name, now + lasts).is_none());
    }

    #[test]
    fn the_memory_is_bounded() {
        let (mut cache, now) = (AuthCache::default(), Instant::now());
        let lasts = Duration::from_secs(5);
        for number in 0..10 * REMEMBERED {
            let name = cache.name(&[&number.to_le_bytes()]);
            cache.remember(name, now, lasts, verdict(1));
        }
        assert!(cache.young.len() <= REMEMBERED && cache.old.len() <= REMEMBERED);

        let name = cache.name(&[b"large"]);
        cache.remember(name, now, lasts, verdict(MAX_FIELDS));
        assert!(cache.find(&name, now).is_none());
    }
}
