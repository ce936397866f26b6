//! The head of an answer: where it ends, what it says, and how its body is framed (RFC 9112
//! sections 4 to 6).

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

/// Fields of an answer, at most.
pub(in crate::proxy) const MAX_FIELDS: usize = 100;

pub(super) const TOO_LARGE: &str = "the head of the backend's answer is too large";
const MALFORMED: &str = "the backend's answer is malformed";
const UNCLEAR: &str = "the framing of the backend's answer is unclear";

/// A head.
#[derive(Debug)]
pub(in crate::proxy) struct Head {
    pub(in crate::proxy) status: StatusCode,
    /// Those that go on to the client.
    pub(in crate::proxy) headers: HeaderMap,
    /// What the connection speaks after this head, if it is 101.
    pub(in crate::proxy) upgrade: Option<HeaderValue>,
    pub(super) framing: Framing,
    /// Whether another request may follow on the connection.
    pub(super) persistent: bool,
}

/// How the end of a body is known (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Framing {
    /// There is none.
    None,
    /// It has this many bytes.
    Length(u64),
    /// It is chunked.
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// The length of the head that `bytes` begin with, if it is complete. `searched` bytes were looked
/// at before.
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
    /// Parses a complete head, of the answer to HEAD or another request, into an empty map.
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
        let mut said = Said::default();
        headers.reserve(parsed.headers.len());
        for field in &*parsed.headers {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_bad| MALFORMED)?;
            let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value))
                .map_err(|_bad| MALFORMED)?;
            if said.note(&name, &value)? {
                headers.append(name, value);
            }
        }
        for name in &said.named {
            headers.remove(name);
        }
        let framing = said.framing(status, to_head, http_10)?;
        let persistent =
            framing != Framing::UntilClose && !said.close && (!http_10 || said.keep_alive);
        Ok(Self {
            status,
            headers,
            upgrade: said.upgrade,
            framing,
            persistent,
        })
    }

    /// Whether another head follows this one (RFC 9110 section 15.2).
    pub(super) fn is_informational(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// What the fields of an answer say about its framing and its connection.
#[derive(Debug, Default)]
struct Said {
    chunked: bool,
    length: Option<u64>,
    close: bool,
    keep_alive: bool,
    upgrade: Option<HeaderValue>,
    /// Further fields that are about the connection.
    named: Vec<HeaderName>,
}

impl Said {
    /// Takes note of a field. False if it goes no further: it is about the connection, or says once
    /// more what was said.
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<bool, &'static str> {
        if *name == CONTENT_LENGTH {
            let length = decimal(value.as_bytes()).ok_or(UNCLEAR)?;
            return match self.length.replace(length) {
                None => Ok(true),
                Some(first) if first == length => Ok(false),
                Some(_) => Err(UNCLEAR),
            };
        }
        if *name == TRANSFER_ENCODING {
            // Everything else is read differently by different readers.
            if self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(UNCLEAR);
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
            return Err(UNCLEAR);
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
