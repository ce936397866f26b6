//! Redirects to another URL, in which parts of the request may stand.

use http::StatusCode;

use super::{RequestUrl, expression::Groups};

/// The most bytes of a target.
const MAX_TEXT: usize = 2048;

/// A redirect of requests to another URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Elsewhere {
    /// The annotation that it is made from, for people.
    pub from: Box<str>,
    /// The status of the response.
    pub status: StatusCode,
    /// Its target.
    pub to: Location,
    /// True if it is for the path `/` alone.
    pub of_root: bool,
}

/// The target of a redirect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location(Box<[Part]>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Text(Box<str>),
    Scheme,
    Host,
    /// Path and query as the client sent them.
    Target,
    /// The query, without `?`.
    Query,
    /// A group of the expression that matched the path.
    Group(u8),
}

/// The variables of nginx that may stand in a target.
const VARIABLES: &[(&str, Part)] = &[
    ("$request_uri", Part::Target),
    ("$scheme", Part::Scheme),
    ("$host", Part::Host),
    ("$args", Part::Query),
];

/// The reason why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// It is no URL of HTTP.
    #[error("it is not a URL that begins with http:// or https://")]
    Scheme,
    /// It has a character that no URL has.
    #[error("it has a character that no URL has")]
    Character,
    /// It is too long.
    #[error("it has more than {MAX_TEXT} bytes")]
    TooLong,
    /// It has another variable than those that are known.
    #[error("its variables can be $request_uri, $scheme, $host and $args only")]
    Variable,
}

impl Location {
    /// Parses a whole URL. It may begin with a variable for the scheme.
    ///
    /// # Errors
    /// If it is no URL, or has a variable that is not known.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        if !is_url(text) {
            return Err(LocationError::Scheme);
        }
        Self::parse_any(text)
    }

    /// Parses a path on the host of the request.
    ///
    /// # Errors
    /// If it does not begin with one slash, or as [`Self::parse`].
    pub fn parse_path(text: &str) -> Result<Self, LocationError> {
        if !text.starts_with('/') || text.starts_with("//") {
            return Err(LocationError::Scheme);
        }
        Self::parse_any(text)
    }

    /// Takes a whole URL, or a path on the host of the request, in which no variables stand.
    ///
    /// # Errors
    /// If it is neither, or has a character that no URL has.
    pub fn literal(text: &str) -> Result<Self, LocationError> {
        let is_path = text.starts_with('/') && !text.starts_with("//");
        if !is_path && (!is_url(text) || text.starts_with('$')) {
            return Err(LocationError::Scheme);
        }
        check(text)?;
        Ok(Self([Part::Text(text.into())].into()))
    }

    /// Parses any text in which the variables may stand.
    ///
    /// # Errors
    /// As [`Self::parse`], but for the scheme.
    pub fn parse_any(text: &str) -> Result<Self, LocationError> {
        Self::parts(text, false)
    }

    /// Parses any text in which groups may stand, `$1` to `$9`, beside the variables.
    ///
    /// # Errors
    /// As [`Self::parse`], but for the scheme.
    pub(super) fn parse_with_groups(text: &str) -> Result<Self, LocationError> {
        Self::parts(text, true)
    }

    fn parts(text: &str, with_groups: bool) -> Result<Self, LocationError> {
        check(text)?;

        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            if at > 0 {
                parts.push(Part::Text(rest[..at].into()));
            }
            rest = &rest[at..];

            let name = |name: &str| {
                let after = rest.strip_prefix(name)?;
                // `$hostname` is another variable than `$host`.
                let ends = !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
                ends.then_some(after)
            };
            let known = VARIABLES
                .iter()
                .find_map(|(text, part)| Some((name(text)?, part.clone())));
            let group = || with_groups.then(|| group(rest)).flatten();
            let (after, part) = known.or_else(group).ok_or(LocationError::Variable)?;
            parts.push(part);
            rest = after;
        }

        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self(parts.into()))
    }

    /// Returns true if a group stands in it.
    pub(super) fn has_groups(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Group(_)))
    }

    /// Returns the target for a request.
    pub fn of_request(&self, request: RequestUrl<'_>) -> String {
        let none = Groups::none();
        let out = self.with_groups(request, &none, usize::MAX);
        out.unwrap_or_default()
    }

    /// Returns the target for a request in whose path these groups are; `None` if it has more than
    /// `max` bytes.
    pub(super) fn with_groups(
        &self,
        request: RequestUrl<'_>,
        groups: &Groups<'_>,
        max: usize,
    ) -> Option<String> {
        let mut out = String::new();

        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Scheme => out.push_str(if request.https { "https" } else { "http" }),
                Part::Host => out.push_str(request.host),
                Part::Target => request.push_target(&mut out),
                Part::Query => out.push_str(request.query.unwrap_or_default()),
                Part::Group(number) => out.push_str(groups.get(usize::from(*number))),
            }
            if out.len() > max {
                return None;
            }
        }

        Some(out)
    }
}

