//! Annotations about the fields of requests and responses.

use http::{HeaderName, HeaderValue};

use super::{
    row::{Annotation, HAPROXY, HAPROXY_OLD, HAPROXY_TECHNOLOGIES, NGINX, OLD, OURS, row},
    value::{InvalidValue, authority, boolean, colon_or_space, filled, list, number},
    values::AnnotationValues,
};
use crate::routing::{Location, LocationChange};

const PREFIXES: &[&str] = &[OURS, NGINX, OLD];
const OF_TECHNOLOGIES: &[&str] = &[OURS, HAPROXY_TECHNOLOGIES, HAPROXY_OLD];
const OF_INGRESS: &[&str] = &[HAPROXY, OLD];
const LINES: &str = "lines with a name, a colon or a space, and a value";
const NAMES: &str = "names separated by commas";

/// The most fields that annotations of an Ingress set.
const MAX_FIELDS: usize = 64;

/// Fields that frame messages or belong to one connection, or that other annotations are for.
pub(in crate::controller) const FORBIDDEN: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const LITERAL: &str = "Formats with `%` are not evaluated: such a line is refused.";

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        OF_TECHNOLOGIES,
        "request-set-header",
        "lines with a name and a value",
        "The fields for the backend, in place of those of the client.",
        |values, name, value| {
            let fields = lines(value, |line| line.split_once(char::is_whitespace))?;
            add(&mut values.fields.request, name, fields)
        },
    )
    .differs(LITERAL),
    row(
        OF_TECHNOLOGIES,
        "response-set-header",
        "lines with a name and a value",
        "The fields for the client, in place of those of the backend.",
        |values, name, value| {
            let fields = lines(value, |line| line.split_once(char::is_whitespace))?;
            add(&mut values.fields.response, name, fields)
        },
    )
    .differs(LITERAL),
    row(
        OF_INGRESS,
        "request-set-headers",
        LINES,
        "The same, in place of `headers`. `host` is as `upstream-vhost`.",
        |values, name, value| {
            let (host, fields) = with_host(value)?;
            let is_replaced = |from: &str| from.ends_with("/headers");
            values.host.take_if(|(from, _)| is_replaced(from));
            values
                .fields
                .request
                .retain(|(from, ..)| !is_replaced(from));
            set_with_host(values, name, host, fields)
        },
    )
    .on_services()
    .differs(LITERAL),
    row(
        OF_INGRESS,
        "headers",
        LINES,
        "The same.",
        |values, name, value| {
            let (host, fields) = with_host(value)?;
            set_with_host(values, name, host, fields)
        },
    )
    .on_services()
    .differs(LITERAL),
    row(
        OF_INGRESS,
        "request-add-headers",
        LINES,
        "Further fields for the backend, beside those of the client and those above.",
        |values, name, value| {
            let fields = lines(value, colon_or_space)?;
            append(&mut values.fields.request_added, name, fields)
        },
    )
    .on_services()
    .differs(LITERAL),
    row(
        OF_INGRESS,
        "request-del-headers",
        NAMES,
        "The backend gets no fields with these names, whoever sets them.",
        |values, name, value| {
            let names = field_names(value)?;
            let named = names.into_iter().map(|field| (name.into(), field));
            values.fields.request_removed.extend(named);
            Ok(())
        },
    )
    .on_services(),
    row(
        OF_INGRESS,
        "response-set-headers",
        LINES,
        "The fields for the client, in place of those of the backend.",
        |values, name, value| {
            let fields = lines(value, colon_or_space)?;
            add(&mut values.fields.response, name, fields)
        },
    )
    .on_services()
    .differs(LITERAL),
    row(
        OF_INGRESS,
        "response-add-headers",
        LINES,
        "Further fields for the client, beside those of the backend.",
        |values, name, value| {
            let fields = lines(value, colon_or_space)?;
            append(&mut values.fields.response_added, name, fields)
        },
    )
    .on_services()
    .differs(LITERAL),
    row(
        OF_INGRESS,
        "response-del-headers",
        NAMES,
        "The client gets no fields with these names of the backend.",
        |values, _, value| {
            let names = field_names(value)?;
            values.fields.response_removed.extend(names);
            Ok(())
        },
    )
    .on_services(),
    row(
        &[HAPROXY_TECHNOLOGIES, HAPROXY_OLD, OLD],
        "forwarded-for",
        "true, false",
        "false: the backend gets no `X-Forwarded-For`.",
        |values, name, value| {
            if !boolean(value)? {
                let field = HeaderName::from_static("x-forwarded-for");
                values.fields.request_removed.push((name.into(), field));
            }
            Ok(())
        },
    )
    .on_services()
    .differs("Nor the one that the client sent."),
    row(
        PREFIXES,
        "custom-headers",
        "the name of a ConfigMap of the same namespace",
        "The fields for the client, in place of those of the backend: its keys are the names.",
        |values, name, value| {
            let named = filled(value).map(|map| (name.into(), map));
            values.fields.custom.extend(named);
            Ok(())
        },
    )
    .guard()
    .differs(
        "Every field is allowed but those that frame messages; `global-allowed-response-headers` \
         is not needed. Variables close the paths.",
    ),
    row(
        &[HAPROXY_TECHNOLOGIES, HAPROXY_OLD],
        "set-host",
        "a host",
        "`Host` for the backend, as `upstream-vhost`.",
        |values, name, value| {
            values.host = Some((name.into(), authority(value)?));
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "proxy-cookie-domain",
        "off, or two domains",
        "Cookies of the backend for the first domain are for the second one.",
        |values, _, value| {
            values.fields.cookies.domain = pair(value)?.map(|(from, to)| {
                let bare = |domain: &str| domain.trim_start_matches('.').into();
                (bare(from), bare(to))
            });
            Ok(())
        },
    )
    .differs("Variables and regular expressions are not evaluated."),
    row(
        PREFIXES,
        "proxy-cookie-path",
        "off, or two paths",
        "Cookies of the backend for paths that begin with the first one begin with the second one.",
        |values, _, value| {
            let found = pair(value)?;
            values.fields.cookies.path = found.map(|(from, to)| (from.into(), to.into()));
            Ok(())
        },
    )
    .differs("Variables and regular expressions are not evaluated."),
    row(
        PREFIXES,
        "proxy-redirect-from",
        "off, default, or the beginning of a URL or path",
        "The beginning of `Location` and `Refresh` of the backend that `proxy-redirect-to` \
         replaces.",
        |values, _, value| {
            values.fields.redirect_from = match value {
                "off" | "default" => None,
                text => Some(location(text)?),
            };
            Ok(())
        },
    )
    .differs("default is off. The variables of `temporal-redirect` alone."),
    row(
        PREFIXES,
        "proxy-redirect-to",
        "off, or the beginning of a URL or path",
        "The beginning in its place.",
        |values, _, value| {
            values.fields.redirect_to = match value {
                "off" => None,
                text => Some(location(text)?),
            };
            Ok(())
        },
    )
    .differs("The variables of `temporal-redirect` alone."),
    row(
        &[OURS, HAPROXY],
        "hsts",
        "true, false",
        "true: `Strict-Transport-Security` over TLS, by the three annotations below. false: none. \
         Without it the setting `hsts` decides.",
        |values, _, value| {
            values.fields.hsts.is_on = Some(boolean(value)?);
            Ok(())
        },
    )
    .on_services(),
    row(
        &[OURS, HAPROXY],
        "hsts-max-age",
        "seconds",
        "Its `max-age`; 15768000 without it.",
        |values, _, value| {
            values.fields.hsts.max_age = Some(number(value, "seconds")?);
            Ok(())
        },
    )
    .on_services(),
    row(
        &[OURS, HAPROXY],
        "hsts-include-subdomains",
        "true, false",
        "Whether it has `includeSubDomains`.",
        |values, _, value| {
            values.fields.hsts.subdomains = boolean(value)?;
            Ok(())
        },
    )
    .on_services(),
    row(
        &[OURS, HAPROXY],
        "hsts-preload",
        "true, false",
        "Whether it has `preload`.",
        |values, _, value| {
            values.fields.hsts.preload = boolean(value)?;
            Ok(())
        },
    )
    .on_services(),
];

