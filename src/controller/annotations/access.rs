//! Annotations about who may come in.

use super::{
    row::{Annotation, HAPROXY, HAPROXY_OLD, HAPROXY_TECHNOLOGIES, NGINX, OLD, OURS, row},
    value::{InvalidValue, filled, networks, none_of},
    values::{AnnotationValues, LoginValues},
};

/// The prefixes of controllers with the names of ingress-nginx.
const WITH_NAMES_OF_NGINX: &[&str] = &[OURS, NGINX, HAPROXY, OLD];
const TECHNOLOGIES: &[&str] = &[HAPROXY_TECHNOLOGIES, HAPROXY_OLD];
const EVERYBODY: &[&str] = &[OURS, NGINX, HAPROXY, HAPROXY_TECHNOLOGIES, HAPROXY_OLD, OLD];

const NETWORKS: &str = "addresses and networks separated by commas";
const ALLOWED: &str = "403 for clients with other addresses. Of several lists each must have the \
    address. The client is the one that `trusted_proxies` name.";
const DENIED: &str = "403 for clients with these addresses, whatever other lists say.";
const THE_SAME: &str = "The same.";
const EXACT: &str = "A list with anything else in it closes the paths.";
const PATTERN_FILES: &str = "Pattern files close the paths.";

/// The names of the lists of addresses.
pub(super) const LISTS: &[&str] = &[
    "allowlist-source-range",
    "whitelist-source-range",
    "denylist-source-range",
    "allow-list",
    "whitelist",
    "deny-list",
    "blacklist",
];

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        WITH_NAMES_OF_NGINX,
        "allowlist-source-range",
        NETWORKS,
        ALLOWED,
        allow,
    )
    .guard()
    .differs(EXACT),
    row(
        WITH_NAMES_OF_NGINX,
        "whitelist-source-range",
        NETWORKS,
        THE_SAME,
        allow,
    )
    .guard()
    .differs(EXACT),
    row(TECHNOLOGIES, "allow-list", NETWORKS, THE_SAME, allow)
        .guard()
        .differs(PATTERN_FILES),
    row(TECHNOLOGIES, "whitelist", NETWORKS, THE_SAME, allow)
        .guard()
        .differs(PATTERN_FILES),
    row(
        WITH_NAMES_OF_NGINX,
        "denylist-source-range",
        NETWORKS,
        DENIED,
        deny,
    )
    .guard()
    .differs(EXACT),
    row(TECHNOLOGIES, "deny-list", NETWORKS, THE_SAME, deny)
        .guard()
        .differs(PATTERN_FILES),
    row(TECHNOLOGIES, "blacklist", NETWORKS, THE_SAME, deny)
        .guard()
        .differs(PATTERN_FILES),
    row(
        EVERYBODY,
        "auth-type",
        "basic; basic-auth under `haproxy.org/`",
        "401 without the name and password of a user in the Secret that `auth-secret` names. \
         `Authorization` does not reach the backend.",
        |values, name, value| {
            login(values, name).kind = filled(value);
            Ok(())
        },
    )
    .guard()
    .differs("digest closes the paths. HAProxy passes `Authorization` on."),
    row(
        EVERYBODY,
        "auth-secret",
        "the name of a Secret of the same namespace",
        "The users. If the Secret does not exist, or has none, the paths return 503. Hashes are by \
         bcrypt, SHA-crypt, MD5-crypt (apr1) or SHA. Under `haproxy-ingress.github.io/` and \
         `ingress.kubernetes.io/` it needs no `auth-type`.",
        |values, name, value| {
            login(values, name).secret = filled(value);
            Ok(())
        },
    )
    .guard()
    .differs("Other namespaces and files close the paths. A hash of another kind lets nobody in."),
    row(
        &[OURS, NGINX, OLD],
        "auth-secret-type",
        "auth-file, auth-map",
        "auth-file: the key `auth` of the Secret has lines like `name:hash`; this is the default. \
         auth-map: each key is a name, and its value a hash, as always under `haproxy.org/`.",
        |values, name, value| {
            login(values, name).form = filled(value);
            match value {
                "" | "auth-file" | "auth-map" => Ok(()),
                _ => Err(none_of(value, "auth-file, auth-map")),
            }
        },
    )
    .guard(),
    row(
        EVERYBODY,
        "auth-realm",
        "any text",
        "The realm that the client shows to its user; empty without it.",
        |values, name, value| {
            if value.chars().any(char::is_control) {
                return Err(InvalidValue::Control);
            }
            login(values, name).realm = filled(value);
            Ok(())
        },
    )
    .guard()
    .differs("`off` is a realm like any other."),
    row(
        &[OURS, NGINX, OLD],
        "satisfy",
        "all, any",
        "any: an allowed address needs no login, and a login no allowed address.",
        |values, name, value| {
            match value {
                "any" => {
                    values.access.satisfy_any = true;
                    values.access.from.push(name.into());
                }
                "all" => {}
                _ => return Err(none_of(value, "all, any")),
            }
            Ok(())
        },
    )
    .guard()
    .differs("It does not open what an unsupported guard closes."),
];

/// Reads a list of addresses that may come in. HAProxy ignores an empty one, others close.
fn allow(values: &mut AnnotationValues, name: &str, value: &str) -> Result<(), InvalidValue> {
    if is_ignored(name, value) {
        return Ok(());
    }
    values.access.allowed.push(networks(value)?);
    values.access.from.push(name.into());
    Ok(())
}

/// Reads a list of addresses that may not come in.
fn deny(values: &mut AnnotationValues, name: &str, value: &str) -> Result<(), InvalidValue> {
    if is_ignored(name, value) {
        return Ok(());
    }
    values.access.denied.extend(networks(value)?);
    values.access.from.push(name.into());
    Ok(())
}

fn is_ignored(name: &str, value: &str) -> bool {
    let of_haproxy = [HAPROXY, HAPROXY_TECHNOLOGIES, HAPROXY_OLD];
    value.is_empty() && of_haproxy.iter().any(|prefix| name.starts_with(prefix))
}

/// Returns the login that annotations with the prefix of this one make.
fn login<'a>(values: &'a mut AnnotationValues, name: &str) -> &'a mut LoginValues {
    let end = name.find('/').map_or(0, |slash| slash + 1);
    values.access.logins.entry(name[..end].into()).or_default()
}
