//! The head of an HTTP/1 request, from its bytes (RFC 9112 sections 2 to 6).
//!
//! Everything that two readers could understand differently is refused here: bare line feeds,
//! repeated hosts, folded lines, a length together with a transfer coding.

use http::{Method, Version};
use memchr::{memchr, memchr3};

use crate::proxy::{
    h1::Limits,
    request::{
        error::Kind,
        fields::{FieldName, Fields, Line, Span},
        message::{BodyLength, RequestHead, Target, decimal},
        spare,
    },
};

/// A head while its bytes arrive. Each scan gets all bytes from the start of the head, but looks at
/// each byte only once.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// The start of the line that is not complete yet.
    line: usize,
    /// The end of the searched part of that line.
    searched: usize,
    started: bool,
    http_10: bool,
    method: Span,
    target: Span,
    host: bool,
    length: Option<u64>,
    chunked: bool,
    lines: Vec<Line>,
    /// A buffer for the text of the head.
    buffer: Vec<u8>,
}

impl Scanner {
    /// Scans `bytes`, which begin where the head begins. Returns the head and its length in bytes;
    /// `None` means that more bytes are needed.
    ///
    /// # Errors
    /// The head is malformed, ambiguous, or over the limits. The connection cannot go on.
    pub(crate) fn scan(
        &mut self,
        bytes: &[u8],
        limits: Limits,
    ) -> Result<Option<(RequestHead, usize)>, Kind> {
        loop {
            let Some(found) = memchr3(b'\r', b'\n', 0, &bytes[self.searched..]) else {
                self.searched = bytes.len();
                break;
            };
            let at = self.searched + found;
            if bytes[at] != b'\r' {
                return Err(Kind::BadRequest(if bytes[at] == 0 {
                    "NUL in head"
                } else {
                    "bare LF in head"
                }));
            }

            let Some(next) = bytes.get(at + 1) else {
                self.searched = at;
                break;
            };
            if *next != b'\n' {
                return Err(Kind::BadRequest("bare CR in head"));
            }

            let (line, end) = (self.line..at, at + 2);
            if end > limits.bytes {
                return Err(self.too_large());
            }
            if !self.started {
                // RFC 9112 section 2.2: at least one empty line before the request line is ignored.
                if !line.is_empty() {
                    self.request_line(bytes, line.start, line.end)?;
                } else if self.line >= 4 {
                    return Err(Kind::BadRequest("empty lines before the request"));
                }
            } else if line.is_empty() {
                return self.end(&bytes[..end]).map(|head| Some((head, end)));
            } else {
                if self.lines.len() >= limits.fields {
                    return Err(Kind::HeadersTooLarge);
                }
                self.field(bytes, line.start, line.end)?;
            }

            self.line = end;
            self.searched = end;
        }
        if bytes.len() > limits.bytes {
            Err(self.too_large())
        } else {
            Ok(None)
        }
    }

    fn too_large(&self) -> Kind {
        if self.started {
            Kind::HeadersTooLarge
        } else {
            Kind::UriTooLong
        }
    }

    fn request_line(&mut self, bytes: &[u8], start: usize, end: usize) -> Result<(), Kind> {
        self.started = true;
        (self.buffer, self.lines) = spare::take();
        let bad = Kind::BadRequest("bad request line");
        let Some((rest, version)) = bytes[start..end].split_last_chunk::<9>() else {
            return Err(bad);
        };
        match version {
            b" HTTP/1.1" => {}
            b" HTTP/1.0" => self.http_10 = true,
            [
                b' ',
                b'H',
                b'T',
                b'T',
                b'P',
                b'/',
                b'0'..=b'9',
                b'.',
                b'0'..=b'9',
            ] => {
                return Err(Kind::VersionNotSupported);
            }
            _ => return Err(bad),
        }

        // Exactly one more space, and no other white space or control character.
        let space = memchr(b' ', rest).ok_or(bad)?;
        let (method, target) = (&rest[..space], &rest[space + 1..]);
        if method.is_empty()
            || target.is_empty()
            || has_control(target, b' ')
            || !method.iter().all(|&byte| is_token(byte))
        {
            return Err(bad);
        }

        // A target has no fragment (RFC 9112 section 3.2): some readers cut it off, others take it
        // for a part of the path.
        if memchr(b'#', target).is_some() {
            return Err(Kind::BadRequest("fragment in target"));
        }

        self.method = Span::new(start, start + space);
        self.target = Span::new(start + space + 1, start + rest.len());
        Ok(())
    }

