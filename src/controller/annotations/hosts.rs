//! Annotations about further hosts, and about the redirects of ingress-nginx itself.

use super::{
    row::{Annotation, HAPROXY, NGINX, OLD, OURS, row},
    traffic::{REDIRECT, redirect_code},
    value::{InvalidValue, boolean, list, not},
};
use crate::routing::{GoPattern, HostPattern};

const PREFIXES: &[&str] = &[OURS, NGINX, OLD];
const OF_NGINX: &[&str] = &[NGINX, OLD];
const OF_INGRESS: &[&str] = &[HAPROXY, OLD];

const EXPRESSION: &str = "a regular expression of RE2";
const NO_CERTIFICATE: &str =
    "No certificate is ordered for such hosts. Of several Ingresses the older one comes first.";

/// The most further hosts of an Ingress.
const MAX_HOSTS: usize = 64;

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        &[OURS, NGINX, HAPROXY, OLD],
        "server-alias",
        "hosts, separated by commas",
        "The hosts of the Ingress are served under these names too, with the rules of all \
         Ingresses. A name that is the host of a rule is left to that rule.",
        |values, name, value| {
            let hosts = list(value).filter(|host| !host.is_empty()).map(|host| {
                match HostPattern::parse(host) {
                    Ok(HostPattern::Any) => Err(InvalidValue::Empty),
                    Ok(pattern) => Ok(pattern),
                    Err(error) => Err(InvalidValue::Host(host.to_owned(), error)),
                }
            });
            let hosts: Vec<HostPattern> = hosts.collect::<Result<_, _>>()?;
            if hosts.is_empty() {
                return Ok(());
            }
            if hosts.len() > MAX_HOSTS {
                return Err(not(value, "64 hosts at most"));
            }
            values.further.aliases = Some((name.into(), hosts));
            Ok(())
        },
    )
    .differs("Regular expressions are not names. If a host has several rules, the first counts."),
    row(
        PREFIXES,
        "from-to-www-redirect",
        "true, false",
        "308 from `www.` and each host to the host, or without `www.` if the host has it. Not for \
         a name that is the host of a rule, and not for wildcards.",
        |values, name, value| {
            values.further.www = boolean(value)?.then(|| name.into());
            Ok(())
        },
    ),
    row(
        OF_INGRESS,
        "redirect-from",
        "a host, which may be a wildcard",
        "302 from this host to the first host of the Ingress, with the same path and query. Not \
         for a name that is the host of a rule.",
        |values, name, value| {
            let host = match HostPattern::parse(value) {
                Ok(HostPattern::Any) => return Err(InvalidValue::Empty),
                Ok(pattern) => pattern,
                Err(error) => return Err(InvalidValue::Host(value.to_owned(), error)),
            };
            values.further.redirected = Some((name.into(), host));
            Ok(())
        },
    )
    .differs("A wildcard is no first host."),
    row(
        OF_INGRESS,
        "redirect-from-regex",
        EXPRESSION,
        "The same from hosts that the expression is found in. Hosts and wildcards of other rules \
         come first.",
        |values, name, value| {
            values.further.redirected_expression = Some((name.into(), expression(value)?));
            Ok(())
        },
    )
    .differs(NO_CERTIFICATE),
    row(
        OF_INGRESS,
        "server-alias-regex",
        EXPRESSION,
        "Hosts that the expression is found in have the rules of the first host of the Ingress. \
         Hosts and wildcards of other rules come first.",
        |values, name, value| {
            values.further.alias_expression = Some((name.into(), expression(value)?));
            Ok(())
        },
    )
    .differs(NO_CERTIFICATE),
    row(
        OF_INGRESS,
        "redirect-from-code",
        REDIRECT,
        "The status in place of 302.",
        |values, _, value| {
            values.further.redirected_code = Some(redirect_code(value)?);
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "relative-redirects",
        "true, false",
        "The redirect from a path without the slash at its end (301) has no scheme and host.",
        |values, _, value| {
            values.further.relative = boolean(value)?;
            Ok(())
        },
    ),
    row(
        OF_NGINX,
        "preserve-trailing-slash",
        "true",
        "Redirects to HTTPS keep the path as it is.",
        |values, name, value| {
            if !boolean(value)? {
                values.unsupported(name, "redirects to HTTPS always keep the path as it is");
            }
            Ok(())
        },
    )
    .differs("That is always so."),
    row(
        OF_NGINX,
        "use-port-in-redirects",
        "true",
        "Redirects have the port by which the client reaches gatelet.",
        |values, name, value| {
            if !boolean(value)? {
                values.unsupported(name, "redirects always have the port of the client");
            }
            Ok(())
        },
    )
    .differs("That is always so, where it is not the port of the scheme."),
];

/// Parses an expression of hosts, which are in lower case.
fn expression(value: &str) -> Result<GoPattern, InvalidValue> {
    if value.is_empty() {
        // It would be found in every host.
        return Err(InvalidValue::Empty);
    }
    GoPattern::parse(value).map_err(InvalidValue::Pattern)
}
