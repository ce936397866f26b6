//! Our own rate limits, below those that Let's Encrypt publishes. They are stored, so that a crash
//! loop cannot use up the limits of a week. Orders over the budget are refused here, with a date,
//! before the CA sees them. Other CAs are limited only in failed validations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::util::time::UnixSeconds;

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;

/// The limit on failed validations of a name; the CA allows five.
const FAILURES: Limit = Limit::new(4, HOUR);
/// The limit on certificates for exactly the same names; the CA allows five.
const CERTIFICATES: Limit = Limit::new(4, WEEK);
/// The limit on orders; the CA allows three hundred.
const ORDERS: Limit = Limit::new(200, ORDERS_COUNT_FOR);
/// The time for which an order counts, in seconds.
pub const ORDERS_COUNT_FOR: i64 = 3 * HOUR;
/// Consecutive failed validations of a name after which the operator has to act; the CA pauses the
/// name at 1,152.
pub const FAILURES_IN_A_ROW: u32 = 500;

/// The largest number of names and of name sets that are kept. The oldest are dropped first.
const REMEMBERED: usize = 2_000;

/// A limit: the most that may happen within a time.
#[derive(Clone, Copy, Debug)]
struct Limit {
    most: usize,
    /// The time in seconds.
    within: i64,
}

/// The used-up limits of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    #[serde(default)]
    failures: BTreeMap<String, Failures>,
    #[serde(default)]
    issued: BTreeMap<String, Vec<UnixSeconds>>,
    #[serde(default)]
    orders: Vec<UnixSeconds>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Failures {
    times: Vec<UnixSeconds>,
    in_a_row: u32,
}

/// The refusal of an attempt that would exceed the budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The exceeded limit, in one sentence.
    pub why: String,
    /// The time from which the attempt is allowed; `None` if the operator has to act.
    pub until: Option<UnixSeconds>,
}

/// The purpose of an order, which decides the limits that apply. Failed validations count for
/// every purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A new certificate, or a replacement before it is due.
    New,
    /// The renewal of a certificate in the second half of its lifetime. No limit for its names may
    /// prevent it; timely renewals stay below the published one.
    Renewal,
    /// An order at a CA that publishes no limits. Its certificates may be valid for minutes.
    Unlimited,
}

impl Budget {
    /// Checks that an order for these names is within the budget at `now`.
    pub fn check(
        &self,
        names: &[String],
        purpose: Purpose,
        now: UnixSeconds,
    ) -> Result<(), Refusal> {
        for name in names {
            let Some(failures) = self.failures.get(base(name)) else {
                continue;
            };
            if failures.in_a_row >= FAILURES_IN_A_ROW {
                let times = failures.in_a_row;
                let why = format!("validation of {name} failed {times} times in a row");
                return Err(Refusal { why, until: None });
            }
            FAILURES.check(&failures.times, now, |most| {
                format!("validation of {name} failed {most} times within an hour")
            })?;
        }

        let issued = self.issued.get(&set(names));
        if let Some(times) = issued.filter(|_| purpose == Purpose::New) {
            CERTIFICATES.check(times, now, |most| {
                format!("{most} certificates for the same names within a week")
            })?;
        }

        if purpose == Purpose::Unlimited {
            return Ok(());
        }
        ORDERS.check(&self.orders, now, |most| {
            format!("{most} orders within three hours")
        })
    }

    /// Counts an order.
    pub fn ordered(&mut self, now: UnixSeconds) {
        self.orders.push(now);
        ORDERS.forget(&mut self.orders, now);
    }

    /// Counts an order from before the start, unless it is already counted.
    pub fn recall(&mut self, at: UnixSeconds) {
        if !self.orders.contains(&at) {
            self.orders.push(at);
        }
    }

