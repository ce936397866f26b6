//! The heads of messages. Each protocol turns its bytes into these and back; behind that, only the
//! rules of RFC 9110 that name a version look at it.

use http::{HeaderMap, HeaderName, Method, StatusCode, Version, request::Parts};

use super::{
    error::Kind,
    fields::{Field, FieldName, Fields, Span},
};
use crate::routing::Head;

/// The head of a request.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) target: Target,
    pub(crate) fields: Fields,
    /// The length of the body, decided once for all that follows.
    pub(crate) length: BodyLength,
}

/// The target of a request, as it came (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// The host and port in the target; `None` unless it has the absolute form.
    authority: Option<Span>,
    /// The path; `*` for the asterisk form, empty for the authority form.
    path: Span,
    /// The query, without its `?`.
    query: Option<Span>,
    /// True if it had bytes that no URI has.
    encoded: bool,
}

/// The length of a message body. It is decided once, where the head is checked: a second reading of
/// the fields might differ, and the peer would lose track of where the next message begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// There is no body.
    None,
    /// This many bytes, as `Content-Length` says.
    Known(u64),
    /// The body ends where its sender ends it.
    Unknown,
}

/// The head of a response.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    /// The reason phrase of the backend, if it sent one.
    pub(crate) reason: Option<Span>,
    pub(crate) fields: Fields,
    pub(crate) length: BodyLength,
    /// True if no further request may follow on the client's connection.
    pub(crate) close: bool,
}

impl BodyLength {
    /// Returns true if no byte follows the head.
    pub(crate) fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Known(0))
    }
}

/// No body.
impl Default for BodyLength {
    fn default() -> Self {
        Self::None
    }
}

impl RequestHead {
    /// Converts the head of an HTTP/2 request; `ended` means that nothing follows it.
    ///
    /// # Errors
    /// A value, the target or the length of the body is malformed, or there are more than
    /// `max_fields` fields after cookie crumbs are joined.
    pub(crate) fn of_http2(parts: &Parts, ended: bool, max_fields: usize) -> Result<Self, Kind> {
        let blank = |value: &[u8]| matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t']);
        if parts.headers.values().any(|value| blank(value.as_bytes())) {
            // RFC 9113 section 8.2.1.
            return Err(Kind::BadRequest("white space around a field value"));
        }

        let mut fields = fields_of_http2(&parts.headers);
        if fields.len() > max_fields {
            return Err(Kind::HeadersTooLarge);
        }

        let uri = &parts.uri;
        let scheme = uri.scheme_str().unwrap_or("http");
        if scheme != "http" && scheme != "https" {
            return Err(Kind::BadRequest("unknown scheme in target"));
        }
        let authority = uri
            .authority()
            .map(|authority| fields.note(authority.as_str().as_bytes()));
        let (path, query) = (uri.path().as_bytes(), uri.query().map(str::as_bytes));
        let is_odd = is_odd(path) || query.is_some_and(is_odd);
        let mut note = |text| match is_odd {
            true => encode(&mut fields, text),
            false => fields.note(text),
        };
        let target = Target {
            authority,
            path: note(path),
            query: query.map(note),
            encoded: is_odd,
        };

        let length = body_length(&fields, ended)?;
        Ok(Self {
            method: parts.method.clone(),
            version: parts.version,
            target,
            fields,
            length,
        })
    }

    /// Returns the head of a request with the same fields, for another server: it has no body, and
    /// no target yet.
    pub(crate) fn without_body(&self, method: Method) -> Self {
        Self {
            method,
            version: Version::HTTP_11,
            target: Target::default(),
            fields: self.fields.clone(),
            length: BodyLength::None,
        }
    }

    /// Returns the host and port in the target; `None` unless it has the absolute form.
    pub(crate) fn authority(&self) -> Option<&[u8]> {
        self.target.authority.map(|span| self.fields.text(span))
    }

    /// Returns the path as it came; `*` for the asterisk form.
    pub(crate) fn path(&self) -> &str {
        self.ascii(self.target.path)
    }

