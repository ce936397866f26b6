//! Annotations about health checks.

use std::time::Duration;

use super::{
    row::{Annotation, HAPROXY, HAPROXY_OLD, HAPROXY_TECHNOLOGIES, OLD, OURS, row},
    value::{InvalidValue, TIME, boolean, none_of, not, time},
    values::AnnotationValues,
};
use crate::routing::CheckRequest;

const PREFIXES: &[&str] = &[OURS, HAPROXY, OLD];
const OF_INGRESS: &[&str] = &[HAPROXY, OLD];
const OF_TECHNOLOGIES: &[&str] = &[HAPROXY_TECHNOLOGIES, HAPROXY_OLD];
const COUNT: &str = "1 to 100";
const PORT: &str = "a port from 1 to 65535";
/// The shortest interval.
const LEAST: Duration = Duration::from_millis(500);
/// The most characters of a path.
const MAX_TARGET: usize = 1024;

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        PREFIXES,
        "health-check-uri",
        "a path, with a query or not",
        "Each endpoint gets a request for it again and again: GET, or OPTIONS under the prefixes \
         of HAProxy. Without a status from 200 to 399 it is down: requests go to others, as long \
         as there are any. This and those below turn health checks on.",
        |values, name, value| {
            let target = target(value)?;
            let method = if name.starts_with(OURS) {
                "GET"
            } else {
                "OPTIONS"
            };
            values.checks.request = Some(CheckRequest {
                method: method.into(),
                target,
            });
            values.checks.is_on.get_or_insert(true);
            Ok(())
        },
    )
    .on_services()
    .differs("Endpoints that speak HTTP/2 are checked by connections alone."),
    row(
        PREFIXES,
        "health-check-addr",
        "an address",
        "The address that is asked in place of that of the endpoint, without TLS.",
        |values, _, value| {
            let addr = value.parse();
            let addr = addr.map_err(|_error| InvalidValue::Address(value.to_owned()))?;
            values.checks.addr = Some(addr);
            values.checks.is_on.get_or_insert(true);
            Ok(())
        },
    )
    .on_services(),
    row(
        PREFIXES,
        "health-check-port",
        PORT,
        "The port that is asked in place of that of the endpoint, without TLS.",
        |values, _, value| {
            let port: u16 = value.parse().map_err(|_error| not(value, PORT))?;
            if port == 0 {
                return Err(not(value, PORT));
            }
            values.checks.port = Some(port);
            values.checks.is_on.get_or_insert(true);
            Ok(())
        },
    )
    .on_services(),
    row(
        PREFIXES,
        "health-check-interval",
        TIME,
        "The time between two checks, which one may take; 2s without it.",
        interval,
    )
    .on_services()
    .differs("At least 500ms."),
    row(
        OF_INGRESS,
        "backend-check-interval",
        TIME,
        "The same.",
        interval,
    )
    .on_services()
    .differs("At least 500ms."),
    row(
        PREFIXES,
        "health-check-rise-count",
        COUNT,
        "The checks in a row after which an endpoint is well again; 2 without it.",
        |values, _, value| {
            values.checks.rise = Some(count(value)?);
            values.checks.is_on.get_or_insert(true);
            Ok(())
        },
    )
    .on_services(),
    row(
        PREFIXES,
        "health-check-fall-count",
        COUNT,
        "The failures in a row after which it is down; 3 without it.",
        |values, _, value| {
            values.checks.fall = Some(count(value)?);
            values.checks.is_on.get_or_insert(true);
            Ok(())
        },
    )
    .on_services(),
    row(
        OF_TECHNOLOGIES,
        "check",
        "true, false",
        "true: connections to each endpoint show whether it is well, as above.",
        |values, _, value| {
            values.checks.is_on = Some(boolean(value)?);
            Ok(())
        },
    )
    .on_services()
    .differs("Without it there are no checks."),
    row(
        OF_TECHNOLOGIES,
        "check-http",
        "a path, with a method before it or not",
        "As `health-check-uri`.",
        |values, _, value| {
            let words: Vec<&str> = value.split_whitespace().collect();
            let (method, path) = match words[..] {
                [path] => ("OPTIONS", path),
                [method, path] | [method, path, _] => (method, path),
                _ => return Err(not(value, "a path")),
            };
            let is_method = |byte: u8| byte.is_ascii_uppercase();
            if method.len() > 16 || !method.bytes().all(is_method) {
                return Err(none_of(method, "GET, HEAD, OPTIONS, ..."));
            }
            values.checks.request = Some(CheckRequest {
                method: method.into(),
                target: target(path)?,
            });
            values.checks.is_on.get_or_insert(true);
            Ok(())
        },
    )
    .on_services()
    .differs("Version and fields of the request are not set."),
    row(
        OF_TECHNOLOGIES,
        "check-interval",
        TIME,
        "As `health-check-interval`.",
        interval,
    )
    .on_services()
    .differs("At least 500ms."),
    row(
        OF_TECHNOLOGIES,
        "timeout-check",
        TIME,
        "The time that a check may take, if it is shorter than the interval.",
        |values, _, value| {
            values.checks.timeout = Some(time(value)?);
            Ok(())
        },
    )
    .on_services(),
];

fn interval(values: &mut AnnotationValues, _: &str, value: &str) -> Result<(), InvalidValue> {
    values.checks.interval = Some(time(value)?.max(LEAST));
    values.checks.is_on.get_or_insert(true);
    Ok(())
}

fn count(value: &str) -> Result<u32, InvalidValue> {
    let count = value.parse().ok().filter(|count| (1..=100).contains(count));
    count.ok_or_else(|| not(value, COUNT))
}

fn target(value: &str) -> Result<Box<str>, InvalidValue> {
    let is_fine = value.starts_with('/')
        && value.len() <= MAX_TARGET
        && value.bytes().all(|byte| byte.is_ascii_graphic());
    is_fine
        .then(|| value.into())
        .ok_or_else(|| not(value, "a path"))
}
