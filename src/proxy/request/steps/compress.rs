//! Compresses responses for clients that take them so, as nginx does.

use http::{Method, StatusCode, Version};

use crate::{
    proxy::request::{
        fields::{FieldName, Fields, elements},
        handle::Response,
        message::{BodyLength, RequestHead},
    },
    routing::Compression,
};

/// Compresses a response, if its client, its type and its length allow it.
pub(super) fn compress(terms: &Compression, head: &RequestHead, response: &mut Response) {
    if !is_for(terms, response) {
        return;
    }

    let fields = &mut response.head.fields;
    if !values(fields, b"vary").any(|one| one == b"*" || is(one, "accept-encoding")) {
        fields.push(b"vary", b"Accept-Encoding");
    }
    if head.version == Version::HTTP_10 || !accepts(&head.fields, terms.coding.name()) {
        return;
    }
    let length = match head.method {
        // The fields are those of the response to GET (RFC 9110 section 9.3.2).
        Method::HEAD => Some(BodyLength::Unknown),
        _ => response.body.compress(terms.coding),
    };
    let Some(length) = length else {
        return;
    };

    response.head.length = length;
    // Parts of the compressed body cannot be asked for.
    fields.retain(|field| !is(field.name, "accept-ranges"));
    fields.push(b"content-encoding", terms.coding.name().as_bytes());
    // A compressed body is another representation (RFC 9110 section 8.8.3).
    let etag = fields.iter().find(|field| is(field.name, "etag"));
    let etag = etag.map(|field| field.value.to_vec());
    if let Some(etag) = etag.filter(|etag| !etag.starts_with(b"W/")) {
        fields.set("etag", &[b"W/", &etag[..]].concat());
    }
}

/// Returns true if the response is worth it, whoever asks.
fn is_for(terms: &Compression, response: &Response) -> bool {
    const STATUSES: [StatusCode; 3] =
        [StatusCode::OK, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];

    let fields = &response.head.fields;
    let length = response.head.content_length();
    let is_long = length.is_none_or(|length| length > 0 && length >= terms.min_length);
    let has = |name: &str| fields.iter().any(|field| is(field.name, name));
    let content_type = fields.get(FieldName::ContentType);
    STATUSES.contains(&response.head.status)
        && is_long
        && !has("content-encoding")
        && !has("content-range")
        && !values(fields, b"cache-control").any(|one| is(one, "no-transform"))
        && terms.types.contains(content_type.unwrap_or_default())
}

/// Returns true if a client takes a coding (RFC 9110 section 12.5.3).
fn accepts(fields: &Fields, name: &str) -> bool {
    let mut codings = values(fields, b"accept-encoding");
    codings.any(|coding| {
        let mut parts = coding.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let is_named = parts.next().is_some_and(|other| is(other, name));
        let mut weights = parts.filter_map(|part| part.strip_prefix(b"q="));
        let is_zero = |weight: &[u8]| weight.iter().all(|byte| matches!(byte, b'0' | b'.'));
        is_named && !weights.any(is_zero)
    })
}

/// Returns the elements of all fields of a name.
fn values<'f>(fields: &'f Fields, name: &'f [u8]) -> impl Iterator<Item = &'f [u8]> {
    let named = fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name));
    named.flat_map(|field| elements(field.value))
}

fn is(name: &[u8], other: &str) -> bool {
    name.eq_ignore_ascii_case(other.as_bytes())
}