/// Returns the change that both parts of `proxy-redirect` make.
pub(in crate::controller) fn redirect(values: &mut AnnotationValues) -> Option<LocationChange> {
    let (from, to) = (
        &mut values.fields.redirect_from,
        &mut values.fields.redirect_to,
    );
    Some(LocationChange {
        from: from.take()?,
        to: to.take()?,
    })
}

/// Parses fields, one in a line.
fn lines(
    value: &str,
    split: impl Fn(&str) -> Option<(&str, &str)>,
) -> Result<Fields, InvalidValue> {
    let lines = value.lines().map(str::trim).filter(|line| !line.is_empty());
    let fields = lines.map(|line| {
        let wrong = || InvalidValue::Field(line.to_owned());
        let (name, text) = split(line).ok_or_else(wrong)?;
        let text = text.trim();
        let quoted = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        let text = quoted.unwrap_or(text);

        let name = HeaderName::try_from(name.trim()).map_err(|_error| wrong())?;
        if FORBIDDEN.contains(&name.as_str()) || text.contains(['%', '\\', '"']) {
            return Err(wrong());
        }
        let value = HeaderValue::from_str(text).map_err(|_error| wrong())?;
        Ok((name, value))
    });
    fields.collect()
}

/// Parses fields, and `host` apart from them.
fn with_host(value: &str) -> Result<(Option<HeaderValue>, Fields), InvalidValue> {
    let is_host = |line: &&str| {
        let name = colon_or_space(line.trim()).map(|(name, _)| name);
        name.is_some_and(|name| name.eq_ignore_ascii_case("host"))
    };
    let (hosts, others): (Vec<&str>, Vec<&str>) = value.lines().partition(is_host);
    let host = hosts.last().and_then(|line| colon_or_space(line.trim()));
    let host = host.map(|(_, host)| authority(host.trim())).transpose()?;
    Ok((host, lines(&others.join("\n"), colon_or_space)?))
}

