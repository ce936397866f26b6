//! The steps that directives of nginx stand for.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    super::{
        compression::{BROTLI_LEVELS, GZIP_LEVELS},
        fields::FORBIDDEN,
        traffic::size,
        value::{authority, networks},
        values::CompressionValues,
    },
    responses,
};
use crate::{
    controller::nginx_config::{self, Directive, is_harmless},
    routing::{Conditional, HAS_BROTLI, Variables},
};

/// The most responses of a snippet.
const MAX_CONDITIONS: usize = 16;

/// Directives that each `location` of ingress-nginx has, so that those of its `server` do nothing.
const SET_BY_LOCATIONS: &[&str] = &[
    "client_max_body_size",
    "proxy_buffering",
    "proxy_connect_timeout",
    "proxy_http_version",
    "proxy_read_timeout",
    "proxy_redirect",
    "proxy_request_buffering",
    "proxy_send_timeout",
    "proxy_set_header",
];

/// Fields of requests with the values that backends get without a directive.
const AS_IT_IS: &[(&str, &[&str])] = &[
    ("host", &["$host", "$http_host", "$best_http_host"]),
    (
        "x-forwarded-for",
        &["$proxy_add_x_forwarded_for", "$remote_addr", "$the_real_ip"],
    ),
    (
        "x-forwarded-host",
        &["$host", "$http_host", "$best_http_host"],
    ),
    ("x-forwarded-port", &["$server_port", "$pass_server_port"]),
    ("x-forwarded-proto", &["$scheme", "$pass_access_scheme"]),
    ("x-real-ip", &["$remote_addr", "$the_real_ip"]),
    ("x-request-id", &["$request_id", "$req_id"]),
];

/// The part of a text that has no equivalent here, for people.
#[derive(Debug)]
pub(super) struct Unknown(pub(super) Box<str>);

/// The steps that directives stand for.
#[derive(Default)]
pub(super) struct Translation {
    pub(super) conditionals: Vec<Conditional>,
    /// The media type of the responses.
    media_type: Option<HeaderValue>,
    /// Fields for the client; without a value they are removed.
    pub(super) response: Vec<(HeaderName, Option<HeaderValue>)>,
    /// Fields for the backend; without a value they are removed.
    pub(super) request: Vec<(HeaderName, Option<Variables>)>,
    pub(super) host: Option<HeaderValue>,
    /// The networks of `allow` (true) and `deny`, in their order; `None` for all.
    pub(super) networks: Vec<(bool, Option<IpNet>)>,
    pub(super) connect: Option<Duration>,
    pub(super) idle: Vec<Duration>,
    pub(super) body: Option<u64>,
    /// The directives about compression. One that is not valid would be refused by nginx.
    pub(super) compression: CompressionValues,
    /// The translated directives, for people.
    pub(super) made: Vec<String>,
    /// The directives without effect, for people.
    pub(super) idle_directives: Vec<String>,
}

impl Translation {
    /// Translates a text for a `location`.
    ///
    /// # Errors
    /// If a directive has no equivalent.
    pub(super) fn of_location(annotation: &str, text: &str) -> Result<Self, Unknown> {
        Self::of(annotation, text, Self::add)
    }

    /// Translates a text for a `server`.
    ///
    /// # Errors
    /// As [`Self::of_location`].
    pub(super) fn of_server(annotation: &str, text: &str) -> Result<Self, Unknown> {
        Self::of(annotation, text, Self::add_of_server)
    }

    fn of(
        annotation: &str,
        text: &str,
        add: fn(&mut Self, &str, &Directive) -> Option<()>,
    ) -> Result<Self, Unknown> {
        let all = directives(text)?;
        let mut made = Self {
            media_type: all.iter().find_map(responses::media_type),
            ..Self::default()
        };
        known(&all, |directive| add(&mut made, annotation, directive))?;
        Ok(made)
    }

    /// Adds a directive of a `server`; `None` if it is not known.
    fn add_of_server(&mut self, annotation: &str, directive: &Directive) -> Option<()> {
        let words: Vec<&str> = directive.words.iter().map(String::as_str).collect();
        match (&words[..], &directive.block) {
            (["location", rest @ ..], Some(block)) => {
                self.respond(responses::location(annotation, rest, block)?)?;
                self.made.push(directive.text());
            }
            ([name, ..], None) if SET_BY_LOCATIONS.contains(name) || is_about_compression(name) => {
                self.idle_directives.push(directive.text());
            }
            _ => return self.add(annotation, directive),
        }
        Some(())
    }