    fn field(&mut self, bytes: &[u8], start: usize, end: usize) -> Result<(), Kind> {
        let line = &bytes[start..end];
        if matches!(line[0], b' ' | b'\t') {
            return Err(Kind::BadRequest("folded field line"));
        }
        let Some(colon) = memchr(b':', line) else {
            return Err(Kind::BadRequest("field line without colon"));
        };
        let name = &line[..colon];
        if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
            return Err(Kind::BadRequest("bad field name"));
        }

        let value = trim(&line[colon + 1..]);
        // Tabs are rare, so values with one are looked at twice.
        if has_control(value, b' ' - 1) && value.iter().any(|&byte| is_control(byte)) {
            return Err(Kind::BadRequest("control character in field value"));
        }

        let id = FieldName::of(name);
        match id {
            FieldName::Host => {
                if self.host {
                    return Err(Kind::BadRequest("more than one Host"));
                }
                self.host = true;
            }
            FieldName::ContentLength => {
                let length = decimal(value).ok_or(Kind::BadRequest("bad Content-Length"))?;
                if self.length.is_some_and(|first| first != length) {
                    return Err(Kind::BadRequest("conflicting Content-Length"));
                }
                self.length = Some(length);
            }
            FieldName::TransferEncoding => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Kind::BadRequest("bad Transfer-Encoding"));
                }
                self.chunked = true;
            }
            _ => {}
        }

        let name = Span::new(start, start + colon);
        self.lines.push(Line::new(id, name, Span::of(bytes, value)));
        Ok(())
    }

    /// Ends the head. The scanner has to be replaced for the next one.
    fn end(&mut self, head: &[u8]) -> Result<RequestHead, Kind> {
        if !self.host && !self.http_10 {
            return Err(Kind::BadRequest("no Host"));
        }
        let length = match (self.chunked, self.length) {
            (true, Some(_)) => {
                return Err(Kind::BadRequest("Transfer-Encoding with Content-Length"));
            }
            (true, None) if self.http_10 => {
                return Err(Kind::BadRequest("Transfer-Encoding in HTTP/1.0"));
            }
            (true, None) => BodyLength::Unknown,
            (false, None) => BodyLength::None,
            (false, Some(length)) => BodyLength::Known(length),
        };

        let (lines, buffer) = (
            std::mem::take(&mut self.lines),
            std::mem::take(&mut self.buffer),
        );
        let mut fields = Fields::of_head(head, lines, buffer);
        let method = Method::from_bytes(fields.text(self.method))
            .map_err(|_bad| Kind::BadRequest("bad request line"))?;
        let target = Target::parse(&mut fields, self.target, &method)?;
        let version = if self.http_10 {
            Version::HTTP_10
        } else {
            Version::HTTP_11
        };

        Ok(RequestHead {
            method,
            version,
            target,
            fields,
            length,
        })
    }
}

/// Returns true for the characters of a token (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            let symbol = matches!(
                byte as u8,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
            table[byte] = (byte as u8).is_ascii_alphanumeric() || symbol;
            byte += 1;
        }
        table
    };
    TOKEN[usize::from(byte)]
}

/// Returns true if a byte is DEL, or at most `last`. There is no early return, so that the compiler
/// can look at many bytes at once.
fn has_control(bytes: &[u8], last: u8) -> bool {
    bytes.iter().fold(false, |found, &byte| {
        found | (byte <= last) | (byte == 0x7f)
    })
}

/// Returns true for bytes that no field value has (RFC 9110 section 5.5).
fn is_control(byte: u8) -> bool {
    byte != b'\t' && (byte < b' ' || byte == 0x7f)
}

/// Removes the optional white space around a field value (RFC 9110 section 5.5).
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
