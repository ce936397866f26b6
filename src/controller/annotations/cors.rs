//! Annotations about CORS.

use http::HeaderValue;

use super::{
    row::{Annotation, NGINX, OLD, OURS, row},
    value::{InvalidValue, boolean, not, number},
};
use crate::routing::Origins;

const PREFIXES: &[&str] = &[OURS, NGINX, OLD];
const NAMES: &str = "names separated by commas";

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        PREFIXES,
        "enable-cors",
        "true, false",
        "Adds the fields of CORS to responses, in place of those of the backend, and responds to \
         OPTIONS with 204, before a login.",
        |values, name, value| {
            values.cors.enabled = boolean(value)?.then(|| name.into());
            Ok(())
        },
    )
    .differs("Errors of gatelet have no fields of CORS."),
    row(
        PREFIXES,
        "cors-allow-origin",
        "origins separated by commas; `https://*.example.com` is one label; `*` is all",
        "The origins, `*` by default. Others get no fields, and their OPTIONS reaches the backend.",
        |values, _, value| {
            // An invalid list takes nobody.
            values.cors.origins = Some(Origins::Listed([].into()));
            let origins = Origins::parse(value).map_err(InvalidValue::Origins)?;
            values.cors.origins = Some(origins);
            Ok(())
        },
    )
    .differs("`Vary: Origin` is added unless the list is `*`. An invalid list takes no origin."),
    row(
        PREFIXES,
        "cors-allow-methods",
        NAMES,
        "The methods: GET, PUT, POST, DELETE, PATCH and OPTIONS by default.",
        |values, _, value| {
            values.cors.methods = Some(names(value)?);
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "cors-allow-headers",
        NAMES,
        "The fields of requests: by default those of ingress-nginx, such as Authorization and \
         Content-Type.",
        |values, _, value| {
            values.cors.headers = Some(names(value)?);
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "cors-expose-headers",
        NAMES,
        "The fields of responses that a page may read.",
        |values, _, value| {
            values.cors.expose = Some(names(value)?);
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "cors-allow-credentials",
        "true, false",
        "Whether requests may have cookies and logins; true by default.",
        |values, _, value| {
            values.cors.credentials = Some(boolean(value).unwrap_or(false));
            boolean(value).map(|_valid| ())
        },
    ),
    row(
        PREFIXES,
        "cors-max-age",
        "seconds",
        "The time for which a browser remembers; 1728000 by default.",
        |values, _, value| {
            let seconds = number(value, "seconds")?;
            values.cors.max_age = Some(seconds);
            Ok(())
        },
    ),
];

/// Parses names separated by commas; `*` is one.
fn names(value: &str) -> Result<HeaderValue, InvalidValue> {
    let is_name = |word: &str| {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_*".contains(&byte);
        !word.is_empty() && word.bytes().all(is_fit)
    };
    let words: Vec<&str> = value.split(',').map(str::trim).collect();
    let wrong = || not(value, "a list of names");
    if !words.iter().all(|word| is_name(word)) {
        return Err(wrong());
    }
    HeaderValue::from_str(&words.join(", ")).map_err(|_error| wrong())
}
