//! Ranges of ports in settings: `8000-8999`, or one port.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// A text that is not a range of ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a port nor a range of ports (8000-8999)")]
pub struct PortRangeError(String);

impl PortRange {
    /// All ports.
    pub const ALL: Self = Self {
        first: 1,
        last: u16::MAX,
    };

    /// Returns true if the port is in it.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || PortRangeError(text.to_owned());
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_bad| wrong());
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        if first == 0 || first > last {
            return Err(wrong());
        }
        Ok(Self { first, last })
    }
}

impl TryFrom<String> for PortRange {
    type Error = PortRangeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_written() {
        for (text, inside, outside) in [
            ("1883", &[1883][..], &[1882, 1884][..]),
            ("8000-8999", &[8000, 8500, 8999], &[7999, 9000]),
            ("1-65535", &[1, 65535], &[0]),
        ] {
            let range: PortRange = text.parse().expect(text);
            assert_eq!(range.to_string(), text);
            assert!(inside.iter().all(|port| range.contains(*port)), "{text}");
            assert!(!outside.iter().any(|port| range.contains(*port)), "{text}");
        }
        for wrong in [
            "", "0", "0-9", "9-8", "65536", "a", "1-", "-1", "1-2-3", "+",
        ] {
            assert!(wrong.parse::<PortRange>().is_err(), "{wrong}");
        }
    }
}
