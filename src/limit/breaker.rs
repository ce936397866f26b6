//! The states of circuit breakers: closed, open, and in between. They count the responses of the
//! last seconds over all cores.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::{
    routing::{CircuitBreaker, Measure},
    util::sync::lock,
};

/// The seconds in which responses count.
const SECONDS: usize = 10;
/// The spans in which times count, and their length in seconds.
const SPANS: usize = 6;
const SPAN: u64 = 10;
/// The parts of each power of two of microseconds: times are right to 3 %.
const PARTS: u64 = 32;
/// The number of classes of times: up to 2^32 microseconds.
const CLASSES: usize = (PARTS * 28) as usize;

/// The most breakers that are kept; beyond that, those go that were not used lately.
const KEPT: usize = 1024;
/// The time after which one that was not used may go.
const UNUSED: Duration = Duration::from_secs(600);

/// The breakers of all rules.
#[derive(Debug, Default)]
pub struct Breakers(Mutex<HashMap<Arc<str>, Arc<Mutex<Breaker>>>>);

/// The breaker of one rule.
#[derive(Debug)]
pub struct Breaker {
    state: State,
    born: Instant,
    used: Instant,
    /// The time before which the condition is not looked at.
    next_check: Option<Instant>,
    statuses: BTreeMap<u16, Counts>,
    failures: Counts,
    times: Option<Box<Times>>,
}

#[derive(Debug)]
enum State {
    Closed,
    Open {
        until: Instant,
    },
    /// Lets a part of the requests through.
    Recovering {
        since: Instant,
        until: Instant,
        passed: u64,
        refused: u64,
    },
}

/// The number of events in each of the last seconds.
#[derive(Clone, Debug, Default)]
struct Counts([(u64, u32); SECONDS]);

/// The number of times in each class, in each of the last spans.
#[derive(Debug)]
struct Times([(u64, Vec<u32>); SPANS]);

impl Breakers {
    /// Returns the breaker of a rule.
    pub fn of(&self, terms: &CircuitBreaker, now: Instant) -> Arc<Mutex<Breaker>> {
        let mut all = lock(&self.0);
        if let Some(known) = all.get(&terms.object) {
            return known.clone();
        }

        if all.len() >= KEPT {
            all.retain(|_, one| now.saturating_duration_since(lock(one).used) < UNUSED);
        }
        let made = Arc::new(Mutex::new(Breaker::new(now)));
        all.insert(terms.object.clone(), made.clone());
        made
    }
}

impl Breaker {
    fn new(now: Instant) -> Self {
        Self {
            state: State::Closed,
            born: now,
            used: now,
            next_check: None,
            statuses: BTreeMap::new(),
            failures: Counts::default(),
            times: None,
        }
    }

    /// Reports whether a request passes.
    pub fn admits(&mut self, terms: &CircuitBreaker, now: Instant) -> bool {
        self.used = now;
        if let State::Open { until } = self.state
            && now >= until
        {
            self.state = State::Recovering {
                since: now,
                until: now + terms.recovers_in,
                passed: 0,
                refused: 0,
            };
        }

        match &mut self.state {
            State::Closed => true,
            State::Open { .. } => false,
            State::Recovering { until, .. } if now > *until => {
                self.state = State::Closed;
                true
            }
            State::Recovering {
                since,
                passed,
                refused,
                ..
            } => {
                // At half of the requests as many pass as are refused: from then on it is closed.
                let gone = now.saturating_duration_since(*since).as_secs_f64();
                let part = 0.5 * gone / terms.recovers_in.as_secs_f64();
                let with_it = (*passed + 1) as f64 / (*passed + 1 + *refused) as f64;
                let passes = with_it < part;
                *(if passes { passed } else { refused }) += 1;
                passes
            }
        }
    }

