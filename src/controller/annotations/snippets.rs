//! Configuration of nginx in annotations: the usual directives become the steps that they stand
//! for. Nothing else of it is executed.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    external::external,
    fields::{FORBIDDEN, add},
    row::{Annotation, NGINX, OLD, row},
    traffic::{idle, size},
    value::{authority, networks},
    values::{AnnotationValues, SnippetValues},
};
use crate::{
    controller::{
        Reason,
        nginx_config::{self, Directive, is_harmless},
    },
    objects::EventType,
    routing::{Condition, Conditional, Elsewhere, Location, Pattern, Test, Then, Variables},
};

/// The most conditions of a snippet.
const MAX_CONDITIONS: usize = 16;

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

/// The same for the server that checks logins.
const AS_IT_IS_FOR_LOGINS: &[(&str, &[&str])] = &[
    (
        "x-forwarded-host",
        &["$host", "$http_host", "$best_http_host"],
    ),
    ("x-forwarded-method", &["$request_method"]),
    ("x-original-method", &["$request_method"]),
];

/// The rows.
pub(super) const ROWS: &[Annotation] = &[row(
    &[NGINX, OLD],
    "configuration-snippet",
    "directives of nginx",
    "`add_header`, `more_set_headers`, `more_clear_headers`, `proxy_hide_header`, \
     `proxy_set_header`, `allow`, `deny`, `return` with a redirect or a status from 400 on, the \
     same in `if`, `proxy_read_timeout`, `proxy_send_timeout`, `proxy_connect_timeout` and \
     `client_max_body_size` become steps; a finding shows them. Further ones about responses, \
     buffers and timeouts have no effect.",
    |values, name, value| {
        read(values, name, value);
        Ok(())
    },
)
.differs(
    "Nothing of it is executed. Any other directive closes the paths, and the finding names it. \
     Fields of responses replace those of the backend, whatever the status.",
), row(
    &[NGINX, OLD],
    "auth-snippet",
    "`proxy_set_header` of nginx",
    "The server of `auth-url` gets these fields too, in place of those of the client; variables \
     may stand in the values.",
    |values, name, value| {
        read_of_login(values, name, value);
        Ok(())
    },
)
.differs("Any other directive closes the paths.")];

/// Reads a snippet. It applies as a whole, or not at all.
fn read(values: &mut AnnotationValues, name: &str, text: &str) {
    let mut translation = Translation::default();
    match unknown_in(text, |directive| translation.add(name, directive)) {
        None => translation.apply(values, name),
        Some(unknown) => values.snippet.unknown = Some((name.into(), unknown)),
    }
}

/// Calls `add` with each directive of a text. Returns the words for people about the first that is
/// not known: `None` from `add`.
fn unknown_in(text: &str, mut add: impl FnMut(&Directive) -> Option<()>) -> Option<String> {
    let Some(directives) = nginx_config::parse(text) else {
        return Some("a quote or block that does not end".to_owned());
    };
    let unknown = directives.iter().find(|directive| add(directive).is_none());
    unknown.map(|directive| format!("{:?}", directive.text()))
}

/// Reads a snippet for the requests to the server that checks logins.
fn read_of_login(values: &mut AnnotationValues, name: &str, text: &str) {
    let unknown = unknown_in(text, |directive| {
        let (field, value) = match (&directive.words[..], &directive.block) {
            ([set, field, value], None) if set == "proxy_set_header" => {
                (field_name(field)?, Variables::parse(value).ok()?)
            }
            _ => return None,
        };
        if !is_as_it_is(AS_IT_IS_FOR_LOGINS, field.as_str(), value.as_str()) {
            external(values, name).sets.push((field, value));
        }
        Some(())
    });
    if let Some(unknown) = unknown {
        values.snippet.unknown = Some((name.into(), unknown));
    }
}

/// Returns true if a field has this value without a directive.
fn is_as_it_is(known: &[(&str, &[&str])], field: &str, value: &str) -> bool {
    let mut known = known.iter();
    known.any(|(name, values)| *name == field && values.contains(&value))
}

/// The steps that directives stand for.
#[derive(Default)]
struct Translation {
    conditionals: Vec<Conditional>,
    /// Fields for the client; without a value they are removed.
    response: Vec<(HeaderName, Option<HeaderValue>)>,
    /// Fields for the backend; without a value they are removed.
    request: Vec<(HeaderName, Option<Variables>)>,
    host: Option<HeaderValue>,
    /// The networks of `allow` (true) and `deny`, in their order; `None` for all.
    networks: Vec<(bool, Option<IpNet>)>,
    connect: Option<Duration>,
    idle: Vec<Duration>,
    body: Option<u64>,
    /// The translated directives, for people.
    made: Vec<String>,
    /// The directives without effect, for people.
    idle_directives: Vec<String>,
}

