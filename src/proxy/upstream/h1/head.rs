//! The head of a response: its end, its fields, and the framing of its body (RFC 9112 sections 4 to
//! 6).

use std::mem::MaybeUninit;

use http::StatusCode;
use memchr::memchr;

use crate::proxy::{
    h1::Framing,
    request::{
        fields::{FieldName, Fields, Line, Span, elements},
        headers::named,
        message::{BodyLength, ResponseHead, decimal, is_bodiless},
    },
};

/// The number of fields up to which no memory is allocated to parse them.
const USUAL_FIELDS: usize = 100;

pub(crate) const TOO_LARGE: &str = "the head of the backend's response is too large";
const MALFORMED: &str = "the backend's response is malformed";
const AMBIGUOUS: &str = "the framing of the backend's response is ambiguous";

/// The parsed head of a response.
#[derive(Debug)]
pub(crate) struct Head {
    /// The part that is passed on to the client.
    pub(crate) passed: ResponseHead,
    /// The protocol that follows, if the status is 101.
    pub(crate) upgrade: Option<Vec<u8>>,
    pub(crate) framing: Framing,
    /// True if another request may follow on the connection.
    pub(crate) persistent: bool,
}

/// Returns the length of the head that `bytes` begin with, if it is complete. The first `searched`
/// bytes were searched before.
pub(crate) fn end(bytes: &[u8], searched: usize) -> Option<usize> {
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
    /// Parses a complete head. `to_head` means that the request was HEAD.
    pub(crate) fn parse(
        bytes: &[u8],
        to_head: bool,
        max_fields: usize,
    ) -> Result<Self, &'static str> {
        let mut usual = [MaybeUninit::uninit(); USUAL_FIELDS];
        let mut many = Vec::new();
        let lines = match usual.get_mut(..max_fields) {
            Some(lines) => lines,
            None => {
                many.resize(max_fields, MaybeUninit::uninit());
                &mut many[..]
            }
        };

        let mut parsed = httparse::Response::new(&mut []);
        let mut parser = httparse::ParserConfig::default();
        // RFC 9112 section 5.1: a proxy removes white space before the colon.
        parser.allow_spaces_after_header_name_in_responses(true);
        match parser.parse_response_with_uninit_headers(&mut parsed, bytes, lines) {
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
        let mut lines = Vec::with_capacity(parsed.headers.len());
        for field in &*parsed.headers {
            let name = field.name.as_bytes();
            let id = FieldName::of(name);
            if connection.note(id, field.value)? {
                let (name, value) = (Span::of(bytes, name), Span::of(bytes, field.value));
                lines.push(Line::new(id, name, value));
            }
        }
        let reason = parsed.reason.filter(|reason| !reason.is_empty());
        let reason = reason.map(|reason| Span::of(bytes, reason.as_bytes()));
        let mut fields = Fields::of_head(bytes, lines, Vec::new());

        if !connection.named.is_empty() {
            let named = &connection.named;
            fields.retain(|field| !named.iter().any(|one| field.name.eq_ignore_ascii_case(one)));
        }

        let framing = connection.framing(status, to_head, http_10)?;
        let persistent = framing != Framing::UntilClose
            && !connection.close
            && (!http_10 || connection.keep_alive);
        let length = match framing {
            Framing::None => BodyLength::None,
            Framing::Length(length) => BodyLength::Known(length),
            Framing::Chunked | Framing::UntilClose => BodyLength::Unknown,
        };

        Ok(Self {
            passed: ResponseHead {
                status,
                reason,
                fields,
                length,
                close: false,
            },
            upgrade: connection.upgrade,
            framing,
            persistent,
        })
    }

    /// Returns true if another head follows this one (RFC 9110 section 15.2).
    pub(crate) fn is_informational(&self) -> bool {
        let status = self.passed.status;
        status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// The fields of a response that determine its framing and its connection.
#[derive(Debug, Default)]
struct ConnectionFields {
    chunked: bool,
    length: Option<u64>,
    close: bool,
    keep_alive: bool,
    upgrade: Option<Vec<u8>>,
    /// Further fields that apply to the connection only.
    named: Vec<Vec<u8>>,
}

impl ConnectionFields {
    /// Notes a field. Returns false if it is not passed on: it applies to the connection only, or
    /// repeats the length.
    fn note(&mut self, id: FieldName, value: &[u8]) -> Result<bool, &'static str> {
        match id {
            FieldName::ContentLength => {
                let length = decimal(value).ok_or(AMBIGUOUS)?;
                return match self.length.replace(length) {
                    None => Ok(true),
                    Some(first) if first == length => Ok(false),
                    Some(_) => Err(AMBIGUOUS),
                };
            }
            FieldName::TransferEncoding => {
                // Readers disagree about every other value.
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(AMBIGUOUS);
                }
                self.chunked = true;
            }
            FieldName::Connection => {
                for token in elements(value) {
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                }
                self.named.extend(named(value).map(<[u8]>::to_vec));
            }
            FieldName::Upgrade => self.upgrade = Some(value.to_vec()),
            _ => {}
        }
        Ok(!id.is_hop_by_hop())
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

        Ok(match self.length {
            _ if is_bodiless(status, to_head) => Framing::None,
            _ if self.chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        })
    }
}
