//! The fields of a message: one buffer for all names and values, and their places in it.
//!
//! A map of fields costs an allocation and a hash for each field, changes the case of the names,
//! and forgets the order of different names. A proxy passes most fields on as they are, so it keeps
//! them as they came.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The names that gatelet treats in some way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldName {
    Accept,
    Authorization,
    CdnLoop,
    Connection,
    ContentLength,
    ContentType,
    Cookie,
    Date,
    Expect,
    Forwarded,
    Host,
    Http2Settings,
    KeepAlive,
    Proxy,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    Referer,
    Te,
    TransferEncoding,
    Upgrade,
    UserAgent,
    WwwAuthenticate,
    XForwardedFor,
    XForwardedHost,
    XForwardedPort,
    XForwardedProto,
    XForwardedScheme,
    XRealIp,
    XRequestId,
    XScheme,
    /// Every other name that begins with `X-Forwarded-`. Backends believe `X-Forwarded-Ssl` and
    /// `X-Forwarded-User` too.
    XForwardedOther,
    /// A name like `X_Forwarded_For`, which becomes the same CGI variable as `X-Forwarded-For`: a
    /// way to smuggle a client address, or a wrong length of the body.
    UnderscoreTwin,
    /// Every other name.
    Other,
}

/// The fields of a message, in the order in which they came, and with names in the case in which
/// they came.
#[derive(Clone, Default)]
pub(crate) struct Fields {
    text: Vec<u8>,
    lines: Vec<Line>,
}

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) id: FieldName,
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// The place of a piece of text in the buffer of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    length: u32,
}

/// The places of a name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    id: FieldName,
    name: Span,
    value: Span,
}

impl FieldName {
    /// Classifies a name, in any case, by its length and first letter.
    pub(crate) fn of(name: &[u8]) -> Self {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        let Some(first) = name.first() else {
            return Self::Other;
        };

        match (name.len(), first | 0x20) {
            (2, b't') if is("te") => Self::Te,
            (4, b'd') if is("date") => Self::Date,
            (4, b'h') if is("host") => Self::Host,
            (5, b'p') if is("proxy") => Self::Proxy,
            (6, b'a') if is("accept") => Self::Accept,
            (6, b'c') if is("cookie") => Self::Cookie,
            (6, b'e') if is("expect") => Self::Expect,
            (7, b'r') if is("referer") => Self::Referer,
            (7, b'u') if is("upgrade") => Self::Upgrade,
            (8, b'c') if is("cdn-loop") => Self::CdnLoop,
            (9, b'f') if is("forwarded") => Self::Forwarded,
            (10, b'c') if is("connection") => Self::Connection,
            (10, b'k') if is("keep-alive") => Self::KeepAlive,
            (10, b'u') if is("user-agent") => Self::UserAgent,
            (12, b'c') if is("content-type") => Self::ContentType,
            (13, b'a') if is("authorization") => Self::Authorization,
            (14, b'c') if is("content-length") => Self::ContentLength,
            (14, b'h') if is("http2-settings") => Self::Http2Settings,
            (16, b'p') if is("proxy-connection") => Self::ProxyConnection,
            (16, b'w') if is("www-authenticate") => Self::WwwAuthenticate,
            (17, b't') if is("transfer-encoding") => Self::TransferEncoding,
            (18, b'p') if is("proxy-authenticate") => Self::ProxyAuthenticate,
            (19, b'p') if is("proxy-authorization") => Self::ProxyAuthorization,
            (8.., b'x') => Self::of_client(name),
            (14 | 17, b'c' | b't') if is_underscore_twin(name) => Self::UnderscoreTwin,
            _ => Self::Other,
        }
    }

