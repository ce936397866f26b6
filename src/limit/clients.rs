//! Counts the requests of clients over all cores: how fast they come, and how many are in flight.
//!
//! A key is a limit and the network of a client. Rates are kept for a bounded number of keys: those
//! that were idle for the longest time go first.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    mem,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::{
    routing::{Limits, RATES, Rate},
    util::sync::lock,
};

/// Locks that share the keys out; more than cores, so that two rarely meet.
const SHARDS: usize = 16;
/// Keys with a rate in each shard, in each of two generations: about 3 MB in all.
const KEPT: usize = 1024;

/// The clients of all limits.
#[derive(Debug)]
pub struct Clients<K> {
    hasher: RandomState,
    shards: [Mutex<Shard<K>>; SHARDS],
}

/// A request in flight; dropping it gives its place back.
#[derive(Debug)]
pub struct Place<K: Eq + Hash> {
    of: Arc<Clients<K>>,
    key: Option<K>,
}

/// The reason why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// They come too fast: the next one is admitted after this time.
    Fast(Duration),
    /// As many are in flight as may be.
    InFlight,
}

#[derive(Debug)]
struct Shard<K> {
    /// For each rate the time by which all requests so far would have come at an even pace.
    young: HashMap<K, [Instant; RATES]>,
    old: HashMap<K, [Instant; RATES]>,
    in_flight: HashMap<K, u32>,
}

impl<K> Default for Clients<K> {
    fn default() -> Self {
        let shard = |_| {
            Mutex::new(Shard {
                young: HashMap::new(),
                old: HashMap::new(),
                in_flight: HashMap::new(),
            })
        };
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(shard),
        }
    }
}

impl<K: Clone + Eq + Hash> Clients<K> {
    /// Admits a request, if each limit of its key does. The place is `None` if there is no limit of
    /// requests in flight.
    ///
    /// # Errors
    /// If there are too many requests. They count for no limit then.
    pub fn admit(
        self: &Arc<Self>,
        key: K,
        limits: &Limits,
        now: Instant,
    ) -> Result<Option<Place<K>>, TooMany> {
        let mut shard = lock(&self.shards[self.index(&key)]);
        let count = shard.in_flight.get(&key).copied().unwrap_or_default();
        if limits.in_flight.is_some_and(|most| count >= most) {
            return Err(TooMany::InFlight);
        }

        if limits.rates.iter().any(Option::is_some) {
            shard.pace(key.clone(), &limits.rates, now)?;
        }

        if limits.in_flight.is_none() {
            return Ok(None);
        }

        shard.in_flight.insert(key.clone(), count + 1);
        drop(shard);
        Ok(Some(Place {
            of: self.clone(),
            key: Some(key),
        }))
    }

    /// Returns the number of keys with a rate.
    pub fn kept(&self) -> usize {
        let kept = self.shards.iter().map(|shard| {
            let shard = lock(shard);
            shard.young.len() + shard.old.len()
        });
        kept.sum()
    }
}

impl<K: Eq + Hash> Clients<K> {
    fn index(&self, key: &K) -> usize {
        // The maps use the low bits and the seven highest ones.
        (self.hasher.hash_one(key) >> 40) as usize % SHARDS
    }

    fn leave(&self, key: K) {
        let mut shard = lock(&self.shards[self.index(&key)]);
        if let std::collections::hash_map::Entry::Occupied(mut entry) = shard.in_flight.entry(key) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.of.leave(key);
        }
    }
}

impl<K: Eq + Hash> Shard<K> {
    fn pace(&mut self, key: K, rates: &[Option<Rate>; RATES], now: Instant) -> Result<(), TooMany> {
        let known = self.young.get(&key).or_else(|| self.old.get(&key));
        let known = known.copied().unwrap_or([now; RATES]);
        let paced = after(known, rates, now);

        if !self.young.contains_key(&key) && self.young.len() >= KEPT {
            self.old = mem::take(&mut self.young);
        }
        self.old.remove(&key);
        // Refused requests keep the key too: it is in use.
        self.young.insert(key, paced.unwrap_or(known));
        paced.map(|_admitted| ())
    }
}

/// Returns the times after a request: a leaky bucket for each rate, as those of nginx without a
/// delay.
fn after(
    known: [Instant; RATES],
    rates: &[Option<Rate>; RATES],
    now: Instant,
) -> Result<[Instant; RATES], TooMany> {
    let mut even = known;
    for (even, rate) in even.iter_mut().zip(rates) {
        let Some(rate) = rate else {
            continue;
        };
        let early = even.saturating_duration_since(now);
        let most = rate.interval.saturating_mul(rate.burst);
        if early > most {
            return Err(TooMany::Fast(early - most));
        }

        let after = (*even).max(now).checked_add(rate.interval);
        *even = after.unwrap_or(now);
    }
    Ok(even)
}

#[cfg(test)]
mod tests;