    /// Returns the query as it came, without its `?`.
    pub(crate) fn query(&self) -> Option<&str> {
        self.target.query.map(|span| self.ascii(span))
    }

    /// Returns true if the target came with bytes that no URI has, which have been encoded.
    pub(crate) fn is_target_encoded(&self) -> bool {
        self.target.encoded
    }

    fn ascii(&self, span: Span) -> &str {
        // Everything else has been encoded.
        std::str::from_utf8(self.fields.text(span)).unwrap_or_default()
    }
}

impl Head for RequestHead {
    fn method(&self) -> &Method {
        &self.method
    }

    fn values(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let name = name.as_str().as_bytes();
        let is_named = move |field: &Field<'_>| field.name.eq_ignore_ascii_case(name);
        self.fields.iter().filter(is_named).map(|field| field.value)
    }

    fn query(&self) -> Option<&str> {
        self.query()
    }
}

impl Target {
    /// Parses the target of an HTTP/1 request. `span` is its place in the head, which `fields`
    /// hold.
    ///
    /// # Errors
    /// It has none of the four forms of RFC 9112 section 3.2.
    pub(crate) fn parse(fields: &mut Fields, span: Span, method: &Method) -> Result<Self, Kind> {
        if method == Method::CONNECT {
            // The authority form. The request is refused for its method.
            return Ok(Self::default());
        }

        let text = fields.text(span);
        let (authority, rest) = match text {
            [b'/', ..] | b"*" => (None, text),
            _ => {
                let (authority, rest) = split_absolute(text)?;
                (Some(authority), rest)
            }
        };
        if rest.starts_with(b"?") || (rest.is_empty() && authority.is_some()) {
            // RFC 9112 section 3.2.1: an empty path is `/`.
            let (authority, rest) = (authority.map(<[u8]>::to_vec), rest.to_vec());
            let authority = authority.map(|authority| fields.note(&authority));
            let path = fields.note(b"/");
            let query = rest.get(1..).map(|query| encode(fields, query));
            return Ok(Self {
                authority,
                path,
                query,
                encoded: is_odd(&rest),
            });
        }

        let authority = authority.map(|authority| fields.place(authority));
        let encoded = is_odd(rest);
        let question = memchr::memchr(b'?', rest);
        let rest = fields.place(rest);
        let (start, end) = (rest.start(), rest.end());
        let question = question.map(|at| start + at);

        let mut place = |span: Span| match encoded {
            true => {
                let text = fields.text(span).to_vec();
                encode(fields, &text)
            }
            false => span,
        };
        Ok(Self {
            authority,
            path: place(Span::new(start, question.unwrap_or(end))),
            query: question.map(|at| place(Span::new(at + 1, end))),
            encoded,
        })
    }
}

/// Splits a target in absolute form into authority and the rest.
fn split_absolute(text: &[u8]) -> Result<(&[u8], &[u8]), Kind> {
    let bad = Kind::BadRequest("bad target");
    let colon = memchr::memmem::find(text, b"://").ok_or(bad)?;
    let (scheme, rest) = (&text[..colon], &text[colon + 3..]);
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(Kind::BadRequest("unknown scheme in target"));
    }
    let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    if end == 0 {
        return Err(bad);
    }
    Ok(rest.split_at(end))
}

/// Returns true for bytes that no URI has (RFC 3986 section 2), but that clients send all the same.
fn is_encoded(byte: u8) -> bool {
    matches!(
        byte,
        b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80..
    )
}

/// Reports whether a part of a target has such bytes.
fn is_odd(text: &[u8]) -> bool {
    text.iter().any(|byte| is_encoded(*byte))
}

/// Adds a part of a target to the buffer, with the bytes encoded that no URI has.
fn encode(fields: &mut Fields, text: &[u8]) -> Span {
    let mut out = Vec::with_capacity(text.len() * 3);
    for byte in text {
        if is_encoded(*byte) {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            out.push(*byte);
        }
    }
    fields.note(&out)
}

