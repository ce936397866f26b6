//! The trailer section of a chunked body (RFC 9112 section 7.1.2).

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Limits;

/// Parses a trailer section, with the empty line at its end.
pub(crate) fn parse(section: &[u8], limits: Limits) -> Option<HeaderMap> {
    if section == b"\r\n" {
        return Some(HeaderMap::new());
    }
    let mut fields = vec![httparse::EMPTY_HEADER; limits.fields];
    let httparse::Status::Complete((_, fields)) =
        httparse::parse_headers(section, &mut fields).ok()?
    else {
        return None;
    };

    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        trailers.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(trailers)
}