    /// Counts a response, and opens if the condition is met. Returns true if it opens now.
    pub fn record(
        &mut self,
        terms: &CircuitBreaker,
        (status, failed): (u16, bool),
        took: Duration,
        now: Instant,
    ) -> bool {
        let second = now.saturating_duration_since(self.born).as_secs();
        self.statuses.entry(status).or_default().add(second);
        if failed {
            self.failures.add(second);
        }
        if terms.condition.has_latency() {
            let times = self.times.get_or_insert_default();
            times.add(second / SPAN, took);
        }

        // The condition is looked at now and then.
        if self.next_check.is_some_and(|next| now <= next) {
            return false;
        }
        self.next_check = Some(now + terms.check_period);

        let is_open = matches!(self.state, State::Open { .. });
        if is_open
            || !terms
                .condition
                .is_met(&|measure| self.value(measure, second))
        {
            return false;
        }

        self.state = State::Open {
            until: now + terms.open_for,
        };
        self.statuses.clear();
        self.failures = Counts::default();
        self.times = None;
        true
    }

    /// Returns the value of a measure at a second.
    fn value(&self, measure: Measure, second: u64) -> f64 {
        let count = |first: u16, end: u16| -> u64 {
            let range = self.statuses.range(first.min(end)..end);
            range.map(|(_, counts)| counts.sum(second)).sum()
        };
        let ratio = |part: u64, all: u64| match all {
            0 => 0.0,
            all => part as f64 / all as f64,
        };
        match measure {
            Measure::NetworkErrors => ratio(self.failures.sum(second), count(0, u16::MAX)),
            Measure::Responses([first, end, of_first, of_end]) => {
                ratio(count(first, end), count(of_first, of_end))
            }
            Measure::Latency(quantile) => {
                let times = self.times.as_ref();
                let micros = times.map_or(0, |times| times.at(quantile.value(), second / SPAN));
                (micros / 1000) as f64
            }
        }
    }
}

impl Counts {
    fn add(&mut self, second: u64) {
        let slot = &mut self.0[second as usize % SECONDS];
        if slot.0 != second {
            *slot = (second, 0);
        }
        slot.1 = slot.1.saturating_add(1);
    }

    fn sum(&self, second: u64) -> u64 {
        let recent = |at: u64| at + SECONDS as u64 > second;
        let slots = self.0.iter().filter(|(at, _)| recent(*at));
        slots.map(|(_, count)| u64::from(*count)).sum()
    }
}

impl Default for Times {
    fn default() -> Self {
        Self(std::array::from_fn(|_| (0, Vec::new())))
    }
}

impl Times {
    fn add(&mut self, span: u64, took: Duration) {
        let slot = &mut self.0[span as usize % SPANS];
        if slot.0 != span || slot.1.is_empty() {
            *slot = (span, vec![0; CLASSES]);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let count = &mut slot.1[class(micros)];
        *count = count.saturating_add(1);
    }

    /// Returns the time in microseconds that a percentage of all took at most.
    fn at(&self, quantile: f64, span: u64) -> u64 {
        let recent = |at: u64| at + SPANS as u64 > span;
        let spans = self.0.iter().filter(|(at, _)| recent(*at));
        let spans: Vec<&Vec<u32>> = spans.map(|(_, counts)| counts).collect();
        let of = |class: usize| -> u64 {
            let counts = spans.iter().filter_map(|counts| counts.get(class));
            counts.map(|count| u64::from(*count)).sum()
        };

        let total: u64 = (0..CLASSES).map(of).sum();
        let wanted = (quantile / 100.0 * total as f64 + 0.5) as u64;
        let mut seen = 0;
        let found = (0..CLASSES).find(|class| {
            seen += of(*class);
            seen > 0 && seen >= wanted
        });
        found.map_or(0, greatest)
    }
}

/// Returns the class of a time in microseconds.
fn class(micros: u64) -> usize {
    let micros = micros.min(u64::from(u32::MAX));
    if micros < PARTS {
        return micros as usize;
    }
    let shift = micros.ilog2() - PARTS.ilog2();
    (u64::from(shift) * PARTS + (micros >> shift)) as usize
}

/// Returns the greatest time of a class.
fn greatest(class: usize) -> u64 {
    let class = class as u64;
    if class < PARTS {
        return class;
    }
    let shift = class / PARTS - 1;
    ((class % PARTS + PARTS + 1) << shift) - 1
}

#[cfg(test)]
mod tests;
