//! Adds the fields of CORS to responses, and responds to preflight requests.

use bytes::Bytes;
use http::{Method, StatusCode};

use super::Passing;
use crate::{
    proxy::request::{
        fields::{Field, FieldName, Fields},
        handle::Response,
        message::RequestHead,
    },
    routing::{AllowedList, Cors, CorsDialect},
};

/// Responds to a preflight request. As with the controllers that have these annotations, every
/// OPTIONS request is one.
pub(super) fn preflight(request: &Passing<'_>, cors: &Cors) -> Option<Response> {
    let origin = value(request.head, "origin");
    if request.head.method != Method::OPTIONS || !cors.responds(origin) {
        return None;
    }
    let mut response = Response::own(StatusCode::NO_CONTENT, Bytes::new());
    let fields = &mut response.head.fields;
    fields.set("access-control-max-age", cors.max_age.as_bytes());
    Some(response)
}

/// The bytes of the names of the fields, and of an origin.
const NAMES: usize = 256;

/// Sets the fields of a response to a request; those of the backend are replaced.
pub(in crate::proxy::request) fn set(cors: &Cors, head: &RequestHead, fields: &mut Fields) {
    let is_cors = |field: &Field<'_>| {
        let start = b"access-control-";
        let name = field.name.get(..start.len());
        let max_age = field.name.eq_ignore_ascii_case(b"access-control-max-age");
        !max_age && name.is_some_and(|name| name.eq_ignore_ascii_case(start))
    };
    fields.retain(|field| !is_cors(&field));

    let methods = listed(&cors.methods, head, "access-control-request-method");
    let headers = listed(&cors.headers, head, "access-control-request-headers");
    let expose = cors.expose.as_ref().map(|value| value.as_bytes());
    let values = [methods, headers, expose];
    let values = values.into_iter().flatten().map(<[u8]>::len);
    fields.reserve(7, NAMES + values.sum::<usize>());

    let names_origin = cors.names_origin();
    if names_origin {
        // Caches must not serve the response of one origin to another.
        fields.push(b"vary", b"Origin");
    }

    let origin = value(head, "origin");
    if !cors.allows(origin) {
        return;
    }

    let origin = origin.filter(|_| names_origin).unwrap_or(b"*");
    fields.push(b"access-control-allow-origin", origin);
    if cors.credentials {
        fields.push(b"access-control-allow-credentials", b"true");
    }

    let lists = [
        (&b"access-control-allow-methods"[..], methods),
        (b"access-control-allow-headers", headers),
        (b"access-control-expose-headers", expose),
    ];
    for (name, value) in lists {
        if let Some(value) = value {
            fields.push(name, value);
        }
    }

    if matches!(cors.dialect, CorsDialect::HaproxyTechnologies { .. }) {
        fields.set("access-control-max-age", cors.max_age.as_bytes());
    }
}

/// Returns a list as a response to this request has it.
fn listed<'l>(list: &'l AllowedList, head: &'l RequestHead, asked: &str) -> Option<&'l [u8]> {
    match list {
        AllowedList::Listed(list) => Some(list.as_bytes()),
        AllowedList::AsAsked => value(head, asked),
    }
}

/// Returns the first value of a field.
fn value<'h>(head: &'h RequestHead, name: &str) -> Option<&'h [u8]> {
    let is_named = |field: &Field<'_>| {
        field.id == FieldName::Other && field.name.eq_ignore_ascii_case(name.as_bytes())
    };
    head.fields.iter().find(is_named).map(|field| field.value)
}
