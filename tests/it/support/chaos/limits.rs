//! The rate limits of Let's Encrypt, as token buckets on the CA's own clock.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::{problem::Problem, state::Identifier};

/// A published limit: a bucket's size and the time for one token to come back.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Limit {
    name: &'static str,
    size: i64,
    refill: SignedDuration,
}

const ACCOUNTS: Limit = limit("new accounts per address", 10, 18 * 60_000);
const ORDERS: Limit = limit("new orders per account", 300, 36_000);
const DOMAIN: Limit = limit("certificates per registered domain", 50, 202 * 60_000);
const EXACT_SET: Limit = limit("certificates per exact set", 5, 34 * 3_600_000);
const FAILURES: Limit = limit("failed authorizations", 5, 12 * 60_000);
pub(super) const NONCE_RATE: Limit = limit("new-nonce requests per second", 20, 50);
pub(super) const ORDER_RATE: Limit = limit("new-order requests per second", 300, 3);
pub(super) const DIRECTORY_RATE: Limit = limit("directory requests per second", 40, 25);

const fn limit(name: &'static str, size: i64, refill: i64) -> Limit {
    Limit {
        name,
        size,
        refill: SignedDuration::from_millis(refill),
    }
}

/// The counters.
#[derive(Default)]
pub(super) struct Limits {
    /// The time at which each bucket is full again.
    full_at: HashMap<(Limit, String), Timestamp>,
    /// Failures in a row, with the time of the last one: one per day is forgiven.
    in_a_row: HashMap<(u64, String), (u32, Timestamp)>,
    paused: HashSet<(u64, String)>,
    /// The violations: requests that the limits would have refused.
    pub(super) violations: Vec<String>,
}

impl Limits {
    /// Counts a request, or refuses it without counting.
    pub(super) fn spend(&mut self, limit: Limit, key: &str, now: Timestamp) -> Result<(), Problem> {
        self.check(limit, key, now)?;
        let full_at = self.full_at.entry((limit, key.to_owned())).or_insert(now);
        *full_at = (*full_at).max(now) + limit.refill;
        Ok(())
    }

    pub(super) fn new_account(&mut self, now: Timestamp) -> Result<(), Problem> {
        self.spend(ACCOUNTS, "127.0.0.1", now)
    }

    /// Counts a new order. `renews` is true if there is a certificate for exactly these names.
    pub(super) fn new_order(
        &mut self,
        account: u64,
        names: &[Identifier],
        renews: bool,
        now: Timestamp,
    ) -> Result<(), Problem> {
        for name in names {
            if self.paused.contains(&(account, name.base())) {
                self.violations
                    .push(format!("paused: {} of account {account}", name.base()));
                return Err(Problem::new("rateLimited", paused(&name.base())));
            }
        }
        if !renews {
            self.spend(ORDERS, &account.to_string(), now)?;
        }
        for name in names {
            self.check(FAILURES, &failures_key(account, name), now)?;
            if !renews {
                self.check(DOMAIN, &name.registered(), now)?;
            }
        }
        self.check(EXACT_SET, &set_key(names), now)
    }

    pub(super) fn issued(
        &mut self,
        names: &[Identifier],
        renews: bool,
        now: Timestamp,
    ) -> Result<(), Problem> {
        self.spend(EXACT_SET, &set_key(names), now)?;
        let domains: HashSet<String> = names.iter().map(Identifier::registered).collect();
        for domain in domains.iter().filter(|_| !renews) {
            self.spend(DOMAIN, domain, now)?;
        }
        Ok(())
    }

    /// A failed authorization; more than `pause_after` in a row pause the name.
    pub(super) fn failed(
        &mut self,
        account: u64,
        name: &Identifier,
        pause_after: u32,
        now: Timestamp,
    ) {
        // The failure counts even if it is refused: the refusal is for the next order.
        let _ = self.spend(FAILURES, &failures_key(account, name), now);
        let (count, last) = self
            .in_a_row
            .entry((account, name.base()))
            .or_insert((0, now));
        let days = u32::try_from(now.duration_since(*last).as_hours() / 24).unwrap_or(0);
        *count = count.saturating_sub(days) + 1;
        *last = now;
        if *count >= pause_after {
            self.paused.insert((account, name.base()));
        }
    }

    pub(super) fn succeeded(&mut self, account: u64, name: &Identifier) {
        self.in_a_row.remove(&(account, name.base()));
    }

    /// Opens the portal's link, which ends the pause.
    pub(super) fn unpause(&mut self, name: &str) {
        self.paused.retain(|(_, paused)| paused != name);
        self.in_a_row.retain(|(_, counted), _| counted != name);
    }

    fn check(&mut self, limit: Limit, key: &str, now: Timestamp) -> Result<(), Problem> {
        let missing = self
            .full_at
            .get(&(limit, key.to_owned()))
            .map_or(SignedDuration::ZERO, |at| at.duration_since(now));
        let wait = missing - limit.refill * i32::try_from(limit.size - 1).expect("small");
        if wait <= SignedDuration::ZERO {
            return Ok(());
        }
        self.violations.push(format!("{}: {key}", limit.name));
        let seconds = wait.as_secs().unsigned_abs() + 1;
        let after = now + SignedDuration::from_secs(seconds.cast_signed());
        let detail = format!(
            "too many {} ({}) for {key}, retry after {after}",
            limit.name, limit.size
        );
        Err(Problem {
            retry_after: Some(seconds),
            ..Problem::new("rateLimited", detail)
        })
    }
}

/// The link distinguishes this refusal from others.
fn paused(name: &str) -> String {
    format!(
        "your account may not ask for certificates for {name} for now, see \
            https://portal.test/sfe/v1/unpause?jwt=e30"
    )
}

fn failures_key(account: u64, name: &Identifier) -> String {
    format!("{} of account {account}", name.base())
}

fn set_key(names: &[Identifier]) -> String {
    names
        .iter()
        .map(Identifier::text)
        .collect::<Vec<_>>()
        .join(",")
}
