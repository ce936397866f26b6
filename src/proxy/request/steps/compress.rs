//! Compresses responses for clients that take them so, as nginx does.

use http::{Method, StatusCode, Version};

use crate::{
    proxy::request::{
        fields::{FieldName, Fields, elements},
        handle::Response,
        message::{BodyLength, RequestHead},
    },
    routing::{Compression, ContentCoding, HAS_BROTLI, ResponseStep},
};

/// The weight of a coding without one, in thousandths.
const WHOLE: u16 = 1000;

/// Compresses a response, if its client, its type and its length allow it, and none of the `later`
/// steps has a coding that the client prefers.
pub(super) fn compress(
    terms: &Compression,
    later: &[ResponseStep],
    head: &RequestHead,
    response: &mut Response,
) {
    if !is_for(terms, response) {
        return;
    }

    let own = weight(&head.fields, terms.coding.name());
    let is_preferred = |step: &ResponseStep| match step {
        ResponseStep::Compress(other) => {
            let is_there = HAS_BROTLI || matches!(other.coding, ContentCoding::Gzip(_));
            is_there && weight(&head.fields, other.coding.name()) > own && is_for(other, response)
        }
        _ => false,
    };
    if later.iter().any(is_preferred) {
        return;
    }

    let fields = &mut response.head.fields;
    if !values(fields, b"vary").any(|one| one == b"*" || is(one, "accept-encoding")) {
        fields.push(b"vary", b"Accept-Encoding");
    }
    if head.version == Version::HTTP_10 || own == 0 {
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

/// Returns the weight that a client gives to a coding (RFC 9110 section 12.5.3), in thousandths; 0
/// if it does not take it.
fn weight(fields: &Fields, name: &str) -> u16 {
    let weights = values(fields, b"accept-encoding").filter_map(|coding| {
        let mut parts = coding.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let is_named = parts.next().is_some_and(|other| is(other, name));
        let mut weights = parts.filter_map(|part| part.strip_prefix(b"q="));
        is_named.then(|| weights.next().map_or(WHOLE, thousandths))
    });
    weights.max().unwrap_or_default()
}

/// Reads a weight. One that is malformed is the whole.
fn thousandths(text: &[u8]) -> u16 {
    let digits = match text {
        [] => return 0,
        [b'0', b'.', digits @ ..] | [b'.' | b'0', digits @ ..] => digits,
        _ => return WHOLE,
    };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let digits: Option<Vec<u16>> = digits.iter().take(3).map(digit).collect();
    digits.map_or(WHOLE, |digits| {
        let padded = digits.into_iter().chain(std::iter::repeat(0));
        padded.take(3).fold(0, |sum, digit| sum * 10 + digit)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_as_thousandths() {
        for (text, expected) in [
            ("0", 0),
            ("0.0", 0),
            ("0.000", 0),
            ("", 0),
            (".", 0),
            ("0.5", 500),
            ("0.25", 250),
            ("0.999", 999),
            ("1", 1000),
            ("1.000", 1000),
            ("x", 1000),
            ("0.x", 1000),
        ] {
            assert_eq!(thousandths(text.as_bytes()), expected, "{text}");
        }

        let of = |accepted: &str, name: &str| {
            let mut fields = Fields::default();
            fields.push(b"accept-encoding", accepted.as_bytes());
            weight(&fields, name)
        };
        assert_eq!(of("br;q=0.5, gzip", "br"), 500);
        assert_eq!(of("br;q=0.5, gzip", "gzip"), 1000);
        assert_eq!(of("br;q=0, GZIP; q=0.1", "br"), 0);
        assert_eq!(of("br;q=0, GZIP; q=0.1", "gzip"), 100);
        assert_eq!(of("identity", "gzip"), 0);
    }
}
