//! Annotations about how long requests may take, how large they may be, and where they go.

use std::time::Duration;

use http::StatusCode;

use super::{
    row::{Annotation, HAPROXY, HAPROXY_OLD, HAPROXY_TECHNOLOGIES, NGINX, OLD, OURS, TRAEFIK, row},
    value::{InvalidValue, TIME, authority, boolean, none_of, not, number, time},
    values::AnnotationValues,
};
use crate::routing::{Location, LocationError};

/// The most attempts that an annotation can ask for.
const MAX_ATTEMPTS: u32 = 16;
/// The longest time in seconds: a year.
const MAX_SECONDS: u32 = 366 * 24 * 3600;

const PREFIXES: &[&str] = &[OURS, NGINX, OLD];
const OF_INGRESS: &[&str] = &[HAPROXY, OLD];
const OF_TECHNOLOGIES: &[&str] = &[HAPROXY_TECHNOLOGIES, HAPROXY_OLD, OLD];
const OF_BOTH: &[&str] = &[HAPROXY, HAPROXY_TECHNOLOGIES, HAPROXY_OLD, OLD];
const SECONDS: &str = "seconds";
/// The statuses of redirects that HAProxy can send.
pub(super) const REDIRECT: &str = "301, 302, 303, 307, 308";

/// The difference in what is counted.
const COUNTED_HERE: &str = "Each replica counts its own requests. Two that begin at the same \
                            moment may both get the last place.";

/// The difference in what is logged.
const NO_LOG: &str = "true does not turn on the log: the setting `log.access` does.";

