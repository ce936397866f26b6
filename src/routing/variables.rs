//! Texts in which parts of the request may stand, by the names of nginx: a fixed set.

use http::HeaderName;

use super::{Head, RequestUrl, canary::cookie_value};
use crate::util::percent;

/// The most bytes of a text.
const MAX_TEXT: usize = 2048;
/// The most variables in a text.
const MAX_VARIABLES: usize = 32;

/// A text with variables.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variables {
    text: Box<str>,
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Text(Box<str>),
    Address,
    Args,
    Argument(Box<str>),
    /// The host and port as the client wrote them.
    Authority,
    Cookie(Box<str>),
    EscapedTarget,
    Field(HeaderName),
    Host,
    Method,
    Path,
    Scheme,
    Target,
}

/// The variables without a name of their own behind them.
const NAMES: &[(&str, Part)] = &[
    ("args", Part::Args),
    ("binary_remote_addr", Part::Address),
    ("best_http_host", Part::Authority),
    ("escaped_request_uri", Part::EscapedTarget),
    ("host", Part::Host),
    // HTTP/2 has no field for it.
    ("http_host", Part::Authority),
    ("pass_access_scheme", Part::Scheme),
    ("query_string", Part::Args),
    ("realip_remote_addr", Part::Address),
    ("remote_addr", Part::Address),
    ("request_method", Part::Method),
    ("request_uri", Part::Target),
    ("scheme", Part::Scheme),
    ("the_real_ip", Part::Address),
    ("uri", Part::Path),
];

/// The reason why a text is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariablesError {
    /// It has a variable that is not known.
    #[error("${0} is not a known variable")]
    Unknown(Box<str>),
    /// It is too long.
    #[error("it has more than {MAX_TEXT} bytes or {MAX_VARIABLES} variables")]
    TooLong,
}

/// The parts of a request that variables stand for.
#[derive(Debug)]
pub struct RequestParts<'a, H> {
    /// Method, fields and query.
    pub head: &'a H,
    /// The URL as the client sees it.
    pub url: RequestUrl<'a>,
    /// The normalised path.
    pub path: &'a str,
    /// The address of the client.
    pub address: &'a str,
    /// The host and port as the client wrote them.
    pub authority: &'a [u8],
}

impl Variables {
    /// Parses a text. `${name}` is the same as `$name`.
    ///
    /// # Errors
    /// If it has a variable that is not known, or is too long.
    pub fn parse(text: &str) -> Result<Self, VariablesError> {
        let mut parts = Vec::new();
        let mut pieces = text.split('$');
        let first = pieces.next().unwrap_or_default();

        if !first.is_empty() {
            parts.push(Part::Text(first.into()));
        }

        for piece in pieces {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';

            let braced = piece
                .strip_prefix('{')
                .and_then(|rest| rest.split_once('}'));
            let (name, rest) = braced.unwrap_or_else(|| {
                piece.split_at(piece.find(|c| !is_name(c)).unwrap_or(piece.len()))
            });

            parts.push(part(name).ok_or_else(|| VariablesError::Unknown(name.into()))?);
            if !rest.is_empty() {
                parts.push(Part::Text(rest.into()));
            }
        }

        if text.len() > MAX_TEXT || parts.len() > 2 * MAX_VARIABLES {
            return Err(VariablesError::TooLong);
        }
        Ok(Self {
            text: text.into(),
            parts: parts.into(),
        })
    }

    /// Returns the text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns true if it is the path alone.
    pub fn is_path(&self) -> bool {
        matches!(&*self.parts, [Part::Path])
    }

    /// Returns the text of a request.
    pub fn of<H: Head>(&self, request: RequestParts<'_, H>) -> Vec<u8> {
        let (url, mut out) = (request.url, Vec::new());

        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Address => out.extend_from_slice(request.address.as_bytes()),
                Part::Args => out.extend_from_slice(url.query.unwrap_or_default().as_bytes()),
                Part::Argument(name) => out.extend_from_slice(argument(url.query, name)),
                Part::Authority => out.extend_from_slice(request.authority),
                Part::Cookie(name) => {
                    let value = cookie_value(request.head, name);
                    out.extend_from_slice(value.unwrap_or_default());
                }
                Part::EscapedTarget => {
                    out.extend_from_slice(percent::encode(&target(url)).as_bytes());
                }
                Part::Field(name) => {
                    let values: Vec<&[u8]> = request.head.values(name).collect();
                    out.extend_from_slice(&values.join(&b", "[..]));
                }
                Part::Host => out.extend_from_slice(url.host.as_bytes()),
                Part::Method => out.extend_from_slice(request.head.method().as_str().as_bytes()),
                Part::Path => out.extend_from_slice(request.path.as_bytes()),
                Part::Scheme => {
                    let scheme = if url.https { "https" } else { "http" };
                    out.extend_from_slice(scheme.as_bytes());
                }
                Part::Target => out.extend_from_slice(target(url).as_bytes()),
            }
        }

        out
    }
}

/// Returns the variable of a name.
fn part(name: &str) -> Option<Part> {
    if let Some((_, part)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(part.clone());
    }
    let rest = |prefix| {
        let rest = name.strip_prefix(prefix);
        rest.filter(|rest: &&str| !rest.is_empty())
    };
    if let Some(field) = rest("http_") {
        let field = field.replace('_', "-").to_ascii_lowercase();
        return field.parse().ok().map(Part::Field);
    }
    let cookie = rest("cookie_").map(|name| Part::Cookie(name.into()));
    cookie.or_else(|| rest("arg_").map(|name| Part::Argument(name.into())))
}

fn target(url: RequestUrl<'_>) -> String {
    let mut target = String::new();
    url.push_target(&mut target);
    target
}

/// Returns the first parameter of a name, as it stands in the query.
fn argument<'q>(query: Option<&'q str>, name: &str) -> &'q [u8] {
    let pairs = query.into_iter().flat_map(|query| query.split('&'));
    let mut values = pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    values.next().unwrap_or_default().as_bytes()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn variables_stand_for_parts_of_the_request() {
        let head = Request::builder()
            .header("x-user", "ann")
            .header("cookie", "a=1; b=2");
        let head = head.body(()).expect("a request");
        let request = || RequestParts {
            head: &head,
            url: RequestUrl {
                https: true,
                host: "a.example",
                port: 443,
                https_port: 443,
                path: "/x%20y",
                query: Some("q=1&r=2"),
            },
            path: "/x%20y",
            address: "192.0.2.1",
            authority: b"A.example:443",
        };
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$request_uri", "/x%20y?q=1&r=2"),
            (
                "$scheme://$host$uri?$args",
                "https://a.example/x%20y?q=1&r=2",
            ),
            ("${remote_addr}x", "192.0.2.1x"),
            ("$http_x_user-$cookie_b-$arg_r-$arg_s", "ann-2-2-"),
            ("$request_method", "GET"),
            ("$http_host $best_http_host", "A.example:443 A.example:443"),
            ("$escaped_request_uri", "%2Fx%2520y%3Fq%3D1%26r%3D2"),
        ] {
            let found = Variables::parse(text).expect(text).of(request());
            assert_eq!(String::from_utf8(found).expect("text"), expected, "{text}");
        }
        for text in ["$", "$$", "$unknown", "$hostname", "${host", "$http_", "$1"] {
            assert!(Variables::parse(text).is_err(), "{text}");
        }
        assert!(Variables::parse(&"x".repeat(3000)).is_err());
        assert!(Variables::parse(&"$host".repeat(100)).is_err());
    }
}
