//! Annotations about logins that another server checks.

use std::time::Duration;

use http::{HeaderName, Method};

use super::{
    fields::FORBIDDEN,
    row::{Annotation, HAPROXY, NGINX, OLD, OURS, nothing, row},
    value::{InvalidValue, boolean, filled, list, none_of, not},
    values::{AnnotationValues, ExternalValues},
};
use crate::{
    controller::server_url::ServerUrl,
    routing::{AuthMethod, FieldNames, Variables, path},
};

/// The prefixes of controllers with `auth-url`.
const EVERYBODY: &[&str] = &[OURS, NGINX, HAPROXY, OLD];
const OF_NGINX: &[&str] = &[OURS, NGINX, OLD];
const OF_HAPROXY: &[&str] = &[OURS, HAPROXY, OLD];
const OF_INGRESS: &[&str] = &[HAPROXY, OLD];

/// The longest time for which a response is remembered.
const MAX_CACHED: Duration = Duration::from_secs(24 * 3600);
/// The most statuses with a time.
const MAX_DURATIONS: usize = 32;

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE";
const FIELDS: &str = "names of fields separated by commas";
const POOLED: &str = "None: connections to the server are kept like all others.";

/// Returns true if annotations decide about the login of the whole controller: they name a server
/// of their own, or want none.
pub(super) fn decides(annotations: &[(Box<str>, Box<str>)]) -> bool {
    annotations.iter().any(|(name, value)| {
        let own = name.rsplit_once('/').map_or(&**name, |(_prefix, own)| own);
        match own {
            "auth-url" => !value.trim().is_empty(),
            "oauth" => true,
            "enable-global-auth" => boolean(value.trim()) == Ok(false),
            _ => false,
        }
    })
}

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        EVERYBODY,
        "auth-url",
        "the URL of a server; variables may stand in its path and query",
        "A request comes in if this server returns 2xx for a request with the same fields, and \
         without a body. 401 and 403 go to the client, and everything else is 500. Under \
         `haproxy-ingress.github.io/` the client gets what the server returns. \
         `NAME.NAMESPACE.svc` is the Service, other names are those of DNS.",
        |values, name, value| {
            if let Some(text) = filled(value) {
                let wrong = |error| InvalidValue::ServerUrl(value.to_owned(), error);
                let url = ServerUrl::parse(&text).map_err(wrong)?;
                external(values, name).url = Some(url);
            }
            Ok(())
        },
    )
    .guard()
    .differs(
        "A variable cannot choose the server, except `$host`: the rules of the same host are asked \
         without a new connection. Certificates of names are verified. The server sees the \
         normalised path.",
    ),
    row(
        EVERYBODY,
        "auth-signin",
        "a URL or a path; variables may stand in it",
        "302 to it instead of 401, with `rd` and the URL of the request in its query, if it has \
         none. Under `haproxy-ingress.github.io/` whatever the server returns, and as it is.",
        |values, name, value| {
            let is_log_format = name.starts_with(HAPROXY) && value.contains(['%', '"', '\'']);
            if is_log_format {
                return Err(not(value, "a plain URL"));
            }
            external(values, name).sign_in = match filled(value) {
                None => None,
                Some(text) => Some(sign_in(&text)?),
            };
            Ok(())
        },
    )
    .guard()
    .differs("Log formats of HAProxy close the paths."),
    row(
        OF_NGINX,
        "auth-signin-redirect-param",
        "the name of a parameter",
        "In place of `rd`.",
        |values, name, value| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
            if !value.chars().all(is_plain) {
                return Err(not(value, "the name of a parameter"));
            }
            external(values, name).redirect_param = filled(value);
            Ok(())
        },
    )
    .guard(),
    row(
        EVERYBODY,
        "auth-method",
        "a method; `*` under `haproxy-ingress.github.io/`",
        "The method of the request to the server; GET without it. `*` is that of the request.",
        |values, name, value| {
            external(values, name).method = method(value)?;
            Ok(())
        },
    )
    .guard(),
    row(
        OF_NGINX,
        "auth-response-headers",
        FIELDS,
        "These fields of the response reach the backend. Those of the client never do, whether the \
         response has them or not.",
        |values, name, value| {
            external(values, name).copies = Some(names(value)?);
            Ok(())
        },
    )
    .guard()
    .differs("`_` in a name is the same as `-`."),
    row(
        OF_NGINX,
        "auth-request-redirect",
        "a text; variables may stand in it",
        "`X-Auth-Request-Redirect` for the server; the path and query of the request without it.",
        |values, name, value| {
            external(values, name).redirect = variables(value)?;
            Ok(())
        },
    )
    .guard(),
    row(
        OF_NGINX,
        "auth-proxy-set-headers",
        "the name of a ConfigMap of the same namespace",
        "The server gets its fields too, in place of those of the client: its keys are the names, \
         and variables may stand in the values. An empty value removes the field.",
        |values, name, value| {
            if let Some(map) = filled(value) {
                external(values, name).adds = Some(map);
            }
            Ok(())
        },
    )
    .guard(),
    row(
        OF_NGINX,
        "auth-cache-key",
        "a text with variables",
        "Responses of the server are remembered for requests of the same rule and host with the \
         same text, if the text is not empty.",
        |values, name, value| {
            external(values, name).cache_key = variables(value)?;
            Ok(())
        },
    )
    .guard()
    .differs("Each core remembers for itself, a bounded number. Only 2xx, 401 and 403."),
    row(
        OF_NGINX,
        "auth-cache-duration",
        "lists of statuses with a time, separated by commas",
        "How long; `200 202 401 5m` without it. A response that sets cookies or forbids it is not \
         remembered.",
        |values, name, value| {
            external(values, name).durations = match value {
                "" => None,
                value => Some(durations(value)?),
            };
            Ok(())
        },
    )
    .guard(),
    row(
        OF_NGINX,
        "auth-always-set-cookie",
        "true, false",
        "Cookies of the server reach the client with any status of the response; without it with \
         200, 201, 204, 206, 301 to 304, 307 and 308.",
        |values, name, value| {
            external(values, name).always_sets_cookies = boolean(value)?;
            Ok(())
        },
    ),
    row(
        &[NGINX, OLD],
        "enable-global-auth",
        "true, false",
        "false: `global-auth-url` of the ConfigMap that the setting `nginx_configmap` names does \
         not apply.",
        |values, name, value| {
            values.global_auth = boolean(value)?.then(|| name.into());
            Ok(())
        },
    )
    .guard()
    .differs("true closes the paths if neither that setting nor `auth-url` is there."),
    row(OF_NGINX, "auth-keepalive", "a number", POOLED, nothing),
    row(
        OF_NGINX,
        "auth-keepalive-requests",
        "a number",
        POOLED,
        nothing,
    ),
    row(
        OF_NGINX,
        "auth-keepalive-timeout",
        "seconds",
        POOLED,
        nothing,
    ),
    row(
        OF_NGINX,
        "auth-keepalive-share-vars",
        "true, false",
        "None: the server gets the `X-Request-ID` of the request.",
        nothing,
    ),
    row(
        OF_HAPROXY,
        "auth-headers-request",
        "names of fields separated by commas, with `*` at the end for any text",
        "The server gets only these fields of the client, and those about the client.",
        |values, name, value| {
            external(values, name).sends = Some(any_names(value)?);
            Ok(())
        },
    )
    .guard(),
    row(
        OF_HAPROXY,
        "auth-headers-succeed",
        "the same",
        "As `auth-response-headers`. Without it, or with `*`, under `haproxy-ingress.github.io/`: \
         all but those about the response itself.",
        |values, name, value| {
            external(values, name).copies = Some(names(value)?);
            Ok(())
        },
    )
    .guard()
    .differs(
        "With `*` a field of the client is replaced, but not removed if the response lacks it: \
         name the fields.",
    ),
    row(
        OF_HAPROXY,
        "auth-headers-fail",
        "the same",
        "The client gets the response of the server with these fields, if it is not 2xx; all \
         without it, under `haproxy-ingress.github.io/`.",
        |values, name, value| {
            external(values, name).fails_with = Some(any_names(value)?);
            Ok(())
        },
    )
    .guard(),
    row(
        OF_INGRESS,
        "oauth",
        "oauth2_proxy, oauth2-proxy",
        "A login that the oauth2-proxy checks which the host has below `/oauth2`: its path `/auth` \
         is asked with HEAD, and if it does not return 2xx, the client is sent to `/start`. \
         `auth-url` takes the place of it.",
        |values, name, value| {
            if !["oauth2_proxy", "oauth2-proxy"].contains(&value) {
                return Err(none_of(value, "oauth2_proxy, oauth2-proxy"));
            }
            external(values, name).oauth.is_on = true;
            Ok(())
        },
    )
    .guard()
    .differs(
        "The rules of the same host are asked. The client comes back with its query. Rules of the \
         Ingress for the paths of oauth2-proxy need no login.",
    ),
    row(
        OF_INGRESS,
        "oauth-uri-prefix",
        "a path",
        "In place of `/oauth2`.",
        |values, name, value| {
            let prefix = value.trim_end_matches('/');
            let normal = path::normalize(prefix).ok();
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
            if normal.as_deref() != Some(prefix) || !prefix.chars().all(is_plain) {
                return Err(not(value, "a path other than /"));
            }
            external(values, name).oauth.prefix = Some(prefix.into());
            Ok(())
        },
    )
    .guard(),
    row(
        OF_INGRESS,
        "oauth-headers",
        FIELDS,
        "These fields of its response reach the backend, in place of those of the client; \
         `X-Auth-Request-Email` without it.",
        |values, name, value| {
            external(values, name).oauth.copies = Some(names(value)?);
            Ok(())
        },
    )
    .guard()
    .differs("A field from one with another name closes the paths."),
    row(
        &[HAPROXY, OLD],
        "auth-external-placement",
        "backend, frontend",
        "None: the server is asked once the rule is found.",
        nothing,
    ),
];

