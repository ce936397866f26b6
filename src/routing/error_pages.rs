//! Responses of another backend in place of errors.

use std::fmt;

use http::{HeaderValue, StatusCode};

use super::{BackendRef, path};
use crate::util::percent;

/// A backend that responds in place of errors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ErrorPages {
    /// The annotations or the object that it is made from, for people.
    pub from: Box<str>,
    /// The statuses of responses that it replaces.
    pub statuses: Statuses,
    /// Its backend.
    pub backend: BackendRef,
    /// True if it replaces responses of the backend too, and not only our own.
    pub of_backends: bool,
    /// True if it also takes the requests for a backend without endpoints.
    pub stands_in: bool,
    /// The page that is asked for.
    pub page: Page,
}

/// The page in place of an error.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Page {
    /// `/`, which gets fields about the error, and sets its own status.
    Root,
    /// The page at a URL, with the status of the error.
    At(PageUrl),
}

/// The URL of a page, and the status that its client sees.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PageUrl {
    /// The path and the query, in which `{status}`, `{originalStatus}` and `{url}` may stand.
    template: Box<str>,
    /// Statuses that clients get in place of those of errors.
    rewrites: Box<[(Statuses, StatusCode)]>,
    /// `Host` for the page, in place of that of the request.
    host: Option<HeaderValue>,
}

/// Statuses of responses, in ranges of the first and the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Statuses(Box<[(u16, u16)]>);

impl Statuses {
    /// Parses ranges as Traefik has them: `404` or `500-599`. `None` if one is no status.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let status = |text: &str| {
            let is_number = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = is_number.then(|| text.parse().ok())??;
            (100..600).contains(&number).then_some(number)
        };
        let ranges = texts.into_iter().map(|text| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let range = (status(first)?, status(last)?);
            (range.0 <= range.1).then_some(range)
        });
        Some(Self(ranges.collect::<Option<_>>()?))
    }

    /// Returns true if a status is one of them.
    pub fn contains(&self, status: u16) -> bool {
        let mut ranges = self.0.iter();
        ranges.any(|(first, last)| (*first..=*last).contains(&status))
    }

    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<u16> for Statuses {
    fn from_iter<T: IntoIterator<Item = u16>>(statuses: T) -> Self {
        Self(statuses.into_iter().map(|one| (one, one)).collect())
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl PageUrl {
    /// Makes the URL of a page. `None` if it is no path with or without a query.
    pub fn new(
        template: &str,
        rewrites: Vec<(Statuses, StatusCode)>,
        host: Option<HeaderValue>,
    ) -> Option<Self> {
        let template: Box<str> = format!("/{}", template.trim_start_matches('/')).into();
        let url = Self {
            template,
            rewrites: rewrites.into(),
            host,
        };
        let example = url.target(StatusCode::OK, "http://a/");
        let is_graphic = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        let path = example.split('?').next().unwrap_or_default();
        let is_path = path::normalize(path).is_ok_and(|normal| normal == path);
        (is_path && example.bytes().all(is_graphic)).then_some(url)
    }

    /// Returns the path and the query of the page for an error and the URL of the request.
    pub fn target(&self, status: StatusCode, url: &str) -> String {
        self.template
            .replace("{status}", self.status(status).as_str())
            .replace("{originalStatus}", status.as_str())
            .replace("{url}", &percent::encode(url))
    }

    /// Returns the status for the client.
    pub fn status(&self, of_error: StatusCode) -> StatusCode {
        let mut rewrites = self.rewrites.iter();
        let found = rewrites.find(|(from, _)| from.contains(of_error.as_u16()));
        found.map_or(of_error, |(_, to)| *to)
    }

    /// Returns `Host` for the page, if it is not that of the request.
    pub fn host(&self) -> Option<&HeaderValue> {
        self.host.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_numbers_and_ranges() {
        let statuses = Statuses::parse(["404", "500-502"]).expect("statuses");
        let found = (400..600).filter(|status| statuses.contains(*status));
        assert_eq!(found.collect::<Vec<_>>(), [404, 500, 501, 502]);
        assert_eq!(statuses.to_string(), "404, 500-502");
        for text in ["", "x", "-", "99", "600", "502-500", "+40", "404-", "5xx"] {
            assert_eq!(Statuses::parse([text]), None, "{text}");
        }
    }

    #[test]
    fn a_page_is_found_by_the_status_and_the_url() {
        let rewrites = vec![(
            Statuses::parse(["500-599"]).expect("statuses"),
            StatusCode::INTERNAL_SERVER_ERROR,
        )];
        let url = PageUrl::new("/{status}/{originalStatus}?of={url}", rewrites, None);
        let url = url.expect("a URL");
        for (status, expected) in [
            (404, "/404/404?of=http%3A%2F%2Fa%2Fb%3Fc"),
            (503, "/500/503?of=http%3A%2F%2Fa%2Fb%3Fc"),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(url.target(status, "http://a/b?c"), expected);
        }

        for text in ["/a b", "/\u{e4}", "/a#b", "/../x", "/a/./b", "/%zz"] {
            assert_eq!(PageUrl::new(text, Vec::new(), None), None, "{text}");
        }
        for text in ["", "x", "/x", "//x", "{status}.html"] {
            assert!(PageUrl::new(text, Vec::new(), None).is_some(), "{text}");
        }
    }
}
