//! When a certificate is to be renewed. Everything follows from the certificate itself, so
//! lifetimes of ninety days and of six need no setting; the CA's own suggestion (ARI, RFC 9773)
//! comes first, and a danger line behind it ignores the CA.

use serde::{Deserialize, Serialize};

use crate::{pki::RenewBefore, util::hash::fnv1a};

/// Certificates that live shorter than this are renewed at half of their life, seconds.
const SHORT: i64 = 10 * 86_400;

/// What the CA suggests for one certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// Begin of the window, seconds since 1970.
    pub start: i64,
    /// Its end.
    pub end: i64,
    /// The moment in it that was drawn, once.
    pub chosen: i64,
    /// Where the CA explains itself.
    pub explanation: Option<String>,
}

impl Suggestion {
    /// Takes in what the CA says now. The same window keeps its moment; another one is drawn from.
    /// `None` for a window that ends before it starts.
    pub fn take(
        before: Option<&Self>,
        start: i64,
        end: i64,
        explanation: Option<String>,
        random: u64,
    ) -> Option<Self> {
        if end < start {
            return None;
        }
        if let Some(before) = before.filter(|before| (before.start, before.end) == (start, end)) {
            return Some(Self {
                explanation,
                ..before.clone()
            });
        }
        let width = u64::try_from(end - start).unwrap_or(0);
        let chosen = start + i64::try_from(random % (width + 1)).unwrap_or(0);
        Some(Self {
            start,
            end,
            chosen,
            explanation,
        })
    }
}

/// Why a certificate is renewed at the moment that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The CA suggested it.
    Suggested,
    /// So much of its life is over.
    Lifetime,
    /// Its end is near whatever the CA suggests.
    Danger,
}

/// The life of a certificate, as far as renewal goes.
#[derive(Clone, Copy, Debug)]
pub struct Life<'a> {
    /// Begin of validity, seconds since 1970.
    pub not_before: i64,
    /// End of validity.
    pub not_after: i64,
    /// The CA's suggestion.
    pub suggestion: Option<&'a Suggestion>,
    /// The wish's own rule.
    pub renew_before: Option<RenewBefore>,
    /// What spreads the certificates of one device: its name for the certificate.
    pub spread_by: &'a str,
}

impl Life<'_> {
    /// The moment from which the certificate is due, and why.
    pub fn due(&self) -> (i64, Why) {
        let length = self.length();
        let base = match self.renew_before {
            Some(RenewBefore::Time(time)) => {
                let before = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
                // A rule that is longer than the life would renew without end.
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
        let (wanted, why) = match self.suggestion {
            Some(suggestion) if self.renew_before.is_none() => (suggestion.chosen, Why::Suggested),
            Some(suggestion) if suggestion.chosen <= base => (suggestion.chosen, Why::Suggested),
            _ => (base, Why::Lifetime),
        };
        let danger = self.danger();
        if danger < wanted {
            (danger, Why::Danger)
        } else {
            (wanted, why)
        }
    }

    /// From this moment on the certificate is renewed before all others.
    pub fn danger(&self) -> i64 {
        self.not_after - self.length() / 20
    }

    fn length(&self) -> i64 {
        (self.not_after - self.not_before).max(1)
    }

    /// A third of the life is left, or half of a short one; earlier by up to a twentieth, so that
    /// the certificates that a device got in one hour are not due in one hour.
    fn usual(&self, length: i64) -> i64 {
        let left = if length < SHORT {
            length / 2
        } else {
            length / 3
        };
        let width = u64::try_from(length / 20).unwrap_or(0);
        let earlier = i64::try_from(fnv1a(self.spread_by.as_bytes()) % (width + 1)).unwrap_or(0);
        self.not_after - left - earlier
    }
}

#[cfg(test)]
mod tests;
