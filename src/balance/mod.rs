//! Chooses an endpoint: round robin or least request, and without the ejected ones. Time and
//! randomness are arguments.

use std::time::{Duration, Instant};

use crate::util::random::{STEP, below};

/// The limits at which an endpoint that refuses connections is ejected.
#[derive(Clone, Copy, Debug)]
pub struct EjectPolicy {
    /// Consecutive failures before the ejection.
    pub after: u32,
    /// Duration of the first ejection. Each further one lasts twice as long, at most ten times
    /// this.
    pub first: Duration,
}

/// Failures of one endpoint and its ejection.
#[derive(Clone, Debug, Default)]
pub struct Outlier {
    in_a_row: u32,
    ejections: u32,
    until: Option<Instant>,
}

impl Outlier {
    /// Counts a connection that was refused or timed out. Returns whether this ejects the endpoint.
    pub fn failed(&mut self, now: Instant, policy: EjectPolicy) -> bool {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row < policy.after || self.is_ejected(now) {
            return false;
        }
        let factor = 1_u32
            .checked_shl(self.ejections)
            .unwrap_or(u32::MAX)
            .min(10);
        self.ejections = self.ejections.saturating_add(1);
        self.until = Some(now + policy.first * factor);
        true
    }

    /// Forgets all failures, because the endpoint has responded.
    pub fn succeeded(&mut self) {
        if self.in_a_row != 0 || self.ejections != 0 {
            *self = Self::default();
        }
    }

    /// Returns true if the last connection failed.
    pub fn has_failed(&self) -> bool {
        self.in_a_row != 0
    }

    /// Reports whether the endpoint is ejected at this time.
    pub fn is_ejected(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// The next index in turn after `turn` that is usable.
pub fn round_robin(turn: usize, len: usize, usable: impl Fn(usize) -> bool) -> Option<usize> {
    (0..len)
        .map(|step| (turn.wrapping_add(step)) % len)
        .find(|index| usable(*index))
}

/// Returns the one with the smaller load of two usable indices picked by `random`. Falls back to a
/// scan when few are usable.
pub fn least_request(
    random: u64,
    len: usize,
    usable: impl Fn(usize) -> bool,
    load: impl Fn(usize) -> u32,
) -> Option<usize> {
    let first = round_robin((random & 0xffff_ffff) as usize, len, &usable)?;
    let second = round_robin((random >> 32) as usize, len, &usable)?;
    Some(if load(second) < load(first) {
        second
    } else {
        first
    })
}

/// Returns the index that `random` picks, each as often as its weight says; `None` if all weights
/// are 0.
pub fn weighted(random: u64, weights: impl Iterator<Item = u16> + Clone) -> Option<usize> {
    let total: u64 = weights.clone().map(u64::from).sum();
    let mut at = below(random, total);

    for (index, weight) in weights.enumerate() {
        let weight = u64::from(weight);
        if at < weight {
            return Some(index);
        }
        at -= weight;
    }

    None
}

/// Returns a number for each turn, so that [`weighted`] picks the indices nearly as often as their
/// weights say in any row of turns: the multiples of the golden ratio.
pub fn spread(turn: usize) -> u64 {
    (turn as u64).wrapping_mul(STEP)
}

/// Returns the one with the smaller load for its weight of two indices that [`weighted`] picks.
pub fn least_weighted(
    randoms: [u64; 2],
    weights: impl Iterator<Item = u16> + Clone,
    load: impl Fn(usize) -> u32,
) -> Option<usize> {
    let weight = |index: usize| u64::from(weights.clone().nth(index).unwrap_or(0));
    let first = weighted(randoms[0], weights.clone())?;
    let second = weighted(randoms[1], weights.clone())?;

    let product = |load: u32, weight: u64| u64::from(load) * weight;
    let is_less = product(load(second), weight(first)) < product(load(first), weight(second));
    Some(if is_less { second } else { first })
}

#[cfg(test)]
mod tests;
