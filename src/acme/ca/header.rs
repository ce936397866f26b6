//! Headers of a CA's answers: times and links.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, Uri, header};

use super::http::relative_to;

/// Longer waits are cut to this: nobody means more, and sums of times stay in range.
const LONGEST_WAIT: u64 = 366 * 86_400;
/// Links of one kind that are read.
const LINKS: usize = 16;

/// The text of a header.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// `Date`, in seconds since 1970 (RFC 9110 section 6.6.1).
pub(super) fn date(headers: &HeaderMap) -> Option<i64> {
    text(headers, "date").and_then(http_date)
}

/// `Retry-After` (RFC 9110 section 10.2.3). A date is measured against the answer's own `Date`, so
/// that a wrong clock here does not matter; without one it says nothing.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, header::RETRY_AFTER.as_str())?.trim();
    let seconds = if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
        // Too many digits for a number are a long time too.
        value.parse().unwrap_or(LONGEST_WAIT)
    } else {
        u64::try_from(http_date(value)? - date(headers)?).unwrap_or(0)
    };
    Some(Duration::from_secs(seconds.min(LONGEST_WAIT)))
}

fn http_date(text: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(text.trim()).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// The targets of `Link` headers of a relation (RFC 8288), as absolute URLs.
pub(super) fn links(headers: &HeaderMap, relation: &str, base: &Uri) -> Vec<String> {
    let mut found = Vec::new();
    for value in headers
        .get_all(header::LINK)
        .iter()
        .filter_map(|value| value.to_str().ok())
    {
        // What is between `<` and `>` may hold commas and semicolons.
        for link in value.split('<').skip(1) {
            let Some((target, parameters)) = link.split_once('>') else {
                continue;
            };
            let is_it = parameters.split([';', ',']).any(|parameter| {
                parameter.split_once('=').is_some_and(|(name, value)| {
                    let relations = value.trim().trim_matches('"');
                    name.trim().eq_ignore_ascii_case("rel")
                        && relations
                            .split_ascii_whitespace()
                            .any(|one| one.eq_ignore_ascii_case(relation))
                })
            });
            if is_it
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