impl Translation {
    /// Adds a directive; `None` if it is not known.
    fn add(&mut self, annotation: &str, directive: &Directive) -> Option<()> {
        let words: Vec<&str> = directive.words.iter().map(String::as_str).collect();
        let made = match (&words[..], &directive.block) {
            (["if", ..], Some(block)) => self.conditional(annotation, &words[1..], block),
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
            (["return", rest @ ..], _) => self.returned(annotation, None, rest),
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

    fn conditional(&mut self, annotation: &str, words: &[&str], block: &[Directive]) -> Option<()> {
        let [then] = block else { return None };
        let mut returned = then.words.iter().map(String::as_str);
        if returned.next() != Some("return") || then.block.is_some() {
            return None;
        }
        let rest: Vec<&str> = returned.collect();
        let condition = condition(words)?;
        self.returned(annotation, Some(condition), &rest)
    }

    /// Adds the response of a `return` with these arguments.
    fn returned(
        &mut self,
        annotation: &str,
        condition: Option<Condition>,
        rest: &[&str],
    ) -> Option<()> {
        let (status, url) = match rest {
            [url] if url.contains("://") => (StatusCode::FOUND, Some(*url)),
            [status] => (status_of(status)?, None),
            [status, url] => (status_of(status)?, Some(*url)),
            _ => return None,
        };
        let then = match (status.as_u16(), url) {
            (301..=303 | 307 | 308, Some(url)) => Then::Redirect(Box::new(Elsewhere {
                from: annotation.into(),
                status,
                to: Location::parse(url)
                    .or_else(|_| Location::parse_path(url))
                    .ok()?,
                of_root: false,
            })),
            (400..=599, None) => Then::Refuse(status),
            // nginx ends the connection.
            _ => return None,
        };

        if self.conditionals.len() >= MAX_CONDITIONS {
            return None;
        }
        self.conditionals.push(Conditional {
            from: annotation.into(),
            condition,
            then,
        });
        Some(())
    }

    /// Makes the settings, and the finding that shows them.
    fn apply(self, values: &mut AnnotationValues, name: &str) {
        for (field, value) in self.response {
            match value {
                Some(value) => {
                    // Above the most fields of an Ingress it is as an invalid annotation.
                    let added = add(&mut values.fields.response, name, vec![(field, value)]);
                    if added.is_err() {
                        values.snippet.unknown = Some((name.into(), "too many fields".to_owned()));
                    }
                }
                None => values.snippet.hidden.push(field),
            }
        }

        if self.host.is_some() {
            values.host = self.host.map(|host| (name.into(), host));
        }

        let (denied, allowed) = lists(&self.networks).unwrap_or_default();
        if !self.networks.is_empty() {
            values.access.from.push(name.into());
            values.access.denied.extend(denied);
            values.access.allowed.extend(allowed);
        }

        if self.connect.is_some() {
            values.policy.timeouts.connect = self.connect;
        }
        for time in self.idle {
            idle(values, time);
        }
        if self.body.is_some() {
            values.policy.max_body_bytes = self.body;
        }

        let mut message = String::new();
        if !self.made.is_empty() {
            message += &format!("done here: {}", self.made.join("; "));
        }
        if !self.idle_directives.is_empty() {
            let separator = if message.is_empty() { "" } else { ". " };
            let without = self.idle_directives.join("; ");
            message += &format!("{separator}without effect here: {without}");
        }

        if !message.is_empty() {
            values.report(EventType::Normal, Reason::TranslatedSnippet, name, message);
        }

        values.snippet = SnippetValues {
            from: Some(name.into()),
            ..std::mem::take(&mut values.snippet)
        };
        values.snippet.conditionals.extend(self.conditionals);
        values.snippet.request.extend(self.request);
    }
}

/// Returns the networks that may not come in, and the only ones that may. nginx takes the first
/// line that fits; `None` for an order that these lists cannot express.
fn lists(lines: &[(bool, Option<IpNet>)]) -> Option<(Vec<IpNet>, Option<Vec<IpNet>>)> {
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

/// Reads the words of a condition.
fn condition(words: &[&str]) -> Option<Condition> {
    let mut words: Vec<&str> = words.to_vec();
    let first = words.first_mut()?;
    *first = first.strip_prefix('(')?;
    let last = words.last_mut()?;
    *last = last.strip_suffix(')')?;
    words.retain(|word| !word.is_empty());

    let (text, test, is_negated) = match words[..] {
        [text] => (text, Test::Filled, false),
        [text, operator @ ("=" | "!="), value] => (text, Test::Is(value.into()), operator == "!="),
        [text, operator @ ("~" | "~*" | "!~" | "!~*"), pattern] => {
            let pattern = Pattern::parse_within(pattern, operator.ends_with('*')).ok()?;
            (text, Test::Matches(pattern), operator.starts_with('!'))
        }
        _ => return None,
    };
    if !text.starts_with('$') {
        return None;
    }

    Some(Condition {
        text: Variables::parse(text).ok()?,
        test,
        is_negated,
    })
}

fn field_name(name: &str) -> Option<HeaderName> {
    let name = HeaderName::try_from(name.trim()).ok()?;
    (!FORBIDDEN.contains(&name.as_str())).then_some(name)
}

fn status_of(text: &str) -> Option<StatusCode> {
    StatusCode::from_u16(text.parse().ok()?).ok()
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