    /// Classifies a name that begins with `x`.
    fn of_client(name: &[u8]) -> Self {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        const FORWARDED: &[u8] = b"x-forwarded-";

        match name.get(FORWARDED.len()..) {
            Some(rest) if name[..FORWARDED.len()].eq_ignore_ascii_case(FORWARDED) => {
                let is = |other: &str| rest.eq_ignore_ascii_case(other.as_bytes());
                match () {
                    () if is("for") => Self::XForwardedFor,
                    () if is("host") => Self::XForwardedHost,
                    () if is("port") => Self::XForwardedPort,
                    () if is("proto") => Self::XForwardedProto,
                    () if is("scheme") => Self::XForwardedScheme,
                    () => Self::XForwardedOther,
                }
            }
            _ if is("x-real-ip") => Self::XRealIp,
            _ if is("x-scheme") => Self::XScheme,
            _ if is("x-request-id") => Self::XRequestId,
            _ if is_underscore_twin(name) => Self::UnderscoreTwin,
            _ => Self::Other,
        }
    }

    /// Returns true for fields of one connection only (RFC 9110 section 7.6.1), besides those that
    /// `Connection` names. `Trailer` is passed on, because trailers are. `Expect` is met by us.
    pub(crate) fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::Expect
                | Self::Http2Settings
                | Self::KeepAlive
                | Self::Proxy
                | Self::ProxyAuthenticate
                | Self::ProxyAuthorization
                | Self::ProxyConnection
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }

    /// Returns true for fields about the client that only a trusted peer may send.
    pub(crate) fn is_about_client(self) -> bool {
        matches!(
            self,
            Self::Forwarded
                | Self::UnderscoreTwin
                | Self::XForwardedFor
                | Self::XForwardedHost
                | Self::XForwardedOther
                | Self::XForwardedPort
                | Self::XForwardedProto
                | Self::XForwardedScheme
                | Self::XRealIp
                | Self::XRequestId
                | Self::XScheme
        )
    }
}

/// Returns true for the underscore twin of a name that must not be smuggled past us.
fn is_underscore_twin(name: &[u8]) -> bool {
    const TWINS: [&[u8]; 5] = [
        b"x-real-ip",
        b"x-scheme",
        b"x-request-id",
        b"content-length",
        b"transfer-encoding",
    ];
    memchr::memchr(b'_', name).is_some() && {
        let dashed: Vec<u8> = name
            .iter()
            .map(|byte| match byte {
                b'_' => b'-',
                other => other.to_ascii_lowercase(),
            })
            .collect();
        dashed.starts_with(b"x-forwarded-") || TWINS.contains(&&*dashed)
    }
}

impl Span {
    /// Returns the span of these bytes of the buffer. A head is far smaller than 4 GiB.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self {
            start: u32::try_from(start).unwrap_or(u32::MAX),
            length: u32::try_from(end - start).unwrap_or(0),
        }
    }

    /// Returns the span of `part`, which is a part of `text`, if the buffer begins with `text`.
    pub(crate) fn of(text: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr() - text.as_ptr().addr();
        Self::new(start, start + part.len())
    }

    /// Returns the place of its first byte.
    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    /// Returns the place behind its last byte.
    pub(crate) fn end(self) -> usize {
        self.start as usize + self.length as usize
    }

    fn text(self, text: &[u8]) -> &[u8] {
        text.get(self.start()..self.end()).unwrap_or_default()
    }
}

impl Line {
    /// Returns the places of a field in a head that begins at the start of the buffer.
    pub(crate) fn new(id: FieldName, name: Span, value: Span) -> Self {
        Self { id, name, value }
    }
}

impl Fields {
    /// Creates fields from a head that has been parsed: its bytes, and the places in it.
    pub(crate) fn of_head(head: &[u8], lines: Vec<Line>, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.extend_from_slice(head);
        Self {
            text: buffer,
            lines,
        }
    }

    /// Creates fields with room for this much.
    fn with_capacity(text: usize, lines: usize) -> Self {
        Self {
            text: Vec::with_capacity(text),
            lines: Vec::with_capacity(lines),
        }
    }

    /// Takes both buffers, empty, to be used for another message.
    pub(super) fn recycle(self) -> (Vec<u8>, Vec<Line>) {
        let (mut text, mut lines) = (self.text, self.lines);
        text.clear();
        lines.clear();
        (text, lines)
    }

