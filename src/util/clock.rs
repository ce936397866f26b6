//! Time on a board whose clock can be wrong. A Raspberry Pi has no battery: it boots in the past,
//! and jumps when the network sets its clock. Serving never depends on this clock; requests that
//! count against a CA's limits do.

use std::time::Duration;

use super::time::UnixSeconds;

/// A moment before which no release with this code ran: 2026-11-01.
pub const RELEASED: UnixSeconds = UnixSeconds(1_793_491_200);

/// A clock this far ahead of everything known has to be confirmed.
const FAR: i64 = 400 * 86_400;
/// Wall clock and monotonic clock may part by this much: slewing, leap seconds, a late NTP reply.
const DRIFT: i64 = 300;

/// One reading of both clocks of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub wall: UnixSeconds,
    /// The monotonic clock, from any fixed moment of this process.
    pub monotonic: Duration,
}

/// Confidence in the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It is before a moment that has certainly passed.
    Unknown,
    /// It is far ahead of everything known, or jumped since the start.
    Suspect,
    /// Nothing contradicts it, or a witness confirmed it.
    Trusted,
}

/// Judges the wall clock by its floor and by witnesses. Readings are arguments.
#[derive(Clone, Debug)]
pub struct Clock {
    floor: UnixSeconds,
    anchor: Reading,
    jumped: bool,
    /// The last time from a witness, and the monotonic time of its arrival.
    witness: Option<Reading>,
    /// A time that contradicts everything known, until a second witness confirms it.
    doubted: Option<Reading>,
}

impl Reading {
    /// Reads the machine's clocks; `start` is the moment the monotonic part counts from.
    pub fn now(start: std::time::Instant) -> Self {
        Self {
            wall: UnixSeconds::now(),
            monotonic: start.elapsed(),
        }
    }
}

impl Clock {
    /// Returns a clock that knows that `floor` has passed, and [`RELEASED`].
    pub fn new(floor: UnixSeconds, reading: Reading) -> Self {
        Self {
            floor: floor.max(RELEASED),
            anchor: reading,
            jumped: false,
            witness: None,
            doubted: None,
        }
    }

    /// Raises the floor: something dated `moment` exists, so that moment has passed.
    pub fn raise_floor(&mut self, moment: UnixSeconds) {
        self.floor = self.floor.max(moment);
    }

    /// Returns the latest moment that has certainly passed.
    pub fn floor(&self) -> UnixSeconds {
        self.floor
    }

    /// Records a reading; must be called often enough that a jump is recognised.
    pub fn observe(&mut self, reading: Reading) {
        if agree(reading.wall, expected(self.anchor, reading)) {
            self.anchor = reading;
            return;
        }

        // A jump to the time of a witness is a correction.
        self.jumped = self
            .witness
            .is_none_or(|witness| !agree(reading.wall, expected(witness, reading)));
        self.anchor = reading;
    }

    /// Records the time of a party whose certificate was verified (the `Date` of a CA's response).
    /// If it contradicts both the wall clock and a known time, it counts only once a second witness
    /// confirms it: one wrong response must not move the floor permanently.
    pub fn witness(&mut self, moment: UnixSeconds, reading: Reading) {
        if moment < self.floor - DRIFT {
            return;
        }
        self.observe(reading);

        let witnessed = Reading {
            wall: moment,
            monotonic: reading.monotonic,
        };

        let fits = |time| agree(time, moment);
        let is_known = self.now(reading).is_none_or(fits) || fits(reading.wall);

        if !is_known
            && !self
                .doubted
                .is_some_and(|before| fits(expected(before, reading)))
        {
            self.doubted = Some(witnessed);
            return;
        }

        self.doubted = None;
        self.witness = Some(witnessed);
        self.raise_floor(moment);
        if agree(reading.wall, moment) {
            self.jumped = false;
        }
    }

    /// Returns the confidence in the wall clock at this reading.
    pub fn trust(&self, reading: Reading) -> Trust {
        if let Some(witness) = self.witness {
            return if agree(reading.wall, expected(witness, reading)) {
                Trust::Trusted
            } else if reading.wall < self.floor {
                Trust::Unknown
            } else {
                Trust::Suspect
            };
        }
        if reading.wall < self.floor {
            Trust::Unknown
        } else if self.jumped || reading.wall > self.floor + FAR {
            Trust::Suspect
        } else {
            Trust::Trusted
        }
    }

    /// Returns the time, if it is known: the wall clock if it can be trusted, else the time of the
    /// witness plus the time since.
    pub fn now(&self, reading: Reading) -> Option<UnixSeconds> {
        match (self.trust(reading), self.witness) {
            (Trust::Trusted, _) => Some(reading.wall),
            (_, Some(witness)) => Some(expected(witness, reading)),
            (_, None) => None,
        }
    }

    /// Returns the best guess, for decisions that cannot wait for a trusted clock (the certificate
    /// of a CA that serves as witness).
    pub fn guess(&self, reading: Reading) -> UnixSeconds {
        self.now(reading)
            .unwrap_or_else(|| reading.wall.max(self.floor))
    }

    /// Returns the seconds by which the wall clock is ahead of the witness.
    pub fn offset(&self, reading: Reading) -> Option<i64> {
        self.witness
            .map(|witness| reading.wall - expected(witness, reading))
    }
}

/// Returns the time that a wall clock shows at `at` if it was right at `from`.
fn expected(from: Reading, at: Reading) -> UnixSeconds {
    from.wall + at.monotonic.saturating_sub(from.monotonic)
}

/// Reports whether two times differ by no more than slewing, leap seconds and network delay.
fn agree(one: UnixSeconds, other: UnixSeconds) -> bool {
    (one - other).unsigned_abs() <= DRIFT.unsigned_abs()
}

#[cfg(test)]
mod tests;
