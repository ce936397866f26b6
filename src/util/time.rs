//! Moments of the wall clock as a type of their own.

pub mod rfc3339;

use std::{
    fmt,
    ops::{Add, Sub},
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// A moment in whole seconds since 1970, negative before. Arithmetic saturates. It is shown as RFC
/// 3339 and stored as a plain number.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixSeconds(pub i64);

impl UnixSeconds {
    /// Returns the time of the wall clock, which can be wrong; see [`super::clock`].
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Returns the time from `earlier` to this moment, zero if `earlier` is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self - earlier).unwrap_or(0))
    }
}

/// Adds seconds; a negative number leads to an earlier moment.
impl Add<i64> for UnixSeconds {
    type Output = Self;

    fn add(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

impl Sub<i64> for UnixSeconds {
    type Output = Self;

    fn sub(self, seconds: i64) -> Self {
        Self(self.0.saturating_sub(seconds))
    }
}

/// Returns the seconds from the second moment to the first, negative if the second is later.
impl Sub for UnixSeconds {
    type Output = i64;

    fn sub(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for UnixSeconds {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        self + whole_seconds(time)
    }
}

impl Sub<Duration> for UnixSeconds {
    type Output = Self;

    fn sub(self, time: Duration) -> Self {
        self - whole_seconds(time)
    }
}

fn whole_seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

impl From<SystemTime> for UnixSeconds {
    fn from(time: SystemTime) -> Self {
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(since) => whole_seconds(since),
            Err(before) => -whole_seconds(before.duration()),
        })
    }
}

/// Moments before 1970 and after the year 9999, which no certificate can contain, are moved there.
impl From<UnixSeconds> for SystemTime {
    fn from(time: UnixSeconds) -> Self {
        /// The last second of the year 9999.
        const LAST: u64 = 253_402_300_799;
        let seconds = u64::try_from(time.0).unwrap_or(0).min(LAST);
        UNIX_EPOCH + Duration::from_secs(seconds)
    }
}

impl From<jiff::Timestamp> for UnixSeconds {
    fn from(time: jiff::Timestamp) -> Self {
        Self(time.as_second())
    }
}

/// RFC 3339 in UTC. Moments out of its range, which ends a day before the year 9999 does, are
/// shown as numbers.
impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(time) => time.fmt(f),
            Err(_out_of_range) => self.0.fmt(f),
        }
    }
}

/// Parses RFC 3339 and drops the fraction of a second.
impl FromStr for UnixSeconds {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse::<jiff::Timestamp>().map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: UnixSeconds = UnixSeconds(1_793_491_200);

    #[test]
    fn moments_are_shown_and_read_as_rfc_3339() {
        assert_eq!(MOMENT.to_string(), "2026-11-01T00:00:00Z");
        assert_eq!("2026-11-01T00:00:00.9Z".parse().ok(), Some(MOMENT));
        assert!("2026-11-01".parse::<UnixSeconds>().is_err());
    }

    #[test]
    fn moments_are_stored_as_numbers() {
        let stored = serde_json::to_string(&MOMENT).expect("a number");
        assert_eq!(stored, "1793491200");
        assert_eq!(
            serde_json::from_str::<UnixSeconds>(&stored).ok(),
            Some(MOMENT)
        );
    }

    #[test]
    fn arithmetic_saturates() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(MOMENT + hour - hour, MOMENT);
        assert_eq!(UnixSeconds(i64::MAX) + hour, UnixSeconds(i64::MAX));
        assert_eq!(UnixSeconds(i64::MIN) - Duration::MAX, UnixSeconds(i64::MIN));
        assert_eq!(UnixSeconds(i64::MAX) + 1, UnixSeconds(i64::MAX));
        assert_eq!(UnixSeconds(-2) - i64::MAX, UnixSeconds(i64::MIN));
        assert_eq!(UnixSeconds(i64::MAX) - UnixSeconds(-1), i64::MAX);
    }

    #[test]
    fn differences_are_signed_or_stop_at_zero() {
        let later = MOMENT + 5;
        assert_eq!(later - MOMENT, 5);
        assert_eq!(MOMENT - later, -5);
        assert_eq!(later.saturating_since(MOMENT), Duration::from_secs(5));
        assert_eq!(MOMENT.saturating_since(later), Duration::ZERO);
    }

    #[test]
    fn system_times_stay_within_what_certificates_contain() {
        let moved = |time: UnixSeconds| UnixSeconds::from(SystemTime::from(time));
        assert_eq!(moved(MOMENT), MOMENT);
        assert_eq!(moved(UnixSeconds(-1)), UnixSeconds(0));
        let last = UnixSeconds(253_402_300_799);
        assert_eq!(moved(UnixSeconds(i64::MAX)), last);
    }

    #[test]
    fn times_before_1970_are_negative() {
        assert_eq!(
            UnixSeconds::from(UNIX_EPOCH - Duration::from_secs(2)),
            UnixSeconds(-2)
        );
    }
}
