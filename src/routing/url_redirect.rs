//! Redirects to another form of the URL of a request, as the middlewares of Traefik make them.

use http::{Method, StatusCode};

use super::GoPattern;
use crate::util::percent;

/// A redirect to another form of the URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UrlRedirect {
    /// The object that it is made from, for people.
    pub from: Box<str>,
    /// The form.
    pub to: UrlForm,
    /// True if clients may remember it.
    pub permanent: bool,
}

/// The form that a URL gets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UrlForm {
    /// The same host, path and query with this scheme and port.
    Scheme {
        /// True for `https`, false for `http`.
        https: bool,
        /// The port, unless it is that of the scheme.
        port: Option<u16>,
    },
    /// All places of the expression replaced by a text with its groups.
    Replaced(GoPattern, Box<str>),
}

/// The URL of a request.
#[derive(Clone, Copy, Debug)]
pub struct SentUrl<'a> {
    /// True if the client sees `https`.
    pub https: bool,
    /// The host, with the port if the client sent one.
    pub host: &'a str,
    /// The path.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: Option<&'a str>,
}

/// The new URL is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the URL of the redirect is too long")]
pub struct TooLong;

impl UrlRedirect {
    /// Returns the status for a method.
    pub fn status(&self, method: &Method) -> StatusCode {
        match (self.permanent, *method == Method::GET) {
            (false, true) => StatusCode::FOUND,
            (false, false) => StatusCode::TEMPORARY_REDIRECT,
            (true, true) => StatusCode::MOVED_PERMANENTLY,
            (true, false) => StatusCode::PERMANENT_REDIRECT,
        }
    }

    /// Returns true if it leads from HTTP to HTTPS, whatever the URL.
    pub fn leads_to_https(&self) -> bool {
        matches!(self.to, UrlForm::Scheme { https: true, .. })
    }

    /// Returns the target; `None` if the URL has this form.
    ///
    /// # Errors
    /// If the target is too long.
    pub fn target(&self, url: SentUrl<'_>) -> Result<Option<String>, TooLong> {
        let (name, port) = without_port(url.host);
        let query = url.query.map(|query| format!("?{query}"));
        let rest = format!("{}{}", url.path, query.unwrap_or_default());
        let scheme = |https: bool| if https { "https" } else { "http" };
        match &self.to {
            UrlForm::Scheme { https, port: to } => {
                let is_default = match url.https {
                    true => port == ":443",
                    false => port == ":80",
                };
                let port = if is_default { "" } else { port };
                let to = to.map(|to| format!(":{to}")).unwrap_or_default();
                let is_same = url.https == *https && port == to;
                let target = format!("{}://{name}{to}{rest}", scheme(*https));
                Ok((!is_same).then_some(target))
            }
            UrlForm::Replaced(pattern, by) => {
                let sent = format!("{}://{}{rest}", scheme(url.https), url.host);
                if !pattern.is_in(sent.as_bytes()) {
                    return Ok(None);
                }
                let target = pattern.replace(sent.as_bytes(), by).ok_or(TooLong)?;
                Ok((target != sent.as_bytes()).then(|| graphic(&target)))
            }
        }
    }
}

/// Splits a host with a port, with its colon.
fn without_port(host: &str) -> (&str, &str) {
    let is_port = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    match host.rfind(':') {
        Some(at) if is_port(&host[at + 1..]) => host.split_at(at),
        _ => (host, ""),
    }
}

/// Returns a URL in which characters that no URL has are encoded.
fn graphic(url: &[u8]) -> String {
    let mut out = String::with_capacity(url.len());
    for byte in url {
        match byte.is_ascii_graphic() {
            true => out.push(char::from(*byte)),
            false => percent::escape(*byte, &mut out),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(to: UrlForm, https: bool, host: &str, path: &str) -> Option<String> {
        let redirect = UrlRedirect {
            from: "m".into(),
            to,
            permanent: false,
        };
        let url = SentUrl {
            https,
            host,
            path,
            query: Some("a=b"),
        };
        redirect.target(url).expect("a target")
    }

    #[test]
    fn the_scheme_and_the_port_are_those_of_the_middleware() {
        let to = |https, port| UrlForm::Scheme { https, port };
        for (form, https, host, expected) in [
            (
                to(true, None),
                false,
                "a.example",
                Some("https://a.example/x?a=b"),
            ),
            (
                to(true, None),
                false,
                "a.example:80",
                Some("https://a.example/x?a=b"),
            ),
            (
                to(true, None),
                false,
                "a.example:8080",
                Some("https://a.example/x?a=b"),
            ),
            (to(true, None), true, "a.example", None),
            (to(true, None), true, "a.example:443", None),
            (
                to(true, None),
                true,
                "a.example:8443",
                Some("https://a.example/x?a=b"),
            ),
            (to(true, Some(8443)), true, "a.example:8443", None),
            (
                to(true, Some(8443)),
                false,
                "[::1]:80",
                Some("https://[::1]:8443/x?a=b"),
            ),
            (to(false, None), true, "[::1]", Some("http://[::1]/x?a=b")),
        ] {
            let found = target(form, https, host, "/x");
            assert_eq!(found.as_deref(), expected, "{https} {host}");
        }
    }

    #[test]
    fn groups_of_the_expression_stand_in_the_target() {
        let form = |pattern: &str, by: &str| {
            UrlForm::Replaced(GoPattern::parse(pattern).expect("a pattern"), by.into())
        };
        let www = || form("^https?://www\\.(.*)", "https://${1}");
        let found = target(www(), false, "www.a.example:8080", "/x");
        assert_eq!(found.as_deref(), Some("https://a.example:8080/x?a=b"));
        assert_eq!(target(www(), false, "a.example", "/x"), None);
        let found = target(form("/x", "/\u{e4}\r\n"), true, "a.example", "/x");
        assert_eq!(found.as_deref(), Some("https://a.example/%C3%A4%0D%0A?a=b"));
        let same = form("^(.*)$", "$1");
        assert_eq!(target(same, true, "a.example", "/x"), None);
    }

    #[test]
    fn other_methods_than_get_keep_theirs() {
        let status = |permanent, method: Method| {
            let to = UrlForm::Scheme {
                https: true,
                port: None,
            };
            let from = "m".into();
            let redirect = UrlRedirect {
                from,
                to,
                permanent,
            };
            redirect.status(&method).as_u16()
        };
        assert_eq!(status(false, Method::GET), 302);
        assert_eq!(status(false, Method::HEAD), 307);
        assert_eq!(status(true, Method::GET), 301);
        assert_eq!(status(true, Method::POST), 308);
    }
}
