//! The values with which annotations have the meaning of their row. In doubt a guard guards.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{controller::nginx_config, objects::Texts};

/// Words for "no".
const NO: &[&str] = &["false", "f", "0", "off", "no", "none", "disabled"];

/// The values with which an annotation means what its row says.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// Every value, also an empty one.
    Always,
    /// Every value but an empty one and these, in any case.
    Unless(&'static [&'static str]),
    /// A list of addresses that does not hold everybody. `empty` says whether an empty list counts.
    Addresses { empty: bool },
    /// Configuration of nginx that may restrict who comes in.
    Snippet,
    /// The values that the function takes; the words say which.
    Custom(Predicate, &'static str),
}

/// Says whether a value is meant, with the annotations beside it.
type Predicate = fn(&str, &Siblings<'_>) -> bool;

/// The other annotations of the object, under the same prefix.
pub(super) struct Siblings<'a> {
    pub(super) annotations: &'a Texts,
    pub(super) prefix: &'a str,
}

impl Siblings<'_> {
    /// The value of another annotation, without white space around it.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.annotations
            .get(&*format!("{}{name}", self.prefix))
            .map(|value| value.trim())
    }
}

impl When {
    /// Every value but an empty one.
    pub(super) const ANY: Self = Self::Unless(&[]);
    /// Every value but an empty one and the words for "no". Most peers read booleans as Go does and
    /// take `yes` for false; here it counts as true, because its author wants the guard.
    pub(super) const TRUE: Self = Self::Unless(NO);

    /// True if the value, without white space around it, is one of these.
    pub(super) fn holds(self, value: &str, siblings: &Siblings<'_>) -> bool {
        match self {
            Self::Always => true,
            Self::Unless(words) => {
                !value.is_empty() && !words.iter().any(|word| value.eq_ignore_ascii_case(word))
            }
            Self::Addresses { empty } if value.is_empty() => empty,
            Self::Addresses { .. } => !holds_everybody(value),
            Self::Snippet => !value.is_empty() && !is_harmless_snippet(value),
            Self::Custom(holds, _words) => holds(value, siblings),
        }
    }

    /// The same in words.
    pub(super) fn words(self) -> String {
        match self {
            Self::Always => "any value".to_owned(),
            Self::Unless([]) => "any value but an empty one".to_owned(),
            Self::Unless(words) if words == NO => "true".to_owned(),
            Self::Unless(words) => format!("any value but an empty one and {}", words.join(", ")),
            Self::Addresses { empty: true } => {
                "a list that does not contain all addresses".to_owned()
            }
            Self::Addresses { empty: false } => {
                "a list that is not empty and does not contain all addresses".to_owned()
            }
            Self::Snippet => {
                "one that configures more than responses, buffers and timeouts".to_owned()
            }
            Self::Custom(_holds, words) => words.to_owned(),
        }
    }
}

/// True if a list of addresses and networks holds all of IPv4 or all of IPv6. A list with anything
/// else in it does not count.
fn holds_everybody(value: &str) -> bool {
    let parsed: Option<Vec<IpNet>> = value
        .split([',', ' ', '\n'])
        .filter(|one| !one.is_empty())
        .map(network)
        .collect();
    let Some(networks) = parsed else { return false };

    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for network in networks {
        match network {
            IpNet::V4(network) => v4.push(network),
            IpNet::V6(network) => v6.push(network),
        }
    }

    Ipv4Net::aggregate(&v4)
        .iter()
        .any(|one| one.prefix_len() == 0)
        || Ipv6Net::aggregate(&v6)
            .iter()
            .any(|one| one.prefix_len() == 0)
}

fn network(text: &str) -> Option<IpNet> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Returns true if no directive of a snippet can restrict access. A snippet with blocks, or one
/// that cannot be parsed, is not harmless.
fn is_harmless_snippet(snippet: &str) -> bool {
    nginx_config::parse(snippet)
        .is_some_and(|directives| directives.iter().all(nginx_config::is_harmless))
}

/// Lists of ports that lack the usual ones.
pub(super) const OTHER_PORTS: When = When::Custom(
    |value, _| {
        !value.is_empty()
            && !value
                .split(',')
                .any(|port| ["80", "443"].contains(&port.trim()))
    },
    "ports without 80 and 443",
);

/// Returns true if a list separated by commas has one of the words.
pub(super) fn has_any(list: &str, words: &[&str]) -> bool {
    list.split(',').any(|one| {
        words
            .iter()
            .any(|word| one.trim().eq_ignore_ascii_case(word))
    })
}