    /// Adds a directive; `None` if it is not known.
    fn add(&mut self, annotation: &str, directive: &Directive) -> Option<()> {
        let words: Vec<&str> = directive.words.iter().map(String::as_str).collect();
        let made = match (&words[..], &directive.block) {
            (["if", ..], Some(block)) => {
                let media_type = self.media_type.as_ref();
                let made = responses::conditional(annotation, &words[1..], block, media_type);
                made.and_then(|one| self.respond([one]))
            }
            (_, Some(_)) => None,
            (["add_header", name, value] | ["add_header", name, value, "always"], _) => {
                self.set_response(name, value)
            }
            (["more_set_headers", lines @ ..], _) => lines.iter().try_for_each(|line| {
                let (name, value) = line.split_once(':')?;
                self.set_response(name, value.trim())
            }),
            (["more_clear_headers" | "proxy_hide_header", names @ ..], _) => {
                names.iter().try_for_each(|name| {
                    self.response.push((field_name(name)?, None));
                    Some(())
                })
            }
            (["proxy_set_header", name, value], _) => self.set_request(name, value),
            (["allow", network], _) => self.network(true, network),
            (["deny", network], _) => self.network(false, network),
            (["return", rest @ ..], _) => {
                let media_type = self.media_type.as_ref();
                let made = responses::returned(annotation, None, rest, media_type);
                made.and_then(|one| self.respond([one]))
            }
            ([name, rest @ ..], _) if is_about_compression(name) => {
                self.compress(annotation, name, rest)
            }
            (["default_type", _], _) => responses::media_type(directive).map(|_type| ()),
            (["proxy_connect_timeout", time], _) => time_of(time).map(|time| {
                self.connect = Some(time);
            }),
            (["proxy_read_timeout" | "proxy_send_timeout", time], _) => {
                time_of(time).map(|time| self.idle.push(time))
            }
            (["client_max_body_size", bytes], _) => size(bytes).ok().map(|bytes| {
                self.body = Some(bytes);
            }),
            _ => None,
        };

        let list = match made {
            Some(()) => &mut self.made,
            // It cannot let anybody in who should stay outside.
            None if is_harmless(directive) => &mut self.idle_directives,
            None => return None,
        };
        list.push(directive.text());
        Some(())
    }

    fn compress(&mut self, annotation: &str, name: &str, words: &[&str]) -> Option<()> {
        if let Some(directive) = name.strip_prefix("gzip") {
            let gzip = &mut self.compression.gzip;
            return gzip.read_directive(annotation, (directive, words), GZIP_LEVELS);
        }
        let directive = name.strip_prefix("brotli").filter(|_| HAS_BROTLI)?;
        let brotli = &mut self.compression.brotli;
        brotli.read_directive(annotation, (directive, words), BROTLI_LEVELS)
    }

    fn set_response(&mut self, name: &str, value: &str) -> Option<()> {
        let name = field_name(name)?;
        let value = match value {
            "" => None,
            value if value.contains('$') => return None,
            value => Some(HeaderValue::from_str(value).ok()?),
        };
        self.response.push((name, value));
        Some(())
    }

    fn set_request(&mut self, name: &str, value: &str) -> Option<()> {
        let lower = name.to_ascii_lowercase();
        if is_as_it_is(AS_IT_IS, &lower, value) {
            return Some(());
        }

        match &*lower {
            // Connections and upgrades are passed on as they must be.
            "connection" | "upgrade" => return Some(()),
            "host" => {
                self.host = Some(authority(value).ok()?);
                return Some(());
            }
            _ => {}
        }

        let name = field_name(name)?;
        let value = match value {
            "" => None,
            value => Some(Variables::parse(value).ok()?),
        };
        self.request.push((name, value));
        Some(())
    }

    fn network(&mut self, allows: bool, network: &str) -> Option<()> {
        let network = match network {
            "all" => None,
            network => Some(*networks(network).ok()?.first()?),
        };
        self.networks.push((allows, network));
        lists(&self.networks).map(|_lists| ())
    }

    /// Adds responses of our own, if there are not too many.
    fn respond(&mut self, made: impl IntoIterator<Item = Conditional>) -> Option<()> {
        self.conditionals.extend(made);
        (self.conditionals.len() <= MAX_CONDITIONS).then_some(())
    }
}

/// Returns the networks that may not come in, and the only ones that may. nginx takes the first
/// line that fits; `None` for an order that these lists cannot express.
pub(super) fn lists(lines: &[(bool, Option<IpNet>)]) -> Option<(Vec<IpNet>, Option<Vec<IpNet>>)> {
    let (mut denied, mut allowed) = (Vec::new(), Vec::new());
    for (allows, network) in lines {
        match (allows, network) {
            (true, Some(network)) => allowed.push(*network),
            (false, Some(network)) if allowed.is_empty() => denied.push(*network),
            (false, Some(_)) => return None,
            (true, None) => return Some((denied, None)),
            (false, None) if allowed.is_empty() => {
                denied.extend([IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())]);
                return Some((denied, None));
            }
            (false, None) => return Some((denied, Some(allowed))),
        }
    }
    Some((denied, None))
}

/// Returns true for the name of a directive about compression.
fn is_about_compression(name: &str) -> bool {
    name.starts_with("gzip") || name.starts_with("brotli")
}

/// Returns true if a field has this value without a directive.
pub(super) fn is_as_it_is(known: &[(&str, &[&str])], field: &str, value: &str) -> bool {
    let mut known = known.iter();
    known.any(|(name, values)| *name == field && values.contains(&value))
}

/// Splits a text into directives.
///
/// # Errors
/// If its quotes or blocks do not end.
pub(super) fn directives(text: &str) -> Result<Vec<Directive>, Unknown> {
    nginx_config::parse(text).ok_or_else(|| Unknown("a quote or block that does not end".into()))
}

/// Calls `add` with each directive.
///
/// # Errors
/// If one has no equivalent: `None` from `add`.
pub(super) fn known(
    all: &[Directive],
    mut add: impl FnMut(&Directive) -> Option<()>,
) -> Result<(), Unknown> {
    match all.iter().find(|directive| add(directive).is_none()) {
        Some(unknown) => Err(Unknown(format!("{:?}", unknown.text()).into())),
        None => Ok(()),
    }
}

/// Returns the field of this name, unless it may not be changed.
pub(super) fn field_name(name: &str) -> Option<HeaderName> {
    let name = HeaderName::try_from(name.trim()).ok()?;
    (!FORBIDDEN.contains(&name.as_str())).then_some(name)
}

/// Reads a time of nginx: seconds, or a number with a unit.
fn time_of(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    let seconds = number.checked_mul(unit)?;
    (1..=7 * 24 * 3600)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}
