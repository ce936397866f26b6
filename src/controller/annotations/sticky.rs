//! Annotations about the choice of an endpoint: sticky sessions, and the spread of requests.

use std::time::Duration;

use super::{
    row::{Annotation, HAPROXY, HAPROXY_OLD, HAPROXY_TECHNOLOGIES, NGINX, OLD, OURS, TRAEFIK, row},
    value::{InvalidValue, boolean, none_of, not},
    values::AnnotationValues,
};
use crate::routing::{Host, LoadBalancing, SameSite, Variables};

const PREFIXES: &[&str] = &[OURS, NGINX, OLD];
const WITH_HAPROXY: &[&str] = &[OURS, NGINX, HAPROXY, OLD];
const OF_INGRESS: &[&str] = &[HAPROXY, OLD];
const OF_TECHNOLOGIES: &[&str] = &[HAPROXY_TECHNOLOGIES, HAPROXY_OLD];
const ON_SERVICES: &[&str] = &[TRAEFIK];
const NAME: &str = "the name of a cookie";
const SECONDS: &str = "seconds";
const SAME_SITE: &str = "None, Lax, Strict";
/// The longest time in seconds: a year, as browsers keep cookies no longer.
const MAX_SECONDS: u64 = 400 * 24 * 3600;

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        WITH_HAPROXY,
        "affinity",
        "cookie",
        "A client stays at the endpoint that responded first, by a cookie.",
        |values, name, value| {
            if value != "cookie" {
                return Err(none_of(value, "cookie"));
            }
            values.sticky.from = Some(name.into());
            Ok(())
        },
    )
    .on_services()
    .differs(
        "The cookie has a random text and not the address or a hash of it. A Service with \
         `externalName` has no sessions.",
    ),
    row(
        PREFIXES,
        "affinity-mode",
        "balanced, persistent",
        "balanced: when endpoints are added, their share of the clients moves to them; this is the \
         default. persistent: no client moves while its endpoint exists.",
        |values, _, value| {
            values.sticky.is_persistent = match value {
                "balanced" => false,
                "persistent" => true,
                _ => return Err(none_of(value, "balanced, persistent")),
            };
            Ok(())
        },
    )
    .differs("Cookies of other replicas and of a restored device count as balanced ones."),
    row(
        PREFIXES,
        "affinity-canary-behavior",
        "sticky, legacy",
        "sticky: a client stays at the main backend or the canary, with the same cookie; this is \
         the default. legacy: the canary's rules decide about each request.",
        |values, _, value| {
            values.sticky.ignores_canary = match value {
                "sticky" => false,
                "legacy" => true,
                _ => return Err(none_of(value, "sticky, legacy")),
            };
            Ok(())
        },
    ),
    row(
        WITH_HAPROXY,
        "session-cookie-name",
        NAME,
        "INGRESSCOOKIE without it.",
        |values, _, value| {
            values.sticky.name = Some(cookie_name(value)?);
            Ok(())
        },
    )
    .on_services(),
    row(
        PREFIXES,
        "session-cookie-path",
        "a path",
        "`Path` of the cookie; without it the path of the rule, or `/` if that is an expression.",
        |values, _, value| {
            values.sticky.path = Some(path(value)?);
            Ok(())
        },
    ),
    row(
        WITH_HAPROXY,
        "session-cookie-domain",
        "a host",
        "`Domain` of the cookie; without it the cookie is for the host alone.",
        |values, _, value| {
            values.sticky.domain = Some(domain(value)?);
            Ok(())
        },
    )
    .on_services(),
    row(
        PREFIXES,
        "session-cookie-max-age",
        SECONDS,
        "`Max-Age` of the cookie; without it the cookie ends with the browser.",
        |values, _, value| {
            values.sticky.max_age = Some(seconds(value)?);
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "session-cookie-expires",
        SECONDS,
        "`Expires` of the cookie, so long after the response.",
        |values, _, value| {
            values.sticky.expires = Some(Duration::from_secs(seconds(value)?));
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "session-cookie-samesite",
        SAME_SITE,
        "`SameSite` of the cookie.",
        |values, _, value| {
            values.sticky.same_site = Some(same_site(value)?);
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "session-cookie-conditional-samesite-none",
        "true, false",
        "true: no `SameSite=None` for the browsers that misread it, such as Safari of iOS 12.",
        |values, _, value| {
            values.sticky.is_none_conditional = boolean(value)?;
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "session-cookie-secure",
        "true, false",
        "`Secure` of the cookie; without it for requests over TLS.",
        |values, _, value| {
            values.sticky.secure = Some(boolean(value)?);
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "session-cookie-change-on-failure",
        "true, false",
        "`true`: a client whose endpoint fails stays at the next one. Without it, it comes back \
         when the endpoint is well.",
        |values, _, value| {
            values.sticky.change_on_failure = boolean(value)?;
            Ok(())
        },
    )
    .differs("The request itself always goes to another endpoint if that is safe."),
    row(
        OF_INGRESS,
        "session-cookie-same-site",
        "true, false",
        "true: `SameSite=None` and `Secure`.",
        |values, _, value| {
            if boolean(value)? {
                values.sticky.same_site = Some(SameSite::None);
                values.sticky.secure = Some(true);
            }
            Ok(())
        },
    )
    .on_services(),
    row(
        OF_INGRESS,
        "session-cookie-keywords",
        "indirect, nocache, httponly and secure, separated by spaces",
        "`HttpOnly` and `Secure` of the cookie; `indirect nocache httponly` without it.",
        |values, name, value| {
            let words: Vec<&str> = value.split_whitespace().collect();
            let known = ["indirect", "nocache", "httponly", "secure"];
            if let Some(other) = words.iter().find(|word| !known.contains(word)) {
                let message = format!("the keyword {other} has no effect");
                values.unsupported(name, &message);
            }
            values.sticky.is_readable = !words.is_empty() && !words.contains(&"httponly");
            if words.contains(&"secure") {
                values.sticky.secure = Some(true);
            }
            Ok(())
        },
    )
    .on_services()
    .differs("The backend gets the cookie too, and `Cache-Control` stays as it is."),
    row(
        OF_INGRESS,
        "session-cookie-strategy",
        "insert",
        "None: the cookie is always a further one.",
        |values, name, value| {
            if value != "insert" {
                let message = "the cookie is always a further one, never one of the backend";
                values.unsupported(name, message);
            }
            Ok(())
        },
    )
    .on_services(),
    row(
        OF_INGRESS,
        "session-cookie-preserve",
        "false",
        "None: the backend does not choose the cookie.",
        |values, name, value| {
            if boolean(value)? {
                values.unsupported(name, "the backend does not choose the cookie");
            }
            Ok(())
        },
    )
    .on_services(),
    row(
        OF_INGRESS,
        "session-cookie-shared",
        "false",
        "None: `session-cookie-domain` shares the cookie.",
        |values, name, value| {
            if boolean(value)? {
                values.unsupported(name, "session-cookie-domain shares the cookie");
            }
            Ok(())
        },
    )
    .on_services(),
    row(
        OF_INGRESS,
        "session-cookie-dynamic",
        "true, false",
        "None: the cookie has a random text, and every replica finds the same endpoint by it.",
        |_, _, value| boolean(value).map(|_valid| ()),
    )
    .on_services(),
    row(
        OF_INGRESS,
        "session-cookie-value-strategy",
        "server-name, pod-uid",
        "None: the cookie has a random text, and every replica finds the same endpoint by it.",
        |_, _, value| match value {
            "server-name" | "pod-uid" => Ok(()),
            _ => Err(none_of(value, "server-name, pod-uid")),
        },
    )
    .on_services(),
    row(
        OF_TECHNOLOGIES,
        "cookie-persistence",
        NAME,
        "As `affinity: cookie` with this name.",
        persistence,
    )
    .on_services()
    .differs("On an Ingress too."),
    row(
        OF_TECHNOLOGIES,
        "cookie-persistence-no-dynamic",
        NAME,
        "The same.",
        persistence,
    )
    .on_services()
    .differs("The cookie does not have the name of the endpoint."),
    row(
        ON_SERVICES,
        "service.sticky.cookie",
        "true, false",
        "On a Service: as `affinity: cookie`, for all paths to the Service.",
        |values, name, value| {
            values.sticky.from = boolean(value)?.then(|| name.into());
            values.sticky.is_persistent = true;
            Ok(())
        },
    )
    .of_services(),
    row(
        ON_SERVICES,
        "service.sticky.cookie.name",
        NAME,
        "On a Service, as those below: the name of the cookie.",
        |values, _, value| {
            values.sticky.name = Some(cookie_name(value)?);
            Ok(())
        },
    )
    .of_services()
    .differs("INGRESSCOOKIE without it, not a hash."),
    row(
        ON_SERVICES,
        "service.sticky.cookie.secure",
        "true, false",
        "`Secure`.",
        |values, _, value| {
            values.sticky.secure = Some(boolean(value)?);
            Ok(())
        },
    )
    .of_services(),
    row(
        ON_SERVICES,
        "service.sticky.cookie.httponly",
        "true, false",
        "`HttpOnly`.",
        |values, _, value| {
            values.sticky.is_readable = !boolean(value)?;
            Ok(())
        },
    )
    .of_services()
    .differs("`true` without it."),
    row(
        ON_SERVICES,
        "service.sticky.cookie.samesite",
        "none, lax, strict",
        "`SameSite`.",
        |values, _, value| {
            values.sticky.same_site = Some(same_site(value)?);
            Ok(())
        },
    )
    .of_services(),
    row(
        ON_SERVICES,
        "service.sticky.cookie.domain",
        "a host",
        "`Domain`.",
        |values, _, value| {
            values.sticky.domain = Some(domain(value)?);
            Ok(())
        },
    )
    .of_services(),
    row(
        ON_SERVICES,
        "service.sticky.cookie.path",
        "a path",
        "`Path`; `/` without it.",
        |values, _, value| {
            values.sticky.path = Some(path(value)?);
            Ok(())
        },
    )
    .of_services(),
    row(
        ON_SERVICES,
        "service.sticky.cookie.maxage",
        SECONDS,
        "`Max-Age`.",
        |values, _, value| {
            values.sticky.max_age = Some(seconds(value)?);
            Ok(())
        },
    )
    .of_services(),
    row(
        PREFIXES,
        "upstream-hash-by",
        "a text with variables of nginx, such as `$remote_addr` or `$request_uri`",
        "Requests for which the text is the same go to the same endpoint; when endpoints come or \
         go, only their share moves.",
        |values, name, value| {
            if !value.is_empty() {
                let text = Variables::parse(value).map_err(InvalidValue::Variables)?;
                values.sticky.hash = Some((name.into(), text));
            }
            Ok(())
        },
    )
    .differs("`affinity` precedes it. Not every variable is known (see below)."),
    row(
        PREFIXES,
        "upstream-hash-by-subset",
        "true, false",
        "true: requests for which the text of `upstream-hash-by` is the same are spread over \
         several endpoints, not one.",
        |values, _, value| {
            values.sticky.has_subset = boolean(value)?;
            Ok(())
        },
    )
    .differs(
        "Each text has its own set of endpoints, of which few change when endpoints come or go.",
    ),
    row(
        PREFIXES,
        "upstream-hash-by-subset-size",
        "a number from 1",
        "Their number; 3 without it.",
        |values, _, value| {
            let size = value
                .parse()
                .map_err(|_bad| not(value, "a number from 1"))?;
            values.sticky.subset_size = Some(size);
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "load-balance",
        "round_robin, ewma",
        "The choice of an endpoint: in turn, or the one with fewer requests in flight of two \
         picked at random. Without it the setting `proxy.balance` decides.",
        |values, name, value| {
            values.policy.balancing = Some(match value {
                "round_robin" => LoadBalancing::RoundRobin,
                "ewma" => LoadBalancing::LeastRequest,
                _ => return Err(none_of(value, "round_robin, ewma")),
            });
            if value == "ewma" {
                let message = "of two endpoints the one with fewer requests in flight is chosen, \
                    instead of the one that was faster lately";
                values.unsupported(name, message);
            }
            Ok(())
        },
    )
    .differs("ewma does not measure times."),
    row(
        &[HAPROXY],
        "balance-algorithm",
        "roundrobin, leastconn, random",
        "The same: leastconn chooses the one with fewer requests in flight.",
        balance,
    )
    .on_services()
    .differs("Other algorithms are a finding."),
    row(
        &[HAPROXY_TECHNOLOGIES, HAPROXY_OLD],
        "load-balance",
        "roundrobin, leastconn, random",
        "The same.",
        balance,
    )
    .on_services()
    .differs("Other algorithms are a finding."),
];

/// Reads the name of a cookie that makes clients stick to an endpoint.
fn persistence(values: &mut AnnotationValues, name: &str, value: &str) -> Result<(), InvalidValue> {
    values.sticky.name = Some(cookie_name(value)?);
    values.sticky.from = Some(name.into());
    Ok(())
}

/// Reads an algorithm of HAProxy.
fn balance(values: &mut AnnotationValues, _: &str, value: &str) -> Result<(), InvalidValue> {
    values.policy.balancing = Some(match value {
        "roundrobin" | "static-rr" => LoadBalancing::RoundRobin,
        "leastconn" | "random" | "random(2)" => LoadBalancing::LeastRequest,
        _ => return Err(none_of(value, "roundrobin, leastconn, random")),
    });
    Ok(())
}

fn cookie_name(value: &str) -> Result<Box<str>, InvalidValue> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if value.is_empty() || value.len() > 128 || !value.bytes().all(is_token) {
        return Err(not(value, NAME));
    }
    Ok(value.into())
}

fn path(value: &str) -> Result<Box<str>, InvalidValue> {
    let is_fine = |byte: u8| byte.is_ascii_graphic() && byte != b';';
    if !value.starts_with('/') || value.len() > 1024 || !value.bytes().all(is_fine) {
        return Err(not(value, "a path"));
    }
    Ok(value.into())
}

fn domain(value: &str) -> Result<Box<str>, InvalidValue> {
    let host = Host::parse(value.strip_prefix('.').unwrap_or(value));
    let host = host.map_err(|error| InvalidValue::Host(value.to_owned(), error))?;
    Ok(host.as_str().into())
}

fn seconds(value: &str) -> Result<u64, InvalidValue> {
    let seconds = value.parse().ok().filter(|seconds| *seconds <= MAX_SECONDS);
    seconds.ok_or_else(|| not(value, "seconds of at most 400 days"))
}

fn same_site(value: &str) -> Result<SameSite, InvalidValue> {
    let mut known = [SameSite::None, SameSite::Lax, SameSite::Strict].into_iter();
    let found = known.find(|known| known.as_str().eq_ignore_ascii_case(value));
    found.ok_or_else(|| none_of(value, SAME_SITE))
}
