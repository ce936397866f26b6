//! Serialization of moments as RFC 3339 instead of a number, for `#[serde(with)]`.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

use super::UnixSeconds;

/// Serializes a moment as [`UnixSeconds`] shows it.
pub fn serialize<S: Serializer>(time: &UnixSeconds, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// Deserializes a moment.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixSeconds, D::Error> {
    parse(&String::deserialize(deserializer)?)
}

fn parse<E: Error>(text: &str) -> Result<UnixSeconds, E> {
    // Moments out of the range of RFC 3339 are shown as numbers.
    let number = || text.parse().map(UnixSeconds);
    let time = text.parse();
    time.or_else(|error| number().map_err(|_not_a_number| E::custom(error)))
}

/// The same for a moment that may be missing.
pub mod optional {
    use super::{Deserialize, Deserializer, Serializer, UnixSeconds, parse};

    /// Serializes no moment as null.
    pub fn serialize<S: Serializer>(
        time: &Option<UnixSeconds>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.collect_str(time),
            None => serializer.serialize_none(),
        }
    }

    /// Deserializes a moment or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<UnixSeconds>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| parse(&text)).transpose()
    }
}

/// The same for a moment that is an empty text if it is missing.
pub mod or_empty {
    use super::{Deserialize, Deserializer, Serializer, UnixSeconds, parse};

    /// Serializes no moment as an empty text.
    pub fn serialize<S: Serializer>(
        time: &Option<UnixSeconds>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.collect_str(time),
            None => serializer.serialize_str(""),
        }
    }

    /// Deserializes a moment or an empty text.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<UnixSeconds>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let text = Some(text).filter(|text| !text.is_empty());
        text.map(|text| parse(&text)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct Times {
        #[serde(with = "super")]
        at: UnixSeconds,
        #[serde(default, with = "super::optional")]
        next: Option<UnixSeconds>,
        #[serde(with = "super::or_empty")]
        end: Option<UnixSeconds>,
    }

    #[test]
    fn moments_survive_as_text() {
        let (time, far) = (UnixSeconds(1_793_491_200), UnixSeconds(i64::MAX));
        let text = "2026-11-01T00:00:00Z";
        for (times, value) in [
            (
                (time, Some(time), Some(time)),
                json!({ "at": text, "next": text, "end": text }),
            ),
            (
                (time, None, None),
                json!({ "at": text, "next": null, "end": "" }),
            ),
            (
                (far, Some(far), None),
                json!({ "at": i64::MAX.to_string(), "next": i64::MAX.to_string(), "end": "" }),
            ),
        ] {
            let (at, next, end) = times;
            let times = Times { at, next, end };
            assert_eq!(serde_json::to_value(&times).expect("JSON"), value);
            assert_eq!(
                serde_json::from_value::<Times>(value).expect("times"),
                times
            );
        }
        let unreadable = json!({ "at": "yesterday", "end": "" });
        assert!(serde_json::from_value::<Times>(unreadable).is_err());
    }
}