/// Returns the settings that annotations with the prefix of this one make.
pub(super) fn external<'a>(values: &'a mut AnnotationValues, name: &str) -> &'a mut ExternalValues {
    let end = name.find('/').map_or(0, |slash| slash + 1);
    let external = values.external.entry(name[..end].into()).or_default();
    external.from.push(name.into());
    external
}

fn variables(value: &str) -> Result<Option<Variables>, InvalidValue> {
    if value.chars().any(char::is_control) {
        return Err(InvalidValue::Control);
    }
    match value {
        "" => Ok(None),
        value => Variables::parse(value)
            .map(Some)
            .map_err(InvalidValue::Variables),
    }
}

/// Parses the target of the redirect to a login.
fn sign_in(text: &str) -> Result<Box<str>, InvalidValue> {
    let starts = [
        "http://",
        "https://",
        "$scheme://",
        "$pass_access_scheme://",
    ];
    let lower = text.to_ascii_lowercase();
    let is_url = starts.iter().any(|start| lower.starts_with(start));
    let is_path = text.starts_with('/') && !text.starts_with("//");
    if !(is_url || is_path) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(not(text, "a URL of HTTP, or a path"));
    }
    variables(text)?;
    Ok(text.into())
}

fn method(value: &str) -> Result<Option<AuthMethod>, InvalidValue> {
    match value {
        "" => Ok(None),
        "*" => Ok(Some(AuthMethod::OfRequest)),
        known if list(METHODS).any(|method| method == known) => {
            let method = Method::from_bytes(known.as_bytes());
            let method = method.map_err(|_bad| none_of(value, METHODS))?;
            Ok(Some(AuthMethod::Fixed(method)))
        }
        _ => Err(none_of(value, METHODS)),
    }
}

