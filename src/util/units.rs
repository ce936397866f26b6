//! Durations and byte sizes as people write them in files.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serializer, de};

/// A duration written as `30s`, `500ms`, `1h30m`, `2d`, or a plain number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A size written as `64KiB`, `1MiB`, `512k` (1024, as nginx reads it), or a plain number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A text or number that is no duration or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The text is not a duration, or too long a one.
    #[error("{0:?} is not a duration (examples: 500ms, 30s, 1h30m)")]
    Duration(String),
    /// The text is not a size, or too large a one.
    #[error("{0:?} is not a size (examples: 512, 64KiB, 1MiB)")]
    Size(String),
    /// The number is below zero.
    #[error("it must not be negative")]
    Negative,
}

/// Parses a [`Span`].
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let error = || UnitError::Duration(text.to_owned());
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }

    // Pairs of a number and a unit.
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .filter(|at| *at > 0)
            .ok_or_else(error)?;
        let (number, unit) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_too_large| error())?;
        let end = unit
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(unit.len());
        let (unit, next) = unit.split_at(end);

        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(error()),
        };
        let part = Duration::from_millis(number.checked_mul(millis).ok_or_else(error)?);
        total = total.checked_add(part).ok_or_else(error)?;
        rest = next;
    }

    if text.is_empty() {
        Err(error())
    } else {
        Ok(total)
    }
}

/// Parses a [`Size`].
pub fn bytes(text: &str) -> Result<u64, UnitError> {
    let error = || UnitError::Size(text.to_owned());
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_bad| error())?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return Err(error()),
    };
    number.checked_mul(factor).ok_or_else(error)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest < 600_000 && rest.is_multiple_of(1000) {
            return write!(f, "{}s", rest / 1000);
        }
        for (unit, millis) in [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1000),
            ("ms", 1),
        ] {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match units
            .into_iter()
            .find(|(_, bytes)| self.0 > 0 && self.0.is_multiple_of(*bytes))
        {
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0 / bytes),
            None => self.0.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Text("a duration such as \"30s\"", duration, |n| {
            Ok(Duration::from_secs(n))
        }))
        .map(Self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Text("a size such as \"64KiB\"", bytes, Ok))
            .map(Self)
    }
}

/// Reads and writes a `Duration` or an `Option<Duration>` as a [`Span`]: `#[serde(with = "span")]`.
pub mod span {
    use super::{Deserialize, Deserializer, Duration, Serializer, Span};

    /// Reads a duration.
    pub fn deserialize<'de, D, T>(from: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: From<Duration>,
    {
        Span::deserialize(from).map(|Span(duration)| duration.into())
    }

    /// Writes a duration.
    pub fn serialize<S, T>(duration: &T, to: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        T: Copy + Into<Option<Duration>>,
    {
        match (*duration).into() {
            Some(duration) => to.collect_str(&Span(duration)),
            None => to.serialize_none(),
        }
    }
}

/// Reads and writes a number of bytes as a [`Size`]: `#[serde(with = "size")]`. Its type is
/// `usize` or `Option<u64>`.
pub mod size {
    use super::{Deserialize, Deserializer, Serializer, Size, de::Error};

    /// Types that hold a number of bytes.
    pub trait Bytes: Copy {
        /// Returns the number; `None` where no value is set.
        fn bytes(self) -> Option<u64>;
    }

    impl Bytes for usize {
        fn bytes(self) -> Option<u64> {
            u64::try_from(self).ok()
        }
    }

    impl Bytes for Option<u64> {
        fn bytes(self) -> Self {
            self
        }
    }

    /// Reads a size.
    pub fn deserialize<'de, D, T>(from: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: TryFrom<u64>,
    {
        let Size(bytes) = Size::deserialize(from)?;
        T::try_from(bytes).map_err(|_too_large| D::Error::custom("it is too large"))
    }

    /// Writes a size.
    pub fn serialize<S: Serializer>(size: &impl Bytes, to: S) -> Result<S::Ok, S::Error> {
        match size.bytes() {
            Some(bytes) => to.collect_str(&Size(bytes)),
            None => to.serialize_none(),
        }
    }
}

/// Deserializes with one function for strings and one for plain numbers.
struct Text<T>(
    &'static str,
    fn(&str) -> Result<T, UnitError>,
    fn(u64) -> Result<T, UnitError>,
);

impl<T> de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        self.1(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.2(number).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        u64::try_from(number)
            .map_err(|_negative| E::custom(UnitError::Negative))
            .and_then(|n| self.visit_u64(n))
    }
}

#[cfg(test)]
mod tests;
