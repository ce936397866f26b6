//! Changes of one value of a record set, for the APIs that have zones.

use hickory_proto::rr::Name;
use http::StatusCode;

use super::{
    error::Failure,
    record::Action,
    service::{Service, Working},
    web::{Refusal, Web},
};

/// An API that finds zones and changes the TXT records in them.
pub(super) trait ZoneApi: Send + Sync {
    /// Returns the client of the API.
    fn web(&self) -> &Web;

    /// Returns the ID of the zone with exactly this name, if the account has it.
    fn zone(&self, name: &str) -> impl Future<Output = Result<Option<String>, Refusal>> + Send;

    /// Returns the values of a record set, which may not exist.
    fn values(&self, at: &Place) -> impl Future<Output = Result<Vec<Value>, Refusal>> + Send;

    /// Adds a value beside those that the record set has.
    fn add(
        &self,
        at: &Place,
        value: &str,
        others: &[Value],
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Removes values, of which there is at least one, and keeps the others.
    fn remove(
        &self,
        at: &Place,
        gone: &[Value],
        others: &[Value],
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Makes changes effective, also those of an earlier attempt that was interrupted.
    fn finish(&self, _at: &Place) -> impl Future<Output = Result<(), Refusal>> + Send {
        async { Ok(()) }
    }
}

/// The place of a record set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The ID of the zone.
    pub(super) id: String,
    /// The name of the zone, without a dot at its end.
    pub(super) zone: String,
    /// The full name of the record set, without a dot at its end.
    pub(super) name: String,
}

/// A value of a record set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// The API's name for it, if it has one.
    pub(super) id: String,
    /// The value as the API writes it, with or without quotes.
    pub(super) raw: String,
    /// The TTL of its record set, for the APIs that need it for a change.
    pub(super) ttl: Option<u32>,
}

impl Place {
    /// Returns the name of the record set below its zone, empty for that of the zone itself.
    pub(super) fn relative(&self) -> &str {
        let above = self.name.len().saturating_sub(self.zone.len());
        self.name[..above].trim_end_matches('.')
    }

    /// Returns the name below the zone as most APIs write it, `@` for the zone itself.
    pub(super) fn label(&self) -> &str {
        match self.relative() {
            "" => "@",
            relative => relative,
        }
    }
}

impl Value {
    /// Creates a value without an ID.
    pub(super) fn new(raw: impl Into<String>) -> Self {
        Self::with_id(String::new(), raw)
    }

    /// Creates a value that has an ID.
    pub(super) fn with_id(id: impl Into<String>, raw: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            raw: raw.into(),
            ttl: None,
        }
    }

    /// Returns true if this is the text, which needs no escapes.
    fn is(&self, text: &str) -> bool {
        let parts: Vec<&str> = self.raw.split('"').collect();
        match &parts[..] {
            [plain] => *plain == text,
            quoted => {
                quoted
                    .iter()
                    .skip(1)
                    .step_by(2)
                    .copied()
                    .collect::<String>()
                    == text
            }
        }
    }
}

/// Returns a text in quotes, as in the file of a zone.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// Returns the values as the API writes them, with a new one.
pub(super) fn with(others: &[Value], new: &str) -> Vec<String> {
    let mut all: Vec<String> = others.iter().map(|value| value.raw.clone()).collect();
    all.push(new.to_owned());
    all
}

impl<A: ZoneApi> Service for A {
    fn at(&self) -> String {
        self.web().place().to_owned()
    }

    fn change<'a>(&'a self, action: Action, name: &'a Name, value: &'a str) -> Working<'a, ()> {
        Box::pin(async move {
            let name = name.to_ascii().to_ascii_lowercase();
            let at = find(self, name.trim_end_matches('.')).await?;
            let changed = change(self, action, &at, value).await;
            changed.map_err(|refusal| Failure::from(refusal).within(&at.zone))
        })
    }
}

async fn change(
    api: &impl ZoneApi,
    action: Action,
    at: &Place,
    value: &str,
) -> Result<(), Refusal> {
    let values = api.values(at).await?;
    let (ours, others): (Vec<Value>, Vec<Value>) =
        values.into_iter().partition(|one| one.is(value));
    match action {
        Action::Present if ours.is_empty() => api.add(at, value, &others).await?,
        Action::Cleanup if !ours.is_empty() => api.remove(at, &ours, &others).await?,
        Action::Present | Action::Cleanup => {}
    }
    api.finish(at).await
}

/// Finds the closest enclosing zone that the account has. An account without the right to see a
/// name's zone may still have the right to the next one.
async fn find(api: &impl ZoneApi, name: &str) -> Result<Place, Failure> {
    let mut denied = None;
    for zone in suffixes(name) {
        match api.zone(zone).await {
            Ok(Some(id)) => {
                let (zone, name) = (zone.to_owned(), name.to_owned());
                return Ok(Place { id, zone, name });
            }
            Ok(None) => {}
            Err(refusal) if refusal.is(StatusCode::FORBIDDEN) => denied = Some(refusal),
            Err(refusal) => return Err(refusal.into()),
        }
    }

    let none = format!("the account has no zone that contains {name}, or does not show it");
    Err(match denied {
        Some(refusal) => Failure::from(refusal).after(&none),
        None => Failure::new(none),
    })
}

/// Returns the names that can be the zone of a name, the longest first: never one label alone.
pub(super) fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |at| {
        at.split_once('.').map(|(_, parent)| parent)
    })
    .take_while(|at| at.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_sought_from_the_longest_name_on() {
        let found: Vec<&str> = suffixes("_acme-challenge.www.example.test").collect();
        let expected = [
            "_acme-challenge.www.example.test",
            "www.example.test",
            "example.test",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_place_has_a_name_below_its_zone() {
        let at = |zone: &str, name: &str| Place {
            id: String::new(),
            zone: zone.to_owned(),
            name: name.to_owned(),
        };
        let below = at("a.test", "_acme-challenge.www.a.test");
        assert_eq!(
            (below.relative(), below.label()),
            ("_acme-challenge.www", "_acme-challenge.www")
        );
        let apex = at("_acme-challenge.a.test", "_acme-challenge.a.test");
        assert_eq!((apex.relative(), apex.label()), ("", "@"));
    }

    #[test]
    fn values_are_compared_without_their_quotes() {
        for raw in ["abc", "\"abc\"", "\"ab\" \"c\""] {
            assert!(Value::new(raw).is("abc"), "{raw}");
        }
        for raw in ["ab", "\"abcd\"", "\"abc\" \"d\"", ""] {
            assert!(!Value::new(raw).is("abc"), "{raw}");
        }
    }
}
