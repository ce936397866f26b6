//! Renewal times. They follow from the certificate itself, so that lifetimes of ninety days and of
//! six need no setting. The CA's suggestion (ARI, RFC 9773) takes precedence, except close to
//! expiry.

use serde::{Deserialize, Serialize};

use crate::{
    acme::ca::RenewalInfo,
    pki::RenewBefore,
    util::{hash::fnv1a, time::UnixSeconds},
};

/// Certificates with a shorter lifetime than this, in seconds, are renewed after half of it.
const SHORT: i64 = 10 * 86_400;

/// The CA's renewal window for one certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// Start of the window.
    pub start: UnixSeconds,
    /// End of the window.
    pub end: UnixSeconds,
    /// The time within the window that was drawn, once.
    pub chosen: UnixSeconds,
    /// URL of the CA's explanation.
    pub explanation: Option<String>,
}

impl Suggestion {
    /// Returns the suggestion for the CA's current window. An unchanged window keeps its time; for
    /// another one, a time is drawn.
    pub fn take(before: Option<&Self>, window: RenewalInfo, random: u64) -> Self {
        let RenewalInfo { start, end, .. } = window;
        let same = before.filter(|before| (before.start, before.end) == (start, end));
        let drawn = || start + spread(end - start, random);
        Self {
            start,
            end,
            chosen: same.map_or_else(drawn, |same| same.chosen),
            explanation: window.explanation_url,
        }
    }
}

/// The rule that set the renewal time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The CA suggested it.
    Suggested,
    /// The certificate's lifetime, or the spec's own rule.
    Lifetime,
    /// Expiry is close, and the CA suggests a later time.
    Danger,
}

/// The facts about a certificate that decide its renewal time.
#[derive(Clone, Copy, Debug)]
pub struct Life<'a> {
    /// Start of validity.
    pub not_before: UnixSeconds,
    /// End of validity.
    pub not_after: UnixSeconds,
    /// Time at which it was stored.
    pub stored: UnixSeconds,
    /// The CA's suggestion.
    pub suggestion: Option<&'a Suggestion>,
    /// The spec's own rule.
    pub renew_before: Option<RenewBefore>,
    /// The spec's ID, which spreads the renewal times of one device's certificates.
    pub spread_by: &'a str,
}

impl Life<'_> {
    /// Returns the time at which the certificate is due, and the rule that set it.
    pub fn due(&self) -> (UnixSeconds, Why) {
        let length = self.length();
        let base = match self.renew_before {
            Some(RenewBefore::Time(time)) => {
                let before = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
                // A longer time than the lifetime would renew endlessly.
                if before < length {
                    self.not_after - before
                } else {
                    self.usual(length)
                }
            }
            Some(RenewBefore::Percent(percent)) => {
                self.not_after - length / 100 * i64::from(percent.clamp(1, 99))
            }
            None => self.usual(length),
        };

        let (time, why) = match self.suggestion {
            Some(suggestion) if self.renew_before.is_none() => (suggestion.chosen, Why::Suggested),
            Some(suggestion) if suggestion.chosen <= base => (suggestion.chosen, Why::Suggested),
            _ => (base, Why::Lifetime),
        };

        let danger = self.danger();
        let (time, why) = if danger < time {
            (danger, Why::Danger)
        } else {
            (time, why)
        };

        // A certificate that was backdated by most of its lifetime would be due as soon as it is
        // stored, and so would the next one.
        let left = self.not_after - self.stored;
        if why == Why::Suggested || left <= 0 {
            (time, why)
        } else {
            (time.max(self.not_after - left / 10 * 9), why)
        }
    }

    /// Returns the time from which the certificate is renewed before all others.
    pub fn danger(&self) -> UnixSeconds {
        self.not_after - self.length() / 20
    }

    fn length(&self) -> i64 {
        (self.not_after - self.not_before).max(1)
    }

    /// Returns the default renewal time: a third of the lifetime before expiry, or half of a short
    /// one. It is earlier by up to a twentieth, so that certificates of the same age are not all
    /// due within the same hour.
    fn usual(&self, length: i64) -> UnixSeconds {
        let left = if length < SHORT {
            length / 2
        } else {
            length / 3
        };
        let earlier = spread(length / 20, fnv1a(self.spread_by.as_bytes()));
        self.not_after - left - earlier
    }
}

/// Returns a number from 0 to `width`.
pub(super) fn spread(width: i64, random: u64) -> i64 {
    let width = u64::try_from(width).unwrap_or(0);
    i64::try_from(random % (width + 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