    /// Counts a failed validation of a name.
    pub fn failed(&mut self, name: &str, now: UnixSeconds) {
        let failures = self.failures.entry(base(name).to_owned()).or_default();
        failures.times.push(now);
        FAILURES.forget(&mut failures.times, now);
        failures.in_a_row = failures.in_a_row.saturating_add(1);
        drop_oldest(&mut self.failures, |failures| &failures.times);
    }

    /// Counts a certificate for these names, and forgets their failed validations.
    pub fn issued(&mut self, names: &[String], now: UnixSeconds) {
        for name in names {
            self.failures.remove(base(name));
        }

        self.issued.entry(set(names)).or_default().push(now);
        self.issued.retain(|_, times| {
            CERTIFICATES.forget(times, now);
            !times.is_empty()
        });
        drop_oldest(&mut self.issued, |times| times);
    }

    /// Returns the number of failed validations of a name that are left within this hour.
    pub fn failures_left(&self, name: &str, now: UnixSeconds) -> usize {
        let failures = self.failures.get(base(name));
        FAILURES.left(failures.map_or(&[], |failures| &failures.times), now)
    }

    /// Returns the number of certificates for exactly these names that are left within this week.
    pub fn certificates_left(&self, names: &[String], now: UnixSeconds) -> usize {
        let issued = self.issued.get(&set(names));
        CERTIFICATES.left(issued.map_or(&[], Vec::as_slice), now)
    }

    /// Resets the consecutive failures of these names, after the operator has acted.
    pub fn forgive(&mut self, names: &[String]) {
        for name in names {
            if let Some(failures) = self.failures.get_mut(base(name)) {
                failures.in_a_row = 0;
            }
        }
    }
}

impl Limit {
    const fn new(most: usize, within: i64) -> Self {
        Self { most, within }
    }

    /// Refuses one more than the limit allows, until it is allowed again.
    fn check(
        self,
        times: &[UnixSeconds],
        now: UnixSeconds,
        why: impl FnOnce(usize) -> String,
    ) -> Result<(), Refusal> {
        let mut counted: Vec<UnixSeconds> = self.counted(times, now).collect();
        counted.sort_unstable();
        let index = counted.len().checked_sub(self.most);
        match index.and_then(|index| counted.get(index)) {
            Some(time) => Err(Refusal {
                why: why(self.most),
                until: Some(*time + self.within),
            }),
            None => Ok(()),
        }
    }

    /// Returns how many more are allowed.
    fn left(self, times: &[UnixSeconds], now: UnixSeconds) -> usize {
        self.most.saturating_sub(self.counted(times, now).count())
    }

    /// Returns the times that count. Those in the future were recorded by a wrong clock and count
    /// as now.
    fn counted(self, times: &[UnixSeconds], now: UnixSeconds) -> impl Iterator<Item = UnixSeconds> {
        let recent = times.iter().filter(move |time| **time > now - self.within);
        recent.map(move |time| (*time).min(now))
    }

    /// Forgets the times that no longer count.
    fn forget(self, times: &mut Vec<UnixSeconds>, now: UnixSeconds) {
        times.retain(|time| *time > now - self.within);
        let extra = times.len().saturating_sub(1_000);
        times.drain(..extra);
    }
}

/// Returns the name without `*.`, because CAs count a wildcard's failures with its base name's.
fn base(name: &str) -> &str {
    name.strip_prefix("*.").unwrap_or(name)
}

fn set(names: &[String]) -> String {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.join(" ")
}

/// Drops the entries with the oldest times until [`REMEMBERED`] are left.
fn drop_oldest<T>(entries: &mut BTreeMap<String, T>, times: impl Fn(&T) -> &Vec<UnixSeconds>) {
    while entries.len() > REMEMBERED {
        let oldest = entries.iter().min_by_key(|(_, one)| times(one).last());
        let Some(key) = oldest.map(|(key, _)| key.clone()) else {
            break;
        };
        entries.remove(&key);
    }
}

#[cfg(test)]
mod tests;
