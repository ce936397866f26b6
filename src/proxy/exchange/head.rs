//! The head of a response: its end, its fields, and the framing of its body (RFC 9112 sections 4 to
//! 6).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE},
};
use memchr::memchr;

use super::super::{
    guard::head::decimal,
    headers::{has_token, hop_by_hop, named},
};

/// The most fields of a response.
pub(in crate::proxy) const MAX_FIELDS: usize = 100;

pub(super) const TOO_LARGE: &str = "the head of the backend's response is too large";
const MALFORMED: &str = "the backend's response is malformed";
const AMBIGUOUS: &str = "the framing of the backend's response is ambiguous";

/// The parsed head of a response.
#[derive(Debug)]
pub(in crate::proxy) struct Head {
    pub(in crate::proxy) status: StatusCode,
    /// The fields that are passed on to the client.
    pub(in crate::proxy) headers: HeaderMap,
    /// The protocol that follows, if the status is 101.
    pub(in crate::proxy) upgrade: Option<HeaderValue>,
    pub(super) framing: Framing,
    /// True if another request may follow on the connection.
    pub(super) persistent: bool,
}

/// The framing of a body (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Framing {
    /// There is no body.
    None,
    /// The body has this many bytes.
    Length(u64),
    /// The body is chunked.
    Chunked,
    /// The body ends with the connection.
    UntilClose,
}

/// Returns the length of the head that `bytes` begin with, if it is complete. The first `searched`
/// bytes were searched before.
pub(super) fn end(bytes: &[u8], searched: usize) -> Option<usize> {
    let mut from = searched.saturating_sub(2);
    while let Some(found) = memchr(b'\n', bytes.get(from..)?) {
        from += found + 1;
        match bytes[from..] {
            [b'\n', ..] => return Some(from + 1),
            [b'\r', b'\n', ..] => return Some(from + 2),
            _ => {}
        }
    }
    None
}

impl Head {
    /// Parses a complete head into an empty map. `to_head` means that the request was HEAD.
    pub(super) fn parse(
        bytes: &Bytes,
        to_head: bool,
        mut headers: HeaderMap,
    ) -> Result<Self, &'static str> {
        let mut fields = [MaybeUninit::uninit(); MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        match httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut parsed,
            bytes,
            &mut fields,
        ) {
            Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
            Err(httparse::Error::TooManyHeaders) => return Err(TOO_LARGE),
            Ok(_) | Err(_) => return Err(MALFORMED),
        }

        let status = parsed
            .code
            .and_then(|code| StatusCode::from_u16(code).ok())
            .ok_or(MALFORMED)?;

        let http_10 = parsed.version == Some(0);
        let mut connection = ConnectionFields::default();
        headers.reserve(parsed.headers.len());
        for field in &*parsed.headers {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_bad| MALFORMED)?;
            let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value))
                .map_err(|_bad| MALFORMED)?;
            if connection.note(&name, &value)? {
                headers.append(name, value);
            }
        }

        for name in &connection.named {
            headers.remove(name);
        }

        let framing = connection.framing(status, to_head, http_10)?;
        let persistent = framing != Framing::UntilClose
            && !connection.close
            && (!http_10 || connection.keep_alive);

        Ok(Self {
            status,
            headers,
            upgrade: connection.upgrade,
            framing,
            persistent,
        })
    }

    /// Returns true if another head follows this one (RFC 9110 section 15.2).
    pub(super) fn is_informational(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// The fields of a response that determine its framing and its connection.
#[derive(Debug, Default)]
struct ConnectionFields {
    chunked: bool,
    length: Option<u64>,
    close: bool,
    keep_alive: bool,
    upgrade: Option<HeaderValue>,
    /// Further fields that apply to the connection only.
    named: Vec<HeaderName>,
}

impl ConnectionFields {
    /// Notes a field. Returns false if it is not passed on: it applies to the connection only, or
    /// repeats the length.
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<bool, &'static str> {
        if *name == CONTENT_LENGTH {
            let length = decimal(value.as_bytes()).ok_or(AMBIGUOUS)?;
            return match self.length.replace(length) {
                None => Ok(true),
                Some(first) if first == length => Ok(false),
                Some(_) => Err(AMBIGUOUS),
            };
        }
        if *name == TRANSFER_ENCODING {
            // Readers disagree about every other value.
            if self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(AMBIGUOUS);
            }
            self.chunked = true;
        } else if *name == CONNECTION {
            self.close |= has_token(value, b"close");
            self.keep_alive |= has_token(value, b"keep-alive");
            self.named.extend(named(value));
        } else if *name == UPGRADE {
            self.upgrade = Some(value.clone());
        }
        Ok(!hop_by_hop(name))
    }

    fn framing(
        &self,
        status: StatusCode,
        to_head: bool,
        http_10: bool,
    ) -> Result<Framing, &'static str> {
        if self.chunked && (http_10 || self.length.is_some()) {
            return Err(AMBIGUOUS);
        }

        let empty = to_head
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        Ok(match self.length {
            _ if empty => Framing::None,
            _ if self.chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        })
    }
}
