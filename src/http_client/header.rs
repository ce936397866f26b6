//! Headers of responses: times and links.

use std::time::Duration;

use http::{HeaderMap, Uri, header};

use super::target::relative_to;
use crate::util::time::UnixSeconds;

/// The longest wait in seconds. Longer ones are cut, so that sums of times stay in range.
const LONGEST_WAIT: u64 = 366 * 86_400;
/// The largest number of links of one relation that are read.
const LINKS: usize = 16;

/// Returns the text of a header.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Parses `Date` (RFC 9110 section 6.6.1).
pub(super) fn date(headers: &HeaderMap) -> Option<UnixSeconds> {
    text(headers, "date").and_then(http_date)
}

/// Parses `Retry-After` (RFC 9110 section 10.2.3). A date is compared with the response's own
/// `Date`, so that our clock may be wrong, and ignored without one.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, header::RETRY_AFTER.as_str())?.trim();
    let seconds = if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
        // A number that is out of range means a long time.
        value.parse().unwrap_or(LONGEST_WAIT)
    } else {
        let wait = http_date(value)?.saturating_since(date(headers)?);
        wait.as_secs()
    };
    Some(Duration::from_secs(seconds.min(LONGEST_WAIT)))
}

fn http_date(text: &str) -> Option<UnixSeconds> {
    httpdate::parse_http_date(text.trim()).ok().map(Into::into)
}

/// Returns the targets of `Link` headers of a relation (RFC 8288), as absolute URLs.
pub(super) fn links(headers: &HeaderMap, relation: &str, base: &Uri) -> Vec<String> {
    let mut found = Vec::new();

    for value in headers
        .get_all(header::LINK)
        .iter()
        .filter_map(|value| value.to_str().ok())
    {
        // The text between `<` and `>` may contain commas and semicolons.
        for link in value.split('<').skip(1) {
            let Some((target, parameters)) = link.split_once('>') else {
                continue;
            };

            let has_relation = parameters.split([';', ',']).any(|parameter| {
                parameter.split_once('=').is_some_and(|(name, value)| {
                    let relations = value.trim().trim_matches('"');
                    name.trim().eq_ignore_ascii_case("rel")
                        && relations
                            .split_ascii_whitespace()
                            .any(|one| one.eq_ignore_ascii_case(relation))
                })
            });

            if has_relation
                && found.len() < LINKS
                && let Some(url) = relative_to(base, target)
            {
                found.push(url.to_string());
            }
        }
    }

    found
}

#[cfg(test)]
mod tests;