/// Parses the names of fields for a backend.
fn names(value: &str) -> Result<FieldNames, InvalidValue> {
    let names = any_names(value)?;
    // Neither may a server set our own name.
    let mut forbidden = FORBIDDEN.iter().chain(&["cdn-loop"]);
    let forbidden = forbidden.find(|name| !names.is_all() && names.has(name.as_bytes()));
    match forbidden {
        Some(name) => Err(InvalidValue::Field((*name).to_owned())),
        None => Ok(names),
    }
}

fn any_names(value: &str) -> Result<FieldNames, InvalidValue> {
    let names = FieldNames::parse(value).map_err(InvalidValue::FieldNames)?;
    let is_name = |name: &str| name.contains('*') || HeaderName::try_from(name).is_ok();
    if let Some(name) = names.iter().find(|name| !is_name(name)) {
        return Err(InvalidValue::Field(name.to_owned()));
    }
    Ok(names)
}

/// Parses lists of statuses, each with a time in the form of nginx.
fn durations(value: &str) -> Result<Box<[(u16, Duration)]>, InvalidValue> {
    const WHAT: &str = "statuses with a time (200 202 10m, 401 5m)";
    let mut found = Vec::new();

    for part in list(value).filter(|part| !part.is_empty()) {
        let words: Vec<&str> = part.split_whitespace().collect();
        let is_status = |word: &&str| word.len() == 3 && word.parse::<u16>().is_ok();
        let end = words
            .iter()
            .position(|word| !is_status(word))
            .unwrap_or(words.len());
        let (statuses, times) = words.split_at(end);
        let time = times
            .iter()
            .map(|word| time(word))
            .sum::<Option<Duration>>();
        let time = time.filter(|time| !times.is_empty() && *time <= MAX_CACHED);
        let time = time.ok_or_else(|| not(value, WHAT))?;

        // nginx means these without a status.
        let statuses = match statuses {
            [] => &["200", "301", "302"][..],
            some => some,
        };
        let statuses = statuses.iter().filter_map(|status| status.parse().ok());
        found.extend(statuses.map(|status: u16| (status, time)));
    }

    if found.is_empty() || found.len() > MAX_DURATIONS {
        return Err(not(value, WHAT));
    }
    Ok(found.into())
}