/// Checks the length and the characters of a target.
fn check(text: &str) -> Result<(), LocationError> {
    if text.len() > MAX_TEXT {
        return Err(LocationError::TooLong);
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(LocationError::Character);
    }
    Ok(())
}

/// Returns true if a target is a whole URL. It may begin with a variable for the scheme.
pub(super) fn is_url(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let mut starts = ["http://", "https://", "$scheme://"].into_iter();
    starts.any(|start| lower.starts_with(start))
}

/// Reads a group at the start of a text, and returns what stands behind it.
fn group(text: &str) -> Option<(&str, Part)> {
    let digit = *text.as_bytes().get(1)?;
    let number = digit.is_ascii_digit().then(|| digit - b'0')?;
    (number > 0).then(|| (&text[2..], Part::Group(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: RequestUrl<'_> = RequestUrl {
        https: true,
        host: "a.example",
        port: 8443,
        https_port: 8443,
        path: "/x",
        query: Some("y=1"),
    };

    #[test]
    fn variables_stand_for_parts_of_the_request() {
        for (text, expected) in [
            ("https://b.example/", "https://b.example/"),
            ("https://b.example$request_uri", "https://b.example/x?y=1"),
            ("$scheme://$host/z?$args", "https://a.example/z?y=1"),
            (
                "HTTP://b.example/$scheme/$host",
                "HTTP://b.example/https/a.example",
            ),
        ] {
            let location = Location::parse(text).expect("a location");
            assert_eq!(location.of_request(REQUEST), expected, "{text}");
        }
        let path = Location::parse_path("/app?a=b").expect("a path");
        assert_eq!(path.of_request(REQUEST), "/app?a=b");
        for text in ["https://b.example/$host?$x", "/app$1"] {
            let literal = Location::literal(text).expect("a target");
            assert_eq!(literal.of_request(REQUEST), text);
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for (text, expected) in [
            ("", LocationError::Scheme),
            ("/x", LocationError::Scheme),
            ("b.example", LocationError::Scheme),
            ("javascript:alert(1)", LocationError::Scheme),
            ("https://b.example/ x", LocationError::Character),
            (
                "https://b.example/\r\nset-cookie: a",
                LocationError::Character,
            ),
            ("https://b.example/\u{e4}", LocationError::Character),
            ("https://b.example/$hostname", LocationError::Variable),
            ("https://b.example/$1", LocationError::Variable),
            ("https://b.example/$", LocationError::Variable),
        ] {
            assert_eq!(Location::parse(text), Err(expected), "{text:?}");
        }
        for text in ["", "b.example", "//b.example/", "$scheme://b.example/"] {
            assert_eq!(
                Location::literal(text),
                Err(LocationError::Scheme),
                "{text}"
            );
        }
        let long = format!("https://b.example/{}", "a".repeat(MAX_TEXT));
        assert_eq!(Location::parse(&long), Err(LocationError::TooLong));
        for text in ["app", "//b.example/", "https://b.example/"] {
            assert_eq!(
                Location::parse_path(text),
                Err(LocationError::Scheme),
                "{text}"
            );
        }
    }
}
