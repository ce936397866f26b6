//! Annotations about CORS.

use http::HeaderValue;

use super::{
    row::{Annotation, HAPROXY, HAPROXY_OLD, HAPROXY_TECHNOLOGIES, NGINX, OLD, OURS, row},
    value::{InvalidValue, TIME, boolean, list, not, number, time},
    values::AnnotationValues,
};
use crate::routing::{AllowedList, CorsDialect, GoPattern, OriginList, Origins};

const PREFIXES: &[&str] = &[OURS, NGINX, OLD];
const WITH_INGRESS: &[&str] = &[OURS, NGINX, HAPROXY, OLD];
const OF_INGRESS: &[&str] = &[HAPROXY, OLD];
const OF_TECHNOLOGIES: &[&str] = &[HAPROXY_TECHNOLOGIES, HAPROXY_OLD];
const EVERYBODY: &[&str] = &[OURS, NGINX, HAPROXY, HAPROXY_TECHNOLOGIES, HAPROXY_OLD, OLD];
const NAMES: &str = "names separated by commas";

const TECHNOLOGIES: CorsDialect = CorsDialect::HaproxyTechnologies { responds: false };

/// The most expressions for origins.
const MAX_PATTERNS: usize = 16;

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        PREFIXES,
        "enable-cors",
        "true, false",
        "Adds the fields of CORS to responses, in place of those of the backend, and responds to \
         OPTIONS with 204, before a login.",
        |values, name, value| enable(values, name, value, CorsDialect::Nginx),
    )
    .differs("Errors of gatelet have no fields of CORS."),
    row(
        OF_INGRESS,
        "cors-enable",
        "true, false",
        "The same with the defaults of HAProxy Ingress: every OPTIONS gets 204, and only requests \
         with an origin get the fields, which name it.",
        |values, name, value| enable(values, name, value, CorsDialect::HaproxyIngress),
    )
    .on_services()
    .differs("Errors of gatelet have no fields of CORS."),
    row(
        OF_TECHNOLOGIES,
        "cors-enable",
        "true, false",
        "The same with the defaults of HAProxy Technologies: only requests with an origin get the \
         fields, and OPTIONS reaches the backend.",
        |values, name, value| enable(values, name, value, TECHNOLOGIES),
    )
    .differs("Errors of gatelet have no fields of CORS."),
    row(
        OF_TECHNOLOGIES,
        "cors-respond-to-options",
        "true, false",
        "true: every OPTIONS gets 204.",
        |values, _, value| {
            values.cors.responds = boolean(value)?;
            Ok(())
        },
    ),
    row(
        WITH_INGRESS,
        "cors-allow-origin",
        "origins separated by commas; `https://*.example.com` is one label; `*` is all",
        "The origins, `*` by default. Others get no fields, and their OPTIONS reaches the backend.",
        |values, name, value| {
            // An invalid list allows no origin.
            values.cors.origins = Some(Origins::Listed(OriginList::default()));
            // As with HAProxy Ingress, `*` counts alone only.
            let named = list(value).filter(|word| *word != "*");
            let named: Vec<&str> = named.collect();
            let is_narrow = name.starts_with(HAPROXY) && !named.is_empty();
            let joined = named.join(",");
            let origins = Origins::parse(if is_narrow { &joined } else { value });
            values.cors.origins = Some(origins.map_err(InvalidValue::Origins)?);
            Ok(())
        },
    )
    .on_services()
    .differs("`Vary: Origin` is added unless the list is `*`. An invalid list takes no origin."),
    row(
        OF_INGRESS,
        "cors-allow-origin-regex",
        "regular expressions separated by spaces",
        "Origins in which one of them is found may use the route too.",
        |values, _, value| {
            // Invalid ones allow no origin.
            values.cors.patterns = Some([].into());
            let words = value.split_whitespace();
            let patterns = words.map(GoPattern::parse);
            let patterns: Box<[GoPattern]> = patterns
                .collect::<Result<_, _>>()
                .map_err(InvalidValue::Pattern)?;
            match patterns.len() {
                0 => return Err(InvalidValue::Empty),
                1..=MAX_PATTERNS => values.cors.patterns = Some(patterns),
                _ => return Err(InvalidValue::TooMany(MAX_PATTERNS)),
            }
            Ok(())
        },
    )
    .on_services()
    .differs("Look-around and backreferences are a finding: then it takes no origin."),
    row(
        OF_TECHNOLOGIES,
        "cors-allow-origin",
        "`*`, or a regular expression",
        "The origins in which it is found, `*` by default.",
        |values, _, value| {
            if value == "*" {
                values.cors.origins = Some(Origins::Any);
                return Ok(());
            }
            // An invalid one allows no origin.
            values.cors.origins = Some(Origins::Listed(OriginList::default()));
            if value.is_empty() {
                return Err(InvalidValue::Empty);
            }
            let pattern = GoPattern::parse(value).map_err(InvalidValue::Pattern)?;
            values.cors.origins = Some(Origins::Listed(OriginList {
                patterns: [pattern].into(),
                ..OriginList::default()
            }));
            Ok(())
        },
    )
    .differs(
        "Look-around and backreferences are a finding: then it takes no origin. `Vary: Origin` is \
         added unless it is `*`.",
    ),
    row(
        EVERYBODY,
        "cors-allow-methods",
        NAMES,
        "The methods: GET, PUT, POST, DELETE, PATCH and OPTIONS by default, `*` by default under \
         `haproxy.org/`. Under `haproxy-ingress.github.io/` `*` stands for those that a request \
         asks for.",
        |values, name, value| {
            values.cors.methods = Some(names(name, value)?);
            Ok(())
        },
    )
    .on_services(),
    row(
        EVERYBODY,
        "cors-allow-headers",
        NAMES,
        "The fields of requests: by default those of the controller, such as Authorization and \
         Content-Type, and `*` under `haproxy.org/`. `*` is as for the methods.",
        |values, name, value| {
            values.cors.headers = Some(names(name, value)?);
            Ok(())
        },
    )
    .on_services(),
    row(
        WITH_INGRESS,
        "cors-expose-headers",
        NAMES,
        "The fields of responses that a page may read.",
        |values, _, value| {
            values.cors.expose = Some(name_list(value)?);
            Ok(())
        },
    )
    .on_services(),
    row(
        EVERYBODY,
        "cors-allow-credentials",
        "true, false",
        "Whether requests may have cookies and logins; true by default, false under \
         `haproxy.org/`.",
        |values, _, value| {
            values.cors.credentials = Some(boolean(value).unwrap_or(false));
            boolean(value).map(|_valid| ())
        },
    )
    .on_services(),
    row(
        WITH_INGRESS,
        "cors-max-age",
        "seconds",
        "The time for which a browser remembers; 1728000 by default, or 86400 with `cors-enable`.",
        |values, _, value| {
            values.cors.max_age = Some(number(value, "seconds")?);
            Ok(())
        },
    )
    .on_services(),
    row(
        OF_TECHNOLOGIES,
        "cors-max-age",
        TIME,
        "The same; 5s by default.",
        |values, _, value| {
            let seconds = time(value)?.as_secs();
            values.cors.max_age = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
            Ok(())
        },
    ),
];

fn enable(
    values: &mut AnnotationValues,
    name: &str,
    value: &str,
    dialect: CorsDialect,
) -> Result<(), InvalidValue> {
    values.cors.enabled = boolean(value)?.then(|| name.into());
    if values.cors.enabled.is_some() {
        values.cors.dialect = dialect;
    }
    Ok(())
}

/// Parses a list of names that requests may ask for.
fn names(annotation: &str, value: &str) -> Result<AllowedList, InvalidValue> {
    match value {
        "*" if annotation.starts_with(HAPROXY) => Ok(AllowedList::AsAsked),
        value => name_list(value).map(AllowedList::Listed),
    }
}

/// Parses names separated by commas; `*` is one.
fn name_list(value: &str) -> Result<HeaderValue, InvalidValue> {
    let is_name = |word: &str| {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_*".contains(&byte);
        !word.is_empty() && word.bytes().all(is_fit)
    };
    let words: Vec<&str> = list(value).collect();
    let wrong = || not(value, "a list of names");
    if !words.iter().all(|word| is_name(word)) {
        return Err(wrong());
    }
    HeaderValue::from_str(&words.join(", ")).map_err(|_error| wrong())
}