/// Copies the fields of an HTTP/2 request, and joins the `Cookie` fields, where each crumb may be
/// its own field (RFC 9113 section 8.2.3). The client does not choose their number, so they are
/// joined before fields are counted.
fn fields_of_http2(map: &HeaderMap) -> Fields {
    let mut fields = Fields::from(map);
    if fields.all(FieldName::Cookie).nth(1).is_some() {
        let crumbs: Vec<&[u8]> = fields.all(FieldName::Cookie).collect();
        let joined = crumbs.join(&b"; "[..]);
        fields.set("cookie", &joined);
    }
    fields
}

/// Decides how long the body of a request is; `ended` means that nothing follows its head.
///
/// # Errors
/// 400 unless every `Content-Length` is the same decimal number, which is the length of the body
/// (RFC 9110 section 8.6, RFC 9113 section 8.1.1).
pub(crate) fn body_length(fields: &Fields, ended: bool) -> Result<BodyLength, Kind> {
    let mut length = None;
    for value in fields.all(FieldName::ContentLength) {
        let field = decimal(value).ok_or(Kind::BadRequest("bad Content-Length"))?;
        if length.replace(field).is_some_and(|first| first != field) {
            return Err(Kind::BadRequest("conflicting Content-Length"));
        }
    }

    match (length, ended) {
        (None, true) => Ok(BodyLength::None),
        (None, false) => Ok(BodyLength::Unknown),
        (Some(0), _) => Ok(BodyLength::Known(0)),
        (Some(length), false) => Ok(BodyLength::Known(length)),
        (Some(_), true) => Err(Kind::BadRequest("the body is shorter than Content-Length")),
    }
}

/// Returns true if a response has no body, whatever its fields say (RFC 9112 section 6.3).
pub(crate) fn is_bodiless(status: StatusCode, to_head: bool) -> bool {
    to_head
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Parses a number of digits only, without sign. The top bit stays free, because the HTTP/2 library
/// uses the largest values for marks of its own.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let number = text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })?;
    (number <= u64::MAX / 2).then_some(number)
}

impl ResponseHead {
    /// Creates the head of a response of our own, whose body has this many bytes.
    pub(crate) fn new(status: StatusCode, length: usize) -> Self {
        Self {
            status,
            length: BodyLength::Known(length as u64),
            ..Self::default()
        }
    }

    /// Creates the head of a response that came over HTTP/2. Fields of one connection are left out.
    pub(crate) fn of_http2(status: StatusCode, map: &HeaderMap, length: BodyLength) -> Self {
        let mut fields = Fields::from(map);
        fields.retain(|field| !field.id.is_hop_by_hop());
        Self {
            status,
            fields,
            length,
            ..Self::default()
        }
    }

    /// Returns the fields that go to the client, besides those that frame the body.
    pub(crate) fn passed(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields
            .iter()
            .filter(|field| field.id != FieldName::ContentLength)
    }

    /// Returns the value of `Content-Length`. A response without a body may have one too: to HEAD,
    /// and with status 304 (RFC 9110 section 8.6). One with status 1xx or 204 has none.
    pub(crate) fn content_length(&self) -> Option<u64> {
        if self.status.is_informational() || self.status == StatusCode::NO_CONTENT {
            return None;
        }
        match self.length {
            BodyLength::Known(length) => Some(length),
            BodyLength::Unknown => None,
            BodyLength::None => decimal(self.fields.get(FieldName::ContentLength)?),
        }
    }

    /// Converts the fields for an HTTP/2 client. The values share the buffer of the fields.
    pub(crate) fn into_http2(self) -> HeaderMap {
        // Room for `Content-Length` and `Date`.
        let mut map = HeaderMap::with_capacity(self.fields.len() + 2);
        if let Some(length) = self.content_length() {
            map.insert(http::header::CONTENT_LENGTH, length.into());
        }
        self.fields.append_to(&mut map, FieldName::ContentLength);
        map
    }
}

#[cfg(test)]
mod tests;