/// The rows about time and size.
pub(super) const LIMITS: &[Annotation] = &[
    row(
        PREFIXES,
        "proxy-connect-timeout",
        SECONDS,
        "The time for a connection to an endpoint: then the next endpoint, or 504.",
        |values, _, value| {
            values.policy.timeouts.connect = Some(seconds(value)?);
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "proxy-read-timeout",
        SECONDS,
        "The time until the response begins (504), and between two parts of it; also for \
         WebSocket.",
        |values, _, value| {
            let time = seconds(value)?;
            values.policy.timeouts.response_header = Some(time);
            idle(values, time);
            Ok(())
        },
    )
    .differs("The default is that of the settings, not 60."),
    row(
        PREFIXES,
        "proxy-send-timeout",
        SECONDS,
        "The time between two parts of a request.",
        |values, _, value| {
            let time = seconds(value)?;
            idle(values, time);
            Ok(())
        },
    )
    .differs("The longer one of this and `proxy-read-timeout` is for both directions."),
    row(
        OF_INGRESS,
        "timeout-connect",
        TIME,
        "As `proxy-connect-timeout`.",
        |values, _, value| {
            values.policy.timeouts.connect = Some(time(value)?);
            Ok(())
        },
    )
    .on_services(),
    row(
        OF_BOTH,
        "timeout-server",
        TIME,
        "The time until the response begins (504), and between two parts of it or of the request.",
        |values, _, value| {
            let time = time(value)?;
            values.policy.timeouts.response_header = Some(time);
            values.policy.timeouts.idle = Some(time);
            Ok(())
        },
    )
    .on_services()
    .differs("The default is that of the settings, not 50s."),
    row(
        OF_INGRESS,
        "timeout-tunnel",
        TIME,
        "The time between two parts of a WebSocket or another upgraded connection.",
        |values, _, value| {
            values.policy.timeouts.tunnel = Some(time(value)?);
            Ok(())
        },
    )
    .on_services()
    .differs("The default is that of the settings, not 1h."),
    row(
        OF_INGRESS,
        "maxconn-server",
        "a number; 0 for no limit",
        "Requests in flight of each endpoint; further ones wait for a place, and then get 503.",
        max_requests,
    )
    .on_services()
    .differs(COUNTED_HERE),
    row(
        OF_TECHNOLOGIES,
        "pod-maxconn",
        "a number; 0 for no limit",
        "The same.",
        max_requests,
    )
    .on_services()
    .differs(COUNTED_HERE),
    row(
        OF_INGRESS,
        "timeout-queue",
        TIME,
        "The time that they wait; 5s without it.",
        |values, _, value| {
            values.policy.timeouts.queue = Some(time(value)?);
            Ok(())
        },
    )
    .on_services(),
    row(
        &[OURS, NGINX, OLD, HAPROXY],
        "proxy-body-size",
        "a size (8m, 512k, 1g), 0 for no limit",
        "413 for larger requests.",
        |values, _, value| {
            values.policy.max_body_bytes = Some(size(value)?);
            Ok(())
        },
    )
    .on_services()
    .differs("The default is that of the settings, not 1m."),
    row(
        PREFIXES,
        "proxy-next-upstream",
        "words of nginx, off",
        "off: a request is tried once.",
        |values, name, value| {
            let words: Vec<&str> = value.split_whitespace().collect();
            if let Some(word) = words.iter().find(|word| !CONDITIONS.contains(word)) {
                return Err(none_of(word, "error, timeout, http_502, ..., off"));
            }
            match &words[..] {
                [] => return Err(InvalidValue::Empty),
                ["off"] => values.policy.attempts = Some(1),
                _ if words.iter().all(|word| ["error", "timeout"].contains(word)) => {}
                _ => values.unsupported(
                    name,
                    "a request is tried again only if no endpoint has seen it, or it may be seen \
                     twice",
                ),
            }
            Ok(())
        },
    )
    .differs("A request is tried again only where that is safe, never because of a status."),
    row(
        PREFIXES,
        "proxy-next-upstream-tries",
        "0 to 16",
        "The attempts for a request, the first included; 0 is 16.",
        |values, _, value| {
            let tries: u32 = value
                .parse()
                .ok()
                .filter(|tries| *tries <= MAX_ATTEMPTS)
                .ok_or_else(|| not(value, "0 to 16"))?;
            values.policy.attempts = Some(if tries == 0 { MAX_ATTEMPTS } else { tries });
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "proxy-next-upstream-timeout",
        "seconds; 0 for no limit",
        "After this time no further attempt begins.",
        |values, _, value| {
            values.policy.attempts_time = match value {
                "0" => None,
                value => Some(seconds(value)?),
            };
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "enable-access-log",
        "true, false",
        "false: the access log has none of its requests.",
        |values, _, value| {
            values.policy.is_unlogged = !boolean(value)?;
            Ok(())
        },
    )
    .differs(NO_LOG),
    row(
        &[TRAEFIK],
        "router.observability.accesslogs",
        "true, false",
        "The same.",
        |values, _, value| {
            values.policy.is_unlogged = !boolean(value)?;
            Ok(())
        },
    )
    .differs(NO_LOG),
];

/// The rows about where requests go.
pub(super) const TARGETS: &[Annotation] = &[
    row(
        PREFIXES,
        "temporal-redirect",
        "a URL; `$request_uri`, `$scheme`, `$host` and `$args` may stand in it",
        "302 to the URL for every request; none reaches the backend.",
        |values, name, value| {
            if !value.is_empty() {
                let location = location(value)?;
                values.elsewhere.temporal = Some((name.into(), location));
            }
            Ok(())
        },
    )
    .guard()
    .differs("Those who may not come in are not redirected. Other variables close the paths."),
    row(
        PREFIXES,
        "temporal-redirect-code",
        "300 to 307",
        "The status in place of 302.",
        |values, _, value| {
            values.elsewhere.temporal_code = Some(code(value, 307)?);
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "permanent-redirect",
        "as `temporal-redirect`, which precedes it",
        "301 to the URL for every request; none reaches the backend.",
        |values, name, value| {
            if !value.is_empty() {
                let location = location(value)?;
                values.elsewhere.permanent = Some((name.into(), location));
            }
            Ok(())
        },
    )
    .guard()
    .differs("Those who may not come in are not redirected. Other variables close the paths."),
    row(
        PREFIXES,
        "permanent-redirect-code",
        "300 to 308",
        "The status in place of 301.",
        |values, _, value| {
            values.elsewhere.permanent_code = Some(code(value, 308)?);
            Ok(())
        },
    ),
    row(
        OF_INGRESS,
        "redirect-to",
        "a URL, or a path on the same host",
        "302 to it for every request, after `temporal-redirect` and `permanent-redirect`; none \
         reaches the backend.",
        |values, name, value| {
            if !value.is_empty() {
                let location = Location::literal(value);
                let location = location.map_err(|error| wrong_location(value, error))?;
                values.elsewhere.other = Some((name.into(), location));
            }
            Ok(())
        },
    )
    .guard()
    .differs("Those who may not come in are not redirected."),
    row(
        OF_INGRESS,
        "redirect-to-code",
        REDIRECT,
        "The status in place of 302.",
        |values, _, value| {
            values.elsewhere.other_code = Some(redirect_code(value)?);
            Ok(())
        },
    ),
    row(
        OF_TECHNOLOGIES,
        "request-redirect",
        "a host, with a port or not; `https://` may stand before it",
        "302 to the same path and query of this host for every request, by HTTP without \
         `https://`; none reaches the backend.",
        |values, name, value| {
            if value.is_empty() {
                return Ok(());
            }
            let (scheme, host) = match value.split_once("://") {
                Some((scheme @ ("http" | "https"), host)) => (scheme, host),
                Some((scheme, _)) => return Err(none_of(scheme, "http, https")),
                None => ("http", value),
            };
            authority(host)?;
            let location = location(&format!("{scheme}://{host}$request_uri"))?;
            values.elsewhere.other = Some((name.into(), location));
            Ok(())
        },
    )
    .guard()
    .differs("Those who may not come in are not redirected."),
    row(
        OF_TECHNOLOGIES,
        "request-redirect-code",
        REDIRECT,
        "The status in place of 302.",
        |values, _, value| {
            values.elsewhere.other_code = Some(redirect_code(value)?);
            Ok(())
        },
    ),
    row(
        &[OURS, NGINX, HAPROXY, OLD],
        "app-root",
        "a path",
        "302 to the path for requests for `/` alone.",
        |values, name, value| {
            let location = Location::parse_path(value);
            let location = location.map_err(|_error| InvalidValue::Path(value.to_owned()))?;
            if value == "/" {
                return Err(InvalidValue::Path(value.to_owned()));
            }
            values.elsewhere.app_root = Some((name.into(), location));
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "upstream-vhost",
        "a host",
        "`Host` for the backend, in place of the one that the client sent, which \
         `X-Forwarded-Host` shows.",
        |values, name, value| {
            values.host = Some((name.into(), authority(value)?));
            Ok(())
        },
    )
    .differs("Variables are not evaluated."),
];

/// The conditions of nginx under which a request is tried again.
const CONDITIONS: &[&str] = &[
    "error",
    "timeout",
    "invalid_header",
    "http_500",
    "http_502",
    "http_503",
    "http_504",
    "http_403",
    "http_404",
    "http_429",
    "non_idempotent",
    "off",
];

/// Sets the time between two parts of a body, also for WebSocket, unless it is longer.
pub(super) fn idle(values: &mut AnnotationValues, time: Duration) {
    let timeouts = &mut values.policy.timeouts;
    for idle in [&mut timeouts.idle, &mut timeouts.tunnel] {
        *idle = Some(idle.map_or(time, |known| known.max(time)));
    }
}

/// Reads the limit of requests of each endpoint.
fn max_requests(values: &mut AnnotationValues, _: &str, value: &str) -> Result<(), InvalidValue> {
    values.terms.max_requests = Some(number(value, "a number from 0")?);
    Ok(())
}

fn seconds(value: &str) -> Result<Duration, InvalidValue> {
    let seconds = value
        .parse()
        .ok()
        .filter(|seconds| (1..=MAX_SECONDS).contains(seconds));
    let seconds = seconds.ok_or_else(|| not(value, "seconds"))?;
    Ok(Duration::from_secs(seconds.into()))
}

/// Parses a size of nginx; 0 stands for no limit.
pub(super) fn size(value: &str) -> Result<u64, InvalidValue> {
    let wrong = || not(value, "a size (8m, 512k, 1g)");
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &*value[digits.len()..].to_ascii_lowercase() {
        "" | "b" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return Err(wrong()),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_error| wrong())?;
    match number.checked_mul(unit).ok_or_else(wrong)? {
        0 => Ok(u64::MAX),
        bytes => Ok(bytes),
    }
}

fn location(value: &str) -> Result<Location, InvalidValue> {
    Location::parse(value).map_err(|error| wrong_location(value, error))
}

fn wrong_location(value: &str, error: LocationError) -> InvalidValue {
    InvalidValue::Location(value.to_owned(), error)
}

/// Parses the status of a redirect that HAProxy can send.
pub(super) fn redirect_code(value: &str) -> Result<StatusCode, InvalidValue> {
    let code = code(value, 308)?;
    let is_known = matches!(code.as_u16(), 301 | 302 | 303 | 307 | 308);
    is_known
        .then_some(code)
        .ok_or_else(|| none_of(value, REDIRECT))
}

fn code(value: &str, last: u16) -> Result<StatusCode, InvalidValue> {
    let code = value
        .parse()
        .ok()
        .filter(|code| (300..=last).contains(code));
    let code = code.and_then(|code| StatusCode::from_u16(code).ok());
    code.ok_or_else(|| not(value, "the status of a redirect"))
}
