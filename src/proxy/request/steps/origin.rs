//! CORS as Traefik has it: responds to preflight requests, and adds its fields to responses.

use bytes::Bytes;
use http::{Method, StatusCode};

use super::Passing;
use crate::{
    proxy::request::{
        fields::{Field, Fields},
        handle::Response,
        message::RequestHead,
    },
    routing::{AllowedList, OriginTerms},
};

/// Responds to a preflight request, whatever its origin: without the fields the browser refuses.
pub(super) fn preflight(request: &Passing<'_>, terms: &OriginTerms) -> Option<Response> {
    let (method, origin) = asked(request.head)?;
    let fields = &request.head.fields;

    let mut response = Response::own(StatusCode::OK, Bytes::new());
    let out = &mut response.head.fields;
    let list = |allowed: &Option<AllowedList>, asked: Option<&[u8]>| match allowed {
        Some(AllowedList::Listed(list)) => Some(list.as_bytes().to_vec()),
        Some(AllowedList::AsAsked) => asked.map(<[u8]>::to_vec),
        None => None,
    };

    let asked = value(fields, b"access-control-request-headers");
    if let Some(headers) = list(&terms.headers, asked) {
        out.set("access-control-allow-headers", &headers);
    }
    if let Some(methods) = list(&terms.methods, Some(method)) {
        out.set("access-control-allow-methods", &methods);
    }
    if let Some(max_age) = &terms.max_age {
        out.set("access-control-max-age", max_age.as_bytes());
    }
    allow(terms, origin, out);
    Some(response)
}

/// Returns the method and the origin that a preflight request asks for.
fn asked(head: &RequestHead) -> Option<(&[u8], &[u8])> {
    let method = value(&head.fields, b"access-control-request-method")?;
    let origin = value(&head.fields, b"origin")?;
    (head.method == Method::OPTIONS).then_some((method, origin))
}

/// Sets the fields of a response to a request. One to a preflight request is complete.
pub(super) fn set(terms: &OriginTerms, head: &RequestHead, fields: &mut Fields) {
    if asked(head).is_some() {
        return;
    }
    let origin = value(&head.fields, b"origin").unwrap_or_default();
    allow(terms, origin, fields);

    if terms.varies {
        let known = value(fields, b"vary").map(<[u8]>::to_vec);
        match known.as_deref() {
            None => fields.set("vary", b"Origin"),
            Some(b"Origin") => {}
            Some(known) => fields.set("vary", &[known, b",Origin"].concat()),
        }
    }
}

/// Sets the fields that every response has.
fn allow(terms: &OriginTerms, origin: &[u8], fields: &mut Fields) {
    if let Some(allowed) = terms.allowed(origin) {
        fields.set("access-control-allow-origin", allowed);
    }
    if terms.credentials {
        fields.set("access-control-allow-credentials", b"true");
    }
    if let Some(expose) = &terms.expose {
        fields.set("access-control-expose-headers", expose.as_bytes());
    }
}

/// Returns the first value of a field, unless it is empty.
pub(super) fn value<'f>(fields: &'f Fields, name: &[u8]) -> Option<&'f [u8]> {
    let is_named = |field: &Field<'_>| field.name.eq_ignore_ascii_case(name);
    let found = fields.iter().find(is_named)?;
    (!found.value.is_empty()).then_some(found.value)
}
