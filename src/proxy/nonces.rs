//! The nonces of digest logins (RFC 7616 section 5.4). A nonce has its time and a mark of ours, so
//! that those that were never used take no memory. Those that were used are remembered with the
//! counts that have come, so that no request counts twice.

use std::{
    collections::HashMap,
    fmt,
    sync::Mutex,
    time::{Duration, Instant},
};

use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};

use crate::util::{hex, sync::lock};

/// The time for which a nonce counts.
const LASTS: Duration = Duration::from_secs(3600);
/// The most nonces in use; beyond that, the oldest ones count no more.
const KEPT: usize = 4096;
/// The bytes of a nonce: its time, a number, and its mark.
const LENGTH: usize = 32;

/// The nonces of all cores.
pub(super) struct Nonces {
    key: hmac::Key,
    born: Instant,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    /// By time and number.
    counts: HashMap<[u8; 16], Counts>,
    /// The time in milliseconds before which none counts.
    floor: u64,
}

/// The counts that came with a nonce: the highest one, and which of the 64 before it.
#[derive(Clone, Copy, Default)]
struct Counts {
    highest: u64,
    before: u64,
}

impl Default for Nonces {
    fn default() -> Self {
        let mut bytes = [0; 32];
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.expect("the system has random numbers");
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
            born: Instant::now(),
            used: Mutex::default(),
        }
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces")
    }
}

impl Nonces {
    /// Makes a nonce, given random bits.
    pub(super) fn issue(&self, now: Instant, random: u64) -> String {
        let mut name = [0; 16];
        name[..8].copy_from_slice(&self.time(now).to_be_bytes());
        name[8..].copy_from_slice(&random.to_be_bytes());

        let mark = hmac::sign(&self.key, &name);
        let mut all = name.to_vec();
        all.extend_from_slice(&mark.as_ref()[..LENGTH - name.len()]);
        hex::encode(&all)
    }

    /// Takes the count of a request whose digest is right. Returns false if the nonce is not ours,
    /// too old, or has come with this count before.
    pub(super) fn accept(&self, nonce: &str, count: u64, now: Instant) -> bool {
        let bytes = hex::decode(nonce).filter(|bytes| bytes.len() == LENGTH);
        let Some((name, mark)) = bytes.as_deref().and_then(|all| all.split_at_checked(16)) else {
            return false;
        };
        let signed = hmac::sign(&self.key, name);
        let differs = mark.iter().zip(signed.as_ref());
        // It is in the digest too: how long this takes tells nothing.
        if differs.into_iter().any(|(one, other)| one != other) {
            return false;
        }

        let mut name_of = [0; 16];
        name_of.copy_from_slice(name);
        let issued = time_of(&name_of);
        let oldest = self.time(now).saturating_sub(millis(LASTS));
        let mut used = lock(&self.used);
        if issued < oldest.max(used.floor) {
            return false;
        }
        if !used.counts.contains_key(&name_of) && used.counts.len() >= KEPT {
            used.forget(oldest);
        }
        used.counts.entry(name_of).or_default().take(count)
    }

    /// Returns a time in milliseconds since the start.
    fn time(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.born))
    }
}

impl Used {
    /// Forgets nonces that are too old, or else the older half. Those count no more.
    fn forget(&mut self, oldest: u64) {
        self.counts.retain(|name, _| time_of(name) >= oldest);
        if self.counts.len() < KEPT {
            return;
        }
        let mut times: Vec<u64> = self.counts.keys().map(time_of).collect();
        times.sort_unstable();
        self.floor = times[KEPT / 2] + 1;
        let floor = self.floor;
        self.counts.retain(|name, _| time_of(name) >= floor);
    }
}

impl Counts {
    /// Takes a count; false if it came before, or is too far behind.
    fn take(&mut self, count: u64) -> bool {
        if count == 0 {
            return false;
        }
        if count > self.highest {
            let by = count - self.highest;
            let shifted = self
                .before
                .checked_shl(u32::try_from(by).unwrap_or(u32::MAX));
            // The highest so far is one of those before it now.
            let last = match by {
                1..=64 if self.highest > 0 => 1 << (by - 1),
                _ => 0,
            };
            (self.highest, self.before) = (count, shifted.unwrap_or_default() | last);
            return true;
        }

        let behind = self.highest - count;
        if behind == 0 || behind > 64 {
            return false;
        }
        let bit = 1 << (behind - 1);
        let is_new = self.before & bit == 0;
        self.before |= bit;
        is_new
    }
}

fn time_of(name: &[u8; 16]) -> u64 {
    let mut time = [0; 8];
    time.copy_from_slice(&name[..8]);
    u64::from_be_bytes(time)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_taken_once() {
        let nonces = Nonces::default();
        let now = nonces.born + Duration::from_secs(1);
        let nonce = nonces.issue(now, 7);
        for (count, expected) in [
            (1, true),
            (1, false),
            (3, true),
            (2, true),
            (2, false),
            (0, false),
            (100, true),
            (3, false),
            (99, true),
            (36, true),
            (35, false),
            (u64::MAX, true),
            (u64::MAX, false),
            (100, false),
        ] {
            assert_eq!(nonces.accept(&nonce, count, now), expected, "{count}");
        }
        assert!(nonces.accept(&nonces.issue(now, 8), 1, now));
    }

    #[test]
    fn nonces_are_ours_and_end() {
        let (nonces, other) = (Nonces::default(), Nonces::default());
        let now = nonces.born + Duration::from_secs(1);
        let nonce = nonces.issue(now, 7);
        assert!(!nonces.accept(&other.issue(now, 7), 1, now));
        for wrong in ["", "x", &nonce[1..], &nonce[2..], &format!("{nonce}00")] {
            assert!(!nonces.accept(wrong, 1, now), "{wrong}");
        }
        assert!(!nonces.accept(&nonce.replacen('7', "8", 1), 1, now));
        assert!(nonces.accept(&nonce, 1, now + LASTS));
        let late = Duration::from_millis(1);
        assert!(!nonces.accept(&nonce, 2, now + LASTS + late));
    }

    #[test]
    fn those_in_use_are_bounded() {
        let nonces = Nonces::default();
        let at = |n: usize| nonces.born + Duration::from_millis(n as u64);
        let all: Vec<String> = (0..=KEPT).map(|n| nonces.issue(at(n), n as u64)).collect();
        for (n, nonce) in all.iter().enumerate() {
            assert!(nonces.accept(nonce, 1, at(n)), "{n}");
        }
        let now = at(KEPT);
        assert!(
            !nonces.accept(&all[0], 2, now),
            "forgotten ones count no more"
        );
        assert!(!nonces.accept(&all[KEPT], 1, now));
        assert!(nonces.accept(&all[KEPT], 2, now));
        assert!(lock(&nonces.used).counts.len() <= KEPT);
    }
}
