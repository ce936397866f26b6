//! The values with which annotations have the meaning of their row. In doubt a guard guards.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::objects::Texts;

/// Words for "no".
const NO: &[&str] = &["false", "f", "0", "off", "no", "none", "disabled"];

/// Directives of nginx about responses, buffers and timeouts, which never decide who comes in.
const HARMLESS_DIRECTIVES: &[&str] = &[
    "access_log",
    "add_header",
    "add_trailer",
    "brotli",
    "brotli_comp_level",
    "brotli_types",
    "charset",
    "chunked_transfer_encoding",
    "client_body_buffer_size",
    "client_body_timeout",
    "client_max_body_size",
    "error_log",
    "etag",
    "expires",
    "gzip",
    "gzip_comp_level",
    "gzip_min_length",
    "gzip_proxied",
    "gzip_types",
    "gzip_vary",
    "keepalive_timeout",
    "large_client_header_buffers",
    "more_clear_headers",
    "more_set_headers",
    "proxy_buffer_size",
    "proxy_buffering",
    "proxy_buffers",
    "proxy_busy_buffers_size",
    "proxy_connect_timeout",
    "proxy_cookie_domain",
    "proxy_cookie_path",
    "proxy_hide_header",
    "proxy_http_version",
    "proxy_max_temp_file_size",
    "proxy_read_timeout",
    "proxy_redirect",
    "proxy_request_buffering",
    "proxy_send_timeout",
    "send_timeout",
    "sub_filter",
    "sub_filter_last_modified",
    "sub_filter_once",
    "sub_filter_types",
    "tcp_nodelay",
];

/// Request fields that decide nothing. A backend may trust any other field, and without the snippet
/// the client could send it.
const HARMLESS_FIELDS: &[&str] = &[
    "accept-encoding",
    "connection",
    "host",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-real-ip",
    "x-request-id",
    "x-scheme",
];

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
    let Some(directives) = directives(snippet) else {
        return false;
    };
    directives.iter().all(|words| match &**words {
        [name, field, ..] if name == "proxy_set_header" => {
            HARMLESS_FIELDS.contains(&&*field.to_ascii_lowercase())
        }
        [name, ..] => HARMLESS_DIRECTIVES.contains(&&**name),
        [] => true,
    })
}

/// Splits nginx configuration into directives and their words, as nginx does. Returns `None` for
/// blocks and unterminated quotes.
fn directives(text: &str) -> Option<Vec<Vec<String>>> {
    let mut all = vec![Vec::new()];
    let mut chars = text.chars().peekable();

    while let Some(first) = chars.next() {
        match first {
            ';' => all.push(Vec::new()),
            '{' | '}' => return None,
            '#' => while chars.next().is_some_and(|next| next != '\n') {},
            blank if blank.is_whitespace() => {}
            quote @ ('"' | '\'') => {
                let mut word = String::new();
                loop {
                    match chars.next()? {
                        '\\' => word.extend(chars.next()),
                        end if end == quote => break,
                        other => word.push(other),
                    }
                }
                all.last_mut()?.push(word);
            }
            other => {
                let mut word = String::from(other);
                while let Some(&next) = chars.peek() {
                    match next {
                        ';' => break,
                        blank if blank.is_whitespace() => break,
                        // `${name}` is a variable.
                        '{' if word.ends_with('$') => {}
                        '}' if word.contains("${") => {}
                        '{' | '}' => return None,
                        _ => {}
                    }
                    word.push(next);
                    chars.next();
                }
                all.last_mut()?.push(word);
            }
        }
    }

    Some(all)
}

/// Client certificates as ingress-nginx and HAProxy Ingress read them: a Secret with the CA, unless
/// verification is off. With `auth-tls-match-cn` ingress-nginx then refuses all requests. Optional
/// certificates guard too: the backend decides by a field that only the controller may set.
pub(super) const CLIENT_CERTIFICATES: When = When::Custom(
    |value, siblings| {
        let is_verified = siblings.get("auth-tls-verify-client") != Some("off");
        !value.is_empty() && (is_verified || siblings.get("auth-tls-match-cn").is_some())
    },
    "any value but an empty one, unless `auth-tls-verify-client` is off without \
     `auth-tls-match-cn`",
);

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