/// Parses a time of nginx, with a unit.
fn time(word: &str) -> Option<Duration> {
    let (number, unit) = word.split_at(word.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        "M" => 30 * 24 * 3600,
        "y" => 365 * 24 * 3600,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_nginx() {
        let seconds = Duration::from_secs;
        for (text, expected) in [
            ("200 202 401 5m", vec![(200, 300), (202, 300), (401, 300)]),
            ("200 1h 30m, 401 10s", vec![(200, 5400), (401, 10)]),
            ("1d", vec![(200, 86400), (301, 86400), (302, 86400)]),
        ] {
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(status, time)| (status, seconds(time)))
                .collect();
            assert_eq!(durations(text).expect(text).to_vec(), expected, "{text}");
        }
        for text in [
            "",
            ",",
            "200",
            "200 5",
            "5m 200",
            "200 x",
            "any 5m",
            "200 2d",
            "200 -1s",
            "200 1q",
            "200 99999999999999999999s",
            "200 18446744073709551615y",
        ] {
            assert!(durations(text).is_err(), "{text}");
        }
    }

    #[test]
    fn framing_is_not_copied_to_backends() {
        for text in ["Host", "x, content_length", "t*", "Transfer-Encoding"] {
            assert!(names(text).is_err(), "{text}");
        }
        for text in ["", "-", "*", "Authorization, Cookie", "X-*"] {
            assert!(names(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_sign_in_is_a_url_or_a_path() {
        for text in [
            "https://auth.example/start?rd=$escaped_request_uri",
            "$scheme://$host/start",
            "/oauth2/start",
        ] {
            assert!(sign_in(text).is_ok(), "{text}");
        }
        for text in [
            "auth.example/start",
            "//auth.example/",
            "javascript:alert(1)",
            "https://auth.example/ x",
            "https://auth.example/$unknown",
            "$arg_rd",
        ] {
            assert!(sign_in(text).is_err(), "{text}");
        }
    }
}
