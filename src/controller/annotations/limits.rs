//! Annotations about how much a client may ask for.

use std::time::Duration;

use http::StatusCode;

use super::{
    row::{Annotation, HAPROXY, HAPROXY_OLD, HAPROXY_TECHNOLOGIES, NGINX, OLD, OURS, nothing, row},
    value::{InvalidValue, duration, networks, not, number},
    values::AnnotationValues,
};

const PREFIXES: &[&str] = &[OURS, NGINX, OLD];
const OF_INGRESS: &[&str] = &[HAPROXY];
const WITH_HAPROXY: &[&str] = &[OURS, NGINX, HAPROXY, OLD];
const OF_HAPROXY: &[&str] = &[HAPROXY_TECHNOLOGIES, HAPROXY_OLD];
const NUMBER: &str = "a number; 0 for no limit";
const KILOBYTES: &str = "kilobytes; 0 for none";
const NETWORKS: &str = "addresses and networks separated by commas";

/// The shortest and the longest time of a limit.
const MIN_PERIOD: Duration = Duration::from_millis(10);
const MAX_PERIOD: Duration = Duration::from_hours(24);

/// The difference in how requests are counted.
const COUNTED: &str = "All cores count together. IPv6 addresses of one /64 are one client. The \
                       client is the one that `trusted_proxies` name.";
/// The same where HAProxy counts in windows.
const COUNTED_EVENLY: &str = "As many may come at once, and then one for each part of the time, \
                              also for clients whose requests were refused. All cores count \
                              together. IPv6 addresses of one /64 are one client.";
/// The same where it has one table for all Ingresses with a period.
const COUNTED_ALONE: &str = "As many may come at once, and then one for each part of the time, \
                             also for clients whose requests were refused. All cores count \
                             together. IPv6 addresses of one /64 are one client. HAProxy counts \
                             the requests to all Ingresses with the same period together, and \
                             has no such limit on Services.";

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        PREFIXES,
        "limit-rps",
        NUMBER,
        "Requests of a client in a second, to all paths of the Ingress, or of the Service that has \
         it; further ones get 503, or what the setting `proxy.limit_status` says. \
         `limit-burst-multiplier` times as many, and one, may come at once.",
        |values, name, value| {
            values.limits.per_second = limit(value)?;
            values.limits.has_no_burst = false;
            note(values, name);
            Ok(())
        },
    )
    .on_services()
    .differs(COUNTED),
    row(
        OF_INGRESS,
        "limit-rps",
        NUMBER,
        "The same, but not more may come at once, unless `limit-burst-multiplier` of gatelet says \
         so, and further ones get 429.",
        |values, name, value| {
            values.limits.per_second = limit(value)?;
            values.limits.has_no_burst = true;
            values.limits.is_of_haproxy_ingress = true;
            note(values, name);
            Ok(())
        },
    )
    .on_services()
    .differs(COUNTED_EVENLY),
    row(
        PREFIXES,
        "limit-rpm",
        NUMBER,
        "The same in a minute.",
        |values, name, value| {
            values.limits.per_minute = limit(value)?;
            note(values, name);
            Ok(())
        },
    )
    .differs(COUNTED),
    row(
        PREFIXES,
        "limit-burst-multiplier",
        "a number from 1",
        "5 without it.",
        |values, _, value| {
            let multiplier = limit(value)?;
            let wrong = || not(value, "a number from 1");
            values.limits.burst = Some(multiplier.ok_or_else(wrong)?);
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "limit-connections",
        NUMBER,
        "Requests of a client in flight at the same time, WebSockets included; further ones get \
         the same status.",
        |values, name, value| {
            values.limits.in_flight = limit(value)?;
            note(values, name);
            Ok(())
        },
    )
    .on_services()
    .differs(COUNTED),
    row(
        OF_INGRESS,
        "limit-connections",
        NUMBER,
        "The same; further ones get 429.",
        |values, name, value| {
            values.limits.in_flight = limit(value)?;
            values.limits.is_of_haproxy_ingress = true;
            note(values, name);
            Ok(())
        },
    )
    .on_services()
    .differs(COUNTED),
    row(
        PREFIXES,
        "limit-allowlist",
        NETWORKS,
        "Clients with these addresses have no limit.",
        exempt,
    ),
    row(
        WITH_HAPROXY,
        "limit-whitelist",
        NETWORKS,
        "The same.",
        exempt,
    )
    .on_services(),
    row(
        PREFIXES,
        "limit-rate",
        KILOBYTES,
        "The size of a response that is sent in a second.",
        |values, _, value| {
            values.limits.rate = limit(value)?;
            Ok(())
        },
    )
    .differs("It needs no `proxy-buffering`. WebSockets are not slowed down."),
    row(
        PREFIXES,
        "limit-rate-after",
        KILOBYTES,
        "The size of a response that is sent before that.",
        |values, _, value| {
            values.limits.rate_after = limit(value)?;
            Ok(())
        },
    ),
    row(
        OF_HAPROXY,
        "rate-limit-requests",
        NUMBER,
        "Requests of a client in the time of `rate-limit-period`, to all paths of the Ingress, or \
         of the Service that has it; further ones get 403, or `rate-limit-status-code`.",
        |values, name, value| {
            values.limits.of_period = limit(value)?;
            note(values, name);
            Ok(())
        },
    )
    .on_services()
    .differs(COUNTED_ALONE),
    row(
        OF_HAPROXY,
        "rate-limit-period",
        "a time (10s, 1m), or milliseconds",
        "The time; 1s without it.",
        |values, _, value| {
            let milliseconds = value.parse().map(Duration::from_millis);
            let period = milliseconds.or_else(|_unit| duration(value))?;
            if !(MIN_PERIOD..=MAX_PERIOD).contains(&period) {
                return Err(not(value, "a time from 10ms to 24h"));
            }
            values.limits.period = Some(period);
            Ok(())
        },
    )
    .on_services(),
    row(
        OF_HAPROXY,
        "rate-limit-status-code",
        "a status from 400 to 599",
        "The status in place of 403.",
        |values, _, value| {
            let status = number(value, "a status from 400 to 599")?;
            let status = u16::try_from(status).ok();
            let status = status.filter(|status| (400..=599).contains(status));
            let status = status.and_then(|status| StatusCode::from_u16(status).ok());
            let wrong = || not(value, "a status from 400 to 599");
            values.limits.status = Some(status.ok_or_else(wrong)?);
            Ok(())
        },
    )
    .on_services(),
    row(
        OF_HAPROXY,
        "rate-limit-whitelist",
        NETWORKS,
        "Clients with these addresses have no limit.",
        exempt,
    )
    .on_services()
    .differs("Pattern files are a finding."),
    row(
        OF_HAPROXY,
        "rate-limit-size",
        "a size",
        "None: a bounded number of clients is remembered.",
        nothing,
    )
    .on_services(),
];

fn exempt(values: &mut AnnotationValues, _: &str, value: &str) -> Result<(), InvalidValue> {
    values.limits.exempt.extend(networks(value)?);
    Ok(())
}

fn note(values: &mut AnnotationValues, name: &str) {
    values.limits.from.push(name.into());
}

/// Parses a limit; `None` for 0.
fn limit(value: &str) -> Result<Option<u32>, InvalidValue> {
    let number = number(value, "a number from 0")?;
    Ok((number > 0).then_some(number))
}