fn set_with_host(
    values: &mut AnnotationValues,
    name: &str,
    host: Option<HeaderValue>,
    fields: Fields,
) -> Result<(), InvalidValue> {
    add(&mut values.fields.request, name, fields)?;
    if let Some(host) = host {
        values.host = Some((name.into(), host));
    }
    Ok(())
}

/// Parses names of fields that can be removed.
fn field_names(value: &str) -> Result<Vec<HeaderName>, InvalidValue> {
    let names = list(value).filter(|name| !name.is_empty()).map(|text| {
        let name = HeaderName::try_from(text).ok();
        let name = name.filter(|name| !FORBIDDEN.contains(&name.as_str()));
        name.ok_or_else(|| InvalidValue::Field(text.to_owned()))
    });
    let names: Vec<HeaderName> = names.collect::<Result<_, _>>()?;
    match names.len() {
        0 => Err(InvalidValue::Empty),
        1..=MAX_FIELDS => Ok(names),
        _ => Err(InvalidValue::TooMany(MAX_FIELDS)),
    }
}

/// Fields with their values.
type Fields = Vec<(HeaderName, HeaderValue)>;

/// A field that is set, with the name of its annotation.
type Named = (Box<str>, HeaderName, HeaderValue);

/// Adds fields of an annotation, in place of those with the same name.
pub(super) fn add(
    all: &mut Vec<Named>,
    annotation: &str,
    fields: Fields,
) -> Result<(), InvalidValue> {
    if all.len() + fields.len() > MAX_FIELDS {
        return Err(InvalidValue::TooMany(MAX_FIELDS));
    }
    for (name, value) in fields {
        // The last one that is read applies.
        all.retain(|(_, known, _)| *known != name);
        all.push((annotation.into(), name, value));
    }
    Ok(())
}

/// Adds fields of an annotation beside those with the same name.
fn append(all: &mut Vec<Named>, annotation: &str, fields: Fields) -> Result<(), InvalidValue> {
    if all.len() + fields.len() > MAX_FIELDS {
        return Err(InvalidValue::TooMany(MAX_FIELDS));
    }
    let fields = fields.into_iter();
    all.extend(fields.map(|(name, value)| (annotation.into(), name, value)));
    Ok(())
}

/// Parses two words; `None` for `off`.
fn pair(value: &str) -> Result<Option<(&str, &str)>, InvalidValue> {
    let words: Vec<&str> = value.split_whitespace().collect();
    let is_plain = |word: &str| {
        word.bytes().all(|byte| byte.is_ascii_graphic())
            && !word.contains(['~', '$', ';', '"', '\''])
    };
    match words[..] {
        ["off"] => Ok(None),
        [from, to] if is_plain(from) && is_plain(to) => Ok(Some((from, to))),
        _ => Err(InvalidValue::Pair(value.to_owned())),
    }
}

fn location(value: &str) -> Result<Location, InvalidValue> {
    let wrong = |error| InvalidValue::Location(value.to_owned(), error);
    if value.is_empty() || value.starts_with('~') {
        return Err(InvalidValue::Pair(value.to_owned()));
    }
    Location::parse_any(value).map_err(wrong)
}
