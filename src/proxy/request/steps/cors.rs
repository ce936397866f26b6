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
    routing::{Cors, Origins},
};

/// Responds to a preflight request of an origin that may use the route. As with ingress-nginx every
/// OPTIONS request is one.
pub(super) fn preflight(request: &Passing<'_>, cors: &Cors) -> Option<Response> {
    if request.head.method != Method::OPTIONS || !is_allowed(cors, request.head) {
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

    let values = [
        Some(&cors.methods),
        Some(&cors.headers),
        cors.expose.as_ref(),
    ];
    let values = values.into_iter().flatten().map(|value| value.len());
    fields.reserve(6, NAMES + values.sum::<usize>());

    let is_listed = matches!(cors.origins, Origins::Listed(_));
    if is_listed {
        // Caches must not serve the response of one origin to another.
        fields.push(b"vary", b"Origin");
    }
    if !is_allowed(cors, head) {
        return;
    }

    let origin = origin(head).filter(|_| is_listed).unwrap_or(b"*");
    fields.push(b"access-control-allow-origin", origin);
    if cors.credentials {
        fields.push(b"access-control-allow-credentials", b"true");
    }
    fields.push(b"access-control-allow-methods", cors.methods.as_bytes());
    fields.push(b"access-control-allow-headers", cors.headers.as_bytes());
    if let Some(expose) = &cors.expose {
        fields.push(b"access-control-expose-headers", expose.as_bytes());
    }
}

fn is_allowed(cors: &Cors, head: &RequestHead) -> bool {
    cors.origins.allow(origin(head))
}

fn origin(head: &RequestHead) -> Option<&[u8]> {
    let mut origins = head
        .fields
        .iter()
        .filter(|field| field.id == FieldName::Other && field.name.eq_ignore_ascii_case(b"origin"));
    origins.next().map(|field| field.value)
}
