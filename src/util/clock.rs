//! Time on a board whose clock can be wrong. A Raspberry Pi has no battery: it boots in the past,
//! and jumps when the network tells it the time. Serving never depends on this clock; what spends a
//! CA's patience does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nothing that runs this code was started before it was written: 2026-11-01, seconds since 1970.
pub const RELEASED: i64 = 1_793_491_200;

/// A clock this far ahead of everything known has to be confirmed.
const FAR: i64 = 400 * 86_400;
/// Wall clock and monotonic clock may part by this much: slewing, leap seconds, a late NTP answer.
const DRIFT: i64 = 300;

/// One look at both clocks of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock, seconds since 1970.
    pub wall: i64,
    /// The monotonic clock, from any fixed moment of this process.
    pub monotonic: Duration,
}

/// How far the wall clock can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It is before a moment that has certainly passed.
    Unknown,
    /// It is far ahead of all that is known, or jumped since the start.
    Suspect,
    /// Nothing speaks against it, or a witness confirmed it.
    Trusted,
}

/// The clock as far as it can be known. Readings are arguments.
#[derive(Clone, Debug)]
pub struct Clock {
    floor: i64,
    anchor: Reading,
    jumped: bool,
    /// What a witness said, and when.
    witness: Option<Reading>,
    /// What one said against all that is known, until another one says the same.
    doubted: Option<Reading>,
}

impl Reading {
    /// Looks at the machine's clocks; `start` is the moment the monotonic part counts from.
    pub fn now(start: std::time::Instant) -> Self {
        Self {
            wall: unix(SystemTime::now()),
            monotonic: start.elapsed(),
        }
    }
}

impl Clock {
    /// A clock that knows that `floor` (seconds since 1970) has passed, and [`RELEASED`].
    pub fn new(floor: i64, reading: Reading) -> Self {
        Self {
            floor: floor.max(RELEASED),
            anchor: reading,
            jumped: false,
            witness: None,
            doubted: None,
        }
    }

    /// Something dated `moment` exists already, so that moment has passed.
    pub fn raise_floor(&mut self, moment: i64) {
        self.floor = self.floor.max(moment);
    }

    /// A moment that has certainly passed.
    pub fn floor(&self) -> i64 {
        self.floor
    }

    /// Takes a reading in; call it often enough that a jump is seen as one.
    pub fn observe(&mut self, reading: Reading) {
        if (reading.wall - expected(self.anchor, reading)).abs() <= DRIFT {
            self.anchor = reading;
            return;
        }
        // A jump to where a witness says the time is, is a repair.
        self.jumped = self
            .witness
            .is_none_or(|witness| (reading.wall - expected(witness, reading)).abs() > DRIFT);
        self.anchor = reading;
    }

    /// A party whose certificate was verified says that it is `moment` now (the `Date` of a CA's
    /// answer). Where that contradicts both the wall clock and a time that is known, it counts once
    /// it was said twice: one wrong answer must not move the floor for ever.
    pub fn witness(&mut self, moment: i64, reading: Reading) {
        if moment < self.floor - DRIFT {
            return;
        }
        self.observe(reading);
        let said = Reading {
            wall: moment,
            monotonic: reading.monotonic,
        };
        let fits = |time: i64| (time - moment).abs() <= DRIFT;
        let is_known = self.now(reading).is_none_or(fits) || fits(reading.wall);
        if !is_known
            && !self
                .doubted
                .is_some_and(|before| fits(expected(before, reading)))
        {
            self.doubted = Some(said);
            return;
        }
        self.doubted = None;
        self.witness = Some(said);
        self.raise_floor(moment);
        if (reading.wall - moment).abs() <= DRIFT {
            self.jumped = false;
        }
    }

    /// How far the wall clock can be believed at this reading.
    pub fn trust(&self, reading: Reading) -> Trust {
        if let Some(witness) = self.witness {
            return if (reading.wall - expected(witness, reading)).abs() <= DRIFT {
                Trust::Trusted
            } else if reading.wall < self.floor {
                Trust::Unknown
            } else {
                Trust::Suspect
            };
        }
        if reading.wall < self.floor {
            Trust::Unknown
        } else if self.jumped || reading.wall > self.floor.saturating_add(FAR) {
            Trust::Suspect
        } else {
            Trust::Trusted
        }
    }

    /// The time, if it is known: the wall clock where it can be trusted, else what a witness said
    /// plus what has passed since.
    pub fn now(&self, reading: Reading) -> Option<i64> {
        match (self.trust(reading), self.witness) {
            (Trust::Trusted, _) => Some(reading.wall),
            (_, Some(witness)) => Some(expected(witness, reading)),
            (_, None) => None,
        }
    }

    /// The best guess, for what must be judged on any clock (the certificate of a CA that is asked
    /// for the time).
    pub fn guess(&self, reading: Reading) -> i64 {
        self.now(reading)
            .unwrap_or_else(|| reading.wall.max(self.floor))
    }

    /// By how much the wall clock is ahead of what a witness said, in seconds.
    pub fn offset(&self, reading: Reading) -> Option<i64> {
        self.witness
            .map(|witness| reading.wall - expected(witness, reading))
    }
}

/// Seconds since 1970, negative before.
pub fn unix(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds)
        }
    }
}

/// What a wall clock that was right at `from` shows at `at`.
fn expected(from: Reading, at: Reading) -> i64 {
    let passed = at.monotonic.saturating_sub(from.monotonic).as_secs();
    from.wall
        .saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
