//! Annotations about how much a client may ask for.

use super::{
    row::{Annotation, NGINX, OLD, OURS, row},
    value::{InvalidValue, networks, not, number},
    values::AnnotationValues,
};

const PREFIXES: &[&str] = &[OURS, NGINX, OLD];
const NUMBER: &str = "a number; 0 for no limit";
const KILOBYTES: &str = "kilobytes; 0 for none";
const NETWORKS: &str = "addresses and networks separated by commas";

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        PREFIXES,
        "limit-rps",
        NUMBER,
        "Requests of a client in a second, to all paths of the Ingress; further ones get 503, or \
         what the setting `proxy.limit_status` says. `limit-burst-multiplier` times as many, and \
         one, may come at once.",
        |values, name, value| {
            values.limits.per_second = limit(value)?;
            note(values, name);
            Ok(())
        },
    )
    .differs(
        "All cores count together. IPv6 addresses of one /64 are one client. The client is the one \
         that `trusted_proxies` name.",
    ),
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
    .differs("The same."),
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
    .differs("The same as for `limit-rps`."),
    row(
        PREFIXES,
        "limit-allowlist",
        NETWORKS,
        "Clients with these addresses have no limit.",
        exempt,
    ),
    row(PREFIXES, "limit-whitelist", NETWORKS, "The same.", exempt),
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
