//! The labels or annotations of an object. Many thousand objects have them, and most have few.

use std::{borrow::Borrow, collections::BTreeMap};

use serde::{Deserialize, Deserializer};

/// Texts by names, in the order of the names. One entry takes 32 bytes and its texts, where a node
/// of a `BTreeMap` has room for eleven.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Texts(Box<[(Box<str>, Box<str>)]>);

impl Texts {
    /// Returns the text of a name.
    #[allow(clippy::borrowed_box, reason = "callers clone the text, as from a map")]
    pub fn get<N: Borrow<str> + ?Sized>(&self, name: &N) -> Option<&Box<str>> {
        let name: &str = name.borrow();
        let place = self
            .0
            .binary_search_by(|(known, _text)| (**known).cmp(name));
        Some(&self.0[place.ok()?].1)
    }

    /// Reports whether a name has a text.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns the names with their texts.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Box<str>, &Box<str>)> {
        self.0.iter().map(|(name, text)| (name, text))
    }

    /// Returns the names.
    pub fn keys(&self) -> impl Iterator<Item = &Box<str>> {
        self.0.iter().map(|(name, _text)| name)
    }

    /// Reports whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<BTreeMap<Box<str>, Box<str>>> for Texts {
    fn from(map: BTreeMap<Box<str>, Box<str>>) -> Self {
        Self(map.into_iter().collect())
    }
}

impl<N: Into<Box<str>>, T: Into<Box<str>>> FromIterator<(N, T)> for Texts {
    fn from_iter<I: IntoIterator<Item = (N, T)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        let map: BTreeMap<Box<str>, Box<str>> = pairs
            .map(|(name, text)| (name.into(), text.into()))
            .collect();
        map.into()
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(from).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_names_counts() {
        let texts: Texts = serde_json::from_str(r#"{"b":"1","a":"2","b":"3"}"#).unwrap();
        assert_eq!(texts, [("a", "2"), ("b", "3")].into_iter().collect());
        assert_eq!(texts.get("b").map(|text| &**text), Some("3"));
        assert!(!texts.contains_key("c") && !texts.contains_key(""));
        assert_eq!(texts.keys().map(|name| &**name).collect::<String>(), "ab");
    }
}