    /// Makes room for more fields, which have this many bytes together.
    pub(super) fn reserve(&mut self, lines: usize, text: usize) {
        self.lines.reserve(lines);
        self.text.reserve(text);
    }

    /// Returns the number of fields.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns the text of a span that [`Fields::note`] or the parser of the head has returned.
    pub(crate) fn text(&self, span: Span) -> &[u8] {
        span.text(&self.text)
    }

    /// Copies text that belongs to the message, but is not a field, into the buffer.
    pub(crate) fn note(&mut self, text: &[u8]) -> Span {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        Span::new(start, self.text.len())
    }

    /// Returns the span of a part of the buffer.
    pub(crate) fn place(&self, part: &[u8]) -> Span {
        Span::of(&self.text, part)
    }

    /// Adds all fields but those of one name to a map, which shares the buffer.
    pub(crate) fn append_to(self, map: &mut HeaderMap, except: FieldName) {
        let text = Bytes::from(self.text);
        for line in self.lines.iter().filter(|line| line.id != except) {
            let (name, value) = (line.name.text(&text), line.value.start()..line.value.end());
            if value.end <= text.len()
                && let Ok(name) = HeaderName::from_bytes(name)
                && let Ok(value) = HeaderValue::from_maybe_shared(text.slice(value))
            {
                map.append(name, value);
            }
        }
    }

    /// Adds a field at the end.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        self.text.reserve(name.len() + value.len());
        let (name, value) = (self.note(name), self.note(value));
        let id = FieldName::of(name.text(&self.text));
        self.lines.push(Line { id, name, value });
    }

    /// Replaces all fields of this name by one.
    pub(crate) fn set(&mut self, name: &str, value: &[u8]) {
        let name = name.as_bytes();
        self.retain(|field| !field.name.eq_ignore_ascii_case(name));
        self.push(name, value);
    }

    /// Removes the fields for which `keep` returns false.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let text = &self.text;
        self.lines.retain(|line| keep(line.field(text)));
    }

    /// Returns all fields, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.lines.iter().map(|line| line.field(&self.text))
    }

    /// Returns the values of the fields of this name, in order.
    pub(crate) fn all(&self, id: FieldName) -> impl Iterator<Item = &[u8]> {
        let lines = self.lines.iter().filter(move |line| line.id == id);
        lines.map(|line| line.value.text(&self.text))
    }

    /// Returns the first value of the fields of this name.
    pub(crate) fn get(&self, id: FieldName) -> Option<&[u8]> {
        self.all(id).next()
    }

    /// Returns true if there is a field of this name.
    pub(crate) fn contains(&self, id: FieldName) -> bool {
        self.lines.iter().any(|line| line.id == id)
    }

    /// Returns the elements of the list that the fields of this name make up (RFC 9110 section
    /// 5.6.1).
    pub(crate) fn elements(&self, id: FieldName) -> impl Iterator<Item = &[u8]> {
        self.all(id).flat_map(elements)
    }

    /// Returns true if a list contains `token`, in any case.
    pub(crate) fn has_token(&self, id: FieldName, token: &str) -> bool {
        self.elements(id)
            .any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }
}

/// Adds a field to a map, unless a map cannot hold it.
pub(crate) fn append(map: &mut HeaderMap, name: &[u8], value: &[u8]) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
        map.append(name, value);
    }
}

/// Returns the elements of a list-valued field.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

impl Line {
    fn field<'a>(&self, text: &'a [u8]) -> Field<'a> {
        Field {
            id: self.id,
            name: self.name.text(text),
            value: self.value.text(text),
        }
    }
}

impl From<&HeaderMap> for Fields {
    fn from(map: &HeaderMap) -> Self {
        // Most values are short.
        let mut fields = Self::with_capacity(map.len() * 64, map.len());
        for (name, value) in map {
            fields.push(name.as_str().as_bytes(), value.as_bytes());
        }
        fields
    }
}

/// Shows the names only: values may be credentials.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.iter().map(|field| String::from_utf8_lossy(field.name));
        f.debug_list().entries(names).finish()
    }
}
