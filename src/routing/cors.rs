//! CORS: the origins of web pages that may read the responses of a route (Fetch standard, section
//! 3.3).

use http::HeaderValue;

use super::{AllowedList, GoPattern};

/// The most origins of a list.
const MAX_ORIGINS: usize = 64;

/// The terms on which pages of other origins may use a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cors {
    /// The annotation that it is made from, for people.
    pub from: Box<str>,
    /// The origins.
    pub origins: Origins,
    /// True if requests may have credentials.
    pub credentials: bool,
    /// `Access-Control-Allow-Methods`
    pub methods: AllowedList,
    /// `Access-Control-Allow-Headers`
    pub headers: AllowedList,
    /// `Access-Control-Expose-Headers`
    pub expose: Option<HeaderValue>,
    /// `Access-Control-Max-Age`
    pub max_age: HeaderValue,
    /// The controller whose annotations it is made from.
    pub dialect: CorsDialect,
}

/// The controllers that differ in when they send the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CorsDialect {
    /// ingress-nginx responds to OPTIONS of origins that may use the route. If all may, requests
    /// without an origin have the fields too.
    #[default]
    Nginx,
    /// HAProxy Ingress responds to every OPTIONS, and names the origin even if all may use the
    /// route.
    HaproxyIngress,
    /// The controller of HAProxy Technologies sends `Access-Control-Max-Age` always, and leaves
    /// OPTIONS to the backend unless it is asked to respond.
    HaproxyTechnologies {
        /// True if it responds to every OPTIONS.
        responds: bool,
    },
}

/// The origins that may use a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origins {
    /// All of them.
    Any,
    /// These.
    Listed(OriginList),
}

/// Origins that may use a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OriginList {
    /// In lower case: `scheme://host`, with a port, and with `*.` for one label.
    pub named: Box<[Box<str>]>,
    /// Expressions that are found in origins.
    pub patterns: Box<[GoPattern]>,
}

/// The reason why a list of origins is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// It has none.
    #[error("it is empty")]
    Empty,
    /// It has too many.
    #[error("it has more than {MAX_ORIGINS} origins")]
    TooMany,
    /// This one has not the form of an origin.
    #[error("{0:?} is not an origin (https://app.example.com, https://*.example.com)")]
    Invalid(Box<str>),
}

impl Origins {
    /// Parses a list separated by commas; `*` stands for all.
    ///
    /// # Errors
    /// If it is empty, too long, or has something that is no origin.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let words = text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty());
        let words: Vec<&str> = words.collect();

        if words.is_empty() {
            return Err(OriginError::Empty);
        }
        if words.len() > MAX_ORIGINS {
            return Err(OriginError::TooMany);
        }
        if words.contains(&"*") {
            return Ok(Self::Any);
        }

        let origin = |word: &&str| match is_origin(word) {
            true => Ok(word.to_ascii_lowercase().into()),
            false => Err(OriginError::Invalid((*word).into())),
        };
        let named: Result<Box<[Box<str>]>, OriginError> = words.iter().map(origin).collect();
        Ok(Self::Listed(OriginList {
            named: named?,
            patterns: [].into(),
        }))
    }

    /// Reports whether a request with this origin, or without one, may use the route.
    pub fn allow(&self, origin: Option<&[u8]>) -> bool {
        *self == Self::Any || origin.is_some_and(|origin| self.has(origin))
    }

    /// Reports whether a page of this origin may use the route.
    pub fn has(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(list) => {
                list.named.iter().any(|known| takes(known, origin))
                    || list.patterns.iter().any(|pattern| pattern.is_in(origin))
            }
        }
    }
}

impl Cors {
    /// Reports whether a request with this origin, or without one, may use the route.
    pub fn allows(&self, origin: Option<&[u8]>) -> bool {
        match self.dialect {
            CorsDialect::Nginx => self.origins.allow(origin),
            _ => origin.is_some_and(|origin| self.origins.has(origin)),
        }
    }

    /// Reports whether OPTIONS with this origin, or without one, has a response of ours.
    pub fn responds(&self, origin: Option<&[u8]>) -> bool {
        match self.dialect {
            CorsDialect::Nginx => self.allows(origin),
            CorsDialect::HaproxyIngress => true,
            CorsDialect::HaproxyTechnologies { responds } => responds,
        }
    }

    /// Reports whether responses name the origin of the request.
    pub fn names_origin(&self) -> bool {
        matches!(self.origins, Origins::Listed(_)) || self.dialect == CorsDialect::HaproxyIngress
    }
}

/// Returns true for a scheme, a host that may begin with a wildcard, and an optional port.
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let is_word = |text: &str, more: &[u8]| {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
        !text.is_empty() && text.bytes().all(is_fit)
    };
    let host = rest.strip_prefix("*.").unwrap_or(rest);
    match host.rsplit_once(':') {
        Some((host, port)) => {
            is_word(scheme, b"+-.") && is_word(host, b"-.") && port.parse::<u16>().is_ok()
        }
        None => is_word(scheme, b"+-.") && is_word(host, b"-."),
    }
}

/// Reports whether a listed origin, perhaps with a wildcard, is this one.
fn takes(known: &str, origin: &[u8]) -> bool {
    let Some((start, end)) = known.split_once("*.") else {
        return known.as_bytes().eq_ignore_ascii_case(origin);
    };
    let Some((scheme, host)) = origin.split_at_checked(start.len()) else {
        return false;
    };
    let Some(dot) = memchr::memchr(b'.', host) else {
        return false;
    };
    let label = &host[..dot];
    let is_label = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    scheme.eq_ignore_ascii_case(start.as_bytes())
        && !label.is_empty()
        && label.iter().all(is_label)
        && host[dot + 1..].eq_ignore_ascii_case(end.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_taken_whole() {
        let origins =
            Origins::parse("https://a.example, http://b.example:8080,https://*.c.example, app://x")
                .expect("origins");
        for (origin, expected) in [
            ("https://a.example", true),
            ("HTTPS://A.example", true),
            ("http://a.example", false),
            ("https://a.example:443", false),
            ("https://a.example.evil", false),
            ("https://xa.example", false),
            ("http://b.example:8080", true),
            ("http://b.example", false),
            ("https://x.c.example", true),
            ("https://x.y.c.example", false),
            ("https://c.example", false),
            ("https://.c.example", false),
            ("https://evil/.c.example", false),
            ("https://evil.x/.c.example", false),
            ("http://x.c.example", false),
            ("app://x", true),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(origins.has(origin.as_bytes()), expected, "{origin}");
        }
        assert_eq!(Origins::parse("https://a.example,*"), Ok(Origins::Any));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        assert_eq!(Origins::parse(" , "), Err(OriginError::Empty));
        let many = "https://a.example,".repeat(MAX_ORIGINS + 1);
        assert_eq!(Origins::parse(&many), Err(OriginError::TooMany));
        for text in [
            "a.example",
            "https://",
            "https://a.example/",
            "https://a.example/x",
            "https://*",
            "https://a.*.example",
            "https://a.example:port",
            "https://a b",
            "null",
            "~^https://a",
        ] {
            assert_eq!(
                Origins::parse(text),
                Err(OriginError::Invalid(text.into())),
                "{text}"
            );
        }
    }
}
